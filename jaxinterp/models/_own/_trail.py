"""How an array depends on the image, and how one operation of a program changes that."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

ROWS, COLUMNS = 0, 1
BOTH = frozenset({ROWS, COLUMNS})


class Span(NamedTuple):
    """Position `i` sees `side` pixels around `offset + i * stride`, along one axis of the image."""

    stride: float
    offset: float
    side: float

    def through(self, kernel: int, stride: int, low: int) -> "Span":
        """What a window of `kernel` positions sees that moves by `stride` positions from `-low`."""
        offset = self.offset + ((kernel - 1) / 2 - low) * self.stride
        return Span(self.stride * stride, offset, self.side + (kernel - 1) * self.stride)

    def at(self, place: int, places: int, step: float) -> "Span":
        """What one place of a block sees, where this is what the whole block of `places` sees, `step` pixels apart."""
        reach = (places - 1) * step
        return Span(self.stride, self.offset - reach / 2 + place * step, self.side - reach)

    def union(self, other: "Span") -> "Span":
        """What a sum of the two sees, of equal stride."""
        low = min(self.offset - self.side / 2, other.offset - other.side / 2)
        high = max(self.offset + self.side / 2, other.offset + other.side / 2)
        return Span(self.stride, (low + high) / 2, high - low)


class Factor(NamedTuple):
    """A part of an axis of an array: `size` positions along an axis of the image, or, with None, along nothing of it.

    `inside` is set where positions were split into blocks, on the part that counts within a block: the axis of the image,
    and the pixels from one place to the next. The part that counts blocks sees all their places, until one is chosen.
    """

    size: int
    axis: int | None = None
    span: Span | None = None
    inside: tuple[int, float] | None = None


Axis = tuple[Factor, ...]
"""An axis of an array: its factors, the slowest first; a reshape may merge several."""


class Trail(NamedTuple):
    """How an array depends on the image.

    Attributes:
        axes: of each axis of the array, where its positions lie.
        whole: axes of the image that every element may see from end to end.
        lost: the operation after which places are no longer known; empty while they are.
    """

    axes: tuple[Axis, ...]
    whole: frozenset[int] = frozenset()
    lost: str = ""


def plain(size: int) -> Axis:
    return (Factor(size),)


def along(axes: Iterable[Axis]) -> frozenset[int]:
    """The axes of the image along which some axes of an array lie."""
    return frozenset(factor.axis for axis in axes for factor in axis if factor.axis is not None)


def nowhere(name: str, given: Iterable[Trail | None], shapes: Iterable[tuple[int, ...]]) -> list[Trail | None]:
    """After an operation that is not followed: every element may see the whole image, from no known place."""
    lost = next((trail.lost for trail in given if trail is not None and trail.lost), name)
    return [Trail(tuple(plain(size) for size in shape), BOTH, lost) for shape in shapes]


def joined(name: str, trails: Sequence[Trail], shape: tuple[int, ...]) -> Trail | None:
    """After an elementwise operation: what any operand sees, at the places of those that have some."""
    axes: list[Axis] = []
    for number, size in enumerate(shape):
        placed = [trail.axes[number] for trail in trails if trail.axes and along([trail.axes[number]])]
        if any(not _alike(axis, placed[0]) for axis in placed[1:]):
            return nowhere(f"{name} of maps that lie differently on the image", [], [shape])[0]
        merged = [
            factors[0]._replace(span=_union([factor.span for factor in factors if factor.span is not None]))
            for factors in zip(*placed, strict=True)
        ]
        axes.append(tuple(merged) if placed else plain(size))
    whole = frozenset().union(*(trail.whole for trail in trails))
    return Trail(tuple(axes), whole, next((trail.lost for trail in trails if trail.lost), "")) if trails else None


def _union(spans: Sequence[Span]) -> Span | None:
    total = None
    for span in spans:
        total = span if total is None else total.union(span)
    return total


def _alike(one: Axis, other: Axis) -> bool:
    """Whether two axes have equal factors and strides."""
    return [(f.size, f.axis, f.span and f.span.stride) for f in one] == [
        (f.size, f.axis, f.span and f.span.stride) for f in other
    ]


def dot(params: dict[str, Any], given: list[Trail | None], shapes: list[tuple[int, ...]]) -> Trail | None:
    (contracted, batch) = params["dimension_numbers"]
    sides = [trail or Trail(tuple(plain(size) for size in shape)) for trail, shape in zip(given, shapes, strict=True)]
    free = [
        [axis for number, axis in enumerate(side.axes) if number not in (*contracted[i], *batch[i])]
        for i, side in enumerate(sides)
    ]
    shared = [Trail(tuple(side.axes[number] for number in batch[i]), side.whole, side.lost) for i, side in enumerate(sides)]
    both = joined("dot_general", shared, tuple(shapes[0][number] for number in batch[0])) or shared[0]
    summed = [side.axes[number] for i, side in enumerate(sides) for number in contracted[i]]
    return Trail((*both.axes, *free[0], *free[1]), both.whole | along(summed), both.lost)


def concatenated(dimension: int, given: Sequence[Trail | None], shape: tuple[int, ...]) -> Trail | None:
    """After a concatenation; along the image itself it is not followed."""
    trails = [trail for trail in given if trail is not None]
    if any(along([trail.axes[dimension]]) for trail in trails):
        return nowhere("a concatenation along the image", trails, [shape])[0]
    return joined("concatenate", trails, shape)


def convolution(params: dict[str, Any], trail: Trail, kernel: tuple[int, ...], shape: tuple[int, ...]) -> Trail | None:
    numbers = params["dimension_numbers"]
    (batch, channels, *places), (out_batch, _, *out_places) = numbers.lhs_spec, numbers.out_spec
    axes = [plain(size) for size in shape]
    axes[out_batch] = trail.axes[batch]
    whole = trail.whole | along([trail.axes[channels]])
    for i, (place, out) in enumerate(zip(places, out_places, strict=True)):
        frame = (kernel[numbers.rhs_spec[2 + i]], params["window_strides"][i], params["padding"][i][0])
        axes[out], more = _slid(
            trail.axes[place], shape[out], frame, spread=params["lhs_dilation"][i], hole=params["rhs_dilation"][i]
        )
        whole |= more
    return Trail(tuple(axes), whole, trail.lost)


def window(params: dict[str, Any], trail: Trail, shape: tuple[int, ...]) -> Trail | None:
    axes, whole = [], trail.whole
    for i, axis in enumerate(trail.axes):
        frame = (params["window_dimensions"][i], params["window_strides"][i], params["padding"][i][0])
        slid, more = _slid(axis, shape[i], frame, spread=params["base_dilation"][i], hole=params["window_dilation"][i])
        axes.append(slid)
        whole |= more
    return Trail(tuple(axes), whole, trail.lost)


def _slid(axis: Axis, size: int, frame: tuple[int, int, int], *, spread: int, hole: int) -> tuple[Axis, frozenset[int]]:
    """An axis after a window slid over it, and what is seen whole where that is not known.

    Args:
        axis: before.
        size: positions afterwards.
        frame: length, stride and padding before of the window.
        spread: positions are `spread` apart, with nothing in between.
        hole: the same of the window.
    """
    length, stride, low = frame
    if (length, stride, low, spread) == (1, 1, 0, 1):
        return axis, frozenset()
    factor, *others = [factor for factor in axis if factor.size != 1] or [Factor(1)]
    if factor.span is None or others:
        return plain(size), along([axis])
    span = factor.span._replace(stride=factor.span.stride / spread)
    return (Factor(size, factor.axis, span.through((length - 1) * hole + 1, stride, low)),), frozenset()


def _transposed(params: dict[str, Any], axes: Sequence[Axis], shapes: Any) -> list[list[Axis]]:
    return [[axes[number] for number in params["permutation"]]]


def _squeezed(params: dict[str, Any], axes: Sequence[Axis], shapes: Any) -> list[list[Axis]]:
    return [[axis for number, axis in enumerate(axes) if number not in params["dimensions"]]]


def _broadcast(params: dict[str, Any], axes: Sequence[Axis], shapes: Any) -> list[list[Axis]]:
    out = [plain(size) for size in shapes[0]]
    for axis, number in zip(axes, params["broadcast_dimensions"], strict=True):
        if math.prod(factor.size for factor in axis) == shapes[0][number]:
            out[number] = axis
    return [out]


def _reversed(params: dict[str, Any], axes: Sequence[Axis], shapes: Any) -> list[list[Axis]] | None:
    return None if along([axes[number] for number in params["dimensions"]]) else [list(axes)]


def _sliced(params: dict[str, Any], axes: Sequence[Axis], shapes: Any) -> list[list[Axis]] | None:
    strides = params["strides"] or (1,) * len(axes)
    axes = _chosen(axes, params["start_indices"], shapes[0])
    cuts = [_cut(axis, *rest) for axis, *rest in zip(axes, params["start_indices"], strides, shapes[0], strict=True)]
    return None if None in cuts else [[cut for cut in cuts if cut is not None]]


def _chosen(axes: Sequence[Axis], starts: Sequence[int], shape: Sequence[int]) -> Sequence[Axis]:
    """The axes after one place of every block was chosen, where a slice does that."""
    for axis, start, size in zip(axes, starts, shape, strict=True):
        if size != 1 or len(axis) != 1 or axis[0].inside is None:
            continue
        (along_axis, step), places = axis[0].inside, axis[0].size
        axes = [
            tuple(
                factor._replace(span=factor.span.at(start, places, step))
                if factor.axis == along_axis and factor.span is not None
                else factor
                for factor in other
            )
            for other in axes
        ]
    return axes


def _split(params: dict[str, Any], axes: Sequence[Axis], shapes: Any) -> list[list[Axis]] | None:
    pieces, start, number = [], 0, params["axis"]
    for size in params["sizes"]:
        cut = _cut(axes[number], start, 1, size)
        if cut is None:
            return None
        pieces.append([*axes[:number], cut, *axes[number + 1 :]])
        start += size
    return pieces


def _padded(params: dict[str, Any], axes: Sequence[Axis], shapes: Any) -> list[list[Axis]] | None:
    cuts = [
        _cut(axis, -low / (1 + between), 1 / (1 + between), size)
        for axis, (low, _, between), size in zip(axes, params["padding_config"], shapes[0], strict=True)
    ]
    return None if None in cuts else [[cut for cut in cuts if cut is not None]]


def _cut(axis: Axis, start: float | int, step: float | int, size: int) -> Axis | None:
    """An axis from position `start` in steps of `step`; None where its factors do not allow it."""
    if (start, step) == (0, 1) and math.prod(factor.size for factor in axis) == size:
        return axis
    if not along([axis]):
        return plain(size)
    factor, *others = axis
    if others or factor.span is None:
        return None
    span = factor.span
    return (factor._replace(size=size, span=Span(span.stride * step, span.offset + span.stride * start, span.side)),)


def _reshaped(params: dict[str, Any], axes: Sequence[Axis], shapes: Any) -> list[list[Axis]] | None:
    """Deals the factors out anew; a factor that is split leaves its place to the slower part."""
    if params["dimensions"] is not None:
        return None
    left = [factor for axis in axes for factor in axis if factor.size != 1]
    out: list[Axis] = []
    for size in shapes[0]:
        taken: list[Factor] = []
        while (room := size // math.prod(factor.size for factor in taken)) > 1:
            factor = left.pop(0)
            if factor.size > room:
                if factor.size % room:
                    return None
                inner = factor.size // room
                span = factor.span and factor.span.through(inner, inner, 0)
                inside = None if factor.axis is None or factor.span is None else (factor.axis, factor.span.stride)
                left.insert(0, Factor(inner, inside=inside))
                factor = Factor(room, factor.axis, span)
            elif room % factor.size:
                return None
            taken.append(factor)
        out.append(tuple(taken) or plain(size))
    return [out]


MOVES = {
    "broadcast_in_dim": _broadcast,
    "pad": _padded,
    "reshape": _reshaped,
    "rev": _reversed,
    "slice": _sliced,
    "split": _split,
    "squeeze": _squeezed,
    "transpose": _transposed,
}
