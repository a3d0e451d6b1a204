"""Arrays as a source."""

import numpy as np
import pytest

from jaxinterp import data

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3), np.uint8)
LABELS = np.array([2, 0, 1, 1, 0])
CLASSES = ("n01", "n02", "n03")


def test_examples_are_the_rows():
    source = data.from_arrays(IMAGES, LABELS, classes=CLASSES, class_names=("one", "two", "three"))
    assert (len(source), source.image_size, source.classes, source.class_names) == (5, 4, CLASSES, ("one", "two", "three"))
    batch = next(data.batches(source, batch_size=8))
    np.testing.assert_array_equal(batch.image[:5], IMAGES.astype(np.float32) / 255)
    np.testing.assert_array_equal(batch.label[:5], LABELS)
    np.testing.assert_array_equal(batch.id[:5], np.arange(5))
    np.testing.assert_array_equal(batch.mask, np.arange(8) < 5)


def test_nobody_can_change_it_and_any_change_changes_the_fingerprint():
    images = IMAGES.copy()
    source = data.from_arrays(images, LABELS, classes=CLASSES)
    images[0] = 0
    np.testing.assert_array_equal(source[0].image, IMAGES[0])
    with pytest.raises(ValueError, match="read-only"):
        source[0].image[0] = 0
    others = [data.from_arrays(images, LABELS, classes=CLASSES), data.from_arrays(IMAGES, LABELS[::-1], classes=CLASSES)]
    others.append(data.from_arrays(IMAGES, LABELS, classes=CLASSES[::-1]))
    assert len({source.fingerprint, *(other.fingerprint for other in others)}) == 4
    assert data.from_arrays(IMAGES, LABELS.astype(np.int8), classes=CLASSES).fingerprint == source.fingerprint


@pytest.mark.parametrize(
    ("images", "labels", "knobs", "message"),
    [
        (IMAGES / 255, LABELS, {}, r"expected uint8 images, got float64; write np.round\(255 \* images\)"),
        (IMAGES[:, :3], LABELS, {}, r"expected square images \[n h h 3\], got shape \(5, 3, 4, 3\)"),
        (IMAGES[:0], LABELS[:0], {}, r"expected square images \[n h h 3\], got shape \(0, 4, 4, 3\)"),
        (IMAGES, LABELS[:4], {}, r"expected labels \[n\] for 5 images, got shape \(4,\)"),
        (IMAGES, LABELS + 1, {}, "expected labels in 0 to 2, got 1 to 3"),
        (IMAGES, LABELS, {"class_names": ("one",)}, "expected one name per class, got 1 for 3"),
    ],
)
def test_refused(images, labels, knobs, message):
    unchecked = data.from_arrays.__wrapped__  # pyright: ignore[reportFunctionMemberAccess]
    with pytest.raises(ValueError, match=message):
        unchecked(images, labels, classes=CLASSES, **knobs)
