"""The transfer stage, resumable source by source, and its card: the matrix of success rates and what they are shares of."""

import functools
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxinterp import metrics, models
from jaxinterp._base import Model
from jaxinterp.data import Source
from jaxinterp.pipelines._context import Run
from jaxinterp.pipelines._threat import threat_in_words, threat_model
from jaxinterp.pipelines._transfer import Arrays, Transfers, transfer_evaluation
from jaxinterp.pipelines._transfer_settings import BLACK_BOX, SAME_FAMILY, UNTARGETED, WHITE_BOX, Transfer

DENOMINATOR = "images that every network classifies correctly"
CONTROL = "the perturbation of another image"
MARKS = {WHITE_BOX: "*", SAME_FAMILY: "~", BLACK_BOX: ""}
"""What a table prints after a rate."""

MEANING = {UNTARGETED: "the label is not predicted", "targeted": "the target is predicted"}
"""What success is, for each kind of attack."""


def evaluate_transfer(run: Run, phase: str) -> None:
    """Attacks every source of a phase's networks, shows the images to all members, and writes `transfer/PHASE.json`."""
    settings = run.study.transfer
    if settings is None:
        raise ValueError("this study has no study of transfer; give it transfer=pipelines.Transfer(...).")
    source = run.some_held_out(settings.num_images)
    networks = {member.name: model for member, model in zip(run.study.members, run.models(phase), strict=True)}
    folder = run.workdir.path / "transfer" / phase
    found = transfer_evaluation(
        run.key(5),
        networks,
        source,
        settings,
        mesh=run.mesh,
        keep=functools.partial(_kept, run, folder),
        title=f"transfer {phase}",
    )
    card = transfer_card(networks, source, settings, found)
    run.workdir.write_text(f"transfer/{phase}.json", json.dumps(card, indent=1))
    arrays = {f"clean/{name}": array for name, array in found.clean._asdict().items()}
    for kind, sources in found.seen.items():
        for source_name, seen in sources.items():
            arrays |= {f"{kind}/{source_name}/{name}": array for name, array in seen._asdict().items()}
    run.workdir.save(f"transfer.{phase}", card, arrays)


def transfer_card(networks: Mapping[str, Model], source: Source, settings: Transfer, transfers: Transfers) -> dict[str, Any]:
    """What a study of transfer found, as JSON has it.

    A rate is a share of the images that every network classifies correctly, with Wilson's 95 % interval; that of a row's black
    boxes together is clustered on the image. Points are counted over all images: one for the attack for each image on which it
    succeeds, over its black boxes; one for the network for each image that it still classifies correctly, over the sources to
    which it is a black box.

    Args:
        networks: as they were given to `transfer_evaluation`.
        source: its images.
        settings: sources, attacks and radius.
        transfers: what it returned.

    Returns:
        Threat model, denominators, fingerprints, and for each kind of attack the rows of the matrix with their control.

    References:
        A. Kurakin et al., "Adversarial Attacks and Defences Competition", in The NIPS '17 Competition: Building Intelligent
        Systems, 2018, for the points.
    """
    clean = transfers.clean
    correct = (clean.predictions == clean.label[:, None]).all(axis=1)
    right = (clean.predictions == clean.label[:, None]).sum(axis=0)
    kinds: dict[str, Any] = {}
    for kind, sources in transfers.seen.items():
        rows = {name: _row(transfers, settings, kind, name, correct) for name in sources}
        kinds[kind] = {"success": MEANING[kind], "sources": rows, "networks": _held(transfers, settings, kind)}
    return {
        "threat_model": threat_model("linf", settings.epsilon),
        "num_images": len(correct),
        "num_correct": int(correct.sum()),
        "denominator": DENOMINATOR,
        "control": CONTROL,
        "networks": list(transfers.networks),
        "clean_accuracy": {
            name: _rate(int(count), len(correct)) for name, count in zip(transfers.networks, right, strict=True)
        },
        "sources": {name: list(members) for name, members in settings.sources.items()},
        "families": [list(family) for family in settings.families],
        "targets": settings.targets if settings.targeted else None,
        "num_steps": {kind: attack.num_steps for kind, attack in settings.attacks.items()},
        "kinds": kinds,
        "model_fingerprints": {name: models.fingerprint(model) for name, model in networks.items()},
        "source_fingerprint": source.fingerprint,
    }


def transfer_lines(card: Mapping[str, Any]) -> list[str]:
    """A card as lines of text: for each kind of attack the matrix, a row a source with its control below.

    Args:
        card: what `transfer_card` returned.
    """
    lines = []
    for kind, found in card["kinds"].items():
        lines.append(
            f"{kind} ({found['success']}), {threat_in_words(card['threat_model'])}; per cent of the {card['num_correct']} of "
            f"{card['num_images']} {card['denominator']}"
        )
        table = [["source", *card["networks"], "black boxes", "points"]]
        for name, row in found["sources"].items():
            cells = row["networks"].values()
            black, points = row["black_boxes"], row["points"]
            table.append(
                [
                    name,
                    *(_percent(cell["success"]) + (MARKS[cell["relation"]] or " ") for cell in cells),
                    f"{_percent(black['success'])} of {black['num_networks']} x {card['num_correct']}" if black else "-",
                    f"{points['scored']} of {points['of']}",
                ]
            )
            control = [_percent(cell["control"]) + " " for cell in cells]
            table.append(["  control", *control, _percent(black["control"]) if black else "-", ""])
        held = found["networks"].values()
        table.append(["points of the network", *(f"{points['scored']} of {points['of']} " for points in held), "", ""])
        lines += _aligned(table)
    return [
        *lines,
        "* attacked itself; ~ a version of one that is attacked; neither counts as a black box, nor for points",
        "rows have different black boxes: compare sources within a column",
        f"control: {card['control']}; points: of all images, successes of an attack, images that a network still gets right",
    ]


def transfer_texts(run: Run) -> list[str]:
    """Every card of a run as lines of text, under the name of its phase where there are two.

    Args:
        run: the run, its transfer stages finished.
    """
    stages = [name for name in run.study.stage_names() if name.startswith("transfer.")]
    lines = []
    for stage in stages:
        lines += [f"{stage.partition('.')[2]} networks"] if len(stages) > 1 else []
        lines += transfer_lines(run.workdir.load(stage)[0])
    return lines


def _row(transfers: Transfers, settings: Transfer, kind: str, name: str, correct: np.ndarray) -> dict[str, Any]:
    seen = transfers.seen[kind][name]
    hits, control = (_succeeded(transfers, kind, predictions) for predictions in (seen.predictions, seen.control))
    relations = [settings.relation(name, network) for network in transfers.networks]
    cells = {
        network: {
            "relation": relations[column],
            "success": _rate(int(hits[correct, column].sum()), int(correct.sum())),
            "control": _rate(int(control[correct, column].sum()), int(correct.sum())),
        }
        for column, network in enumerate(transfers.networks)
    }
    black = np.asarray([relation == BLACK_BOX for relation in relations])
    together = None
    if black.any():
        rates = {what: _clustered(part[correct][:, black]) for what, part in (("success", hits), ("control", control))}
        together = {"num_networks": int(black.sum()), **rates}
    return {
        "attacked": list(settings.sources[name]),
        "networks": cells,
        "black_boxes": together,
        "points": {"scored": int(hits[:, black].sum()), "of": int(black.sum()) * len(hits)},
        "largest_change_of_255": round(255 * float(seen.distance.max()), 4),
    }


def _held(transfers: Transfers, settings: Transfer, kind: str) -> dict[str, dict[str, int]]:
    """The images that each network still classifies correctly, over the sources to which it is a black box."""
    held = {}
    for column, network in enumerate(transfers.networks):
        rows = [
            seen.predictions[:, column] == transfers.clean.label
            for name, seen in transfers.seen[kind].items()
            if settings.relation(name, network) == BLACK_BOX
        ]
        held[network] = {"scored": int(np.sum(rows)), "of": len(rows) * len(transfers.clean.label)}
    return held


def _succeeded(transfers: Transfers, kind: str, predictions: np.ndarray) -> np.ndarray:
    clean = transfers.clean
    return predictions != clean.label[:, None] if kind == UNTARGETED else predictions == clean.target[:, None]


def _rate(successes: int, trials: int) -> dict[str, Any]:
    found = metrics.wilson_interval(successes, trials) if trials else (None, None, None)
    return _counted(found, successes, trials)


def _clustered(hits: np.ndarray) -> dict[str, Any]:
    """The rate over images and networks, its interval clustered on the image."""
    if not len(hits):
        return _rate(0, 0)
    images = np.repeat(np.arange(len(hits)), hits.shape[1])
    return _counted(metrics.proportion_interval(hits.ravel(), images), int(hits.sum()), hits.size)


def _counted(interval: tuple[float | None, ...], successes: int, trials: int) -> dict[str, Any]:
    return {**dict(zip(("estimate", "low", "high"), interval, strict=True)), "successes": successes, "n": trials}


def _kept(run: Run, folder: pathlib.Path, name: str, compute: Callable[[], Arrays]) -> Arrays:
    """The arrays of a part, from its file where an earlier run got that far."""
    path = folder / f"{name}.npz"
    if path.exists():
        with np.load(path) as stored:
            return {key: stored[key] for key in stored.files}
    arrays = compute()
    with run.workdir.replacing(path) as temporary, temporary.open("wb") as handle:
        np.savez(handle, allow_pickle=False, **arrays)
    return arrays


def _percent(rate: Mapping[str, Any]) -> str:
    return "-" if rate["estimate"] is None else f"{100 * rate['estimate']:.1f}"


def _aligned(table: list[list[str]]) -> list[str]:
    """Rows of text with the first column on the left and the others on the right of their places."""
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    padded = [
        [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        for row in table
    ]
    return ["  ".join(["", *row]).rstrip() for row in padded]
