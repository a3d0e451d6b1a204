"""Models for other libraries: a pure pair, and foolbox."""

import dataclasses
from typing import Any

import jax
from jax import Array

from jaxinterp._base import Model, Network, check_images


@dataclasses.dataclass(frozen=True)
class Logits:
    """The pure function `(variables, images) -> logits` of a network; equal for equal networks.

    Attributes:
        network: what is evaluated.
    """

    network: Network

    def __call__(self, variables: Any, images: Array) -> Array:
        """Logits `[n k]` of images `[n h w c]` in [0, 1]."""
        check_images(images, size=self.network.image_size)
        params, stats = variables["params"], variables["stats"]
        return self.network.apply(params, stats, images, key=None, taps={}, train=False)[0]


def to_function(model: Model) -> tuple[Logits, dict[str, Any]]:
    """A model as plain JAX: a pure function and what it takes first; `from_function` is the other direction.

    Args:
        model: any model.

    Returns:
        `apply(variables, images) -> logits`, and the variables: a dict of "params" and "stats".

    Example:
        >>> import jax, jaxinterp as ji
        >>> model = ji.models.resnet18(num_classes=10, width=1 / 8, image_size=64, output_stride=8, key=jax.random.key(0))
        >>> apply, variables = ji.models.to_function(model)
        >>> jax.jit(apply)(variables, jax.numpy.zeros((2, 64, 64, 3))).shape
        (2, 10)
    """
    return Logits(model.network), {"params": model.params, "stats": model.stats}


def to_foolbox(model: Model) -> Any:
    """A model for foolbox: images `[n h w c]` in [0, 1], compiled once for each shape.

    The model normalises inside, so foolbox's preprocessing is none.

    Args:
        model: any model.

    Returns:
        A `foolbox.models.JAXModel`.

    Raises:
        ImportError: where foolbox is not installed.

    Example:
        >>> import jax, jaxinterp as ji
        >>> network = ji.models.small_resnet18()
        >>> images, labels = jax.numpy.zeros((2, 64, 64, 3)), jax.numpy.array([0, 1])
        >>> try:
        ...     import foolbox
        ...     _, clipped, success = foolbox.attacks.LinfPGD()(ji.models.to_foolbox(network), images, labels, epsilons=8 / 255)
        ... except ImportError:
        ...     pass
    """
    try:
        import foolbox  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError("expected foolbox to be installed; write pip install foolbox.") from error
    apply, variables = to_function(model)
    compiled = jax.jit(apply)
    return foolbox.models.JAXModel(lambda images: compiled(variables, images), bounds=(0, 1), data_format="channels_last")
