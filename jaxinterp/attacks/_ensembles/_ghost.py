"""Ghost networks: an ensemble that costs no training, drawn anew while an attack runs."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxinterp._base import Activations, Batch, Layer, Taps
from jaxinterp.attacks._ensembles._erosion import check_share, dropout_erosion, skip_erosion
from jaxinterp.attacks._loss import Loss, member_keys
from jaxinterp.attacks._transform import Tapped

Amounts = float | int | Sequence[float | int]
"""One number for every network, or one for each."""

Erode = Callable[[Array | None, Any], Taps]
"""`(key, model) -> taps`."""


@functools.partial(jax.tree_util.register_dataclass, data_fields=["model", "key"], meta_fields=["dropout", "skip"])
@dataclasses.dataclass(frozen=True)
class GhostNetwork:
    """One fixed ghost of a model, as a callable pytree: `ghost(images) -> (logits, activations)`; `ghost_network` makes it.

    Attributes:
        model: what is eroded.
        key: says which ghost it is.
        dropout: rate of the dropout erosion.
        skip: strength of the skip-connection erosion.
    """

    model: Any
    key: Array
    dropout: float
    skip: float

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Every named site, from the input to the logits."""
        return self.model.layers

    @property
    def image_size(self) -> int:
        """Side of the images that the model takes, in pixels."""
        return self.model.image_size

    @property
    def num_classes(self) -> int:
        """Length of the logits."""
        return self.model.num_classes

    def layer(self, name: str) -> Layer:
        """The layer of that name.

        Raises:
            ValueError: when the model has none; the message lists those it has.
        """
        return self.model.layer(name)

    def __call__(self, images: Array, *, key: Array | None = None, taps: Taps | None = None) -> tuple[Array, Activations]:
        """Evaluates the eroded network.

        Args:
            images: `[n h w c]` in [0, 1].
            key: for networks that draw at random; the ghost stays the same.
            taps: replaces the eroded activation of each named layer by a function of it.

        Returns:
            Logits `[n k]` and the activations of every named layer.
        """
        own = _erosion(self.dropout, self.skip)(self.key, self.model)
        return Tapped(self.model, own)(images, key=key, taps=taps)


def ghost_network(key: Array, model: Any, *, dropout: float | int = 0.0, skip: float | int = 0.0) -> GhostNetwork:
    """One fixed ghost of a model; a model-like callable pytree, for every attack, for ensembles and for `fuse`.

    Args:
        key: says which ghost; it is a leaf, so that another ghost needs no new program.
        model: any model.
        dropout: rate of the dropout erosion, in [0, 1).
        skip: strength of the skip-connection erosion, in [0, 1].

    Returns:
        The ghost; with both amounts 0 it computes what the model does.

    Raises:
        ValueError: an amount out of range; when it is evaluated, skip erosion of a network without shortcuts.

    Example:
        >>> import jax, jaxinterp as ji
        >>> from jaxinterp import attacks
        >>> model = ji.models.resnet18(num_classes=10, width=1 / 8, image_size=64, output_stride=8, key=jax.random.key(0))
        >>> ghosts = tuple(attacks.ghost_network(key, model, skip=0.22) for key in jax.random.split(jax.random.key(1), 3))
        >>> attack = attacks.svre(8 / 255, num_steps=2)  # on the tuple of ghosts
    """
    _check_amounts(dropout, skip)
    return GhostNetwork(model, key, float(dropout), float(skip))


def ghost(
    loss: Loss,
    *,
    dropout: Amounts = 0.0,
    skip: Amounts = 0.0,
    num_ghosts: int = 1,
    fusion: str = "logits",
    fixed: Array | None = None,
) -> Loss:
    """The loss of ghosts of the network, new ones in each step of the attack (longitudinal ensemble).

    A ghost is the network under `dropout_erosion` and `skip_erosion`. The four forms of the paper, with its erosion of a
    ResNet-50:

        ghost(loss, skip=0.22)                                  longitudinal ensemble, at the price of the plain attack
        ghost(loss, skip=0.22, num_ghosts=10, fixed=key)        standard ensemble of ten (that it is fixed is our reading)
        ghost(loss, skip=0.22, num_ghosts=10)                   both: ten new ones in each step
        ghost(loss, skip=0.22, fixed=key)                       one fixed ghost

    The paper's attack takes 10 steps of 1/255 at a radius of 8/255. It divides gradients by their mean absolute value before
    the momentum, which is the L1 normalisation of `mi_fgsm` times the number of values, and a constant factor does not
    change a sign step: the attack is `mi_fgsm`, or `bim` without momentum, of this loss. Success is scored on networks that are
    not eroded: without a key, unless `fixed`, this is `loss` itself.

    Draws are those of a network and come from the key of the step, once for the whole batch. Several ghosts are evaluated as
    extra rows, `num_ghosts` times the memory of one; layers before the first eroded one are computed once.

    Args:
        loss: a loss of one model, or of a tuple of models such as `ensemble_logits(cross_entropy)`, whose members are eroded
            each by itself.
        dropout: rate of the dropout erosion, in [0, 1); a number, or one for each member.
        skip: strength of the skip-connection erosion, in [0, 1]; a number, or one for each member. `EROSIONS` has the
            paper's amounts.
        num_ghosts: how many ghosts of each model there are within a step.
        fusion: of these, "logits" averages the logits (and the activations) of each model's ghosts, as the paper does;
            "losses" averages the losses.
        fixed: a key; the ghosts are then drawn by it, the same ones in all steps.

    Returns:
        A loss.

    Raises:
        ValueError: amounts out of range, num_ghosts below 1, another fusion; at tracing, skip erosion of a network without
            shortcuts, or another number of amounts than members.

    Example:
        >>> from jaxinterp import attacks
        >>> loss = attacks.ghost(attacks.cross_entropy, **attacks.EROSIONS["resnet50"])
        >>> attack = attacks.mi_fgsm(8 / 255, step_size=1 / 255, num_steps=10, loss=loss)

    References:
        Y. Li, S. Bai, Y. Zhou, C. Xie, Z. Zhang, A. Yuille, "Learning Transferable Adversarial Examples via Ghost Networks",
        AAAI 2020 (arXiv 1812.03413).
    """
    for rate in _listed(dropout):
        for strength in _listed(skip):
            _check_amounts(rate, strength)
    if num_ghosts < 1:
        raise ValueError(f"expected num_ghosts >= 1, got {num_ghosts}; write num_ghosts=1 or more.")
    if fusion not in ("logits", "losses"):
        raise ValueError(f'expected fusion "logits" or "losses", got {fusion!r}; write fusion="logits".')

    def eroded(ghost_key: Array, model: Any, wrap: Any) -> Any:
        if not isinstance(model, (tuple, list)):
            return wrap(ghost_key, model, _erosion(_of(dropout, 0, 1), _of(skip, 0, 1)))
        count = len(model)
        parts = zip(member_keys(ghost_key, count), model, strict=True)
        return tuple(
            wrap(key, member, _erosion(_of(dropout, index, count), _of(skip, index, count)))
            for index, (key, member) in enumerate(parts)
        )

    def of_ghosts(key: Array | None, model: Any, adversarial: Array, batch: Batch) -> Array:
        loss_key, ghost_key = (None, None) if key is None else jax.random.split(key)
        ghost_key = ghost_key if fixed is None else fixed
        if ghost_key is None:
            return loss(key, model, adversarial, batch)
        if num_ghosts == 1:
            return loss(loss_key, eroded(ghost_key, model, _one_ghost), adversarial, batch)
        keys = jax.random.split(ghost_key, num_ghosts)
        if fusion == "logits":
            return loss(loss_key, eroded(ghost_key, model, functools.partial(_Mean, num_ghosts)), adversarial, batch)
        each = jax.vmap(lambda key: loss(loss_key, eroded(key, model, _one_ghost), adversarial, batch))(keys)
        return jnp.mean(each, axis=0)

    return of_ghosts


@dataclasses.dataclass(frozen=True)
class _Mean:
    """Several ghosts of one model, whose logits and activations are averaged; it lives inside a trace."""

    count: int
    key: Array
    model: Any
    erode: Erode

    def __call__(self, images: Array, *, key: Array | None = None, taps: Taps | None = None) -> tuple[Array, Activations]:
        def of_one(ghost_key: Array) -> tuple[Array, Activations]:
            return _one_ghost(ghost_key, self.model, self.erode)(images, key=key, taps=taps)

        found = jax.vmap(of_one)(jax.random.split(self.key, self.count))
        return jax.tree.map(lambda values: jnp.mean(values, axis=0), found)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)


def _one_ghost(key: Array, model: Any, erode: Erode) -> Tapped:
    return Tapped(model, erode(key, model))


def _erosion(dropout: float, skip: float) -> Erode:
    """Both erosions, of keys of their own; they tap different layers."""

    def erode(key: Array | None, model: Any) -> Taps:
        drop_key, skip_key = member_keys(key, 2)
        drop = dropout_erosion(rate=dropout)(drop_key, model, None)
        return {**drop, **skip_erosion(strength=skip)(skip_key, model, None)}

    return erode


def _listed(amounts: Amounts) -> list[float]:
    return [float(amount) for amount in amounts] if isinstance(amounts, Sequence) else [float(amounts)]


def _of(amounts: Amounts, index: int, count: int) -> float:
    if not isinstance(amounts, Sequence):
        return float(amounts)
    if len(amounts) != count:
        raise ValueError(f"expected one amount of erosion per model, got {len(amounts)} for {count}; write one per model.")
    return float(amounts[index])


def _check_amounts(dropout: float | int, skip: float | int) -> None:
    check_share(dropout, name="dropout", largest=1.0, typical=0.006)
    check_share(skip, name="skip", largest=1.0, typical=0.22, closed=True)
