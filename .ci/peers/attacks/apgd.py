"""Auto-PGD of AutoAttack on the convolutional toy: writes `tests/attacks/parity/apgd.npz`.

    PYTHONPATH=.:.ci/peers:.ci/peers/attacks:AUTOATTACK JAX_PLATFORMS=cpu python .ci/peers/attacks/apgd.py

AUTOATTACK is a checkout of https://github.com/fra31/auto-attack.
"""

import pathlib

import jax
import numpy as np
import torch
from autoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from torch_toys import conv

from tests.attacks.apgd_runs import NUM_STEPS, RUNS, example, start

NORMS = {"linf": "Linf", "l2": "L2"}


def main() -> None:
    torch.set_default_dtype(torch.float64)
    jax.config.update("jax_enable_x64", True)
    network, batch = example()
    clean, label, target = (torch.from_numpy(np.array(a)) for a in (batch.image, batch.label, batch.target))
    clean, label, target = clean.permute(0, 3, 1, 2).contiguous(), label.long(), target.long()
    arrays: dict[str, np.ndarray] = {}
    for name, (norm, epsilon, loss) in RUNS.items():
        knobs = {"n_iter": NUM_STEPS, "norm": NORMS[norm], "eps": epsilon, "device": "cpu"}
        aimed = loss == "dlr-targeted"
        attack = APGDAttack_targeted(conv(network), **knobs) if aimed else APGDAttack(conv(network), loss=loss, **knobs)
        attack.y_target = target
        attack.init_hyperparam(clean)
        first = torch.from_numpy(start(batch, norm, epsilon).transpose(0, 3, 1, 2).copy())
        best, accurate, best_loss, found = attack.attack_single_run(clean, label, x_init=first)
        arrays[f"{name}_best"] = best.detach().permute(0, 2, 3, 1).numpy()
        arrays[f"{name}_found"] = found.detach().permute(0, 2, 3, 1).numpy()
        arrays[f"{name}_accurate"], arrays[f"{name}_loss"] = accurate.numpy(), best_loss.numpy()
    path = pathlib.Path("tests/attacks/parity/apgd.npz")
    np.savez_compressed(path, **arrays)
    print(path, path.stat().st_size, {k: v for k, v in arrays.items() if k.endswith("accurate")})


main()
