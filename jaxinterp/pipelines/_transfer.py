"""Transfer of adversarial images: made against some networks, stored in 8 bits, shown to all."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh
from jaxtyping import Float32, Int16, Int32

from jaxinterp import _mesh, attacks
from jaxinterp._base import Attack, Batch, Model
from jaxinterp.data import Source
from jaxinterp.pipelines._context import progress
from jaxinterp.pipelines._passes import check_fits, sharded_batches
from jaxinterp.pipelines._transfer_settings import GIVEN, TARGETED, Transfer

Arrays = dict[str, np.ndarray]


class Clean(NamedTuple):
    """What is known of the images before any attack.

    Attributes:
        id: of every image.
        label: its class.
        target: the class that a targeted attack drives it to; -1 where there is none.
        predictions: class that each network gives it.
    """

    id: Int32[np.ndarray, " n"]
    label: Int32[np.ndarray, " n"]
    target: Int32[np.ndarray, " n"]
    predictions: Int32[np.ndarray, "n m"]


class Seen(NamedTuple):
    """What the networks say of the images that one attack made against one source.

    Attributes:
        predictions: class that each network gives the stored adversarial image.
        control: class that each gives the image with the perturbation of another one.
        distance: Linf distance of the stored image, in [0, 1] units.
    """

    predictions: Int32[np.ndarray, "n m"]
    control: Int32[np.ndarray, "n m"]
    distance: Float32[np.ndarray, " n"]


class Transfers(NamedTuple):
    """What all networks say of all adversarial images.

    Attributes:
        networks: their names, in the order of the columns.
        clean: of the images before any attack.
        seen: kind of attack -> source -> what the networks say.
    """

    networks: tuple[str, ...]
    clean: Clean
    seen: dict[str, dict[str, Seen]]


def transfer_evaluation(
    key: Array,
    models: Mapping[str, Model],
    source: Source,
    settings: Transfer,
    *,
    mesh: Mesh | None = None,
    keep: Callable[[str, Callable[[], Arrays]], Arrays] = lambda name, compute: compute(),
    title: str = "transfer",
) -> Transfers:
    """Attacks every source of networks and shows what comes out, as 8-bit images, to every network.

    Adversarial images are rounded to the nearest 8-bit images in the Linf ball. Every source gets the same draws, so that two
    sources of equal weights give equal images. The control adds to each image the perturbation of another one, which is the
    one before it in a random round over all images, and cuts the sum off at 0 and 255: as large, and as structured, but made
    for something else. Networks that draw at random draw nothing when they are shown the images. Memory grows with a batch of
    images; of a whole set there are only class numbers and distances.

    Args:
        key: of every draw; an image draws from its own id, the random round from the number of images.
        models: name -> network, all those that are shown the images.
        source: labelled images of the models' size.
        settings: sources, attacks and radius.
        mesh: the devices; all of them by default.
        keep: `(name, compute) -> arrays`, called for each part in turn; it may return what an earlier call computed.
        title: of the progress bar.

    Returns:
        The predictions, from which `transfer_card` counts.

    Raises:
        ValueError: a source of unknown networks, images of another size or of other classes than the models', fewer than two
            images, or images without the targets that are asked for.
    """
    settings.check_members(list(models))
    for model in models.values():
        check_fits(model, source)
    if len(source) < 2:
        raise ValueError(f"expected at least 2 images, got {len(source)}; the control needs the perturbation of another one.")
    mesh = _mesh.data_parallel(mesh)
    networks = {name: jax.device_put(model, _mesh.replicated(mesh)) for name, model in models.items()}
    size = _mesh.rounded(min(settings.batch_size, len(source)), mesh)
    order = np.asarray(jax.random.permutation(jax.random.fold_in(key, 0), len(source)))

    def read() -> Iterator[tuple[np.ndarray, Batch]]:
        return sharded_batches(source, order, size, mesh)

    clean = Clean(**keep("clean", lambda: _look(tuple(networks.values()), len(source), read(), settings)._asdict()))
    trials = [(kind, name) for kind in settings.attacks for name in settings.sources]
    seen: dict[str, dict[str, Seen]] = {kind: {} for kind in settings.attacks}
    for kind, name in progress(trials, title=title, unit="source"):
        attacked = tuple(networks[member] for member in settings.sources[name])
        parts = {
            "key": jax.random.fold_in(key, 1 + list(settings.attacks).index(kind)),
            "attack": settings.attacks[kind],
            "attacked": attacked[0] if len(attacked) == 1 else attacked,
            "networks": tuple(networks.values()),
            "epsilon": settings.epsilon,
            "target": clean.target if kind == TARGETED else np.full_like(clean.target, -1),
        }
        seen[kind][name] = Seen(**keep(f"{kind}/{name}", lambda parts=parts: _show(**parts, batches=read())._asdict()))
    return Transfers(tuple(networks), clean, seen)


def _look(networks: tuple[Model, ...], count: int, batches: Iterator[tuple[np.ndarray, Batch]], settings: Transfer) -> Clean:
    """The images themselves: labels, targets and what the networks say of them."""
    names, labels, targets = (np.full(count, -1, np.int32) for _ in range(3))
    predictions = np.zeros((count, len(networks)), np.int32)
    for rows, batch in batches:
        names[rows], labels[rows] = (np.asarray(part)[: len(rows)] for part in (batch.id, batch.label))
        predictions[rows] = _predictions(networks, batch.image)[: len(rows)]
        if settings.targeted is not None:
            given = settings.targets == GIVEN
            found = batch.target if given else attacks.least_likely(networks, batch.image, num_targets=1)[:, 0]
            targets[rows] = np.asarray(found)[: len(rows)]
    without = int(np.sum(targets < 0))
    if settings.targeted is not None and without:
        raise ValueError(f"expected a target for each of {count} images, got none for {without}; write targets='least likely'.")
    return Clean(names, labels, targets, predictions)


def _show(
    key: Array,
    *,
    attack: Attack,
    attacked: Any,
    networks: tuple[Model, ...],
    epsilon: float,
    target: Int32[np.ndarray, " n"],
    batches: Iterator[tuple[np.ndarray, Batch]],
) -> Seen:
    """Attacks one source of networks, and shows the stored images and those of the control to all."""
    predictions, control = (np.zeros((len(target), len(networks)), np.int32) for _ in range(2))
    distance = np.zeros(len(target), np.float32)
    first: tuple[int, np.ndarray, Any] | None = None
    last = np.zeros((1, 1, 1, 1), np.int16)
    for rows, batch in batches:
        wanted = np.full(len(batch.id), -1, np.int32)
        wanted[: len(rows)] = target[rows]
        aimed = batch._replace(target=jax.device_put(wanted, batch.id.sharding))
        state = attacks.run_batch(attack, attacked, aimed, key=key)
        stored, far = _stored(state.adversarial, batch.image, epsilon)
        predictions[rows] = _predictions(networks, stored)[: len(rows)]
        distance[rows] = np.asarray(far)[: len(rows)]
        levels = _levels(batch.image)
        changes = _levels(stored) - levels
        before = np.concatenate([np.broadcast_to(last, changes[:1].shape), changes[:-1]])
        control[rows] = _predictions(networks, _shifted(levels, before, batch.image.sharding))[: len(rows)]
        first = first or (int(rows[0]), levels, batch.image.sharding)
        last = changes[len(rows) - 1][None]
    if first is not None:  # what comes before the first image is the last one, and is known only now
        row, levels, sharding = first
        control[row] = _predictions(networks, _shifted(levels, last, sharding))[0]
    return Seen(predictions, control, distance)


def _levels(images: Array) -> Int16[np.ndarray, "n h w c"]:
    """Grey levels of 8-bit images, on the host."""
    return np.rint(255 * np.asarray(images)).astype(np.int16)


def _shifted(levels: np.ndarray, changes: np.ndarray, sharding: Any) -> Array:
    """The 8-bit images with these changes, cut off at 0 and 255."""
    return jax.device_put(np.clip(levels + changes, 0, 255).astype(np.float32) / np.float32(255), sharding)


def _predictions(networks: tuple[Model, ...], images: Array) -> Int32[np.ndarray, "n m"]:
    """What each network says of each image; one program a network, however many there are."""
    return np.stack([np.asarray(said) for said in [_predicted(network, images) for network in networks]], axis=1)


@jax.jit
def _predicted(network: Model, images: Array) -> Array:
    return jnp.argmax(network(images)[0], axis=-1).astype(jnp.int32)


@jax.jit
def _stored(adversarial: Array, clean: Array, epsilon: float | Array) -> tuple[Array, Array]:
    """The 8-bit images in the ball, and how far they are from the clean ones."""
    stored = attacks.round_to_lattice(adversarial, clean, epsilon=jnp.asarray(epsilon, clean.dtype))
    return stored, jnp.max(jnp.abs(stored - clean), (1, 2, 3))
