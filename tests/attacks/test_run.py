"""`run` on plain arrays: what comes back, and what is refused."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import Attack, _mesh, attacks
from jaxinterp.attacks import _compact
from jaxinterp.attacks._compact import rows_to_keep
from jaxinterp.attacks._run import plain_batch
from tests.attacks import toys

KEY = jax.random.key(0)
IMAGES = np.asarray(toys.make_batch(8).image)
LABELS = np.asarray(toys.make_batch(8).label)
ATTACK = attacks.bim(16 / 255, num_steps=3)


def test_numpy_in_jax_in_same_answer() -> None:
    model = toys.linear_model()
    one = attacks.run(ATTACK, model, IMAGES, LABELS.astype(np.int64), key=KEY)
    two = attacks.run(ATTACK, model, jnp.asarray(IMAGES), jnp.asarray(LABELS), key=KEY)
    np.testing.assert_array_equal(one.adversarial, two.adversarial)
    assert isinstance(one.adversarial, jax.Array)


@pytest.mark.parametrize("count", [8, 5, 1])
def test_any_number_of_images_over_any_mesh(count: int) -> None:
    """The answer is that of one device, on all axes of a mesh, whichever way its axes are followed."""
    model, attack = toys.linear_model(), attacks.square(8 / 255, max_queries=6)
    images, labels, targets = IMAGES[:count], LABELS[:count], (LABELS[:count] + 1) % toys.CLASSES
    alone = attacks.run(attack, model, images, labels, targets=targets, key=KEY)
    for mesh in (jax.make_mesh((2, 2), ("a", "b")), _mesh.data_mesh(3)):
        split = attacks.run(attack, model, images, labels, targets=targets, key=KEY, mesh=mesh)
        jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, atol=1e-6), alone, split)
        assert split.success.shape == (count,)
    radii = [0, 4 / 255]
    alone = attacks.run_epsilons(attacks.fgsm, radii, model, images, labels, key=KEY)
    split = attacks.run_epsilons(attacks.fgsm, radii, model, images, labels, key=KEY, mesh=_mesh.data_mesh(4))
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, atol=1e-6), alone[:3], split[:3])


@pytest.mark.parametrize("axis_type", list(jax.sharding.AxisType)[:2])
def test_images_that_are_split_stay_split(axis_type: jax.sharding.AxisType) -> None:
    model, mesh = toys.linear_model(), jax.make_mesh((4,), ("data",), axis_types=(axis_type,))
    images = jax.device_put(IMAGES, jax.NamedSharding(mesh, jax.P("data")))
    alone, split = (attacks.run(ATTACK, model, one, LABELS, key=KEY) for one in (IMAGES, images))
    np.testing.assert_allclose(alone.adversarial, split.adversarial, atol=1e-6)
    assert len(split.adversarial.sharding.device_set) == 4


def test_success_and_distortion() -> None:
    model = toys.linear_model()
    result = attacks.run(ATTACK, model, IMAGES, LABELS, key=KEY)
    prediction = np.asarray(model(result.adversarial)[0].argmax(1))
    np.testing.assert_array_equal(result.success, prediction != LABELS)
    rms = np.sqrt(((np.asarray(result.adversarial) - IMAGES) ** 2).mean((1, 2, 3)))
    np.testing.assert_allclose(result.distortion, rms, rtol=1e-5)
    targets = (LABELS + 1) % toys.CLASSES
    aimed = attacks.bim(0.5, loss=attacks.targeted(attacks.cross_entropy))
    result = attacks.run(aimed, model, IMAGES, LABELS, key=KEY, targets=targets)
    assert bool(result.success.all())
    np.testing.assert_array_equal(model(result.adversarial)[0].argmax(1), targets)


def test_a_target_that_is_a_direction_does_not_decide_on_success() -> None:
    """FAB towards a class succeeds with any error; other attacks only with the class."""
    model = toys.linear_model()
    label = np.asarray(model(jnp.asarray(IMAGES))[0].argmax(1)).astype(np.int32)
    targets = ((label + 1) % toys.CLASSES).astype(np.int32)
    aside = attacks.fab(towards="target", num_steps=2)
    batch = plain_batch(model, IMAGES, label, targets)
    for attack in (aside, attacks.with_restarts(aside, 1)):
        result = attacks.run(attack, model, IMAGES, label, key=KEY, targets=targets)
        np.testing.assert_array_equal(result.success, attacks.misclassified(None, model, result.adversarial, batch))
        assert bool(result.success.any())
        assert not bool(attacks.joint_success(None, model, result.adversarial, batch).all())


def test_run_batch_inside_jit_and_vmap() -> None:
    batch, model = toys.make_batch(), toys.linear_model()
    direct = attacks.run_batch(ATTACK, model, batch, key=KEY).adversarial
    inside = jax.jit(lambda key, model, batch: attacks.run_batch(ATTACK, model, batch, key=key).adversarial)(KEY, model, batch)
    np.testing.assert_allclose(inside, direct, atol=1e-6)
    start = attacks.pgd(0.1, num_steps=1)
    restarts = jax.vmap(lambda key: attacks.run_batch(start, model, batch, key=key).adversarial)(jax.random.split(KEY, 3))
    assert restarts.shape == (3, *batch.image.shape)
    assert np.abs(np.asarray(restarts[0] - restarts[1])).max() > 0.01


def test_an_attack_that_closes_over_a_mapped_value_runs_in_a_loop() -> None:
    batch, model = toys.make_batch(), toys.linear_model()

    def of_step_size(step_size: jax.Array) -> jax.Array:
        attack = attacks.ensemble_optimization(step_size=step_size, distance_weight=step_size, num_steps=2)
        return attacks.run_batch(attack, model, batch, key=KEY, unroll=True).adversarial

    results = jax.vmap(of_step_size)(jnp.array([0.0, 0.1]))
    np.testing.assert_array_equal(results[0], batch.image)
    assert np.abs(np.asarray(results[1] - batch.image)).max() > 0.05


class _Draws(NamedTuple):
    adversarial: jax.Array
    draws: jax.Array


@pytest.mark.parametrize("unroll", [True, False])
def test_each_step_has_a_key_of_its_own(unroll: bool) -> None:
    """Step `i` gets the key folded with `i`, and `init` one that no step gets, in the loop and in the scan."""

    def init(key: Any, model: Any, batch: Any) -> _Draws:
        return _Draws(batch.image, jax.random.uniform(key, (1,)).repeat(4))

    def step(key: Any, state: _Draws, model: Any, batch: Any) -> tuple[_Draws, None]:
        return state._replace(draws=jnp.roll(state.draws, 1).at[0].set(jax.random.uniform(key))), None

    attack = Attack(init=init, step=step, num_steps=3, kind="fixed_radius")
    draws = attacks.run_batch(attack, toys.linear_model(), toys.make_batch(), key=KEY, unroll=unroll).draws
    expected = [float(jax.random.uniform(jax.random.fold_in(KEY, index))) for index in (2, 1, 0)]
    np.testing.assert_allclose(draws[:3], expected, rtol=1e-6)
    assert len(np.unique(np.asarray(draws))) == 4


class _Search(NamedTuple):
    adversarial: jax.Array
    done: jax.Array
    steps: jax.Array


@pytest.mark.parametrize("unroll", [True, False])
def test_a_run_ends_once_every_row_that_counts_is_done(unroll: bool) -> None:
    """Row `i` is done after `i + 1` steps; the last row, which would never be, is padding."""

    def init(key: Any, model: Any, batch: Any) -> _Search:
        return _Search(batch.image, batch.id < 0, batch.id * 0)

    def step(key: Any, state: _Search, model: Any, batch: Any) -> tuple[_Search, jax.Array]:
        steps = state.steps + 1
        return _Search(state.adversarial, steps > batch.id, steps), steps

    attack = Attack(init=init, step=step, num_steps=100, kind="query")
    batch = toys.make_batch()
    batch = batch._replace(id=batch.id.at[3].set(1000), mask=batch.mask.at[3].set(False))
    state = attacks.run_batch(attack, toys.linear_model(), batch, key=KEY, unroll=unroll)
    assert int(state.steps[0]) == 3 + unroll  # a Python loop looks a step late
    state, infos = attacks.run_with_info(attack, toys.linear_model(), batch, key=KEY, unroll=unroll)
    np.testing.assert_array_equal(infos, np.broadcast_to(np.arange(1, 101)[:, None], (100, 4)))


def test_rows_that_are_done_leave_the_batch_of_a_long_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answers are those of the run that keeps them, and the network is asked about fewer images."""
    monkeypatch.setattr(_compact, "COMPILING", 100.0)
    with jax.enable_x64(True):
        model, counted = toys.counting_model(dtype=np.float64)
        batch = toys.make_batch(16, dtype=np.float64, with_targets=False)
        label = jnp.argmax(model(batch.image)[0], axis=-1).astype(jnp.int32)
        batch = batch._replace(label=label, mask=batch.mask.at[3].set(False))
        attack = attacks.square(48 / 255, max_queries=400)
        expected = attacks.run_batch(attack, model, batch, key=KEY, unroll=False)
        jax.effects_barrier()
        counted.clear()
        state = attacks.run_batch(attack, model, batch, key=KEY, unroll=True)
        jax.effects_barrier()
        assert counted[0] == 16
        assert counted[-1] <= 4
        counts = np.asarray(batch.mask)
        for ours, whole in zip(state, expected, strict=True):
            np.testing.assert_allclose(ours[counts], whole[counts], atol=1e-12)


def test_the_smaller_batch_has_room_for_all_that_go_on() -> None:
    done, mask, settings = np.ones(12, bool), np.ones(12, bool), {"whole": 12, "pixels": 10_000, "steps_left": 1000}
    done[[2, 7]] = mask[5] = False
    two = rows_to_keep(done, mask, None, costs={}, **settings)
    assert two is not None and {2, 7} == set(two)
    split = _mesh.sharded(_mesh.data_mesh(4))
    on_four_devices = rows_to_keep(done, mask, split, costs={}, **settings)
    assert on_four_devices is not None and {2, 7} <= set(on_four_devices) and len(on_four_devices) == 4
    assert 5 not in on_four_devices
    assert rows_to_keep(~done, np.ones(12, bool), None, costs={}, **settings) is not None
    assert rows_to_keep(np.zeros(12, bool), np.ones(12, bool), None, costs={}, **settings) is None


def test_a_smaller_batch_has_to_be_worth_another_program() -> None:
    """A program costs as much as three million pixels: four rows of 10 000 pixels save 40 000 a step."""
    done, mask, costs = np.arange(64) < 5, np.ones(64, bool), {}
    sizes: list[int] = []
    for _ in range(50):
        fewer = rows_to_keep(done, mask, None, whole=64, pixels=10_000, steps_left=30, costs=costs)
        sizes.append(64 if fewer is None else len(fewer))
    assert sizes == [64] * 45 + [60] * 5  # 45 * 40 000 + 30 * 40 000
    done = np.arange(64) < 9
    fewer = rows_to_keep(done, mask, None, whole=64, pixels=10_000, steps_left=10, costs=costs)
    assert fewer is not None and len(fewer) == 60  # 56 is not compiled
    assert rows_to_keep(done, mask, None, whole=64, pixels=10_000, steps_left=3, costs=costs) is None
    last = rows_to_keep(np.arange(64) != 7, mask, None, whole=64, pixels=10_000, steps_left=100, costs={})
    assert last is not None and list(last) == [7]


def test_infos_are_those_of_the_steps() -> None:
    batch, model = toys.make_batch(), toys.linear_model()
    states, infos = zip(
        *(attacks.run_with_info(ATTACK, model, batch, key=KEY, unroll=unroll) for unroll in (True, False)), strict=True
    )
    direct = attacks.run_batch(ATTACK, model, batch, key=KEY)
    for state, info in zip(states, infos, strict=True):
        np.testing.assert_allclose(state.adversarial, direct.adversarial, atol=1e-6)
        assert info.loss.shape == (3, 4)
        np.testing.assert_allclose(info.loss[0], attacks.cross_entropy(None, model, batch.image, batch), rtol=1e-5)
        assert (np.asarray(info.loss[1:] - info.loss[:-1]) <= 1e-6).all()


def test_nothing_waits_for_the_device() -> None:
    batch, model = toys.make_batch(), toys.linear_model()
    for unroll in (True, False):
        attacks.run_batch(ATTACK, model, batch, key=KEY, unroll=unroll)
        with jax.transfer_guard_device_to_host("disallow_explicit"):
            attacks.run_batch(ATTACK, model, batch, key=KEY, unroll=unroll)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": IMAGES * 255}, r"expected images in \[0, 1\], got a maximum of 255.0; divide by 255 first\."),
        ({"images": IMAGES - 0.5}, r"expected images in \[0, 1\], got a minimum of -0.5"),
        ({"images": np.where(IMAGES > 0.9, np.nan, IMAGES)}, "got NaN"),
        ({"images": IMAGES.transpose(0, 3, 1, 2)}, r"write images.transpose\(0, 2, 3, 1\)"),
        ({"images": np.zeros((0, 6, 6, 3), np.float32), "labels": LABELS[:0]}, "expected at least one image"),
        ({"images": IMAGES[:, :4, :4]}, "expected images of 6 x 6, got 4 x 4"),
        ({"labels": LABELS + 5}, "expected labels in 0 to 4, got 5 to "),
        ({"labels": LABELS - 5}, "expected labels in 0 to 4, got -5 to "),
        ({"targets": LABELS + 5}, "expected targets in -1 to 4"),
        ({"targets": LABELS - 2}, "expected targets in -1 to 4, got -2 to "),
    ],
)
def test_refused(change: dict[str, Any], message: str) -> None:
    knobs = {"images": IMAGES, "labels": LABELS, "targets": None, **change}
    with pytest.raises(ValueError, match=message):
        attacks.run(ATTACK, toys.linear_model(), knobs["images"], knobs["labels"], key=KEY, targets=knobs["targets"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": (IMAGES * 255).astype(np.uint8)}, r"write images.astype\('float32'\) / 255"),
        ({"images": IMAGES[0]}, r"add the batch axis with images\[None\]"),
        ({"labels": LABELS[:3]}, r"expected labels \[n\] for 8 images, got shape \(3,\)"),
        ({"labels": LABELS.astype(np.float32)}, r"expected integer labels, got float32; write labels.astype\('int32'\)"),
    ],
)
def test_refused_where_the_shapes_in_the_types_are_not_checked(change: dict[str, Any], message: str) -> None:
    """These also break the annotations, which stand in front of the message in the tests only."""
    unchecked = attacks.run.__wrapped__  # pyright: ignore[reportFunctionMemberAccess]
    knobs = {"images": IMAGES, "labels": LABELS, **change}
    with pytest.raises(ValueError, match=message):
        unchecked(ATTACK, toys.linear_model(), knobs["images"], knobs["labels"], key=KEY)


def test_models_of_different_class_lists_are_refused() -> None:
    other = toys.Model(toys.linear_model().params, {}, toys.Linear(num_classes=7))
    with pytest.raises(ValueError, match=r"expected models of one class list, got \[5, 7\] classes"):
        attacks.run(ATTACK, (toys.linear_model(), other), IMAGES, LABELS, key=KEY)


def test_several_radii_are_one_run_each_by_one_program() -> None:
    model, build = toys.conv_model(), functools.partial(attacks.pgd, num_steps=2)
    epsilons = [0, 4 / 255, 0.1]
    before = len(toys.TRACES)
    results = attacks.run_epsilons(build, epsilons, model, IMAGES, LABELS, key=KEY)
    # init has none, a step one, success one.
    assert len(toys.TRACES) - before <= 2
    np.testing.assert_array_equal(results.adversarial[0], IMAGES)
    for index in (1, 2):
        one = attacks.run(build(epsilons[index]), model, IMAGES, LABELS, key=KEY)
        np.testing.assert_allclose(results.adversarial[index], one.adversarial, atol=1e-6)
        np.testing.assert_array_equal(results.success[index], one.success)
        np.testing.assert_allclose(results.distortion[index], one.distortion, rtol=1e-4)
    assert results.queries is None
    asked = attacks.run_epsilons(functools.partial(attacks.square, max_queries=5), epsilons, model, IMAGES, LABELS, key=KEY)
    assert asked.queries is not None
    assert asked.queries.shape == (3, len(IMAGES))
    for wrong in ([], [-1.0], [float("inf")]):
        with pytest.raises(ValueError, match="expected one or more finite radii >= 0"):
            attacks.run_epsilons(build, wrong, model, IMAGES, LABELS, key=KEY)


def test_a_batch_of_numpy_arrays_is_taken() -> None:
    model, batch = toys.linear_model(), toys.make_batch()
    plain = jax.tree.map(np.asarray, batch)
    one, two = (attacks.run_batch(ATTACK, model, each, key=KEY).adversarial for each in (batch, plain))
    np.testing.assert_array_equal(one, two)
