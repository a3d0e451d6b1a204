"""Images of another size than a network's own."""

import dataclasses
import math
from typing import Any

import jax
from jax import Array

from jaxinterp._base import Activations, Layer, Model, Network, Taps


@dataclasses.dataclass(frozen=True)
class Resized:
    """A network that takes images of `image_size` and resizes them to its own; a hashable value.

    Attributes:
        network: what runs on the resized images, a dataclass.
        image_size: side of the images that are given, in pixels.
    """

    network: Network
    image_size: int

    @property
    def num_classes(self) -> int:
        """Length of the logits."""
        return self.network.num_classes

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The network's layers, in pixels of the given images; receptive fields are upper bounds."""
        ratio = self.image_size / self.network.image_size
        return tuple(
            layer._replace(
                stride=layer.stride * ratio,
                offset=(layer.offset + 0.5) * ratio - 0.5,
                receptive_field=math.ceil((layer.receptive_field - 1) * ratio) + 3,
            )
            for layer in self.network.layers
        )

    def apply(
        self, params: Any, stats: Any, images: Array, *, key: Array | None, taps: Taps, train: bool
    ) -> tuple[Array, Activations, Any]:
        """Resizes, then evaluates the network."""
        n, size = images.shape[0], self.network.image_size
        resized = jax.image.resize(images, (n, size, size, images.shape[-1]), "bilinear", antialias=False)
        return self.network.apply(params, stats, resized, key=key, taps=taps, train=train)


def at_size(model: Model, size: int) -> Model:
    """The same model for images of `size` x `size`, which it resizes inside: models of different size share one image.

    Bilinear, pixel centres at half integers, without anti-aliasing: each resized pixel reads its four neighbours,
    so a smaller size than half drops pixels. The weights are the same arrays.

    Args:
        model: any model.
        size: side of the images, in pixels.

    Raises:
        ValueError: a size below 1.
    """
    if size < 1:
        raise ValueError(f"expected size >= 1, got {size}.")
    network = model.network.network if isinstance(model.network, Resized) else model.network
    return Model(model.params, model.stats, network if size == network.image_size else Resized(network, size))
