"""A comparison in seconds: toys trained on a handful of drawn images. For tests; its figures mean nothing."""

import functools

import jax
import numpy as np
import optax

from jaxinterp import Model, attacks, data, models, pipelines, training
from tests.attacks.toys import CLASSES, SIZE, conv_model

WNIDS = ("n02084071", "n02121620", "n02374451", "n01503061", "n02691156", "n02958343", "n04490091", "n04194289")


def compared(*, num_steps: int = 2, feature_weight: float = 1.0, seeds: tuple[int, ...] = (1,)) -> pipelines.Comparison:
    """Normal training beside the consistent loss.

    Args:
        num_steps: of each training.
        feature_weight: of the consistent loss.
        seeds: one network of each kind a seed.
    """

    def pictures(count: int, first: int) -> data.Source:
        images = np.random.default_rng(first).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)
        return data.from_arrays(images, np.arange(count) % CLASSES, classes=list(WNIDS[:CLASSES]))

    def fit(objective: training.Objective, seed: int) -> pipelines.Fit:
        return pipelines.Fit(
            title="A toy",
            description="As small as it can be.",
            build=functools.partial(conv_model, seed),
            source=lambda: pictures(16, 1),
            objective=objective,
            optimizer=optax.adam(1e-2),
            num_steps=num_steps,
            batch_size=8,
            num_checkpoints=1,
            seed=seed,
        )

    def study(seed: int, weights: str) -> pipelines.Study:
        return pipelines.Study(
            title="A toy",
            description="As small as it can be.",
            methods="",
            members=(pipelines.Member("network", lambda: models.load(weights, conv_model(seed)), "conv2"),),
            source=lambda: pictures(48, 2),
            attack=lambda phase: attacks.ensemble_optimization(num_steps=2, distance_weight=1e3),
            num_attacked=24,
            num_targets=1,
            robustness=pipelines.Robustness(epsilon=8 / 255, num_images=16, num_steps=1),
            shard_size=24,
            batch_size=24,
            attack_batch_size=24,
            num_traced=4,
            num_bootstrap_draws=2,
            min_class_images=2,
            seed=seed,
        )

    def norm(model: Model, mesh: jax.sharding.Mesh) -> dict[str, float]:
        return {"weight norm": float(optax.tree.norm(model.params))}

    kinds = {
        "normal": training.standard(),
        "consistent": training.consistent(attacks.fgsm(8 / 255), layer="conv2", feature_weight=feature_weight),
    }
    contenders = [
        pipelines.Contender(name, study, fit=functools.partial(fit, objective), readings=(norm,))
        for name, objective in kinds.items()
    ]
    return pipelines.Comparison(title="Toys", description="Two kinds.", contenders=tuple(contenders), seeds=seeds)
