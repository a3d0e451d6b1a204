"""The robustness stage: the standard evaluation of every member, resumable round by round, and a card of each."""

import json
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxinterp import attacks, data, metrics, models
from jaxinterp._base import Batch, Model
from jaxinterp.data import Source
from jaxinterp.pipelines._context import Run
from jaxinterp.pipelines._standard import WRONG, Verdicts, standard_evaluation
from jaxinterp.pipelines._study import Standard
from jaxinterp.pipelines._threat import threat_in_words, threat_model

SQUARE_GAIN = 0.002
"""Where Square lowers the accuracy by more than this share, gradients are suspected of being masked."""


def evaluate_robustness(run: Run, phase: str) -> None:
    """Attacks every member by the standard attacks, and writes `cards/PHASE/MEMBER.json`."""
    settings = run.study.standard
    if settings is None:
        raise ValueError("this study has no threat model; give it standard=pipelines.Standard(epsilon=8 / 255).")
    source = run.some_held_out(settings.num_images)
    arrays, cards = {}, {}
    for member, model in zip(run.study.members, run.models(phase), strict=True):
        path = run.workdir.path / "robustness" / phase / f"{member.name}.npz"

        def save(verdicts: Verdicts, path: pathlib.Path = path) -> None:
            with run.workdir.replacing(path) as temporary, temporary.open("wb") as handle:
                np.savez(handle, allow_pickle=False, **verdicts._asdict())

        verdicts = standard_evaluation(
            run.key(4), model, source, settings, mesh=run.mesh, begun=_load(path), save=save, title=f"{member.name} {phase}"
        )
        card = robustness_card(model, source, settings, verdicts)
        run.workdir.write_text(f"cards/{phase}/{member.name}.json", json.dumps({"network": member.name, **card}, indent=1))
        cards[member.name] = card
        arrays |= {f"{member.name}/{name}": getattr(verdicts, name) for name in ("broken_by", "distance", "survives")}
    run.workdir.save(f"robustness.{phase}", {"num_images": len(source), "cards": cards}, arrays)


def robustness_card(model: Model, source: Source, settings: Standard, verdicts: Verdicts) -> dict[str, Any]:
    """What a standard evaluation found, as JSON has it.

    Args:
        model: the network that was evaluated.
        source: its images.
        settings: the threat model.
        verdicts: after the last round.

    Returns:
        Threat model, fingerprints, flags, and after each attack the accuracy with its 95 % interval (Wilson), all of it over
        all images of `source`.
    """
    trials, count = settings.attacks(model.num_classes), len(verdicts.broken_by)
    accuracy, left = {}, int(np.sum(verdicts.broken_by != WRONG))
    for number, name in enumerate(("clean", *(trial.name for trial in trials)), start=-1):
        left -= int(np.sum(verdicts.broken_by == number)) if number >= 0 else 0
        accuracy[name] = _percent(left, count)
    broken = verdicts.broken_by >= 0
    batch = next(data.batches(source, batch_size=min(64, count), read_concepts=False))
    looks = {name: float(value) for name, value in _looks(model, batch).items()}
    lowered = accuracy[trials[-2].name]["estimate"] - accuracy[trials[-1].name]["estimate"]
    by_queries = trials[-1].name == "square"
    return {
        "threat_model": threat_model(settings.norm, settings.epsilon),
        "attacks": {trial.name: max(trial.num_targets, 1) for trial in trials},
        "num_steps": settings.num_steps,
        "max_queries": settings.max_queries if by_queries else 0,
        "num_draws": settings.num_draws,
        "num_images": count,
        "denominator": "all images",
        "accuracy": accuracy,
        "robust_accuracy": accuracy[trials[-1].name],
        "adversarial_images_that_survive_8_bits": [int(verdicts.survives[broken].sum()), int(broken.sum())],
        "flags": {
            "outputs_change_with_the_key": looks["spread"] > 0 and not settings.num_draws,
            "outputs_are_probabilities": looks["probabilities"] > 0,
            "share_of_images_without_gradient": looks["without_gradient"],
            "square_finds_what_gradients_do_not": by_queries and lowered > SQUARE_GAIN,
        },
        "model_fingerprint": models.fingerprint(model),
        "source_fingerprint": source.fingerprint,
    }


def card_lines(card: dict[str, Any]) -> list[str]:
    """A card as lines of text: the threat model, accuracy after each attack, and every flag that is raised.

    Args:
        card: what `robustness_card` returned.
    """
    lines = [f"{threat_in_words(card['threat_model'])}, {card['num_images']} images, per cent of all (95 % interval)"]
    for name, found in card["accuracy"].items():
        low, high = 100 * found["low"], 100 * found["high"]
        lines.append(
            f"  {name if name == 'clean' else 'after ' + name:16} {100 * found['estimate']:5.1f} ({low:.1f} to {high:.1f})"
        )
    if card["num_draws"]:
        lines.append(f"  gradients and predictions are means over {card['num_draws']} draws of the network")
    kept, broken = card["adversarial_images_that_survive_8_bits"]
    lines.append(f"  {kept} of {broken} adversarial images are still misclassified as 8-bit images")
    raised = [name.replace("_", " ") for name, value in card["flags"].items() if value]
    return [*lines, *(f"  flag: {name}" for name in raised)]


def card_texts(run: Run) -> list[str]:
    """Every card of a run as lines of text, each under the name of its network and phase.

    Args:
        run: the run, its robustness stages finished.
    """
    stages = [name for name in run.study.stage_names() if name.startswith("robustness.")]
    return [
        line
        for stage in stages
        for name, card in run.workdir.load(stage)[0]["cards"].items()
        for line in (f"{name} ({stage.partition('.')[2]})", *card_lines(card))
    ]


def _percent(left: int, count: int) -> dict[str, float]:
    return metrics.wilson_interval(left, count)._asdict()


def _load(path: pathlib.Path) -> Verdicts | None:
    if not path.exists():
        return None
    with np.load(path) as stored:
        return Verdicts(int(stored["num_rounds"]), stored["broken_by"], stored["distance"], stored["survives"])


@jax.jit
def _looks(model: Any, batch: Batch) -> dict[str, Array]:
    """What makes an evaluation by gradients doubtful, on one batch."""
    logits, again = (model(jnp.asarray(batch.image), key=jax.random.key(seed))[0] for seed in (0, 1))
    sums = jnp.abs(jnp.sum(logits, axis=-1) - 1) < 1e-5
    gradient = jax.grad(lambda image: jnp.sum(attacks.cross_entropy(None, model, image, batch)))(jnp.asarray(batch.image))
    still = (jnp.max(jnp.abs(gradient), (1, 2, 3)) == 0) & batch.mask
    return {
        "spread": jnp.max(jnp.abs(logits - again)),
        "probabilities": jnp.all(sums & (jnp.min(logits, axis=-1) >= 0)),
        "without_gradient": jnp.sum(still) / jnp.sum(batch.mask),
    }
