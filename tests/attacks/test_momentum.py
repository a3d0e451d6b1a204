"""NI-, VMI-, VNI-FGSM and the smoothing of gradients: papers transcribed, laws, errors."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import correlate

from jaxinterp import attacks
from jaxinterp.attacks._gradient import example_keys
from tests.attacks import toys
from tests.attacks.transcribed import into_ball, norm_of, numpy_gradient

pytestmark = pytest.mark.usefixtures("float64")

KEY = jax.random.key(3)
EPSILON = 8 / 255


def example() -> tuple[Any, Any]:
    return toys.linear_model(dtype=np.float64, scale=0.1), toys.make_batch(dtype=np.float64)


def answer(attack: Any, model: Any, batch: Any) -> np.ndarray:
    return np.asarray(attacks.run_batch(attack, model, batch, key=KEY).adversarial)


def mean_size(images: np.ndarray) -> np.ndarray:
    return norm_of(images, 1) / images[0].size


def noise(step: int, sample: int, batch: Any) -> np.ndarray:
    """What VMI and VNI draw around the images, in units of the reach."""
    _, draw_key = jax.random.split(jax.random.fold_in(jax.random.fold_in(KEY, step), sample))
    keys = example_keys(draw_key, batch)
    draw = jax.vmap(lambda key: jax.random.uniform(key, batch.image.shape[1:], batch.image.dtype, -1.0, 1.0))
    return np.asarray(draw(keys))


@pytest.mark.parametrize("ahead", [True, False])
@pytest.mark.parametrize("num_samples", [0, 3])
def test_transcribed(ahead: bool, num_samples: int) -> None:
    model, batch = example()
    clean, label = np.asarray(batch.image), np.asarray(batch.label)
    x, g, v = clean.copy(), np.zeros_like(clean), np.zeros_like(clean)
    for step in range(4):
        gradient = numpy_gradient(x - 0.01 * 0.9 * g if ahead else x, label, model)
        g = 0.9 * g + (gradient + v) / mean_size(gradient + v)
        if num_samples:
            around = [numpy_gradient(x + 1.3 * EPSILON * noise(step, i, batch), label, model) for i in range(num_samples)]
            v = np.mean(around, axis=0) - gradient
        x = into_ball(EPSILON, x - 0.01 * np.sign(g), clean)
    common: dict[str, Any] = {"decay": 0.9, "step_size": 0.01, "num_steps": 4}
    if num_samples:
        tuned = attacks.vni_fgsm if ahead else attacks.vmi_fgsm
        attack = tuned(EPSILON, num_samples=num_samples, reach=1.3, **common)
    else:
        attack = (attacks.ni_fgsm if ahead else attacks.mi_fgsm)(EPSILON, **common)
    np.testing.assert_allclose(answer(attack, model, batch), x, atol=1e-12)


def test_the_look_ahead_and_the_correction_change_the_answer() -> None:
    model, batch = example()
    built = [
        attacks.mi_fgsm(0.3, num_steps=3),
        attacks.ni_fgsm(0.3, num_steps=3),
        attacks.vmi_fgsm(0.3, num_steps=3, num_samples=2),
        attacks.vni_fgsm(0.3, num_steps=3, num_samples=2),
    ]
    found = [answer(attack, model, batch) for attack in built]
    for index, one in enumerate(found):
        for other in found[:index]:
            assert np.abs(one - other).max() > 1e-3


def test_without_momentum_ni_is_bim() -> None:
    model, batch = example()
    np.testing.assert_array_equal(
        answer(attacks.ni_fgsm(EPSILON, decay=0.0), model, batch), answer(attacks.bim(EPSILON), model, batch)
    )


def kernel_of(name: str, size: int) -> np.ndarray:
    half = size // 2
    place = np.arange(-half, half + 1)
    one = {
        "gaussian": np.exp(-0.5 * (3 * place / max(half, 1)) ** 2),
        "uniform": np.ones(size),
        "linear": 1 - np.abs(place) / (half + 1),
    }[name]
    return np.outer(one, one) / one.sum() ** 2


@pytest.mark.parametrize("kernel", ["gaussian", "uniform", "linear"])
@pytest.mark.parametrize("size", [1, 3, 7])
def test_smoothing_is_a_convolution_with_zeros_outside(kernel: str, size: int) -> None:
    rng = np.random.default_rng(0)
    gradient = rng.normal(size=(5, 9, 3))
    rule = attacks.smooth_gradient(size=size, kernel=kernel)
    smoothed, _ = rule.update(jnp.asarray(gradient), rule.init(jnp.asarray(gradient)))
    expected = correlate(gradient, kernel_of(kernel, size)[:, :, None], mode="constant")
    np.testing.assert_allclose(np.asarray(smoothed), expected, atol=1e-12)


@pytest.mark.parametrize("attack", [attacks.mi_fgsm, attacks.ni_fgsm])
def test_smoothing_takes_part_and_a_kernel_of_one_pixel_does_not(attack: Any) -> None:
    model, batch = example()
    plain, one, wide = (
        answer(attack(EPSILON, smoothing=rule), model, batch)
        for rule in (None, attacks.smooth_gradient(size=1), attacks.smooth_gradient(size=3))
    )
    np.testing.assert_array_equal(one, plain)
    assert np.abs(wide - plain).max() > 1e-3


def test_errors() -> None:
    with pytest.raises(ValueError, match="num_samples >= 1, got 0"):
        attacks.vmi_fgsm(EPSILON, num_samples=0)
    with pytest.raises(ValueError, match=r"reach in .*, got -1"):
        attacks.vmi_fgsm(EPSILON, reach=-1)
    with pytest.raises(ValueError, match="decay >= 0, got -1"):
        attacks.ni_fgsm(EPSILON, decay=-1)
    with pytest.raises(ValueError, match="size odd and >= 1, got 4"):
        attacks.smooth_gradient(size=4)
    with pytest.raises(ValueError, match="kernel in gaussian, uniform, linear, got 'box'"):
        attacks.smooth_gradient(kernel="box")
