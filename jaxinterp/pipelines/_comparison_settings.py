"""What a recipe of a comparison builds: ways to make a network, each from several seeds, measured alike."""

import dataclasses
from collections.abc import Callable, Mapping

from jax.sharding import Mesh

from jaxinterp._base import Model
from jaxinterp.pipelines._fit_settings import Fit
from jaxinterp.pipelines._study import Study
from jaxinterp.pipelines._workdir import check_name

Reading = Callable[[Model, Mesh], Mapping[str, float]]
"""`(model, mesh) -> {quantity: number}`: something else that is measured of every network, the weights on every device."""


@dataclasses.dataclass(frozen=True)
class Contender:
    """One way to make a network.

    Attributes:
        name: heads its rows, and names its folders.
        study: `(seed, weights) -> study` of the one network that these weights are of; it is built before they are trained, so
            that what else it needs is missed then.
        fit: `(seed) -> training`; its `weights/network.safetensors` are what the study is given.
        weights: `(seed) -> file`, in place of `fit`: of networks that were trained elsewhere.
        readings: further measurements of the study's network.

    Raises:
        ValueError: neither or both of `fit` and `weights`, or a name that cannot be a folder's.
    """

    name: str
    study: Callable[[int, str], Study]
    _: dataclasses.KW_ONLY
    fit: Callable[[int], Fit] | None = None
    weights: Callable[[int], str] | None = None
    readings: tuple[Reading, ...] = ()

    def __post_init__(self) -> None:
        check_name(self.name)
        if (self.fit is None) == (self.weights is None):
            raise ValueError(f"{self.name!r}: expected either fit= a training or weights= files, got neither or both.")


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Several ways to make a network, each from the same seeds, beside each other.

    Networks of one seed are a pair: they begin with the same weights and see the same images in the same order where their
    recipes say so, and differences are taken within pairs. The intervals are over seeds, so over trainings.

    Attributes:
        title: heads the page.
        description: one line under the title.
        contenders: in the order of the rows.
        seeds: one network of each contender a seed.
        baseline: the contender that differences are taken from; the first by default.
        seed: of draws that belong to no network.

    Raises:
        ValueError: less than two contenders, two of one name, no seed or one twice, or an unknown baseline.
    """

    title: str
    description: str
    contenders: tuple[Contender, ...]
    seeds: tuple[int, ...]
    baseline: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        names = [contender.name for contender in self.contenders]
        if len(names) < 2 or len(set(names)) != len(names):
            raise ValueError(f"expected at least two contenders of different names, got {names}.")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"expected different seeds, at least one, got {list(self.seeds)}.")
        if self.baseline and self.baseline not in names:
            raise ValueError(f"expected baseline= one of {', '.join(names)}, got {self.baseline!r}.")

    @property
    def against(self) -> str:
        """The name of the contender that differences are taken from."""
        return self.baseline or self.contenders[0].name
