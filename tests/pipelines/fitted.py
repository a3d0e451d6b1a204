"""One training in seconds: a tiny network on a handful of drawn images. For tests; its figures mean nothing."""

import functools

import numpy as np
import optax

from jaxinterp import Model, attacks, data, pipelines, training
from tests.attacks.toys import CLASSES, SIZE, conv_model


def fitted(
    *, num_steps: int = 6, batch_size: int = 8, held_out: bool = True, seed: int = 0, shard_optimizer: bool = False
) -> pipelines.Fit:
    """A convolutional toy trained with the consistent loss.

    Args:
        num_steps: of training.
        batch_size: images in a step.
        held_out: measure accuracies.
        seed: of every draw.
        shard_optimizer: keep the optimiser's state in pieces.
    """

    def build() -> Model:
        return conv_model(seed)

    def pictures(count: int, first: int) -> data.Source:
        rng = np.random.default_rng(first)
        images = rng.integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)
        return data.from_arrays(
            images, rng.integers(0, CLASSES, count), classes=[f"n0000000{index}" for index in range(CLASSES)]
        )

    return pipelines.Fit(
        title="A toy",
        description="As small as it can be.",
        build=build,
        source=lambda: pictures(24, 0),
        held_out=(lambda: pictures(11, 1)) if held_out else None,
        objective=training.consistent(attacks.fgsm(4 / 255), layer="conv2"),
        optimizer=optax.adam(1e-2),
        num_steps=num_steps,
        batch_size=batch_size,
        robustness=pipelines.Robustness(
            epsilon=4 / 255, num_images=7, num_steps=2, transferred_from=functools.partial(conv_model, seed + 1)
        )
        if held_out
        else None,
        evaluate_every=3 if held_out else None,
        augment=data.random_flip(),
        options=training.StepOptions(ema_decay=0.9, shard_optimizer=shard_optimizer),
        num_checkpoints=3,
        num_points=3,
        seed=seed,
    )
