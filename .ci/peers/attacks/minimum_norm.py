"""Adversarial images that peers find on the toys, in float64: the fixture of tests/attacks/test_minimum_norm_parity.py.

PYTHONPATH=.:.ci/peers JAX_PLATFORMS=cpu python .ci/peers/attacks/minimum_norm.py PATH_OF_AUTOATTACK
"""

import sys

import eagerpy
import foolbox
import numpy as np
import packages  # noqa: F401  torchvision has to import first
import torch
import torchattacks
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


def deepfool(num_steps: int) -> np.ndarray:
    network, images, _, _ = toys.conv()
    attack = torchattacks.DeepFool(network, steps=num_steps)
    return toys.channels_last(attack.forward(0.4 + 0.2 * images, network(0.4 + 0.2 * images).argmax(1)))


def of_foolbox(attack: foolbox.attacks.base.MinimizationAttack, *, aimed: bool = False) -> np.ndarray:
    network, images, label, target = toys.conv()
    goal = foolbox.criteria.TargetedMisclassification(target) if aimed else foolbox.criteria.Misclassification(label)
    model = foolbox.PyTorchModel(network, bounds=(0, 1), device="cpu")
    return toys.channels_last(eagerpy.astensor(attack.run(model, images, goal)).raw)


if __name__ == "__main__":
    arrays = {}
    for norm in ("Linf", "L2", "L1"):
        arrays[f"fab_{norm.lower()}"] = fab(norm, towards_target=False, num_steps=10)
        arrays[f"fab_{norm.lower()}_target"] = fab(norm, towards_target=True, num_steps=10)
    arrays["deepfool"] = deepfool(20)
    search = {"binary_search_steps": 3, "steps": 20, "initial_const": 0.125, "abort_early": False}
    for word, aimed in (("", False), ("_target", True)):
        arrays["ddn" + word] = of_foolbox(foolbox.attacks.DDNAttack(steps=20), aimed=aimed)
        carlini_wagner = foolbox.attacks.L2CarliniWagnerAttack(stepsize=0.1, **search)
        arrays["carlini_wagner" + word] = of_foolbox(carlini_wagner, aimed=aimed)
    arrays["fmn_linf"] = of_foolbox(foolbox.attacks.LInfFMNAttack(steps=20))
    arrays["fmn_l1"] = of_foolbox(foolbox.attacks.L1FMNAttack(steps=20))
    arrays["fmn_l2"] = of_foolbox(foolbox.attacks.L2FMNAttack(steps=20))
    for rule in ("L1", "EN"):
        arrays["ead_" + rule.lower()] = of_foolbox(foolbox.attacks.EADAttack(decision_rule=rule, **search))
    np.savez_compressed(toys.FIXTURES / "minimum_norm.npz", **arrays)
