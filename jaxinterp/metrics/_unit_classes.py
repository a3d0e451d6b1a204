"""Class distributions of every unit's top images under weights of the source images, and the scores made of them."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxinterp.metrics._consistency import consistency, normalized, unbiased_level_consistency


class ImagePool(NamedTuple):
    """The images that top images are drawn from, real or adversarial.

    Attributes:
        id: names the image in the lists of top images.
        source_id: id of the real image it was made from; of a real image its own id.
        label: class of that real image.
        target: class an attack aimed at; -1 of a real image.
    """

    id: Int[np.ndarray, " n"]
    source_id: Int[np.ndarray, " n"]
    label: Int[np.ndarray, " n"]
    target: Int[np.ndarray, " n"]


class TopImages(NamedTuple):
    """Ids of the top images of each unit, best first; -1 fills up where a unit has fewer.

    Attributes:
        real: ids in the real pool.
        adversarial: ids in the adversarial pool.
        clean: ids of the top clean images among those that were attacked (equal to `real` where all were).
    """

    real: Int[np.ndarray, "t u"]
    adversarial: Int[np.ndarray, "a u"]
    clean: Int[np.ndarray, "c u"]


class Entries(NamedTuple):
    """The top images of all units in one list.

    Attributes:
        unit: whose top image it is.
        source: its source image, numbered densely.
        row: its row in the pool.
    """

    unit: Int[np.ndarray, " e"]
    source: Int[np.ndarray, " e"]
    row: Int[np.ndarray, " e"]


class UnitClasses(NamedTuple):
    """What the scores of a bootstrap draw are computed from.

    Attributes:
        real: entries in the real pool.
        adversarial: entries in the adversarial pool.
        free: the attack-free control: entries in the adversarial pool of the top *clean* source images, each with all of its
            targets.
        real_pool: the real images.
        adversarial_pool: the adversarial images.
        pool_source: source image of each adversarial image, numbered densely.
        similarity: `D`.
        num_units: number of units.
        num_sources: number of source images.
    """

    real: Entries
    adversarial: Entries
    free: Entries
    real_pool: ImagePool
    adversarial_pool: ImagePool
    pool_source: Int[np.ndarray, " m"]
    similarity: Float[np.ndarray, "k k"]
    num_units: int
    num_sources: int


def gather(top: TopImages, real: ImagePool, adversarial: ImagePool, similarity: Float[np.ndarray, "k k"]) -> UnitClasses:
    """Looks the top images up in their pools.

    Raises:
        ValueError: an id that its pool lacks.
    """
    sources = np.unique(np.concatenate([real.source_id, adversarial.source_id]))
    pool_source = np.searchsorted(sources, adversarial.source_id)
    real_entries = _entries(top.real, real.id, np.searchsorted(sources, real.source_id), "top.real")
    adversarial_entries = _entries(top.adversarial, adversarial.id, pool_source, "top.adversarial")
    clean = _entries(top.clean, sources, np.arange(len(sources)), "top.clean")
    order = np.argsort(pool_source, kind="stable")
    copies = np.bincount(pool_source, minlength=len(sources))
    starts = np.cumsum(copies) - copies
    times = copies[clean.source]
    within = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
    rows = order[np.repeat(starts[clean.source], times) + within]
    free = Entries(np.repeat(clean.unit, times), np.repeat(clean.source, times), rows)
    entries = real_entries, adversarial_entries, free
    return UnitClasses(*entries, real, adversarial, pool_source, similarity, top.real.shape[1], len(sources))


def permuted_targets(rng: np.random.Generator, pool: ImagePool) -> Int[np.ndarray, " n"]:
    """The targets of a pool, shuffled among the images of the same original class."""
    targets = np.empty_like(pool.target)
    shuffled = np.lexsort((rng.random(len(pool.label)), pool.label))
    targets[np.argsort(pool.label, kind="stable")] = pool.target[shuffled]
    return targets


def random_targets(rng: np.random.Generator, pool: ImagePool, num_classes: int) -> Int[np.ndarray, " n"]:
    """A target for each image of a pool, each class but its own equally likely."""
    targets = rng.integers(0, num_classes - 1, len(pool.label))
    return targets + (targets >= pool.label)


def measure(rng: np.random.Generator, data: UnitClasses, weights: Float[np.ndarray, " s"]) -> dict[str, np.ndarray]:
    """CS1, CS2 and the controls of every unit when source image `i` counts `weights[i]` times."""
    num_classes = len(data.similarity)
    pool = data.adversarial_pool
    whole = np.zeros(data.num_sources, dtype=np.int64)

    def classes(entries: Entries, of_row: np.ndarray) -> np.ndarray:
        return normalized(_tally(data, entries, of_row, weights, whole)[0])

    real = classes(data.real, data.real_pool.label)
    marginal = np.bincount(pool.target, weights=weights[data.pool_source], minlength=num_classes)
    return {
        "cs1": consistency(real, classes(data.adversarial, pool.label)),
        "cs2": consistency(real, classes(data.adversarial, pool.target)),
        "attack_free": consistency(real, classes(data.free, pool.target)),
        "permuted": consistency(real, classes(data.adversarial, permuted_targets(rng, pool))),
        "marginal": consistency(real, np.broadcast_to(normalized(marginal), real.shape)),
        "random": consistency(real, classes(data.adversarial, random_targets(rng, pool, num_classes))),
    }


def measure_split(rng: np.random.Generator, data: UnitClasses, weights: Float[np.ndarray, " s"]) -> dict[str, np.ndarray]:
    """Scores on random parts of the source images that share no image: a half A, and B, two quarters.

    Returns:
        `lc_a`, `lc_b` LC_U in A and in B; `cs1_b`, `cs2_b`, `attack_free_b` in B; `disjoint` CS1 of the real top images of A
        with the adversarial ones of B, and `ceiling` the same with the real ones of B; `disjoint_b`, `ceiling_b` those two
        between the quarters of B.
    """
    part = np.minimum(rng.permutation(data.num_sources) * 4 // data.num_sources, 2)  # 0, 1 | 2, 3 -> A is {2}, B is {0, 1}
    pool = data.adversarial_pool
    real = _tally(data, data.real, data.real_pool.label, weights, part)
    label = _tally(data, data.adversarial, pool.label, weights, part)
    target = _tally(data, data.adversarial, pool.target, weights, part)
    free = _tally(data, data.free, pool.target, weights, part)
    squares = _squares(data, data.real, weights, part)

    def b(counts: np.ndarray) -> np.ndarray:
        return normalized(counts[0] + counts[1])

    p_a, p_b = normalized(real[2]), b(real)
    size_a, size_b = real[2].sum(axis=1), (real[0] + real[1]).sum(axis=1)
    with np.errstate(invalid="ignore"):
        effective_a = size_a**2 / np.where(squares[2] > 0, squares[2], np.nan)
        effective_b = size_b**2 / np.where(squares[0] + squares[1] > 0, squares[0] + squares[1], np.nan)
    return {
        "lc_a": unbiased_level_consistency(p_a, data.similarity, effective_a),
        "lc_b": unbiased_level_consistency(p_b, data.similarity, effective_b),
        "cs1_b": consistency(p_b, b(label)),
        "cs2_b": consistency(p_b, b(target)),
        "attack_free_b": consistency(p_b, b(free)),
        "disjoint": consistency(p_a, b(label)),
        "ceiling": consistency(p_a, p_b),
        "disjoint_b": consistency(normalized(real[0]), normalized(label[1])),
        "ceiling_b": consistency(normalized(real[0]), normalized(real[1])),
    }


def distributions(data: UnitClasses) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`p_real`, `q_orig` and `q_target` of every unit `[u k]`."""
    ones, one_part = np.ones(data.num_sources), np.zeros(data.num_sources, np.int64)
    pool = data.adversarial_pool
    p_real = _tally(data, data.real, data.real_pool.label, ones, one_part)[0]
    q_orig = _tally(data, data.adversarial, pool.label, ones, one_part)[0]
    q_target = _tally(data, data.adversarial, pool.target, ones, one_part)[0]
    return normalized(p_real), normalized(q_orig), normalized(q_target)


def _entries(top: np.ndarray, ids: np.ndarray, source: np.ndarray, name: str) -> Entries:
    filled = top >= 0
    unit = np.broadcast_to(np.arange(top.shape[1])[None, :], top.shape)[filled]
    order = np.argsort(ids, kind="stable")
    found = np.searchsorted(ids[order], top[filled])
    rows = order[np.minimum(found, len(ids) - 1)]
    if (ids[rows] != top[filled]).any():
        unknown = top[filled][ids[rows] != top[filled]][0]
        raise ValueError(f"expected {name} to hold ids of its pool, got {unknown}; put every scored image into the pool.")
    return Entries(unit, source[rows], rows)


def _tally(data: UnitClasses, entries: Entries, of_row: np.ndarray, weights: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Weight of every class among the top images of every unit, for each part of the source images `[part u k]`."""
    shape = int(part.max()) + 1, data.num_units, len(data.similarity)
    keys = (part[entries.source] * shape[1] + entries.unit) * shape[2] + of_row[entries.row]
    return np.bincount(keys, weights=weights[entries.source], minlength=int(np.prod(shape))).reshape(shape)


def _squares(data: UnitClasses, entries: Entries, weights: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Sum of the squared weights of the top images of every unit, for each part `[part u]`."""
    num_parts = int(part.max()) + 1
    keys = part[entries.source] * data.num_units + entries.unit
    sums = np.bincount(keys, weights=weights[entries.source] ** 2, minlength=num_parts * data.num_units)
    return sums.reshape(num_parts, data.num_units)
