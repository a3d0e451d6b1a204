"""Several models as one: logits or probabilities are averaged."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxinterp._base import Activations, Batch, Layer, Taps, did_you_mean
from jaxinterp.attacks._loss import Loss, member_keys, members
from jaxinterp.attacks._transform import check_weights, shares


@functools.partial(jax.tree_util.register_dataclass, data_fields=["models", "weights"], meta_fields=["fusion"])
@dataclasses.dataclass(frozen=True)
class Fused:
    """Several models as one callable pytree: `fused(images) -> (logits, activations)`; `fuse` makes it.

    Attributes:
        models: the members.
        weights: `[k]`, one per member, with sum 1.
        fusion: "logits" or "probabilities".
    """

    models: tuple[Any, ...]
    weights: Float[Array, "k"]
    fusion: str

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers of all members; that of member 0 which is called `conv1` there is `0.conv1` here."""
        return tuple(
            layer._replace(name=f"{index}.{layer.name}") for index, model in enumerate(self.models) for layer in model.layers
        )

    @property
    def image_size(self) -> int:
        """Side of the images that every member takes, in pixels."""
        return self.models[0].image_size

    @property
    def num_classes(self) -> int:
        """Length of the logits."""
        return self.models[0].num_classes

    def layer(self, name: str) -> Layer:
        """The layer of that name.

        Raises:
            ValueError: when no member has it; the message lists those there are.
        """
        found = {layer.name: layer for layer in self.layers}
        if name not in found:
            raise ValueError(f"unknown layer {name!r}; this model has: {', '.join(found)}{did_you_mean(name, list(found))}")
        return found[name]

    def __call__(self, images: Array, *, key: Array | None = None, taps: Taps | None = None) -> tuple[Array, Activations]:
        """Evaluates every member on the same images.

        Args:
            images: `[n h w c]` in [0, 1].
            key: for members that draw at random; each gets its own.
            taps: replaces the activation of each named layer by a function of it.

        Returns:
            The fused logits `[n k]` and the activations of all members.

        Raises:
            ValueError: images of another shape or type, or a tap on a layer that no member has.
        """
        of_member: list[dict[str, Any]] = [{} for _ in self.models]
        for name in taps or {}:
            index, _, inner = self.layer(name).name.partition(".")
            of_member[int(index)][inner] = (taps or {})[name]
        outputs, activations = [], {}
        for index, key_of_member in enumerate(member_keys(key, len(self.models))):
            logits, found = self.models[index](images, key=key_of_member, taps=of_member[index])
            outputs.append(logits)
            activations |= {f"{index}.{name}": value for name, value in found.items()}
        weights = self.weights.astype(outputs[0].dtype)
        if self.fusion == "logits":
            weighted = [weights[index] * logits for index, logits in enumerate(outputs)]
            return sum(weighted[1:], start=weighted[0]), activations
        stacked = jnp.stack([jax.nn.log_softmax(logits) for logits in outputs])
        return jax.nn.logsumexp(stacked, axis=0, b=weights[:, None, None]), activations


def fuse(models: Sequence[Any], *, fusion: str = "logits", weights: Sequence[float | int] | Array | None = None) -> Fused:
    """Several models as one, so that every attack runs on an ensemble, those too that take a single model.

    With the logits `z_k(x)` of member `k` and weights `w_k` of sum 1, the logits of the whole are

        sum_k w_k z_k(x)                    fusion = "logits"
        log sum_k w_k softmax(z_k(x))       fusion = "probabilities"

    Success on the result is success on the average: for that on each member score the images with
    `attacks.joint_success(None, models, ...)`. The weights of all networks are leaves, and arguments of compiled functions.

    Args:
        models: members of equal image size and class list; `models.at_size(model, size)` makes a model take images of
            another size.
        fusion: what is averaged.
        weights: one per member, not negative; they are divided by their sum. Equal by default. An array, which may be
            traced, is not checked.

    Returns:
        A model-like callable pytree with `image_size`, `num_classes` and `layers`; names of layers begin with the member's
        number, such as `0.conv1`.

    Raises:
        ValueError: no models, models of different size or number of classes, another fusion, unusable weights.

    Example:
        >>> import jax, numpy as np
        >>> from jaxinterp import attacks, models
        >>> small = {"num_classes": 10, "width": 1 / 8, "output_stride": 8, "key": jax.random.key(0)}
        >>> first = models.resnet18(image_size=64, **small)
        >>> second = models.at_size(models.squeezenet1_1(image_size=96, **small), 64)
        >>> fused = attacks.fuse((first, second))
        >>> fused(np.full((2, 64, 64, 3), 0.5, np.float32))[0].shape
        (2, 10)

    References:
        Y. Liu, X. Chen, C. Liu, D. Song, "Delving into Transferable Adversarial Examples and Black-box Attacks", ICLR 2017,
        section 5 (probabilities); Y. Dong et al., "Boosting Adversarial Attacks with Momentum", CVPR 2018, equation 9 (logits).
    """
    models = tuple(models)
    if not models:
        raise ValueError("expected at least one model, got none; write fuse((model,)).")
    if fusion not in ("logits", "probabilities"):
        raise ValueError(f'expected fusion "logits" or "probabilities", got {fusion!r}; write fusion="logits".')
    sizes = [model.image_size for model in models]
    if len(set(sizes)) != 1:
        raise ValueError(
            f"expected models of one image size, got {sizes}; write models.at_size(model, {min(sizes)}) for those that differ."
        )
    classes = [model.num_classes for model in models]
    if len(set(classes)) != 1:
        raise ValueError(f"expected models of one class list, got {classes} classes; leave out those that differ.")
    if isinstance(weights, Array):
        if weights.shape != (len(models),):
            raise ValueError(f"expected weights [{len(models)}], got shape {weights.shape}; write one per model.")
        return Fused(models, weights / jnp.sum(weights), fusion)
    check_weights(weights)
    return Fused(models, jnp.asarray(shares(weights, len(models))), fusion)


def ensemble_logits(loss: Loss, *, weights: Sequence[float | int] | None = None) -> Loss:
    """The loss of one model whose logits are the weighted mean of the members' logits, `sum_k w_k z_k(x)`.

    Args:
        loss: a loss of one model.
        weights: one per member, not negative; they are divided by their sum. Equal by default.

    Returns:
        A loss of a tuple of models; one model counts as an ensemble of one.

    Raises:
        ValueError: weights that are negative, not finite or all zero; at tracing, another number of weights than members, or
            members that `fuse` refuses.

    References:
        Y. Dong et al., "Boosting Adversarial Attacks with Momentum", CVPR 2018, equations 9 and 10.
    """
    return _of_fused(loss, "logits", weights)


def ensemble_probabilities(loss: Loss, *, weights: Sequence[float | int] | None = None) -> Loss:
    """The loss of one model whose probabilities are the weighted mean of the members', `sum_k w_k softmax(z_k(x))`.

    The loss sees the logarithm of the mean as logits.

    Args:
        loss: a loss of one model.
        weights: one per member, not negative; they are divided by their sum. Equal by default.

    Returns:
        A loss of a tuple of models; one model counts as an ensemble of one.

    Raises:
        ValueError: as `ensemble_logits` does.

    References:
        Y. Liu, X. Chen, C. Liu, D. Song, "Delving into Transferable Adversarial Examples and Black-box Attacks", ICLR 2017,
        section 5.
    """
    return _of_fused(loss, "probabilities", weights)


def _of_fused(loss: Loss, fusion: str, weights: Sequence[float | int] | None) -> Loss:
    check_weights(weights)

    def of_fused(key: Array | None, model: Any, adversarial: Array, batch: Batch) -> Array:
        return loss(key, fuse(members(model), fusion=fusion, weights=weights), adversarial, batch)

    return of_fused
