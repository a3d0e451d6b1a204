"""MI-FGSM on the mean logits of the same networks, by this library and by torchattacks: white box and left-out network.

    python benchmarks/transfer_against_torchattacks.py --images NIPS17 --weights FOLDER --white resnet18 squeezenet1_1
        --black resnet50 [--num-images 100] [--batch 10] [--modes targeted untargeted] [--smoke]

Ten steps of 1.6/255 at 16/255, decay 1, cross-entropy of the mean of the logits; from the clean image, so that neither side
draws at random. In float64 both sides' images were equal to 1e-17 for the six steps that were compared; in float32 rounding
decides signs of small gradients, later steps follow them, and images part, as they do between two layouts of PyTorch itself.

`--images` is the folder of NIPS 2017 development images with dev_dataset.csv, which names the targets too; `--weights` holds
NAME.safetensors in torchvision's layout. Both sides' images are rounded to 8 bits inside the ball and scored on the same
networks.

Success is, for each network, how often it says the target (targeted), or errs on images that it classifies correctly clean
(untargeted); "all white" is success on all white-box networks at once. With each goes its denominator, and the difference,
this library minus torchattacks, with a 95 % interval of the bootstrap over images, paired. A row for each mode is appended to
benchmarks/results/transfer_against_torchattacks.jsonl. What PyTorch wants is in .ci/peers/requirements.txt, and torchattacks.
"""

import argparse
import functools
import importlib
import json
import pathlib
import time
from typing import Any

import _peers
import _rows
import numpy as np

EPSILON, NUM_STEPS, DECAY = 16 / 255, 10, 1.0


def _builder(name: str) -> str:
    return {"resnet18_ktb": "resnet18"}.get(name, name)


def networks_of(known: argparse.Namespace) -> dict[str, Any]:
    """The models by name, white-box networks first."""
    import jax

    from jaxinterp import models

    found = {}
    for number, name in enumerate([*known.white, *known.black]):
        given = {"key": jax.random.key(number)} if known.smoke else {"weights": f"{known.weights}/{name}.safetensors"}
        found[name] = getattr(models, _builder(name))(**given, image_size=known.size)
    return found


def batches_of(known: argparse.Namespace) -> list[Any]:
    """Batches of clean images with labels and targets."""
    import jax
    import jax.numpy as jnp

    from jaxinterp import data

    folder = pathlib.Path(known.images or "")
    knobs: dict[str, Any] = {"labels": folder / "dev_dataset.csv", "first_label": 1, "crop": 1.0}
    if known.smoke:
        source = data.concept_world(seed=0, num_images=known.num_images, image_size=known.size)
    else:
        classes = [str(number) for number in range(1000)]
        count = known.num_images
        source = data.image_folder(folder / "images", image_size=known.size, classes=classes, num_images=count, **knobs)
    found = data.batches(source, batch_size=known.batch, read_concepts=False)
    found = [jax.tree.map(jnp.asarray, batch) for batch in found]
    return [batch._replace(target=(batch.label + 1) % 1000) for batch in found] if known.smoke else found


def makers(known: argparse.Namespace, mode: str, networks: dict[str, Any]) -> dict[str, Any]:
    """Library -> `batch -> adversarial images`, before rounding."""
    import jax

    from jaxinterp import attacks

    torch, torchattacks = (importlib.import_module(name) for name in ("torch", "torchattacks"))
    torch.set_num_threads(_rows.cores())
    white = tuple(networks[name] for name in known.white)
    loss = attacks.ensemble_logits(attacks.cross_entropy)
    loss = attacks.targeted(loss) if mode == "targeted" else loss
    attack = attacks.mi_fgsm(EPSILON, decay=DECAY, num_steps=known.steps, loss=loss)

    class Mean(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            names = [_builder(name) for name in known.white]
            self.members = torch.nn.ModuleList(map(_peers.torch_module, names, white))

        def forward(self, images: Any) -> Any:
            return sum(member(images) for member in self.members) / len(self.members)

    peer = torchattacks.MIFGSM(Mean().eval(), eps=EPSILON, alpha=EPSILON / known.steps, steps=known.steps, decay=DECAY)
    if mode == "targeted":
        peer.set_mode_targeted_by_label(quiet=True)

    def theirs(batch: Any) -> np.ndarray:
        images = torch.from_numpy(np.array(batch.image).transpose(0, 3, 1, 2).copy())
        classes = torch.from_numpy(np.array(batch.target if mode == "targeted" else batch.label)).long()
        return peer(images, classes).permute(0, 2, 3, 1).numpy()

    folded = tuple(_folded(model) for model in white)
    run = functools.partial(attacks.run_batch, attack, folded if known.folded else white, key=jax.random.key(0))
    return {"jaxinterp": lambda batch: np.asarray(run(batch).adversarial), "torchattacks": theirs}


def _folded(model: Any) -> Any:
    """The model with its normalisation folded, where it has any."""
    from jaxinterp import models

    return models.fold_batch_norm(model) if model.stats else model


def measure(known: argparse.Namespace, mode: str, networks: dict[str, Any], batches: list[Any]) -> dict[str, Any]:
    """One row: success on every network and its denominator, and how the libraries differ."""
    import jax
    import jax.numpy as jnp

    from jaxinterp import attacks, metrics

    predict = jax.jit(lambda model, images: model(images)[0].argmax(-1))
    libraries = makers(known, mode, networks)
    said: dict[str, dict[str, list[np.ndarray]]] = {side: {name: [] for name in networks} for side in ("clean", *libraries)}
    seconds, unlike, lost = dict.fromkeys(libraries, 0.0), [], dict.fromkeys(libraries, 0)
    for batch in batches:
        mask, images = np.asarray(batch.mask), {"clean": np.asarray(batch.image)}
        for side, make in libraries.items():
            start = time.perf_counter()
            images[side] = make(batch)
            seconds[side] += time.perf_counter() - start
            lost[side] += int(np.any(np.isnan(images[side]), axis=(1, 2, 3))[mask].sum())
            images[side] = np.where(np.isnan(images[side]), images["clean"], images[side])
        for side, adversarial in images.items():
            stored = attacks.round_to_lattice(jnp.asarray(adversarial), batch.image, epsilon=EPSILON)
            for name, model in networks.items():
                said[side][name].append(np.asarray(predict(model, stored))[mask])
        difference = np.abs(images["jaxinterp"] - images["torchattacks"])[mask]
        unlike.append((difference > 0.5 / 255).mean((1, 2, 3)))
    label, target = (
        np.concatenate([np.asarray(getattr(b, n))[np.asarray(b.mask)] for b in batches]) for n in ("label", "target")
    )
    classes = {side: {name: np.concatenate(parts) for name, parts in those.items()} for side, those in said.items()}
    reached = {
        side: {name: these == target if mode == "targeted" else these != label for name, these in classes[side].items()}
        for side in libraries
    }
    for side in libraries:
        reached[side]["all white"] = np.all([reached[side][name] for name in known.white], axis=0)
    right = {name: these == label for name, these in classes["clean"].items()}
    right["all white"] = np.all([right[name] for name in known.white], axis=0)
    success = {}
    for name in reached["jaxinterp"]:
        counted = np.ones(len(label), bool) if mode == "targeted" else right[name]
        if not counted.any():
            continue
        ours, theirs = (reached[side][name][counted].astype(float) for side in ("jaxinterp", "torchattacks"))
        order, rng = np.arange(len(ours)), np.random.default_rng(0)
        interval = metrics.bootstrap_difference(rng, ours, order, theirs, order)
        success[name] = {
            "jaxinterp": round(100 * ours.mean(), 1),
            "torchattacks": round(100 * theirs.mean(), 1),
            "images": int(counted.sum()),
            "difference": [round(100 * float(value), 1) for value in interval],
            "other_outcome": int((ours != theirs).sum()),
        }
    return {
        "mode": mode,
        "num_images": len(label),
        "denominator": "all images"
        if mode == "targeted"
        else "images that the network (all white: every one) classifies correctly",
        "success_percent": success,
        "clean_accuracy_percent": {name: round(100 * float(these.mean()), 1) for name, these in right.items()},
        "values_that_differ_percent": round(100 * float(np.concatenate(unlike).mean()), 3),
        "images_that_are_not_a_number": lost,
        "seconds": {side: round(value, 1) for side, value in seconds.items()},
    }


def main() -> None:
    """Measures and appends the rows."""
    known = _arguments()

    networks = networks_of(known)
    batches = batches_of(known)
    settings = {"epsilon": EPSILON, "num_steps": known.steps, "decay": DECAY, "image_size": known.size, "batch": known.batch}
    for mode in known.modes:
        row = {"benchmark": "transfer_against_torchattacks", "white": known.white, "black": known.black, "settings": settings}
        row |= {"folded": known.folded, **measure(known, mode, networks, batches)}
        row |= _rows.place()
        row["versions"] |= {name: str(importlib.import_module(name).__version__) for name in ("torch", "torchattacks")}
        print(json.dumps(row), flush=True)
        if not known.smoke:
            _rows.append(_rows.path("transfer_against_torchattacks"), row)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="four images, random weights, two steps; nothing is written")
    parser.add_argument("--images", help="folder of the NIPS 2017 development images")
    parser.add_argument("--weights", help="folder of NAME.safetensors")
    parser.add_argument("--white", nargs="+", default=["resnet18", "squeezenet1_1"], help="white-box networks")
    parser.add_argument("--black", nargs="+", default=["resnet50"], help="left-out networks")
    parser.add_argument("--modes", nargs="+", default=["targeted", "untargeted"], choices=["targeted", "untargeted"])
    parser.add_argument("--num-images", type=int, default=100, help="spread evenly over the list")
    parser.add_argument("--batch", type=int, default=10, help="images at once")
    parser.add_argument("--size", type=int, default=224, help="side of the images in pixels")
    parser.add_argument("--steps", type=int, default=NUM_STEPS, help="of the attack")
    parser.add_argument("--folded", action="store_true", help="attack with batch normalisation folded")
    known = parser.parse_args()
    if known.smoke:
        smoke = {"white": ["resnet18", "squeezenet1_1"], "black": ["resnet50"], "num_images": 4, "size": 64, "steps": 2}
        known = argparse.Namespace(**(vars(known) | smoke | {"batch": 4}))
    elif known.weights is None or known.images is None:
        parser.error("--weights and --images are needed")
    return known


if __name__ == "__main__":
    main()
