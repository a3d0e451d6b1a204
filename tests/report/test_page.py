"""The page: self-contained, escaped, whole at every stage, the same bytes for the same results."""

import html.parser
import io
import os
import pathlib

import numpy as np
import pytest
from PIL import Image

from jaxinterp import report

EVIL = '<script>alert("1")</script> & "co" </title></style>'


def picture(seed: int = 0, side: int = 8, count: int = 2) -> bytes:
    return report.contact_sheet(np.random.default_rng(seed).random((count, side, side, 3)), scale=2)


def full_page(text: str = "words") -> report.Page:
    figure = report.Figure("unit", picture(), text, caption=text, paper=text)
    table = report.Table(text, (text, "b", "c"), ((text, 0.25, -3), (text, 0.5, None)), caption=text, paper=text)
    claims = (
        report.Claim(text, -0.432, (-0.51, -0.35), text, 1500, "reproduced", unit=text, paper=text, reason=text),
        report.Claim(text, None, None, text, None, "pending"),
        report.Claim(text, float("nan"), (float("nan"), float("nan")), text, 0, "not testable here"),
    )
    stages = (report.Stage(text, "done", detail=text), report.Stage("train", "running"), report.Stage("trace", "to come"))
    section = report.Section(text, text=f"{text}\n\nsecond", items=(figure, table))
    return report.Page(
        text,
        subtitle=text,
        stages=stages,
        claims=claims,
        lead=(figure, table),
        sections=(section, report.Section("empty")),
        methods=text,
        bibtex=text,
        provenance={text: text},
    )


class Reader(html.parser.HTMLParser):
    """Collects what a browser would load, the tags, the anchors and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        named = dict(attrs)
        self.loads += [value or "" for key, value in attrs if key in ("src", "href", "srcset", "action", "data", "poster")]
        self.ids += [value or "" for key, value in attrs if key == "id"]
        assert not [key for key in named if key.startswith("on")]
        if tag == "img":
            self.images.append(named)
        if tag not in ("meta", "link", "img", "line", "rect"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_well_formed_and_loads_nothing_from_outside() -> None:
    page = report.render(full_page())
    reader = Reader(page)
    assert reader.open == []
    assert reader.loads and all(load.startswith(("data:", "#")) for load in reader.loads)
    assert "script" not in reader.tags and "iframe" not in reader.tags
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style and "@import" not in style
    assert "http:" not in page and "https:" not in page
    anchors = [load[1:] for load in reader.loads if load.startswith("#")]
    assert anchors and set(anchors) <= set(reader.ids)


def test_every_text_is_escaped() -> None:
    page = report.render(full_page(EVIL))
    reader = Reader(page)
    assert "<script" not in page and "script" not in reader.tags
    assert page.count("&lt;script&gt;alert(&#34;1&#34;)&lt;/script&gt;") >= 20
    assert page.count("</title>") == 1 and page.count("</style>") == 1
    assert reader.images[0]["alt"] == "Sheet of 2 images"


def test_embedded_pictures_are_the_figures_at_their_size_on_the_page() -> None:
    import base64

    figure = report.Figure("a", picture(3), "t", alt="two noises")
    reader = Reader(report.render(report.Page("p", lead=(figure,))))
    (image,) = reader.images
    source = str(image["src"])
    assert base64.b64decode(source.removeprefix("data:image/png;base64,")) == figure.png
    with Image.open(io.BytesIO(figure.png)) as opened:
        assert (int(image["width"] or 0) * 2, int(image["height"] or 0) * 2) == opened.size
    assert image["alt"] == "two noises"


def test_groups_stand_over_their_columns_and_links_under_the_title() -> None:
    table = report.Table("t", ("name", "a", "b"), (("row", 1, 2),), groups=(("", 1), ("real & true", 2)))
    page = report.render(report.Page("p", lead=(table,), links=(("units", "units.html"),)))
    assert '<th scope="colgroup" colspan="2" class="group">real &amp; true</th></tr>' in page
    assert Reader(page).loads == ["data:,", "units.html"]


def test_a_page_with_everything_pending_renders() -> None:
    claims = tuple(report.Claim(f"claim {i}", None, None, "", None, "pending") for i in range(3))
    stages = (report.Stage("attack", "running"), report.Stage("trace", "to come"))
    text = Reader(report.render(report.Page("Study", stages=stages, claims=claims))).text
    assert "3 pending" in text and "not finished" in text and "Contents" not in text
    assert "not finished" not in report.render(report.Page("Study", stages=(report.Stage("attack", "done"),)))
    assert "Study" in Reader(report.render(report.Page("Study"))).text


def test_numbers_of_claims_and_tables() -> None:
    text = Reader(report.render(full_page())).text
    assert "−0.43" in text and "−0.51 to −0.35" in text and "1,500" in text and "nan" not in text
    assert "0.250" in text and "0.500" in text and "−3" in text
    for verdict in report.VERDICTS:
        claim = report.Claim("c", 12.0, (10.0, 14.0), "", 5, verdict, unit=" points")
        page = report.render(report.Page("p", claims=(claim,)))
        assert f'class="badge {verdict.replace(" ", "-")}"' in page and verdict in Reader(page).text and "+12.0" in page


def test_the_same_results_give_the_same_page(tmp_path: pathlib.Path) -> None:
    first = report.write(full_page(), tmp_path / "a").read_bytes()
    assert report.write(full_page(), tmp_path / "b").read_bytes() == first


def test_write_puts_figures_beside_the_page_and_leaves_nothing_else(tmp_path: pathlib.Path) -> None:
    page = full_page()
    path = report.write(page, tmp_path / "deep" / "report")
    assert path == tmp_path / "deep" / "report" / "index.html"
    assert path.read_text("utf-8") == report.render(page)
    files = sorted(str(file.relative_to(path.parent)) for file in path.parent.rglob("*") if file.is_file())
    tables = [file for file in files if file.startswith("tables")]
    assert [file for file in files if file not in tables] == [os.path.join("figures", "unit.png"), "index.html"]
    assert len(tables) % 3 == 0 and {pathlib.Path(file).suffix for file in tables} == {".csv", ".md", ".tex"}
    assert (path.parent / "figures" / "unit.png").read_bytes() == page.figures[0].png
    before = (path.parent / "figures" / "unit.png").stat().st_mtime_ns
    report.write(report.Page("later", lead=page.lead), path.parent)
    assert "later" in path.read_text("utf-8") and (path.parent / "figures" / "unit.png").stat().st_mtime_ns == before


def test_a_failed_write_keeps_the_old_page(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = report.write(report.Page("old"), tmp_path)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        report.write(report.Page("new"), tmp_path)
    assert path.read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["figures", "index.html"]


def test_a_page_of_heavy_pictures_stays_below_8_mb(tmp_path: pathlib.Path) -> None:
    from jaxinterp.report._style import png_of_image

    def noise(seed: int) -> bytes:
        pixels = np.random.default_rng(seed).integers(0, 256, (700, 1600, 3), dtype=np.uint8)
        return png_of_image(Image.fromarray(pixels), alt="noise")

    figures = tuple(report.Figure(f"f{seed}", noise(seed), "noise") for seed in range(4))
    assert sum(len(figure.png) for figure in figures) > 12e6
    path = report.write(report.Page("heavy", lead=figures), tmp_path)
    assert path.stat().st_size < 8e6
    assert (tmp_path / "figures" / "f0.png").read_bytes() == figures[0].png
    assert 'width="800" height="350"' in path.read_text("utf-8")
