"""State dicts in every format that is read: the same weights come back, whatever wraps them."""

import re
import sys
from typing import Any

import jax
import ml_dtypes
import numpy as np
import optax
import pytest
from safetensors.numpy import save_file

from jaxinterp import models, training
from jaxinterp.models._files._formats import read_state
from jaxinterp.models._files._weights import load_into, torchvision_state
from tests.conftest import SHARED
from tests.models import crafted

WEIGHTS = SHARED / "data" / "weights"
needs_data = pytest.mark.skipif(not WEIGHTS.is_dir(), reason="the real weights are not there")
SMALL: dict[str, Any] = {"num_classes": 3, "width": 1 / 32, "image_size": 32, "output_stride": 8}


def resnet(seed=0):
    return models.resnet18(**SMALL, key=jax.random.key(seed))


def state_of(model):
    return torchvision_state(model.params, model.stats)


def expect_same(got, want):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    assert models.fingerprint(got) == models.fingerprint(want)


def tree_of(state):
    """Trees that expect one linear layer per pair of names."""
    params: dict[str, dict[str, jax.ShapeDtypeStruct]] = {}
    for name, array in state.items():
        module, _, leaf = name.rpartition(".")
        shape = array.shape[::-1]
        params.setdefault(module, {})["kernel" if leaf == "weight" else "bias"] = jax.ShapeDtypeStruct(shape, np.float32)
    return params


LINEAR = {"fc.weight": np.arange(6, dtype=np.float32).reshape(3, 2) - 2.5, "fc.bias": np.ones(3, np.float32)}


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16"])
@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_every_float_becomes_float32(dtype, suffix, tmp_path):
    state = {name: array.astype(getattr(ml_dtypes, dtype, None) or dtype) for name, array in LINEAR.items()}
    path = tmp_path / f"weights{suffix}"
    if suffix == ".npz" and dtype == "bfloat16":
        return  # NumPy has no name for it
    (save_file if suffix == ".safetensors" else lambda state, path: np.savez_compressed(path, **state))(state, path)
    params, _ = load_into(path, tree_of(LINEAR), {})
    assert params["fc"]["kernel"].dtype == np.float32
    np.testing.assert_array_equal(params["fc"]["kernel"], LINEAR["fc.weight"].T)


def test_the_suffix_does_not_matter_where_nothing_is_hidden(tmp_path):
    for name in ("weights", "weights.pth", "weights.npz"):
        save_file(LINEAR, tmp_path / name)
        assert sorted(read_state(tmp_path / name)) == sorted(LINEAR)
    np.savez(tmp_path / "a.npz", **LINEAR)
    (tmp_path / "a.npz").rename(tmp_path / "a.safetensors")
    assert sorted(read_state(tmp_path / "a.safetensors")) == sorted(LINEAR)


def test_npz_of_a_whole_network(tmp_path):
    model = resnet()
    arrays: dict[str, Any] = {name.replace(".", "/"): array for name, array in state_of(model).items()}
    np.savez_compressed(tmp_path / "weights.npz", **arrays)
    expect_same(models.load(tmp_path / "weights.npz", model), model)


@pytest.mark.parametrize(
    "prefix",
    ["module.", "model.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model.model.", "model._orig_mod.module."],
)
def test_a_prefix_of_every_name_goes(prefix, tmp_path):
    model = resnet()
    state: dict[str, np.ndarray] = {prefix + name: w for name, w in state_of(model).items()}
    state[f"{prefix}bn1.num_batches_tracked"] = np.zeros((), np.int64)
    save_file(state, tmp_path / "weights.safetensors")
    expect_same(models.load(tmp_path / "weights.safetensors", model), model)


def test_a_prefix_of_some_names_stays(tmp_path):
    save_file({"model.fc.weight": LINEAR["fc.weight"], "loss.weight": LINEAR["fc.bias"]}, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=r"missing fc\.weight, fc\.bias; not in this network .*model\.fc\.weight"):
        load_into(tmp_path / "a.safetensors", tree_of(LINEAR), {})


def test_old_densenet_names(tmp_path):
    new = "features.denseblock1.denselayer12"
    state = {f"{new}.norm.1": LINEAR["fc.bias"], f"{new}.conv.2": LINEAR["fc.weight"], "features.norm.1": LINEAR["fc.bias"]}
    save_file({f"{name}.weight": array for name, array in state.items()}, tmp_path / "a.safetensors")
    assert sorted(read_state(tmp_path / "a.safetensors")) == [
        f"{new}.conv2.weight",
        f"{new}.norm1.weight",
        "features.norm.1.weight",
    ]
    save_file({f"{new}.conv.2.weight": LINEAR["fc.bias"], f"{new}.conv2.weight": LINEAR["fc.bias"]}, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=r"two weights for '.*conv2\.weight', '.*conv2?\.?2\.weight' and '.*'; save the one"):
        read_state(tmp_path / "a.safetensors")


def test_modules_may_be_left_out_by_name_alone(tmp_path):
    more = {f"{head}.bias": LINEAR["fc.bias"] for head in ("aux1.fc", "aux10.fc")}
    save_file({**LINEAR, **more}, tmp_path / "a.safetensors")
    params, _ = load_into(tmp_path / "a.safetensors", tree_of(LINEAR), {}, ignore=("aux1", "aux10.fc"))
    assert list(params) == ["fc"]
    with pytest.raises(ValueError, match=r"not in this network aux10\.fc\.bias\.$"):
        load_into(tmp_path / "a.safetensors", tree_of(LINEAR), {}, ignore=("aux1",))


def test_a_background_class_is_dropped_when_asked(tmp_path):
    more = {name: np.concatenate([np.full_like(array[:1], 9), array]) for name, array in LINEAR.items()}
    save_file(more, tmp_path / "a.safetensors")
    params, _ = load_into(tmp_path / "a.safetensors", tree_of(LINEAR), {}, drop_background=True)
    np.testing.assert_array_equal(params["fc"]["kernel"], LINEAR["fc.weight"].T)
    np.testing.assert_array_equal(params["fc"]["bias"], LINEAR["fc.bias"])
    with pytest.raises(ValueError, match=r"of another shape fc\.weight \(expected \[3, 2\], got \[4, 2\]\)"):
        load_into(tmp_path / "a.safetensors", tree_of(LINEAR), {})
    save_file(LINEAR, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=r"expected a classifier in .* with a background class .*, got none; leave out"):
        load_into(tmp_path / "a.safetensors", tree_of(LINEAR), {}, drop_background=True)


def saved_checkpoint(folder, model, step):
    import orbax.checkpoint as ocp

    state = training.init_state(optax.adam(1e-3), model)
    arrays = {"params": model.params, "stats": model.stats, "optimizer_state": state.optimizer_state, "step": state.step}
    with ocp.CheckpointManager(folder, options=ocp.CheckpointManagerOptions(enable_async_checkpointing=False)) as manager:
        rest = ocp.args.JsonSave({"history": []})
        manager.save(step, args=ocp.args.Composite(state=ocp.args.StandardSave(arrays), rest=rest))


def test_a_checkpoint_folder_of_training(tmp_path):
    older, newer = resnet(1), resnet(2)
    saved_checkpoint(tmp_path / "run", older, 5)
    saved_checkpoint(tmp_path / "run", newer, 10)
    expect_same(models.load(tmp_path / "run", older), newer)
    expect_same(models.load(tmp_path / "run" / "5", newer), older)
    expect_same(models.load(tmp_path / "run" / "5" / "state", newer), older)
    other = models.resnet18(**dict(SMALL, num_classes=4), key=jax.random.key(0))
    with pytest.raises(ValueError, match=r"of another shape fc\.\w+ \(expected \[4\S*, .*got \[3"):
        models.load(tmp_path / "run", other)
    state, refused = tmp_path / "run" / "10" / "state", 0
    for path in [state / "manifest.ocdbt", *state.glob("**/d/*")]:
        whole = path.read_bytes()
        path.write_bytes(whole[:-20])
        try:
            expect_same(models.load(tmp_path / "run", older), newer)  # not every file holds weights
        except ValueError as error:
            refused += 1
            assert re.search(r"got .*run, a checkpoint folder that is broken .*; name an earlier step", str(error))
            assert str(error).isprintable()
        path.write_bytes(whole)
    assert refused >= 2


def test_without_torch_the_line_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    for write, kind in ((crafted.torch_zip, "a PyTorch checkpoint"), (crafted.torch_legacy, "a legacy PyTorch checkpoint")):
        tensors = crafted.state(LINEAR, legacy=write is crafted.torch_legacy)
        write(tmp_path / "a.pth", crafted.named(tensors), crafted.blocks(LINEAR))
        with pytest.raises(
            ValueError, match=rf"a\.pth, {kind}, and PyTorch, .* is not installed; write pip install \"jaxinterp\[torch\]\""
        ):
            load_into(tmp_path / "a.pth", tree_of(LINEAR), {})


def test_an_old_torch_is_not_trusted(tmp_path, monkeypatch):
    class Old:
        __version__ = "2.9.1+cpu"

    monkeypatch.setitem(sys.modules, "torch", Old)
    crafted.torch_zip(tmp_path / "a.pth", crafted.named(crafted.state(LINEAR)), crafted.blocks(LINEAR))
    with pytest.raises(
        ValueError, match=r'PyTorch 2\.9\.1\+cpu can be made to run code .*; write pip install -U "torch>=2\.10"'
    ):
        load_into(tmp_path / "a.pth", tree_of(LINEAR), {})


@needs_data
@pytest.mark.parametrize("file", ["cifar10/resnet20.th", "cifar10_robust/resnet2b_advtrained.pth"])
def test_the_table_of_real_checkpoints_without_torch(file, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    seen = {}

    def select(entries):
        seen.update(entries)
        return []

    with pytest.raises(ValueError, match="is not installed"):
        read_state(WEIGHTS / file, select=select)
    known = read_state((WEIGHTS / file).with_suffix(".npz"))
    found = {name: (entry.shape, entry.dtype) for name, entry in seen.items() if not name.endswith("num_batches_tracked")}
    assert found == {name: (array.shape, array.dtype.name) for name, array in known.items()}


@needs_data
@pytest.mark.parametrize("file", ["cifar10/resnet20.th", "cifar10_robust/resnet2b_advtrained.pth"])
def test_real_checkpoints_agree_with_their_arrays(file):
    pytest.importorskip("torch")
    state, known = read_state(WEIGHTS / file), read_state((WEIGHTS / file).with_suffix(".npz"))
    state = {name: array for name, array in state.items() if not name.endswith("num_batches_tracked")}
    assert sorted(state) == sorted(known)
    for name, array in known.items():
        np.testing.assert_array_equal(state[name], array)
        assert state[name].dtype == array.dtype


@needs_data
def test_a_real_checkpoint_of_a_hundred_layers():
    pytest.importorskip("torch")
    state = read_state(WEIGHTS / "cifar10" / "resnet56.th")
    assert state["conv1.weight"].shape == (16, 3, 3, 3) and state["linear.weight"].shape == (10, 64)
    assert sum(name.endswith("conv2.weight") for name in state) == 27


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "model_state_dict", "net"])
def test_what_torch_saves(wrapper, legacy, tmp_path):
    torch = pytest.importorskip("torch")
    model = resnet()
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    optimizer = torch.optim.AdamW(module.parameters())
    module(torch.zeros(1, 3, 8, 8)).sum().backward()
    optimizer.step()
    state = {f"module.{name}": torch.from_numpy(array.copy()) for name, array in state_of(model).items()}
    state["module.bn1.num_batches_tracked"] = torch.tensor(7)
    state["module.fc.bias"] = torch.nn.Parameter(state["module.fc.bias"].double())
    saved = state
    if wrapper is not None:
        step = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5]).state_dict()
        saved = {wrapper: state, "optimizer": optimizer.state_dict(), "scheduler": step, "epoch": torch.tensor(3), "best": 0.5}
    torch.save(saved, tmp_path / "a.pth", _use_new_zipfile_serialization=not legacy)
    expect_same(models.load(tmp_path / "a.pth", model), model)


def test_torch_state_dicts_with_metadata_views_and_small_types(tmp_path):
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Linear(2, 3))
    base = torch.arange(12.0).reshape(2, 6)
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        state = module.state_dict()
        state["0.weight"] = base.to(dtype).t()[1:4]
        torch.save(state, tmp_path / "a.pth")
        params, _ = load_into(tmp_path / "a.pth", {"0": tree_of(LINEAR)["fc"]}, {})
        np.testing.assert_array_equal(params["0"]["kernel"], base[:, 1:4])
        np.testing.assert_array_equal(params["0"]["bias"], module[0].bias.detach())


def test_crafted_files_are_torchs(tmp_path):
    torch = pytest.importorskip("torch")
    for write in (crafted.torch_zip, crafted.torch_legacy):
        tensors = crafted.state(LINEAR, legacy=write is crafted.torch_legacy)
        write(tmp_path / "a.pth", crafted.named(tensors), crafted.blocks(LINEAR))
        state = torch.load(tmp_path / "a.pth", weights_only=True)
        for name, array in LINEAR.items():
            np.testing.assert_array_equal(state[name], array)
