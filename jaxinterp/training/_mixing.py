"""Mixed images: an objective over images that are each made of two, with the labels of both."""

import dataclasses
import os
import warnings
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxinterp._base import Batch, Model
from jaxinterp.training._objectives import MIXED, Objective, Outcome

_REMEDY = "set KERAS_BACKEND=jax before Keras is imported"

Mixing = Callable[[Array, Array, Array], tuple[Array, Array]]
"""`(key, images [n h w c], labels [n k]) -> (images, labels)`, of the same shapes; labels are probabilities of classes."""


@dataclasses.dataclass(frozen=True)
class KerasMixing:
    """A mixing layer of Keras as a pure function, as `mixup` and `cutmix` make it."""

    layer: Literal["MixUp", "CutMix"]
    concentration: float

    def __call__(
        self, key: Array, images: Float[Array, "n h w c"], labels: Float[Array, "n k"]
    ) -> tuple[Float[Array, "n h w c"], Float[Array, "n k"]]:
        layers = _keras().layers
        knobs: dict[str, Any] = {"data_format": "channels_last", "dtype": "float32"}
        if self.layer == "MixUp":
            layer = layers.MixUp(alpha=self.concentration, **knobs)
        else:
            layer = layers.CutMix(factor=(self.concentration, self.concentration), **knobs)
        layer.build((None, None, None, None))
        seeds = [jax.random.bits(key, (2,), jnp.uint32) for _ in layer.non_trainable_variables]
        with warnings.catch_warnings():
            # Keras asks for int64, which JAX has only on request.
            warnings.filterwarnings("ignore", message="Explicitly requested dtype int64")
            found, _ = layer.stateless_call([], seeds, {"images": images, "labels": labels}, training=True)
        return found["images"], found["labels"]


def mixup(*, concentration: float = 0.2) -> Mixing:
    """mixup by Keras: `lambda x_i + (1 - lambda) x_j`, and the labels alike.

    The weight lambda is drawn for every image from a symmetric beta distribution, and j from a random order of the rows of a
    device, or of the part of them that is taken at once.

    Args:
        concentration: alpha of the beta distribution; the larger, the nearer lambda is to 1/2; .2 for ImageNet in the paper, 1
            for CIFAR.

    Returns:
        A mixing, for `mixed`.

    Raises:
        ValueError: a concentration that is not positive; or no Keras, or a Keras that does not run on JAX.

    References:
        H. Zhang, M. Cisse, Y. N. Dauphin, D. Lopez-Paz, "mixup: Beyond Empirical Risk Minimization", ICLR 2018, section 2.
    """
    if not concentration > 0:
        raise ValueError(f"expected a concentration above 0, got {concentration}; write concentration=0.2.")
    _keras()
    return KerasMixing("MixUp", float(concentration))


def cutmix(*, concentration: float = 1.0) -> Mixing:
    """CutMix by Keras: a rectangle of another image is pasted in, and labels count by the shares of the area.

    The share lambda that stays is drawn for every image from a symmetric beta distribution; the rectangle has the shape of the
    image and lies inside of it, at a place drawn uniformly (in the paper it may be cut off at the edge). The weight of the
    labels is that of the rectangle before it is rounded to pixels.

    Args:
        concentration: alpha of the beta distribution, above 0 and at most 1; 1 in the paper, so that all shares are as likely.

    Returns:
        A mixing, for `mixed`.

    Raises:
        ValueError: a concentration outside (0, 1]; or no Keras, or a Keras that does not run on JAX.

    References:
        S. Yun, D. Han, S. J. Oh, S. Chun, J. Choe, Y. Yoo, "CutMix: Regularization Strategy to Train Strong Classifiers with
        Localizable Features", ICCV 2019, section 3.1.
    """
    if not 0 < concentration <= 1:
        raise ValueError(f"expected a concentration in (0, 1], got {concentration}; write concentration=1.0.")
    _keras()
    return KerasMixing("CutMix", float(concentration))


def mixed(objective: Objective, *mixings: Mixing) -> Objective:
    """An objective over mixed images, whose cross-entropies are with the labels of both.

    The images are mixed inside the step, by its key, after the augmentation of single images. Attacks inside of the objective
    move the mixed images, away from the class of the larger weight; accuracies are by that class. Rows that do not count
    are not mixed into others.

    Args:
        objective: any whose only use of the labels is the cross-entropy: not `mart`, `class_specific` and `depth`, nor those
            that read other images or answers from `batch.extra`, nor replayed batches.
        mixings: `mixup` or `cutmix`, or `(key, images, labels) -> (images, labels)` of one's own; of several, one is drawn for
            every batch.

    Returns:
        An objective with the metrics of the one given.

    Raises:
        ValueError: no mixing, or an objective that replays batches; when it is traced, a batch with anything in `extra`, or an
            objective that wants one class an image.

    Example:
        >>> import jax
        >>> from jaxinterp import training
        >>> def pairs(key, images, labels):
        ...     return (images + images[::-1]) / 2, (labels + labels[::-1]) / 2
        >>> objective = training.mixed(training.standard(label_smoothing=0.1), pairs)
    """
    if not mixings:
        raise ValueError("expected at least one mixing, got none; write training.mixup().")
    if objective.num_replays > 1:
        raise ValueError(
            f"expected an objective that sees each batch once, got one that replays it {objective.num_replays} times, "
            "while images are mixed anew in every step; write training.fast."
        )

    def loss_of(key: Array, model: Model, batch: Batch, step: Array, memory: Any) -> Outcome:
        if batch.extra:
            raise ValueError(
                f"expected a batch of images and labels alone, got {sorted(batch.extra)} in batch.extra, "
                "which belongs to the images before they are mixed; take an objective that reads none."
            )
        mix_key, loss_key = jax.random.split(key)
        return objective.loss(loss_key, model, _mixed_batch(mix_key, batch, mixings, model.num_classes), step, memory)

    return objective._replace(loss=loss_of)


def _mixed_batch(key: Array, batch: Batch, mixings: tuple[Mixing, ...], num_classes: int) -> Batch:
    order = _counting_rows(batch)
    images, dtype = batch.image[order], batch.image.dtype
    labels = jax.nn.one_hot(batch.label[order], num_classes, dtype=dtype)
    choice_key, mix_key = jax.random.split(key)

    def by(mixing: Mixing) -> Callable[[], tuple[Array, Array]]:
        def branch() -> tuple[Array, Array]:
            new_images, new_labels = mixing(mix_key, images, labels)
            return jnp.clip(new_images.astype(dtype), 0, 1), new_labels.astype(dtype)

        return branch

    if len(mixings) == 1:
        new_images, new_labels = by(mixings[0])()
    else:
        index = jax.random.randint(choice_key, (), 0, len(mixings))
        new_images, new_labels = jax.lax.switch(index, [by(mixing) for mixing in mixings])
    label = jnp.argmax(new_labels, axis=-1).astype(batch.label.dtype)
    return batch._replace(image=new_images, label=label, extra={MIXED: new_labels})


def _counting_rows(batch: Batch) -> Array:
    """The number of every row, and in place of those that do not count the numbers of some that do."""
    rows = jnp.arange(len(batch.mask))
    counting = jnp.argsort(~batch.mask, stable=True)
    return jnp.where(batch.mask, rows, counting[rows % jnp.maximum(jnp.sum(batch.mask), 1)])


def _keras() -> Any:
    """Keras, on JAX."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    try:
        import keras
    except ImportError as error:
        if error.name == "keras":
            raise ValueError("expected Keras, which mixes images, got none; pip install 'jaxinterp[keras]'.") from error
        raise ValueError(f"expected Keras on JAX, got Keras on {error.name}; {_REMEDY}.") from error
    if keras.backend.backend() != "jax":
        raise ValueError(f"expected Keras on JAX, got Keras on {keras.backend.backend()}; {_REMEDY}.")
    return keras
