"""Where the positions of a map lie on the image, read off a traced program: no weight is looked at, nothing is computed."""

import math
from collections.abc import Sequence
from typing import Any

from jax.extend.core import ClosedJaxpr, Jaxpr, Literal
from jax.interpreters.partial_eval import dce_jaxpr

from jaxinterp._base import Layer
from jaxinterp.models._own._trail import (
    COLUMNS,
    MOVES,
    ROWS,
    Axis,
    Factor,
    Span,
    Trail,
    along,
    concatenated,
    convolution,
    dot,
    joined,
    nowhere,
    plain,
    window,
)

_ELEMENTWISE = """abs acos acosh add add_any and asin asinh atan atan2 atanh cbrt ceil clamp convert_element_type copy copy_p
cos cosh device_put digamma div eq erf erf_inv erfc exp exp2 expm1 floor ge gt integer_pow is_finite le lgamma log log1p
logistic lt max min mul name ne neg nextafter not optimization_barrier or pow pvary real reduce_precision rem round rsqrt
select_n sharding_constraint sign sin sinh sqrt square stop_gradient sub tan tanh xor"""
ELEMENTWISE = frozenset(_ELEMENTWISE.split())
REDUCTIONS = {
    "argmax",
    "argmin",
    "reduce_and",
    "reduce_max",
    "reduce_min",
    "reduce_or",
    "reduce_prod",
    "reduce_sum",
    "reduce_xor",
}
CUMULATIVE = {"cumlogsumexp", "cummax", "cummin", "cumprod", "cumsum"}
WINDOWS = {"reduce_window", "reduce_window_max", "reduce_window_min", "reduce_window_sum"}
INNER = {
    "checkpoint": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "custom_vmap_call": "call",
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "remat": "jaxpr",
    "remat2": "jaxpr",
}


def trails(program: ClosedJaxpr, images: int) -> list[Trail | None]:
    """How each output of a program depends on its input number `images`, `[n h w c]`; None where it does not."""
    shape = program.jaxpr.invars[images].aval.shape
    axes = [plain(size) for size in shape]
    for axis in (ROWS, COLUMNS):
        axes[1 + axis] = (Factor(shape[1 + axis], axis, Span(1.0, 0.0, 1.0)),)
    inputs: list[Trail | None] = [None] * len(program.jaxpr.invars)
    inputs[images] = Trail(tuple(axes))
    return _run(program.jaxpr, inputs)


def layer_of(name: str, shape: tuple[int, ...], trail: Trail | None, image_size: int) -> Layer | str:
    """The record of a site, or, where its positions cannot be placed, the reason."""
    if len(shape) not in (2, 4):
        return f"expected [n h w u] or [n u], got shape {shape}"
    if len(shape) == 2 or shape[1:3] == (1, 1):
        return Layer(name, (1, 1, shape[-1]), float(image_size), (image_size - 1) / 2, image_size)
    if trail is None:
        return "it does not depend on the image"
    spans = [_span_along(trail.axes[1 + axis], axis) for axis in (ROWS, COLUMNS)]
    if None in spans:
        if [_span_along(axis, number) is None for number, axis in enumerate(trail.axes[2:])] == [False, False]:
            return f"expected [n h w u], got [n u h w] of shape {shape}; transpose it"
        return f"its positions cannot be followed back to the image past {trail.lost or 'an operation that mixes positions'}"
    rows, columns = (span for span in spans if span is not None)
    if rows[:2] != columns[:2]:
        return (
            f"its rows lie at {rows.offset:g} + {rows.stride:g} i and its columns at {columns.offset:g} + {columns.stride:g} i"
        )
    side = math.ceil(max(rows.side, columns.side) - 1e-6)
    side = max(side, 2 * image_size - 1) if trail.whole else side
    return Layer(name, (shape[1], shape[2], shape[3]), rows.stride, rows.offset, side)


def reaches(program: ClosedJaxpr, output: int) -> set[Any]:
    """The variables of a program that its output number `output` depends on."""
    kept, _ = dce_jaxpr(program.jaxpr, [number == output for number in range(len(program.jaxpr.outvars))])
    return {*kept.invars, *(var for equation in kept.eqns for var in equation.outvars)}


def _span_along(axis: Axis, wanted: int) -> Span | None:
    factors = [factor for factor in axis if factor.size != 1]
    return factors[0].span if len(factors) == 1 and factors[0].axis == wanted else None


def _run(program: Jaxpr, inputs: Sequence[Trail | None]) -> list[Trail | None]:
    known = dict(zip(program.invars, inputs, strict=True))
    for equation in program.eqns:
        given = [None if isinstance(var, Literal) else known.get(var) for var in equation.invars]
        if any(trail is not None for trail in given):
            known.update(zip(equation.outvars, _after(equation, given), strict=True))
    return [None if isinstance(var, Literal) else known.get(var) for var in program.outvars]


def _after(equation: Any, given: list[Trail | None]) -> list[Trail | None]:
    """What the outputs of one operation depend on."""
    name, params = equation.primitive.name, equation.params
    shapes = [var.aval.shape for var in equation.outvars]
    if name in INNER and INNER[name] in params:
        inner = params[INNER[name]]
        return _run(getattr(inner, "jaxpr", inner), given)
    if name == "cond" and params.get("branches_platforms"):  # one function, written anew for some platforms
        return _run(params["branches"][params["branches_platforms"].index(None)].jaxpr, given[1:])
    if name in ELEMENTWISE:
        return [joined(name, [trail for trail in given if trail is not None], shape) for shape in shapes]
    first = given[0]
    if name == "dot_general":
        return [dot(params, given, [var.aval.shape for var in equation.invars])]
    if name == "concatenate":
        return [concatenated(params["dimension"], given, shapes[0])]
    if first is None or sum(trail is not None for trail in given) > 1:
        return nowhere(name, given, shapes)
    if name == "conv_general_dilated":
        return [convolution(params, first, equation.invars[1].aval.shape, shapes[0])]
    if name in WINDOWS:
        return [window(params, first, shapes[0])]
    if name in REDUCTIONS:
        kept = tuple(axis for number, axis in enumerate(first.axes) if number not in params["axes"])
        return [first._replace(axes=kept, whole=first.whole | along([first.axes[number] for number in params["axes"]]))]
    if name in CUMULATIVE:
        return [first._replace(whole=first.whole | along([first.axes[params["axis"]]]))]
    if name in MOVES:
        axes = MOVES[name](params, first.axes, shapes)
        if axes is not None:
            return [first._replace(axes=tuple(one)) for one in axes]
    return nowhere(name, given, shapes)
