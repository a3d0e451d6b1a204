"""Laws of the linear probe."""

import numpy as np
import pytest

from jaxinterp import metrics


def blobs(rng, count, *, gap=4.0, classes=3, units=6):
    labels = np.arange(count) % classes
    return gap * np.eye(units)[labels] + rng.normal(size=(count, units)), labels


def test_separated_classes_are_told_and_shuffled_ones_are_not():
    rng = np.random.default_rng(0)
    (features, labels), (held, held_labels) = blobs(rng, 120), blobs(rng, 90)
    found = metrics.linear_probe(features, labels, held, held_labels)
    assert found.accuracy.estimate > 0.95
    assert (found.num_training, found.num_held_out) == (120, 90)
    assert found.accuracy == metrics.wilson_interval(round(found.accuracy.estimate * 90), 90)
    assert found.chance == pytest.approx(1 / 3)
    nothing = metrics.linear_probe(features, rng.permutation(labels), held, held_labels)
    assert abs(nothing.accuracy.estimate - 1 / 3) < 0.2


def test_units_and_scales_do_not_matter():
    rng = np.random.default_rng(1)
    (features, labels), (held, held_labels) = blobs(rng, 90, gap=2), blobs(rng, 60, gap=2)
    scale, shift = np.exp(rng.normal(size=(1, 6)) * 4), rng.normal(size=(1, 6)) * 5
    found = metrics.linear_probe(features, labels, held, held_labels)
    same = metrics.linear_probe(features * scale + shift, labels, held * scale + shift, held_labels)
    assert abs(found.accuracy.estimate - same.accuracy.estimate) <= 1 / 60
    dead = [np.concatenate([rows, np.full((len(rows), 1), value)], axis=1) for rows, value in ((features, 0.1), (held, 7.0))]
    assert metrics.linear_probe(dead[0], labels, dead[1], held_labels).accuracy == found.accuracy


def test_equal_to_the_rule_with_the_chosen_cost_and_the_strongest_wins_ties():
    rng = np.random.default_rng(2)
    (features, labels), (held, held_labels) = blobs(rng, 60, gap=50), blobs(rng, 60, gap=50)
    assert metrics.linear_probe(features, labels, held, held_labels, costs=(1.0, 0.1)).cost == 0.1


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"labels": np.zeros(9, int)}, "at least two classes"),
        ({"features": np.full((9, 2), np.nan)}, "expected finite training"),
        ({"num_folds": 5}, "the images of the rarest class, got 5"),
        ({"costs": (0.0,)}, "expected costs above 0"),
    ],
)
def test_errors_say_what_to_write(change, match):
    given = {
        "features": np.zeros((9, 2)),
        "labels": np.arange(9) % 3,
        "held_out_features": np.zeros((3, 2)),
        "held_out_labels": np.arange(3),
    }
    with pytest.raises(ValueError, match=match):
        metrics.linear_probe(**given | change)
