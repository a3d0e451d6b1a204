"""How the Square attack starts and how it paints a window, in both norms; of one image `[h w c]`.

Windows are masks with a traced side and corner, so that one program serves all sizes.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxinterp.attacks._ball import Scalar

GRID = 5
"""Peaks to a side of the L2 start."""


class Painter(NamedTuple):
    """The sampling distribution of the Square attack in one norm.

    Attributes:
        start: `(key, clean) -> image`.
        paint: `(key, iterate, clean, side) -> image`, with one window painted anew.
        least_side: of a window.
    """

    start: Callable[[Array, Array], Array]
    paint: Callable[[Array, Array, Array, Array], Array]
    least_side: int


def linf(epsilon: Scalar) -> Painter:
    """Colours at the corners of the ball.

    `clip(x + rho)` with rho = -2 epsilon or 2 epsilon is the clean image moved by epsilon, wherever in the ball x was.
    """

    def moved(clean: Array, signs: Array) -> Array:
        return jnp.clip(clean + jnp.asarray(epsilon, clean.dtype) * signs, 0.0, 1.0)

    def start(key: Array, clean: Array) -> Array:
        _, width, channels = clean.shape
        return moved(clean, _signs(_draws(key, width * channels), clean.dtype).reshape(1, width, channels))

    def paint(key: Array, iterate: Array, clean: Array, side: Array) -> Array:
        draws = _draws(key, 2 + clean.shape[-1])
        signs = _signs(draws[2:], clean.dtype)[None, None]
        rows, columns = _place(draws[:2], clean.shape, side)
        return jnp.where(_inside(rows, columns, side), moved(clean, signs), iterate)

    return Painter(start, paint, 1)


def l2(epsilon: Scalar) -> Painter:
    """Two peaks of opposite sign added to a window, which gets the norm of another window besides."""

    def onto_sphere(clean: Array, perturbation: Array) -> Array:
        radius = jnp.asarray(epsilon, clean.dtype)
        return jnp.clip(clean + radius * _unit(perturbation, (0, 1, 2)), 0.0, 1.0)

    def start(key: Array, clean: Array) -> Array:
        height, width, channels = clean.shape
        side = min(height, width) // GRID
        if side == 0:
            raise ValueError(f'expected images of at least {GRID} x {GRID}, got {height} x {width}; write norm="linf".')
        draws = _draws(key, (1 + channels) * GRID**2)
        turned = draws[: GRID**2].reshape(GRID, 1, GRID, 1, 1) < 0.5
        signs = _signs(draws[GRID**2 :], clean.dtype).reshape(GRID, 1, GRID, 1, channels)
        peaks = _peaks(jnp.arange(side)[:, None], jnp.arange(side)[None], side).astype(clean.dtype)
        grid = signs * jnp.where(turned, peaks.T[None, :, None, :, None], peaks[None, :, None, :, None])
        before = ((height - GRID * side) // 2, (width - GRID * side) // 2)
        edges = [(low, total - GRID * side - low) for low, total in zip(before, (height, width), strict=True)]
        return onto_sphere(clean, jnp.pad(grid.reshape(GRID * side, GRID * side, channels), [*edges, (0, 0)]))

    def paint(key: Array, iterate: Array, clean: Array, side: Array) -> Array:
        channels, radius = clean.shape[-1], jnp.asarray(epsilon, clean.dtype)
        draws = _draws(key, 5 + channels)
        perturbation = iterate - clean
        rows, columns = _place(draws[:2], clean.shape, side)
        window, other = _inside(rows, columns, side), _inside(*_place(draws[2:4], clean.shape, side), side)

        peaks = jnp.where(draws[4] < 0.5, _peaks(columns, rows, side), _peaks(rows, columns, side)).astype(clean.dtype)
        direction = _signs(draws[5:], clean.dtype)[None, None] * peaks[:, :, None] + _unit(
            jnp.where(window, perturbation, 0.0), (0, 1)
        )

        unused = jnp.maximum(jnp.square(radius) - jnp.sum(jnp.square(perturbation)), 0.0)
        there = jnp.sum(jnp.square(jnp.where(window | other, perturbation, 0.0)), axis=(0, 1), keepdims=True)
        painted = _unit(direction, (0, 1)) * jnp.sqrt(unused / channels + there)
        return onto_sphere(clean, jnp.where(window, painted, jnp.where(other, 0.0, perturbation)))

    return Painter(start, paint, 3)


def _draws(key: Array, count: int) -> Array:
    """All that is drawn for an image, at once and uniform in [0, 1): a compiled generator costs more than its numbers."""
    return jax.random.uniform(key, (count,), jnp.float32)


def _signs(draws: Array, dtype: jnp.dtype) -> Array:
    return jnp.where(draws < 0.5, -1.0, 1.0).astype(dtype)


def _place(draws: Array, shape: tuple[int, ...], side: Array) -> tuple[Array, Array]:
    """Rows `[h 1]` and columns `[1 w]` as counted from the corner of a window that lies anywhere in the image."""
    height, width, _ = shape
    top, left = (draws * jnp.stack([height - side + 1, width - side + 1])).astype(jnp.int32)
    return jnp.arange(height)[:, None] - top, jnp.arange(width)[None] - left


def _inside(rows: Array, columns: Array, side: Array | int) -> Array:
    return ((rows >= 0) & (rows < side) & (columns >= 0) & (columns < side))[:, :, None]


def _peaks(rows: Array, columns: Array, side: Array | int) -> Array:
    """A window of norm 1, zero outside of it: its two halves are peaks of equal norm, the second one negative.

    A peak is a sum of concentric rectangles, the one that reaches to distance k weighted by `1 / (k + 1)^2`; at a pixel those
    count that reach it, so the sum depends on the larger of its distances from the centre in rows and in columns.
    """
    half = side // 2
    second = rows >= half
    along = jnp.abs(jnp.where(second, rows - half - (side - half) // 2, rows - half // 2))
    across = jnp.abs(columns - half)
    reach = jnp.arange(max(rows.size, columns.size))
    # The sum over the rectangles that reach to k or further falls with k: of the larger distance it is the smaller sum.
    sums = jnp.cumsum(jnp.where(reach <= half, 1 / jnp.square(reach + 1.0), 0.0)[::-1])[::-1]
    heights = jnp.minimum(jnp.take(sums, along, mode="clip"), jnp.take(sums, across, mode="clip"))
    heights = jnp.where(_inside(rows, columns, side)[:, :, 0], heights, 0.0)
    return _unit(_unit(jnp.where(second, 0.0, heights), (0, 1)) - _unit(jnp.where(second, heights, 0.0), (0, 1)), (0, 1))


def _unit(values: Array, axes: tuple[int, ...]) -> Array:
    """Divided by the Euclidean norm over some axes; zeros stay zeros."""
    norm = jnp.sqrt(jnp.sum(jnp.square(values), axis=axes, keepdims=True))
    return values / jnp.where(norm > 0, norm, 1.0)
