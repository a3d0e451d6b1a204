"""The toys of the tests in PyTorch, with the same weights, for attacks of peers to run on in float64."""

import importlib
import pathlib
import sys

import numpy as np
import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3]))

jax = importlib.import_module("jax")
jax.config.update("jax_enable_x64", True)
ours = importlib.import_module("tests.attacks.toys")
torch.set_default_dtype(torch.float64)
FIXTURES = pathlib.Path(__file__).resolve().parents[3] / "tests" / "attacks" / "parity"


class Conv(torch.nn.Module):
    """Two convolutions, global average pooling, a linear classifier."""

    def __init__(self, params: dict[str, np.ndarray]) -> None:
        super().__init__()
        self.conv1, self.conv2 = (
            torch.nn.Parameter(torch.tensor(params[name]).permute(3, 2, 0, 1)) for name in ("conv1", "conv2")
        )
        self.head = torch.nn.Parameter(torch.tensor(params["head"]))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = (images - 0.5) / 0.25
        for weight in (self.conv1, self.conv2):
            x = torch.relu(torch.nn.functional.conv2d(x, weight, padding=1))
        return x.mean((2, 3)) @ self.head


class Linear(torch.nn.Module):
    """One matrix, on images flattened as `[h w c]`."""

    def __init__(self, params: dict[str, np.ndarray]) -> None:
        super().__init__()
        self.weight, self.bias = (torch.nn.Parameter(torch.tensor(params[name])) for name in ("weight", "bias"))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.permute(0, 2, 3, 1).reshape(len(images), -1) @ self.weight + self.bias


def conv() -> tuple[torch.nn.Module, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The convolutional toy, sharper than in the laws, with images `[n c h w]`, the labels it predicts, and targets."""
    model = ours.conv_model(dtype=np.float64, scale=1.5)
    batch = ours.make_batch(4, dtype=np.float64)
    network = Conv({name: np.asarray(value) for name, value in model.params.items()}).eval()
    images = torch.tensor(np.asarray(batch.image)).permute(0, 3, 1, 2).contiguous()
    logits = network(images).detach()
    return network, images, logits.argmax(1), logits.argsort(1, descending=True)[:, 2]


def channels_last(images: torch.Tensor) -> np.ndarray:
    return images.detach().permute(0, 2, 3, 1).numpy()
