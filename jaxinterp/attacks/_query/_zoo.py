"""ZOO: Adam on single values of the image, along differences of queries."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxinterp._base import Attack, Batch
from jaxinterp.attacks._gradient import example_keys, where_rows
from jaxinterp.attacks._nearest import (
    check_at_least_zero,
    check_positive,
    gap,
    keep_nearest,
    length,
    none_yet,
    reached,
)
from jaxinterp.attacks._query._budget import check_budget
from jaxinterp.attacks._search import Search, advance, check_search, start_search

FIRST_DECAY, SECOND_DECAY, SMALL = 0.9, 0.999, 1e-8
"""Of Adam."""


class Moments(NamedTuple):
    """Adam's state of each value.

    Attributes:
        image: `[n h w c]`, the values.
        first: `[n h w c]`, mean of the derivatives.
        second: `[n h w c]`, mean of their squares.
        times: `[n h w c]` int32, how often a value was moved.
    """

    image: Array
    first: Array
    second: Array
    times: Array


class ZooState(NamedTuple):
    """State of ZOO; every leaf has the leading axis `n`.

    Attributes:
        adversarial: `[n h w c]`, the nearest adversarial image that was asked for; the clean one where there is none.
        distance: `[n]`, of it; infinite where there is none.
        values: what Adam moves, starting at the clean image.
        search: for the weight.
        queries: `[n]` int32.
        done: `[n]` bool, adversarial from the beginning or too few queries left for a step.
    """

    adversarial: Array
    distance: Array
    values: Moments
    search: Search
    queries: Array
    done: Array


class ZooInfo(NamedTuple):
    """What one step saw.

    Attributes:
        distance: `[n]`, of the image that the step came to, Euclidean.
        reached: `[n]` bool, whether it is adversarial.
    """

    distance: Array
    reached: Array


def zoo(
    *,
    confidence: float = 0.0,
    step_size: float = 0.01,
    probe_size: float = 1e-3,
    num_coordinates: int = 128,
    max_queries: int = 100_000,
    num_search_steps: int = 1,
    initial_weight: float = 1.0,
) -> Attack:
    """ZOO: the objective of Carlini and Wagner in L2, minimised by a coordinate-wise Adam with derivatives from queries.

    Minimises over images in [0, 1]

        |x - x0|_2^2 + c max(margin(x) + confidence, 0),

    where the margin is a difference of log-probabilities. Each step draws `num_coordinates` values without replacement, takes
    the derivative of the margin term by each as `(f(x + h e_i) - f(x - h e_i)) / (2 h)`, and moves these values by Adam, which
    has means and a counter of its own for each value, cut off at [0, 1]. The answer is the nearest adversarial image that was
    asked for. It sees log-probabilities, or logits, which differ by a constant.

    The budget is shared by `num_search_steps` rounds, each from the clean image with a weight c of its own: times ten until a
    round succeeds, then by halving the interval between failure and success.

    The clean image is one query; a step takes two for each coordinate, through the network at once as so many more rows of the
    batch, and one for the image that it came to. A step that the budget does not pay for in full is not begun.

    Unlike the paper, the derivative of the distance is exact, c is fixed in a round, and there are neither coarser grids of
    values nor importance sampling, which it has for large images.

    Args:
        confidence: kappa, by how much the log-probabilities have to differ, not negative.
        step_size: of Adam.
        probe_size: h, in [0, 1] units; 1e-4 in the paper and 1e-3 in the authors' code, which leaves more digits in float32.
        num_coordinates: values moved in one step, at most those of an image.
        max_queries: per image.
        num_search_steps: number of rounds.
        initial_weight: c of the first round.

    Returns:
        An attack of kind "query" on one model; its state is a `ZooState`.

    Raises:
        ValueError: a number outside the range stated, a budget below one step for each round; at tracing, more coordinates than
            an image has values.

    References:
        P.-Y. Chen, H. Zhang, Y. Sharma, J. Yi, C.-J. Hsieh, "ZOO: Zeroth Order Optimization Based Black-box Attacks to Deep
        Neural Networks without Training Substitute Models", ACM Workshop on Artificial Intelligence and Security 2017, the
        algorithm ZOO-ADAM.
    """
    check_at_least_zero(confidence, name="confidence")
    check_positive(step_size, name="step_size", instead=0.01)
    check_positive(probe_size, name="probe_size", instead=1e-3)
    if num_coordinates < 1:
        raise ValueError(f"expected num_coordinates >= 1, got {num_coordinates}; write num_coordinates=128.")
    check_search(1, num_search_steps, initial_weight)
    cost = 2 * num_coordinates + 1
    check_budget(max_queries, least=1 + cost * num_search_steps)
    num_steps = (max_queries - 1) // cost // num_search_steps

    def init(key: Array, model: Any, batch: Batch) -> ZooState:
        errs = reached(model(batch.image)[0], batch, confidence=confidence)
        search, queries = start_search(initial_weight, batch), jnp.ones(batch.id.shape, jnp.int32)
        return ZooState(*none_yet(batch), _at_rest(batch.image), search, queries, errs)

    def step(key: Array, state: ZooState, model: Any, batch: Batch) -> tuple[ZooState, ZooInfo]:
        clean, image = batch.image, state.values.image
        size = clean[0].size
        if num_coordinates > size:
            raise ValueError(f"expected num_coordinates <= {size}, got {num_coordinates}; an image has no more values.")
        places = jax.vmap(lambda key: jax.random.permutation(key, size)[:num_coordinates])(example_keys(key, batch))
        probes = jax.vmap(lambda image, places: _probes(image, places, probe_size))(image, places)
        each = jax.tree.map(lambda leaf: jnp.repeat(leaf, 2 * num_coordinates, axis=0), batch)
        missing = jnp.maximum(gap(model(probes.reshape(-1, *clean.shape[1:]))[0], each) + confidence, 0.0)
        missing = missing.reshape(-1, 2, num_coordinates).astype(image.dtype)
        slopes = state.search.weight[:, None] * (missing[:, 0] - missing[:, 1]) / (2 * probe_size)

        moved = jax.vmap(functools.partial(_adam, step_size=step_size))(state.values, clean, slopes, places)
        found = reached(model(moved.image)[0], batch, confidence=confidence)
        distance = length(moved.image - clean, "l2")
        kept = keep_nearest((state.adversarial, state.distance), moved.image, distance, found)

        search, ends = advance(state.search, found, num_steps=num_steps, num_search_steps=num_search_steps)
        queries = state.queries + cost
        values = jax.tree.map(lambda fresh, old: where_rows(ends, fresh, old), _at_rest(clean), moved)
        new = ZooState(*kept, values, search, queries, done=search.moves >= num_steps * num_search_steps)
        new = jax.tree.map(lambda before, after: where_rows(state.done, before, after), state, new)
        return new, ZooInfo(distance, found)

    return Attack(init=init, step=step, num_steps=num_steps * num_search_steps, kind="query")


def _at_rest(images: Array) -> Moments:
    zeros = jnp.zeros_like(images)
    return Moments(images, zeros, zeros, jnp.zeros(images.shape, jnp.int32))


def _probes(image: Array, places: Array, probe_size: float) -> Array:
    """The image with one value more, and one with it less, for each place: `[2 m h w c]`."""
    number = jnp.arange(len(places))
    reach = jnp.zeros((len(places), image.size), image.dtype).at[number, places].set(probe_size).reshape(-1, *image.shape)
    return jnp.concatenate([image[None] + reach, image[None] - reach])


def _adam(values: Moments, clean: Array, slopes: Array, places: Array, *, step_size: float) -> Moments:
    """Moves the values of one image at some places; `slopes` are the derivatives without that of the distance."""
    image, first, second, times = (each.ravel()[places] for each in values)
    gradient = slopes + 2 * (image - clean.ravel()[places])
    first = FIRST_DECAY * first + (1 - FIRST_DECAY) * gradient
    second = SECOND_DECAY * second + (1 - SECOND_DECAY) * jnp.square(gradient)
    times = times + 1
    count = times.astype(image.dtype)
    mean, square = first / (1 - FIRST_DECAY**count), second / (1 - SECOND_DECAY**count)
    image = jnp.clip(image - step_size * mean / (jnp.sqrt(square) + SMALL), 0.0, 1.0)
    old, new = values, (image, first, second, times)
    return Moments(*(a.ravel().at[places].set(b).reshape(a.shape) for a, b in zip(old, new, strict=True)))
