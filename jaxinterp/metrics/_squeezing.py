"""Feature squeezing: an image whose prediction changes when it is simplified is suspect."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Shaped

from jaxinterp._base import Model
from jaxinterp.metrics._auroc import auroc
from jaxinterp.metrics._intervals import Interval, proportion_interval


class Detection(NamedTuple):
    """How well a score tells adversarial images from clean ones.

    Attributes:
        auroc: probability that an adversarial image scores above a clean one, ties one half, and its interval.
        threshold: images that score above it are called adversarial.
        false_positive_rate: of the clean images, with its interval.
        detection_rate: of the adversarial images, with its interval.
        clean_scores: score of each clean image.
        adversarial_scores: score of each adversarial image.
    """

    auroc: Interval
    threshold: float
    false_positive_rate: Interval
    detection_rate: Interval
    clean_scores: Float[np.ndarray, " n"]
    adversarial_scores: Float[np.ndarray, " m"]


def squeezing_scores(
    model: Model,
    squeezed: Sequence[Model],
    images: Float[Array, "n h w c"] | Float[np.ndarray, "n h w c"],
    *,
    batch_size: int = 256,
) -> Float[np.ndarray, " n"]:
    """The largest L1 distance between the softmax of the model and that of one of its squeezed versions, 0 to 2.

    Args:
        model: any model.
        squeezed: the same model behind squeezers, such as `models.with_bit_depth(model, 5)`.
        images: in [0, 1].
        batch_size: images at once.

    Returns:
        One score per image; higher = more likely adversarial.

    Raises:
        ValueError: no squeezed version.

    Example:
        >>> import jax, numpy as np
        >>> from jaxinterp import metrics, models
        >>> model = models.cifar_resnet20(key=jax.random.key(0))
        >>> squeezed = [models.with_bit_depth(model, 5), models.with_median_filter(model, 2)]
        >>> metrics.squeezing_scores(model, squeezed, np.zeros((3, 32, 32, 3), np.float32)).shape
        (3,)

    References:
        W. Xu, D. Evans, Y. Qi, "Feature Squeezing: Detecting Adversarial Examples in Deep Neural Networks", NDSS 2018,
        section V, equation 3.
    """
    if not squeezed:
        raise ValueError("expected at least one squeezed version, got none; write [models.with_bit_depth(model, 5)].")
    parts = [
        np.asarray(_distance(model, tuple(squeezed), jnp.asarray(images[start : start + batch_size])))
        for start in range(0, len(images), batch_size)
    ]
    return np.concatenate(parts)


def feature_squeezing(
    rng: np.random.Generator,
    model: Model,
    squeezed: Sequence[Model],
    clean: Float[Array, "n h w c"] | Float[np.ndarray, "n h w c"],
    adversarial: Float[Array, "m h w c"] | Float[np.ndarray, "m h w c"],
    *,
    false_positive_rate: float = 0.05,
    threshold: float | None = None,
    clean_ids: Shaped[np.ndarray, " i"] | None = None,
    adversarial_ids: Shaped[np.ndarray, " j"] | None = None,
    level: float = 0.95,
    batch_size: int = 256,
) -> Detection:
    """The detector of feature squeezing on clean and adversarial images: AUROC, and the detection rate at a threshold.

    The threshold is the lowest score that at most `false_positive_rate` of the clean images exceed. On those very images
    that rate is met by choice; give the `threshold` of other images to learn what it is on new ones. Whether images on which
    an attack failed count as adversarial is up to the caller; the paper reports them apart.

    Args:
        rng: source of the bootstrap draws of the AUROC's interval.
        model: any model.
        squeezed: the same model behind squeezers. The paper's detector for CIFAR-10 and ImageNet joins five bits, a median of
            2 x 2 pixels and non-local means.
        clean: images in [0, 1].
        adversarial: images in [0, 1].
        false_positive_rate: share of the clean images that may be called adversarial.
        threshold: one found before; `false_positive_rate` is then not used.
        clean_ids: names each clean image; their numbers by default.
        adversarial_ids: the clean image that each adversarial one was made from; their numbers by default. Images of one
            name are one cluster in every interval.
        level: coverage of the intervals.
        batch_size: images at once.

    Returns:
        A `Detection`.

    Raises:
        ValueError: a rate outside [0, 1), no squeezed version, no image of either kind, or another number of ids than images.

    References:
        W. Xu, D. Evans, Y. Qi, "Feature Squeezing: Detecting Adversarial Examples in Deep Neural Networks", NDSS 2018,
        section V.
    """
    if not 0 <= false_positive_rate < 1:
        raise ValueError(f"expected false_positive_rate in [0, 1), got {false_positive_rate}; write 0.05.")
    ids = []
    for name, images, given in (("clean", clean, clean_ids), ("adversarial", adversarial, adversarial_ids)):
        names = np.arange(len(images)) if given is None else given
        if len(images) == 0 or len(names) != len(images):
            raise ValueError(f"expected {name} images and one id for each, got {len(images)} images and {len(names)} ids.")
        ids.append(names)
    scores = [squeezing_scores(model, squeezed, images, batch_size=batch_size) for images in (clean, adversarial)]
    if threshold is None:
        # Of n scores in rising order, exactly those after the k-th may lie above it, fewer where there are ties.
        allowed = int(np.floor(false_positive_rate * len(scores[0]) + 1e-9))
        threshold = float(np.sort(scores[0])[len(scores[0]) - 1 - allowed])
    positive = np.repeat([False, True], [len(side) for side in scores])
    rates = [proportion_interval(side > threshold, names, level=level) for side, names in zip(scores, ids, strict=True)]
    return Detection(
        auroc=auroc(rng, np.concatenate(scores), positive, np.concatenate(ids), level=level),
        threshold=threshold,
        false_positive_rate=rates[0],
        detection_rate=rates[1],
        clean_scores=scores[0],
        adversarial_scores=scores[1],
    )


@jax.jit
def _distance(model: Model, squeezed: tuple[Model, ...], images: Array) -> Array:
    plain = jax.nn.softmax(model(images)[0])
    distances = [jnp.sum(jnp.abs(jax.nn.softmax(other(images)[0]) - plain), axis=-1) for other in squeezed]
    return jnp.max(jnp.stack(distances), axis=0)
