"""Pages of the units of a layer, with the images each answers to most and where it answers in them."""

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float32, Int

from jaxinterp import activations, data, report
from jaxinterp._base import Batch, Layer, Model
from jaxinterp.activations import Anchor
from jaxinterp.data import ConceptTable, Source
from jaxinterp.pipelines._context import Run, progress
from jaxinterp.pipelines._occlusion_settings import Occlusion
from jaxinterp.pipelines._passes import maps_of

FOLDER = "units"
MASK_SIDE = 56
_UNITS = 128
_RANKED = 5
_DROPS = 2**24
"""Drops of units that are in memory at once."""
_OCCLUDED = 12
"""Folded into the study's key for the pixels of the occluder."""


class UnitImages(NamedTuple):
    """One set of images, and what a layer's units were found to do on it.

    Attributes:
        source: the images.
        ids: of its images, in order.
        arrays: `top_ids`, `top_values`; with concepts also `thresholds`, `iou`, `concept`, `best_iou`, `detects`,
            `attainable`, `p_value`, `survives`.
        caption: row -> what is written under the picture of that image.
    """

    source: Source
    ids: Int[np.ndarray, " n"]
    arrays: Mapping[str, np.ndarray]
    caption: Callable[[int], str]


def write_gallery(
    run: Run,
    name: str,
    model: Model,
    layer: Layer,
    sets: Mapping[str, UnitImages],
    *,
    title: str,
    text: str,
    subtitle: str = "",
    concepts: ConceptTable | None = None,
    anchor: Anchor = "receptive_field",
    columns: tuple[report.Column, ...] = (),
    classes: report.UnitClasses | None = None,
    counts: report.CategoryCounts | None = None,
    iou_threshold: float | None = None,
    occlusion: Occlusion | None = None,
) -> str:
    """Writes the page of a layer's units and its tables as CSV.

    Images are read one after another, once for their maps and once for their pictures; what is kept are the masks.

    Args:
        run: the run.
        name: of the files, in the folder `units` of the work directory.
        model: the network.
        layer: the layer.
        sets: name of the set -> its images and what the units do on them; the first leads.
        title: of the page.
        text: how to read it.
        subtitle: one line under the title.
        concepts: names and categories, where units were compared with concepts.
        anchor: of the masks.
        columns: further columns.
        classes: class distributions of the top images.
        counts: detectors by category.
        iou_threshold: a unit detects above it.
        occlusion: marks what a unit needs of its images, in place of where its map is high.

    Returns:
        The page's path within the work directory.
    """
    stem = re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-")
    strongest = next(iter(sets.values())).arrays["top_values"]
    gallery = report.UnitGallery(
        title,
        layer.shape[2],
        tuple(
            report.UnitSet(
                kind,
                labels=_labels(found.arrays, concepts),
                pictures=_pictures(run, model, layer, found, anchor, occlusion, f"{title} {kind}"),
            )
            for kind, found in sets.items()
        ),
        subtitle=subtitle,
        text=text,
        columns=columns,
        counts=counts,
        count_names=data.CATEGORIES if counts else (),
        classes=classes,
        dead=strongest[:, 0] <= 0,
        threshold=iou_threshold,
    )
    folder = run.workdir.folder(FOLDER)
    report.write_unit_gallery(gallery, folder / f"{stem}.html", mask_side=MASK_SIDE)
    run.workdir.write_text(f"{FOLDER}/{stem}.csv", report.units_csv(gallery))
    if concepts is not None:
        run.workdir.write_text(f"{FOLDER}/{stem}.concepts.csv", report.concepts_csv(gallery))
    return f"{FOLDER}/{stem}.html"


def _labels(arrays: Mapping[str, np.ndarray], concepts: ConceptTable | None) -> report.UnitLabels | None:
    if concepts is None or "iou" not in arrays:
        return None
    order = np.argsort(-arrays["iou"], axis=1, kind="stable")[:, :_RANKED]
    iou = np.take_along_axis(arrays["iou"], order, axis=1)
    return report.UnitLabels(
        concepts.names,
        concepts.categories,
        arrays["concept"],
        arrays["best_iou"],
        arrays["detects"],
        attainable=arrays["attainable"],
        p_value=arrays["p_value"],
        survives=arrays["survives"],
        ranked=np.where(iou > 0, order, 0),
        ranked_iou=iou,
    )


def _pictures(
    run: Run, model: Model, layer: Layer, found: UnitImages, anchor: Anchor, occlusion: Occlusion | None, title: str
) -> report.TopPictures:
    place = {int(name): row for row, name in enumerate(found.ids)}
    index = np.asarray([[place.get(int(name), -1) for name in names] for names in found.arrays["top_ids"]])
    if occlusion is None:
        masks = _masks(run, model, layer, found.source, index, found.arrays.get("thresholds"), anchor, title)
    else:
        masks = _needed(run, model, layer, found.source, index, occlusion, title)
    return report.TopPictures(
        lambda row: data.read(found.source, row, concepts=False).image,
        index,
        masks=masks,
        values=found.arrays["top_values"],
        captions=found.caption,
    )


def _masks(
    run: Run,
    model: Model,
    layer: Layer,
    source: Source,
    index: Int[np.ndarray, "u k"],
    thresholds: np.ndarray | None,
    anchor: Anchor,
    title: str,
) -> Bool[np.ndarray, "u k s s"]:
    """Where each unit is above its threshold in its top images; above half of its maximum where it has no threshold."""
    maps = _top_maps(run, model, layer, source, index, title)
    levels = np.maximum(maps.max(axis=(1, 2, 3)) / 2, 0) if thresholds is None else thresholds
    side = min(MASK_SIDE, source.image_size)
    masks = np.zeros((*index.shape, side, side), bool)
    for start in range(0, len(index), _UNITS):
        some = slice(start, start + _UNITS)
        moved = jnp.asarray(np.moveaxis(maps[some], 0, -1))
        above = _above(moved, jnp.asarray(levels[some]), layer, side, source.image_size, anchor)
        masks[some] = np.moveaxis(np.asarray(above), -1, 0)
    return masks


@functools.partial(jax.jit, static_argnums=(2, 3, 4, 5))
def _above(maps: Array, thresholds: Array, layer: Layer, side: int, image_size: int, anchor: Anchor) -> Array:
    return activations.unit_masks(maps, thresholds, layer, side, image_size=image_size, anchor=anchor)


def _top_maps(
    run: Run, model: Model, layer: Layer, source: Source, index: Int[np.ndarray, "u k"], title: str
) -> Float32[np.ndarray, "u k h w"]:
    """The map of every unit on each of its top images."""
    height, width, num_units = layer.shape
    maps = np.zeros((*index.shape, height, width), np.float32)
    rows = np.unique(index[index >= 0])
    size = run.rounded(min(run.study.batch_size, 32))
    for batch, unit, place, row in _batches(source, rows, index, size, f"{title} pictures"):
        found = np.asarray(maps_of(model, (layer.name,), run.shard(batch).image)[layer.name])
        found = found.reshape(size, height, width, num_units)
        maps[unit, place] = found[row, :, :, unit]
    return maps


def _needed(
    run: Run, model: Model, layer: Layer, source: Source, index: Int[np.ndarray, "u k"], settings: Occlusion, title: str
) -> Bool[np.ndarray, "u k s s"]:
    """The pixels that each unit's answer rests on in the first of its top images."""
    side = min(MASK_SIDE, source.image_size)
    masks = np.zeros((*index.shape, side, side), bool)
    marked = index[:, : settings.num_pictures]
    rows = np.unique(marked[marked >= 0])
    places = ((source.image_size - settings.occluder) // settings.stride + 1) ** 2
    most = max(1, _DROPS // (max(places, side**2) * layer.shape[2]))
    num_batches = max(1, -(-len(rows) // most))
    size = max(1, -(-len(rows) // num_batches))  # as even as can be: rows that fill the last batch up are occluded too
    for batch, unit, place, row in _batches(source, rows, marked, size, f"{title} occluded"):
        found = activations.discrepancy_maps(
            run.key(_OCCLUDED),
            model,
            batch.image,
            layers=(layer.name,),
            occluder=settings.occluder,
            stride=settings.stride,
            drop=settings.drop,
            batch_size=run.rounded(settings.batch_size),
            mesh=run.mesh,
        )[layer.name]
        regions = activations.discrepancy_regions(found, share=settings.share, size=side)
        masks[unit, place] = regions[row, :, :, unit]
    return masks


def _batches(
    source: Source, rows: Int[np.ndarray, " m"], index: Int[np.ndarray, "u k"], size: int, title: str
) -> Iterator[tuple[Batch, np.ndarray, np.ndarray, np.ndarray]]:
    """Images of a source in batches; with each, where `index` names them: unit, place, and row of the batch."""
    read = data.batches(source, batch_size=size, indices=rows.tolist(), read_concepts=False)
    for number, batch in enumerate(progress(read, title=title, total=-(-len(rows) // size))):
        some = rows[number * size : (number + 1) * size]
        unit, place = np.nonzero(np.isin(index, some))
        yield batch, unit, place, np.searchsorted(some, index[unit, place])
