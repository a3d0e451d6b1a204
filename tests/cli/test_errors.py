"""Bad input: one clear line, exit code 2, and nothing lost."""

import os
import pathlib

import jax
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from jaxinterp import models
from jaxinterp.cli import main

RECIPE = str(pathlib.Path(__file__).with_name("folder.py"))


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(6):
        Image.fromarray(rng.integers(0, 256, (40, 48, 3), np.uint8)).save(folder / f"{index}.jpg", quality=90)
    wnids = ["n02084071", "n02121620", "n02374451"]
    rows = "".join(f"{index % 3},{wnids[index % 3]},class {index % 3},{index}.jpg\n" for index in range(6))
    (folder / "labels.csv").write_text("index,wnid,name,file\n" + rows)
    return folder


@pytest.fixture
def weights(tmp_path):
    model = models.resnet18(num_classes=3, width=1 / 64, image_size=32, output_stride=8, key=jax.random.key(0))
    path = tmp_path / "resnet18.safetensors"
    models.save(model, path)
    return path


def change(path, edit):
    state = load_file(path)
    edit(state)
    save_file(state, path)


def save_mode(folder, mode):
    Image.new(mode, (40, 40)).save(folder / "3.jpg")


def save_16_bit(folder):
    Image.fromarray(np.full((40, 40), 40_000, np.uint16)).save(folder / "3.png")
    labels = folder / "labels.csv"
    labels.write_text(labels.read_text().replace("3.jpg", "3.png"))


def empty(folder):
    for path in folder.iterdir():
        path.unlink()


CASES = {
    "missing folder": (lambda i, w: i.rename(i.with_name("elsewhere")), [], "expected a folder of images"),
    "empty folder": (lambda i, w: empty(i), [], "images"),
    "truncated JPEG": (lambda i, w: (i / "3.jpg").write_bytes((i / "3.jpg").read_bytes()[:400]), [], "3.jpg"),
    "grey image": (lambda i, w: save_mode(i, "L"), [], "3.jpg"),
    "CMYK image": (lambda i, w: save_mode(i, "CMYK"), [], "CMYK"),
    "16-bit image": (lambda i, w: save_16_bit(i), [], "3.png"),
    "label outside the list": (
        lambda i, w: (i / "labels.csv").write_text("index,wnid,file\n0,n02084071,0.jpg\n7,n02121620,1.jpg\n"),
        [],
        "label",
    ),
    "wrong shape": (lambda i, w: change(w, lambda s: s.update({"fc.bias": np.zeros(4, np.float32)})), [], "fc.bias"),
    "missing weight": (lambda i, w: change(w, lambda s: s.pop("conv1.weight")), [], "missing conv1.weight"),
    "extra weight": (lambda i, w: change(w, lambda s: s.update(extra=np.zeros(1, np.float32))), [], "extra"),
    "NaN in weights": (lambda i, w: change(w, lambda s: s.update({"fc.bias": np.full(3, np.nan, np.float32)})), [], "NaN"),
    "no weights": (lambda i, w: w.unlink(), [], "not there"),
    "image size below the minimum": (None, ["--image-size", "4"], "image_size >= 8"),
    "unknown layer": (None, ["--layer", "layer4.2"], "did you mean 'layer4.1'?"),
    "unknown knob": (None, ["--epsilom", "1/255"], "did you mean 'epsilon'?"),
    "knob of another type": (None, ["--image-size", "large"], "--image-size int"),
    "epsilon of 0": (None, ["--epsilon", "0"], "expected epsilon in (0, 1], got 0"),
    "epsilon above 1": (None, ["--epsilon", "8"], "expected epsilon in (0, 1], got 8"),
    "negative epsilon": (None, ["--epsilon=-4/255"], "expected epsilon in (0, 1]"),
}


@pytest.mark.parametrize("name", CASES)
def test_one_line_and_exit_code_2(name, images, weights, tmp_path, capsys):
    spoil, knobs, expected = CASES[name]
    if spoil:
        spoil(images, weights)
    command = ["study", RECIPE, "--workdir", str(tmp_path / "run"), "--images", str(images), "--weights", str(weights), *knobs]
    assert main(command) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("jaxinterp: ")]
    assert len(errors) == 1 and expected in errors[0], errors
    assert "Traceback" not in errors[0]


def test_recipes_that_are_none(tmp_path, capsys):
    assert main(["study", "configs/quikstart.py", "--workdir", str(tmp_path)]) == 2
    assert "did you mean 'configs/quickstart.py'?" in capsys.readouterr().err
    recipe = tmp_path / "mine.py"
    recipe.write_text("def other(): ...\n")
    assert main(["study", str(recipe), "--workdir", str(tmp_path / "run")]) == 2
    assert "expected a function mine()" in capsys.readouterr().err


def test_a_foreign_folder_as_work_directory(images, weights, tmp_path, capsys):
    knobs = ["--images", str(images), "--weights", str(weights)]
    assert main(["study", RECIPE, "--workdir", str(images), *knobs]) == 2
    assert "holds other things" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for the superuser")
def test_a_read_only_folder(images, weights, tmp_path, capsys):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    assert main(["study", RECIPE, "--workdir", str(locked / "run"), "--images", str(images), "--weights", str(weights)]) == 2
    assert "locked" in capsys.readouterr().err


@pytest.mark.parametrize(
    "recipe, knobs, expected",
    [
        ("imagenet_sample", [], "expected --weights str, which has no default; got: no knobs"),
        ("imagenet_sample", ["--weights", "a"], "expected --images str, which has no default; got: --weights a"),
        ("imagenet_sample", ["--weights", "a", "--images", "b", "c"], "expected --images str, got: --images b c"),
        ("imagenet_sample", ["--weights=a", "--images=b", "--seed"], "expected --seed int, got: --seed"),
        ("factors", ["--groups", "start", "widths"], "|start|width|depth|"),
        ("factors", ["--groups", "start", "widths"], " ..., got: --groups start widths"),
        ("dissection", ["--weights", "a", "--concepts", "b", "--num-images", "many"], "expected --num-images int or none, got"),
        ("dissection", ["--weights", "a", "--concepts", "b", "--no-adversarial", "1"], "expected --adversarial bool, got"),
    ],
)
def test_the_knob_that_is_wrong_is_named(recipe, knobs, expected, capsys):
    assert main(["show", f"configs/{recipe}.py", *knobs]) == 2
    error = capsys.readouterr().err
    assert expected in error and error.count("\n") == 1


@pytest.mark.parametrize(
    "recipe, knobs, expected",
    [
        ("imagenet_sample", ["--images", "nowhere", "--weights", "nowhere"], "13 x 13 x 512"),
        ("nips17", ["--images", "nowhere", "--weights", "nowhere"], "13 x 13 x 512"),
        ("adv_inception_v3", ["--images", "nowhere"], "8 x 8 x 2048"),
    ],
)
def test_show_needs_neither_weights_nor_images(recipe, knobs, expected, capsys):
    assert main(["show", f"configs/{recipe}.py", *knobs]) == 0
    studied = [line for line in capsys.readouterr().out.splitlines() if line.endswith("<- studied")]
    assert expected in studied[-1]


def test_show_computes_nothing(images, weights, capsys):
    weights.unlink()
    assert main(["show", "configs/quickstart.py", "--epsilon", "8/255"]) == 0
    text = capsys.readouterr().out
    assert "--learning-rate            0.003\n" in text and "--step-size                4/255\n" in text
    assert "8/255" in text and "layer4.1" in text and "8 x 8 x 64" in text and "train.robust" in text
