"""What peers find on the toys by queries alone: the fixture of tests/attacks/test_queries_parity.py.

PYTHONPATH=.:.ci/peers JAX_PLATFORMS=cpu python .ci/peers/attacks/queries.py PATH_OF_AUTOATTACK
"""

import sys
from collections.abc import Callable

import foolbox
import numpy as np
import packages  # noqa: F401  torchvision has to import first
import torch
import toys
from torch import Tensor

sys.path.insert(0, sys.argv[1])

from autoattack.square import SquareAttack

EPSILON, SQUARE_QUERIES, SEEDS, BUDGETS = 32 / 255, 60, 6, (500, 2000)


def square() -> tuple[np.ndarray, np.ndarray]:
    """Success and queries of each of 16 images for each seed; their count leaves out the clean image."""
    model = toys.ours.conv_model(dtype=np.float64, scale=1.5)
    network = toys.Conv({name: np.asarray(value) for name, value in model.params.items()}).eval()
    images = torch.tensor(np.asarray(toys.ours.make_batch(16, dtype=np.float64).image)).permute(0, 3, 1, 2).contiguous()
    label = network(images).argmax(1)
    success, queries = [], []
    for seed in range(SEEDS):
        torch.manual_seed(seed)
        attack = SquareAttack(network, eps=EPSILON, n_queries=SQUARE_QUERIES - 2, norm="Linf", seed=seed, device="cpu")
        attack.init_hyperparam(images)
        spent, adversarial = attack.attack_single_run(images, label)
        success.append(network(adversarial).argmax(1) != label)
        queries.append(spent)
    return torch.stack(success).numpy(), torch.stack(queries).numpy()


class Spent(Exception):
    """The budget is used up."""


class Judge(torch.nn.Module):
    """The linear toy of images that are nearly undecided; keeps the distance of the nearest error asked for, at each budget."""

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        model = toys.ours.centred_linear_model(dtype=np.float64)
        self.network = toys.Linear({name: np.asarray(value) for name, value in model.params.items()})
        self.clean, self.label = images, self.network(images).argmax(1).detach()
        self.asked, self.nearest = 0, torch.full((len(images),), float("inf"))
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        logits = self.network(images).detach()
        distance = (images - self.clean).flatten(1).norm(dim=1)
        self.nearest = torch.where((logits.argmax(1) != self.label) & (distance < self.nearest), distance, self.nearest)
        self.asked += 1
        if self.asked in BUDGETS:
            self.seen.append(self.nearest)
        if self.asked == BUDGETS[-1]:
            raise Spent
        return logits


def nearest(build: Callable[[], foolbox.attacks.base.MinimizationAttack], images: Tensor) -> np.ndarray:
    """Distances `[budgets images]` at exactly so many queries, whatever the attack has in hand then."""
    judge = Judge(images).eval()
    try:
        build().run(foolbox.PyTorchModel(judge, bounds=(0, 1), device="cpu"), images, foolbox.Misclassification(judge.label))
    except Spent:
        return torch.stack(judge.seen).numpy()
    raise SystemExit(f"expected {BUDGETS[-1]} queries, got {judge.asked}; write more steps.")


if __name__ == "__main__":
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002  theirs draw from the global generators
    batch = toys.ours.make_batch(8, dtype=np.float64)
    images = torch.tensor(0.4 + 0.2 * np.asarray(batch.image)).permute(0, 3, 1, 2).contiguous()
    arrays = {}
    arrays["square_success"], arrays["square_queries"] = square()
    one_by_one = [images[i : i + 1] for i in range(len(images))]
    for name, build in (("boundary", foolbox.attacks.BoundaryAttack), ("hop_skip_jump", foolbox.attacks.HopSkipJumpAttack)):
        arrays[name] = np.concatenate([nearest(build, image) for image in one_by_one], axis=1)
        arrays[f"{name}_batch"] = nearest(build, images)
    np.savez_compressed(toys.FIXTURES / "queries.npz", **arrays)
    for name, value in arrays.items():
        print(name, value.shape, np.round(np.median(value, axis=-1), 3) if value.ndim == 2 else "", value.mean())
