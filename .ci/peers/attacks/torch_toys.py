"""The convolutional and the linear toy of `tests/attacks/toys.py` in PyTorch, images `[n c h w]`."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


class Toy(nn.Module):
    """A function as a module, since the attacks ask for one."""

    def __init__(self, function: Callable[[Tensor], Tensor], weight: Tensor) -> None:
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(weight)  # some attacks ask the parameters where they lie

    def forward(self, images: Tensor) -> Tensor:
        return self.function(images)


def conv(model: Any) -> Toy:
    """The convolutional toy of the same weights."""
    head = torch.from_numpy(np.array(model.params["head"]))
    kernels = [torch.from_numpy(np.array(model.params[name]).transpose(3, 2, 0, 1).copy()) for name in ("conv1", "conv2")]

    def logits(images: Tensor) -> Tensor:
        x = (images - 0.5) / 0.25
        for kernel in kernels:
            x = nn.functional.relu(nn.functional.conv2d(x, kernel, padding=1))
        return x.mean(dim=(2, 3)) @ head

    return Toy(logits, head)


def linear(model: Any) -> Toy:
    """The linear toy of the same weights."""
    weight, bias = (torch.from_numpy(np.array(model.params[name])) for name in ("weight", "bias"))
    return Toy(lambda images: images.permute(0, 2, 3, 1).reshape(len(images), -1) @ weight + bias, weight)
