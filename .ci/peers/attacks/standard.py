"""AutoAttack itself on the adversarially trained CIFAR-10 networks: what `pipelines.standard_evaluation` is compared with.

    PYTHONPATH=.ci/peers python .ci/peers/attacks/standard.py --autoattack CHECKOUT --weights FOLDER --images FOLDER OUT.npz

AutoAttack is no package of the index: CHECKOUT is a clone of github.com/fra31/auto-attack. The two folders are those of
configs/cifar_robust.py. Written are, for each network, which images are classified correctly and which of them stay so after
each of the four attacks.
"""

import argparse
import pathlib
import sys
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional

MEAN = torch.tensor([0.4914, 0.4822, 0.4465])[:, None, None]
STD = torch.tensor([0.2471, 0.2435, 0.2616])[:, None, None]
NAMES = ("cnn_a", "resnet2b", "resnet4b")


class RobustNet(nn.Module):
    """The networks of configs/cifar_robust.py on a state dict; images in [0, 1]."""

    def __init__(self, file: pathlib.Path) -> None:
        super().__init__()
        with np.load(file) as state:
            self.state = {name.replace("/", "."): torch.from_numpy(value) for name, value in state.items()}
        self.blocks = sorted({name.rpartition(".conv1.")[0] for name in self.state if ".conv1." in name})
        plain = "0.weight" in self.state
        self.convolutions = (("0", 2), ("2", 2)) if plain else (("conv1", 2),)
        self.dense = ("5", "7") if plain else ("linear1", "linear2")

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits."""
        value = (images - MEAN) / STD
        for name, stride in self.convolutions:
            value = functional.relu(self._convolve(name, value, stride, 1))
        for block in self.blocks:
            stride = 2 if f"{block}.shortcut.0.weight" in self.state else 1
            inner = functional.relu(self._convolve(f"{block}.conv1", value, stride, 1))
            inner = self._convolve(f"{block}.conv2", inner, 1, 1)
            value = self._convolve(f"{block}.shortcut.0", value, stride, 0) if stride == 2 else value
            value = functional.relu(inner + value)
        value = functional.relu(self._linear(self.dense[0], value.flatten(1)))
        return self._linear(self.dense[1], value)

    def _convolve(self, name: str, value: torch.Tensor, stride: int, padding: int) -> torch.Tensor:
        return functional.conv2d(value, self.state[f"{name}.weight"], self.state[f"{name}.bias"], stride, padding)

    def _linear(self, name: str, value: torch.Tensor) -> torch.Tensor:
        return functional.linear(value, self.state[f"{name}.weight"], self.state[f"{name}.bias"])


def main() -> None:
    """Runs the standard version, attack after attack on what the one before left, and writes what stayed robust."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--autoattack", required=True)
    parser.add_argument("--weights", type=pathlib.Path, required=True)
    parser.add_argument("--images", type=pathlib.Path, required=True)
    parser.add_argument("--epsilon", type=float, default=2 / 255)
    parser.add_argument("--norm", choices=["Linf", "L2"], default="Linf")
    parser.add_argument("--networks", nargs="+", choices=NAMES, default=NAMES)
    known = parser.parse_args()
    sys.path.insert(0, known.autoattack)
    from autoattack import AutoAttack

    pictures = np.load(known.images / "X_sdp.npy").transpose(0, 3, 1, 2)
    images = torch.from_numpy(np.ascontiguousarray(pictures, np.float32))
    labels = torch.from_numpy(np.load(known.images / "y_sdp.npy").astype(np.int64))
    found = {}
    for name in known.networks:
        network, robust = RobustNet(known.weights / f"{name}_advtrained.npz"), {}
        with torch.no_grad():
            correct = network(images).argmax(1) == labels
        robust["clean"], current = correct.clone(), images.clone()
        for attack in ("apgd-ce", "apgd-t", "fab-t", "square"):
            start, left = time.perf_counter(), robust[list(robust)[-1]].clone()
            runner = AutoAttack(
                network,
                norm=known.norm,
                eps=known.epsilon,
                version="custom",
                attacks_to_run=[attack],
                device="cpu",
                verbose=False,
            )
            if attack in ("apgd-t", "fab-t"):
                runner.apgd_targeted.n_target_classes = runner.fab.n_target_classes = 9
            runner.apgd.n_restarts = runner.apgd_targeted.n_restarts = runner.fab.n_restarts = 1
            current[left] = runner.run_standard_evaluation(images[left], labels[left], bs=100)
            with torch.no_grad():
                left &= network(current).argmax(1) == labels
            robust[attack] = left
            print(f"{name} {attack}: {left.float().mean():.3f} in {time.perf_counter() - start:.0f} s", flush=True)
        found |= {f"{name}/{attack}": mask.numpy() for attack, mask in robust.items()}
    np.savez(known.out, **found)


if __name__ == "__main__":
    main()
