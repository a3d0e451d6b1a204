"""How clean and adversarial images pass through a network in training: together, apart, or by frozen statistics."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxinterp._base import Model

STATISTICS = ("mixed", "split", "frozen")


class Passed(NamedTuple):
    """What a network says of the clean or of the adversarial images.

    Attributes:
        logits: `[n k]`.
        activations: of the layers that were asked for, each row flat: `[n m]`.
    """

    logits: Array
    activations: dict[str, Array]


def check_statistics(statistics: str, *, alone: bool = False) -> None:
    """Raises `ValueError` for another word, and for "split" where adversarial images pass alone.

    Args:
        statistics: what normalises the images.
        alone: no clean images pass.
    """
    if statistics not in STATISTICS:
        raise ValueError(f"expected statistics 'mixed', 'split' or 'frozen', got {statistics!r}; write 'mixed'.")
    if alone and statistics == "split":
        raise ValueError("expected a clean_weight above 0 beside statistics='split', got 0; write statistics='mixed'.")


def pass_one(key: Array, model: Model, images: Array, *, statistics: str) -> tuple[Array, Any]:
    """Logits of images that pass alone, and the new batch statistics.

    Args:
        key: of dropout.
        model: the network under training.
        images: `[n h w c]`.
        statistics: "frozen" evaluates the network; otherwise the images are normalised by their own statistics.
    """
    if statistics == "frozen":
        return model(images, key=key)[0], model.stats
    logits, _, stats = model.train(images, key=key)
    return logits, stats


def pass_both(
    key: Array, model: Model, clean: Array, adversarial: Array, *, statistics: str, layers: tuple[str, ...] = ()
) -> tuple[Passed, Passed, Any]:
    """What the network says of the clean and of the adversarial images, and the new batch statistics.

    Args:
        key: of dropout.
        model: the network under training.
        clean: `[n h w c]`.
        adversarial: `[n h w c]`.
        statistics: "mixed": both pass together, and batch statistics are those of both. "split": they pass one after the
            other, each normalised by its own, and the clean images' move the running ones. "frozen": both pass through the
            network as it is evaluated, with the statistics that it has and without dropout.
        layers: whose activations are wanted.
    """
    if statistics == "split":
        clean_key, adversarial_key = jax.random.split(key)
        logits, activations, stats = model.train(clean, key=clean_key)
        first = Passed(logits, _flat(activations, layers))
        logits, activations, _ = model.train(adversarial, key=adversarial_key)
        return first, Passed(logits, _flat(activations, layers)), stats
    images = jnp.concatenate([clean, adversarial])
    if statistics == "frozen":
        (logits, activations), stats = model(images, key=key), model.stats
    else:
        logits, activations, stats = model.train(images, key=key)
    halves = [jnp.split(leaf, 2) for leaf in (logits, *_flat(activations, layers).values())]
    first, second = (Passed(half[0], dict(zip(layers, half[1:], strict=True))) for half in zip(*halves, strict=True))
    return first, second, stats


def _flat(activations: dict[str, Array], layers: tuple[str, ...]) -> dict[str, Array]:
    return {layer: activations[layer].reshape(activations[layer].shape[0], -1) for layer in layers}
