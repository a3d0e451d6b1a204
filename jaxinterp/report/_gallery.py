"""One page for the units of a layer: every unit a card, sorted and filtered in the browser, one file without a network."""

import json
import os
import pathlib
from typing import Any

import numpy as np

from jaxinterp.report._gallery_fields import Field, fields
from jaxinterp.report._gallery_histogram import COLOURED, categories_of, category_rows, concept_lists
from jaxinterp.report._gallery_records import TopPictures, UnitClasses, UnitGallery, UnitSet
from jaxinterp.report._template import paragraphs, replace_file, template_of
from jaxinterp.report._thumbnails import CHUNK, Pool, chunks, in_base64, masks_of_maps, pools, run_lengths, smaller_masks

_CLASSES = 8


def unit_gallery(gallery: UnitGallery, *, strip: int = 6, mask_side: int = 56, limit: int = 30_000_000) -> str:
    """The units of a layer as one self-contained HTML file: cards with top images, and a page for each unit.

    Each unit has its label, its numbers and, for every set of images, a strip of its top images: the region in which the
    unit is above its threshold is bright and outlined, the rest is dimmed. Units are sorted by any column and filtered by
    concept, category, detection and survival; `#unit-12` at the end of the address opens unit 12 with all its images.

    An image is stored once, however many units it excites, as WebP of the best quality at which all of them stay below
    `limit`; masks are stored as run lengths. The browser draws pictures as they scroll into view, so that thousands of units
    stay quick. Without JavaScript every unit and its numbers are there, without pictures.

    Args:
        gallery: the units of one layer.
        strip: pictures of each set on a card; a unit's own page shows all.
        mask_side: masks are stored with at most this many pixels a side, and drawn smoothly.
        limit: bytes that the pictures may take; the rest of the page comes to about 3 kB a unit.

    Returns:
        The text of the HTML file; equal input gives equal text.

    Raises:
        ValueError: images outside [0, 1], a row that the images do not have, or masks of another number than the pictures.
    """
    columns, keys = fields(gallery), _keys(fields(gallery))
    stored = pools([one.pictures for one in gallery.sets], limit=limit)
    blocks = [
        (f"images-{number}-{part}", some)
        for number, pool in enumerate(stored)
        if pool is not None
        for part, some in enumerate(chunks(list(zip(pool.data, pool.captions, strict=True))))
    ]
    units = (_unit(gallery, stored, unit, mask_side) for unit in range(gallery.num_units))
    blocks += [(f"units-{part}", some) for part, some in enumerate(chunks(list(units)))]
    sets = [_set(one, pool) for one, pool in zip(gallery.sets, stored, strict=True)]
    described = [
        {"key": key, "name": field.name, "group": field.group, "kind": field.kind, "decimals": field.decimals}
        | {"note": field.note, "title": field.title, "values": [_rounded(value) for value in field.values]}
        for key, field in zip(keys, columns, strict=True)
    ]
    meta = {
        "title": gallery.title,
        "units": gallery.num_units,
        "strip": strip,
        "chunk": CHUNK,
        "sets": sets,
        "fields": described,
    }
    meta["dead"] = [] if gallery.dead is None else np.flatnonzero(gallery.dead).tolist()
    rows = category_rows(gallery)
    lead = next((number for number, one in enumerate(gallery.sets) if one.labels is not None), None)
    return template_of("gallery.html.j2").render(
        gallery=gallery,
        sets=sets,
        lead=lead,
        strip=strip,
        cards=_cards(gallery, columns, lead),
        fields=list(zip(keys, columns, strict=True)),
        categories=[] if lead is None else categories_of(gallery.sets[lead].labels),  # pyright: ignore[reportArgumentType]
        rows=rows,
        bar_kinds={bar["set"]: bar["kind"] for row in rows for bar in row["bars"]},
        has_null=any(bar["null"] for row in rows for bar in row["bars"]),
        has_null_labels=any(field.name == "survives" for field in columns if field.group),
        has_masks=any(one.pictures is not None and one.pictures.masks is not None for one in gallery.sets),
        concepts=[concept_lists(one) for one in gallery.sets],
        paragraphs=paragraphs(gallery.text),
        meta=_json(meta),
        blocks=[(name, _json(content)) for name, content in blocks],
    )


def write_unit_gallery(
    gallery: UnitGallery,
    path: str | os.PathLike[str],
    *,
    strip: int = 6,
    mask_side: int = 56,
    limit: int = 30_000_000,
) -> pathlib.Path:
    """Writes `unit_gallery` to a file: under a temporary name, then renamed, so that a reader never sees half of it.

    Args:
        gallery: the units of one layer.
        path: of the HTML file; folders that are missing are made.
        strip: pictures of each set on a card.
        mask_side: masks are stored with at most this many pixels a side.
        limit: bytes that the pictures may take.

    Returns:
        The path.
    """
    target = pathlib.Path(path)
    text = unit_gallery(gallery, strip=strip, mask_side=mask_side, limit=limit)
    target.parent.mkdir(parents=True, exist_ok=True)
    replace_file(target, text.encode())
    return target


def _keys(columns: list[Field]) -> list[str]:
    """A name for each column in the address of the page, no two alike."""
    keys: list[str] = []
    for number, field in enumerate(columns):
        keys.append(field.slug if field.slug not in keys and field.slug != "unit" else f"{field.slug}-{number}")
    return keys


def _set(one: UnitSet, pool: Pool | None) -> dict[str, Any]:
    labels = one.labels
    return {
        "name": one.name,
        "kind": one.name if one.name in COLOURED else "other",
        "labels": labels is not None,
        "categories": [] if labels is None else categories_of(labels),
        "pictures": pool is not None,
        "width": pool.width if pool else 1,
        "height": pool.height if pool else 1,
        "pixels": bool(pool and pool.small),
    }


def _cards(gallery: UnitGallery, columns: list[Field], lead: int | None) -> list[dict[str, Any]]:
    """What the static part of the page says of each unit."""
    by_set = [{field.name: field for field in columns if field.group == one.name} for one in gallery.sets]
    further = [field for field in columns if not field.group and field.name != "dead"]
    cards = []
    for unit in range(gallery.num_units):
        strips = [{name: (field.values[unit], field.text(unit)) for name, field in found.items()} for found in by_set]
        cards.append(
            {
                "unit": unit,
                "dead": gallery.dead is not None and bool(gallery.dead[unit]),
                "lead": {} if lead is None else strips[lead],
                "strips": strips,
                "more": [(field, field.text(unit)) for field in further],
            }
        )
    return cards


def _unit(gallery: UnitGallery, stored: list[Pool | None], unit: int, mask_side: int) -> dict[str, Any]:
    """What the page reads of a unit when it draws it."""
    result: dict[str, Any] = {
        "sets": [
            None if one.pictures is None or pool is None else _pictures(one.pictures, pool, unit, mask_side)
            for one, pool in zip(gallery.sets, stored, strict=True)
        ],
        "ranked": [_ranked(one, unit) for one in gallery.sets],
    }
    if gallery.classes is not None:
        result["classes"] = _classes(gallery.classes, unit)
    if gallery.notes.get(unit):
        result["note"] = paragraphs(gallery.notes[unit])
    return result


def _pictures(pictures: TopPictures, pool: Pool, unit: int, mask_side: int) -> dict[str, Any]:
    index = pictures.index[unit]
    shown = np.flatnonzero(index >= 0)
    result: dict[str, Any] = {"image": np.searchsorted(pool.rows, index[shown]).tolist()}
    if pictures.masks is not None:
        masks = np.asarray(pictures.masks(unit) if callable(pictures.masks) else pictures.masks[unit])
        if masks.ndim != 3 or len(masks) != len(index):
            raise ValueError(f"expected masks [{len(index)} h w] of unit {unit}, got shape {masks.shape}.")
        if masks.dtype != bool:
            if pictures.thresholds is None:
                raise ValueError(f"expected thresholds with maps of type {masks.dtype}, got none; write thresholds=.")
            masks = masks_of_maps(masks, float(pictures.thresholds[unit]), mask_side)
        small = smaller_masks(masks[shown], mask_side)
        result |= {"size": small.shape[1:], "mask": in_base64(run_lengths(small))}
    if pictures.values is not None:
        result["value"] = [_rounded(value) for value in pictures.values[unit][shown].tolist()]
    return result


def _ranked(one: UnitSet, unit: int) -> list[tuple[str, str, float | None]]:
    labels = one.labels
    if labels is None or labels.ranked is None or labels.ranked_iou is None:
        return []
    pairs = zip(labels.ranked[unit].tolist(), labels.ranked_iou[unit].tolist(), strict=True)
    return [(str(labels.names[number]), str(labels.categories[number]), _rounded(iou)) for number, iou in pairs if number]


def _classes(classes: UnitClasses, unit: int) -> dict[str, Any]:
    """The commonest classes of a unit's top images in any of the distributions."""
    shares = np.stack([share[unit] for share in classes.shares.values()]) if classes.shares else np.zeros((0, 0))
    highest = np.nan_to_num(shares).max(axis=0, initial=0)
    best = [number for number in np.argsort(-highest, kind="stable")[:_CLASSES].tolist() if highest[number] > 0]
    return {
        "titles": list(classes.shares),
        "rows": [(classes.names[number], [_rounded(value) for value in shares[:, number].tolist()]) for number in best],
    }


def _rounded(value: Any) -> Any:
    """Floats with six significant digits, which is what the page needs; what is not finite is missing."""
    if not isinstance(value, float):
        return value
    return float(f"{value:.6g}") if np.isfinite(value) else None


def _json(value: Any) -> str:
    """Data for a script element: nothing in it can end the element."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
