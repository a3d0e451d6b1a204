"""Which units to patch or ablate: the most influential ones, and others of equal activation as their control."""

import numpy as np
from jaxtyping import Bool, Float


def top_units(contribution: Float[np.ndarray, "n u"], *, count: int) -> Bool[np.ndarray, "n u"]:
    """The `count` units of greatest contribution, image by image.

    Args:
        contribution: as of `prediction_difference`.
        count: how many to select; of equal contributions the lower unit.

    Returns:
        True at the selected units.

    Raises:
        ValueError: `count` outside 0 to the number of units.
    """
    _check_count(count, contribution.shape[1])
    order = np.argsort(-contribution, axis=1, kind="stable")[:, :count]
    chosen = np.zeros(contribution.shape, bool)
    np.put_along_axis(chosen, order, True, axis=1)
    return chosen


def random_units_of_equal_activation(
    rng: np.random.Generator, chosen: Bool[np.ndarray, "n u"], activation: Float[np.ndarray, "n u"]
) -> Bool[np.ndarray, "n u"]:
    """As many other units, each about as active as the chosen one that it stands in for.

    For every chosen unit, in a random order, one of the three units nearest in mean activation that are neither chosen
    nor taken yet is drawn: what these units do to a prediction is what activation alone explains.

    Args:
        rng: source of the draws.
        chosen: the units to find stand-ins for.
        activation: mean activation of every unit on every image.

    Returns:
        True at the stand-ins: as many an image as `chosen` has, and none of them chosen.

    Raises:
        ValueError: when more than half of the units of an image are chosen.
    """
    if (2 * chosen.sum(axis=1) > chosen.shape[1]).any():
        raise ValueError(
            f"expected at most half of the {chosen.shape[1]} units to be chosen, got {int(chosen.sum(axis=1).max())}; "
            "ask for fewer."
        )
    control = np.zeros_like(chosen)
    for row in range(len(chosen)):
        free = ~chosen[row]
        for unit in rng.permutation(np.flatnonzero(chosen[row])):
            candidates = np.flatnonzero(free)
            distance = np.abs(activation[row, candidates] - activation[row, unit])
            nearest = candidates[np.argsort(distance, kind="stable")[:3]]
            taken = rng.choice(nearest)
            control[row, taken], free[taken] = True, False
    return control


def support(contribution: Float[np.ndarray, "n u"], class_share: Float[np.ndarray, "n u"]) -> Float[np.ndarray, " n"]:
    """How far the units that carry a prediction are units of that class.

    `sum_i max(c_i, 0) s_i / sum_i max(c_i, 0)`, with c the contribution of unit i to the predicted class and s the share of
    that class among the unit's own top real images. Low support is a sign that the network errs (our reading of "which
    units carried the error").

    Args:
        contribution: of every unit to the predicted class.
        class_share: s, of the class predicted for each image.

    Returns:
        A number in [0, 1] an image; 0 where no unit contributes.
    """
    weight = np.maximum(contribution, 0.0)
    total = weight.sum(axis=1)
    return np.divide((weight * class_share).sum(axis=1), total, out=np.zeros_like(total), where=total > 0)


def _check_count(count: int, num_units: int) -> None:
    if not 0 <= count <= num_units:
        raise ValueError(f"expected 0 to {num_units} units, got {count}.")
