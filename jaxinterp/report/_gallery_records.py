"""The records that a gallery of units is made of: what units detect, their top images, further columns."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxinterp.report._canvas import Picture, Pictures
from jaxinterp.report._categories import CategoryCounts
from jaxinterp.report._records import Cell

Masked = Bool[np.ndarray, "_ _ _ _"] | Float[np.ndarray, "_ _ _ _"]
"""Masks, or maps, of the top images of every unit `[u k h w]`."""


@dataclasses.dataclass(frozen=True, eq=False)
class UnitLabels:
    """What the units of a layer detect on one set of images.

    Attributes:
        names: name of every concept of the table; entry 0 stands for no concept.
        categories: category of every concept.
        concept: `[u]` the concept of highest IoU; 0 where no concept overlaps the unit's mask.
        iou: `[u]` that IoU.
        detects: `[u]` whether it exceeds the threshold.
        attainable: `[u]` the highest IoU that a mask of the unit's area could have; None where unknown.
        p_value: `[u]` against permuted labels; None where there is no null.
        survives: `[u]` units with more than chance at the false discovery rate; None where there is no null.
        ranked: `[u t]` the next best concepts too, best first (the first repeats `concept`); 0 ends the list. None for none.
        ranked_iou: `[u t]` their IoU.

    Raises:
        ValueError: arrays of different numbers of units, a concept number outside the table, or only one of `ranked`
            and `ranked_iou`.
    """

    names: Sequence[str]
    categories: Sequence[str]
    concept: Int[np.ndarray, "_"]
    iou: Float[np.ndarray, "_"]
    detects: Bool[np.ndarray, "_"]
    _: dataclasses.KW_ONLY
    attainable: Float[np.ndarray, "_"] | None = None
    p_value: Float[np.ndarray, "_"] | None = None
    survives: Bool[np.ndarray, "_"] | None = None
    ranked: Int[np.ndarray, "_ _"] | None = None
    ranked_iou: Float[np.ndarray, "_ _"] | None = None

    def __post_init__(self) -> None:
        if len(self.names) != len(self.categories):
            raise ValueError(
                f"expected one category a concept, got {len(self.names)} names, {len(self.categories)} categories."
            )
        if (self.ranked is None) != (self.ranked_iou is None):
            raise ValueError("expected ranked and ranked_iou together, got only one of them; give both or neither.")
        if self.ranked is not None and self.ranked_iou is not None and self.ranked.shape != self.ranked_iou.shape:
            raise ValueError(f"expected ranked_iou of shape {self.ranked.shape}, got {self.ranked_iou.shape}.")
        for name in ("iou", "detects", "attainable", "p_value", "survives", "ranked"):
            _check_units(name, getattr(self, name), len(self.concept))
        for numbers in (self.concept, self.ranked):
            if numbers is not None and numbers.size and not 0 <= numbers.min() <= numbers.max() < len(self.names):
                raise ValueError(
                    f"expected concept numbers from 0 to {len(self.names) - 1}, got {numbers.min()} to {numbers.max()}; "
                    "give names and categories of the whole table, entry 0 for none."
                )


@dataclasses.dataclass(frozen=True, eq=False)
class TopPictures:
    """The top images of every unit on one set of images.

    Images are asked for one after another, each once and only those that are somebody's top image, so neither they nor the
    masks need to be in memory.

    Attributes:
        images: the images of the set `[m h w 3]`, uint8 or floats in [0, 1]; or a function from a row to one image.
        index: `[u k]` rows of the top images of each unit, best first; -1 where it has fewer.
        masks: `[u k h w]` where the unit is above its threshold in each of them, at any resolution; or a function from a
            unit to its `[k h w]`; None for plain images. Floats are the unit's maps instead: they are resized bilinearly and
            compared with `thresholds`.
        thresholds: `[u]` of maps; None where masks are masks.
        values: `[u k]` the unit's activation on each; None leaves them out.
        captions: one an image of the set, for example its class; or a function from a row to one; empty for none.

    Raises:
        ValueError: masks or values of another number of units or images than `index`, or maps without thresholds.
    """

    images: Pictures | Callable[[int], Picture]
    index: Int[np.ndarray, "_ _"]
    _: dataclasses.KW_ONLY
    masks: Masked | Callable[[int], np.ndarray] | None = None
    thresholds: Float[np.ndarray, "_"] | None = None
    values: Float[np.ndarray, "_ _"] | None = None
    captions: Sequence[str] | Callable[[int], str] = ()

    def __post_init__(self) -> None:
        for name, array in (("masks", self.masks), ("values", self.values)):
            if isinstance(array, np.ndarray) and array.shape[:2] != self.index.shape:
                raise ValueError(f"expected {name} of {self.index.shape} units and images, got {array.shape[:2]}.")
        if isinstance(self.masks, np.ndarray) and self.masks.dtype != bool and self.thresholds is None:
            raise ValueError("expected thresholds with maps, got none; write thresholds=, or masks=maps > thresholds.")
        _check_units("thresholds", self.thresholds, len(self.index))


@dataclasses.dataclass(frozen=True, eq=False)
class UnitSet:
    """One set of images on which the units of a layer were looked at.

    Attributes:
        name: what its images are: "real", "adversarial" or "noise" have their colours in the house; any other name is grey.
        labels: what the units detect on it; None where it carries no concepts.
        pictures: the units' top images; None for none.
    """

    name: str
    _: dataclasses.KW_ONLY
    labels: UnitLabels | None = None
    pictures: TopPictures | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Column:
    """A further column of the table of units: a number, a text or a yes/no for each of them.

    Attributes:
        name: its heading, short: "LC", "CS1", "AP", "formula".
        values: one a unit; None, NaN and empty texts are missing and print as a dash.
        note: one sentence that says what it is.
        decimals: of floats; None shows three significant digits.
    """

    name: str
    values: Sequence[Cell] | np.ndarray
    _: dataclasses.KW_ONLY
    note: str = ""
    decimals: int | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class UnitClasses:
    """Class distributions of the units' top images.

    Attributes:
        names: of all classes.
        shares: title -> `[u k]` share of each class among the unit's top images, for example "real", "adversarial, original
            class" and "adversarial, target class".

    Raises:
        ValueError: shares of another number of classes than `names`.
    """

    names: Sequence[str]
    shares: Mapping[str, Float[np.ndarray, "_ _"]]

    def __post_init__(self) -> None:
        for title, share in self.shares.items():
            if share.shape[1] != len(self.names):
                raise ValueError(f"{title!r}: expected shares of {len(self.names)} classes, got {share.shape[1]}.")


@dataclasses.dataclass(frozen=True, eq=False)
class UnitGallery:
    """Everything that is known of the units of one layer.

    Attributes:
        title: the network and the layer, for example "ResNet-18, layer4".
        num_units: units of the layer.
        sets: the sets of images; the first leads: its concepts name the units, sort and filter them.
        subtitle: one line under the title: what was run on what.
        text: how to read the page, plain text; a blank line begins a new paragraph.
        columns: further columns.
        counts: detectors by category with their null bands, drawn over the units; None for none.
        count_names: the categories of `counts`, in their order; empty takes those of the house.
        classes: class distributions, shown with a single unit; None for none.
        notes: a remark for single units: number -> plain text.
        dead: `[u]` units that never answer; None where unknown.
        threshold: IoU above which a unit detects; None where it is not said.
        provenance: name -> value: versions, device, commit, knobs, time.
        links: (title, address) of other pages, for example the galleries of the other layers.

    Raises:
        ValueError: no set, two sets or two columns of one name, or anything of another number of units than `num_units`.
    """

    title: str
    num_units: int
    sets: tuple[UnitSet, ...]
    _: dataclasses.KW_ONLY
    subtitle: str = ""
    text: str = ""
    columns: tuple[Column, ...] = ()
    counts: CategoryCounts | None = None
    count_names: Sequence[str] = ()
    classes: UnitClasses | None = None
    notes: Mapping[int, str] = dataclasses.field(default_factory=dict)
    dead: Bool[np.ndarray, "_"] | None = None
    threshold: float | None = None
    provenance: Mapping[str, str] = dataclasses.field(default_factory=dict)
    links: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if not self.sets:
            raise ValueError('expected at least one set of images, got none; write sets=(UnitSet("real"),).')
        for kind, names in (("sets", [one.name for one in self.sets]), ("columns", [one.name for one in self.columns])):
            if len(set(names)) != len(names):
                raise ValueError(f"expected {kind} of different names, got {', '.join(names)}.")
        for one in self.sets:
            if one.labels is not None:
                _check_units(f"the labels of {one.name!r}", one.labels.concept, self.num_units)
            if one.pictures is not None:
                _check_units(f"the index of {one.name!r}", one.pictures.index, self.num_units)
        for column in self.columns:
            _check_units(f"column {column.name!r}", column.values, self.num_units)
        for title, share in (self.classes.shares if self.classes else {}).items():
            _check_units(f"the classes of {title!r}", share, self.num_units)
        _check_units("dead", self.dead, self.num_units)


def _check_units(name: str, values: Sequence[Cell] | np.ndarray | None, count: int) -> None:
    if values is not None and len(values) != count:
        raise ValueError(f"expected {count} entries in {name}, one a unit, got {len(values)}.")
