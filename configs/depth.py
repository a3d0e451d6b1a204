"""Depth selectivity: a monocular-depth network on the concept world, with and without units assigned to bins of depth.

You, Tsai, Chiu, Li, "Towards Interpretable Deep Networks for Monocular Depth Estimation" (ICCV 2021): assigned training raises
the depth selectivity of units and leaves the error of depth as it is. The concept world says how far away everything in a drawn
picture is; `--pairs` names a folder of real pairs, see `real_pairs`, which only run through.

    jaxinterp depth configs/depth.py --workdir runs/depth

Six trainings of 250 steps take about 15 minutes on two cores. What to expect: docs/depth.md.
"""

import functools
import pathlib

import jax
import optax

from jaxinterp import Model, activations, data, models, pipelines, training

LAYERS = ("layer3.1", "layer4.1", "decoder.3")


def depth(
    *,
    num_training: int = 1200,
    num_held_out: int = 192,
    num_bins: int = 64,
    selectivity_weight: float = 0.1,
    num_steps: int = 250,
    batch_size: int = 16,
    learning_rate: float = 3e-3,
    num_seeds: int = 3,
    pairs: str | None = None,
    seed: int = 0,
) -> pipelines.DepthStudy:
    """Depth on the concept world, small_resnet18 and a light decoder.

    Args:
        num_training: training pictures.
        num_held_out: other pictures, on which everything is measured.
        num_bins: bins of depth.
        selectivity_weight: of the mean depth selectivity of each assigned layer; the paper's is 0.1.
        num_steps: of each training.
        batch_size: images in a step.
        learning_rate: its peak; AdamW, linear warm-up over a tenth, then a cosine.
        num_seeds: trainings of each kind.
        pairs: a folder of real pairs.
        seed: the first of the seeds.
    """
    bins = activations.DepthBins(*data.WORLD_DEPTH, num_bins)

    def build(seed: int) -> Model:
        encoder, decoder = jax.random.split(jax.random.key(seed))
        return models.depth_network(models.small_resnet18(key=encoder), key=decoder)

    def world(count: int, first: int) -> data.CachedSource:
        drawn = data.concept_world(seed=0, num_images=count, first=first, depth=True)
        return data.cached(drawn, keep_concepts=False)

    rate = optax.warmup_cosine_decay_schedule(0.0, learning_rate, max(1, num_steps // 10), num_steps)
    return pipelines.DepthStudy(
        title="Depth selectivity on the concept world",
        description=f"{num_steps:,} steps of {batch_size} images, {num_bins} bins, {num_seeds} seeds.",
        conditions=(
            pipelines.DepthCondition("plain", "plain", training.depth(bins)),
            pipelines.DepthCondition(
                "assigned", "assigned", training.depth(bins, layers=LAYERS, selectivity_weight=selectivity_weight)
            ),
        ),
        build=build,
        source=lambda: world(num_training, 0),
        held_out=lambda: world(num_held_out, 100_000),
        bins=bins,
        layers=LAYERS,
        optimizer=optax.adamw(rate, weight_decay=1e-4),
        num_steps=num_steps,
        batch_size=batch_size,
        seeds=tuple(range(seed, seed + num_seeds)),
        ablated="layer4.1",
        ablations=(1, 4, 16),
        pairs=real_pairs(pathlib.Path(pairs)) if pairs else (),
        augment=data.random_flip(),
    )


def real_pairs(folder: pathlib.Path, *, image_size: int = 64) -> tuple[pipelines.DepthPairs, ...]:
    """The real pairs of a folder: Open3D's samples, 7-Scenes, and the demonstrations of NYU and KITTI; few images each.

    Args:
        folder: with `open3d_samples`, `7scenes_room`, `metric3d_nyu_demo` and `metric3d_kitti_demo`.
        image_size: side of the images in pixels.
    """
    samples, scenes = folder / "open3d_samples", folder / "7scenes_room"
    other, nyu, kitti = samples / "other_formats", folder / "metric3d_nyu_demo", folder / "metric3d_kitti_demo"
    redwood = [(samples / f"color/{name}.jpg", samples / f"depth/{name}.png") for name in _stems(samples / "color")]
    room = [(path, path.with_name(path.name.replace("color.jpg", "depth.png"))) for path in sorted(scenes.glob("*.color.jpg"))]
    rooms = [(nyu / f"rgb/rgb_{name[4:]}.jpg", nyu / f"depth/sync_depth_{name[4:]}.png") for name in _stems(nyu / "rgb")]
    roads = [(kitti / f"rgb/{name}.png", kitti / f"depth/{name}.png") for name in _stems(kitti / "rgb")]
    sources = {
        "redwood": data.depth_pairs(redwood, image_size=image_size),
        "sun": data.depth_pairs([(other / "SUN_color.jpg", other / "SUN_depth.png")], image_size=image_size, rotated=True),
        "tum": data.depth_pairs([(other / "TUM_color.png", other / "TUM_depth.png")], image_size=image_size, metres=1 / 5000),
        "7-scenes": data.depth_pairs(room, image_size=image_size, no_value=(0, 65535)),
        "nyu": data.depth_pairs(rooms, image_size=image_size),
        "kitti": data.depth_pairs(roads, image_size=image_size, metres=1 / 256),
    }
    bins = {name: activations.kitti_bins() if name == "kitti" else activations.nyu_bins() for name in sources}
    return tuple(pipelines.DepthPairs(name, functools.partial(_same, source), bins[name]) for name, source in sources.items())


def _same(source: data.DepthImages) -> data.DepthImages:
    return source


def _stems(folder: pathlib.Path) -> list[str]:
    return sorted(path.stem for path in folder.iterdir())
