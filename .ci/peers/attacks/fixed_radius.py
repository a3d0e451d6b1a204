"""Peers at a fixed radius on the toy, in float64: the fixture of tests/attacks/test_fixed_radius_parity.py.

    PYTHONPATH=.:.ci/peers JAX_PLATFORMS=cpu python .ci/peers/attacks/fixed_radius.py

Every attack runs on the convolutional toy of `toys.py`: 4 images, labels that it predicts, targets the third likeliest classes.
Written are perturbations `[n h w c]`, adversarial minus clean, rounded to 12 decimals; and, as arrays, the settings.

Where the peers leave the papers:

- torchattacks divides gradients by the mean of their absolute values, as the authors' codes do, the papers by the sum. Momentum
  is then larger by the number of values of an image, which changes no sign of MI-FGSM, but the point that NI-FGSM, SI-NI-FGSM
  and VNI-FGSM look ahead to: `x + decay step_size g` lies so many times further away than in the papers.
- torchattacks SI-NI-FGSM divides images of [0, 1], which go to black; the authors' code those of [-1, 1], which go to grey. The
  gradient is that of the undivided image in both.
- torchattacks VNI-FGSM, like the authors' code, draws neighbours of the iterate, but subtracts the gradient at the point ahead.
- torchattacks VMI-FGSM and VNI-FGSM neighbours are not cut off at [0, 1], as in the paper.
- torchattacks TI-FGSM smooths by kernels of float32; here by the same kernels of float64.
- torchattacks DI-FGSM and TI-FGSM draw one size and place for the whole batch, resize inside the image, and never draw the
  largest size nor the last place; here with probability 0, and the transform alone with its draws.
- torchattacks PGD-L2 adds 1e-10 to norms.
- foolbox MI-FGSM takes the sign before the momentum.
- foolbox L1 PGD steps along the gradient over its L1 norm, and scales back to the ball. Its sparse L1 descent steps along signs
  of the largest entries; its projection takes the threshold one entry too far down the sorted list, and leaves the ball.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import eagerpy
import foolbox
import numpy as np
import packages  # noqa: F401  torchvision has to import first
import torch
import torchattacks
import toys

EPSILON, STEP_SIZE, NUM_STEPS, DECAY = 16 / 255, 4 / 255, 6, 0.9
L2 = {"epsilon": 0.6, "step_size": 0.2}
L1 = {"epsilon": 1.0, "step_size": 0.3}
COPIES, NEIGHBOURS, RADIUS, KERNEL = 3, 2, 1.5, 5
GRID = 100
"""Noise of the neighbours is a multiple of 1/GRID of their radius, so that it is stored in a byte."""

NETWORK, CLEAN, LABEL, TARGET = toys.conv()
INNER = 0.4 + 0.2 * CLEAN


def change(adversarial: torch.Tensor, clean: torch.Tensor = CLEAN) -> np.ndarray:
    return np.round(toys.channels_last(adversarial - clean), 12) + 0.0


def of_torchattacks(name: str, *, aimed: bool = False, **knobs: Any) -> np.ndarray:
    settings = {"eps": EPSILON, "alpha": STEP_SIZE, "steps": NUM_STEPS} | knobs
    attack = getattr(torchattacks, name)(NETWORK, **{k: v for k, v in settings.items() if v is not None})
    if aimed:
        attack.set_mode_targeted_by_label(quiet=True)
    if name == "TIFGSM":
        kernels = {"gaussian": attack.gkern(KERNEL, 3), "uniform": attack.ukern(KERNEL), "linear": attack.lkern(KERNEL)}
        attack.stacked_kernel = torch.tensor(kernels[attack.kernel_name]).expand(3, 1, KERNEL, KERNEL)
    return change(attack(CLEAN, TARGET if aimed else LABEL))


def of_foolbox(attack: Any, epsilon: float, *, clean: torch.Tensor = CLEAN, aimed: bool = False) -> np.ndarray:
    goal = foolbox.criteria.TargetedMisclassification(TARGET) if aimed else foolbox.criteria.Misclassification(LABEL)
    model = foolbox.PyTorchModel(NETWORK, bounds=(0, 1), device="cpu")
    return change(eagerpy.astensor(attack.run(model, clean, goal, epsilon=epsilon)).raw, clean)


@contextlib.contextmanager
def drawn(noise: list[np.ndarray]) -> Iterator[None]:
    """Lets `Tensor.uniform_` draw on a grid, and collects what it drew as `[n h w c]` int8."""
    rng, original = np.random.default_rng(0), torch.Tensor.uniform_

    def uniform(tensor: torch.Tensor, low: float, high: float) -> torch.Tensor:
        noise.append(rng.integers(-GRID, GRID + 1, size=toys.channels_last(tensor).shape, dtype=np.int8))
        return tensor.copy_(torch.tensor(noise[-1] / GRID * high).permute(0, 3, 1, 2))

    torch.Tensor.uniform_ = uniform
    yield
    torch.Tensor.uniform_ = original


def transforms() -> dict[str, np.ndarray]:
    """The images after the random resizing of DI-FGSM, and its draws: side, rows above, columns to the left."""
    attack = torchattacks.DIFGSM(NETWORK, resize_rate=0.5, diversity_prob=1.0)
    original, places = torch.randint, []

    def randint(*arguments: Any, **knobs: Any) -> torch.Tensor:
        places.append(int(original(*arguments, **knobs)))
        return torch.tensor([places[-1]], dtype=torch.int32)

    torch.manual_seed(3)
    torch.randint = randint
    images = [toys.channels_last(attack.input_diversity(CLEAN[:1]))[0] for _ in range(6)]
    torch.randint = original
    return {"di_images": np.stack(images), "di_draws": np.array(places).reshape(6, 3)}


def main() -> None:
    arrays: dict[str, Any] = {"epsilon": EPSILON, "step_size": STEP_SIZE, "num_steps": NUM_STEPS, "decay": DECAY}
    arrays |= {"l2": list(L2.values()), "l1": list(L1.values()), "copies": COPIES, "neighbours": NEIGHBOURS, "radius": RADIUS}
    for word, aimed in (("", False), ("_target", True)):
        arrays[f"fgsm{word}"] = of_torchattacks("FGSM", alpha=None, steps=None, aimed=aimed)
        arrays[f"bim{word}"] = of_torchattacks("BIM", aimed=aimed)
        arrays[f"mi_fgsm{word}"] = of_torchattacks("MIFGSM", decay=DECAY, aimed=aimed)
        arrays[f"ni_fgsm{word}"] = of_torchattacks("NIFGSM", decay=DECAY, aimed=aimed)
    arrays["pgd"] = of_torchattacks("PGD", random_start=False)
    euclidean = {"eps": L2["epsilon"], "alpha": L2["step_size"], "random_start": False}
    arrays["pgd_l2"] = of_torchattacks("PGDL2", **euclidean)
    arrays["pgd_l2_target"] = of_torchattacks("PGDL2", **euclidean, aimed=True)
    arrays["si_ni_fgsm"] = of_torchattacks("SINIFGSM", decay=DECAY, m=COPIES)
    arrays["di_fgsm"] = of_torchattacks("DIFGSM", decay=DECAY, diversity_prob=0.0)
    for kernel in ("gaussian", "uniform", "linear"):
        arrays[f"ti_fgsm_{kernel}"] = of_torchattacks(
            "TIFGSM", decay=DECAY, diversity_prob=0.0, kernel_name=kernel, len_kernel=KERNEL
        )
    kernels = torchattacks.TIFGSM(NETWORK, len_kernel=KERNEL)
    arrays |= {"kernel_gaussian": kernels.gkern(KERNEL, 3), "kernel_linear": kernels.lkern(KERNEL)}
    arrays["kernel_uniform"] = kernels.ukern(KERNEL)
    for name in ("vmi_fgsm", "vni_fgsm"):
        noise: list[np.ndarray] = []
        with drawn(noise):
            arrays[name] = of_torchattacks(name.replace("_", "").upper(), decay=DECAY, N=NEIGHBOURS, beta=RADIUS)
        arrays[f"{name}_noise"] = np.stack(noise).reshape(NUM_STEPS, NEIGHBOURS, *noise[0].shape)

    plain = {"steps": NUM_STEPS, "random_start": False}
    fb, steps = foolbox.attacks, {"abs_stepsize": L2["step_size"], **plain}
    arrays["foolbox_pgd"] = of_foolbox(fb.LinfProjectedGradientDescentAttack(abs_stepsize=STEP_SIZE, **plain), EPSILON)
    arrays["foolbox_pgd_l2"] = of_foolbox(fb.L2ProjectedGradientDescentAttack(**steps), L2["epsilon"])
    arrays["foolbox_pgd_l2_target"] = of_foolbox(fb.L2ProjectedGradientDescentAttack(**steps), L2["epsilon"], aimed=True)
    arrays["foolbox_fgm_l2"] = of_foolbox(fb.L2FastGradientAttack(), L2["epsilon"])
    momentum = fb.LinfMomentumIterativeFastGradientMethod(abs_stepsize=STEP_SIZE, momentum=DECAY, **plain)
    arrays["foolbox_mi_fgsm"] = of_foolbox(momentum, EPSILON)
    sparse = fb.SparseL1DescentAttack(abs_stepsize=L1["step_size"], **plain)
    arrays["foolbox_pgd_l1"] = of_foolbox(
        fb.L1ProjectedGradientDescentAttack(abs_stepsize=L1["step_size"], **plain), L1["epsilon"], clean=INNER
    )
    arrays["foolbox_sparse_l1"] = of_foolbox(sparse, L1["epsilon"], clean=INNER)
    arrays |= transforms()
    path = toys.FIXTURES / "fixed_radius.npz"
    np.savez_compressed(path, **{name: np.asarray(value) for name, value in arrays.items()})
    print(path, path.stat().st_size, {name: np.shape(value) for name, value in arrays.items()})


if __name__ == "__main__":
    main()
