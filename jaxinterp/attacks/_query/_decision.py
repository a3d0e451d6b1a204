"""Attacks that see only the predicted class: from an adversarial image towards the clean one."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxinterp._base import Attack, Batch
from jaxinterp.attacks._criterion import joint_success
from jaxinterp.attacks._gradient import example_keys, where_rows
from jaxinterp.attacks._query._budget import check_budget

CLEAN, NOISE, SEARCH, WALK = 0, 1, 2, 3
"""What a row asks for: the clean image, a start, a point between an adversarial image and the clean one, a proposal."""


class Walk(NamedTuple):
    """What a decision-based attack does at the boundary; all functions are of one image.

    Attributes:
        init: `(clean) -> state`.
        propose: `(key, state, iterate, clean) -> image`, to be asked for.
        learn: `(state, iterate, proposed, adversarial, clean) -> (state, iterate, search)`; `search` is True where the walk
            goes on from the boundary between the iterate and the clean image.
        between: `(far, clean, share) -> image`, the clean image at share 0 and the other one at 1.
        distance: `(image, clean) -> []`.
        halvings: of the share in one search, given the shape and type of an image.
    """

    init: Callable[[Array], Any]
    propose: Callable[[Array, Any, Array, Array], Array]
    learn: Callable[[Any, Array, Array, Array, Array], tuple[Any, Array, Array]]
    between: Callable[[Array, Array, Array], Array]
    distance: Callable[[Array, Array], Array]
    halvings: Callable[[Array], int]


class DecisionState(NamedTuple):
    """State of a decision-based attack; every leaf has the leading axis `n`.

    Attributes:
        adversarial: `[n h w c]`, the nearest adversarial image that was asked for; the clean one where there is none.
        distance: `[n]`, of it; infinite where there is none.
        iterate: `[n h w c]`, where the walk is; adversarial from the stage SEARCH on.
        far: `[n h w c]`, where the search began.
        low: `[n]`, the largest share of `far` known to be on the clean side.
        high: `[n]`, the smallest known to be adversarial.
        halvings: `[n]` int32, of this search.
        stage: `[n]` int32, what is asked for next.
        walk: state of the walk.
        queries: `[n]` int32.
        done: `[n]` bool, out of queries or adversarial from the beginning.
    """

    adversarial: Array
    distance: Array
    iterate: Array
    far: Array
    low: Array
    high: Array
    halvings: Array
    stage: Array
    walk: Any
    queries: Array
    done: Array


class DecisionInfo(NamedTuple):
    """What one step saw.

    Attributes:
        distance: `[n]`, of the nearest adversarial image so far, infinite where there is none.
        reached: `[n]` bool, whether the image that was asked for is adversarial.
    """

    distance: Array
    reached: Array


def decision_attack(walk: Walk, *, max_queries: int) -> Attack:
    """Asks for one image a step: the clean one, starts until one is adversarial, a search for the boundary, then the walk.

    Starts are uniform noise; the first one is `batch.extra["start"]` `[n h w c]` where the batch has it.

    Args:
        walk: what is done at the boundary.
        max_queries: per image.

    Returns:
        An attack of kind "query".

    Raises:
        ValueError: `max_queries` below 1.
    """
    check_budget(max_queries, least=1)

    def init(key: Array, model: Any, batch: Batch) -> DecisionState:
        zeros = jnp.zeros(batch.id.shape, batch.image.dtype)
        counter = jnp.zeros(batch.id.shape, jnp.int32)
        return DecisionState(
            adversarial=batch.image,
            distance=zeros + jnp.inf,
            iterate=batch.image,
            far=batch.image,
            low=zeros,
            high=zeros + 1,
            halvings=counter,
            stage=counter + CLEAN,
            walk=jax.vmap(walk.init)(batch.image),
            queries=counter,
            done=counter > 0,
        )

    def step(key: Array, state: DecisionState, model: Any, batch: Batch) -> tuple[DecisionState, DecisionInfo]:
        clean, stage, keys = batch.image, state.stage, example_keys(key, batch)
        middle = (state.low + state.high) / 2
        noise = jax.vmap(lambda key: jax.random.uniform(key, clean.shape[1:], clean.dtype))(keys)
        if "start" in batch.extra:
            noise = where_rows(state.queries == 1, batch.extra["start"].astype(clean.dtype), noise)
        asked = jax.vmap(walk.propose)(keys, state.walk, state.iterate, clean)
        asked = where_rows(stage == SEARCH, jax.vmap(walk.between)(state.far, clean, middle), asked)
        asked = where_rows(stage == CLEAN, clean, where_rows(stage == NOISE, noise, asked))
        reached = joint_success(None, model, asked, batch)

        distance = jax.vmap(walk.distance)(asked, clean)
        nearer = reached & (stage != CLEAN) & (distance < state.distance)

        searching, walking = stage == SEARCH, stage == WALK
        found = (stage == NOISE) & reached
        learnt, moved, again = jax.vmap(walk.learn)(state.walk, state.iterate, asked, reached, clean)
        begin = found | (walking & again)
        iterate = where_rows(walking, moved, where_rows(found | (searching & reached), asked, state.iterate))
        halvings = jnp.where(begin, 0, state.halvings + searching.astype(jnp.int32))
        ended = searching & (halvings >= walk.halvings(clean[0]))

        queries = state.queries + 1
        new = DecisionState(
            adversarial=where_rows(nearer, asked, state.adversarial),
            distance=jnp.where(nearer, distance, state.distance),
            iterate=iterate,
            far=where_rows(begin, iterate, state.far),
            low=jnp.where(begin, 0.0, jnp.where(searching & ~reached, middle, state.low)),
            high=jnp.where(begin, 1.0, jnp.where(searching & reached, middle, state.high)),
            halvings=halvings,
            stage=jnp.where(begin, SEARCH, jnp.where(ended, WALK, jnp.maximum(stage, NOISE))),
            walk=jax.tree.map(lambda after, before: where_rows(walking, after, before), learnt, state.walk),
            queries=queries,
            done=((stage == CLEAN) & reached) | (queries >= max_queries),
        )
        new = jax.tree.map(lambda after, before: where_rows(state.done, before, after), new, state)
        return new, DecisionInfo(new.distance, reached)

    return Attack(init=init, step=step, num_steps=max_queries, kind="query")


def l2_distance(image: Array, clean: Array) -> Array:
    """Euclidean norm of the difference."""
    return jnp.sqrt(jnp.sum(jnp.square(image - clean)))


def blend(far: Array, clean: Array, share: Array) -> Array:
    """On the straight line from the clean image."""
    return clean + share * (far - clean)
