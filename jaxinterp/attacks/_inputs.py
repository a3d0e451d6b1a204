"""Losses of images that are transformed before the network sees them, and means of losses over draws."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxinterp._base import Batch
from jaxinterp.attacks._gradient import example_keys
from jaxinterp.attacks._loss import Loss
from jaxinterp.attacks._samples import check_samples, mean_loss

InputTransform = Callable[[Array, Array], Array]
"""`(key, image) -> image`, of one image `[h w c]`; differentiable."""


def with_inputs(loss: Loss, transform: InputTransform) -> Loss:
    """The loss of transformed images: any change that an image is to survive, drawn anew in each step.

    Every image has draws of its own, by the key of the step and its id. Around `ensemble(loss)` all members see the same
    transformed images; within it, each member sees its own: members have different keys.

    Args:
        loss: of the transformed images; `batch.image` stays the clean one.
        transform: `(key, image) -> image`, of one image `[h w c]`; the gradient goes through it.

    Returns:
        A loss. It needs a key: for scoring, use `loss` itself.

    Example:
        >>> import jax
        >>> from jaxinterp import attacks
        >>> def brighter(key, image):
        ...     return image * jax.random.uniform(key, (), image.dtype, 0.8, 1.2)
        >>> attack = attacks.mi_fgsm(8 / 255, loss=attacks.with_inputs(attacks.cross_entropy, brighter))
    """

    def of_transformed(key: Array | None, model: Any, adversarial: Array, batch: Batch) -> Array:
        if key is None:
            raise ValueError("expected a key, got None; the transformation draws by it: score with the loss inside.")
        loss_key, draw_key = jax.random.split(key)
        return loss(loss_key, model, jax.vmap(transform)(example_keys(draw_key, batch), adversarial), batch)

    return of_transformed


def diverse_inputs(loss: Loss, *, probability: float = 0.5, smallest: float = 0.9) -> Loss:
    """DI: with a probability, the image is made smaller and put at a random place of black.

    The factor is uniform in `smallest` to 1 and the place is uniform among those where the image fits. Unlike the paper, which
    enlarges images of 299 pixels to 299 to 329 and pads them to 330, the image keeps the size of the network, as where the
    authors of later attacks resize the padded image back: 299 / 330 is the factor .9. Factor and place are real numbers,
    resizing is bilinear, and every image has draws of its own (our readings).

    Args:
        loss: of the transformed images.
        probability: that an image is transformed, in [0, 1].
        smallest: the smallest factor, in (0, 1].

    Returns:
        A loss; see `with_inputs`.

    Raises:
        ValueError: a number outside the range stated.

    Example:
        >>> from jaxinterp import attacks
        >>> attack = attacks.mi_fgsm(16 / 255, loss=attacks.diverse_inputs(attacks.cross_entropy))

    References:
        C. Xie, Z. Zhang, Y. Zhou, S. Bai, J. Wang, Z. Ren, A. Yuille, "Improving Transferability of Adversarial Examples with
        Input Diversity", CVPR 2019, section 3.3.
    """
    if not 0 <= probability <= 1:
        raise ValueError(f"expected probability in [0, 1], got {probability}; write probability=0.5.")
    if not 0 < smallest <= 1:
        raise ValueError(f"expected smallest in (0, 1], got {smallest}; write smallest=0.9.")

    def transform(key: Array, image: Array) -> Array:
        choice_key, size_key, place_key = jax.random.split(key, 3)
        factor = jax.random.uniform(size_key, (), image.dtype, smallest, 1.0)
        sides = jnp.asarray(image.shape[:2], image.dtype)
        place = jax.random.uniform(place_key, (2,), image.dtype) * sides * (1 - factor)
        return jnp.where(jax.random.uniform(choice_key) < probability, shrunk(image, factor, place), image)

    return with_inputs(loss, transform)


def shrunk(image: Array, factor: Array, place: Array) -> Array:
    """An image `[h w c]` made smaller by a factor, its corner `place` `[2]` pixels from that of as large a black image."""
    # Pixels that no pixel of the image falls on become 0, which is the padding.
    scale = jnp.full(2, factor)
    return jax.image.scale_and_translate(image, image.shape, (0, 1), scale, place, method="linear", antialias=False)


def scale_invariant(loss: Loss, *, num_copies: int = 5) -> Loss:
    """SI: the mean of the loss over copies of the image that are divided by 1, 2, 4, ...

    Args:
        loss: of each copy; `batch.image` stays the clean one.
        num_copies: m, how many copies; 1 is the loss itself.

    Returns:
        A loss. Copies have different keys, so that what is drawn is drawn for each: `scale_invariant(diverse_inputs(loss))`.

    Raises:
        ValueError: num_copies below 1.

    Example:
        >>> from jaxinterp import attacks
        >>> attack = attacks.ni_fgsm(16 / 255, loss=attacks.scale_invariant(attacks.cross_entropy))

    References:
        J. Lin, C. Song, K. He, L. Wang, J. E. Hopcroft, "Nesterov Accelerated Gradient and Scale Invariance for Adversarial
        Attacks", ICLR 2020, section 3.2.
    """
    check_samples(num_copies, name="num_copies")

    def of_copies(key: Array | None, model: Any, adversarial: Array, batch: Batch) -> Array:
        def values_at(index: Array, images: Array) -> Array:
            copy_key = None if key is None else jax.random.fold_in(key, index)
            return loss(copy_key, model, images * jnp.exp2(-index.astype(images.dtype)), batch)

        return mean_loss(values_at, adversarial, num_samples=num_copies)

    return of_copies


def expectation(loss: Loss, *, num_samples: int) -> Loss:
    """EOT: the mean of the loss over draws, of a network that draws at random or of a loss that does.

    One draw after the other, so the memory is that of one. On CPU the program has all of them and takes longer to compile.

    Args:
        loss: draws by its key: of a model such as `models.with_random_resize_pad` returns, or `with_inputs(...)`.
        num_samples: how many draws.

    Returns:
        A loss; its draws are anew in each step. It needs a key.

    Raises:
        ValueError: num_samples below 1; when it is called, no key.

    Example:
        >>> from jaxinterp import attacks
        >>> attack = attacks.pgd(8 / 255, loss=attacks.expectation(attacks.cross_entropy, num_samples=20))

    References:
        A. Athalye, L. Engstrom, A. Ilyas, K. Kwok, "Synthesizing Robust Adversarial Examples", ICML 2018, section 2.1.
    """
    check_samples(num_samples)

    def of_draws(key: Array | None, model: Any, adversarial: Array, batch: Batch) -> Array:
        if key is None:
            raise ValueError("expected a key, got None; the draws are made by it: score with the loss inside.")

        def values_at(index: Array, images: Array) -> Array:
            return loss(jax.random.fold_in(key, index), model, images, batch)

        return mean_loss(values_at, adversarial, num_samples=num_samples)

    return of_draws
