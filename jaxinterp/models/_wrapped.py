"""Networks around networks: behind a transformation of images or beside parameters, what is inside, the same around another."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
from jax import Array

from jaxinterp._base import Activations, Layer, Network, Taps
from jaxinterp.models._resized import Resized

Transform = Callable[[Array | None, Array], Array]
"""`transform(key, image) -> image`, of one image `[h w c]` in [0, 1]; without a key it draws nothing."""


@dataclasses.dataclass(frozen=True)
class Defended:
    """A network that sees its images through a transformation; a hashable value.

    Attributes:
        network: what runs on the transformed images, a dataclass.
        transform: of one image, to one of the network's own size.
        image_size: side of the images that are given, in pixels; at most the network's own.
    """

    network: Network
    transform: Transform
    image_size: int

    @property
    def num_classes(self) -> int:
        """Length of the logits."""
        return self.network.num_classes

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The network's layers, in pixels of the given image, which is in the middle of what the network sees.

        Receptive fields are the network's own; a transformation that mixes neighbouring pixels widens what they depend on.
        """
        margin = (self.network.image_size - self.image_size) // 2
        return tuple(layer._replace(offset=layer.offset - margin) for layer in self.network.layers)

    def apply(
        self, params: Any, stats: Any, images: Array, *, key: Array | None, taps: Taps, train: bool
    ) -> tuple[Array, Activations, Any]:
        """Transforms every image, then evaluates the network; in training every image has draws of its own."""
        drawn, rest = (None, None) if key is None else jax.random.split(key)
        if train and drawn is not None:
            images = jax.vmap(self.transform)(jax.random.split(drawn, images.shape[0]), images)
        else:
            images = jax.vmap(lambda image: self.transform(drawn, image))(images)
        return self.network.apply(params, stats, images, key=rest, taps=taps, train=train)


def inner(network: Network) -> Network:
    """The network inside everything that resizes or transforms its images."""
    while isinstance(network, Resized | Defended):
        network = network.network
    return network


@dataclasses.dataclass(frozen=True)
class Beside:
    """A network with parameters of its own beside those of another, about the units of one of its layers; a hashable value.

    Images, classes and layers are those of the network inside. What inherits says what the parameters do (`apply`).

    Attributes:
        network: what runs.
        layer: the layer whose units the parameters are about.
    """

    network: Network
    layer: str

    @property
    def image_size(self) -> int:
        """Side of the images, in pixels."""
        return self.network.image_size

    @property
    def num_classes(self) -> int:
        """Length of the logits."""
        return self.network.num_classes

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The network's own."""
        return self.network.layers

    @property
    def last_conv(self) -> str | None:
        """The network's own."""
        return getattr(inner(self.network), "last_conv", None)


def around(network: Network, core: Network) -> Any:
    """Everything that is around the innermost of `network`, around `core`."""
    if isinstance(network, Resized | Defended):
        return dataclasses.replace(network, network=around(network.network, core))
    return core


def transforms(network: Network) -> tuple[Transform, ...]:
    """The transformations that an image passes, in that order."""
    found: list[Transform] = []
    while isinstance(network, Resized | Defended):
        if isinstance(network, Defended):
            found.append(network.transform)
        network = network.network
    return tuple(found)
