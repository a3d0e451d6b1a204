"""A latent code split into the part that a linear classifier reads and the rest, and the detection of attacks by either."""

from typing import NamedTuple

import numpy as np
from jax import Array
from jaxtyping import Float, Int, Shaped

from jaxinterp.metrics._auroc import auroc
from jaxinterp.metrics._intervals import Interval

_NEGLIGIBLE = 1e-10


class LatentDecomposition(NamedTuple):
    """The two parts of latent codes, or of differences of codes.

    Attributes:
        read: `[n r]`, coordinates in an orthonormal basis of the directions that the classifier reads.
        rest: `[n d]`, what is left: no part of it changes the answer of the classifier.
        read_share: `[n]`, of the squared length, that of the part that is read; 0 for a code of zero.
        basis: `[d r]`, r = k - 1 dimensions for weights in general position.
    """

    read: Float[np.ndarray, "n r"]
    rest: Float[np.ndarray, "n d"]
    read_share: Float[np.ndarray, " n"]
    basis: Float[np.ndarray, "d r"]


class LatentDetection(NamedTuple):
    """How well the two parts of a code tell attacked images from others.

    Attributes:
        read: AUROC of the distance of the part that is read from what clean images of the nearest class have.
        rest: AUROC of the distance of the rest from what clean images have.
        margin: AUROC of minus the least distance to a plane between the predicted class and another: what is near is suspect.
    """

    read: Interval
    rest: Interval
    margin: Interval


class LatentScores(NamedTuple):
    """Scores of codes, higher = more suspect; see `LatentDetection`.

    Attributes:
        read: of the part that is read.
        rest: of the rest.
        margin: of the nearness of a boundary.
    """

    read: Float[np.ndarray, " n"]
    rest: Float[np.ndarray, " n"]
    margin: Float[np.ndarray, " n"]


def latent_decomposition(
    latent: Float[np.ndarray, "n d"] | Float[Array, "n d"], weight: Float[np.ndarray, "d k"] | Float[Array, "d k"]
) -> LatentDecomposition:
    """The part of codes that a linear classifier reads, and the rest, in float64.

    The predicted class depends on a code through differences of logits alone, so what is read is the projection onto the span
    of `w_i - w_j`, of k - 1 dimensions, and a softmax is blind for the rest. Applied to `encode(adversarial) - encode(clean)`
    it tells how much of an attack's move was of use to it.

    Args:
        latent: codes or differences of codes.
        weight: of the readout.

    Example:
        >>> import numpy as np
        >>> from jaxinterp import metrics
        >>> parts = metrics.latent_decomposition(np.array([[3.0, 4.0]]), np.array([[1.0, -1.0], [0.0, 0.0]]))
        >>> parts.rest.tolist(), parts.read_share.round(2).tolist()
        ([[0.0, 4.0]], [0.36])
    """
    codes, columns = np.asarray(latent, np.float64), np.asarray(weight, np.float64)
    left, singular, _ = np.linalg.svd(columns - columns.mean(axis=1, keepdims=True), full_matrices=False)
    basis = left[:, singular > _NEGLIGIBLE * max(float(singular.max()), np.finfo(np.float64).tiny)]
    read = codes @ basis
    whole = np.sum(codes**2, axis=1)
    share = np.sum(read**2, axis=1) / np.where(whole > 0, whole, 1.0)
    return LatentDecomposition(read, codes - read @ basis.T, share, basis)


def latent_scores(
    latent: Float[np.ndarray, "n d"] | Float[Array, "n d"],
    reference: Float[np.ndarray, "m d"] | Float[Array, "m d"],
    labels: Int[np.ndarray, " m"],
    weight: Float[np.ndarray, "d k"] | Float[Array, "d k"],
    bias: Float[np.ndarray, " k"] | Float[Array, " k"],
) -> LatentScores:
    """How unlike clean ones codes are, in the part that is read and in the rest, and how near a boundary; without a clean twin.

    The part that is read is scored by the least squared Mahalanobis distance to a class mean, with the covariance within
    classes; the rest by the mean squared distance from its mean in standard deviations, value by value (our own: it has
    thousands of dimensions, too many for a covariance).

    Args:
        latent: codes to score.
        reference: codes of other clean images.
        labels: their classes; each class that occurs has a mean of its own.
        weight: of the readout.
        bias: of the readout.

    Raises:
        ValueError: fewer reference codes than two more than the dimensions read and classes together.
    """
    known, codes = latent_decomposition(reference, weight), latent_decomposition(latent, weight)
    classes = np.unique(labels)
    needed = known.basis.shape[1] + len(classes) + 2
    if len(labels) < needed:
        raise ValueError(f"expected at least {needed} reference codes, got {len(labels)}; give more clean images.")
    means = np.stack([known.read[labels == name].mean(axis=0) for name in classes])
    within = known.read - means[np.searchsorted(classes, labels)]
    inverse = np.linalg.pinv(within.T @ within / (len(labels) - len(classes)))
    apart = codes.read[:, None] - means[None]
    read = np.einsum("ncr,rs,ncs->nc", apart, inverse, apart).min(axis=1)
    centre, spread = known.rest.mean(axis=0), known.rest.std(axis=0)
    alive = spread > _NEGLIGIBLE * spread.max()
    rest = np.mean(((codes.rest - centre)[:, alive] / spread[alive]) ** 2, axis=1)
    return LatentScores(read, rest, -_margin(np.asarray(latent, np.float64), weight, bias))


def latent_detection(
    rng: np.random.Generator,
    negative: LatentScores,
    positive: LatentScores,
    *,
    negative_ids: Shaped[np.ndarray, " n"],
    positive_ids: Shaped[np.ndarray, " m"],
    level: float = 0.95,
) -> LatentDetection:
    """How well the scores tell attacked images from others, with intervals clustered on the source image.

    Args:
        rng: source of the bootstrap draws.
        negative: scores of images that nobody attacked: clean ones, or ones with noise as large as an attack.
        positive: scores of adversarial images.
        negative_ids: the source image of each.
        positive_ids: the source image of each.
        level: coverage of the intervals.
    """
    truth = np.repeat([False, True], [len(negative_ids), len(positive_ids)])
    ids = np.concatenate([negative_ids, positive_ids])
    pairs = zip(negative, positive, strict=True)
    return LatentDetection(*(auroc(rng, np.concatenate(pair), truth, ids, level=level) for pair in pairs))


def _margin(codes: np.ndarray, weight: np.ndarray | Array, bias: np.ndarray | Array) -> np.ndarray:
    """The distance of each code to the nearest plane between its class and another."""
    columns = np.asarray(weight, np.float64)
    logits = codes @ columns + np.asarray(bias, np.float64)
    first = logits.argmax(axis=1)
    gram = columns.T @ columns
    size = np.diag(gram)
    apart = np.sqrt(np.maximum(size[first][:, None] + size[None] - 2 * gram[first], 0))
    gaps = np.take_along_axis(logits, first[:, None], axis=1) - logits
    with np.errstate(divide="ignore", invalid="ignore"):
        distances = np.where(apart > 0, gaps / apart, np.inf)
    return distances.min(axis=1)
