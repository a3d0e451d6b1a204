"""Transfer: laws of the matrix on linear networks, the stored images, the control, resuming, and the verb."""

import dataclasses
import json
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import Model, _mesh, attacks, data, pipelines
from jaxinterp.cli import main
from jaxinterp.pipelines import _transfer
from tests.attacks import toys
from tests.pipelines.smoke import smoke
from tests.pipelines.transferred import transferred

KEY = jax.random.key(0)
EPSILON = 6 / 255
COUNT = 23
CLASSES = [f"class {index}" for index in range(toys.CLASSES)]
RECIPE = str(pathlib.Path(__file__).with_name("transferred.py"))
SOURCES = {"first": ("first",), "twin": ("twin",), "other": ("other",), "both": ("first", "other")}


def mixed(seed: int, share: float) -> Model:
    """A linear network that is partly the first one."""
    one, two = toys.centred_linear_model(0), toys.centred_linear_model(seed)
    return Model(jax.tree.map(lambda a, b: (1 - share) * a + share * b, one.params, two.params), {}, one.network)


NETWORKS = {"first": mixed(0, 0.0), "twin": mixed(0, 0.0), "near": mixed(1, 0.3), "other": mixed(2, 0.5)}


def images(count: int = COUNT) -> data.Source:
    """Images near grey, whose labels are what the first network says."""
    pixels = np.random.default_rng(0).integers(100, 156, (count, toys.SIZE, toys.SIZE, 3), np.uint8)
    labels = np.asarray(NETWORKS["first"](jnp.asarray(pixels / 255, jnp.float32))[0].argmax(1))
    return data.from_arrays(pixels, labels, classes=CLASSES)


def settings(**knobs: Any) -> pipelines.Transfer:
    away = attacks.ensemble_logits(attacks.cross_entropy)
    defaults = {
        "sources": SOURCES,
        "epsilon": EPSILON,
        "untargeted": attacks.mi_fgsm(EPSILON, num_steps=3, loss=away),
        "targeted": attacks.mi_fgsm(EPSILON, num_steps=3, loss=attacks.targeted(away)),
        "targets": "least likely",
        "families": (("first", "twin"),),
        "batch_size": 8,
    }
    return pipelines.Transfer(**{**defaults, **knobs})


def evaluated(
    networks: dict[str, Model], source: data.Source, knobs: pipelines.Transfer, **options: Any
) -> pipelines.Transfers:
    return pipelines.transfer_evaluation(KEY, networks, source, knobs, **{"mesh": _mesh.data_mesh(1), **options})


@pytest.fixture(scope="module")
def found() -> pipelines.Transfers:
    return evaluated(NETWORKS, images(), settings())


@pytest.fixture(scope="module")
def card(found) -> dict[str, Any]:
    return json.loads(json.dumps(pipelines.transfer_card(NETWORKS, images(), settings(), found), allow_nan=False))


def rates(card: dict[str, Any], kind: str, source: str, what: str = "success") -> dict[str, float]:
    cells = card["kinds"][kind]["sources"][source]["networks"]
    return {name: cell[what]["estimate"] for name, cell in cells.items()}


def equal(one: pipelines.Transfers, two: pipelines.Transfers) -> None:
    for first, second in zip(jax.tree.leaves(one[1:]), jax.tree.leaves(two[1:]), strict=True):
        np.testing.assert_array_equal(first, second)


def test_equal_networks_have_equal_rows_and_columns(found, card):
    for kind in ("untargeted", "targeted"):
        for first, twin in zip(found.seen[kind]["first"], found.seen[kind]["twin"], strict=True):
            np.testing.assert_array_equal(first, twin)
        for source in SOURCES:
            assert rates(card, kind, source)["first"] == rates(card, kind, source)["twin"]
        relations = [cell["relation"] for cell in card["kinds"][kind]["sources"]["first"]["networks"].values()]
        assert relations == ["white box", "same family", "black box", "black box"]


def test_what_is_attacked_itself_errs_most_and_the_control_least(card):
    for kind in ("untargeted", "targeted"):
        for source in ("first", "twin", "other"):
            success, control = rates(card, kind, source), rates(card, kind, source, "control")
            assert success[source] == max(success.values()) > max(control.values()), (kind, source)
        success = rates(card, kind, "both")
        assert (success["first"] + success["other"]) / 2 > max(rates(card, kind, "both", "control").values())
    assert set(rates(card, "untargeted", "first").values()) > {1.0}


def test_the_card_counts_what_the_predictions_say(found, card):
    label, target = found.clean.label, found.clean.target
    correct = (found.clean.predictions == label[:, None]).all(axis=1)
    assert 4 < card["num_correct"] == correct.sum() < card["num_images"] == COUNT
    assert card["clean_accuracy"]["first"]["estimate"] == 1
    probabilities = sum(jax.nn.softmax(model(jnp.asarray(stacked()))[0]) for model in NETWORKS.values())
    np.testing.assert_array_equal(target, np.asarray(probabilities).argmin(axis=1))
    for kind, hit in (
        ("untargeted", lambda said: said != label[:, None]),
        ("targeted", lambda said: said == target[:, None]),
    ):
        for source in SOURCES:
            seen, row = found.seen[kind][source], card["kinds"][kind]["sources"][source]
            for name, said in (("success", seen.predictions), ("control", seen.control)):
                np.testing.assert_allclose(list(rates(card, kind, source, name).values()), hit(said)[correct].mean(axis=0))
            black = [name for name, cell in row["networks"].items() if cell["relation"] == "black box"]
            columns = [list(NETWORKS).index(name) for name in black]
            together = row["black_boxes"]
            assert together["num_networks"] == len(black) and together["success"]["n"] == len(black) * correct.sum()
            assert together["success"]["estimate"] == pytest.approx(hit(seen.predictions)[correct][:, columns].mean())
            points = {"scored": hit(seen.predictions)[:, columns].sum(), "of": len(black) * COUNT}
            assert row["points"] == points
            assert row["largest_change_of_255"] == 6
    held = card["kinds"]["untargeted"]["networks"]
    assert held["near"]["of"] == 4 * COUNT and held["first"]["of"] == COUNT
    assert held["first"]["scored"] == (found.seen["untargeted"]["other"].predictions[:, 0] == label).sum()


def stacked() -> np.ndarray:
    source = images()
    return np.stack([source[index].image for index in range(len(source))]).astype(np.float32) / np.float32(255)


def test_the_images_are_stored_in_the_ball_and_the_control_is_that_of_the_one_before(found, monkeypatch):
    """An attack of twice the radius is cut back; images and control are made anew here, all at once."""
    shown: list[np.ndarray] = []
    say = _transfer._predictions
    monkeypatch.setattr(
        _transfer, "_predictions", lambda networks, batch: shown.append(np.asarray(batch)) or say(networks, batch)
    )
    wide = attacks.fgsm(2 * EPSILON)
    seen = pipelines.transfer_evaluation(
        KEY, NETWORKS, images(), settings(sources={"other": ("other",)}, untargeted=wide, targeted=None)
    ).seen["untargeted"]["other"]
    assert all(np.array_equal(batch, np.rint(255 * batch).astype(np.float32) / np.float32(255)) for batch in shown)
    assert np.all(seen.distance <= EPSILON + 1e-6) and seen.distance.max() > EPSILON - 1e-6
    clean, model = stacked(), NETWORKS["other"]
    made = np.asarray(attacks.run(wide, model, clean, found.clean.label, key=KEY).adversarial)
    levels = np.rint(255 * clean).astype(int)
    stored = np.clip(np.rint(255 * made).astype(int), levels - 6, levels + 6)
    order = np.asarray(jax.random.permutation(jax.random.fold_in(KEY, 0), COUNT))
    before = np.empty(COUNT, int)
    before[order] = np.roll(order, 1)
    shifted = np.clip(levels + (stored - levels)[before], 0, 255)
    for expected, said in ((stored, seen.predictions), (shifted, seen.control)):
        for column, network in enumerate(NETWORKS.values()):
            logits = network(jnp.asarray(expected / 255, jnp.float32))[0]
            np.testing.assert_array_equal(said[:, column], logits.argmax(1))


@pytest.mark.parametrize(("batch_size", "devices"), [(3, 1), (64, 1), (6, 4)])
def test_batches_and_devices_change_nothing(found, batch_size, devices):
    mesh = _mesh.data_mesh(devices)
    equal(found, evaluated(NETWORKS, images(), settings(batch_size=batch_size), mesh=mesh))


def test_a_ball_of_less_than_a_grey_level_holds_the_clean_image_alone():
    still = evaluated(NETWORKS, images(), settings(epsilon=0.4 / 255))
    for sources in still.seen.values():
        for seen in sources.values():
            np.testing.assert_array_equal(seen.predictions, still.clean.predictions)
            np.testing.assert_array_equal(seen.control, still.clean.predictions)
            assert not seen.distance.any()


def test_a_network_compiles_once_for_all_sources(monkeypatch):
    source, knobs = images(), settings(targeted=None)
    monkeypatch.setattr(toys, "TRACES", [])
    jax.clear_caches()
    evaluated(NETWORKS, source, knobs)
    # Predictions, and for each of the two structures of sources the gradient of one or of two networks.
    assert len(toys.TRACES) == 1 + 1 + 2


def test_every_part_is_kept_once_and_used_again(found):
    store: dict[str, Any] = {}

    def keep(name, compute):
        if name not in store:
            store[name] = compute()
            assert len(store) != 4, "killed"
        return store[name]

    with pytest.raises(AssertionError, match="killed"):
        evaluated(NETWORKS, images(), settings(), keep=keep)
    first = dict(store)
    equal(found, evaluated(NETWORKS, images(), settings(), keep=keep))
    assert all(store[name] is part for name, part in first.items())
    assert list(store) == ["clean", *(f"{kind}/{name}" for kind in ("untargeted", "targeted") for name in SOURCES)]


def test_the_table(card):
    lines = pipelines.transfer_lines(card)
    assert lines[0] == (
        f"untargeted (the label is not predicted), linf, epsilon = 6/255; per cent of the {card['num_correct']} of 23 images "
        "that every network classifies correctly"
    )
    assert lines[1].split() == ["source", *NETWORKS, "black", "boxes", "points"]
    assert lines[2].split()[:3] == ["first", "100.0*", "100.0~"]
    assert lines[3].split()[0] == "control" and "*" not in lines[3]
    assert lines[10].split()[:4] == ["points", "of", "the", "network"]
    assert not any(line.endswith(" ") for line in lines)
    assert len({len(line) for line in lines[1:9:2] if "of" in line}) <= 1


def test_no_image_that_all_classify_correctly():
    source = images(6)
    wrong = data.from_arrays(
        np.stack([source[i].image for i in range(6)]),
        np.asarray([(source[i].label + 1) % toys.CLASSES for i in range(6)]),
        classes=CLASSES,
    )
    knobs = settings(sources={"all": tuple(NETWORKS)}, targeted=None)
    card = pipelines.transfer_card(NETWORKS, wrong, knobs, evaluated(NETWORKS, wrong, knobs))
    row = json.loads(json.dumps(card, allow_nan=False))["kinds"]["untargeted"]["sources"]["all"]
    assert row["black_boxes"] is None and row["points"]["of"] == 0
    assert {cell["success"]["estimate"] for cell in row["networks"].values()} == {None}
    assert pipelines.transfer_lines(card)[2].split() == ["all", "-*", "-*", "-*", "-*", "-", "0", "of", "0"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sources": {}}, "expected at least one source, got none"),
        ({"sources": {"a/b": ("first",)}}, "expected names of sources that name files too, got 'a/b'"),
        ({"sources": {"a": ()}}, r"expected different members in source 'a', got \[\]"),
        ({"sources": {"a": ("first", "first")}}, "expected different members in source 'a'"),
        ({"epsilon": 8.0}, r"expected epsilon in \(0, 1\], got 8.0; write 8.0 / 255"),
        ({"untargeted": None, "targeted": None}, "expected an attack, got none"),
        ({"targets": "random"}, "expected targets 'given' or 'least likely', got 'random'"),
        ({"families": (("first", "twin"), ("twin",))}, "expected every member in one family at most"),
        ({"num_images": 1}, "expected num_images of at least 2, got 1"),
        ({"batch_size": 0}, "expected batch_size of at least 1, got 0"),
    ],
)
def test_refused_settings(change, message):
    with pytest.raises(ValueError, match=message) as refused:
        settings(**change)
    assert "\n" not in str(refused.value)


def test_refused_members_and_images():
    study = transferred()
    assert study.transfer is not None
    for change, message in (
        ({"sources": {"a": ("AlexNett",)}}, "source 'a': unknown member 'AlexNett'; .*did you mean 'AlexNet'?"),
        ({"families": (("VGG",),)}, "family .*: unknown member 'VGG'"),
    ):
        with pytest.raises(ValueError, match=message):
            dataclasses.replace(study, transfer=dataclasses.replace(study.transfer, **change))
    with pytest.raises(
        ValueError, match="expected a target for each of 23 images, got none for 23; write targets='least likely'"
    ):
        evaluated(NETWORKS, images(), settings(targets="given"))
    with pytest.raises(ValueError, match="expected at least 2 images, got 1"):
        evaluated(NETWORKS, images(1), settings())
    with pytest.raises(ValueError, match="unknown member 'first'"):
        evaluated({"other": NETWORKS["other"]}, images(), settings())


def test_a_trained_study_has_the_stage_twice():
    found = dataclasses.replace(smoke(), transfer=settings(sources={"a": ("VGG-11",)}, families=())).stage_names()
    assert [name for name in found if name.startswith("transfer")] == ["transfer.normal", "transfer.robust"]
    assert found.index("train.robust") < found.index("transfer.robust")


def test_the_verb_prints_the_matrix_and_a_stopped_run_ends_with_the_same_bytes(tmp_path, capsys, monkeypatch):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert main(["transfer", RECIPE, "--devices", "1", "--workdir", str(whole)]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("untargeted (the label is not predicted), linf, epsilon = 8/255; per cent of the ")
    assert shown[-1] == str(whole / "index.html")
    assert [line.split()[0] for line in shown[2:6]] == ["AlexNet", "control", "both", "control"]
    page = (whole / "index.html").read_text()
    assert "What the paper claims" not in page  # nothing of this run measures them
    assert "Transfer, targeted" in page and (whole / "figures" / "transfer.png").exists()
    card = json.loads((whole / "transfer" / "normal.json").read_text())
    assert card["threat_model"]["of_255"] == 8 and list(card["model_fingerprints"]) == ["AlexNet", "3 bits"]

    calls: list[int] = []
    show = _transfer._show

    def fail_at_the_third(*arguments, **keywords):
        calls.append(1)
        if len(calls) == 3:
            raise OSError("no more")
        return show(*arguments, **keywords)

    monkeypatch.setattr(_transfer, "_show", fail_at_the_third)
    line = ["transfer", RECIPE, "--devices", "1", "--workdir", str(stopped)]
    assert main(line) == 2
    assert "jaxinterp: no more" in capsys.readouterr().err
    kept = sorted(path.relative_to(stopped) for path in (stopped / "transfer").rglob("*") if path.is_file())
    assert len(kept) == 3  # the clean images and two sources
    assert main(line) == 0
    assert len(calls) == 3 + 2
    assert capsys.readouterr().out.splitlines()[:-1] == shown[:-1]
    names = [path.relative_to(whole) for top in ("transfer", "stages") for path in (whole / top).rglob("*") if path.is_file()]
    assert len(names) == 8
    assert [str(name) for name in names if (whole / name).read_bytes() != (stopped / name).read_bytes()] == []


def test_a_study_without_transfer_has_no_such_verb(tmp_path, capsys):
    recipe = str(pathlib.Path(__file__).with_name("smoke.py"))
    assert main(["transfer", recipe, "--workdir", str(tmp_path / "run")]) == 2
    assert "this recipe has no stage 'transfer'" in capsys.readouterr().err
