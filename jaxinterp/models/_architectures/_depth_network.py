"""A small network for monocular depth: the stages of a ResNet, and a light decoder."""

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxinterp._base import Model
from jaxinterp.models._architectures._cifar_resnet import CifarResNet, CifarResNetStages
from jaxinterp.models._architectures._resnet import ResNet, ResNetStages
from jaxinterp.models._flow import Flow, Sites, add, whole
from jaxinterp.models._init import KAIMING_NORMAL, PYTORCH, Init, draw
from jaxinterp.models._network import Body, ConvNet
from jaxinterp.models._ops import Norms, conv, conv_bn, relu


class DepthNetwork(Body):
    """The body of a depth network: stages, decoder, one number a pixel."""

    stages: ResNetStages | CifarResNetStages
    units: int
    centre: float
    axis_name: str | None
    folded: bool = False

    def init_of(self, name: str) -> Init:
        """How the weights of that layer are drawn."""
        return PYTORCH if name == "decoder.depth" else KAIMING_NORMAL

    @nn.compact
    def __call__(self, images: Array, sites: Sites, train: bool) -> Array:
        """Log depth of normalised images, all pixels in one row."""
        size = images.shape[1]
        norms = Norms(train, sites.folds, folded=self.folded, axis_name=self.axis_name)
        *earlier, flow = self.stages(images, sites, norms)
        flow = relu(conv_bn(flow, ("decoder.top.conv", "decoder.top.bn"), self.units, 1, norms=norms))
        for number, skip in reversed(list(enumerate(earlier))):
            name = f"decoder.{number}"
            side = conv_bn(skip, (f"{name}.side.conv", f"{name}.side.bn"), self.units, 1, norms=norms)
            flow = relu(add(enlarged(flow, side.field.stride, side.value.shape[1]), side))
            flow = conv_bn(flow, (f"{name}.conv", f"{name}.bn"), self.units, 3, padding=1, norms=norms)
            flow = sites.site(name, relu(flow))
        flow = enlarged(conv(flow, "decoder.depth", 1, 3, padding=1), 1, size)
        value = flow.value.astype(jnp.promote_types(flow.value.dtype, jnp.float32))
        depth = sites.site("depth", flow.map(jnp.exp(value + math.log(self.centre))))
        logits = jnp.log(jnp.maximum(depth.value, 1e-6)).reshape(images.shape[0], -1)
        return sites.site("logits", Flow(logits, whole(size))).value


def enlarged(flow: Flow, stride: int, size: int) -> Flow:
    """A map at positions `stride` pixels apart, bilinear between those it has; position 0 stays where it is.

    Beyond the last position its value is kept.
    """
    factor = flow.field.stride // stride
    if factor == 1:
        return flow
    value = flow.value
    for axis in (1, 2):
        matrix = _between(value.shape[axis], size, factor).astype(np.float32)
        value = jnp.moveaxis(jnp.tensordot(value, jnp.asarray(matrix, value.dtype), axes=((axis,), (1,))), -1, axis)
    field = flow.field
    return Flow(value, field._replace(stride=stride, side=field.side + field.stride))


def _between(length: int, size: int, factor: int) -> np.ndarray:
    place = np.minimum(np.arange(size) / factor, length - 1)
    low = np.floor(place).astype(int)
    matrix, rows = np.zeros((size, length)), np.arange(size)
    np.add.at(matrix, (rows, low), 1 - (place - low))
    np.add.at(matrix, (rows, np.minimum(low + 1, length - 1)), place - low)
    return matrix


def depth_network(
    encoder: Model,
    *,
    key: Array,
    units: int = 32,
    centre: float = 4.0,
) -> Model:
    """A network that tells the depth of every pixel, begun with the weights of a classifier's convolutional stages.

    The decoder goes from the last stage back to the first: the map so far, enlarged bilinearly where the stage before is finer,
    is added to a 1 x 1 convolution of that stage; then a convolution of 3 x 3. The last convolution gives one number a
    position, enlarged to the image: the log of the depth over `centre`. In the record, logits are the log depth in metres with
    all pixels in one row, `[n, h w]`; `num_classes` is `h w`; and `activations["depth"]` `[n h w 1]` is the depth in metres, on
    which a tap acts before the logits are taken. Layers: those of the encoder, without features; decoder.3 ... decoder.0 (of
    layer3 ... layer1, conv1), named by the stage that is added; depth; logits. Weights are saved and read as of any network:
    `models.load(file, depth_network(...))`.

    Args:
        encoder: a ResNet of this package, `models.resnet18(weights=...)`, `models.small_resnet18()`,
            `models.cifar_resnet20(...)`, with the image size that is wanted; its head is left out.
        key: draws the weights of the decoder.
        units: of every map of the decoder.
        centre: depth in metres of which the last convolution gives the log ratio; the middle of what is expected.

    Returns:
        The model.

    Raises:
        ValueError: an encoder that is none of these, or a number below 1 or not above 0.

    Example:
        >>> import jax
        >>> from jaxinterp import models
        >>> model = models.depth_network(models.small_resnet18(), key=jax.random.key(0))
        >>> log_depth, activations = model(jax.numpy.zeros((1, 64, 64, 3)))
        >>> log_depth.shape, activations["depth"].shape
        ((1, 4096), (1, 64, 64, 1))

    References:
        Tsung-Yi Lin, Piotr Dollar, Ross Girshick, Kaiming He, Bharath Hariharan, Serge Belongie, "Feature Pyramid Networks for
        Object Detection", CVPR 2017, section 3, for the shape of the decoder.
    """
    network: Any = encoder.network
    body: Any = network.body if isinstance(network, ConvNet) else None
    if isinstance(body, ResNet) and not body.folded:
        stages: Any = ResNetStages(body.width, body.blocks, body.bottleneck, body.output_stride)
    elif isinstance(body, CifarResNet) and not body.folded:
        stages = CifarResNetStages(body.width, body.blocks)
    else:
        raise ValueError(f"expected a ResNet of this package whose normalisation is not folded, got {network!r}.")
    if units < 1 or not centre > 0:
        raise ValueError(f"expected units >= 1 and centre > 0, got {units} and {centre}; write units=32, centre=4.0.")
    size = encoder.image_size
    layers = DepthNetwork(stages=stages, units=units, centre=float(centre), axis_name=body.axis_name)
    made = ConvNet(layers, size, size * size, network.last_conv, network.mean, network.std, network.dtype)
    params, stats = made.shapes
    own = {name: leaves for name, leaves in params.items() if name.startswith("decoder.")}
    fresh, still = draw(key, own, {name: stats[name] for name in stats if name.startswith("decoder.")}, layers.init_of)
    kept = [
        {name: tree[name] for name in like if name in tree} for tree, like in ((encoder.params, params), (encoder.stats, stats))
    ]
    return Model({**kept[0], **fresh}, {**kept[1], **still}, made)
