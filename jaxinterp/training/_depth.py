"""Depth: a network that tells metres, whose units may be assigned to a bin of depth each."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from jaxinterp import activations
from jaxinterp._base import Batch, Model
from jaxinterp.activations import DepthBins
from jaxinterp.training._objectives import Objective, Outcome, from_loss, masked_mean
from jaxinterp.training._weight import Weight, check_weight, is_zero, weight_at


def depth(
    bins: DepthBins,
    *,
    layers: tuple[str, ...] = (),
    selectivity_weight: Weight = 0.1,
    variance_share: float = 0.5,
    anchor: activations.Anchor = "receptive_field",
) -> Objective:
    """Scale-invariant log loss of the depth, minus the depth selectivity of units that are assigned to bins.

    `L = mean_n [mean_p g^2 - variance_share (mean_p g)^2] - selectivity_weight sum_layers mean_k DS_k`, `g = log d - log d*`
    over the pixels that have a value within the bins, and DS_k is that of unit k in its bin floor(k / (units / bins)), from the
    responses over the batch. Our reading: a unit whose bin has no pixel in the batch is left out of the mean, and on several
    devices, or with rows in parts, responses are those of each device's or part's own rows.

    Args:
        bins: of depth; what lies outside of them is not looked at.
        layers: whose units are assigned; empty for the depth loss alone.
        selectivity_weight: the paper's is 0.1; a number, or a function of the step.
        variance_share: lambda of the scale-invariant loss, 0 to 1; 0 is the mean square of the log ratio.
        anchor: where the positions of maps lie, see `activations.upsample`.

    Returns:
        An objective for models whose logits are the log depth of all pixels, as `models.depth_network` makes them, and batches
        with depth in metres in `extra["depth"]` `[n s s]`, at the resolution of the logits. Its metrics are `loss`,
        `depth_loss`, `abs_rel` and, with layers, `selectivity`, the mean over the layers.

    Raises:
        ValueError: a weight or share out of range; while tracing, batches without depth, or of another resolution.

    References:
        David Eigen, Christian Puhrsch, Rob Fergus, "Depth Map Prediction from a Single Image using a Multi-Scale Deep Network",
        NIPS 2014, equation 4, for the loss.
        Zunzhi You, Yi-Hsuan Tsai, Wei-Chen Chiu, Guanbin Li, "Towards Interpretable Deep Networks for Monocular Depth
        Estimation", ICCV 2021, for the assignment.
    """
    check_weight(selectivity_weight, name="selectivity_weight")
    if not 0 <= variance_share <= 1:
        raise ValueError(f"expected variance_share in [0, 1], got {variance_share}; write 0.5.")
    assigned = layers if not is_zero(selectivity_weight) else ()

    def loss_of(key: Array, model: Model, batch: Batch, step: Array) -> Outcome:
        logits, maps, stats = model.train(batch.image, key=key)
        truth = activations.depth_maps(batch)
        if logits.shape[-1] != truth.shape[1] * truth.shape[2]:
            raise ValueError(
                f"expected one logit for each of {truth.shape[1]} x {truth.shape[2]} pixels of depth, got {logits.shape[-1]}; "
                "take models.depth_network."
            )
        valid = (bins.bin_of(truth) >= 0).reshape(logits.shape)
        ratio = jnp.where(valid, logits - jnp.log(jnp.where(valid, truth.reshape(logits.shape), 1)), 0)
        count = jnp.maximum(valid.sum(axis=1), 1)
        rows = (ratio**2).sum(axis=1) / count - variance_share * (ratio.sum(axis=1) / count) ** 2
        loss = depth_loss = masked_mean(rows, batch.mask)
        relative = jnp.where(valid, jnp.abs(jnp.expm1(jnp.minimum(ratio, 20.0))), 0).sum(axis=1) / count
        metrics = {"depth_loss": depth_loss, "abs_rel": masked_mean(relative, batch.mask)}
        if assigned:
            found = [_selectivity(model, maps[name], name, truth, batch.mask, bins, anchor) for name in assigned]
            loss = loss - weight_at(selectivity_weight, step) * jnp.sum(jnp.stack(found))
            metrics["selectivity"] = jnp.mean(jnp.stack(found))
        return loss, (stats, {"loss": loss, **metrics})

    return from_loss(loss_of)


def _selectivity(
    model: Model,
    maps: Float[Array, "n h w u"],
    name: str,
    truth: Float[Array, "n s s"],
    mask: Bool[Array, " n"],
    bins: DepthBins,
    anchor: activations.Anchor,
) -> Float[Array, ""]:
    """Mean of DS_k over the units whose bins have pixels in the batch; 0 where there is none."""
    layer = model.layer(name)
    total, count = activations.response_sums(maps, truth, mask, layer, bins, image_size=model.image_size, anchor=anchor)
    response = total / jnp.maximum(count, 1).astype(total.dtype)[None]
    chosen = activations.assigned_bins(layer.shape[2], bins.num_bins)
    present = count > 0
    selectivity = activations.depth_selectivity(response, present=present, chosen=chosen)
    defined = present[chosen] & (present.sum() > 1)
    return masked_mean(jnp.where(defined, selectivity, 0.0), defined)
