"""Attacks that look for the nearest adversarial image."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxinterp import Attack, attacks
from tests.attacks.cases._case import Case

ORDERS = {"linf": np.inf, "l2": 2, "l1": 1, "l0": 0}


def _case(attack: Callable[..., Attack], norm: str, *, converged: dict[str, Any], **fields: Any) -> Case:
    """A row of an attack that takes neither a radius nor a loss."""

    def build(epsilon: Any, *, loss: Any, num_steps: int) -> Attack:
        del epsilon, loss
        return attack(num_steps=num_steps)

    longer = functools.partial(attack, **converged)
    return Case(build, "minimum_norm", norm=ORDERS[norm], converged=longer, **fields)


def _fab(norm: str, **keywords: Any) -> Case:
    attack = functools.partial(attacks.fab, norm=norm, **keywords)
    aside = keywords.get("towards") == "target"
    return _case(attack, norm, converged={"num_steps": 12}, num_steps=6, excess=6e-3, target_is_a_direction=aside)


def _deepfool(norm: str, **keywords: Any) -> Case:
    attack = functools.partial(attacks.deepfool, norm=norm, **keywords)
    return _case(attack, norm, converged={"num_steps": 1}, num_steps=8, excess=0.02 + 1e-9)


def _jsma(direction: str, **keywords: Any) -> Case:
    attack = functools.partial(attacks.jsma, direction=direction, **keywords)
    return _case(attack, "l0", converged={"num_steps": 30}, num_steps=20, excess=1.0)


def _fmn(norm: str) -> Case:
    return _case(functools.partial(attacks.fmn, norm=norm), norm, converged={"num_steps": 50}, num_steps=8, excess=1e-3)


def _as_code(model: Any, images: Any) -> Any:
    return images.reshape(len(images), -1)


def _as_image(model: Any, latent: Any) -> Any:
    return latent.reshape(-1, model.image_size, model.image_size, 3)


def _linearised(model: Any) -> Any:
    """The readout of a model whose codes are images: exact where it is linear, else the mean of tangents at random images."""
    dtype = jax.tree.leaves(model.params)[0].dtype
    images = jax.random.uniform(jax.random.key(0), (64, model.image_size, model.image_size, 3)).astype(dtype)
    logits, pullback = jax.vjp(lambda images: model(images)[0], images)
    every = jnp.eye(logits.shape[1], dtype=logits.dtype)
    weight = jax.vmap(lambda one: pullback(jnp.broadcast_to(one[None], logits.shape))[0].mean(0).ravel())(every).T.astype(dtype)
    return weight, jnp.mean(logits - images.reshape(len(images), -1) @ weight, axis=0)


def _latent(**fields: Any) -> Case:
    attack = functools.partial(attacks.latent_attack, _as_code, _as_image, _linearised)
    converged = functools.partial(attack, overshoot=0.02)

    def build(epsilon: Any, *, loss: Any, num_steps: int) -> Attack:
        del epsilon, loss
        return attack(overshoot=1.0, num_steps=num_steps)

    return Case(build, "minimum_norm", norm=2, converged=converged, excess=0.02 + 1e-9, evaluations=4, **fields)


_SEARCH = {"num_search_steps": 8, "initial_weight": 0.01}

CASES: dict[str, Case] = {
    "fab[linf]": _fab("linf"),
    "fab[l1]": _fab("l1"),
    "fab[target]": _fab("l2", towards="target"),
    "deepfool[l2]": _deepfool("l2"),
    "deepfool[linf]": _deepfool("linf", num_candidates=None),
    "deepfool[candidates]": _deepfool("l2", num_candidates=3),
    # The cross-entropy of five classes has another direction than the margin to the nearest.
    "ddn": _case(attacks.ddn, "l2", converged={"num_steps": 50, "initial_radius": 0.1}, num_steps=8, excess=0.35),
    "fmn[l2]": _fmn("l2"),
    "fmn[l1]": _fmn("l1"),
    "fmn[linf]": _fmn("linf"),
    "carlini_wagner": _case(
        functools.partial(attacks.carlini_wagner, initial_weight=10.0, step_size=0.1, num_search_steps=2),
        "l2",
        converged={"num_steps": 200, "step_size": 0.005, **_SEARCH},
        num_steps=8,
        excess=0.06,
    ),
    # The cross-entropy of five classes has another direction than the margin to the nearest.
    "lbfgs": _case(
        functools.partial(attacks.lbfgs, initial_weight=10.0, num_search_steps=2),
        "l2",
        converged={"num_steps": 30, **_SEARCH},
        num_steps=6,
        excess=0.35,
    ),
    "ead": _case(
        functools.partial(attacks.ead, initial_weight=10.0, num_search_steps=2),
        "l1",
        converged={"num_steps": 100, "l1_weight": 1e-3, **_SEARCH},
        num_steps=8,
        excess=0.25,
    ),
    "carlini_wagner_linf": _case(
        functools.partial(attacks.carlini_wagner_linf, initial_weight=10.0, step_size=0.1, num_rounds=2),
        "linf",
        converged={"num_steps": 100, "step_size": 1e-3, "num_rounds": 20, "initial_weight": 0.01},
        num_steps=8,
        excess=0.17,
    ),
    "carlini_wagner_l0": _case(
        functools.partial(attacks.carlini_wagner_l0, initial_weight=10.0, step_size=0.1, num_rounds=1),
        "l0",
        converged={"num_steps": 300, "num_rounds": 1},
        num_steps=8,
        excess=0.5,
        pixels=True,
    ),
    "latent_attack": _latent(num_steps=2),
    "jsma[increase]": _jsma("increase"),
    "jsma[both]": _jsma("both"),
    "jsma[single]": _jsma("both", pairs=False),
}
