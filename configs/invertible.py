"""An invertible network on CIFAR-10 whose classifier is linear in the latent code: normally, or trained with latent attacks.

The network of Behrmann et al., "Invertible Residual Networks" (ICML 2019), as "Exploring Adversarial Examples via Invertible
Neural Networks" (2020) uses it: `models.encode` and `models.decode` go from images to codes and back, and the latent attack
crosses the linear boundary. `--images` is what `data.cifar10` reads.

    jaxinterp train configs/invertible.py --workdir runs/invertible --images cifar-10-python.tar.gz --num-steps 20000

`--objective latent` trains on latent attacks, which cost one inversion each, beside clean images. The defaults are those of two
CPU cores and a few thousand images: five blocks, 0.6 million parameters; docs/invertible.md tells what they reach.
"""

from typing import Literal

import jax
import optax

from jaxinterp import Model, attacks, data, models, pipelines, training

BLOCKS, HIDDEN = (1, 2, 2), (32, 64, 64)
"""The network that is trained where nothing else is said: residual blocks of each stage, and channels inside them."""


def invertible(
    *,
    images: str,
    objective: Literal["standard", "latent"] = "standard",
    blocks: tuple[int, ...] = BLOCKS,
    hidden: tuple[int, ...] = HIDDEN,
    readout: Literal["flat", "pooled"] = "flat",
    coefficient: float = 0.9,
    num_steps: int = 2000,
    batch_size: int = 64,
    learning_rate: float = 2e-3,
    weight_decay: float = 5e-4,
    overshoot: float = 1.0,
    clean_weight: float = 0.5,
    epsilon: float = 8 / 255,
    num_training: int | None = None,
    num_held_out: int | None = None,
    num_robustness: int = 200,
    num_checkpoints: int = 4,
    seed: int = 0,
) -> pipelines.Fit:
    """An i-ResNet on CIFAR-10.

    Args:
        images: an archive or a folder, see `data.cifar10`.
        objective: what is minimised.
        blocks: residual blocks of each stage.
        hidden: channels inside the blocks of each stage.
        readout: what the linear classifier reads, every value of the code or the mean over its positions.
        coefficient: c, the largest norm of a convolution.
        num_steps: of training.
        batch_size: images in a step.
        learning_rate: its peak; Adam, linear warm-up over a tenth, then a cosine.
        weight_decay: times the weights, added to the gradient.
        overshoot: of the latent attacks of training.
        clean_weight: share of the clean images in the loss beside latent attacks.
        epsilon: radius of FGSM and PGD in the evaluation, in [0, 1] units.
        num_training: so many training images, spread evenly; all by default.
        num_held_out: so many test images, spread evenly; all by default.
        num_robustness: how many test images are attacked.
        num_checkpoints: written on the way.
        seed: of weights, order and every draw.
    """

    def build() -> Model:
        knobs = {"blocks": blocks, "hidden": hidden, "readout": readout, "coefficient": coefficient}
        return models.iresnet(**knobs, key=jax.random.key(seed))

    def pictures(split: str, count: int | None) -> data.Source:
        return data.spread(data.cifar10(images, split), count)

    def chosen() -> training.Objective:
        if objective == "standard":
            return training.standard()
        attack = attacks.latent_attack(models.encode, models.decode, models.readout, overshoot=overshoot)
        return training.adversarial(attack, clean_weight=clean_weight)

    rate = optax.warmup_cosine_decay_schedule(0.0, learning_rate, max(1, num_steps // 10), num_steps)
    return pipelines.Fit(
        title=f"i-ResNet on CIFAR-10: {objective}",
        description=f"{num_steps:,} steps of {batch_size} images, convolutions of norm {coefficient} at most.",
        build=build,
        source=lambda: pictures("train", num_training),
        held_out=lambda: pictures("test", num_held_out),
        objective=chosen(),
        optimizer=optax.chain(optax.add_decayed_weights(weight_decay), optax.adam(rate)),
        num_steps=num_steps,
        batch_size=batch_size,
        robustness=pipelines.Robustness(epsilon=epsilon, num_images=num_robustness),
        num_checkpoints=num_checkpoints,
        augment=data.compose(data.random_crop(padding=4), data.random_flip()),
        finish=models.power_iterated,
        seed=seed,
    )
