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


def _divided_by(measure: Any) -> Any:
    def divide(updates: Any, params: Any) -> Any:
        norm = measure(jax.tree.leaves(updates))
        # Not a tiny floor: the compiler may turn `4 g / floor` into `g (4 / floor)`, and zero times infinity is no number.
        norm = jnp.where(norm > 0, norm, 1.0)
        return jax.tree.map(lambda leaf: leaf / norm, updates)

    return divide
