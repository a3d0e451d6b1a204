"""Discrepancy maps: do they find the pixels that planted units answer to, and what does an image cost?

    python benchmarks/discrepancy.py [--images 48] [--smoke]
    python benchmarks/discrepancy.py --weights resnet18.safetensors --data IMAGES [--images 2] [--batch 64]

Without weights: units whose pixels are known, on pictures of the concept world at 64 px. A "pattern" unit is a matched
filter of one of eight random patterns, and an image has one of them pasted in; "centred" reads it in the middle of its
receptive field, "aside" from a cell two strides away. A "colour" unit answers to the share of a colour's pixels in its
window, and the labels say which pixels these are. Compared are the discrepancy map (by position and by maximum, spread
over the occluder's footprint or interpolated between centres), the upsampled activation map and a map of smooth noise:
AUROC, IoU at half of the maximum, the best IoU, the pointing game, and deletion and insertion, each with a bootstrap interval
over images.

With weights: time an image of a ResNet-18's last block on real images. A row goes to benchmarks/results/discrepancy.jsonl.
"""

import argparse
import json
import pathlib
import time
from typing import Any

import _rows
import numpy as np

SIZE, SIDE, CELL, PATTERNS = 64, 9, 8, 8


def pattern_network(patterns: np.ndarray, aside: int) -> Any:
    """Units that answer to patterns, read from a cell `aside` strides to the lower right of where they say that they are."""
    import jax
    import jax.numpy as jnp

    from jaxinterp import models

    def apply(params, images):
        dims = ("NHWC", "HWIO", "NHWC")
        found = jax.lax.conv_general_dilated(images, params["filters"], (1, 1), "SAME", dimension_numbers=dims)
        found = jax.nn.relu(found - params["floor"][None, None, None])
        pooled = jax.lax.reduce_window(found, -jnp.inf, jax.lax.max, (1, CELL, CELL, 1), (1, CELL, CELL, 1), "VALID")
        moved = jax.lax.conv_general_dilated(pooled, params["move"], (1, 1), "SAME", dimension_numbers=dims)
        return models.named("units", jax.nn.relu(moved)).mean(axis=(1, 2))

    filters = patterns - patterns.mean(axis=(1, 2, 3), keepdims=True)
    scale = np.sqrt((filters**2).sum(axis=(1, 2, 3)))
    reach = 2 * aside + 1
    move = np.zeros((reach, reach, PATTERNS, PATTERNS), np.float32)
    move[-1, -1] = np.eye(PATTERNS)
    params = {
        "filters": jnp.asarray((filters / scale[:, None, None, None]).transpose(1, 2, 3, 0), jnp.float32),
        "floor": jnp.asarray(0.6 * scale, jnp.float32),
        "move": jnp.asarray(move),
    }
    return models.from_function(apply, params, image_size=SIZE)


def colour_network() -> tuple[Any, np.ndarray]:
    """Units that answer to the share of a colour's pixels in a window of 16 x 16, by the rule of the labels."""
    import jax
    import jax.numpy as jnp

    from jaxinterp import models
    from jaxinterp.data._world_render import color_concepts

    table = color_concepts(
        np.stack(np.meshgrid(*[np.arange(32, dtype=np.uint8) * 8] * 3, indexing="ij"), axis=-1).reshape(32, -1, 3)
    )
    kinds = np.unique(table)

    def apply(params, images):
        high = jnp.floor(jnp.round(images * 255) / 8).astype(jnp.int32)
        seen = params[(high[..., 0] * 32 + high[..., 1]) * 32 + high[..., 2]]
        window = (1, 2 * CELL, 2 * CELL, 1)
        shares = jax.lax.reduce_window(seen, 0.0, jax.lax.add, window, (1, CELL, CELL, 1), "VALID") / (4 * CELL**2)
        return models.named("units", shares).mean(axis=(1, 2))

    params = jnp.asarray((table.ravel()[:, None] == kinds[None, :]).astype(np.float32))
    return models.from_function(apply, params, image_size=SIZE, layers=[window_layer(len(kinds)), "logits"]), kinds


def window_layer(units: int) -> Any:
    """Where the windows of the colour units lie."""
    from jaxinterp import Layer

    side = (SIZE - 2 * CELL) // CELL + 1
    return Layer("units", (side, side, units), float(CELL), CELL - 0.5, 2 * CELL)


def planted(kind: str, count: int) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray]:
    """A network, images, the unit that is asked of each, and the pixels that it answers to."""
    from jaxinterp import data
    from jaxinterp.data._world_render import color_concepts

    rng, source = np.random.default_rng(0), data.concept_world(seed=5, num_images=count)
    images = np.stack([source[i].image for i in range(count)]).astype(np.float32) / 255
    known = np.zeros((count, SIZE, SIZE), bool)
    if kind == "colour":
        model, kinds = colour_network()
        labels = np.stack([np.asarray(source[i].concepts)[..., 0] for i in range(count)])
        share = np.asarray(model(images)[1]["units"])
        # The colour of which a window is about half full: neither nothing nor all of the window is to be found. Not the
        # colour that deleted pixels have.
        half = np.abs(share.max(axis=(1, 2)) - 0.5)
        half[:, kinds == color_concepts(np.full((1, 1, 3), 127, np.uint8))[0, 0]] = 1
        units = half.argmin(axis=1)
        for i, unit in enumerate(units):
            row, column = np.unravel_index(share[i, ..., unit].argmax(), share.shape[1:3])
            window = np.s_[i, row * CELL : row * CELL + 2 * CELL, column * CELL : column * CELL + 2 * CELL]
            known[window] = labels[window] == kinds[unit]
        return model, images, units, known
    patterns = rng.random((PATTERNS, SIDE, SIDE, 3)).astype(np.float32)
    aside = 2 if kind == "aside" else 0
    units = rng.integers(0, PATTERNS, count)
    for i, unit in enumerate(units):
        row, column = rng.integers(CELL * aside, SIZE - SIDE, 2)
        images[i, row : row + SIDE, column : column + SIDE] = patterns[unit]
        known[i, row : row + SIDE, column : column + SIDE] = True
    return pattern_network(patterns, aside), images, units, known


def compare(kind: str, count: int, batch: int) -> dict[str, Any]:
    """Every map of one kind of planted unit against the known pixels."""
    import jax
    import scipy.ndimage

    from jaxinterp import activations, metrics

    model, images, units, known = planted(kind, count)
    rows, rng = np.arange(count), np.random.default_rng(1)
    maps = {}
    for drop in ("position", "maximum"):
        start = time.perf_counter()
        found = activations.discrepancy_maps(
            jax.random.key(0), model, images, layers=("units",), drop=drop, occluder=7, stride=2, batch_size=batch
        )["units"]
        print(f"{kind} {drop}: {(time.perf_counter() - start) / count:.2f} s an image", flush=True)
        for spread in ("footprint", "centre"):
            maps[f"{drop}, {spread}"] = activations.discrepancy_on_image(found, spread=spread)[rows, :, :, units]
    plain = model(images)[1]["units"]
    peak = np.asarray(plain).reshape(count, -1, plain.shape[3])[rows, :, units].argmax(axis=1)
    maps["activation"] = np.asarray(activations.upsample(plain, model.layer("units"), SIZE, image_size=SIZE)[rows, :, :, units])
    maps["noise"] = scipy.ndimage.gaussian_filter(rng.normal(size=known.shape), (0, 4, 4))
    table: dict[str, Any] = {}
    for name, one in maps.items():
        scores = metrics.localization(one, known)
        causal = metrics.deletion_insertion(
            model, images, one, units, layer="units", positions=peak, relative=True, blur=2.5, batch_size=batch
        )
        values = scores._asdict() | {"deletion": causal.deletion_auc, "insertion": causal.insertion_auc}
        values.pop("area")
        table[name] = {
            score: [round(x, 3) for x in metrics.bootstrap_interval(rng, np.asarray(value, float), rows)]
            for score, value in values.items()
        }
        shares = (0.1, 0.2, 0.3, 0.5, 0.7)
        table[name]["iou by share"] = {s: round(float(metrics.localization(one, known, share=s).iou.mean()), 3) for s in shares}
    return {"kind": kind, "images": count, "area": round(float(known.mean()), 4), "maps": table}


def timed(known: argparse.Namespace) -> dict[str, Any]:
    """Seconds an image for all units of a ResNet-18's last block, the first with compilation."""
    import jax
    from PIL import Image

    from jaxinterp import activations, models

    model = models.resnet18(weights=known.weights)
    files = sorted(path for path in pathlib.Path(known.data).iterdir() if path.suffix in (".png", ".jpg"))[: known.images]
    pictures = [Image.open(path).convert("RGB").resize((224, 224), Image.Resampling.BILINEAR) for path in files]
    images = np.stack([np.asarray(picture) for picture in pictures]).astype(np.float32) / 255
    seconds, processor = [], []
    for i in range(len(images)):
        start, spent = time.perf_counter(), time.process_time()
        activations.discrepancy_maps(jax.random.key(0), model, images[i : i + 1], layers=("layer4.1",), batch_size=known.batch)
        seconds.append(round(time.perf_counter() - start, 2))
        processor.append(round(time.process_time() - spent, 2))
        print(f"image {i}: {seconds[-1]} s", flush=True)
    return {
        "kind": "resnet18",
        "batch": known.batch,
        "seconds": seconds,
        "processor seconds": processor,
        "device": str(jax.devices()[0]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--weights", default="")
    parser.add_argument("--data", default="")
    parser.add_argument("--smoke", action="store_true")
    known = parser.parse_args()
    count = 4 if known.smoke else known.images
    results = (
        [timed(known)] if known.weights else [compare(kind, count, known.batch) for kind in ("centred", "aside", "colour")]
    )
    for found in results:
        row = {"benchmark": "discrepancy"} | found | _rows.place()
        print(json.dumps(row, indent=1))
        if not known.smoke:
            _rows.append(_rows.path("discrepancy"), row)


if __name__ == "__main__":
    main()
