"""Explanations, ablation and discrepancy maps on a real network and real images."""

import jax
import numpy as np
import pytest

from jaxinterp import activations, metrics, models, tracing
from tests.conftest import SHARED

pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="needs the real weights")
LAYER = "layer3.2"


@pytest.fixture(scope="module")
def model():
    return models.cifar_resnet20(weights=SHARED / "data" / "weights" / "cifar10" / "resnet20.npz")


@pytest.fixture(scope="module")
def pictures():
    images, labels = (np.load(SHARED / "data" / "cifar10" / "lossless_200" / f"{name}_sdp.npy")[:40] for name in "Xy")
    images = images.astype(np.float32) / (255 if images.max() > 1 else 1)
    return images if images.shape[-1] == 3 else images.transpose(0, 2, 3, 1), labels.astype(int)


def test_a_real_logit_is_its_units_and_its_bias(model, pictures):
    images, labels = pictures
    found = tracing.explain(model, images, layer=LAYER, classes=labels, count=4)
    assert (found.logit - found.baseline > 0).mean() > 0.9
    np.testing.assert_allclose(found.gap, 0, atol=1e-4)
    # Without the units that add most, the class loses; a drop that random units of equal activation do not cause.
    sets = np.zeros((2, found.contribution.shape[1]), bool)
    sets[1, np.argsort(-found.contribution[labels == 3].mean(axis=0))[:12]] = True
    activation = np.abs(found.contribution).mean(axis=0)
    controls = tracing.matched_sets(np.random.default_rng(0), sets[1], activation, count=10)
    said = tracing.ablated_predictions(model, images, np.concatenate([sets, controls]), layer=LAYER, batch_size=40)
    effect = metrics.ablation_effect(np.random.default_rng(0), labels, said[0], said[1], said[2:], num_classes=10, num_draws=50)
    assert effect.drop[3] > effect.control_drop[3]


def test_a_real_units_answer_rests_on_few_pixels(model, pictures):
    images = pictures[0][:2]
    key, knobs = jax.random.key(0), {"layers": (LAYER,), "occluder": 5, "stride": 3, "batch_size": 100}
    found = activations.discrepancy_maps(key, model, images, **knobs)[LAYER]
    assert found.drop.shape == (2, 10, 10, 64)
    assert (found.drop <= found.value[:, None, None] + 1e-5).all()  # a rectified unit cannot lose more than it had
    regions, strong = activations.discrepancy_regions(found), found.value > np.median(found.value)
    assert 0 < regions.mean(axis=(1, 2))[strong].mean() < 0.3
