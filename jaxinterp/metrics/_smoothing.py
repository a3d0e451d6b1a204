"""Randomised smoothing: what most noisy copies of an image are taken for, and how far around it that is certain."""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
import scipy.stats
from jax import Array
from jaxtyping import Bool, Float, Int, Integer

from jaxinterp._base import Model

ABSTAIN = -1
"""The prediction where nothing can be said at the level that was asked for."""


class Certificate(NamedTuple):
    """What is certain about the smoothed classifier at each image, each row with the probability that was asked for.

    Attributes:
        prediction: its class; -1 where it abstains.
        radius: Euclidean radius within which no perturbation changes it, in [0, 1] units; 0 where it abstains.
        probability: lower bound of the probability that a noisy copy is taken for the class selected.
    """

    prediction: Int[np.ndarray, " n"]
    radius: Float[np.ndarray, " n"]
    probability: Float[np.ndarray, " n"]


def certify(
    key: Array,
    model: Model,
    images: Float[Array, "n h w c"] | Float[np.ndarray, "n h w c"],
    *,
    sigma: float,
    num_selection: int = 100,
    num_estimation: int = 10_000,
    failure_probability: float = 0.001,
    ids: Integer[np.ndarray, " i"] | None = None,
    batch_size: int = 256,
) -> Certificate:
    """Certified radii of the classifier smoothed by Gaussian noise, `g(x) = argmax_c P(f(x + sigma N(0, I)) = c)`.

    Two stages with draws of their own: `num_selection` draws choose the class, `num_estimation` draws bound its probability p
    from below, exactly (Clopper-Pearson). Where the bound exceeds 1/2 the radius is `sigma Phi^-1(bound)`, else it abstains.
    For each image by itself, the probability that a class and radius are returned which are not true is at most
    `failure_probability`. Noisy images are not cut off at [0, 1]; the theorem would not hold.

    An image's draws depend on the key and its id alone: not on the other images, their order or `batch_size`.

    Args:
        key: the same key gives the same answer.
        model: the base classifier, which should have been trained with this noise (`models.with_gaussian_noise`).
        images: in [0, 1].
        sigma: standard deviation of the noise, in [0, 1] units.
        num_selection: draws of the first stage, n0 in the paper.
        num_estimation: draws of the second stage, n in the paper, which takes 100 000. They limit the radius:
            at most `sigma Phi^-1(failure_probability ** (1 / num_estimation))`.
        failure_probability: as above.
        ids: names each image; their numbers by default.
        batch_size: noisy images at once.

    Returns:
        A `Certificate`; `certified_accuracy` makes a curve of it.

    Raises:
        ValueError: sigma that is not positive, no draws, a probability outside (0, 1), or another number of ids than images.

    References:
        J. Cohen, E. Rosenfeld, Z. Kolter, "Certified Adversarial Robustness via Randomized Smoothing", ICML 2019, theorem 1 and
        CERTIFY (section 3.2.2). C. Clopper, E. Pearson, "The Use of Confidence or Fiducial Limits Illustrated in the Case of
        the Binomial", Biometrika 26, 1934.
    """
    _check(sigma, failure_probability, batch_size, num_selection=num_selection, num_estimation=num_estimation)
    first, second = jax.random.split(key)
    choice = _counts(first, model, images, ids, sigma, num_selection, batch_size).argmax(axis=1)
    counts = _counts(second, model, images, ids, sigma, num_estimation, batch_size)
    successes = np.take_along_axis(counts, choice[:, None], axis=1)[:, 0]
    bound = binomial_lower_bound(successes, num_estimation, level=1 - failure_probability)
    sure = bound > 0.5
    radius = np.where(sure, sigma * scipy.special.ndtri(np.where(sure, bound, 0.5)), 0.0)
    return Certificate(np.where(sure, choice, ABSTAIN).astype(np.int32), radius, bound)


def smoothed_predict(
    key: Array,
    model: Model,
    images: Float[Array, "n h w c"] | Float[np.ndarray, "n h w c"],
    *,
    sigma: float,
    num_draws: int = 100,
    failure_probability: float = 0.001,
    ids: Integer[np.ndarray, " i"] | None = None,
    batch_size: int = 256,
) -> Int[np.ndarray, " n"]:
    """The class of the smoothed classifier, or -1 where the draws do not tell the two most frequent classes apart.

    They do where an exact two-sided binomial test of equal chances rejects at `failure_probability`; a class that is not
    the smoothed classifier's is then returned with at most that probability.

    Args:
        key: as for `certify`, and so are the others.
        model: the base classifier.
        images: in [0, 1].
        sigma: standard deviation of the noise, in [0, 1] units.
        num_draws: noisy copies of each image.
        failure_probability: as above.
        ids: names each image; their numbers by default.
        batch_size: noisy images at once.

    Returns:
        One class per image.

    Raises:
        ValueError: as `certify`.

    References:
        J. Cohen, E. Rosenfeld, Z. Kolter, "Certified Adversarial Robustness via Randomized Smoothing", ICML 2019,
        PREDICT (section 3.2.1).
    """
    _check(sigma, failure_probability, batch_size, num_draws=num_draws)
    counts = _counts(key, model, images, ids, sigma, num_draws, batch_size)
    top = np.sort(counts, axis=1)[:, ::-1]
    most, next_most = top[:, 0], top[:, 1] if counts.shape[1] > 1 else np.zeros(len(counts), np.int64)
    chance = [scipy.stats.binomtest(int(a), int(a + b), 0.5).pvalue for a, b in zip(most, next_most, strict=True)]
    return np.where(np.asarray(chance) <= failure_probability, counts.argmax(axis=1), ABSTAIN).astype(np.int32)


def certified_accuracy(
    certificate: Certificate, labels: Integer[np.ndarray, " n"], radii: Float[np.ndarray, " q"]
) -> Float[np.ndarray, " q"]:
    """Fraction of all images that are certainly classified correctly within each radius; who abstains counts as wrong.

    Args:
        certificate: of the images.
        labels: their true classes.
        radii: Euclidean, in [0, 1] units.

    Returns:
        One fraction per radius.
    """
    correct: Bool[np.ndarray, " n"] = certificate.prediction == np.asarray(labels)
    return (correct[None] & (certificate.radius[None] >= np.asarray(radii)[:, None])).mean(axis=1)


def binomial_lower_bound(successes: Integer[np.ndarray, " n"], trials: int, *, level: float = 0.999) -> Float[np.ndarray, " n"]:
    """The exact one-sided lower confidence bound of a proportion, of Clopper and Pearson; 0 without a success.

    Args:
        successes: of each row.
        trials: of every row.
        level: probability that the bound is not above the proportion, at least.

    Raises:
        ValueError: no trials, or successes outside 0 to trials.
    """
    if trials < 1 or np.min(successes, initial=0) < 0 or np.max(successes, initial=0) > trials:
        raise ValueError(f"expected 0 <= successes <= trials and trials > 0, got up to {np.max(successes)} of {trials}.")
    some = np.maximum(successes, 1)
    return np.where(successes > 0, scipy.special.betaincinv(some, trials - some + 1.0, 1 - level), 0.0)


def _counts(
    key: Array, model: Model, images: Array | np.ndarray, ids: np.ndarray | None, sigma: float, num_draws: int, batch_size: int
) -> Int[np.ndarray, "n k"]:
    """How often each class is predicted among `num_draws` noisy copies of each image."""
    ids = np.arange(len(images)) if ids is None else np.asarray(ids)
    if len(ids) != len(images):
        raise ValueError(f"expected one id for each image, got {len(ids)} for {len(images)}.")
    images, names = jnp.asarray(images), jnp.asarray(ids, jnp.int32)
    total = len(images) * num_draws
    counts = jnp.zeros((len(images), model.num_classes), jnp.int32)
    for start in range(0, total, batch_size):
        # Copies of several images share a batch; rows beyond the last one count for nothing.
        index = np.arange(start, start + batch_size)
        rows, draws = np.divmod(np.minimum(index, total - 1), num_draws)
        counts = _count(
            key, counts, model, images, names, rows.astype(np.int32), draws.astype(np.int32), index < total, float(sigma)
        )
    return np.asarray(counts).astype(np.int64)


@functools.partial(jax.jit, donate_argnums=1)
def _count(
    key: Array,
    counts: Array,
    model: Model,
    images: Array,
    ids: Array,
    rows: Array,
    draws: Array,
    mask: Array,
    sigma: Any,
) -> Array:
    def noisy(row: Array, draw: Array) -> Array:
        drawn = jax.random.normal(jax.random.fold_in(jax.random.fold_in(key, ids[row]), draw), images.shape[1:], images.dtype)
        return images[row] + sigma * drawn

    predictions = jnp.argmax(model(jax.vmap(noisy)(rows, draws))[0], axis=-1)
    return counts.at[rows, predictions].add(mask.astype(counts.dtype))


def _check(sigma: float, failure_probability: float, batch_size: int, **numbers: int) -> None:
    if not (math.isfinite(sigma) and sigma > 0):
        raise ValueError(f"expected sigma > 0, got {sigma}; write sigma=0.25.")
    if not 0 < failure_probability < 1:
        raise ValueError(f"expected failure_probability in (0, 1), got {failure_probability}; write 0.001.")
    for name, number in (*numbers.items(), ("batch_size", batch_size)):
        if number < 1:
            raise ValueError(f"expected {name} >= 1, got {number}; write {name}=100.")
