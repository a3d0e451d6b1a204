"""The same attacks by torchattacks, foolbox and AutoAttack, on PyTorch networks of the same weights.

Wants their packages beside jaxinterp, and the folder .ci/peers for the networks. Normalisation is inside the modules.
"""

import importlib
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import _rows
import numpy as np
from _workload import NETWORKS, Form, Made, Workload

PACKAGES = {"torchattacks": ("torchattacks", "torch"), "foolbox": ("foolbox", "torch"), "autoattack": ("torch",)}


def torch_module(name: str, model: Any, *, asked: Callable[[int], None] = lambda images: None) -> Any:
    """PyTorch's network of that name with the model's weights, on images in [0, 1]; tells `asked` of how many it is asked."""
    sys.path[:0] = [str(_rows.ROOT / ".ci" / "peers")]
    torch, network = importlib.import_module("torch"), importlib.import_module("networks").PEERS[name].build()
    from safetensors.torch import load_file

    from jaxinterp import models

    with tempfile.TemporaryDirectory() as folder:
        models.export(model, f"{folder}/weights.safetensors")
        network.load_state_dict(load_file(f"{folder}/weights.safetensors"), strict=True)
    mean, std = (torch.tensor(value)[:, None, None] for value in (model.network.mean, model.network.std))

    class Normalised(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, images: Any) -> Any:
            asked(len(images))
            return self.network((images - mean) / std)

    return Normalised().eval()


class Peer:
    """One package, its attacks by our names.

    Attributes:
        offered: attacks that it has.
        asked: images that its networks were asked about so far.
        versions: of the packages.
    """

    def __init__(self, package: str, name: str, load: Workload, *, checkout: str | None) -> None:
        sys.path[:0] = [checkout] if checkout else []
        self.torch = importlib.import_module("torch")
        self.torch.set_num_threads(_rows.cores())
        self.asked = 0
        self.modules = [
            torch_module(member, model, asked=self._count) for member, model in zip(NETWORKS[name], load.networks, strict=True)
        ]
        self.package = importlib.import_module(package)
        self.attacks = {"torchattacks": self._torchattacks, "foolbox": self._foolbox, "autoattack": self._autoattack}[package]()
        self.clean = self._tensor(np.asarray(load.batch.image).transpose(0, 3, 1, 2))
        self.label, self.target = (self._tensor(np.asarray(a)).long() for a in (load.batch.label, load.batch.target))
        self.versions = {each: str(importlib.import_module(each).__version__) for each in PACKAGES[package]}

    @property
    def offered(self) -> list[str]:
        return list(self.attacks)

    def forms(self, attack: str, settings: dict[str, Any]) -> dict[str, Form]:
        """Form -> what makes adversarial images once from a seed.

        In PyTorch's default layout and in channels_last; as the packages' documents do it, and, for foolbox, which otherwise
        takes gradients of all weights too, with frozen weights.
        """

        def once(layout: Any, *, frozen: bool) -> Form:
            def form(seed: int) -> Made:
                before = self.asked
                self.torch.manual_seed(seed)
                for module in self.modules:
                    module.to(memory_format=layout).requires_grad_(not frozen)
                images = self.clean.to(memory_format=layout)
                made = self.attacks[attack](images, settings | {"seed": seed}).detach().permute(0, 2, 3, 1).numpy()
                return Made(made, self.asked - before)

            return form

        layouts = {"": self.torch.contiguous_format, " channels_last": self.torch.channels_last}
        states = {"": False, " frozen": True} if self.package.__name__ == "foolbox" else {"": False}
        return {
            self.package.__name__ + state + word: once(layout, frozen=frozen)
            for state, frozen in states.items()
            for word, layout in layouts.items()
        }

    def logits(self) -> np.ndarray:
        """Of the attacked network, on the clean images."""
        with self.torch.no_grad():
            return self.modules[0](self.clean).numpy()

    def _tensor(self, array: np.ndarray) -> Any:
        return self.torch.from_numpy(np.array(array, order="C"))

    def _count(self, images: int) -> None:
        self.asked += images

    def _torchattacks(self) -> dict[str, Callable[[Any, dict[str, Any]], Any]]:
        def built(name: str, knobs: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[Any, dict[str, Any]], Any]:
            return lambda images, s: getattr(self.package, name)(self.modules[0], **knobs(s))(images, self.label)

        return {
            "fgsm": built("FGSM", lambda s: {"eps": s["epsilon"]}),
            "pgd": built("PGD", lambda s: {"eps": s["epsilon"], "alpha": s["step_size"], "steps": s["num_steps"]}),
            "mi_fgsm": built(
                "MIFGSM",
                lambda s: {"eps": s["epsilon"], "alpha": s["step_size"], "steps": s["num_steps"], "decay": s["decay"]},
            ),
            "apgd": built("APGD", lambda s: {"eps": s["epsilon"], "steps": s["num_steps"], "seed": s["seed"]}),
            # Ours counts the clean image and the start among the queries.
            "square": built("Square", lambda s: {"eps": s["epsilon"], "n_queries": s["max_queries"] - 2, "seed": s["seed"]}),
            "carlini_wagner": built("CW", lambda s: {"c": s["initial_weight"], "steps": s["num_steps"], "lr": s["step_size"]}),
            "ensemble_optimization": self._ensemble_optimization,
        }

    def _foolbox(self) -> dict[str, Callable[[Any, dict[str, Any]], Any]]:
        def run(attack: Any, images: Any, **radius: float) -> Any:
            model = self.package.PyTorchModel(self.modules[0], bounds=(0, 1), device="cpu")
            return attack.run(model, images, self.package.criteria.Misclassification(self.label), **radius)

        def descent(name: str, images: Any, s: dict[str, Any], **knobs: Any) -> Any:
            attack = getattr(self.package.attacks, name)(abs_stepsize=s["step_size"], steps=s["num_steps"], **knobs)
            return run(attack, images, epsilon=s["epsilon"])

        def carlini_wagner(images: Any, s: dict[str, Any]) -> Any:
            search = {"binary_search_steps": s["num_search_steps"], "initial_const": s["initial_weight"], "abort_early": False}
            attack = self.package.attacks.L2CarliniWagnerAttack(steps=s["num_steps"], stepsize=s["step_size"], **search)
            return run(attack, images)

        momentum = "LinfMomentumIterativeFastGradientMethod"
        return {
            "fgsm": lambda images, s: run(self.package.attacks.LinfFastGradientAttack(), images, epsilon=s["epsilon"]),
            "pgd": lambda images, s: descent("LinfProjectedGradientDescentAttack", images, s),
            "mi_fgsm": lambda images, s: descent(momentum, images, s, momentum=s["decay"]),
            "carlini_wagner": carlini_wagner,
        }

    def _autoattack(self) -> dict[str, Callable[[Any, dict[str, Any]], Any]]:
        def apgd(images: Any, s: dict[str, Any]) -> Any:
            attack = importlib.import_module("autoattack.autopgd_base").APGDAttack
            knobs = {"eps": s["epsilon"], "n_iter": s["num_steps"], "n_restarts": 1, "seed": s["seed"], "device": "cpu"}
            return attack(self.modules[0], **knobs).perturb(images, self.label)

        def square(images: Any, s: dict[str, Any]) -> Any:
            attack = importlib.import_module("autoattack.square").SquareAttack
            knobs = {
                "eps": s["epsilon"],
                "n_queries": s["max_queries"] - 2,
                "n_restarts": 1,
                "seed": s["seed"],
                "device": "cpu",
            }
            return attack(self.modules[0], **knobs).perturb(images, self.label)

        return {"apgd": apgd, "square": square}

    def _ensemble_optimization(self, clean: Any, s: dict[str, Any]) -> Any:
        """No package has it: the same computation in plain PyTorch."""
        torch, functional = self.torch, self.torch.nn.functional
        iterate = clean.clone().requires_grad_(True)
        optimizer = torch.optim.Adam([iterate], lr=s["step_size"], betas=(s["decay"], 0.999))
        best, least = clean.clone(), torch.full((len(clean),), float("inf"))
        for _ in range(s["num_steps"]):
            image = iterate + (torch.round(iterate * 255) / 255 - iterate).detach()
            logits = [module(image) for module in self.modules]
            distance = (image - clean).square().mean((1, 2, 3))
            losses = [functional.cross_entropy(each, self.target, reduction="none") for each in logits]
            objective = s["distance_weight"] * distance + sum(losses) / len(losses)
            iterate.grad = torch.autograd.grad(objective.sum(), iterate)[0]
            reached = torch.stack([each.argmax(1) == self.target for each in logits]).all(0) & (distance < least)
            best = torch.where(reached[:, None, None, None], image.detach(), best)
            least = torch.where(reached, distance.detach(), least)
            optimizer.step()
            with torch.no_grad():
                iterate.clamp_(0, 1)
        newest = torch.round(iterate.detach() * 255) / 255
        return torch.where(torch.isfinite(least)[:, None, None, None], best, newest)
