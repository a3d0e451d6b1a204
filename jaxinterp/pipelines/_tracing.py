"""The tracing stage: which units carried the error, whether patching them reverts it, and one prediction shown whole."""

from typing import NamedTuple

import jax
import numpy as np

from jaxinterp import tracing
from jaxinterp._base import Model
from jaxinterp.pipelines._context import NORMAL, Run, progress
from jaxinterp.pipelines._generation import adversarial_images
from jaxinterp.pipelines._passes import forward
from jaxinterp.pipelines._study import Member


class _Pairs(NamedTuple):
    """Adversarial images beside the clean images they were made from, `[n h w c]` in [0, 1]."""

    rows: np.ndarray
    clean: np.ndarray
    adversarial: np.ndarray
    label: np.ndarray
    target: np.ndarray
    source_id: np.ndarray


def trace(run: Run) -> None:
    """Traces adversarial predictions of every normal member to units, with random units of equal activation as control."""
    arrays: dict[str, np.ndarray] = {}
    values: dict[str, dict[str, object]] = {}
    _, dissected = run.workdir.load(f"dissect.{NORMAL}")
    for index, (member, model) in enumerate(zip(run.study.members, run.models(NORMAL), strict=True)):
        shares = class_shares(dissected[f"{member.name}/real/top_labels"], model.num_classes)
        found = _patching(run, member, model, index)
        found |= _error_detection(run, member, model, shares)
        arrays |= {f"{member.name}/{name}": array for name, array in found.items()}
        values[member.name] = {"num_patched": len(found["rows"]), "num_scored": len(found["erred"])}
    run.workdir.save("trace", {"members": values}, arrays)


def class_shares(top_labels: np.ndarray, num_classes: int) -> np.ndarray:
    """The class distribution of every unit's top images, `[u c]`, of their labels `[u k]`."""
    return np.stack([np.bincount(row[row >= 0], minlength=num_classes) / max(1, (row >= 0).sum()) for row in top_labels])


def _patching(run: Run, member: Member, model: Model, index: int) -> dict[str, np.ndarray]:
    """Contributions, and for growing numbers of units whether patching or ablating them gives the label back."""
    _, scored = run.workdir.load(f"generate.{NORMAL}")
    wrong = scored["predictions"][:, index] == scored["target"]
    right = scored["clean_predictions"][:, index] == scored["label"]
    pairs = _pairs(run, _spread(np.flatnonzero(wrong & right), run.study.num_traced), scored)
    num_units = model.layer(member.layer).shape[-1]
    counts = [count for count in (1, 2, 4, 8, 16, 32, 64, 128) if count <= num_units // 2]
    found: dict[str, list[np.ndarray]] = {name: [] for name in ("target_contribution", "label_contribution", "mean_activation")}
    reverted: dict[str, list[np.ndarray]] = {name: [] for name in ("patched", "patched_control", "ablated", "ablated_control")}
    size, rng = 16, run.rng(5, index)
    for start in progress(range(0, len(pairs.rows), size), title=f"trace {member.name}"):
        part = _Pairs(*(array[start : start + size] for array in pairs))
        contribution = np.asarray(_contributions(model, part.adversarial, part.target, member.layer))
        found["target_contribution"].append(contribution)
        found["label_contribution"].append(np.asarray(_contributions(model, part.clean, part.label, member.layer)))
        activation = np.asarray(forward(model, member.layer, part.adversarial)[1])
        activation = activation.reshape(len(part.rows), -1, num_units).mean(axis=1)
        found["mean_activation"].append(activation)
        rows: dict[str, list[np.ndarray]] = {name: [] for name in reverted}
        for count in counts:
            chosen = tracing.top_units(contribution, count=count)
            control = tracing.random_units_of_equal_activation(rng, chosen, activation)
            for suffix, units in (("", chosen), ("_control", control)):
                patched = _patched(model, part.adversarial, part.clean, units, member.layer)
                ablated = _ablated(model, part.adversarial, units, member.layer)
                rows[f"patched{suffix}"].append(np.asarray(patched) == part.label)
                rows[f"ablated{suffix}"].append(np.asarray(ablated) == part.label)
        for name, parts in rows.items():
            reverted[name].append(np.stack(parts))
    empty = np.zeros((len(counts), 0), bool)
    result = {name: np.concatenate(parts) if parts else np.zeros((0, num_units)) for name, parts in found.items()}
    result |= {name: np.concatenate(parts, axis=1) if parts else empty for name, parts in reverted.items()}
    return result | {"rows": pairs.rows, "source_id": pairs.source_id, "counts": np.asarray(counts)}


def _error_detection(run: Run, member: Member, model: Model, shares: np.ndarray) -> dict[str, np.ndarray]:
    """Support of every prediction and its confidence, over adversarial images taken evenly and their clean images."""
    _, scored = run.workdir.load(f"generate.{NORMAL}")
    pairs = _pairs(run, _spread(np.arange(len(scored["target"])), run.study.num_traced), scored)
    erred, supports, confidence = [], [], []
    size = 16
    for images in (pairs.clean, pairs.adversarial):
        for start in progress(range(0, len(images), size), title=f"support {member.name}"):
            part = images[start : start + size]
            probability = np.asarray(jax.nn.softmax(forward(model, member.layer, part)[0]))
            predicted = probability.argmax(axis=1).astype(np.int32)
            contribution = np.asarray(_contributions(model, part, predicted, member.layer))
            supports.append(tracing.support(contribution, shares[:, predicted].T))
            erred.append(predicted != pairs.label[start : start + size])
            confidence.append(probability.max(axis=1))
    return {
        "erred": np.concatenate(erred),
        "support": np.concatenate(supports),
        "confidence": np.concatenate(confidence),
        "scored_source_id": np.tile(pairs.source_id, 2),
    }


def _pairs(run: Run, rows: np.ndarray, scored: dict[str, np.ndarray]) -> _Pairs:
    stored, num_targets = adversarial_images(run, NORMAL), run.study.num_targets
    size = run.source.image_size
    adversarial = [stored[int(row)].image for row in rows]
    clean = [run.source[int(run.attacked[row // num_targets])].image for row in rows]

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


def _spread(rows: np.ndarray, count: int) -> np.ndarray:
    """At most `count` of the rows, spread evenly."""
    count = min(count, len(rows))
    return rows[np.arange(count) * len(rows) // max(count, 1)]


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
