"""From a `Page` to one self-contained HTML file."""

import base64
import io
import math
import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any

from jaxinterp.report._records import Claim, Figure, Page, Table
from jaxinterp.report._tables import csv_table, formatted, latex_table, markdown_table, numeric_columns
from jaxinterp.report._template import paragraphs, replace_file, template_of

_LIMIT = 8_000_000
_MARKS = {"reproduced": "✓", "refuted": "✗", "under-powered": "~", "not testable here": "○", "pending": "…"}


def render(page: Page) -> str:
    """The page as HTML: one self-contained file that loads nothing from outside and runs no script.

    Every text is escaped. Figures are embedded; while the whole would be longer than 8 MB, photographs are embedded
    as JPEG of falling quality, then smaller (the PNG files that `write` leaves beside the page keep every pixel).

    Args:
        page: what to show; parts that are missing are left out.

    Returns:
        The text of the HTML file; equal pages give equal text.
    """
    template = template_of("template.html.j2")
    anchors = [f"part-{number}" for number in range(1, len(page.sections) + 1)]
    html = ""
    for quality, scale in ((92, 1.0), (85, 1.0), (75, 0.75), (70, 0.5), (60, 0.35)):
        html = template.render(
            page=page,
            claims=[_claim(claim) for claim in page.claims],
            summary=_summary(page.claims),
            lead=[_item(item, quality, scale) for item in page.lead],
            sections=[
                {
                    "anchor": anchor,
                    "title": section.title,
                    "paragraphs": paragraphs(section.text),
                    "links": section.links,
                    "parts": [_item(item, quality, scale) for item in section.items],
                }
                for anchor, section in zip(anchors, page.sections, strict=True)
            ],
            methods=paragraphs(page.methods),
            complete=all(stage.state == "done" for stage in page.stages),
        )
        if len(html.encode()) <= _LIMIT:
            break
    return html


def write(page: Page, directory: str | os.PathLike[str]) -> pathlib.Path:
    """Writes `index.html`; for each figure `figures/NAME.png`, for each table `tables/TITLE` as .csv, .md and .tex.

    Each file is written under a temporary name and renamed, so a reader never sees half of it, and what was there
    before stays when the disk is full.

    Args:
        page: what to show.
        directory: where to; made when missing.

    Returns:
        The path of `index.html`.

    Raises:
        OSError: the directory cannot be written.
    """
    folder = pathlib.Path(directory)
    html = render(page)
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    for figure in page.figures:
        replace_file(folder / "figures" / f"{figure.name}.png", figure.png)
    _write_tables(page, folder / "tables")
    replace_file(folder / "index.html", html.encode())
    return folder / "index.html"


def _write_tables(page: Page, folder: pathlib.Path) -> None:
    tables = [item for items in (page.lead, *(section.items for section in page.sections)) for item in items]
    names: set[str] = set()
    for table in tables:
        if not isinstance(table, Table):
            continue
        folder.mkdir(exist_ok=True)
        name = re.sub(r"[^a-z0-9]+", "_", table.title.lower()).strip("_") or "table"
        name = name if name not in names else f"{name}_{len(names)}"
        names.add(name)
        for suffix, text in (("csv", csv_table(table)), ("md", markdown_table(table)), ("tex", latex_table(table))):
            replace_file(folder / f"{name}.{suffix}", text.encode())


def _summary(claims: tuple[Claim, ...]) -> list[tuple[int, str]]:
    counts = [(sum(claim.verdict == verdict for claim in claims), verdict) for verdict in _MARKS]
    return [entry for entry in counts if entry[0]]


def _claim(claim: Claim) -> dict[str, Any]:
    effect = claim.effect
    return {
        "claim": claim,
        "effect": "–" if effect is None or not math.isfinite(effect) else _signed(effect, claim),
        "interval": _interval(claim),
        "whisker": _whisker(claim),
        "size": "–" if claim.sample_size is None else f"{claim.sample_size:,}",
        "mark": _MARKS[claim.verdict],
        "kind": claim.verdict.replace(" ", "-"),
    }


def _signed(value: float | int, claim: Claim) -> str:
    """A signed number with as many decimals as make its interval readable."""
    low, high = claim.interval or (value, value)
    spread = high - low if math.isfinite(high - low) else 0.0
    scale = spread or abs(value) or 1.0
    decimals = min(max(1 - math.floor(math.log10(scale)), 0), 4)
    text = f"{value:+.{decimals}f}"
    return text.replace("-", "−")


def _interval(claim: Claim) -> str:
    if claim.interval is None or not all(math.isfinite(end) for end in claim.interval):
        return ""
    return " to ".join(_signed(end, claim) for end in claim.interval)


def _whisker(claim: Claim) -> dict[str, float] | None:
    """Where effect, interval and zero lie on a line from 2 to 98."""
    if claim.effect is None or claim.interval is None:
        return None
    low, high = claim.interval
    if not all(math.isfinite(value) for value in (claim.effect, low, high)):
        return None
    reach = 1.1 * max(abs(low), abs(high), abs(claim.effect)) or 1.0
    low, effect, high = (round(50 + 48 * value / reach, 2) for value in (low, claim.effect, high))
    return {"low": low, "effect": effect, "high": high, "length": max(round(high - low, 2), 0.5)}


def _item(item: Table | Figure, quality: int, scale: float | int) -> dict[str, Any]:
    shared = {"title": item.title, "caption": paragraphs(item.caption), "paper": item.paper}
    if isinstance(item, Figure):
        return {"kind": "figure", "name": item.name, **shared, **_picture(item, quality, scale)}
    numeric = numeric_columns(item)
    rows = [list(zip(row, numeric, strict=True)) for row in formatted(item, None)]
    return {
        "kind": "table",
        "columns": list(zip(item.columns, numeric, strict=True)),
        "groups": item.groups,
        "rows": rows,
        **shared,
    }


def _picture(figure: Figure, quality: int, scale: float | int) -> dict[str, Any]:
    from PIL import Image

    with Image.open(io.BytesIO(figure.png)) as image:
        image.load()
        dpi = float(image.info.get("dpi", (100.0, 100.0))[0])
        alt = figure.alt or str(image.info.get("Description", "")) or f"{figure.title} {figure.caption}".strip()
        width, height = (round(100 * side / dpi) for side in image.size)
        data, kind = min(_encodings(figure.png, image, quality, scale), key=lambda pair: len(pair[0]))
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
    return {"source": source, "alt": alt, "width": width, "height": height}


def _encodings(png: bytes, image: Any, quality: int, scale: float | int) -> Iterator[tuple[bytes, str]]:
    """The PNG itself and, where the picture is heavy, JPEG (never more than the page can do without)."""
    from PIL import Image

    yield png, "png"
    if len(png) < 200_000:
        return
    small = image.convert("RGB")
    if scale < 1:
        small = small.resize((round(small.width * scale), round(small.height * scale)), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=quality, subsampling=0)
    yield buffer.getvalue(), "jpeg"
