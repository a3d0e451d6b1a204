"""MART: misclassified images weigh more."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxinterp import attacks
from jaxinterp._base import Batch, Model
from jaxinterp.attacks._ball import Scalar
from jaxinterp.training._objectives import Objective, Outcome, accuracy, attacked, expect_one_class, from_loss, masked_mean
from jaxinterp.training._passes import check_statistics, pass_both
from jaxinterp.training._trades import divergence_of
from jaxinterp.training._weight import Weight, check_weight, weight_at


def mart(
    epsilon: Scalar,
    *,
    step_size: Scalar | None = None,
    num_steps: int = 10,
    divergence_weight: Weight = 5.0,
    statistics: str = "mixed",
) -> Objective:
    """Misclassification-aware adversarial training: `BCE(f(x*), y) + w KL(f(x) || f(x*)) (1 - p_y(x))`.

    p are the probabilities, and the boosted cross-entropy is `BCE(f(x*), y) = -log p_y(x*) - log(1 - max_{k != y} p_k(x*))`:
    its second term is a margin. The divergence counts most where the clean image is misclassified. x* maximises the plain
    cross-entropy in the Linf ball, by PGD from a uniform draw of it; the network is evaluated in it. The gradient flows
    through both distributions and through the weight `1 - p_y(x)`.

    Unlike the authors' code, which adds small constants to probabilities before taking logarithms and to the weight, these are
    computed from the logits without any; and unlike there, where the start is 0.001 N(0, I), it is the paper's uniform one.

    Args:
        epsilon: Linf radius in [0, 1] units, such as `8 / 255`.
        step_size: of one step, in [0, 1] units; a quarter of epsilon by default.
        num_steps: number of gradients.
        divergence_weight: w, lambda of the paper; 5, as the authors' training script has it; or a function of the step.
        statistics: what normalises the images, "mixed", "split" or "frozen", as in `consistent`.

    Returns:
        An objective whose metrics are `loss`, `accuracy`, `adversarial_accuracy`, `boosted`, the first term, and
        `divergence`, the weighted one.

    Raises:
        ValueError: epsilon or step_size outside (0, 1], num_steps below 1, a negative weight, or another word for statistics.

    Example:
        >>> from jaxinterp import training
        >>> objective = training.mart(8 / 255)

    References:
        Y. Wang, D. Zou, J. Yi, J. Bailey, X. Ma, Q. Gu, "Improving Adversarial Robustness Requires Revisiting Misclassified
        Examples", ICLR 2020, section 3, the boosted cross-entropy and the objective of MART.
    """
    attack = attacks.pgd(epsilon, step_size=step_size, num_steps=num_steps)
    check_weight(divergence_weight, name="divergence_weight")
    check_statistics(statistics)

    def loss_of(key: Array, model: Model, batch: Batch, step: Array) -> Outcome:
        expect_one_class(batch, of="mart")
        attack_key, train_key = jax.random.split(key)
        moved = attacked(attack_key, attack, model, batch)
        clean, adversarial, stats = pass_both(train_key, model, batch.image, moved, statistics=statistics)
        log_clean, log_adversarial = (jax.nn.log_softmax(logits) for logits in (clean.logits, adversarial.logits))
        error = -jnp.expm1(_at_label(log_clean, batch))
        divergence = masked_mean(divergence_of(log_clean, log_adversarial) * error, batch.mask)
        boosted = masked_mean(_boosted(log_adversarial, batch), batch.mask)
        loss = boosted + weight_at(divergence_weight, step) * divergence
        metrics = {
            "loss": loss,
            "accuracy": accuracy(clean.logits, batch),
            "adversarial_accuracy": accuracy(adversarial.logits, batch),
            "boosted": boosted,
            "divergence": divergence,
        }
        return loss, (stats, metrics)

    return from_loss(loss_of)


def _boosted(log_probabilities: Float[Array, "n k"], batch: Batch) -> Float[Array, " n"]:
    """The boosted cross-entropy of each row; `log(1 - p)` is the logarithm of the sum of all others."""
    classes = jnp.arange(log_probabilities.shape[-1])[None]
    others = jnp.where(classes == batch.label[:, None], -jnp.inf, log_probabilities)
    rival = jnp.argmax(others, axis=-1)
    without = jnp.where(classes == rival[:, None], -jnp.inf, log_probabilities)
    return -_at_label(log_probabilities, batch) - jax.nn.logsumexp(without, axis=-1)


def _at_label(values: Float[Array, "n k"], batch: Batch) -> Float[Array, " n"]:
    return jnp.take_along_axis(values, batch.label[:, None], axis=-1)[:, 0]
