"""One attack at several radii, by one compiled program."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh
from jaxtyping import Float, Integer

from jaxinterp._base import Attack, Batch
from jaxinterp.attacks._run import Result, laid_out, plain_batch, result_of, run_batch


class _At(NamedTuple):
    """A model and the radius at which it is attacked: both are arguments of the program."""

    epsilon: Array
    model: Any


def run_epsilons(
    build: Callable[[Any], Attack],
    epsilons: Sequence[float | int],
    model: Any,
    images: Float[Array, "n h w c"] | Float[np.ndarray, "n h w c"],
    labels: Integer[Array, "n"] | Integer[np.ndarray, "n"],
    *,
    key: Array,
    targets: Integer[Array, "n"] | Integer[np.ndarray, "n"] | None = None,
    mesh: Mesh | None = None,
) -> Result:
    """Runs an attack at several radii, one after the other, by one program that takes the radius as an argument.

    `1 - success.mean(axis=1)` is the curve of robust accuracy. Every radius has the same key: the draws are the same, scaled.

    Args:
        build: `(epsilon) -> attack`, one that takes a traced radius: `attacks.pgd`, or
            `functools.partial(attacks.pgd, num_steps=40)`. Its programs belong to this object: keep it to use it again.
        epsilons: radii, at least one; 0 gives the clean images back.
        model: as for `run`, and so are the others.
        images: clean, in [0, 1].
        labels: true classes.
        key: the same key gives the same answer.
        targets: classes to aim at, -1 for none; only attacks with a targeted loss aim at them.
        mesh: devices over which the images are split.

    Returns:
        What `run` returns, each part with a leading axis of the radii: adversarial images `[e n h w c]`, success, distortion
        and queries `[e n]`.

    Raises:
        ValueError: no radius, a radius that is negative or not finite, or what `run` refuses.

    Example:
        >>> import jax, numpy as np
        >>> from jaxinterp import attacks, models
        >>> model = models.cifar_resnet20(key=jax.random.key(0))
        >>> images, labels = np.full((2, 32, 32, 3), 0.5, np.float32), np.array([3, 7])
        >>> result = attacks.run_epsilons(attacks.fgsm, [0, 2 / 255, 8 / 255], model, images, labels, key=jax.random.key(1))
        >>> result.success.shape
        (3, 2)
    """
    radii = np.asarray(epsilons, np.float64)
    if radii.ndim != 1 or radii.size == 0 or not np.all((radii >= 0) & np.isfinite(radii)):
        raise ValueError(f"expected one or more finite radii >= 0, got {list(epsilons)}; write [2 / 255, 4 / 255].")
    batch, attack = plain_batch(model, images, labels, targets), _taking_epsilon(build)
    key, model, batch = laid_out(key, model, batch, mesh)
    results = []
    for radius in radii:
        at = _At(jnp.asarray(radius, batch.image.dtype), model)
        results.append(result_of(attack, model, run_batch(attack, at, batch, key=key), batch, count=len(images)))
    return jax.tree.map(lambda *parts: jnp.stack(parts), *results)


@functools.lru_cache(maxsize=64)
def _taking_epsilon(build: Callable[[Any], Attack]) -> Attack:
    """The attack whose model comes with the radius."""

    def init(key: Array, at: _At, batch: Batch) -> Any:
        return build(at.epsilon).init(key, at.model, batch)

    def step(key: Array, state: Any, at: _At, batch: Batch) -> tuple[Any, Any]:
        return build(at.epsilon).step(key, state, at.model, batch)

    whole = build(jnp.asarray(0.5))
    return Attack(init=init, step=step, num_steps=whole.num_steps, kind=whole.kind, criterion=whole.criterion)
