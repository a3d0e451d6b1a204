"""One-pixel attack: differential evolution of the place and the colour of a few pixels."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxinterp._base import Attack, Batch
from jaxinterp.attacks._criterion import joint_success
from jaxinterp.attacks._gradient import example_keys, where_rows
from jaxinterp.attacks._loss import cross_entropy
from jaxinterp.attacks._query._budget import answered, check_budget
from jaxinterp.attacks._transform import targeted

COLOUR_MEAN, COLOUR_DEVIATION = 128 / 255, 127 / 255
"""Of the normal distribution of the first colours."""


class OnePixelState(NamedTuple):
    """State of the attack; every leaf has the leading axis `n`.

    Attributes:
        adversarial: `[n h w c]`, the best image so far; the clean one where none is better.
        loss: `[n]`, of it.
        population: `[n m p 2 + c]`, row, column and colour of each pixel, in [0, 1].
        fitness: `[n m]`, losses of the population; infinite before it was asked for.
        queries: `[n]` int32.
        done: `[n]` bool, adversarial or too few queries left for a generation.
    """

    adversarial: Array
    loss: Array
    population: Array
    fitness: Array
    queries: Array
    done: Array


class OnePixelInfo(NamedTuple):
    """What one generation saw.

    Attributes:
        loss: `[n]`, its least.
        reached: `[n]` bool, whether one of its images is adversarial.
    """

    loss: Array
    reached: Array


def one_pixel(
    *, num_pixels: int = 1, population: int = 400, difference_weight: float | int = 0.5, max_queries: int = 40_401
) -> Attack:
    """One-pixel attack: differential evolution changes `num_pixels` pixels to whatever colour, and no other.

    An individual is row, column and colour of each pixel. The first population has uniform places and colours of a normal
    distribution of mean 128 and deviation 127 of 255, cut off at the ends. Child `i` is

        x_a + F (x_b - x_c)

    of three individuals that differ from each other and from `i`, without crossover, and takes the place of individual `i`
    where its loss is no larger. The loss is minus the log-probability of the target, or the log-probability of the label in
    rows without one: the order of the paper's probabilities. A number outside its range is drawn anew (our reading). Of equal
    places, the later pixel counts.

    One query for the clean image, then one for each child, of which a generation goes through the network at once, as so
    many more rows of the batch. Unlike the paper, which goes on to a probability of .9 or .05, an image is done once it is
    adversarial. A generation that the budget does not pay for in full is not begun.

    Args:
        num_pixels: d; the paper has 1, 3 and 5.
        population: of one image.
        difference_weight: F.
        max_queries: per image; by default those of the clean image, the first population and 100 generations.

    Returns:
        An attack of kind "query".

    Raises:
        ValueError: `num_pixels` below 1, a `population` below 4, `difference_weight` outside (0, 2], a budget below one
            generation.

    References:
        J. Su, D. V. Vargas, K. Sakurai, "One Pixel Attack for Fooling Deep Neural Networks", IEEE Transactions on Evolutionary
        Computation 2019.
    """
    if num_pixels < 1:
        raise ValueError(f"expected num_pixels >= 1, got {num_pixels}; write num_pixels=1.")
    if population < 4:
        raise ValueError(f"expected population >= 4, got {population}; write population=400.")
    if not 0 < difference_weight <= 2:
        raise ValueError(f"expected difference_weight in (0, 2], got {difference_weight}; write difference_weight=0.5.")
    check_budget(max_queries, least=1 + population)

    def init(key: Array, model: Any, batch: Batch) -> OnePixelState:
        answer, clean = answered(model(batch.image)[0]), batch.image
        loss = targeted(cross_entropy)(None, answer, clean, batch).astype(clean.dtype)
        shape = (population, num_pixels)

        def draw(key: Array) -> Array:
            place, colour = jax.random.split(key)
            places = jax.random.uniform(place, (*shape, 2), clean.dtype)
            colours = COLOUR_MEAN + COLOUR_DEVIATION * jax.random.normal(colour, (*shape, clean.shape[-1]), clean.dtype)
            return jnp.concatenate([places, jnp.clip(colours, 0.0, 1.0)], axis=-1)

        return OnePixelState(
            adversarial=clean,
            loss=loss,
            population=jax.vmap(draw)(example_keys(key, batch)),
            fitness=jnp.full((*batch.id.shape, population), jnp.inf, clean.dtype),
            queries=jnp.ones(batch.id.shape, jnp.int32),
            done=joint_success(None, answer, clean, batch),
        )

    def step(key: Array, state: OnePixelState, model: Any, batch: Batch) -> tuple[OnePixelState, OnePixelInfo]:
        bred = jax.vmap(lambda key, parents: children(key, parents, difference_weight))(
            example_keys(key, batch), state.population
        )
        bred = where_rows(state.queries == 1, state.population, bred)
        asked = jax.vmap(jax.vmap(painted, in_axes=(None, 0)))(batch.image, bred)
        each = jax.tree.map(lambda leaf: jnp.repeat(leaf, population, axis=0), batch)
        images = asked.reshape(-1, *batch.image.shape[1:])
        answer = answered(model(images)[0])
        losses = targeted(cross_entropy)(None, answer, images, each).reshape(-1, population).astype(state.loss.dtype)
        reached = joint_success(None, answer, images, each).reshape(-1, population)

        succeeded = jnp.any(reached, axis=1)
        best = jnp.argmin(jnp.where(reached | ~succeeded[:, None], losses, jnp.inf), axis=1)
        loss = jnp.take_along_axis(losses, best[:, None], axis=1)[:, 0]
        image = jax.vmap(lambda images, index: images[index])(asked, best)
        better = succeeded | (loss < state.loss)
        fitter = losses <= state.fitness
        queries = state.queries + population
        new = OnePixelState(
            adversarial=where_rows(better, image, state.adversarial),
            loss=jnp.where(better, loss, state.loss),
            population=jnp.where(fitter[..., None, None], bred, state.population),
            fitness=jnp.where(fitter, losses, state.fitness),
            queries=queries,
            done=succeeded | (queries + population > max_queries),
        )
        new = jax.tree.map(lambda before, after: where_rows(state.done, before, after), state, new)
        return new, OnePixelInfo(loss, succeeded)

    return Attack(init=init, step=step, num_steps=(max_queries - 1) // population, kind="query")


def children(key: Array, parents: Array, difference_weight: float | int) -> Array:
    """One child of each of `[m ...]` parents, all in [0, 1]."""
    count = len(parents)
    draws = jax.random.uniform(key, (count, 3 + parents[0].size), parents.dtype)
    one, two, three = _others(draws[:, :3].astype(jnp.float32))
    child = parents[one] + difference_weight * (parents[two] - parents[three])
    return jnp.where((child < 0) | (child > 1), draws[:, 3:].reshape(parents.shape), child)


def _others(draws: Array) -> list[Array]:
    """For each individual three others, all different, by three uniform numbers `[m 3]`."""
    count = len(draws)
    taken = [jnp.arange(count)]
    for index in range(3):
        left = count - 1 - index
        choice = jnp.minimum((draws[:, index] * left).astype(jnp.int32), left - 1)
        # The individuals that are left, in their order.
        for passed in jnp.sort(jnp.stack(taken), axis=0):
            choice = choice + (choice >= passed)
        taken.append(choice)
    return taken[1:]


def painted(image: Array, pixels: Array) -> Array:
    """The image `[h w c]` with pixels `[p 2 + c]` of other colours."""
    size = jnp.asarray([image.shape[:2]])
    places = jnp.minimum((pixels[:, :2].astype(jnp.float32) * size).astype(jnp.int32), size - 1)
    for place, colour in zip(places, pixels[:, 2:], strict=True):
        image = jax.lax.dynamic_update_slice(image, colour[None, None], (place[0], place[1], jnp.zeros_like(place[0])))
    return image
