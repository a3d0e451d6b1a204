"""From a `Page` to one self-contained HTML file."""

import base64
import contextlib
import importlib.resources
import io
import math
import os
import pathlib
import re
import tempfile
from collections.abc import Iterator
from typing import Any

from jaxinterp.report._records import Cell, Claim, Figure, Page, Table

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
    import jinja2

    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(
        importlib.resources.files("jaxinterp.report").joinpath("template.html.j2").read_text("utf-8")
    )
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
                    "paragraphs": _paragraphs(section.text),
                    "parts": [_item(item, quality, scale) for item in section.items],
                }
                for anchor, section in zip(anchors, page.sections, strict=True)
            ],
            methods=_paragraphs(page.methods),
            complete=all(stage.state == "done" for stage in page.stages),
        )
        if len(html.encode()) <= _LIMIT:
            break
    return html


def write(page: Page, directory: str | os.PathLike[str]) -> pathlib.Path:
    """Writes `index.html` and, for each figure, `figures/NAME.png`.

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
        _replace(folder / "figures" / f"{figure.name}.png", figure.png)
    _replace(folder / "index.html", html.encode())
    return folder / "index.html"


def _replace(path: pathlib.Path, content: bytes) -> None:
    with contextlib.suppress(FileNotFoundError):
        if path.read_bytes() == content:
            return
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def _paragraphs(text: str) -> list[str]:
    return [" ".join(part.split()) for part in re.split(r"\n\s*\n", text) if part.strip()]


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
    shared = {"title": item.title, "caption": _paragraphs(item.caption), "paper": item.paper}
    if isinstance(item, Figure):
        return {"kind": "figure", "name": item.name, **shared, **_picture(item, quality, scale)}
    numeric = [all(isinstance(row[i], int | float | None) for row in item.rows) for i in range(len(item.columns))]
    decimals = [max((_decimals(row[i]) for row in item.rows), default=0) for i in range(len(item.columns))]
    rows = [
        [(_cell(cell, places), number) for cell, places, number in zip(row, decimals, numeric, strict=True)]
        for row in item.rows
    ]
    return {"kind": "table", "columns": list(zip(item.columns, numeric, strict=True)), "rows": rows, **shared}


def _decimals(value: Cell) -> int:
    """Decimals that show three significant digits of a float, at most four."""
    if not isinstance(value, float) or not math.isfinite(value) or value == 0:
        return 0
    return min(max(2 - math.floor(math.log10(abs(value))), 0), 4 if abs(value) < 0.1 else 3)


def _cell(value: Cell, decimals: int) -> str:
    if isinstance(value, str):
        return value
    if value is None or not math.isfinite(value):
        return "–"
    return (f"{value:.{decimals}f}" if isinstance(value, float) else str(value)).replace("-", "−")


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
