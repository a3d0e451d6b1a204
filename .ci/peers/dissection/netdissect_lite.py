"""NetDissect-Lite's tally beside ours: the fixture of tests/activations/test_netdissect_lite.py, and real maps.

    PYTHONPATH=.:.ci/peers JAX_PLATFORMS=cpu python .ci/peers/dissection/netdissect_lite.py CHECKOUT
        [--broden FOLDER --weights resnet18.safetensors]

Its `tally_job` and `tally` run as they are in a checkout of github.com/CSAILVision/NetDissect-Lite (`lite.py` says which
revision, and what of Python and NumPy of 2019 is put in their place). Without `--broden` it runs on the sets of
tests/activations/broden_sets.py and writes tests/activations/netdissect_lite.npz: concept maps, maps in eighths, thresholds,
and what it counts. With `--broden` it compares both sides on a network's real maps of the images of a set in Broden's format
and prints how many counts, mask pixels and labels differ.

Where the code of the checkout leaves the paper:

- |M_k| counts for a category on images where the *mask touches* a label of it, not on those that carry one.
- On an image with bare numbers only, the categories touched are those left over from the unit before, plus its own.
- A pixel that carries one label in two layers counts twice.
- A label of two categories counts for the one that it covers most, and labels of both columns count together.
- Thresholds are read from a sketch at place `int(1000 (1 - q) - 1)` of 1 000 evenly spaced quantiles, and interpolated.
"""

import argparse
import pathlib
import tempfile

import jax
import numpy as np
from lite import COMMIT, Lite, imresize

from jaxinterp import activations, data, metrics, models
from tests.activations import broden_sets as sets
from tests.activations.scenes import quantile_loop

FIXTURE = pathlib.Path("tests/activations/netdissect_lite.npz")


def of_set(checkout: str, name: str, scratch: pathlib.Path) -> dict[str, np.ndarray]:
    """What one small set is, and what is counted on it."""
    labels, eighths = sets.draw(name)
    folder = sets.write(name, labels, scratch / name)
    lite = Lite(checkout, folder, scratch / f"{name}.out", image_size=sets.IMAGE_SIZE)
    kept = [int(pathlib.Path(image).stem) for image in lite.images()]
    maps = eighths.astype(np.float64) / 8
    thresholds = quantile_loop(maps, sets.QUANTILE)
    features = maps[kept].transpose(0, 3, 1, 2)
    counts, found = lite.counts(features, thresholds), lite.labels(features, thresholds)
    print(f"{name}: {len(kept)} of {len(labels)} images have labels, {int((found.iou.max(1) > 0.04).sum())} units detect")
    arrays = {"labels": labels, "eighths": eighths, "thresholds": thresholds.astype(np.float32), "kept": np.asarray(kept)}
    arrays |= counts._asdict() | {"label": found.number, "iou": found.iou, "best": found.best}
    arrays |= {"categories": np.asarray(lite.categories), "sketch": lite.thresholds(maps.transpose(0, 3, 1, 2))}
    return {f"{name}/{key}": array for key, array in arrays.items()}


def real(checkout: str, folder: str, weights: str, scratch: pathlib.Path) -> None:
    """Prints what differs on ResNet-18's layer4."""
    model = models.resnet18(weights=weights)
    layer = model.layer(models.last_conv(model))
    source = data.broden(folder, image_size=model.image_size, label_size=112)
    with_maps = jax.jit(lambda model, images: model(images)[1][layer.name])
    batches = list(data.batches(source, batch_size=16))
    maps = [np.asarray(with_maps(model, batch.image)) for batch in batches]
    coarse = activations.quantile_coarse(layer.name, num_units=layer.shape[2])
    fine = activations.quantile_fine(layer.name, _over(coarse, batches, maps, layer.name))
    thresholds = _over(fine, batches, maps, layer.name)
    every = np.concatenate(maps)[: len(source)]

    lite = Lite(checkout, pathlib.Path(folder), scratch, image_size=model.image_size)
    names = [row.image for row in source.rows]
    features = every[[names.index(image) for image in lite.images()]].transpose(0, 3, 1, 2).astype(np.float64)
    counts, found = lite.counts(features, thresholds), lite.labels(features, thresholds)

    knobs = {"thresholds": thresholds, "label_size": 112, "image_size": model.image_size, "anchor": "plain"}
    statistic = activations.tally(layer, categories=source.concepts.categories, area_rule="touched", **knobs)
    ours = _over(statistic, batches, maps, layer.name)
    units = np.arange(layer.shape[2])
    best = metrics.detectors(ours, min_images=1)
    their_names = [lite.data.label[found.number[u, found.best[u]]]["name"] for u in units]
    our_names = [source.concepts.names[c] for c in best.concept]
    masks = jax.jit(
        lambda one: activations.unit_masks(one, thresholds, layer, 112, image_size=model.image_size, anchor="plain")
    )
    differ = total = 0
    for one in every:
        resized = np.stack([imresize(one[..., u], (112, 112), mode="F") for u in units], axis=-1)
        theirs = (resized > thresholds) & (one.max(axis=(0, 1)) > thresholds)
        differ, total = differ + int((theirs != np.asarray(masks(one))).sum()), total + int(theirs.sum())
    print(f"{len(source)} images, {len(units)} units, {len(source.concepts.names) - 1} concepts; checkout {COMMIT[:7]}")
    print(f"mask pixels that differ: {differ} of {total} set")
    print(f"|M_k|: {int(np.abs(counts.mask_area - ours.mask_area).sum())} pixels apart, of {int(ours.mask_area.sum())}")
    columns = [lite.categories.index(name) for name in ours.category_names]
    apart = np.abs(counts.unit_area[:, columns] - ours.unit_area)
    print(f"|M_k| by category: {int(apart.sum())} apart, of {int(ours.unit_area.sum())}")
    print(f"labels that differ: {sum(a != b for a, b in zip(our_names, their_names, strict=True))} of {len(units)}")
    detect = found.iou.max(axis=1) > 0.04
    print(f"detectors: {int(detect.sum())} theirs, {best.number} ours, {int((detect != best.detects).sum())} differ")
    print(f"largest difference of a unit's best IoU: {np.abs(found.iou.max(1) - best.iou).max():.1e}")
    sketch = lite.thresholds(every.transpose(0, 3, 1, 2))
    above = (every.reshape(-1, len(units)) > sketch).mean(axis=0)
    print(f"share above the sketch's thresholds: {above.min():.5f} to {above.max():.5f}, mean {above.mean():.5f}, for 0.005")


def _over(statistic, batches, maps, name):
    update, state = jax.jit(statistic.update), statistic.init()
    for batch, values in zip(batches, maps, strict=True):
        state = update(state, batch, {name: values})
    return statistic.compute(state)


def main() -> None:
    """Writes the fixture, or prints the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", help="folder of NetDissect-Lite")
    parser.add_argument("--broden", help="a set in Broden's format, with labels of 112 x 112")
    parser.add_argument("--weights", help="ResNet-18 in torchvision's layout")
    known = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if known.broden:
            real(known.checkout, known.broden, known.weights, pathlib.Path(scratch))
            return
        arrays = {}
        for name in sets.SETS:
            arrays |= of_set(known.checkout, name, pathlib.Path(scratch))
        np.savez_compressed(FIXTURE, **arrays)
        print(f"{FIXTURE}: {FIXTURE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
