"""Gaussian noise on the image."""

import dataclasses
import math

import jax
from jax import Array

from jaxinterp._base import Model
from jaxinterp.models._defences._defended import defended


@dataclasses.dataclass(frozen=True)
class GaussianNoise:
    """Adds `sigma * N(0, 1)` to every value, and cuts nothing off."""

    sigma: float

    def __call__(self, key: Array | None, image: Array) -> Array:
        """The noisy image; without a key the image."""
        return image if key is None else image + self.sigma * jax.random.normal(key, image.shape, image.dtype)


def with_gaussian_noise(model: Model, sigma: float) -> Model:
    """The model behind independent Gaussian noise on every value, not cut off at [0, 1]: the base of randomised smoothing.

    Trained with, it is what `metrics.certify` wants a model to be trained with; there every image has noise of its own.
    Evaluated with a key, one noise image is added to the whole batch; without a key there is none. An attack
    on the smoothed classifier takes the expectation of its loss over several keys.

    Args:
        model: any model.
        sigma: standard deviation, in [0, 1] units.

    Returns:
        A model; see `defended`.

    Raises:
        ValueError: a sigma that is not positive and finite.

    References:
        J. Cohen, E. Rosenfeld, Z. Kolter, "Certified Adversarial Robustness via Randomized Smoothing", ICML 2019, section 3.3.
        M. Lecuyer, V. Atlidakis, R. Geambasu, D. Hsu, S. Jana, "Certified Robustness to Adversarial Examples with Differential
        Privacy", IEEE S&P 2019.
    """
    if not (math.isfinite(sigma) and sigma > 0):
        raise ValueError(f"expected sigma > 0, got {sigma}; write sigma=0.25.")
    return defended(model, GaussianNoise(float(sigma)))
