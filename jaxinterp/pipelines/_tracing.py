"""The tracing stage: which units carried the error, whether patching them reverts it, and one prediction shown whole."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxinterp import _mesh, tracing
from jaxinterp._base import Model
from jaxinterp.pipelines._context import NORMAL, Run, evenly, progress
from jaxinterp.pipelines._generation import adversarial_images
from jaxinterp.pipelines._passes import forward
from jaxinterp.pipelines._study import Member

BATCH_SIZE = 20
"""Images that are traced at once."""


class _Pairs(NamedTuple):
    """Adversarial images beside the clean images they were made from, `[n h w c]` in [0, 1]."""

    rows: np.ndarray
    clean: np.ndarray
    adversarial: np.ndarray
    label: np.ndarray
    target: np.ndarray
    source_id: np.ndarray


class _Prediction(NamedTuple):
    """What a network says of some images, and what its units contribute to that.

    Attributes:
        predicted: `[n]` class of highest probability.
        confidence: `[n]` that probability.
        contribution: `[n u]` of every unit to the predicted class.
        activation: `[n u]` mean over positions of every unit's map.
        support: `[n]` how much of the prediction comes from units whose top images are of the predicted class.
    """

    predicted: np.ndarray
    confidence: np.ndarray
    contribution: np.ndarray
    activation: np.ndarray
    support: np.ndarray


def trace(run: Run) -> None:
    """Traces predictions of every normal member to units, with random units of equal activation as control.

    Of adversarial images taken evenly and of the clean images they were made from, every unit's contribution to the predicted
    class gives the support of the prediction. Where the attack turned a right prediction into the target, the units that
    contributed most to the target are patched from the clean image, or silenced.
    """
    arrays: dict[str, np.ndarray] = {}
    values: dict[str, dict[str, object]] = {}
    _, dissected = run.workdir.load(f"dissect.{NORMAL}")
    for index, (member, model) in enumerate(zip(run.study.members, run.models(NORMAL), strict=True)):
        shares = class_shares(dissected[f"{member.name}/real/top_labels"], model.num_classes)
        found = _traced(run, member, model, shares, run.rng(5, index))
        arrays |= {f"{member.name}/{name}": array for name, array in found.items()}
        values[member.name] = {"num_patched": len(found["rows"]), "num_scored": len(found["erred"])}
    run.workdir.save("trace", {"members": values}, arrays)


def class_shares(top_labels: np.ndarray, num_classes: int) -> np.ndarray:
    """The class distribution of every unit's top images, `[u c]`, of their labels `[u k]`."""
    return np.stack([np.bincount(row[row >= 0], minlength=num_classes) / max(1, (row >= 0).sum()) for row in top_labels])


def _traced(run: Run, member: Member, model: Model, shares: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """What is kept of a member: of all traced images their support, of the errors what patching and ablating does."""
    _, scored = run.workdir.load(f"generate.{NORMAL}")
    pairs = _pairs(run, evenly(run.study.num_traced, len(scored["target"])), scored)
    num_units = model.layer(member.layer).shape[-1]
    counts = [count for count in (1, 2, 4, 8, 16, 32, 64, 128) if count <= num_units // 2]
    said: dict[str, list[_Prediction]] = {"clean": [], "adversarial": []}
    reverted: dict[str, list[np.ndarray]] = {name: [] for name in ("patched", "patched_control", "ablated", "ablated_control")}
    for start in progress(range(0, len(pairs.rows), BATCH_SIZE), title=f"trace {member.name}"):
        part = _Pairs(*(array[start : start + BATCH_SIZE] for array in pairs))
        clean, adversarial = (_mesh.split_rows(run.mesh, images) for images in (part.clean, part.adversarial))
        said["clean"].append(_prediction(model, member.layer, clean, shares, count=len(part.rows)))
        attacked = _prediction(model, member.layer, adversarial, shares, count=len(part.rows))
        said["adversarial"].append(attacked)
        rows: dict[str, list[np.ndarray]] = {name: [] for name in reverted}
        for count in counts:
            chosen = tracing.top_units(attacked.contribution, count=count)
            control = tracing.random_units_of_equal_activation(rng, chosen, attacked.activation)
            for suffix, which in (("", chosen), ("_control", control)):
                units = _mesh.split_rows(run.mesh, which)
                patched = _patched(model, adversarial, clean, units, member.layer)
                ablated = _ablated(model, adversarial, units, member.layer)
                rows[f"patched{suffix}"].append(np.asarray(patched)[: len(part.rows)] == part.label)
                rows[f"ablated{suffix}"].append(np.asarray(ablated)[: len(part.rows)] == part.label)
        for name, parts in rows.items():
            reverted[name].append(np.stack(parts))
    clean, adversarial = (_Prediction(*map(np.concatenate, zip(*parts, strict=True))) for parts in said.values())
    errors = (adversarial.predicted == pairs.target) & (clean.predicted == pairs.label)
    both = clean, adversarial
    return {
        "rows": pairs.rows[errors],
        "source_id": pairs.source_id[errors],
        "target_contribution": adversarial.contribution[errors],
        "label_contribution": clean.contribution[errors],
        "mean_activation": adversarial.activation[errors],
        "counts": np.asarray(counts),
        "erred": np.concatenate([one.predicted != pairs.label for one in both]),
        "support": np.concatenate([one.support for one in both]),
        "confidence": np.concatenate([one.confidence for one in both]),
        "scored_source_id": np.tile(pairs.source_id, 2),
    } | {name: np.concatenate(parts, axis=1)[:, errors] for name, parts in reverted.items()}


def _prediction(model: Model, layer: str, images: Array, shares: np.ndarray, *, count: int) -> _Prediction:
    """What is said of the first `count` images."""
    logits, activation = forward(model, layer, images)
    classes = jnp.argmax(logits, axis=1).astype(jnp.int32)
    contribution = np.asarray(_contributions(model, images, classes, layer))[:count]
    predicted, probability = np.asarray(classes)[:count], np.asarray(jax.nn.softmax(logits))[:count]
    return _Prediction(
        predicted=predicted,
        confidence=probability.max(axis=1),
        contribution=contribution,
        activation=np.asarray(activation)[:count].reshape(count, -1, contribution.shape[1]).mean(axis=1),
        support=tracing.support(contribution, shares[:, predicted].T),
    )


def _pairs(run: Run, rows: np.ndarray, scored: dict[str, np.ndarray]) -> _Pairs:
    stored = adversarial_images(run, NORMAL)
    size = run.source.image_size
    adversarial = [stored[int(row)].image for row in rows]
    clean = [run.clean_image(int(row)) for row in rows]

    def images(parts: list[np.ndarray]) -> np.ndarray:
        return np.asarray(parts, np.float32).reshape(-1, size, size, 3) / np.float32(255)

    return _Pairs(
        rows=rows,
        clean=images(clean),
        adversarial=images(adversarial),
        label=scored["label"][rows].astype(np.int32),
        target=scored["target"][rows].astype(np.int32),
        source_id=scored["source_id"][rows],
    )


_contributions = jax.jit(
    lambda model, images, classes, layer: tracing.prediction_difference(model, images, classes, layer=layer),
    static_argnums=3,
)
_patched = jax.jit(
    lambda model, images, donors, units, layer: tracing.patch(model, images, donors, units, layer=layer).argmax(axis=-1),
    static_argnums=4,
)
_ablated = jax.jit(
    lambda model, images, units, layer: tracing.ablate(model, images, units, layer=layer).argmax(axis=-1), static_argnums=3
)
