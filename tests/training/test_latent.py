"""Adversarial training with latent attacks: whole steps of it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxinterp import _mesh, attacks, models, training
from tests.attacks.toys import make_batch


def test_steps_on_two_devices_learn_and_keep_the_norms():
    model = models.iresnet(blocks=(1,), hidden=(4,), image_size=6, num_classes=5, key=jax.random.key(0))

    def decode(model, latent):
        return models.decode(model, latent, num_iterations=8)

    objective = training.adversarial(attacks.latent_attack(models.encode, decode, models.readout), clean_weight=0.5)
    optimizer, mesh = optax.adam(1e-2), _mesh.data_mesh(2)
    step = training.sharded_step(objective, optimizer, mesh)
    batch = make_batch(8, with_targets=False)
    batch = jax.device_put(batch._replace(label=jnp.arange(8, dtype=jnp.int32) % 5), _mesh.sharded(mesh))
    state = jax.device_put(training.init_state(optimizer, model), _mesh.replicated(mesh))
    losses = []
    for _ in range(12):
        state, metrics = step(jax.random.key(1), state, batch)
        losses.append(float(metrics["loss"]))
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]
    bounds = models.lipschitz_bounds(models.power_iterated(jax.device_get(state.model)))
    assert bounds.layers.max() <= 0.9 * (1 + 1e-3)
