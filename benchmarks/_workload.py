"""What the benchmark of attacks runs: networks, images, labels, and this library's side of it."""

import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

EPSILON = 8 / 255
SETTINGS: dict[str, dict[str, float | int]] = {
    "fgsm": {"epsilon": EPSILON},
    "pgd": {"epsilon": EPSILON, "step_size": 2 / 255, "num_steps": 10},
    "mi_fgsm": {"epsilon": EPSILON, "step_size": 2 / 255, "num_steps": 10, "decay": 1.0},
    "ensemble_optimization": {"distance_weight": 1e5, "step_size": 5 / 255, "num_steps": 10, "decay": 0.9},
    "apgd": {"epsilon": EPSILON, "num_steps": 10},
    "square": {"epsilon": EPSILON, "max_queries": 40},
    "carlini_wagner": {"num_steps": 10, "step_size": 0.01, "num_search_steps": 1, "initial_weight": 1.0},
}
"""The same on both sides; in a smoke run with as few steps as the attack allows."""
NETWORKS = {"resnet18": ("resnet18", "squeezenet1_1"), "cifar_resnet20": ("cifar_resnet20", "cifar_resnet56")}
"""The network that is attacked -> the white-box ensemble of `ensemble_optimization`."""
FEWEST = {"num_steps": 2, "max_queries": 4}


class Workload(NamedTuple):
    """One network, one batch.

    Attributes:
        networks: plain models, on all devices: the one that is attacked, then the other member of the ensemble.
        folded: the same with their normalisation folded.
        batch: images that the first network classifies correctly; targets are any other class.
        weights: "real" or "random".
    """

    networks: tuple[Any, ...]
    folded: tuple[Any, ...]
    batch: Any
    weights: str


class Made(NamedTuple):
    """What a run made.

    Attributes:
        images: adversarial, `[n h w c]`.
        asked: how often a network had to be asked about an image. Of a query attack exactly; rows that are done and still in
            the batch do not count.
    """

    images: np.ndarray
    asked: int


Form = Callable[[int], Made]
"""One way to run an attack, once, from a seed."""


def settings_of(attack: str, *, smoke: bool, queries: int | None = None) -> dict[str, float | int]:
    """The settings of an attack, with another budget of queries where one is given."""
    other = FEWEST if smoke else {} if queries is None else {"max_queries": queries}
    return {name: other.get(name, value) for name, value in SETTINGS[attack].items()}


def workload(name: str, *, batch: int, devices: int, images: str | None, weights: str | None) -> Workload:
    """The networks and images; random ones where no folder is given, labelled then by what the network says."""
    import jax
    import jax.numpy as jnp

    from jaxinterp import Batch, _mesh, models

    networks = tuple(_network(member, weights) for member in NETWORKS[name])
    mesh = _mesh.data_mesh(devices)
    folded = tuple(models.fold_batch_norm(model) if model.stats else model for model in networks)
    networks, folded = jax.device_put((networks, folded), _mesh.replicated(mesh))
    predict = jax.jit(lambda model, images: model(images)[0].argmax(-1))
    rows: list[tuple[np.ndarray, int]] = []
    for picture, label in _pictures(images, networks[0].image_size, batch):
        predicted = int(predict(networks[0], picture[None])[0])
        if label in (-1, predicted):
            rows.append((picture, predicted))
        if len(rows) == batch:
            break
    if len(rows) < batch:
        raise SystemExit(f"expected {batch} images that {name} classifies correctly, found {len(rows)}; write --batch.")
    label, ids = jnp.asarray([label for _, label in rows]), jnp.arange(batch)
    num_classes = networks[0].num_classes
    target = (label + np.random.default_rng(0).integers(1, num_classes, size=batch)) % num_classes
    label, target, ids = (each.astype(jnp.int32) for each in (label, target, ids))
    image = jnp.stack([jnp.asarray(picture) for picture, _ in rows])
    found = Batch(image=image, label=label, target=target, id=ids, source_id=ids, mask=ids >= 0, extra={})
    return Workload(networks, folded, jax.device_put(found, _mesh.sharded(mesh)), "random" if weights is None else "real")


def ours(attack: str, settings: dict[str, Any], load: Workload) -> dict[str, Form]:
    """Form -> what makes adversarial images once from a seed."""
    import jax

    from jaxinterp import attacks

    built = getattr(attacks, attack)(**settings)
    ensemble = attack == "ensemble_optimization"
    batch = load.batch if ensemble else load.batch._replace(target=load.batch.target * 0 - 1)
    steps = settings.get("num_steps", 1) + (attack == "apgd")
    every = (2 * steps if ensemble else steps) * len(batch.id)

    def once(members: tuple[Any, ...]) -> Form:
        model = members if ensemble else members[0]

        def form(seed: int) -> Made:
            state = attacks.run_batch(built, model, batch, key=jax.random.key(seed))
            asked = np.asarray(state.queries).sum() if built.kind == "query" else every
            return Made(np.asarray(state.adversarial), int(asked))

        return form

    return {"jax": once(load.networks), "jax folded": once(load.folded)}


def score(attack: str, adversarial: np.ndarray, load: Workload) -> dict[str, float]:
    """Success on the plain networks, and the distortion of the images that succeeded."""
    import jax.numpy as jnp

    from jaxinterp import attacks

    images = jnp.asarray(adversarial)
    if attack == "ensemble_optimization":
        reached = np.asarray(attacks.joint_success(None, load.networks, images, load.batch))
    else:
        reached = np.asarray(attacks.misclassified(None, load.networks[0], images, load.batch))
    change = (adversarial - np.asarray(load.batch.image)).reshape(len(reached), -1)[reached]
    found = {"success": float(np.mean(reached))}
    if len(change):
        found |= {"l2": float(np.linalg.norm(change, axis=1).mean()), "linf": float(np.abs(change).max())}
    return {name: round(value, 4) for name, value in found.items()}


def _network(name: str, weights: str | None) -> Any:
    import jax

    from jaxinterp import models

    build = getattr(models, name)
    if weights is None:
        return build(key=jax.random.key(0))
    files = [pathlib.Path(weights) / f"{name.removeprefix('cifar_')}.{ending}" for ending in ("safetensors", "npz", "th")]
    for file in files:
        if file.is_file():
            return build(weights=file)
    raise SystemExit(f"expected {' or '.join(map(str, files))}; write --weights FOLDER.")


def _pictures(images: str | None, size: int, count: int) -> Any:
    """Images `[h w c]` and labels; -1 where there is none."""
    from jaxinterp import data

    if images is None:
        yield from ((picture, -1) for picture in np.random.default_rng(0).random((count, size, size, 3), np.float32))
        return
    folder = pathlib.Path(images)
    if (folder / "X_sdp.npy").is_file():
        yield from zip(np.load(folder / "X_sdp.npy").astype(np.float32), np.load(folder / "y_sdp.npy").tolist(), strict=True)
        return
    listed = folder / "dev_dataset.csv"
    knobs: dict[str, Any] = {"labels": listed, "first_label": 1, "classes": [str(k) for k in range(1000)], "crop": 1.0}
    source = data.image_folder(folder / "images" if listed.is_file() else folder, image_size=size, **knobs)
    for group in data.batches(source, batch_size=8, read_concepts=False):
        yield from zip(np.asarray(group.image), np.asarray(group.label).tolist(), strict=True)
