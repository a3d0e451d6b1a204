"""How many units would detect a concept if label maps had nothing to do with images: the permuted-label null."""

from typing import NamedTuple

import jax
import numpy as np
from jax import Array
from jaxtyping import Bool, Float64, Int, Int64
from scipy import stats

from jaxinterp.activations import AreaRule, MaskSet, Tally
from jaxinterp.metrics._dissection import Detectors, detectors, eligible_ious
from jaxinterp.metrics._intervals import benjamini_hochberg

_TAIL = 0.1  # share of the null draws to which the tail is fitted


class NullCount(NamedTuple):
    """A count beside its null.

    Attributes:
        observed: the count with every image's own label map.
        mean: its mean over the draws of the null.
        low: lower end of the band that holds 95 % of the draws.
        high: upper end of that band.
    """

    observed: int
    mean: float
    low: float
    high: float

    @property
    def excess(self) -> float:
        """What the claim is about: observed minus mean."""
        return self.observed - self.mean


class PermutedNull(NamedTuple):
    """Detectors beside what permuted label maps give.

    Attributes:
        observed: the detectors with every image's own label map, on the same images and at the same resolution.
        number: units that detect.
        unique: distinct concepts detected.
        by_best: units per category, each counted once.
        by_category: units per category by the rule of the paper's table.
        unique_by_best: distinct concepts per category behind `by_best`.
        p_value: per unit, the chance of so high a best IoU under the null.
        survives: units with more than chance, Benjamini-Hochberg over the layer.
        draws: best IoU of every unit in every draw.
        num_images: images that this rests on.
        num_sources: source images among them, which are what is permuted.
    """

    observed: Detectors
    number: NullCount
    unique: NullCount
    by_best: dict[str, NullCount]
    by_category: dict[str, NullCount]
    unique_by_best: dict[str, NullCount]
    p_value: Float64[np.ndarray, "u"]
    survives: Bool[np.ndarray, "u"]
    draws: Float64[np.ndarray, "d u"]
    num_images: int
    num_sources: int


def permuted_null(
    key: Array,
    masks: MaskSet,
    categories: tuple[str, ...],
    *,
    num_draws: int = 20,
    threshold: float = 0.04,
    min_images: int = 10,
    level: float = 0.05,
    area_rule: AreaRule = "carried",
) -> PermutedNull:
    """Detectors of a layer beside the same counts with the label maps shuffled between the images (our reading).

    Every draw pairs the masks of each image with the label map of another and counts everything anew, so the null has
    the masks' and the labels' own sizes, shapes and frequencies. Adversarial images of one source share a label map and
    have similar masks, so it is the sources that are permuted: they all get the label map of one other source.

    A unit's test statistic is its highest IoU over the concepts. It is standardised by the mean and the deviation of the
    unit's own draws (each draw by those of the other draws); the standardised draws of all units together are the
    reference, and a generalised Pareto distribution continues their upper tenth, so that few draws give small p-values.

    Args:
        key: random key of the permutations.
        masks: masks and label maps, image by image.
        categories: the category of every concept, "none" first.
        num_draws: permutations.
        threshold: a unit detects a concept when their IoU exceeds this.
        min_images: concepts that fewer images carry are left out.
        level: false discovery rate at which units survive.
        area_rule: for which categories |M_k| counts on an image, see `activations.tally`; observed and null alike.

    Returns:
        Observed and null counts, and a p-value per unit.

    Raises:
        ValueError: fewer than 5 draws, fewer than 2 sources, a concept number outside the table, or an unknown `area_rule`.

    References:
        Theo A. Knijnenburg, Lodewyk F. A. Wessels, Marcel J. T. Reinders, Ilya Shmulevich, "Fewer permutations, more
        accurate P-values", 2009. J. R. M. Hosking, J. R. Wallis, "Parameter and quantile estimation for the generalized
        Pareto distribution", 1987, probability-weighted moments. Yoav Benjamini, Yosef Hochberg, "Controlling the False
        Discovery Rate", 1995.
    """
    _, first, source = np.unique(masks.source_id, return_index=True, return_inverse=True)
    if num_draws < 5:
        raise ValueError(f"expected num_draws >= 5, got {num_draws}; write 20 or more.")
    if len(first) < 2:
        raise ValueError(f"expected at least 2 source images to permute, got {len(first)}; take more images.")
    touched = _is_touched(area_rule)
    pairs = MaskPairs(masks, categories)
    found = detectors(pairs.tally(np.arange(len(source)), touched=touched), threshold=threshold, min_images=min_images)
    best, null = [], []
    for draw in range(num_draws):
        order = np.asarray(jax.random.permutation(jax.random.fold_in(key, draw), len(first)))
        shuffled = pairs.tally(first[order[source]], touched=touched)
        null.append(detectors(shuffled, threshold=threshold, min_images=min_images))
        best.append(eligible_ious(shuffled, min_images)[0].max(axis=1))
    draws = np.stack(best)
    p_value = tail_p_values(found.iou, draws)
    return PermutedNull(
        observed=found,
        number=_beside(found.number, [one.number for one in null]),
        unique=_beside(found.unique, [one.unique for one in null]),
        by_best={name: _beside(n, [one.by_best[name] for one in null]) for name, n in found.by_best.items()},
        by_category={name: _beside(n, [one.by_category[name] for one in null]) for name, n in found.by_category.items()},
        unique_by_best={
            name: _beside(n, [one.unique_by_best[name] for one in null]) for name, n in found.unique_by_best.items()
        },
        p_value=p_value,
        survives=benjamini_hochberg(p_value, rate=level).rejected,
        draws=draws,
        num_images=len(source),
        num_sources=len(first),
    )


def tally_of_masks(
    masks: MaskSet,
    categories: tuple[str, ...],
    *,
    pairing: Int[np.ndarray, "n"] | None = None,
    area_rule: AreaRule = "carried",
) -> Tally:
    """The tally of stored masks, each image's masks paired with its own or with another image's label map.

    Args:
        masks: masks and label maps, image by image.
        categories: the category of every concept, "none" first.
        pairing: row of the label map that goes with each row's masks; None for its own.
        area_rule: for which categories |M_k| counts on an image, see `activations.tally`.

    Returns:
        The pixel counts; without a pairing they equal those of `activations.tally` over the same images.

    Raises:
        ValueError: a concept number outside the table, a pairing of another length, or an unknown `area_rule`.
    """
    touched = _is_touched(area_rule)
    rows = np.arange(len(masks.id)) if pairing is None else np.asarray(pairing)
    if rows.shape != masks.id.shape:
        raise ValueError(f"expected a pairing of {len(masks.id)} rows, got shape {rows.shape}.")
    return MaskPairs(masks, categories).tally(rows, touched=touched)


def _is_touched(area_rule: AreaRule) -> bool:
    if area_rule not in ("carried", "touched"):
        raise ValueError(f'expected area_rule="carried" or "touched", got {area_rule!r}.')
    return area_rule == "touched"


def tail_p_values(observed: Float64[np.ndarray, "u"], draws: Float64[np.ndarray, "d u"]) -> Float64[np.ndarray, "u"]:
    """P(null >= observed) of every unit, from few draws a unit and many units; 1 for units that never overlap anything.

    The deviation of a unit's draws is taken as at least 1 % of their mean, so that equal draws make no certainty.
    """
    count = len(draws)
    alive = draws.mean(axis=0) > 0
    p_value = np.ones(len(observed))
    if not alive.any():
        return p_value
    x = draws[:, alive]
    mean = x.mean(axis=0)
    spread = ((x - mean[None, :]) ** 2).sum(axis=0)
    others = mean[None, :] - (x - mean[None, :]) / (count - 1)
    left = spread[None, :] - (x - mean[None, :]) ** 2 * count / (count - 1)
    reference = (x - others) / np.maximum(np.sqrt(np.maximum(left, 0) / (count - 2)), 0.01 * others + 1e-12)
    score = (observed[alive] - mean) / np.maximum(np.sqrt(spread / (count - 1)), 0.01 * mean + 1e-12)
    p_value[alive] = _upper_tail(score, np.sort(reference.ravel()))
    return p_value


def _upper_tail(score: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """P(reference >= score): counted below the tail, a generalised Pareto distribution in it."""
    size = len(reference)
    tail = min(max(int(np.ceil(_TAIL * size)), 25), size // 2)
    start = reference[size - tail - 1]
    excess = reference[size - tail :] - start
    first, second = excess.mean(), (excess * np.arange(tail - 1, -1, -1)).mean() / (tail - 1)
    gap = first - 2 * second
    shape = np.clip(2 - first / gap, 0.0, 0.5) if gap > 0 else 0.5  # never a bounded tail: a certainty needs more draws
    scale = max(first * (1 - shape), 1e-12)
    counted = (1 + size - np.searchsorted(reference, score, side="left")) / (1 + size)
    fitted = tail / size * stats.genpareto.sf(np.maximum(score - start, 0), shape, scale=scale)
    return np.where(score > start, np.minimum(fitted, 1), counted)


def _beside(observed: int, null: list[int]) -> NullCount:
    low, high = np.quantile(null, (0.025, 0.975))
    return NullCount(observed, float(np.mean(null)), float(low), float(high))


class MaskPairs:
    """Masks as a list of (image, pixel, unit), which are few (0.5 % of the pixels), and label maps to look up."""

    def __init__(self, masks: MaskSet, categories: tuple[str, ...]) -> None:
        num_images, _, self.num_units = masks.mask.shape
        self.num_pixels, self.label_size, self.num_images = masks.concepts.shape[1], masks.label_size, num_images
        self.categories, self.num_concepts = tuple(categories), len(categories)
        self.names = tuple(dict.fromkeys(name for name in categories if name != "none"))
        if masks.concepts.max(initial=0) >= self.num_concepts:
            raise ValueError(
                f"expected concept numbers below {self.num_concepts}, got {int(masks.concepts.max())}; "
                "write categories= the table of the source that made the concept maps."
            )
        image, byte, unit = np.nonzero(masks.mask)
        entry, bit = np.nonzero(np.unpackbits(masks.mask[image, byte, unit][:, None], axis=1))
        self.image, self.pixel, self.unit = image[entry], byte[entry] * 8 + bit, unit[entry]
        self.layers = _without_repeats(masks.concepts)
        self.area = self._table(self.image, self.unit, num_images, self.num_units)
        row = np.repeat(np.arange(num_images), self.num_pixels)
        pixels = np.zeros((num_images, self.num_concepts), np.int64)
        for layer in self.layers:
            pixels += self._table(row, layer.ravel(), num_images, self.num_concepts)
        pixels[:, 0] = 0
        self.pixels, self.carries = pixels, pixels > 0
        self.member = np.asarray([[category == name for name in self.names] for category in categories])
        self.in_category: np.ndarray = self.carries.astype(np.int64) @ self.member.astype(np.int64) > 0

    @staticmethod
    def _table(row: np.ndarray, column: np.ndarray, rows: int, columns: int) -> Int64[np.ndarray, "r c"]:
        return np.bincount(row * columns + column, minlength=rows * columns).reshape(rows, columns)

    def tally(self, pairing: np.ndarray, *, touched: bool = False) -> Tally:
        """The counts when the masks of image i meet the label map of image `pairing[i]`."""
        where = pairing[self.image] * self.num_pixels + self.pixel
        shared = np.zeros((self.num_units, self.num_concepts), np.int64)
        for layer in self.layers:
            shared += self._table(self.unit, layer.ravel()[where], self.num_units, self.num_concepts)
        shared[:, 0] = 0
        return Tally(
            intersection=shared,
            unit_area=self._touched(where) if touched else self.area.T @ self.in_category[pairing].astype(np.int64),
            mask_area=self.area.sum(axis=0),
            label_area=self.pixels[pairing].sum(axis=0),
            concept_images=self.carries[pairing].sum(axis=0),
            num_images=self.num_images,
            label_size=self.label_size,
            categories=self.categories,
            category_names=self.names,
        )

    def overlaps(self) -> tuple[Int64[np.ndarray, "e"], Int64[np.ndarray, "e"], Int64[np.ndarray, "e"]]:
        """Where units and concepts share pixels, image by image: image, `unit * concepts + concept`, and how many pixels.

        Counts of any weighting of the images are weighted sums of these, which are far fewer than the pixels.
        """
        image, cell, shared = [], [], []
        start = np.searchsorted(self.image, np.arange(self.num_images + 1))
        for row in range(self.num_images):
            entries = slice(start[row], start[row + 1])
            label = np.concatenate([layer[row][self.pixel[entries]] for layer in self.layers])
            unit = np.tile(self.unit[entries], len(self.layers))
            found = np.bincount((unit * self.num_concepts + label)[label > 0])
            cell.append(np.flatnonzero(found))
            shared.append(found[cell[-1]])
            image.append(np.full(len(cell[-1]), row))
        return np.concatenate(image), np.concatenate(cell), np.concatenate(shared)

    def _touched(self, where: np.ndarray) -> Int64[np.ndarray, "u c"]:
        """Areas of the masks over the images where they touch a label of a category; `where` is the pixel of every entry."""
        columns = []
        for of_category in self.member.T:
            hit = np.zeros(len(where), bool)
            for layer in self.layers:
                hit |= of_category[layer.ravel()[where]]
            touches = self._table(self.image[hit], self.unit[hit], self.num_images, self.num_units) > 0
            columns.append((self.area * touches).sum(axis=0))
        return np.stack(columns, axis=1)


def _without_repeats(concepts: np.ndarray) -> list[np.ndarray]:
    """The label layers `[n p]`, 0 where an earlier layer holds the same concept."""
    layers = [concepts[:, :, index].astype(np.int64) for index in range(concepts.shape[2])]
    for index, layer in enumerate(layers):
        for earlier in layers[:index]:
            layer[layer == earlier] = 0
    return layers
