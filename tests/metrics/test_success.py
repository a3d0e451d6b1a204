"""Success rates against a table counted by hand."""

import numpy as np
import pytest

from jaxinterp.metrics import Scored, success_curve, success_table


def _scored() -> Scored:
    return Scored(
        predictions=np.asarray([[1, 1], [1, 2], [0, 0], [2, 2]]),
        targets=np.asarray([1, 1, 2, 2]),
        labels=np.asarray([0, 0, 0, 1]),
        clean_correct=np.asarray([[True, True], [True, True], [True, True], [True, False]]),
        source_ids=np.asarray([0, 0, 1, 2]),
        rms=np.asarray([0.01, 0.001, 0.002, 0.03]),
    )


def test_rates_and_denominators():
    table = success_table(_scored(), names=("a", "b"))
    found = {(rate.name, rate.kind, rate.denominator.split()[0]): (rate.successes, rate.trials) for rate in table.rates}
    assert found == {
        ("joint", "targeted", "all"): (2, 4),
        ("a", "targeted", "all"): (3, 4),
        ("b", "targeted", "all"): (2, 4),
        ("joint", "untargeted", "all"): (3, 4),
        ("a", "untargeted", "all"): (3, 4),
        ("b", "untargeted", "all"): (3, 4),
        ("joint", "targeted", "images"): (1, 3),
        ("a", "targeted", "images"): (2, 3),
        ("b", "targeted", "images"): (1, 3),
        ("joint", "untargeted", "images"): (2, 3),
        ("a", "untargeted", "images"): (2, 3),
        ("b", "untargeted", "images"): (2, 3),
    }
    for rate in table.rates:
        assert rate.interval.estimate == pytest.approx(rate.successes / rate.trials)
        assert 0 <= rate.interval.low <= rate.interval.estimate <= rate.interval.high <= 1
    assert table.joint.tolist() == [True, False, False, True]


def test_curve_counts_all_images():
    table = success_table(_scored(), thresholds=np.asarray([0.0, 0.01, 0.03]))
    assert table.curve.tolist() == [0, 0.25, 0.5]
    curve = success_table(_scored()).curve
    assert (np.diff(curve) >= 0).all()
    everything = success_curve(np.ones(5, dtype=bool), np.full(5, 0.1), np.asarray([0.09, 0.1]))
    assert everything.tolist() == [0, 1]


def test_no_correct_image_gives_no_rate():
    table = success_table(_scored()._replace(clean_correct=np.zeros((4, 2), dtype=bool)))
    last = table.rates[-1]
    assert (last.successes, last.trials) == (0, 0)
    assert np.isnan(last.interval.estimate)


def test_without_a_target_nothing_is_targeted():
    scored = _scored()._replace(targets=np.full(4, -1), predictions=np.full((4, 2), -1))
    assert not success_table(scored).joint.any()


def test_bad_shapes_are_refused():
    with pytest.raises(ValueError, match="names"):
        success_table(_scored(), names=("a",))
    with pytest.raises(ValueError, match="at least one"):
        success_table(Scored(*(array[:0] for array in _scored())))
