"""Passes over a data set: statistics accumulated on every device, and outputs of every image."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Float32, Int32

from jaxinterp import _mesh, data
from jaxinterp._base import Activations, Batch, Model, Statistic
from jaxinterp._mesh import AXIS
from jaxinterp.data import Example, Source
from jaxinterp.pipelines._context import Run, progress
from jaxinterp.pipelines._kept_maps import Maps


class Outputs(NamedTuple):
    """What a network says of every image of a source, in the source's order.

    Attributes:
        id: of every image.
        label: of every image.
        logits: of every image.
        strongest: maximum over positions of every unit's map.
        mean: mean over positions of every unit's map.
    """

    id: Int32[np.ndarray, " n"]
    label: Int32[np.ndarray, " n"]
    logits: Float32[np.ndarray, "n k"]
    strongest: Float32[np.ndarray, "n u"]
    mean: Float32[np.ndarray, "n u"]

    @property
    def accuracy(self) -> float:
        """The share of images whose label has the highest logit."""
        return float((self.predictions == self.label).mean())

    @property
    def predictions(self) -> Int32[np.ndarray, " n"]:
        """The class of highest logit."""
        return self.logits.argmax(axis=1).astype(np.int32)


@dataclasses.dataclass(frozen=True)
class Derived:
    """A source that is another one with every example changed.

    Attributes:
        source: the other one.
        concepts: what the numbers in the changed examples' concept maps mean.
        change: `(index, example) -> example` with another id or label; None keeps them.
        image: `(index, example) -> image`; None keeps it.
        maps: `(example) -> concept maps`; None keeps them.
        labelled: classes and class names, where the change gives other labels; None for those of the other source.
    """

    source: Source
    concepts: data.ConceptTable | None
    change: Callable[[int, Example], Example] | None = None
    image: Callable[[int, Example], np.ndarray] | None = None
    maps: Callable[[Example], np.ndarray | None] | None = None
    labelled: tuple[tuple[str, ...], tuple[str, ...]] | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """WordNet ids."""
        return self.labelled[0] if self.labelled else self.source.classes

    @property
    def class_names(self) -> tuple[str, ...]:
        """What people call the classes."""
        return self.labelled[1] if self.labelled else self.source.class_names

    @property
    def image_size(self) -> int:
        """Side of every image in pixels."""
        return self.source.image_size

    @property
    def fingerprint(self) -> str:
        """That of the other source; the change is not part of it."""
        return self.source.fingerprint

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int, /) -> Example:
        return self.read(index, image=True, concepts=True)

    def read(self, index: int, *, image: bool, concepts: bool) -> Example:
        """The example as far as it is needed, see `data.read`."""
        example = data.read(self.source, index, image=image, concepts=concepts and self.maps is None)
        if self.change is not None:
            example = self.change(index, example)
        if image and self.image is not None:
            example = example._replace(image=self.image(index, example))
        if concepts and self.maps is not None:
            example = example._replace(concepts=self.maps(example))
        return example


def with_concepts(adversarial: Source, clean: Source) -> Derived:
    """An adversarial source whose images carry the concept maps of the clean images they were made from."""
    position = {int(name): index for index, name in enumerate(source_ids(clean))}

    def maps(example: Example) -> np.ndarray | None:
        return data.read(clean, position[example.source_id], image=False).concepts

    return Derived(adversarial, clean.concepts, maps=maps)


def renumbered(source: Source) -> Derived:
    """A source whose examples are named by their positions."""
    return Derived(source, source.concepts, change=lambda index, example: example._replace(id=index))


def source_ids(source: Source) -> np.ndarray:
    """The ids of all examples, in the source's order."""
    return np.asarray([data.read(source, index, image=False, concepts=False).id for index in range(len(source))])


def accumulate(
    run: Run,
    model: Model,
    layer: str,
    source: Source,
    statistics: tuple[Statistic, ...],
    *,
    title: str,
) -> tuple[Any, ...]:
    """One pass over a source with the run's devices and batches: the results of some statistics of one layer.

    Args:
        run: the run.
        model: the network.
        layer: the layer whose activations the statistics see.
        source: the images.
        statistics: what to accumulate.
        title: of the progress bar.

    Returns:
        What each statistic computes.
    """
    return fold(model, (layer,), source, statistics, mesh=run.mesh, batch_size=run.rounded(run.study.batch_size), title=title)


def fold(
    model: Model,
    layers: tuple[str, ...],
    source: Source,
    statistics: tuple[Statistic, ...],
    *,
    mesh: Mesh,
    batch_size: int,
    title: str,
    read_concepts: bool = True,
    read_images: bool = True,
    maps: Maps | None = None,
    batches: Iterable[Batch] | None = None,
) -> tuple[Any, ...]:
    """One pass over a source: the results of some statistics of some layers.

    Every device keeps its own states, which are merged at the end.

    Args:
        model: the network.
        layers: the layers whose activations the statistics see.
        source: the images.
        statistics: what to accumulate.
        mesh: the devices.
        batch_size: images in a batch; the devices divide it.
        title: of the progress bar.
        read_concepts: read the concept maps, where the source has them.
        read_images: False where neither the maps nor the statistics come from the images.
        maps: where the activations come from, in place of the model.
        batches: of that size, in place of those read from the source.

    Returns:
        What each statistic computes.
    """
    found = maps or computed(model, layers)
    update = _update(tuple(statistic.update for statistic in statistics), mesh)
    states = jax.jit(_initial, static_argnums=(0, 1), out_shardings=jax.NamedSharding(mesh, PartitionSpec(AXIS)))(
        tuple(statistic.init for statistic in statistics), mesh.size
    )
    labelled = read_concepts and source.concepts is not None
    read = batches or data.batches(source, batch_size=batch_size, read_concepts=labelled, read_images=read_images)
    for number, host_batch in enumerate(progress(read, title=title, total=-(-len(source) // batch_size))):
        batch = jax.device_put(host_batch, _mesh.sharded(mesh))
        states = update(states, batch, jax.device_put(found(number, batch), _mesh.sharded(mesh)))
    results = []
    for statistic, state in zip(statistics, states, strict=True):
        shards = [jax.tree.map(lambda leaf, i=i: leaf[i], jax.device_get(state)) for i in range(mesh.size)]
        results.append(statistic.compute(functools.reduce(jax.jit(statistic.merge), shards)))
    return tuple(results)


def computed(model: Model, layers: tuple[str, ...]) -> Maps:
    """The activations that a model has, for `fold`."""
    return lambda _, batch: maps_of(model, layers, batch.image)


def outputs(run: Run, model: Model, layer: str, source: Source, *, title: str) -> Outputs:
    """What a network says of every image; memory grows with images times units, not with maps.

    Args:
        run: the run.
        model: the network.
        layer: the layer that is pooled.
        source: the images.
        title: of the progress bar.

    Returns:
        Logits and pooled activations.
    """
    kept, rows = [], []
    for batch in _batches(run, source, title):
        kept.append((batch.id, batch.label, *_pooled(model, layer, batch.image)))
        rows.append(batch.mask)
    mask = np.concatenate([np.asarray(row) for row in rows])
    return Outputs(*(np.concatenate([np.asarray(part) for part in parts])[mask] for parts in zip(*kept, strict=True)))


def check_fits(model: Model, source: Source) -> None:
    """Raises `ValueError` where the images are of another size or of other classes than a model's."""
    if source.image_size != model.image_size:
        raise ValueError(
            f"expected images of {model.image_size} px, got {source.image_size}; "
            f"write models.at_size(model, {source.image_size})."
        )
    if len(source.classes) != model.num_classes:
        raise ValueError(f"expected images of {model.num_classes} classes, as the model has, got {len(source.classes)}.")


def sharded_batches(source: Source, chosen: np.ndarray, size: int, mesh: Mesh) -> Iterator[tuple[np.ndarray, Batch]]:
    """The chosen positions and their batches, all of one size, split over the mesh."""
    parts = np.split(chosen, range(size, len(chosen), size)) if len(chosen) else []
    if parts:
        read = data.batches(source, batch_size=size, indices=chosen.tolist(), read_concepts=False)
        for rows, batch in zip(parts, read, strict=True):
            yield rows, jax.device_put(batch, _mesh.sharded(mesh))


@functools.partial(jax.jit, static_argnums=1)
def forward(model: Model, layer: str, images: Array) -> tuple[Array, Array]:
    """Logits and one layer's activation, compiled once for an architecture."""
    logits, activations = model(images)
    return logits, activations[layer]


@functools.partial(jax.jit, static_argnums=1)
def maps_of(model: Model, layers: tuple[str, ...], images: Array) -> Activations:
    """The activations of some layers, compiled once for an architecture."""
    _, activations = model(images)
    return {layer: activations[layer] for layer in layers}


@functools.partial(jax.jit, static_argnums=1)
def _pooled(model: Model, layer: str, images: Array) -> tuple[Array, Array, Array]:
    logits, activations = model(images)
    flat = activations[layer].reshape(images.shape[0], -1, activations[layer].shape[-1])
    return logits, flat.max(axis=1), flat.mean(axis=1)


def _batches(run: Run, source: Source, title: str) -> Iterable[Batch]:
    size = run.rounded(run.study.batch_size)
    batches = data.batches(source, batch_size=size, read_concepts=False)
    for batch in progress(batches, title=title, total=-(-len(source) // size)):
        yield run.shard(batch)


def _initial(inits: tuple[Callable[[], Any], ...], count: int) -> Any:
    """A state a device, made where it will be: states of many units are large."""
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), tuple(init() for init in inits))


@functools.lru_cache(maxsize=64)
def _update(
    updates: tuple[Callable[[Any, Batch, Activations], Any], ...], mesh: Mesh
) -> Callable[[Any, Batch, Activations], Any]:
    """The updates of some statistics at once, every device's rows into its own states; compiled once for the same updates."""

    def update(states: Any, batch: Batch, activations: Activations) -> Any:
        states = jax.tree.map(lambda leaf: leaf[0], states)
        new = tuple(one(state, batch, activations) for one, state in zip(updates, states, strict=True))
        return jax.tree.map(lambda leaf: leaf[None], new)

    # Every device counts its own rows; whether a value varies over the axis is not for the type checker of shard_map to say.
    mapped = jax.shard_map(update, mesh=mesh, in_specs=PartitionSpec(AXIS), out_specs=PartitionSpec(AXIS), check_vma=False)
    return jax.jit(mapped, donate_argnums=0)
