"""Attacks within a ball."""

from typing import Any

import optax

from jaxinterp import Attack, attacks
from tests.attacks.cases._case import Case


def _driver(epsilon: Any, *, loss: Any, num_steps: int) -> Attack:
    rule, ball = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.02)), attacks.l2(epsilon)
    return attacks.gradient_attack(loss, update_rule=rule, ball=ball, num_steps=num_steps)


def _least_likely(epsilon: Any, *, loss: Any, num_steps: int) -> Attack:
    del loss
    return attacks.iterative_least_likely(epsilon, num_steps=num_steps)


def _restarts(epsilon: Any, *, loss: Any, num_steps: int) -> Attack:
    return attacks.with_restarts(attacks.pgd(epsilon, norm="l2", loss=loss, num_steps=num_steps), 2)


def _variance_tuned(attack: Any) -> Any:
    return lambda epsilon, *, loss, num_steps: attack(epsilon, loss=loss, num_steps=num_steps, num_samples=2)


def _place_inner(state: Any, images: Any) -> Any:
    return state._replace(inner=state.inner._replace(iterate=images))


CASES = {
    "fgsm": Case(lambda epsilon, *, loss, num_steps: attacks.fgsm(epsilon, loss=loss), "fixed_radius"),
    "bim": Case(attacks.bim, "fixed_radius"),
    "pgd": Case(attacks.pgd, "fixed_radius", random=True),
    "mi_fgsm": Case(attacks.mi_fgsm, "fixed_radius"),
    "ni_fgsm": Case(attacks.ni_fgsm, "fixed_radius", looks_ahead=True),
    "vmi_fgsm": Case(_variance_tuned(attacks.vmi_fgsm), "fixed_radius", evaluations=4, random=True, looks_ahead=True),
    "vni_fgsm": Case(_variance_tuned(attacks.vni_fgsm), "fixed_radius", evaluations=4, random=True, looks_ahead=True),
    "apgd": Case(attacks.apgd, "fixed_radius", num_steps=5, evaluations=4, random=True),
    "iterative_least_likely": Case(_least_likely, "fixed_radius", own_target=True),
    "with_restarts": Case(_restarts, "fixed_radius", norm=2, random=True, place=_place_inner),
    "gradient_attack": Case(_driver, "fixed_radius", norm=2),
}
