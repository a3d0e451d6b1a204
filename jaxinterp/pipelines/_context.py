"""What every stage of a run is given: the study, its work directory, the mesh, and the models of either phase."""

import functools
import pathlib
import sys
from collections.abc import Iterable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import UInt8

from jaxinterp import _mesh, data, models
from jaxinterp._base import Batch, Model
from jaxinterp.data import Source
from jaxinterp.pipelines._study import Study
from jaxinterp.pipelines._workdir import WorkDir

NORMAL, ROBUST = "normal", "robust"

T = TypeVar("T")


class Run:
    """One study in one work directory.

    Args:
        study: what to do.
        workdir: where it is kept.
        mesh: the devices; all of them by default.
    """

    def __init__(self, study: Study, workdir: WorkDir, *, mesh: Mesh | None = None) -> None:
        self.study = study
        self.workdir = workdir
        self.mesh = _mesh.data_parallel(mesh)
        self.page_parts: dict[tuple[str, ...], Any] = {}

    @functools.cached_property
    def source(self) -> Source:
        """The images that are analysed and attacked."""
        if self.study.source is None:
            raise ValueError("this study has only concept images; give it source= the images that are analysed.")
        return self.study.source()

    @functools.cached_property
    def held_out(self) -> Source:
        """The images on which accuracy is measured."""
        return self.study.held_out() if self.study.held_out else self.source

    @functools.cached_property
    def attacked(self) -> np.ndarray:
        """The indices of the images of `source` that are attacked, spread evenly over it."""
        return evenly(self.study.num_attacked or None, len(self.source))

    def some_held_out(self, count: int | None) -> data.Subset:
        """So many of the held-out images, spread evenly over them; None takes all."""
        return data.spread(self.held_out, count)

    @functools.cached_property
    def built(self) -> tuple[Model, ...]:
        """The members as their recipe builds them."""
        return tuple(self.replicate(member.build()) for member in self.study.members)

    @functools.cache  # noqa: B019 - a run lives as long as its process
    def models(self, phase: str) -> tuple[Model, ...]:
        """The members' models in a phase, trained where the study trains them."""
        if phase == NORMAL and not self.study.pretraining:
            return self.built
        pairs = zip(self.study.members, self.built, strict=True)
        return tuple(self.replicate(models.load(self.weights_path(phase, member.name), model)) for member, model in pairs)

    def weights_path(self, phase: str, name: str) -> pathlib.Path:
        """Where a trained member's weights lie."""
        return self.workdir.path / "weights" / phase / f"{name}.safetensors"

    def adversarial_path(self, phase: str) -> pathlib.Path:
        """The folder of the adversarial data set made against a phase's networks."""
        return self.workdir.path / "adversarial" / phase

    def phases(self) -> tuple[str, ...]:
        """The phases this study has."""
        return (NORMAL, ROBUST) if self.study.finetuning else (NORMAL,)

    def key(self, *folds: int) -> jax.Array:
        """The study's key, folded with some numbers."""
        return functools.reduce(jax.random.fold_in, folds, jax.random.key(self.study.seed))

    def rng(self, *folds: int) -> np.random.Generator:
        """A generator for draws on the host, named by some numbers."""
        return np.random.default_rng([self.study.seed, *folds])

    def replicate(self, tree: T) -> T:
        """A copy on every device of the mesh."""
        return jax.device_put(tree, _mesh.replicated(self.mesh))

    def shard(self, batch: Batch) -> Batch:
        """The rows split over the mesh."""
        return jax.device_put(batch, _mesh.sharded(self.mesh))

    def rounded(self, batch_size: int) -> int:
        """The nearest batch size, from above, that the devices divide."""
        return _mesh.rounded(batch_size, self.mesh)

    def clean_image(self, row: int) -> UInt8[np.ndarray, "h w 3"]:
        """The analysed image that an adversarial image was made from, by the place of the latter in its set."""
        return data.read(self.source, int(self.attacked[row // self.study.num_targets]), concepts=False).image


def evenly(count: int | None, total: int) -> np.ndarray:
    """So many of `total` positions, spread evenly over them; all of them for None, or where there are fewer."""
    count = total if count is None else min(count, total)
    return np.arange(count) * total // count


def progress(items: Iterable[T], *, title: str, total: int | None = None, unit: str = "batch") -> Iterable[T]:
    """A progress bar on standard error that disappears when it is done; silent where there is no terminal."""
    from tqdm import tqdm

    return tqdm(items, desc=title, total=total, unit=unit, leave=False, file=sys.stderr, disable=None)


def to_host(tree: Any) -> Any:
    """The same tree in NumPy."""
    return jax.tree.map(np.asarray, tree)
