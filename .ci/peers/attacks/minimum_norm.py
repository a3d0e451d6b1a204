"""Adversarial images that peers find on the toys, in float64: the fixture of tests/attacks/test_minimum_norm_parity.py.

PYTHONPATH=.:.ci/peers JAX_PLATFORMS=cpu python .ci/peers/attacks/minimum_norm.py PATH_OF_AUTOATTACK
"""

import sys

import numpy as np
import packages  # noqa: F401  torchvision has to import first
import torch
import toys

sys.path.insert(0, sys.argv[1])

from autoattack.fab_pt import FABAttack_PT

# The reference casts images to float32, which is not what is compared here.
torch.Tensor.float = torch.Tensor.double


def fab(norm: str, *, towards_target: bool, num_steps: int) -> np.ndarray:
    network, images, label, target = toys.conv()
    attack = FABAttack_PT(network, norm=norm, n_iter=num_steps, targeted=towards_target, device="cpu")
    if towards_target:
        attack.target_class = 3
    assert torch.equal(target, network(images).argsort(1)[:, -3])
    return toys.channels_last(attack.attack_single_run(images, label, is_targeted=towards_target))


if __name__ == "__main__":
    arrays = {}
    for norm in ("Linf", "L2", "L1"):
        arrays[f"fab_{norm.lower()}"] = fab(norm, towards_target=False, num_steps=10)
        arrays[f"fab_{norm.lower()}_target"] = fab(norm, towards_target=True, num_steps=10)
    np.savez_compressed(toys.FIXTURES / "minimum_norm.npz", **arrays)
