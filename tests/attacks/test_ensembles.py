"""Models fused into one, one member a step, and the two attacks that go from member to member."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import attacks, models
from tests.attacks import toys
from tests.attacks.transcribed import into_ball, norm_of, numpy_gradient

pytestmark = pytest.mark.usefixtures("float64")

KEY = jax.random.key(3)
EPSILON = 8 / 255


def two() -> tuple[Any, Any]:
    return toys.linear_model(0, dtype=np.float64), toys.conv_model(1, dtype=np.float64)


def three_linear() -> tuple[Any, ...]:
    return tuple(toys.linear_model(seed, dtype=np.float64, scale=0.1) for seed in range(3))


def adversarial(attack: Any, model: Any, batch: Any) -> np.ndarray:
    return np.asarray(attacks.run_batch(attack, model, batch, key=KEY).adversarial)


def assert_harder_for_all(members: Any, moved: np.ndarray, batch: Any) -> None:
    for model in members:
        before, after = (attacks.cross_entropy(None, model, images, batch) for images in (batch.image, jnp.asarray(moved)))
        assert np.all(np.asarray(after) < np.asarray(before))


@pytest.mark.parametrize("weights", [None, (3, 1)])
def test_fused_logits_and_probabilities(weights: Any) -> None:
    batch, members = toys.make_batch(dtype=np.float64), two()
    share = np.array([0.5, 0.5] if weights is None else [0.75, 0.25])
    logits = [np.asarray(model(batch.image)[0]) for model in members]
    mean = share[0] * logits[0] + share[1] * logits[1]
    fused = attacks.fuse(members, weights=weights)
    np.testing.assert_allclose(fused(batch.image)[0], mean, rtol=1e-12)
    np.testing.assert_allclose(attacks.fuse(members, weights=jnp.asarray(share * 3))(batch.image)[0], mean, rtol=1e-12)
    p = share[0] * jax.nn.softmax(logits[0]) + share[1] * jax.nn.softmax(logits[1])
    fused = attacks.fuse(members, fusion="probabilities", weights=weights)
    np.testing.assert_allclose(fused(batch.image)[0], np.log(p), rtol=1e-12)


def values_and_gradients(pairs: list[tuple[Any, Any]], batch: Any) -> list[Any]:
    """Of losses at the clean images, each with its model, by one program."""

    @jax.jit
    def of_all(images: Any) -> list[Any]:
        return [jax.value_and_grad(lambda i, p=pair: jnp.sum(p[0](KEY, p[1], i, batch)))(images) for pair in pairs]

    return of_all(batch.image)


def test_losses_of_fused_models_are_the_transforms() -> None:
    """With any loss; a weight of zero leaves a member out, and an ensemble of one is plain."""
    batch, members = toys.make_batch(dtype=np.float64), two()
    equal = []
    for loss in (attacks.cross_entropy, attacks.targeted(attacks.margin)):
        for transform, fusion in ((attacks.ensemble_logits, "logits"), (attacks.ensemble_probabilities, "probabilities")):
            fused: Any = attacks.fuse(members, fusion=fusion, weights=(1, 2))
            equal += [((transform(loss, weights=(1, 2)), members), (loss, fused))]
            equal += [((transform(loss, weights=(0, 1)), members), (loss, members[1]))]
            equal += [((transform(loss), members[:1]), (loss, members[0])), ((transform(loss), members[0]), (loss, members[0]))]
        equal += [((attacks.longitudinal(loss), members[:1]), (loss, members[0]))]
    found = values_and_gradients([pair for pairs in equal for pair in pairs], batch)
    for (value, gradient), (other_value, other_gradient) in zip(found[::2], found[1::2], strict=True):
        np.testing.assert_allclose(value, other_value, rtol=1e-12)
        np.testing.assert_allclose(gradient, other_gradient, atol=1e-12)
        assert np.isfinite(gradient).all()
        assert np.abs(gradient).max() > 1e-3


def test_an_attack_of_one_model_runs_on_fused_models_whose_weights_are_arguments() -> None:
    batch, attack, weights = toys.make_batch(dtype=np.float64), attacks.bim(EPSILON, num_steps=2), ((1, 1), (1, 9))
    traces, answers = [], []
    for share in weights:
        before = len(toys.TRACES)
        answers.append(adversarial(attack, attacks.fuse(two(), weights=share), batch))
        traces.append(len(toys.TRACES) - before)
    assert traces == [2, 0]
    assert np.abs(answers[0] - answers[1]).max() > 1e-3
    result = attacks.run(attack, attacks.fuse(two()), np.asarray(batch.image), np.asarray(batch.label), key=KEY)
    np.testing.assert_allclose(result.adversarial, answers[0], atol=1e-12)


def test_layers_and_taps_carry_the_number_of_the_member() -> None:
    batch, members = toys.make_batch(dtype=np.float64), two()
    fused = attacks.fuse(members)
    assert [layer.name for layer in fused.layers] == ["0.logits", "1.conv1", "1.conv2"]
    assert fused.layer("1.conv2").shape == members[1].layer("conv2").shape
    logits, activations = fused(batch.image, taps={"1.conv2": lambda a: a * 0})
    np.testing.assert_allclose(logits, members[0](batch.image)[0] / 2, rtol=1e-12)
    np.testing.assert_array_equal(activations["1.conv1"], members[1](batch.image)[1]["conv1"])
    with pytest.raises(
        ValueError, match=r"unknown layer 'conv2'; this model has: 0.logits, 1.conv1, 1.conv2; did you mean '1.conv"
    ):
        fused(batch.image, taps={"conv2": lambda a: a})


def test_members_of_different_size_share_one_image() -> None:
    """One of CIFAR's size and a larger one, which resizes inside; an attack gets its gradient through the resizing."""
    small = models.squeezenet1_1(num_classes=10, width=1 / 16, image_size=32, key=jax.random.key(0))
    large = models.squeezenet1_1(num_classes=10, width=1 / 16, image_size=64, key=jax.random.key(1))
    with pytest.raises(ValueError, match=r"one image size, got \[32, 64\]; write models.at_size\(model, 32\)"):
        attacks.fuse((small, large))
    images = jnp.asarray(np.random.default_rng(0).random((2, 32, 32, 3)))
    fused = attacks.fuse((small, models.at_size(large, 32)))
    assert fused.image_size == 32

    @jax.jit
    def logits(fused: Any, small: Any, large: Any, images: Any) -> tuple[Any, Any]:
        resized = jax.image.resize(images, (2, 64, 64, 3), "bilinear", antialias=False)
        return fused(images)[0], (small(images)[0] + large(resized)[0]) / 2

    found, mean = logits(fused, small, large, images)
    np.testing.assert_allclose(found, mean, rtol=1e-9)
    labels, attack = np.argmax(mean, axis=1), attacks.fgsm(EPSILON, loss=attacks.margin)
    result = attacks.run(attack, fused, images, labels, key=KEY, unroll=False)
    after = np.asarray(logits(fused, small, large, result.adversarial)[0])
    label = np.eye(10)[labels] > 0
    margins = [each[label] - np.where(label, -np.inf, each).max(1) for each in (np.asarray(mean), after)]
    assert np.all(margins[1] < margins[0])


def test_fuse_errors() -> None:
    members = two()
    with pytest.raises(ValueError, match="at least one model"):
        attacks.fuse(())
    with pytest.raises(ValueError, match='fusion "logits" or "probabilities", got \'losses\''):
        attacks.fuse(members, fusion="losses")
    with pytest.raises(ValueError, match="expected finite weights"):
        attacks.fuse(members, weights=(0, 0))
    with pytest.raises(ValueError, match="one weight per model, got 3 for 2"):
        attacks.fuse(members, weights=(1, 1, 1))
    with pytest.raises(ValueError, match=r"expected weights \[2\], got shape \(3,\)"):
        attacks.fuse(members, weights=jnp.ones(3))
    with pytest.raises(ValueError, match="expected finite weights"):
        attacks.ensemble_probabilities(attacks.margin, weights=(1, -1))
    other = models.cifar_resnet20(num_classes=7, key=KEY), models.cifar_resnet20(key=KEY)
    with pytest.raises(ValueError, match=r"one class list, got \[7, 10\]"):
        attacks.fuse(other)


def test_longitudinal_is_the_loss_of_one_member_drawn_by_the_key() -> None:
    batch, members = toys.make_batch(dtype=np.float64), two()
    each = [np.asarray(attacks.margin(None, model, batch.image, batch)) for model in members]
    for weights, share in ((None, 0.5), ((3, 1), 0.75), ((0, 1), 0.0)):
        loss = attacks.longitudinal(attacks.margin, weights=weights)
        values = np.asarray(jax.vmap(lambda key, loss=loss: loss(key, members, batch.image, batch))(jax.random.split(KEY, 400)))
        first = np.abs(values - each[0]).max(1) < 1e-9
        second = np.abs(values - each[1]).max(1) < 1e-9
        assert np.all(first ^ second)
        assert abs(first.mean() - share) < 0.08
        assert share or not first.any()
    with pytest.raises(ValueError, match="expected a key, got None"):
        attacks.longitudinal(attacks.margin)(None, members, batch.image, batch)


def test_longitudinal_evaluates_another_member_in_each_step() -> None:
    batch, members = toys.make_batch(dtype=np.float64), three_linear()
    attack = attacks.mi_fgsm(EPSILON, num_steps=4, loss=attacks.longitudinal(attacks.cross_entropy))
    _, info = attacks.run_with_info(attack, members, batch, key=KEY)
    first = [np.asarray(attacks.cross_entropy(None, model, batch.image, batch)) for model in members]
    assert min(np.abs(np.asarray(info.loss[0]) - values).max() for values in first) < 1e-9
    plain = adversarial(attacks.mi_fgsm(EPSILON, num_steps=4), members[0], batch)
    assert np.abs(adversarial(attack, members, batch) - plain).max() > 1e-3


def test_svre_transcribed() -> None:
    batch, members = toys.make_batch(dtype=np.float64), three_linear()
    clean, label = np.asarray(batch.image), np.asarray(batch.label)
    attack = attacks.svre(EPSILON, decay=0.9, inner_decay=0.8, step_size=0.01, inner_step_size=0.007, num_steps=3)
    x, outer, seen = clean.copy(), np.zeros_like(clean), set()
    for index in range(3):
        choice_key, _ = jax.random.split(jax.random.fold_in(KEY, index))
        chosen = np.asarray(jax.random.randint(choice_key, (12,), 0, 3))
        whole = numpy_gradient(x, label, *members)
        u, inner = x.copy(), np.zeros_like(x)
        for k in chosen:
            h = numpy_gradient(u, label, members[k]) - (numpy_gradient(x, label, members[k]) - whole)
            inner = 0.8 * inner + h / norm_of(h, 1)
            u = into_ball(EPSILON, u - 0.007 * np.sign(inner), clean)
        outer = 0.9 * outer + inner / norm_of(inner, 1)
        x = into_ball(EPSILON, x - 0.01 * np.sign(outer), clean)
        seen |= set(chosen.tolist())
    assert seen == {0, 1, 2}
    np.testing.assert_allclose(adversarial(attack, members, batch), x, atol=1e-12)
    assert_harder_for_all(members, x, batch)


def test_svre_of_one_inner_step_on_one_model_is_mi_fgsm() -> None:
    batch, model = toys.make_batch(dtype=np.float64), toys.conv_model(dtype=np.float64)
    attack = attacks.svre(EPSILON, decay=0.7, num_steps=3, num_inner_steps=1)
    plain = adversarial(attacks.mi_fgsm(EPSILON, decay=0.7, num_steps=3), model, batch)
    np.testing.assert_allclose(adversarial(attack, model, batch), plain, atol=1e-12)


def test_mi_cwa_transcribed() -> None:
    batch, members = toys.make_batch(dtype=np.float64), three_linear()
    clean, label = np.asarray(batch.image), np.asarray(batch.label)
    attack = attacks.mi_cwa(EPSILON, decay=0.9, step_size=0.011, reverse_step_size=0.003, inner_step_size=0.08, num_steps=3)
    x, outer, inner = clean.copy(), np.zeros_like(clean), np.zeros_like(clean)
    for _ in range(3):
        u = into_ball(EPSILON, x + 0.003 * np.sign(numpy_gradient(x, label, *members)), clean)
        for member in members:
            gradient = numpy_gradient(u, label, member)
            inner = 0.9 * inner + gradient / norm_of(gradient, 2)
            u = into_ball(EPSILON, u - 0.08 * inner, clean)
        outer = 0.9 * outer - (u - x) / norm_of(u - x, 1)
        x = into_ball(EPSILON, x - 0.011 * np.sign(outer), clean)
    np.testing.assert_allclose(adversarial(attack, members, batch), x, atol=1e-12)
    assert_harder_for_all(members, x, batch)


def test_attack_errors() -> None:
    with pytest.raises(ValueError, match="num_inner_steps >= 1, got 0"):
        attacks.svre(EPSILON, num_inner_steps=0)
    with pytest.raises(ValueError, match="inner_decay >= 0, got -1"):
        attacks.svre(EPSILON, inner_decay=-1)
    with pytest.raises(ValueError, match=r"inner_step_size in .*, got 2"):
        attacks.svre(EPSILON, inner_step_size=2)
    with pytest.raises(ValueError, match=r"reverse_step_size in .*, got 2"):
        attacks.mi_cwa(EPSILON, reverse_step_size=2)
    with pytest.raises(ValueError, match=r"inner_step_size in .*, got -1"):
        attacks.mi_cwa(EPSILON, inner_step_size=-1)
    with pytest.raises(ValueError, match="decay >= 0, got -1"):
        attacks.mi_cwa(EPSILON, decay=-1)
