"""The gallery of units: every unit is there, every picture once, and nothing comes from outside."""

import base64
import csv
import dataclasses
import html.parser
import io
import json
import pathlib
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from jaxinterp import report
from jaxinterp.report._gallery_fields import chance, fields
from jaxinterp.report._gallery_histogram import category_rows, concept_lists
from jaxinterp.report._thumbnails import masks_of_maps, run_lengths, smaller_masks

EVIL = '<script>alert("1")</script> & "co", </title></style><!--'
NAMES = ("none", "dog", EVIL, "red", "sky, blue")
CATEGORIES = ("none", "object", "object", "color", "scene")


def pictures(seed: int = 0, count: int = 9, side: int = 24) -> np.ndarray:
    smooth = np.random.default_rng(seed).integers(0, 256, (count, 3, 3, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(image).resize((side, side))) for image in smooth])


INDEX = np.array([[0, 4, 8], [4, 2, -1], [-1, -1, -1], [8, 4, 0]])
MASKS = np.random.default_rng(1).random((4, 3, 10, 10)) > 0.5


def labels(shift: int = 0, **changes) -> report.UnitLabels:
    concept = np.roll(np.array([1, 2, 0, 3]), shift)
    iou = np.array([0.2, 0.05, np.nan, 0.03])
    optional = {
        "attainable": np.array([0.5, 0.1, 0.0, 0.2]),
        "p_value": np.array([2e-5, 0.04, 1.0, 0.5]),
        "survives": np.array([True, False, False, False]),
        "ranked": np.array([[1, 2], [2, 3], [0, 0], [3, 0]]),
        "ranked_iou": np.array([[0.2, 0.1], [0.05, 0.01], [0.0, 0.0], [0.03, 0.0]]),
    }
    return report.UnitLabels(NAMES, CATEGORIES, concept, iou, np.nan_to_num(iou) > 0.04, **(optional | changes))


def gallery(**changes) -> report.UnitGallery:
    real = report.TopPictures(pictures(), INDEX, masks=MASKS, values=np.ones((4, 3)), captions=[EVIL] * 9)
    fake = report.TopPictures(
        lambda row: pictures(1)[row] / np.float32(255), INDEX[:, :2], masks=lambda unit: MASKS[unit, :2], captions=str
    )
    columns = (
        report.Column("LC", np.array([0.1, np.nan, 0.3, 0.25]), note=EVIL),
        report.Column("formula", [EVIL, "", "(a OR b)", None]),
        report.Column("seen", [True, False, None, True]),
        report.Column("rank", np.arange(4)),
    )
    given = {
        "sets": (
            report.UnitSet("real", labels=labels(), pictures=real),
            report.UnitSet("adversarial", labels=labels(1), pictures=fake),
        ),
        "columns": columns,
        "classes": report.UnitClasses(
            ["a", EVIL, "c"], {"real": np.eye(4, 3), "adversarial, target class": np.eye(4, 3)[::-1]}
        ),
        "notes": {1: f"first\n\n{EVIL}"},
        "dead": np.array([False, False, True, False]),
        "threshold": 0.04,
        "subtitle": EVIL,
        "text": EVIL,
        "provenance": {EVIL: EVIL},
        "links": (("layer3", "layer3.html"),),
    }
    return report.UnitGallery(EVIL, 4, **(given | changes))


class Reader(html.parser.HTMLParser):
    """Collects what a browser would load, and the texts of the scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.data: dict[str, str] = {}
        self.cards: list[str] = []
        self.scripts = 0
        self.inside = ""
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        assert not [key for key in named if key.startswith("on")]
        self.loads += [value or "" for key, value in attrs if key in ("src", "href", "srcset", "action", "data", "poster")]
        self.inside = str(named.get("id")) if tag == "script" and "id" in named else ""
        self.scripts += tag == "script" and "id" not in named
        if "card" in (named.get("class") or "").split():
            self.cards.append(named.get("data-unit") or "")

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.data[self.inside] = self.data.get(self.inside, "") + data
        self.text += data

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""


def decoded(runs: bytes, height: int, width: int) -> np.ndarray:
    """The masks behind run lengths, as the page reads them."""
    masks, mask, on, at = [], [], False, 0
    while at < len(runs):
        length = shift = 0
        while True:
            length |= (runs[at] & 127) << shift
            shift, at = shift + 7, at + 1
            if runs[at - 1] < 128:
                break
        mask += [on] * length
        on = not on
        if len(mask) == height * width:
            masks.append(mask)
            mask, on = [], False
    assert not mask
    return np.array(masks, bool).reshape(len(masks), height, width)


def test_run_lengths_read_back() -> None:
    rng = np.random.default_rng(0)
    for shape in ((3, 5, 7), (2, 56, 56), (1, 200, 100), (1, 1, 1)):
        for share in (0.0, 0.02, 0.5, 1.0):
            masks = rng.random(shape) < share
            assert (decoded(run_lengths(masks), *shape[1:]) == masks).all()
    assert run_lengths(np.zeros((0, 4, 4), bool)) == b""
    assert len(run_lengths(np.zeros((1, 127, 1), bool))) == 1


def test_masks_shrink_to_where_half_is_covered() -> None:
    mask = np.zeros((1, 8, 8), bool)
    mask[0, :3, :4] = True
    assert (smaller_masks(mask, 4)[0] == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]).all()
    assert smaller_masks(mask, 8) is mask
    assert smaller_masks(np.ones((2, 30, 60), bool), 20).shape == (2, 10, 20)


def test_maps_become_masks_where_they_exceed_the_threshold() -> None:
    maps = np.random.default_rng(0).random((4, 3, 7, 7))
    ramp = np.tile(np.linspace(0, 1, 5), (1, 5, 1))
    assert (masks_of_maps(ramp, 0.5, 5) == (ramp > 0.5)).all()
    assert (masks_of_maps(ramp, 0.5, 20)[0, 0] == (np.clip((np.arange(20) + 0.5) / 4 - 0.5, 0, 4) / 4 > 0.5)).all()
    top = report.TopPictures(pictures(), INDEX, masks=maps, thresholds=np.full(4, 0.7))
    reader = Reader(report.unit_gallery(gallery(sets=(report.UnitSet("real", pictures=top),)), mask_side=14))
    record = json.loads(reader.data["units-0"])[1]["sets"][0]
    found = decoded(base64.b64decode(record["mask"]), 14, 14)
    assert record["size"] == [14, 14] and (found == masks_of_maps(maps[1, :2], 0.7, 14)).all()
    lazy = report.TopPictures(pictures(), INDEX, masks=lambda unit: maps[unit])
    with pytest.raises(ValueError, match="expected thresholds with maps of type float64"):
        report.unit_gallery(gallery(sets=(report.UnitSet("real", pictures=lazy),)))


def test_the_page_loads_nothing_from_outside_and_escapes_every_text() -> None:
    page = report.unit_gallery(gallery())
    reader = Reader(page)
    assert set(reader.loads) == {"data:,", "layer3.html", "#unit-0", "#unit-1", "#unit-2", "#unit-3"}
    assert reader.cards == ["0", "1", "2", "3"] and reader.scripts == 1
    assert "<script>alert" not in page and "<!--" not in page
    assert page.count("</title>") == 1 and page.count("</style>") == 2
    assert "http:" not in page and "https:" not in page and "url(" not in page and "@import" not in page
    assert "never active" in reader.text and "no concept overlaps" in reader.text and "NaN" not in page
    assert json.loads(reader.data["meta"])["title"] == EVIL
    assert report.unit_gallery(gallery()) == page


def test_every_image_is_asked_for_once_in_order_and_only_if_it_is_shown() -> None:
    asked = []

    def image(row: int) -> np.ndarray:
        asked.append(row)
        return pictures()[row]

    one = report.UnitSet("real", pictures=report.TopPictures(image, INDEX))
    report.unit_gallery(gallery(sets=(one,)))
    sample = len(asked) // 2
    assert asked[sample:] == [0, 2, 4, 8] and set(asked[:sample]) == {0, 2, 4, 8}


def test_the_page_holds_the_images_and_masks_that_it_was_given() -> None:
    reader = Reader(report.unit_gallery(gallery()))
    units = json.loads(reader.data["units-0"])
    for number, source in ((0, pictures()), (1, pictures(1))):
        stored = json.loads(reader.data[f"images-{number}-0"])
        assert len(stored) == 4, "each image once"
        for unit in range(4):
            shown = [row for row in INDEX[unit][: 3 - number] if row >= 0]
            record = units[unit]["sets"][number]
            assert len(record["image"]) == len(shown)
            for place, row in zip(record["image"], shown, strict=True):
                picture, caption = stored[place]
                with Image.open(io.BytesIO(base64.b64decode(picture))) as opened:
                    assert opened.format == "WEBP" and opened.size == (24, 24)
                    assert np.abs(np.asarray(opened.convert("RGB")).astype(int) - source[row]).mean() < 12
                assert caption == (str(row) if number else EVIL)
            masks = decoded(base64.b64decode(record["mask"]), *record["size"])
            assert (masks == MASKS[unit, : len(shown)]).all()
    assert units[0]["classes"]["rows"] == [["a", [1.0, 0.0]]]
    assert units[1]["classes"]["rows"] == [[EVIL, [1.0, 0.0]], ["c", [0.0, 1.0]]]
    assert units[1]["note"] == ["first", EVIL] and "note" not in units[0]
    assert units[0]["ranked"][0] == [["dog", "object", 0.2], [EVIL, "object", 0.1]] and units[2]["ranked"][0] == []


def test_pictures_stay_below_the_limit() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 200, 160, 3), dtype=np.uint8)
    sizes, sides = [], []
    for limit in (10_000_000, 150_000):
        one = report.UnitSet("real", pictures=report.TopPictures(noise, np.arange(40).reshape(4, 10)))
        reader = Reader(report.unit_gallery(gallery(sets=(one,)), limit=limit))
        sizes.append(len(reader.data["images-0-0"]))
        sides.append([json.loads(reader.data["meta"])["sets"][0][side] for side in ("width", "height")])
    assert sides[0] == [154, 192] and sides[1][1] < 192 and sides[1][0] == round(sides[1][1] * 0.8)
    assert sizes[1] < 1.1 * 150_000 < sizes[0]


def test_columns_say_what_is_missing() -> None:
    found = {field.title: field for field in fields(gallery())}
    assert [found["LC"].text(unit) for unit in range(4)] == ["0.100", "–", "0.300", "0.250"]
    assert [found["formula"].text(unit) for unit in range(4)] == [EVIL, "–", "(a OR b)", "–"]
    assert [found["seen"].text(unit) for unit in range(4)] == ["yes", "no", "–", "yes"]
    assert [found["rank"].text(unit) for unit in range(4)] == ["0", "1", "2", "3"]
    assert [found["concept (real)"].text(unit) for unit in range(4)] == ["dog", EVIL, "–", "red"]
    assert [found["p (real)"].text(unit) for unit in range(4)] == ["2e−5", "0.040", "1.000", "0.500"]
    assert chance(0.00123) == "0.001" and chance(1e-12) == "1e−12" and chance(0.0) == "0"


def test_units_csv_reads_back() -> None:
    lines = list(csv.DictReader(io.StringIO(report.units_csv(gallery()), newline="")))
    assert [line["unit"] for line in lines] == ["0", "1", "2", "3"]
    assert [line["concept (real)"] for line in lines] == ["dog", EVIL, "", "red"]
    assert [line["LC"] for line in lines] == ["0.1", "", "0.3", "0.25"]
    assert [line["p (adversarial)"] for line in lines] == ["2e-05", "0.04", "1.0", "0.5"]
    assert [line["detects (real)"] for line in lines] == ["1", "1", "0", "0"]
    assert [line["formula"] for line in lines] == [EVIL, "", "(a OR b)", ""]
    assert [line["dead"] for line in lines] == ["0", "0", "1", "0"]


def test_concepts_csv_reads_back() -> None:
    lines = list(csv.reader(io.StringIO(report.concepts_csv(gallery()), newline="")))
    assert lines[0] == ["unit", "images", "rank", "concept", "category", "IoU"]
    assert lines[1:3] == [["0", "real", "1", "dog", "object", "0.2"], ["0", "real", "2", EVIL, "object", "0.1"]]
    assert len(lines) == 1 + 2 * 5
    plain = report.UnitSet("real", labels=labels(ranked=None, ranked_iou=None))
    assert len(report.concepts_csv(gallery(sets=(plain,))).splitlines()) == 1 + 3


def test_the_head_counts_units_and_concepts() -> None:
    rows = {row["name"]: row["bars"] for row in category_rows(gallery())}
    assert [(bar["set"], bar["text"]) for bar in rows["object"]] == [("real", "2"), ("adversarial", "1")]
    assert concept_lists(gallery().sets[0]) == [{"category": "object", "units": 2, "concepts": [(EVIL, 1), ("dog", 1)]}]
    counts = report.CategoryCounts("", np.array([4.0, np.nan]), None, real_null=np.array([[1.0, 2.0], [0.0, 1.0]]))
    rows = category_rows(gallery(counts=counts, count_names=("object", "scene")))
    assert rows[0]["bars"][0]["null"] == "1 to 2" and rows[0]["bars"][0]["width"] == 100.0 and rows[1]["bars"] == []
    with pytest.raises(ValueError, match="expected counts of 6 categories, got 2"):
        category_rows(gallery(counts=counts))


def test_sets_may_lack_labels_pictures_and_null() -> None:
    bare = labels(attainable=None, p_value=None, survives=None, ranked=None, ranked_iou=None)
    sets = (report.UnitSet("blurred"), report.UnitSet("noise", labels=bare))
    page = report.unit_gallery(report.UnitGallery("layer", 4, sets))
    assert "95 % band" not in page and 'name="survives"' not in page and 'name="masks"' not in page
    assert 'class="card' in report.unit_gallery(report.UnitGallery("layer", 4, (report.UnitSet("real"),)))


def test_writing_leaves_one_file(tmp_path: pathlib.Path) -> None:
    path = report.write_unit_gallery(gallery(), tmp_path / "deep" / "layer4.html")
    assert path.read_text("utf-8") == report.unit_gallery(gallery())
    assert [entry.name for entry in path.parent.iterdir()] == ["layer4.html"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gallery(sets=()), "at least one set"),
        (lambda: gallery(sets=(report.UnitSet("a"), report.UnitSet("a"))), "sets of different names"),
        (lambda: gallery(columns=(report.Column("LC", [1, 2]),)), "expected 4 entries in column 'LC'"),
        (lambda: gallery(dead=np.zeros(3, bool)), "expected 4 entries in dead"),
        (lambda: gallery(classes=report.UnitClasses(["a"], {"real": np.ones((2, 1))})), "classes of 'real'"),
        (lambda: report.UnitClasses(["a"], {"real": np.ones((2, 2))}), "shares of 1 classes"),
        (lambda: labels(ranked=None), "give both or neither"),
        (lambda: labels(p_value=np.ones(3)), "expected 4 entries in p_value"),
        (lambda: labels(ranked=np.full((4, 2), 9)), "concept numbers from 0 to 4"),
        (lambda: labels(ranked_iou=np.ones((4, 1))), r"ranked_iou of shape \(4, 2\)"),
        (lambda: dataclasses.replace(labels(), categories=("none",)), "one category a concept"),
        (lambda: report.TopPictures(pictures(), INDEX, masks=MASKS[:, :2]), "expected masks of"),
        (lambda: report.TopPictures(pictures(), INDEX, masks=MASKS * 1.0), "expected thresholds with maps"),
        (lambda: report.TopPictures(pictures(), INDEX, thresholds=np.ones(3)), "expected 4 entries in thresholds"),
        (lambda: report.TopPictures(pictures(), INDEX, values=np.ones((3, 3))), "expected values of"),
    ],
)
def test_bad_input_is_one_clear_line(make, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_wrong_pictures_are_refused() -> None:
    few = report.UnitSet("real", pictures=report.TopPictures(pictures(count=3), INDEX))
    with pytest.raises(ValueError, match="expected rows below 3"):
        report.unit_gallery(gallery(sets=(few,)))
    masks = report.UnitSet("real", pictures=report.TopPictures(pictures(), INDEX, masks=lambda unit: MASKS[unit, :2]))
    with pytest.raises(ValueError, match=r"expected masks \[3 h w\] of unit 0"):
        report.unit_gallery(gallery(sets=(masks,)))


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs a browser")
@pytest.mark.parametrize(
    ("address", "there", "missing"),
    [
        ("#sort=lc&detects=1", ["2 of 4 units", '<canvas role="img" aria-label="unit 0, real image 1'], ["no image excites"]),
        ("#category=-", ["2 of 4 units", "no image excites this unit"], ['data-unit="0"']),
        ("#q=nothing", ["0 of 4 units"], ["<canvas"]),
        ("#unit-1", ["Top adversarial images", "Nearest concepts", "Classes of its top images"], []),
        ("#view=table", ["4 of 4 units", "<tbody><tr>"], ["<canvas"]),
    ],
)
def test_a_browser_draws_it(tmp_path: pathlib.Path, address: str, there: list[str], missing: list[str]) -> None:
    path = report.write_unit_gallery(gallery(), tmp_path / "page.html")
    command = [
        "chromium",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--window-size=1300,2500",
        f"--user-data-dir={tmp_path / 'profile'}",
    ]
    command += [
        "--virtual-time-budget=20000",
        "--run-all-compositor-stages-before-draw",
        "--enable-logging=stderr",
        "--dump-dom",
        f"{path.as_uri()}{address}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in done.stderr and "Uncaught" not in done.stderr
    shown = done.stdout[: done.stdout.index('id="meta"')]
    assert all(text in shown for text in there) and not any(text in shown for text in missing)
