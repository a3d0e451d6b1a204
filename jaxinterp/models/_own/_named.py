"""Sites named from inside any code, for as long as one evaluation lasts."""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

import jax
from jax import Array
from jax.extend.core import get_opaque_trace_state

from jaxinterp._base import Activations, Taps

_PASSAGE: contextvars.ContextVar["Passage | None"] = contextvars.ContextVar("jaxinterp_passage", default=None)


class Passage:
    """One evaluation of an own model on its way through its sites.

    Attributes:
        taps: what replaces the activation of a site.
        joint: what joins the names of a module and of a site in it.
        activations: the activation of every site passed so far, after its tap.
        given: sites that can only be read, since the code hands over their activations and takes no taps.
        paths: path of every module object made for this evaluation, by its `id`.
        hidden: sites that were passed where neither a tap nor a record can reach out: inside `jit`, `scan` or `checkpoint`.
    """

    def __init__(self, taps: Taps, joint: str) -> None:
        self.taps = taps
        self.joint = joint
        self.activations: Activations = {}
        self.given: set[str] = set()
        self.hidden: list[str] = []
        self.paths: dict[int, tuple[str, ...]] = {}
        self._path: tuple[str, ...] = ()
        self._trace = get_opaque_trace_state()

    @contextlib.contextmanager
    def inside(self, path: tuple[str, ...]) -> Iterator[None]:
        """While a module runs, its path leads the names of the sites in it."""
        before, self._path = self._path, path
        try:
            yield
        finally:
            self._path = before

    def output(self, path: tuple[str, ...], value: Any) -> Any:
        """What a module returns, as the site of its path; what is no array passes by."""
        return self._reach(self.joint.join(path), value) if isinstance(value, Array) and path else value

    def site(self, name: str, value: Array) -> Array:
        """A site of that name in the module that runs."""
        return self._reach(self.joint.join((*self._path, name)), value)

    def _reach(self, name: str, value: Array) -> Array:
        """Passes a site where the trace of the evaluation can be reached: at once, or through the `vmap` in between."""
        if get_opaque_trace_state() == self._trace:
            return self._passed(name, value)
        if type(value).__name__ != "BatchTracer":
            self.hidden.append(name)
            return value

        @jax.custom_batching.custom_vmap
        def unchanged(value: Any) -> Any:
            return value

        @unchanged.def_vmap
        def _(axis_size: int, batched: Any, value: Any) -> Any:
            return self._reach(name, value), True

        return unchanged(value)

    def _passed(self, name: str, value: Array) -> Array:
        count = 1
        site = name
        while site in self.activations:
            count += 1
            site = f"{name}:{count}"
        if site in self.taps:
            tapped = self.taps[site](value)
            if tapped.shape != value.shape:
                raise ValueError(f"expected the tap on {site!r} to return shape {value.shape}, got {tapped.shape}.")
            value = tapped
        self.activations[site] = value
        return value


@contextlib.contextmanager
def passing(taps: Taps, joint: str) -> Iterator[Passage]:
    """The evaluation during which sites are heard; what was heard before is heard again afterwards, whatever happens."""
    passage = Passage(taps, joint)
    token = _PASSAGE.set(passage)
    try:
        yield passage
    finally:
        _PASSAGE.reset(token)


def current() -> Passage | None:
    """The evaluation that runs now."""
    return _PASSAGE.get()


def named(name: str, value: Array) -> Array:
    """Names an activation, anywhere in the code of a network: it becomes a layer that can be read and tapped.

    Go on with what is returned: a tap replaces it. Inside a Linen or NNX module the name is preceded by the module's own, such
    as `block1/relu` or `blocks.0.relu`; a name that is passed again is `relu:2`. Under `jax.vmap` inside the network the
    layer is the whole batch. Outside the evaluation of a model, `value` is returned as it is.

    Inside `jax.jit`, `jax.lax.scan` or `jax.checkpoint` within the network nothing can be read or replaced from without;
    such a name is unknown to the model.

    Args:
        name: names the layer.
        value: the activation, `[n h w u]` or `[n u]`.

    Returns:
        The activation, or what a tap makes of it.

    Example:
        >>> import jax, jax.numpy as jnp, jaxinterp as ji
        >>> def apply(params, images):
        ...     return ji.models.named("relu", jax.nn.relu(images @ params)).mean((1, 2))
        >>> model = ji.models.from_function(apply, jnp.ones((3, 10)), image_size=8, layers=("relu",))
        >>> model.layer("relu").shape
        (8, 8, 10)
    """
    passage = _PASSAGE.get()
    return value if passage is None else passage.site(name, value)
