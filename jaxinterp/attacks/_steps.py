"""Update rules of attacks beyond those of optax; like any rule they see one image's gradient."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array


def normalize_l1() -> optax.GradientTransformation:
    """The update rule that divides a gradient by its L1 norm; a zero gradient stays zero."""
    return optax.stateless(_divided_by(lambda leaves: sum(jnp.sum(jnp.abs(leaf)) for leaf in leaves)))


def normalize_l2() -> optax.GradientTransformation:
    """The update rule that divides a gradient by its Euclidean norm; a zero gradient stays zero."""
    return optax.stateless(_divided_by(lambda leaves: jnp.sqrt(sum(jnp.sum(jnp.square(leaf)) for leaf in leaves))))


def sparse_sign(share: float) -> optax.GradientTransformation:
    """The update rule that keeps the signs of the largest entries of a gradient, divided by the number of those that it keeps.

    Its L1 norm is 1. With one entry it is the steepest direction of the L1 norm.

    Args:
        share: of the entries of an image that are kept, in (0, 1]; at least one is, and all of those that are equally large.

    Returns:
        The rule.

    Raises:
        ValueError: share outside (0, 1].

    References:
        F. Tramer, D. Boneh, "Adversarial Training and Robustness for Multiple Perturbations", NeurIPS 2019, section 3.
    """
    if not 0 < share <= 1:
        raise ValueError(f"expected share in (0, 1], got {share}; write share=0.01.")

    def leaf_sign(gradient: Array) -> Array:
        size = jnp.abs(gradient)
        kept = max(1, math.ceil(share * gradient.size))
        least = jnp.sort(size, axis=None)[gradient.size - kept]
        sign = jnp.where(size >= least, jnp.sign(gradient), 0.0).astype(gradient.dtype)
        return sign / jnp.maximum(jnp.sum(jnp.abs(sign)), 1.0)

    return optax.stateless(lambda updates, params: jax.tree.map(leaf_sign, updates))


def smooth_gradient(*, size: int = 15, kernel: str = "gaussian") -> optax.GradientTransformation:
    """TI: the update rule that convolves a gradient with a kernel, as if the images nearby had been attacked together.

    Each channel by itself, with zeros beyond the border. The kernels are products of one over rows and one over columns, so
    the convolution is two products with banded matrices.

    Args:
        size: side of the kernel in pixels, odd.
        kernel: "gaussian", of standard deviation `size // 2 / 3` pixels, so that the kernel ends at three of them; "uniform";
            or "linear", which falls to zero just beyond its ends. Each sums to 1.

    Returns:
        The rule.

    Raises:
        ValueError: a size that is even or below 1, another kernel.

    Example:
        >>> from jaxinterp import attacks
        >>> attack = attacks.mi_fgsm(16 / 255, smoothing=attacks.smooth_gradient(size=7))

    References:
        Y. Dong, T. Pang, H. Su, J. Zhu, "Evading Defenses to Transferable Adversarial Examples by Translation-Invariant
        Attacks", CVPR 2019, sections 3.3 and 3.4.
    """
    if size < 1 or size % 2 == 0:
        raise ValueError(f"expected size odd and >= 1, got {size}; write size=15.")
    if kernel not in ("gaussian", "uniform", "linear"):
        raise ValueError(f"expected kernel in gaussian, uniform, linear, got {kernel!r}; write kernel='gaussian'.")
    half = size // 2

    def weight(distance: Array) -> Array:
        if kernel == "gaussian":
            return jnp.exp(-0.5 * jnp.square(3 * distance / max(half, 1)))
        return jnp.ones_like(distance) if kernel == "uniform" else 1 - distance / (half + 1)

    def band(side: int, dtype: Any) -> Array:
        place = jnp.arange(side, dtype=dtype)
        distance = jnp.abs(place[:, None] - place[None, :])
        whole = jnp.sum(weight(jnp.abs(jnp.arange(-half, half + 1, dtype=dtype))))
        return jnp.where(distance <= half, weight(distance), 0.0) / whole

    def smooth(gradient: Array) -> Array:
        height, width, _ = gradient.shape
        rows, columns = band(height, gradient.dtype), band(width, gradient.dtype)
        return jnp.einsum("ih,hwc,wj->ijc", rows, gradient, columns, precision="highest")

    return optax.stateless(lambda updates, params: jax.tree.map(smooth, updates))


def _divided_by(measure: Any) -> Any:
    def divide(updates: Any, params: Any) -> Any:
        norm = measure(jax.tree.leaves(updates))
        # Not a tiny floor: the compiler may turn `4 g / floor` into `g (4 / floor)`, and zero times infinity is no number.
        norm = jnp.where(norm > 0, norm, 1.0)
        return jax.tree.map(lambda leaf: leaf / norm, updates)

    return divide
