"""The ResNets for CIFAR-10 (He et al. 2016, section 4.2) under the names of akamaster/pytorch_resnet_cifar10, in PyTorch."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """Two convolutions and a shortcut without weights (option A)."""

    def __init__(self, inputs: int, units: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, units, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(units)
        self.conv2 = nn.Conv2d(units, units, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(units)
        self.shortcut = Shortcut(units - inputs, stride)

    def forward(self, maps: Tensor) -> Tensor:
        """What the two convolutions make of the maps, plus the shortcut, rectified."""
        inner = F.relu(self.bn1(self.conv1(maps)))
        return F.relu(self.bn2(self.conv2(inner)) + self.shortcut(maps))


class Shortcut(nn.Module):
    """Every `stride`-th position; the new channels are zeros, half of them before and half behind the old ones."""

    def __init__(self, fresh: int, stride: int) -> None:
        super().__init__()
        self.fresh, self.stride = fresh, stride

    def forward(self, maps: Tensor) -> Tensor:
        """The maps in the shape that the block puts out."""
        low = self.fresh // 2
        return F.pad(maps[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, low, self.fresh - low))


class CifarResNet(nn.Module):
    """One convolution, three stages of `blocks` blocks each, an average and a linear layer: 6 * blocks + 2 layers deep."""

    def __init__(self, blocks: int, *, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._stage(blocks, 16, 16, 1)
        self.layer2 = self._stage(blocks, 16, 32, 2)
        self.layer3 = self._stage(blocks, 32, 64, 2)
        self.linear = nn.Linear(64, num_classes)

    @staticmethod
    def _stage(blocks: int, inputs: int, units: int, stride: int) -> nn.Sequential:
        return nn.Sequential(*(Block(units if i else inputs, units, 1 if i else stride) for i in range(blocks)))

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        maps = F.relu(self.bn1(self.conv1(images)))
        maps = self.layer3(self.layer2(self.layer1(maps)))
        return self.linear(torch.mean(maps, dim=(2, 3)))
