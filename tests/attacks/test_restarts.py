"""Restarts, and attacks that find their own target."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import attacks
from jaxinterp.attacks._restarts import FRESH
from jaxinterp.attacks._run import INIT
from tests.attacks import toys

KEY = jax.random.key(3)


def test_restarts_by_hand() -> None:
    """The same runs, one after another: the best of each image is the answer, and it is in time after every run."""
    with jax.enable_x64(True):
        model, batch = toys.linear_model(dtype=np.float64), toys.make_batch(6, dtype=np.float64)
        attack = attacks.pgd(0.05, num_steps=2, step_size=0.001, loss=attacks.targeted(attacks.margin))
        restarted = attacks.with_restarts(attack, 3)
        assert restarted.num_steps == 6
        answers, scores = [], []
        step = jax.jit(attack.step)
        for run in range(3):
            first = jax.random.fold_in(KEY, np.uint32(INIT))
            if run:
                first = jax.random.fold_in(jax.random.fold_in(KEY, 2 * run), np.uint32(FRESH))
            state = jax.jit(attack.init)(first, model, batch)
            for index in range(2):
                state, _ = step(jax.random.fold_in(KEY, 2 * run + index), state, model, batch)
            answers.append(np.asarray(state.adversarial))
            scores.append(np.asarray(attacks.joint_margin(None, model, state.adversarial, batch)))
        best = np.argmin(scores, axis=0)
        assert len(set(best)) > 1
        state = attacks.run_batch(restarted, model, batch, key=KEY, unroll=False)
        np.testing.assert_allclose(state.adversarial, np.stack(answers)[best, np.arange(6)], atol=1e-12)
        np.testing.assert_allclose(state.score, np.min(scores, axis=0), atol=1e-12)


def test_one_run_is_the_attack() -> None:
    model, batch = toys.linear_model(), toys.make_batch()
    attack = attacks.pgd(0.05, num_steps=3)
    once = attacks.run_batch(attacks.with_restarts(attack, 1), model, batch, key=KEY)
    np.testing.assert_array_equal(once.adversarial, attacks.run_batch(attack, model, batch, key=KEY).adversarial)


def test_the_network_is_asked_only_where_it_must_be() -> None:
    model, counted = toys.counting_model()
    attack = attacks.with_restarts(attacks.pgd(0.05, num_steps=3), 2)
    attacks.run_batch(attack, model, toys.make_batch(), key=KEY, unroll=False)
    jax.effects_barrier()
    assert sum(counted) == 4 * (6 + 2)


def test_iterative_least_likely_is_bim_towards_the_least_likely_class() -> None:
    model, batch = toys.linear_model(), toys.make_batch()
    state = attacks.run_batch(attacks.iterative_least_likely(0.05, num_steps=4), model, batch, key=KEY)
    target = attacks.least_likely(model, batch.image, num_targets=1)[:, 0]
    np.testing.assert_array_equal(state.target, target)
    towards: Any = attacks.bim(0.05, num_steps=4, loss=attacks.targeted(attacks.cross_entropy))
    expected = attacks.run_batch(towards, model, batch._replace(target=target), key=KEY)
    np.testing.assert_array_equal(state.adversarial, expected.adversarial)


def test_iterative_least_likely_of_an_ensemble() -> None:
    models, batch = (toys.linear_model(0), toys.linear_model(1)), toys.make_batch()
    attack = attacks.iterative_least_likely(0.05, num_steps=1, loss=attacks.ensemble(attacks.cross_entropy))
    state = attacks.run_batch(attack, models, batch, key=KEY)
    np.testing.assert_array_equal(state.target, attacks.least_likely(models, batch.image, num_targets=1)[:, 0])


def test_the_best_iterate_can_be_kept() -> None:
    """With steps that overshoot the loss goes up and down; what is kept is the lowest."""
    model, batch = toys.linear_model(), toys.make_batch()
    goal = batch.image * 0.5 + 0.25

    def loss(key: Any, model: Any, adversarial: Any, batch: Any) -> Any:
        return jnp.mean(jnp.abs(adversarial - goal), axis=(1, 2, 3))

    knobs = {"step_size": 0.4, "num_steps": 3, "loss": loss}
    pgd, mi_fgsm = functools.partial(attacks.pgd, random_start=False), functools.partial(attacks.mi_fgsm, decay=0.5)
    for make in (attacks.bim, mi_fgsm, pgd):
        newest, infos = attacks.run_with_info(make(1.0, **knobs), model, batch, key=KEY)
        kept = attacks.run_batch(make(1.0, keep=loss, **knobs), model, batch, key=KEY)
        np.testing.assert_allclose(loss(None, None, kept.adversarial, batch), np.min(infos.loss, axis=0), rtol=1e-5)
        assert np.all(loss(None, None, kept.adversarial, batch) < loss(None, None, newest.adversarial, batch) - 1e-3)


def test_errors() -> None:
    with pytest.raises(ValueError, match="expected num_restarts >= 1, got 0; write num_restarts=5"):
        attacks.with_restarts(attacks.fgsm(0.1), 0)
    with pytest.raises(ValueError, match="expected norm 'linf', 'l2' or 'l1', got 'l0'"):
        attacks.pgd(0.1, norm="l0")
    with pytest.raises(ValueError, match=r"expected epsilon in \(0, inf\), got 0"):
        attacks.pgd(0, norm="l1")
    with pytest.raises(ValueError, match=r"expected share in \(0, 1\], got 0"):
        attacks.sparse_sign(0.0)
    with pytest.raises(ValueError, match="expected num_steps >= 1"):
        attacks.iterative_least_likely(0.1, num_steps=0)
