"""The study of LC, CS1 and CS2 over the units of a layer, with its controls, chance levels and intervals."""

from typing import NamedTuple

import numpy as np
import scipy.stats
from jaxtyping import Float, Int

from jaxinterp.metrics._bins import (
    Curve,
    bin_means,
    centred_interval,
    curve_over_bins,
    equal_bins,
    finite_column_means,
    finite_mean,
)
from jaxinterp.metrics._consistency import (
    Null,
    class_distribution,
    consistency,
    level_consistency,
    level_floor,
    level_null,
    null_of,
    random_sets,
    split_half_reliability,
    unbiased_level_consistency,
)
from jaxinterp.metrics._intervals import Interval, cluster_weights
from jaxinterp.metrics._unit_classes import ImagePool, TopImages, UnitClasses, distributions, gather, measure, measure_split

MIN_TOP = 100
"""A direction is claimed only with so many top images in each set."""

MIN_IMAGES, MIN_IMAGES_A_CLASS = 1000, 10
"""Below either, a study is called under-powered."""


EFFECTS = ("cs1", "excess", "ratio")
"""Scores whose movement with LC is estimated."""


class Effect(NamedTuple):
    """How a score moves with LC.

    Attributes:
        difference: its mean over the half of the units with the higher LC, minus that over the others.
        correlation: Spearman's rank correlation with LC over the units.
        direction: "rises" or "falls" where the interval of the difference excludes zero and both sets have at least 100 top
            images, else "undecided".
    """

    difference: Interval
    correlation: Interval
    direction: str


class ConsistencyStudy(NamedTuple):
    """LC, CS1 and CS2 of every unit of a layer, and what is needed to judge them.

    Attributes:
        scores: name -> value of each unit `[u]`. `lc`, `lc_u`; `cs1`, `cs2` and, smoothed by the taxonomy, `cs1_smoothed`,
            `cs2_smoothed`; the controls of CS2 `attack_free`, `permuted`, `marginal`, `random`; `excess`, CS2 minus
            attack-free; CS1 between disjoint source images `disjoint` and its real-real ceiling `ceiling`.
        bin: bin of each unit, by LC, of equal count.
        bin_lc: mean LC of each bin.
        curves: name -> curve over the bins: `cs1`, `cs2`, `excess`, the four controls, `disjoint`, `ceiling`.
        means: name -> mean over all units, for the same names.
        effects: how `cs1`, `excess` and `ratio` (disjoint over ceiling) move with LC, LC and score from different images.
        lc_null: LC_U of random sets of as many images.
        cs1_null: CS1 of random sets.
        cs2_null: CS2 of random sets.
        reliability: split-half reliability of LC_U over the units.
        num_top_real: top real images of each unit (the fewest).
        num_top_adversarial: top adversarial images of each unit (the fewest).
        num_images: real images.
        num_images_a_class: real images of the rarest class.
        floor: least LC that so many top images can give.
        under_powered: fewer than 1 000 real images or than 10 a class.
    """

    scores: dict[str, Float[np.ndarray, " u"]]
    bin: Int[np.ndarray, " u"]
    bin_lc: Float[np.ndarray, " b"]
    curves: dict[str, Curve]
    means: dict[str, Interval]
    effects: dict[str, Effect]
    lc_null: Null
    cs1_null: Null
    cs2_null: Null
    reliability: float
    num_top_real: int
    num_top_adversarial: int
    num_images: int
    num_images_a_class: int
    floor: float
    under_powered: bool


def consistency_study(
    rng: np.random.Generator,
    top: TopImages,
    real: ImagePool,
    adversarial: ImagePool,
    similarity: Float[np.ndarray, "k k"],
    *,
    num_bins: int = 10,
    num_draws: int = 200,
    num_splits: int = 20,
    num_null_sets: int = 1000,
    level: float = 0.95,
) -> ConsistencyStudy:
    """LC against CS1 and CS2 over the units of a layer, with controls.

    Scores are computed on all top images as in the paper. Unlike the paper, four controls stand beside CS2: `attack_free`
    (the top *clean* source images with the targets that their adversarial images had), `permuted` (targets shuffled among
    images of the same original class), `marginal` (all targets of the pool) and `random` (each other class equally likely).
    Effects take LC from one random half of the source images and the score from the other, since an image in both couples
    them. Intervals resample source images, the top lists held fixed; the draws are centred at the estimate, because drawing
    with replacement lowers every cosine.

    Args:
        rng: source of every draw.
        top: ids of the top images of each unit.
        real: the real images.
        adversarial: the adversarial images.
        similarity: `D`, of `jaxinterp.metrics.similarity`.
        num_bins: bins over LC, at most one a unit.
        num_draws: bootstrap draws.
        num_splits: random splits behind the estimate of each effect; a bootstrap draw takes a fifth as many, at least two,
            and the noise of taking fewer is taken out of its spread.
        num_null_sets: random sets behind the chance levels.
        level: coverage aimed at.

    Raises:
        ValueError: other numbers of units, ids missing from a pool, or classes outside `similarity`.

    References:
        Y. Dong, H. Su, J. Zhu, F. Bao, Towards Interpretable Deep Neural Networks by Leveraging Adversarial Examples,
        arXiv 1708.05493, 2017, Fig. 8.
    """
    _check(top, real, adversarial, len(similarity))
    data = gather(top, real, adversarial, similarity)
    if data.num_sources < 4:
        raise ValueError(f"expected at least 4 source images, got {data.num_sources}; a split needs one in each quarter.")
    ones = np.ones(data.num_sources)
    p_real, q_orig, q_target = distributions(data)
    sizes = (top.real >= 0).sum(axis=0)
    lc = level_consistency(p_real, similarity)
    bins = equal_bins(lc, min(num_bins, data.num_units))

    scores = _mean_of([measure(rng, data, ones) for _ in range(num_splits)])
    splits = [measure_split(rng, data, ones) for _ in range(num_splits)]
    scores |= _between(scores, _mean_of(splits))
    effects = _effects(splits)
    draws: list[dict[str, np.ndarray]] = []
    effect_draws: list[dict[str, np.ndarray]] = []
    for _ in range(num_draws):
        weights = cluster_weights(rng, data.num_sources).astype(np.float64)
        halves = [measure_split(rng, data, weights) for _ in range(max(2, num_splits // 5))]
        effect_draws.append(_effects(halves))
        full = measure(rng, data, weights)
        draws.append(full | _between(full, _mean_of(halves)))

    drawn = {name: np.asarray([draw[name] for draw in draws]).reshape(-1, data.num_units) for name in scores}
    curves = {name: curve_over_bins(scores[name], drawn[name], bins, level) for name in scores}
    means = {
        name: centred_interval(finite_mean(values), np.asarray([finite_mean(draw) for draw in drawn[name]]), level)
        for name, values in scores.items()
    }
    num_top = int(sizes.min()), int((top.adversarial >= 0).sum(axis=0).min())
    cs1_null, cs2_null = _cosine_nulls(rng, data, num_top, num_null_sets, level)
    num_classes = len(similarity)
    rarest = int(np.bincount(real.label, minlength=num_classes).min())
    extra = {
        "lc": lc,
        "lc_u": unbiased_level_consistency(p_real, similarity, sizes),
        "cs1_smoothed": consistency(p_real, q_orig, similarity=similarity),
        "cs2_smoothed": consistency(p_real, q_target, similarity=similarity),
    }
    return ConsistencyStudy(
        scores=extra | scores,
        bin=bins,
        bin_lc=bin_means(lc, bins),
        curves=curves,
        means=means,
        effects={name: _effect(name, effects, effect_draws, level, min(num_top) >= MIN_TOP) for name in EFFECTS},
        lc_null=level_null(rng, real.label, similarity, num_top[0], num_draws=num_null_sets, level=level),
        cs1_null=cs1_null,
        cs2_null=cs2_null,
        reliability=finite_mean(np.asarray([split_half_reliability(split["lc_a"], split["lc_b"]) for split in splits])),
        num_top_real=num_top[0],
        num_top_adversarial=num_top[1],
        num_images=len(real.id),
        num_images_a_class=rarest,
        floor=level_floor(num_top[0]),
        under_powered=len(real.id) < MIN_IMAGES or rarest < MIN_IMAGES_A_CLASS,
    )


def _check(top: TopImages, real: ImagePool, adversarial: ImagePool, num_classes: int) -> None:
    units = {ids.shape[1] for ids in top}
    if len(units) != 1 or min(units) < 2:
        raise ValueError(f"expected three lists over the same units, at least 2, got {sorted(units)} units.")
    for name, ids in top._asdict().items():
        fewest = (ids >= 0).sum(axis=0).min()
        if fewest < 2:
            raise ValueError(f"expected at least 2 images in every column of top.{name}, got {fewest}; leave out dead units.")
    for name, classes in (("real labels", real.label), ("labels", adversarial.label), ("targets", adversarial.target)):
        if not 0 <= classes.min() <= classes.max() < num_classes:
            got = f"{classes.min()} to {classes.max()}"
            raise ValueError(f"expected {name} from 0 to {num_classes - 1}, got {got}; similarity needs a row a class.")


def _between(full: dict[str, np.ndarray], split: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The scores that are made of two."""
    return {"excess": full["cs2"] - full["attack_free"], "disjoint": split["disjoint"], "ceiling": split["ceiling"]}


def _mean_of(rows: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Mean over the finite values of each unit, name by name."""
    return {name: finite_column_means(np.asarray([row[name] for row in rows])) for name in rows[0]}


def _effects(splits: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Name -> (difference, correlation) of each effect in each split `[split 2]`."""
    rows: dict[str, list[tuple[float, float]]] = {name: [] for name in EFFECTS}
    for split in splits:
        lc = split["lc_a"]
        finite = lc[np.isfinite(lc)]
        middle = float(np.median(finite)) if len(finite) else float("nan")
        halves = lc > middle, lc <= middle
        rows["cs1"].append(_moves(lc, split["cs1_b"], halves, None))
        rows["excess"].append(_moves(lc, split["cs2_b"] - split["attack_free_b"], halves, None))
        rows["ratio"].append(_moves(lc, split["disjoint_b"], halves, split["ceiling_b"]))
    return {name: np.asarray(row) for name, row in rows.items()}


def _moves(
    lc: np.ndarray, score: np.ndarray, halves: tuple[np.ndarray, np.ndarray], by: np.ndarray | None
) -> tuple[float, float]:
    """Difference between the units of high and low LC, of means or of ratios of means, and the rank correlation."""
    means = [finite_mean(score[half]) for half in halves]
    if by is not None:
        ceilings = [finite_mean(by[half]) for half in halves]
        means = [mean / ceiling if ceiling > 0 else float("nan") for mean, ceiling in zip(means, ceilings, strict=True)]
        score = score / np.where(by > 0, by, np.nan)
    both = np.isfinite(lc) & np.isfinite(score)
    ranks = [scipy.stats.rankdata(values[both]) for values in (lc, score)]
    varied = both.sum() > 2 and all(np.ptp(rank) > 0 for rank in ranks)
    return means[0] - means[1], float(np.corrcoef(*ranks)[0, 1]) if varied else float("nan")


def _effect(
    name: str, estimate: dict[str, np.ndarray], draws: list[dict[str, np.ndarray]], level: float, enough: bool
) -> Effect:
    means = finite_column_means(estimate[name])
    drawn = np.asarray([draw[name] for draw in draws]).reshape(len(draws), -1, 2)
    moved = [_without_split_noise(drawn[:, :, i], len(estimate[name])) for i in range(2)]
    difference, correlation = (centred_interval(float(means[i]), moved[i], level) for i in range(2))
    direction = "undecided"
    if enough and difference.low > 0:
        direction = "rises"
    if enough and difference.high < 0:
        direction = "falls"
    return Effect(difference, correlation, direction)


def _without_split_noise(draws: np.ndarray, num_splits: int) -> np.ndarray:
    """Means over the splits of each draw, drawn together to the spread they would have with `num_splits` splits each."""
    means = finite_column_means(draws.T)
    finite = means[np.isfinite(means)]
    within = [np.var(row[np.isfinite(row)], ddof=1) for row in draws if np.isfinite(row).sum() > 1]
    if len(finite) < 2 or not within or np.var(finite) == 0:
        return means
    excess = np.mean(within) * (1 / draws.shape[1] - 1 / num_splits) / np.var(finite)
    return finite.mean() + (means - finite.mean()) * np.sqrt(max(0.25, 1 - excess))


def _cosine_nulls(
    rng: np.random.Generator, data: UnitClasses, num_top: tuple[int, int], num_sets: int, level: float
) -> tuple[Null, Null]:
    """CS1 and CS2 of random sets of the same sizes."""
    num_classes = len(data.similarity)
    real, pool = data.real_pool, data.adversarial_pool
    drawn = random_sets(rng, len(real.id), num_top[0], num_sets)
    attacked = random_sets(rng, len(pool.id), num_top[1], num_sets)
    p = class_distribution(real.label[drawn], num_classes)
    cs1 = consistency(p, class_distribution(pool.label[attacked], num_classes))
    cs2 = consistency(p, class_distribution(pool.target[attacked], num_classes))
    return null_of(cs1, level=level), null_of(cs2, level=level)
