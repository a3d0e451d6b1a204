"""Attacks of a fixed radius beside those of peers; `.ci/peers/attacks/fixed_radius.py` writes what the peers find."""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxinterp import Attack, Batch, attacks
from jaxinterp.attacks._fixed_radius import _momentum
from jaxinterp.attacks._gradient import value_gradient
from jaxinterp.attacks._inputs import shrunk
from tests.attacks import toys

pytestmark = pytest.mark.usefixtures("float64")

PEERS = np.load(pathlib.Path(__file__).parent / "parity" / "fixed_radius.npz")
EPSILON, STEP_SIZE, DECAY = (float(PEERS[name]) for name in ("epsilon", "step_size", "decay"))
NUM_STEPS = int(PEERS["num_steps"])
L2, L1 = ({"epsilon": float(PEERS[n][0]), "step_size": float(PEERS[n][1]), "num_steps": NUM_STEPS} for n in ("l2", "l1"))
LINF = {"epsilon": EPSILON, "step_size": STEP_SIZE, "num_steps": NUM_STEPS}
TARGETED = attacks.targeted(attacks.cross_entropy)


def example() -> tuple[Any, Batch]:
    """The toy that the peers get; its labels are what it predicts, its targets the third likeliest classes."""
    model, batch = toys.conv_model(dtype=np.float64, scale=1.5), toys.make_batch(4, dtype=np.float64)
    order = jnp.argsort(-model(batch.image)[0], axis=-1).astype(jnp.int32)
    return model, batch._replace(label=order[:, 0], target=order[:, 2])


def change(attack: Attack, *, image: Any = None) -> np.ndarray:
    """What the attack adds to the images, which may be others than those of the toy."""
    model, batch = example()
    batch = batch if image is None else batch._replace(image=image)
    state = attacks.run_batch(attack, model, batch, key=jax.random.key(0), unroll=False)
    return np.asarray(state.adversarial - batch.image)


@pytest.mark.parametrize(
    ("name", "attack"),
    [
        ("fgsm", attacks.fgsm(EPSILON)),
        ("fgsm_target", attacks.fgsm(EPSILON, loss=TARGETED)),
        ("bim", attacks.bim(**LINF)),
        ("bim_target", attacks.bim(**LINF, loss=TARGETED)),
        ("pgd", attacks.pgd(**LINF, random_start=False)),
        ("pgd_l2", attacks.pgd(**L2, norm="l2", random_start=False)),
        ("pgd_l2_target", attacks.pgd(**L2, norm="l2", random_start=False, loss=TARGETED)),
        ("mi_fgsm", attacks.mi_fgsm(**LINF, decay=DECAY)),
        ("mi_fgsm_target", attacks.mi_fgsm(**LINF, decay=DECAY, loss=TARGETED)),
        ("ni_fgsm", attacks.ni_fgsm(**LINF, decay=DECAY)),
        ("ni_fgsm_target", attacks.ni_fgsm(**LINF, decay=DECAY, loss=TARGETED)),
        ("si_ni_fgsm", attacks.ni_fgsm(**LINF, decay=DECAY, loss=attacks.scale_invariant(attacks.cross_entropy, num_copies=3))),
        *(
            (
                f"ti_fgsm_{kernel}",
                attacks.mi_fgsm(**LINF, decay=DECAY, smoothing=attacks.smooth_gradient(size=5, kernel=kernel)),
            )
            for kernel in ("gaussian", "uniform", "linear")
        ),
        # With probability 0 of a resized image it is MI-FGSM.
        ("di_fgsm", attacks.mi_fgsm(**LINF, decay=DECAY)),
    ],
)
def test_attack_is_that_of_torchattacks(name: str, attack: Attack) -> None:
    np.testing.assert_allclose(change(attack), PEERS[name], atol=1e-9, rtol=0)


@pytest.mark.parametrize(
    ("name", "attack"),
    [
        ("foolbox_pgd", attacks.pgd(**LINF, random_start=False)),
        ("foolbox_pgd_l2", attacks.pgd(**L2, norm="l2", random_start=False)),
        ("foolbox_pgd_l2_target", attacks.pgd(**L2, norm="l2", random_start=False, loss=TARGETED)),
        ("foolbox_fgm_l2", attacks.pgd(L2["epsilon"], norm="l2", step_size=L2["epsilon"], num_steps=1, random_start=False)),
    ],
)
def test_attack_is_that_of_foolbox(name: str, attack: Attack) -> None:
    np.testing.assert_allclose(change(attack), PEERS[name], atol=1e-9, rtol=0)


@pytest.mark.parametrize("name", ["vmi_fgsm", "vni_fgsm"])
def test_variance_tuning_with_the_draws_of_torchattacks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The images around are those that the peer drew, step by step."""
    model, batch = example()
    reach, draws = float(PEERS["radius"]), iter(PEERS[f"{name}_noise"] / 100)

    def around(values_at: Any, images: Any, *, num_samples: int) -> Any:
        offsets = reach * EPSILON * next(draws)
        found = [value_gradient(attacks.cross_entropy, None, model, images + offset, batch) for offset in offsets]
        return tuple(sum(parts) / num_samples for parts in zip(*found, strict=True))

    monkeypatch.setattr(_momentum, "mean_gradient", around)
    build = {"vmi_fgsm": attacks.vmi_fgsm, "vni_fgsm": attacks.vni_fgsm}[name]
    attack = build(**LINF, decay=DECAY, num_samples=int(PEERS["neighbours"]), reach=reach)
    state = attack.init(jax.random.key(0), model, batch)
    for _ in range(NUM_STEPS):
        state, _ = attack.step(jax.random.key(0), state, model, batch)
    np.testing.assert_allclose(np.asarray(state.adversarial - batch.image), PEERS[name], atol=1e-9, rtol=0)


def test_smaller_images_are_those_of_torchattacks() -> None:
    image = example()[1].image[0]
    for (side, row, column), theirs in zip(PEERS["di_draws"], PEERS["di_images"], strict=True):
        ours = shrunk(image, jnp.asarray(side / image.shape[0]), jnp.asarray([row, column], image.dtype))
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_l1_descent_of_foolbox_leaves_its_ball() -> None:
    """Its threshold is that of one entry too many; with that projection the driver gives its images."""
    _, batch = example()
    image, theirs = 0.4 + 0.2 * batch.image, PEERS["foolbox_sparse_l1"]
    assert 0 < np.min(theirs + image) < np.max(theirs + image) < 1
    assert np.all(np.abs(theirs).sum((1, 2, 3)) > L1["epsilon"] + 0.01)
    ours = change(attacks.pgd(**L1, norm="l1", random_start=False), image=image)
    np.testing.assert_allclose(np.abs(ours).sum((1, 2, 3)), L1["epsilon"], atol=1e-12)

    def project(adversarial: Any, clean: Any) -> Any:
        size = jnp.sort(jnp.abs(adversarial - clean), axis=None)[::-1]
        thresholds = (jnp.cumsum(size) - L1["epsilon"]) / jnp.arange(1, size.size + 1)
        threshold = thresholds[jnp.argmin(size > thresholds)]
        shrunk = jnp.sign(adversarial - clean) * jnp.maximum(jnp.abs(adversarial - clean) - threshold, 0.0)
        return jnp.where(jnp.sum(size) > L1["epsilon"], clean + shrunk, adversarial)

    ball = attacks.Ball(project=project, start=lambda key, clean: clean)
    rule = optax.chain(attacks.sparse_sign(0.01), optax.sgd(L1["step_size"]))
    attack = attacks.gradient_attack(attacks.cross_entropy, update_rule=rule, ball=ball, num_steps=NUM_STEPS)
    np.testing.assert_allclose(change(attack, image=image), theirs, atol=1e-9, rtol=0)


def test_l1_pgd_of_foolbox_is_another_rule_and_ball_on_the_same_driver() -> None:
    """Along the gradient over its L1 norm, and scaled back to the ball along the straight line."""
    image = 0.4 + 0.2 * example()[1].image

    def project(adversarial: Any, clean: Any) -> Any:
        move = adversarial - clean
        return jnp.clip(clean + move * jnp.minimum(1.0, L1["epsilon"] / jnp.sum(jnp.abs(move))), 0.0, 1.0)

    ball = attacks.Ball(project=project, start=lambda key, clean: clean)
    rule = optax.chain(attacks.normalize_l1(), optax.sgd(L1["step_size"]))
    attack = attacks.gradient_attack(attacks.cross_entropy, update_rule=rule, ball=ball, num_steps=NUM_STEPS)
    np.testing.assert_allclose(change(attack, image=image), PEERS["foolbox_pgd_l1"], atol=1e-9, rtol=0)


def test_mi_fgsm_of_foolbox_accumulates_signs() -> None:
    """Equation 6 of the paper accumulates gradients over their norms; with signs instead ours becomes theirs."""
    theirs = PEERS["foolbox_mi_fgsm"]
    assert np.abs(change(attacks.mi_fgsm(**LINF, decay=DECAY)) - theirs).max() > STEP_SIZE
    sign = optax.stateless(lambda updates, params: jax.tree.map(jnp.sign, updates))
    rule = optax.chain(sign, optax.trace(DECAY), optax.sign_sgd(STEP_SIZE))
    ball = attacks.linf(EPSILON)
    attack = attacks.gradient_attack(attacks.cross_entropy, update_rule=rule, ball=ball, num_steps=NUM_STEPS)
    np.testing.assert_allclose(change(attack), theirs, atol=1e-9, rtol=0)
