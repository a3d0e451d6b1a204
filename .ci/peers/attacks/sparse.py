"""Sparse adversarial images of torchattacks on the toys, in float64: the fixture of tests/attacks/test_sparse_parity.py.

PYTHONPATH=.:.ci/peers JAX_PLATFORMS=cpu python .ci/peers/attacks/sparse.py
"""

import numpy as np
import packages  # noqa: F401  torchvision has to import first
import torch
import torchattacks
import toys

SEEDS = 6


def linear(scale: float) -> tuple[torch.nn.Module, torch.Tensor]:
    """The linear toy, and images that no step takes out of [0, 1] but at its end."""
    model = toys.ours.linear_model(dtype=np.float64, scale=scale)
    network = toys.Linear({name: np.asarray(value) for name, value in model.params.items()}).eval()
    images = torch.tensor(np.asarray(toys.ours.make_batch(8, dtype=np.float64).image)).permute(0, 3, 1, 2).contiguous()
    return network, 0.4 + 0.2 * images


def jsma(scale: float) -> np.ndarray:
    """Driven to the third likeliest class."""
    network, images = linear(scale)
    target = network(images).argsort(1, descending=True)[:, 2]
    attack = torchattacks.JSMA(network, theta=1.0, gamma=0.25)
    attack.set_mode_targeted_by_label(quiet=True)
    return toys.channels_last(attack(images, target))


def one_pixel() -> np.ndarray:
    """Whether each image errs after at most 11 populations of 40, for each seed."""
    network, images = linear(0.07)
    label, found = network(images).argmax(1), []
    for seed in range(SEEDS):
        np.random.seed(seed)  # noqa: NPY002  their evolution draws from the global generator
        attack = torchattacks.OnePixel(network, pixels=1, steps=10, popsize=40)
        found.append(network(attack.forward(images, label)).argmax(1) != label)
    return torch.stack(found).numpy()


if __name__ == "__main__":
    arrays = {"jsma": jsma(0.2), "jsma_flat": jsma(0.0), "one_pixel": one_pixel()}
    np.savez_compressed(toys.FIXTURES / "sparse.npz", **arrays)
    print({name: (value.shape, float(value.mean())) for name, value in arrays.items()})
