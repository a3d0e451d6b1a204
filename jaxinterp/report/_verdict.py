"""The rule by which a measured effect becomes a verdict."""

import math

from jaxinterp.report._records import Verdict


def verdict(
    effect: float | int,
    interval: tuple[float | int, float | int],
    *,
    expected_sign: int,
    sample_size: int,
    under_powered: bool = False,
) -> Verdict:
    """The verdict on a claim of direction.

    A direction is claimed only with at least 100 images in each set and an interval that excludes zero:

    - "not testable here": nothing was measured (no image, or an effect or interval that is not finite);
    - "under-powered": fewer than 100 images in the smaller set, an interval that touches zero, or the caller says so;
    - "reproduced": the interval lies on the expected side of zero; "refuted": on the other side.

    Args:
        effect: the measured effect, control subtracted.
        interval: (low, high) of its confidence interval, clustered on the source images.
        expected_sign: +1 where the paper says that the effect is positive, -1 where negative.
        sample_size: number of images in the smaller of the sets compared.
        under_powered: True where another rule says that the sample decides nothing, for example fewer than 1 000 images
            or fewer than 10 a class.

    Returns:
        The verdict; never "pending", which is for claims not measured yet.

    Raises:
        ValueError: an expected sign that is neither 1 nor -1, or an interval whose low end is above its high end.
    """
    low, high = interval
    if expected_sign not in (1, -1):
        raise ValueError(f"expected expected_sign 1 or -1, got {expected_sign!r}.")
    if low > high:
        raise ValueError(f"expected an interval (low, high), got {interval}; swap its ends.")
    if sample_size <= 0 or not all(math.isfinite(value) for value in (effect, low, high)):
        return "not testable here"
    if under_powered or sample_size < 100 or low <= 0 <= high:
        return "under-powered"
    return "reproduced" if (low > 0) == (expected_sign > 0) else "refuted"
