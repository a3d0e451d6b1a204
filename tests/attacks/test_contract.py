"""Every attack against every law of its kind; an attack that is exported and missing from the table fails."""

import functools
import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import Attack, Batch, attacks
from jaxinterp._mesh import data_mesh, replicated, sharded
from jaxinterp.attacks._run import _init, _scan, _step
from tests.attacks import toys
from tests.attacks.cases import CASES

pytestmark = pytest.mark.usefixtures("float64")

EPSILON = 8 / 255
LOSS = attacks.targeted(attacks.cross_entropy)
KEY = 7
COLLECTIVES = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter")
"""What makes devices wait for each other; with several steps in flight they could wait for ever."""


def cases(*kinds: str) -> pytest.MarkDecorator:
    """The attacks of some kinds; all that answer each image by itself where none is given."""
    chosen = [name for name, case in CASES.items() if case.kind in kinds or (not kinds and case.kind != "universal")]
    return pytest.mark.parametrize("name", chosen)


every = cases()
fixed_radius = cases("fixed_radius")
bounded = pytest.mark.parametrize("name", [n for n, case in CASES.items() if case.kind == "fixed_radius" or case.radius])


@functools.cache
def attack_of(name: str, num_steps: int | None = None) -> Attack:
    case = CASES[name]
    return case.build(EPSILON, loss=LOSS, num_steps=num_steps or case.num_steps)


def answer(name: str, model: Any, batch: Batch, *, seed: int = KEY) -> np.ndarray:
    """By one compiled scan; every test that stays with the conv toy and four rows shares its program."""
    state = attacks.run_batch(attack_of(name), model, batch, key=jax.random.key(seed), unroll=False)
    return np.asarray(state.adversarial)


def example(name: str | None = None) -> tuple[Any, Batch]:
    """With targets, but for an attack that does not find any by itself."""
    model, batch = toys.conv_model(dtype=np.float64), toys.make_batch(dtype=np.float64)
    return model, batch if name is None or CASES[name].aims else untargeted(batch, model)


def untargeted(batch: Batch, model: Any) -> Batch:
    """The rows without a target, labelled as the model sees them."""
    label = jnp.argmax(model(batch.image)[0], axis=-1).astype(jnp.int32)
    return batch._replace(label=label, target=batch.target * 0 - 1)


def nearest(model: Any, batch: Batch, norm: float) -> np.ndarray:
    """The distance of each image to the nearest boundary of a linear model, where [0, 1] is far away."""
    weight, logits = np.asarray(model.params["weight"]), np.asarray(model(batch.image)[0])
    dual = {1: np.inf, 2: 2, np.inf: 1}[norm]
    distances = []
    for row, label in zip(logits, np.asarray(batch.label), strict=True):
        others = [k for k in range(len(row)) if k != label]
        distances.append(min((row[label] - row[k]) / np.linalg.norm(weight[:, label] - weight[:, k], dual) for k in others))
    return np.asarray(distances)


def fewest(model: Any, batch: Batch, *, pixels: bool) -> np.ndarray:
    """Of how many values, or pixels, it takes to make a linear model err: those that help most, each at the end of its box."""
    weight, logits, counts = np.asarray(model.params["weight"]), np.asarray(model(batch.image)[0]), []
    for row, label, image in zip(logits, np.asarray(batch.label), np.asarray(batch.image), strict=True):
        numbers = []
        for k in set(range(len(row))) - {int(label)}:
            slope = weight[:, k] - weight[:, label]
            gains = np.abs(slope) * np.where(slope > 0, 1 - image.ravel(), image.ravel())
            gains = gains.reshape(-1, 3).sum(1) if pixels else gains
            numbers.append(1 + np.searchsorted(np.cumsum(-np.sort(-gains)), row[label] - row[k]))
        counts.append(min(numbers))
    return np.asarray(counts)


def rows(batch: Batch, index: Any) -> Batch:
    return jax.tree.map(lambda leaf: leaf[np.asarray(index)], batch)


def test_every_exported_attack_is_in_the_table() -> None:
    exported = {
        name
        for name, value in vars(attacks).items()
        if inspect.isfunction(value) and inspect.signature(value).return_annotation is Attack
    }
    assert exported == {name.split("[")[0] for name in CASES}


@every
def test_kind(name: str) -> None:
    assert attack_of(name).kind == CASES[name].kind


@every
def test_in_box_and_moves(name: str) -> None:
    model, batch = example(name)
    result = answer(name, model, batch)
    assert result.min() >= 0
    assert result.max() <= 1
    assert np.abs(result - np.asarray(batch.image)).max() > 1e-3


@every
def test_same_key_same_answer(name: str) -> None:
    np.testing.assert_array_equal(answer(name, *example(name)), answer(name, *example(name)))


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.random])
def test_another_key_another_answer(name: str) -> None:
    assert np.abs(answer(name, *example(name)) - answer(name, *example(name), seed=8)).max() > 1e-3


@every
@pytest.mark.parametrize("unroll", [False, True])
def test_one_trace_over_ten_calls(name: str, unroll: bool) -> None:
    attack = attack_of(name, 1) if unroll else attack_of(name)
    make_model = toys.linear_model if unroll else toys.conv_model
    before, traces = len(toys.TRACES), []
    for seed in range(10):
        model, batch = make_model(seed, dtype=np.float64), toys.make_batch(seed=seed, dtype=np.float64)
        attacks.run_batch(attack, model, batch, key=jax.random.key(seed), unroll=unroll)
        traces.append(len(toys.TRACES) - before)
    assert traces == [traces[0]] * 10
    assert (1 if unroll else 0) <= traces[0] <= CASES[name].evaluations  # the loss, and the criterion where there is one


@every
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_dtype_is_kept(name: str, dtype: Any) -> None:
    model, batch = toys.conv_model(dtype=dtype), toys.make_batch(dtype=dtype)
    state = jax.eval_shape(functools.partial(attacks.run_batch, attack_of(name)), model, batch, key=jax.random.key(0))
    assert state.adversarial.dtype == dtype


@every
def test_rows_alone_padded_permuted_are_the_rows_of_the_batch(name: str) -> None:
    model, batch = example(name)
    whole = answer(name, model, batch)
    alone = np.concatenate([answer(name, model, rows(batch, [i])) for i in range(4)])
    np.testing.assert_allclose(alone, whole, atol=1e-12, rtol=0)

    order = np.array([2, 0, 3, 1])
    np.testing.assert_allclose(answer(name, model, rows(batch, order)), whole[order], atol=1e-12, rtol=0)

    two = rows(batch, [0, 1])
    filler = two._replace(image=two.image * 0 + 1, target=two.target * 0 - 1, id=two.id * 0 - 1, mask=~two.mask)
    padded = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), two, filler)
    np.testing.assert_allclose(answer(name, model, padded)[:2], whole[:2], atol=1e-12, rtol=0)


@every
def test_sharded_is_unsharded_and_loop_is_scan(name: str) -> None:
    """A loop over one program for a step, on devices that never wait for each other."""
    model, batch = example(name)
    mesh, attack = data_mesh(4), attack_of(name)
    split = jax.device_put(batch, sharded(mesh))
    everywhere, key = jax.device_put((model, jax.random.key(KEY)), replicated(mesh))
    sharding = split.image.sharding
    state = _init(attack, key, everywhere, split, sharding=sharding)
    program: Any = _step.lower(attack, key, state, everywhere, split, index=np.int32(0), sharding=sharding).compile()
    for index in range(attack.num_steps):
        state, _ = program(key, state, everywhere, split, index=np.int32(index))
    for collective in COLLECTIVES:
        assert collective not in program.as_text(), f"a step of {name} has an {collective}"
    rowwise = [leaf for leaf in jax.tree.leaves(state) if leaf.ndim and leaf.shape[0] == len(batch.id)]
    assert all(leaf.sharding.is_equivalent_to(sharded(mesh), leaf.ndim) for leaf in rowwise)
    np.testing.assert_allclose(np.asarray(state.adversarial), answer(name, model, batch), atol=1e-12, rtol=0)


def test_sharded_scan_needs_no_communication() -> None:
    model, batch = example()
    mesh = data_mesh(4)
    split = jax.device_put(batch, sharded(mesh))
    model_everywhere, key = jax.device_put((model, jax.random.key(KEY)), replicated(mesh))
    attack = attack_of("ensemble_optimization")
    program: Any = _scan.lower(attack, key, model_everywhere, split, sharding=split.image.sharding).compile()
    for collective in COLLECTIVES:
        assert collective not in program.as_text()
    state = program(key, model_everywhere, split)
    np.testing.assert_allclose(state.adversarial, answer("ensemble_optimization", model, batch), atol=1e-12, rtol=0)


@every
def test_finite_where_gradients_are_zero(name: str) -> None:
    flat = toys.conv_model(dtype=np.float64, scale=0.0)
    assert np.isfinite(answer(name, flat, example(name)[1])).all()


@every
def test_nothing_large_is_a_constant_of_the_program(name: str) -> None:
    attack, (model, batch), key = attack_of(name), example(name), jax.random.key(0)
    state = jax.eval_shape(attack.init, key, model, batch)
    jaxpr = jax.make_jaxpr(attack.step)(key, state, model, batch)
    assert sum(np.size(constant) for constant in jaxpr.consts) < 8
    assert len(jaxpr.in_avals) == 1 + sum(len(jax.tree.leaves(part)) for part in (state, model, batch))


@every
def test_loss_does_not_rise(name: str) -> None:
    model, batch = example(name)
    if CASES[name].own_target:
        batch = batch._replace(target=attacks.least_likely(model, batch.image, num_targets=1)[:, 0])
    loss = jax.jit(functools.partial(LOSS, None))
    after, before = loss(model, answer(name, model, batch), batch), loss(model, batch.image, batch)
    assert np.all(np.asarray(after) <= np.asarray(before))
    assert np.mean(np.asarray(before - after)) > 1e-3


@bounded
def test_in_ball(name: str) -> None:
    model, batch = example(name)
    change = (answer(name, model, batch) - np.asarray(batch.image)).reshape(len(batch.id), -1)
    assert np.linalg.norm(change, ord=CASES[name].norm, axis=1).max() <= EPSILON * (1 + 1e-9)


@bounded
def test_vmap_over_epsilon(name: str) -> None:
    model, batch = example(name)

    def of_epsilon(epsilon: Any) -> jax.Array:
        attack = CASES[name].build(epsilon, loss=LOSS, num_steps=CASES[name].num_steps)
        return attacks.run_batch(attack, model, batch, key=jax.random.key(KEY), unroll=False).adversarial

    results = np.asarray(jax.vmap(of_epsilon)(jnp.array([0.0, EPSILON])))
    np.testing.assert_array_equal(results[0], np.asarray(batch.image))
    np.testing.assert_allclose(results[1], answer(name, model, batch), atol=CASES[name].tie, rtol=0)


PLAIN = [n for n, c in CASES.items() if c.kind == "fixed_radius" and not (c.looks_ahead or c.own_target)]


@pytest.mark.parametrize("name", PLAIN)
def test_targeted_is_minus_untargeted(name: str) -> None:
    """One step towards a class is minus the step away from it, where neither the box nor a random start interferes."""
    batch, model = toys.make_batch(dtype=np.float64), toys.linear_model(dtype=np.float64)
    towards = batch._replace(image=0.4 + 0.2 * batch.image)
    away = towards._replace(label=towards.target, target=towards.target * 0 - 1)
    attack, key, changes = attack_of(name, 1), jax.random.key(KEY), []
    for each in (towards, away):
        state = CASES[name].place(_init(attack, key, model, each, sharding=None), each.image)
        state = _step(attack, key, state, model, each, index=0, sharding=None)[0]
        changes.append(np.asarray(state.adversarial - each.image))
    assert np.abs(changes[0]).max() > 1e-3
    np.testing.assert_allclose(changes[0], -changes[1], atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.takes_ensembles])
def test_an_ensemble_of_one_is_the_model(name: str) -> None:
    model, batch = example(name)
    np.testing.assert_array_equal(answer(name, model, batch), answer(name, (model,), batch))


@cases("minimum_norm")
def test_nearest_image_of_a_linear_model(name: str) -> None:
    """In closed form: the margin to a class, divided by the dual norm of the difference of the weights; or a count."""
    case, batch = CASES[name], toys.make_batch(8, dtype=np.float64)
    model = toys.centred_linear_model(dtype=np.float64)
    batch = untargeted(batch._replace(image=0.4 + 0.2 * batch.image), model)
    assert case.converged is not None
    result = attacks.run_batch(case.converged(), model, batch, key=jax.random.key(KEY), unroll=False).adversarial
    change = np.asarray(result - batch.image).reshape(len(batch.id), -1)
    if case.pixels:
        change = np.abs(change).reshape(len(change), -1, 3).max(2)
    distance = np.linalg.norm(change, ord=case.norm, axis=1)
    least = nearest(model, batch, case.norm) if case.norm else fewest(model, batch, pixels=case.pixels)
    assert np.all(np.asarray(model(result)[0].argmax(1)) != np.asarray(batch.label))
    assert np.all(distance >= least * (1 - 1e-9))
    assert np.all(distance <= least * (1 + case.excess))


@cases("minimum_norm", "query")
def test_what_errs_already_is_left_alone(name: str) -> None:
    model, batch = example(name)
    wrong = untargeted(batch, model)
    wrong = wrong._replace(label=(wrong.label + 1) % toys.CLASSES)
    np.testing.assert_array_equal(answer(name, model, wrong), np.asarray(batch.image))


@cases("minimum_norm", "query")
def test_moved_means_adversarial_or_nothing_found(name: str) -> None:
    """What a minimum-norm attack gives back is adversarial, or the clean image."""
    model, batch = example(name)
    for each in (batch, untargeted(batch, model)):
        result = answer(name, model, each)
        moved = np.abs(result - np.asarray(batch.image)).max((1, 2, 3)) > 0
        aimed = each._replace(target=each.target * 0 - 1) if CASES[name].target_is_a_direction else each
        reached = np.asarray(attacks.joint_success(None, model, jnp.asarray(result), aimed))
        assert np.all(reached[moved]) or CASES[name].kind == "query"


@cases("query")
def test_queries_are_counted_exactly(name: str) -> None:
    """The network itself counts the images on which it is asked for a single row, until that row is done."""
    case, batch = CASES[name], toys.make_batch(dtype=np.float64)
    model, counted = toys.counting_model(dtype=np.float64)
    for index in range(2):
        counted.clear()
        one = rows(batch, [index])
        state = attacks.run_batch(attack_of(name), model, one, key=jax.random.key(KEY), unroll=False)
        jax.effects_barrier()
        assert int(state.queries[0]) == sum(counted)
        assert 0 < sum(counted) <= case.budget


@cases("query")
def test_queries_of_a_row_are_its_own_and_end(name: str) -> None:
    """Whatever the other rows do: a row is done when it is adversarial or its budget is spent, and asks no more."""
    model, batch = example(name)
    batch = untargeted(batch, model)._replace(target=batch.target.at[:2].set(-1))
    batch = batch._replace(label=batch.label.at[0].set((batch.label[0] + 1) % toys.CLASSES))
    whole = attacks.run_batch(attack_of(name), model, batch, key=jax.random.key(KEY), unroll=False)
    assert whole.queries.dtype == jnp.int32
    assert bool(whole.done.all())
    assert int(whole.queries[0]) == 1  # it errs already
    assert int(whole.queries.max()) <= CASES[name].budget
    for index in range(4):
        alone = attacks.run_batch(attack_of(name), model, rows(batch, [index]), key=jax.random.key(KEY), unroll=False)
        assert int(alone.queries[0]) == int(whole.queries[index])


@cases("query")
def test_a_row_that_is_done_is_never_touched_again(name: str) -> None:
    model, batch = example(name)
    attack, key = attack_of(name), jax.random.key(KEY)
    state = attacks.run_batch(attack, model, batch, key=key, unroll=False)
    done = state._replace(done=jnp.ones_like(state.done))
    again, _ = _step(attack, key, done, model, batch, index=attack.num_steps, sharding=None)
    np.testing.assert_array_equal(again.adversarial, state.adversarial)
    np.testing.assert_array_equal(again.queries, state.queries)


@cases("universal")
def test_one_perturbation_in_ball_and_in_box_for_all_rows(name: str) -> None:
    model, batch = example()
    state = attacks.run_batch(attack_of(name), model, batch, key=jax.random.key(KEY), unroll=False)
    perturbation = np.asarray(state.perturbation)
    assert perturbation.shape == batch.image.shape[1:]
    assert 1e-3 < np.linalg.norm(perturbation.ravel(), ord=CASES[name].norm) <= EPSILON * (1 + 1e-9)
    np.testing.assert_array_equal(state.adversarial, np.clip(np.asarray(batch.image) + perturbation[None], 0, 1))
    np.testing.assert_array_equal(state.adversarial, answer(name, model, batch))
    loss = functools.partial(LOSS, None, model)
    assert float(jnp.mean(loss(state.adversarial, batch))) < float(jnp.mean(loss(batch.image, batch)))


@cases("universal")
def test_rows_that_only_fill_up_do_not_count(name: str) -> None:
    model, batch = example()
    two = rows(batch, [0, 1])
    filler = two._replace(image=two.image * 0 + 1, target=two.target * 0 - 1, id=two.id * 0 - 1, mask=~two.mask)
    padded = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), two, filler)
    np.testing.assert_allclose(answer(name, model, padded)[:2], answer(name, model, two), atol=1e-12, rtol=0)


@cases("universal")
def test_universal_is_finite_where_gradients_are_zero_and_the_same_in_shards(name: str) -> None:
    model, batch = example()
    assert np.isfinite(answer(name, toys.conv_model(dtype=np.float64, scale=0.0), batch)).all()
    mesh = data_mesh(4)
    everywhere = jax.device_put(model, replicated(mesh))
    split = answer(name, everywhere, jax.device_put(batch, sharded(mesh)))
    np.testing.assert_allclose(split, answer(name, model, batch), atol=1e-12, rtol=0)
