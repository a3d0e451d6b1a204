"""Ranks of the true class where logits are equal or not numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import Model, _mesh, data, models
from jaxinterp.pipelines._evaluation import ranks

CLASSES = ["n02084071", "n02121620", "n02374451"]
SOURCE = data.from_arrays(np.zeros((6, 4, 4, 3), np.uint8), np.arange(6) % 3, classes=CLASSES)


def says(logits: list[float]) -> Model:
    return models.from_function(
        lambda params, images: jnp.zeros((len(images), 1)) + params[None], jnp.asarray(logits), image_size=4, num_classes=3
    )


@pytest.mark.parametrize(
    ("logits", "expected"),
    [
        ([3.0, 1.0, 2.0], [0, 2, 1]),
        ([1.0, 1.0, 1.0], [0, 1, 2]),
        ([1.0, 2.0, 2.0], [2, 0, 1]),
        ([float("nan")] * 3, [3, 3, 3]),
        ([float("nan"), 2.0, 1.0], [3, 1, 2]),
    ],
)
def test_a_rank_is_that_of_the_prediction_and_never_good_without_numbers(logits, expected):
    model, mesh = says(logits), _mesh.data_mesh(1)
    found = ranks(jax.random.key(0), model, SOURCE, None, mesh=mesh, batch_size=4, title="clean")
    np.testing.assert_array_equal(found, expected * 2)
