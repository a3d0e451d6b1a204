"""The images that a unit answers to most."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float32, Int32

from jaxinterp._base import Activations, Batch, Statistic
from jaxinterp.activations._counts import WideCount, wide_add, wide_int64, wide_merge, wide_zeros
from jaxinterp.activations._maps import Reduce, broken, check_finite, check_positive, check_reduce, layer_maps, pool

_NO_ID = np.iinfo(np.int32).max


class TopK(NamedTuple):
    """The top images of every unit, best first.

    Attributes:
        id: the ids of the images; -1 where fewer than `k` images were seen.
        value: their activations; -inf where absent.
        position: where in the map the activation is highest, row-major (`divmod(position, w)`); -1 where absent.
    """

    id: Int32[np.ndarray, "u k"]
    value: Float32[np.ndarray, "u k"]
    position: Int32[np.ndarray, "u k"]


class _State(NamedTuple):
    """Per unit: `k` settled candidates and room for `buffer` new ones, `filled` of them taken; and activations not finite."""

    value: Array
    id: Array
    position: Array
    filled: Array
    broken: WideCount


def top_count(num_images: int) -> int:
    """Size of a unit's top set: one per cent of the images, but at least 100 (all, where there are fewer).

    Our reading of the papers' "top 1 %", which is 500 of 50 000 images, made safe for small data sets: with `n` top
    images, LC cannot fall below `1 / n`.

    Args:
        num_images: images in the data set.

    Returns:
        `min(num_images, max(num_images // 100, 100))`.
    """
    check_positive(num_images=num_images)
    return min(num_images, max(num_images // 100, 100))


def top_k(layer: str, *, num_units: int, k: int, reduce: Reduce = "max") -> Statistic:
    """Statistic: the `k` images with the highest activation, per unit of a layer.

    Exact under ties: images are ordered by (value descending, id ascending), whatever the order, the batches or the
    devices they came in. Ids must be distinct. New candidates wait in a buffer, which is sorted only when it is full.

    Args:
        layer: name of the layer; maps `[n h w u]`, or `[n u]`.
        num_units: units of that layer.
        k: images to keep; `top_count` is the papers' rule.
        reduce: how positions become the image's activation; the maximum is our reading of the papers.

    Returns:
        A statistic whose `compute` gives a `TopK`. Its state holds `num_units * (k + max(k, 256))` candidates. `compute` raises
        `ValueError` on NaN and infinity.

    Raises:
        ValueError: `k` or `num_units` below 1, or an unknown `reduce`.

    References:
        Yinpeng Dong, Hang Su, Jun Zhu, Fan Bao, "Towards Interpretable Deep Neural Networks by Leveraging Adversarial
        Examples", 2017, section 3.
    """
    check_positive(k=k, num_units=num_units)
    check_reduce(reduce)
    return _top_k(layer, num_units, k, reduce)


@functools.lru_cache(maxsize=64)
def _top_k(layer: str, num_units: int, k: int, reduce: Reduce) -> Statistic:
    """One object for one set of arguments, so that what was compiled for it is used again."""
    buffer = max(k, 256)

    def init() -> _State:
        shape = (num_units, k + buffer)
        return _State(
            jnp.full(shape, -jnp.inf, jnp.float32),
            jnp.full(shape, _NO_ID, jnp.int32),
            jnp.full(shape, -1, jnp.int32),
            jnp.int32(0),
            wide_zeros(),
        )

    def update(state: _State, batch: Batch, activations: Activations) -> _State:
        maps = layer_maps(activations, layer, num_units)
        value = pool(maps, reduce)
        mask = batch.mask[:, None]
        new = _State(
            jnp.where(mask, value, -jnp.inf).T,
            jnp.where(mask, batch.id[:, None].astype(jnp.int32), jnp.full_like(value, _NO_ID, jnp.int32)).T,
            jnp.where(mask, _argmax(maps), -1).T,
            jnp.int32(0),
            wide_add(state.broken, broken(maps, batch.mask)),
        )
        rows = value.shape[0]
        if rows > buffer:
            return _settle(_join(state, new)._replace(broken=new.broken), k, buffer)
        state = jax.lax.cond(state.filled + rows > buffer, lambda s: _settle(s, k, buffer), lambda s: s, state)
        start = (jnp.int32(0), k + state.filled)
        return _State(
            jax.lax.dynamic_update_slice(state.value, new.value, start),
            jax.lax.dynamic_update_slice(state.id, new.id, start),
            jax.lax.dynamic_update_slice(state.position, new.position, start),
            state.filled + rows,
            new.broken,
        )

    def merge(left: _State, right: _State) -> _State:
        return _settle(_join(left, right), k, buffer)

    def compute(state: _State) -> TopK:
        check_finite(int(wide_int64(state.broken)), layer)
        value, ids, position = (np.asarray(a) for a in _settle(state, k, buffer)[:3])
        value, ids, position = value[:, :k], ids[:, :k], position[:, :k]
        return TopK(np.where(ids == _NO_ID, np.int32(-1), ids), value, position)

    return Statistic(init, update, merge, compute)


def _argmax(maps: Array) -> Array:
    """Row-major position of the maximum, the first one where several are equal, `[n u]` int32."""
    n, h, w, u = maps.shape
    flat = maps.reshape(n, h * w, u)
    places = jnp.arange(h * w, dtype=jnp.int32)[None, :, None]
    return jnp.where(flat == flat.max(axis=1, keepdims=True), places, h * w - 1).min(axis=1)


def _join(left: _State, right: _State) -> _State:
    return _State(
        jnp.concatenate((left.value, right.value), axis=1),
        jnp.concatenate((left.id, right.id), axis=1),
        jnp.concatenate((left.position, right.position), axis=1),
        jnp.int32(0),
        wide_merge(left.broken, right.broken),
    )


def _settle(state: _State, k: int, buffer: int) -> _State:
    """Keeps the best `k` candidates and empties the buffer."""
    negated, ids, position = jax.lax.sort((-state.value, state.id, state.position), dimension=1, num_keys=2)
    room = ((0, 0), (0, buffer))
    return _State(
        jnp.pad(-negated[:, :k], room, constant_values=-jnp.inf),
        jnp.pad(ids[:, :k], room, constant_values=_NO_ID),
        jnp.pad(position[:, :k], room, constant_values=-1),
        jnp.int32(0),
        state.broken,
    )
