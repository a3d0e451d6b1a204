"""The invertible residual network: blocks `x + F(x)` whose F is a contraction, then a linear readout."""

import dataclasses
import functools
import os
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxinterp._base import Activations, Layer, Model, Taps
from jaxinterp.models._abstract import without_weights
from jaxinterp.models._files._leaves import load_leaves
from jaxinterp.models._flow import Flow, Sites, add, global_average, image_flow, whole
from jaxinterp.models._init import KAIMING_NORMAL_IN, PYTORCH, Init, draw
from jaxinterp.models._invertible._spectral import bounded, convolve, iterated
from jaxinterp.models._network import IMAGENET_MEAN, IMAGENET_STD, Channels, choose

ACTIVATIONS = {"elu": jax.nn.elu, "relu": jax.nn.relu}
"""Of slope at most 1."""
READOUTS = ("pooled", "flat")
CONVOLUTIONS = ("conv1", "conv2", "conv3")
_WINDOWS = (3, 1, 3)


class Block(NamedTuple):
    """What a residual block computes with: kernels of bounded norm and biases, in the order of its convolutions.

    Attributes:
        kernels: of the convolutions.
        biases: of the convolutions.
    """

    kernels: tuple[Array, Array, Array]
    biases: tuple[Array, Array, Array]


@dataclasses.dataclass(frozen=True)
class InvertibleResNet:
    """An invertible residual network over images in [0, 1]; a hashable value, equal when it is built alike.

    Attributes:
        blocks: residual blocks of each stage.
        hidden: channels inside the blocks of each stage.
        padding: channels of zeros that are appended to the image.
        coefficient: c, the largest norm of a convolution.
        activation: "elu" or "relu".
        readout: "pooled" or "flat".
        image_size: side of the images, in pixels.
        num_classes: length of the logits.
        mean: per channel; subtracted from the image first.
        std: per channel; what is left is divided by it.
    """

    blocks: tuple[int, ...]
    hidden: tuple[int, ...]
    padding: int
    coefficient: float
    activation: str
    readout: str
    image_size: int
    num_classes: int
    mean: Channels
    std: Channels

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Every named site, from the input to the logits."""
        return _layers(self)

    @property
    def last_conv(self) -> str:
        """The last block."""
        return f"layer{len(self.blocks)}.{self.blocks[-1] - 1}"

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of what the last block puts out."""
        return self.map_shape(len(self.blocks) - 1)

    @property
    def shapes(self) -> tuple[Any, Any]:
        """The parameters and the vectors of power iteration, as `jax.ShapeDtypeStruct`."""
        params: dict[str, dict[str, Any]] = {}
        stats: dict[str, dict[str, Any]] = {}
        for stage, name in self.names():
            side, _, units = self.map_shape(stage)
            width = self.hidden[stage]
            sizes = zip(CONVOLUTIONS, _WINDOWS, (units, width, width), (width, width, units), strict=True)
            for conv, window, inputs, outputs in sizes:
                # The norm of a 1 x 1 convolution does not depend on the size of its maps.
                place = (side, side) if window > 1 else (1, 1)
                params[f"{name}.{conv}"] = {"kernel": _like(window, window, inputs, outputs), "bias": _like(outputs)}
                stats[f"{name}.{conv}"] = {"u": _like(*place, outputs)}
        height, width, units = self.latent_shape
        features = units if self.readout == "pooled" else height * width * units
        return params | {"linear": {"kernel": _like(features, self.num_classes), "bias": _like(self.num_classes)}}, stats

    def map_shape(self, stage: int) -> tuple[int, int, int]:
        """(height, width, channels) of the maps of a stage."""
        side = self.image_size // 2 ** (stage + 1)
        return side, side, (3 + self.padding) * 4 ** (stage + 1)

    def names(self) -> list[tuple[int, str]]:
        """(stage, name) of every block, in order."""
        return [(stage, f"layer{stage + 1}.{i}") for stage, count in enumerate(self.blocks) for i in range(count)]

    def block(self, params: Any, stats: Any, name: str, dtype: Any) -> tuple[Block, dict[str, dict[str, Array]]]:
        """The kernels of a block scaled to norms of at most c, and its vectors after one step of power iteration."""
        kernels, biases, moved = [], [], {}
        for conv in CONVOLUTIONS:
            weights = params[f"{name}.{conv}"]
            kernel, left = bounded(weights["kernel"], stats[f"{name}.{conv}"]["u"], self.coefficient)
            kernels.append(kernel.astype(dtype))
            biases.append(weights["bias"].astype(dtype))
            moved[f"{name}.{conv}"] = {"u": left}
        return Block(tuple(kernels), tuple(biases)), moved

    def branch(self, block: Block, maps: Array, *, first: bool) -> Array:
        """F of a block; the very first block has no activation before its first convolution."""
        act = ACTIVATIONS[self.activation]
        for number, (kernel, bias) in enumerate(zip(*block, strict=True)):
            maps = convolve(maps if first and number == 0 else act(maps), kernel) + bias[None, None, None]
        return maps

    def normalised(self, images: Array) -> Array:
        """The images with the mean subtracted, divided by the standard deviation, with channels of zeros behind."""
        mean, std = (jnp.asarray(v, images.dtype)[None, None, None] for v in (self.mean, self.std))
        return jnp.pad((images - mean) / std, ((0, 0), (0, 0), (0, 0), (0, self.padding)))

    def restored(self, maps: Array) -> Array:
        """The inverse of `normalised`; what the channels behind hold is lost."""
        mean, std = (jnp.asarray(v, maps.dtype)[None, None, None] for v in (self.mean, self.std))
        return maps[..., :3] * std + mean

    def apply(
        self, params: Any, stats: Any, images: Array, *, key: Array | None, taps: Taps, train: bool
    ) -> tuple[Array, Activations, Any]:
        """Evaluates the network; in training every vector of power iteration moves by one step.

        Returns:
            Logits `[n k]`, the activation of every named site, the new vectors (in evaluation the old ones).
        """
        sites = Sites(taps)
        logits, moved = self.through(sites, params, stats, images)
        logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
        return logits, sites.activations, moved if train else stats

    def through(self, sites: Sites, params: Any, stats: Any, images: Array) -> tuple[Array, dict[str, dict[str, Array]]]:
        """Logits, and the vectors after one step of power iteration; passes every named site on its way."""
        moved: dict[str, dict[str, Array]] = {}
        flow = image_flow(self.normalised(images))
        for _, name in self.names():
            if name.endswith(".0"):
                flow = Flow(squeeze(flow.value), flow.field.through(2, 2, 0))
            block, vectors = self.block(params, stats, name, flow.value.dtype)
            moved |= vectors
            field = flow.field.through(_WINDOWS[0], 1, 1).through(_WINDOWS[2], 1, 1)
            residual = Flow(self.branch(block, flow.value, first=name == "layer1.0"), field)
            flow = sites.site(name, add(residual, sites.site(f"{name}.shortcut", flow)))
        if self.readout == "pooled":
            flow = sites.site("features", global_average(flow, image_size=self.image_size))
        weight, bias = params["linear"]["kernel"], params["linear"]["bias"]
        flat = flow.value.reshape(len(images), -1)
        logits = flat @ weight.astype(flat.dtype) + bias.astype(flat.dtype)[None]
        return sites.site("logits", Flow(logits, whole(self.image_size))).value, moved

    def init(self, key: Array) -> tuple[Any, Any]:
        """Draws parameters; the vectors of power iteration begin at fixed ones."""
        params, stats = self.shapes
        fresh, _ = draw(key, params, {}, _init_of)
        rng = np.random.default_rng(0)
        start = {name: {"u": jnp.asarray(rng.standard_normal(leaf["u"].shape, np.float32))} for name, leaf in stats.items()}
        return fresh, start


def iresnet(
    *,
    blocks: tuple[int, ...] = (3, 3, 3),
    hidden: tuple[int, ...] = (32, 64, 64),
    padding: int = 0,
    coefficient: float = 0.9,
    activation: str = "elu",
    readout: str = "pooled",
    num_classes: int = 10,
    image_size: int = 32,
    weights: str | os.PathLike[str] | None = None,
    key: Array | None = None,
    mean: Channels = IMAGENET_MEAN,
    std: Channels = IMAGENET_STD,
) -> Model:
    """The i-ResNet: every block `x + F(x)` can be inverted, so that every latent code is that of an image.

    F is a convolution of 3 x 3, one of 1 x 1 and one of 3 x 3, each after an activation (the very first block has none
    before its first convolution), each with a kernel W used as `W / max(1, sigma / c)`. sigma is the norm of the
    convolution as a linear map on maps of its size, by power iteration: one step in every training pass, its vector u kept
    in `stats`. The norm of each is then at most c, up to what power iteration is behind, so that the Lipschitz constant of
    F is at most `c^3`. Every stage begins with a squeeze: 2 x 2 pixels become the channels of one. The logits are linear in
    what the last block puts out.

    Layers: `layer1.0 ... layerS.B` (blocks, whose units are of either sign), `<block>.shortcut`, features (pooled readouts),
    logits. `encode`, `decode` and `readout` take the network apart.

    Unlike the paper, there is no activation normalisation, and the readout is linear, without a normalisation and a ReLU
    before it.

    Args:
        blocks: residual blocks of each stage.
        hidden: channels inside the blocks of each stage.
        padding: channels of zeros appended to the image. Blocks are then wider, but latent codes have more dimensions than
            images: `decode` drops what does not fit, and is the inverse on codes of images alone.
        coefficient: c, in (0, 1).
        activation: "elu" or "relu", both of slope at most 1.
        readout: "pooled" reads the mean over all positions, "flat" every value; both are linear.
        num_classes: length of the logits.
        image_size: side of the images in pixels, a multiple of 2 to the number of stages.
        weights: a file that `save` wrote.
        key: draws the weights; give either `weights` or `key`.
        mean: per channel of images in [0, 1]; subtracted first.
        std: per channel; divided by.

    Returns:
        A model; its `stats` are the vectors of power iteration. Fresh ones have had 20 steps.

    Raises:
        ValueError: a knob out of range, not exactly one of `weights` and `key`, or weights that do not fit.

    Example:
        >>> import jax
        >>> from jaxinterp import models
        >>> model = models.iresnet(blocks=(1, 1), hidden=(4, 4), image_size=8, key=jax.random.key(0))
        >>> images = jax.random.uniform(jax.random.key(1), (2, 8, 8, 3))
        >>> latent = models.encode(model, images)
        >>> latent.shape
        (2, 192)
        >>> bool(abs(models.decode(model, latent) - images).max() < 1e-4)
        True

    References:
        J. Behrmann, W. Grathwohl, R. T. Q. Chen, D. Duvenaud, J.-H. Jacobsen, "Invertible Residual Networks", ICML 2019:
        theorem 1, sections 2 and 3.
    """
    network = InvertibleResNet(
        tuple(blocks), tuple(hidden), padding, coefficient, activation, readout, image_size, num_classes, mean, std
    )
    _check(network)
    if weights is not None and key is None:
        return Model(*(without_weights(network.shapes) or load_leaves(weights, *network.shapes)), network)
    if key is not None and weights is None:
        return power_iterated(Model(*network.init(key), network), num_iterations=20)
    got = "neither" if weights is None else "both"
    raise ValueError(f"expected either weights or key, got {got}; write key=jax.random.key(0) for random weights.")


def power_iterated(model: Model, *, num_iterations: int = 4000) -> Model:
    """The same weights, with vectors of power iteration that are so many steps nearer to the largest singular ones.

    A training pass makes one step. After training, more of them take the norms of all convolutions to c or below, to as many
    digits as one likes; as `finish=` of a `Fit`, they are part of what is saved.

    Args:
        model: an `iresnet`.
        num_iterations: steps.

    Returns:
        A model of other `stats`; where the old ones were behind, it answers a little differently.

    Raises:
        ValueError: another network.
    """
    network_of(model)
    stats = {
        name: {"u": iterated(model.params[name]["kernel"], leaf["u"], jnp.int32(num_iterations))[1]}
        for name, leaf in model.stats.items()
    }
    return dataclasses.replace(model, stats=stats)


def network_of(model: Model) -> InvertibleResNet:
    """The invertible network of a model.

    Raises:
        ValueError: another one, or one behind a transformation of its images.
    """
    if not isinstance(model.network, InvertibleResNet):
        raise ValueError(f"expected a model made by models.iresnet, got {model.network!r}; at_size and defences go around it.")
    return model.network


def squeeze(maps: Array) -> Array:
    """2 x 2 positions become the channels of one, `[n h w u]` to `[n h/2 w/2 4u]`."""
    n, height, width, units = maps.shape
    blocks = maps.reshape(n, height // 2, 2, width // 2, 2, units).transpose(0, 1, 3, 2, 4, 5)
    return blocks.reshape(n, height // 2, width // 2, 4 * units)


def unsqueeze(maps: Array) -> Array:
    """The inverse of `squeeze`."""
    n, height, width, units = maps.shape
    blocks = maps.reshape(n, height, width, 2, 2, units // 4).transpose(0, 1, 3, 2, 4, 5)
    return blocks.reshape(n, 2 * height, 2 * width, units // 4)


@functools.lru_cache(maxsize=64)
def _layers(network: InvertibleResNet) -> tuple[Layer, ...]:
    sites = Sites({})
    images = jax.ShapeDtypeStruct((1, network.image_size, network.image_size, 3), jnp.float32)
    jax.eval_shape(lambda params, stats, images: network.through(sites, params, stats, images)[0], *network.shapes, images)
    return tuple(sites.layers)


def _check(network: InvertibleResNet) -> None:
    """Raises `ValueError` where a knob is out of range."""
    stages = len(network.blocks)
    if stages == 0 or stages != len(network.hidden) or min(network.blocks + network.hidden) < 1:
        raise ValueError(
            f"expected blocks and hidden of one length and of at least 1, got {network.blocks} and {network.hidden}; "
            "write blocks=(3, 3, 3), hidden=(32, 64, 64)."
        )
    if network.padding < 0:
        raise ValueError(f"expected padding >= 0, got {network.padding}; write padding=0.")
    if not 0 < network.coefficient < 1:
        raise ValueError(f"expected coefficient in (0, 1), got {network.coefficient}; write coefficient=0.9.")
    choose("activation", network.activation, ACTIVATIONS)
    choose("readout", network.readout, dict.fromkeys(READOUTS))
    if network.image_size < 1 or network.image_size % 2**stages:
        raise ValueError(f"expected an image_size that {2**stages} divides, got {network.image_size}; each stage halves it.")
    if network.num_classes < 1:
        raise ValueError(f"expected num_classes >= 1, got {network.num_classes}.")
    if min(network.std) <= 0:
        raise ValueError(f"expected a std above 0, got {network.std}.")


def _like(*shape: int) -> Any:
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def _init_of(name: str) -> Init:
    return PYTORCH if name == "linear" else KAIMING_NORMAL_IN
