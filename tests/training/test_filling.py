"""What other networks add to a batch: their adversarial images, drawn network by network, and a teacher's answers."""

import jax
import numpy as np
import pytest

from jaxinterp import attacks, training
from tests.attacks.toys import conv_model, make_batch

FGSM = attacks.fgsm(8 / 255)


def test_every_batch_is_attacked_on_one_of_the_static_networks():
    networks = tuple(conv_model(seed) for seed in (1, 2))
    batch = make_batch(6, with_targets=False)
    filling = training.adversaries_of(networks, FGSM)
    fill = jax.jit(filling.fill)
    # FGSM draws nothing, so its answer is known whatever the key.
    each = [np.asarray(attacks.run_batch(FGSM, one, batch, key=jax.random.key(0)).adversarial) for one in networks]
    drawn = []
    for seed in range(12):
        (found,) = fill(jax.random.key(seed), filling.networks, batch).values()
        same = [np.allclose(found, images, atol=1e-6) for images in each]
        assert sum(same) == 1
        drawn.append(same.index(True))
    assert set(drawn) == {0, 1}


def test_a_teacher_answers_at_its_temperature():
    teacher, batch = conv_model(1), make_batch(6, with_targets=False)
    filling = training.answers_of(teacher, temperature=5.0)
    found = filling.fill(jax.random.key(0), filling.networks, batch)
    expected = jax.nn.softmax(teacher(batch.image)[0] / 5)
    np.testing.assert_allclose(found["probabilities"], expected, atol=1e-6)
    loss, _ = training.distillation(temperature=5.0)(jax.random.key(0), conv_model(2), batch._replace(extra=found))
    assert np.isfinite(loss)


def test_what_it_does_not_take():
    with pytest.raises(ValueError, match="at least one static network"):
        training.adversaries_of((), FGSM)
    with pytest.raises(ValueError, match="expected temperature > 0"):
        training.answers_of(conv_model(1), temperature=0.0)
