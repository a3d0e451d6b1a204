"""Discrepancy maps: where an occluder on the image lowers what a unit answers."""

import functools
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh
from jaxtyping import Float, Float32, Int32

from jaxinterp import _mesh
from jaxinterp._base import Model, check_images
from jaxinterp.activations._maps import check_positive

Drop = Literal["position", "maximum"]
"""Where the drop is measured: at the position of the unit's maximum on the whole image, or from maximum to maximum."""


class DiscrepancyMaps(NamedTuple):
    """The drop of every unit's activation for an occluder at every place of a grid.

    Attributes:
        drop: activation on the whole image minus that on the occluded one; rows and columns of the grid, then units.
        value: activation on the whole image, the maximum over positions.
        position: where in the map that maximum lies, row-major, the first of equals.
        units: the units along the last axis.
        occluder: side of the occluder in pixels.
        stride: pixels from one place of the occluder to the next.
        offset: pixel coordinate of the occluder's centre at place 0 (pixel centres are integers).
        image_size: side of the images in pixels.
    """

    drop: Float32[np.ndarray, "n r r u"]
    value: Float32[np.ndarray, "n u"]
    position: Int32[np.ndarray, "n u"]
    units: Int32[np.ndarray, " u"]
    occluder: int
    stride: int
    offset: float
    image_size: int


def discrepancy_maps(
    key: Array,
    model: Model,
    images: Float[Array, "n h w c"] | Float[np.ndarray, "n h w c"],
    *,
    layers: Sequence[str],
    units: Mapping[str, Sequence[int] | np.ndarray] | None = None,
    occluder: int = 11,
    stride: int = 3,
    drop: Drop = "position",
    batch_size: int = 64,
    mesh: Mesh | None = None,
) -> dict[str, DiscrepancyMaps]:
    """Slides a small occluder of random pixels over each image and records how far every unit's activation drops.

    At 224 pixels the grid has 72 x 72 places, so an image costs 5 184 evaluations of the network, which serve all units of
    all `layers`. A grid that the stride does not fill is centred. The pixels are drawn anew for every place, uniform in
    [0, 1], the same for every image (our reading): an image's maps do not depend on the images beside it.

    The network sees `batch_size` occluded images at a time, in batches that run on from image to image; only the drops are
    kept, `4 * n * places` bytes a unit.

    Args:
        key: draws the pixels.
        model: the network.
        images: in [0, 1].
        layers: whose units are watched.
        units: layer -> the units that are kept, all where a layer is not named.
        occluder: side of the occluder in pixels; 11 is the paper's at 224 px.
        stride: pixels from one place to the next; 3 is the paper's.
        drop: "position" follows the unit at the position of its maximum on the whole image; "maximum" compares the maxima
            of both maps, so that a second instance of the pattern makes up for the occluded one.
        batch_size: occluded images that the network sees at once; it changes nothing but memory and time.
        mesh: devices over which these are split, a number that divides `batch_size`; None for where the model is.

    Returns:
        The maps of each layer.

    Raises:
        ValueError: unknown layers or units, an occluder larger than the image, a size below 1, or a batch that cannot be split.

    References:
        Bolei Zhou, Aditya Khosla, Agata Lapedriza, Aude Oliva, Antonio Torralba, "Object Detectors Emerge in Deep Scene
        CNNs", 2015, section 3.2.

    Example:
        >>> import jax, jaxinterp as ji
        >>> model = ji.models.resnet18(num_classes=4, width=1 / 16, image_size=32, output_stride=4, key=jax.random.key(0))
        >>> images = jax.numpy.zeros((1, 32, 32, 3))
        >>> found = ji.activations.discrepancy_maps(jax.random.key(1), model, images, layers=("layer4.1",), stride=7)
        >>> found["layer4.1"].drop.shape
        (1, 4, 4, 32)
    """
    images = jnp.asarray(images)
    if len(images) == 0:
        raise ValueError("expected at least one image, got none.")
    check_images(images, size=model.image_size)
    check_positive(occluder=occluder, stride=stride, batch_size=batch_size)
    size = model.image_size
    if occluder > size:
        raise ValueError(f"expected an occluder of at most {size} pixels, the side of the images, got {occluder}.")
    if drop not in ("position", "maximum"):
        raise ValueError(f'expected drop="position" or "maximum", got {drop!r}.')
    if not layers:
        raise ValueError("expected at least one layer, got none; write layers=(name,).")
    watched = _watched(model, layers, units or {})
    if mesh is not None:
        if batch_size % mesh.size:
            raise ValueError(f"expected a batch_size that {mesh.size} devices divide, got {batch_size}.")
        mesh = _mesh.data_parallel(mesh)
        model, images, watched = jax.device_put((model, images, watched), _mesh.replicated(mesh))
    num_images, side = len(images), (size - occluder) // stride + 1
    first, places = (size - occluder) % stride // 2, side * side
    total = num_images * places
    at_once = min(batch_size, num_images)
    whole = [_whole(model, images, watched, jnp.int32(start), at_once) for start in range(0, num_images, at_once)]
    value, position = (
        {name: jnp.concatenate([part[i][name] for part in whole])[:num_images] for name in layers} for i in (0, 1)
    )
    grid = (occluder, stride, first, side)
    parts = []
    for start in range(0, total, batch_size):
        rows = np.arange(start, start + batch_size, dtype=np.int32)
        row = jnp.asarray(rows) if mesh is None else jax.device_put(rows, _mesh.sharded(mesh))
        parts.append(_occluded(key, model, images, value, position, watched, row, grid, drop))
    found = {}
    for name in layers:
        drops = np.concatenate([np.asarray(part[name]) for part in parts])[:total]
        found[name] = DiscrepancyMaps(
            drops.reshape(num_images, side, side, -1),
            np.asarray(value[name]),
            np.asarray(position[name]),
            np.asarray(watched[name]),
            occluder,
            stride,
            first + (occluder - 1) / 2,
            size,
        )
    return found


def _watched(
    model: Model, layers: Sequence[str], units: Mapping[str, Sequence[int] | np.ndarray]
) -> dict[str, Int32[Array, " u"]]:
    """Layer -> units to keep."""
    for name in units:
        if name not in layers:
            raise ValueError(f"expected units of {', '.join(layers)}, got units of {name!r}; add it to layers.")
    watched = {}
    for name in layers:
        count = model.layer(name).shape[2]
        chosen = np.asarray(units.get(name, np.arange(count)), np.int32)
        if chosen.ndim != 1 or chosen.size == 0 or chosen.min() < 0 or chosen.max() >= count:
            raise ValueError(f"expected a list of units from 0 to {count - 1} of layer {name!r}, got {chosen.tolist()}.")
        watched[name] = jnp.asarray(chosen)
    return watched


@functools.partial(jax.jit, static_argnums=4)
def _whole(
    model: Model, images: Array, watched: dict[str, Array], start: Array, batch_size: int
) -> tuple[dict[str, Array], dict[str, Array]]:
    """The maximum of every watched unit on some whole images, and its position; the last image is repeated at the end."""
    row = jnp.minimum(start + jnp.arange(batch_size, dtype=jnp.int32), images.shape[0] - 1)
    flat = _flat(model, images[row], watched)
    return {name: maps.max(axis=1) for name, maps in flat.items()}, {
        name: maps.argmax(axis=1).astype(jnp.int32) for name, maps in flat.items()
    }


@functools.partial(jax.jit, static_argnums=(7, 8))
def _occluded(
    key: Array,
    model: Model,
    images: Array,
    value: dict[str, Array],
    position: dict[str, Array],
    watched: dict[str, Array],
    row: Array,
    grid: tuple[int, int, int, int],
    drop: Drop,
) -> dict[str, Array]:
    """The drops of one batch; rows past the last image repeat it, and are cut off by the caller."""
    occluder, stride, first, side = grid
    image = jnp.minimum(row // side**2, images.shape[0] - 1)
    place = row % side**2

    def cover(picture: Array, place: Array) -> Array:
        pixels = jax.random.uniform(jax.random.fold_in(key, place), (occluder, occluder, picture.shape[2]), picture.dtype)
        corner = (first + stride * (place // side), first + stride * (place % side), jnp.zeros_like(place))
        return jax.lax.dynamic_update_slice(picture, pixels, corner)

    flat = _flat(model, jax.vmap(cover)(images[image], place), watched)
    if drop == "maximum":
        left = {name: maps.max(axis=1) for name, maps in flat.items()}
    else:
        left = {name: jnp.take_along_axis(maps, position[name][image][:, None], axis=1)[:, 0] for name, maps in flat.items()}
    return {name: (value[name][image] - left[name]).astype(jnp.float32) for name in flat}


def _flat(model: Model, images: Array, watched: dict[str, Array]) -> dict[str, Array]:
    """The maps of the watched units, positions in one axis."""
    _, activations = model(images)
    return {
        name: activations[name].reshape(images.shape[0], -1, activations[name].shape[-1])[:, :, chosen]
        for name, chosen in watched.items()
    }
