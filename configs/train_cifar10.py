"""One network trained on CIFAR-10: normally, with the consistent loss, by TRADES, or with class-specific gates.

The adversarial training of Dong, Su, Zhu, Bao, "Towards Interpretable Deep Neural Networks by Leveraging Adversarial
Examples" (2017; journal 2022) beside normal training and TRADES, all else equal. `--images` is what `data.cifar10` reads:
cifar-10-python.tar.gz, or a folder with the images.

    jaxinterp train configs/train_cifar10.py --workdir runs/consistent --images cifar-10-python.tar.gz --objective consistent

The defaults are those of a GPU: ResNet-20, 64 epochs of 128 images. On a CPU, take `--num-steps 300 --batch-size 64`.
"""

from typing import Literal

import jax
import optax

from jaxinterp import Model, attacks, data, models, pipelines, training


def train_cifar10(
    *,
    images: str,
    objective: Literal[
        "standard", "consistent", "adversarial", "trades", "class_specific", "ensemble_adversarial", "distillation"
    ] = "consistent",
    epsilon: float = 8 / 255,
    feature_weight: float = 1.0,
    divergence_weight: float = 6.0,
    divergence_rise: int = 0,
    attack_steps: int = 1,
    layer: str = "layer3.2",
    static: tuple[str, ...] = (),
    temperature: float = 1.0,
    gate_rate: float = 0.1,
    gate_epoch: int = 391,
    gate_warm_up: int = 10,
    num_steps: int = 25_000,
    batch_size: int = 128,
    learning_rate: float = 0.1,
    weight_decay: float = 5e-4,
    ema_decay: float | None = None,
    dtype: Literal["float32", "bfloat16"] = "float32",
    weights: str | None = None,
    num_training: int | None = None,
    num_held_out: int | None = None,
    num_robustness: int = 1000,
    evaluate_every: int | None = None,
    num_checkpoints: int = 10,
    seed: int = 0,
) -> pipelines.Fit:
    """ResNet-20 on CIFAR-10.

    Args:
        images: an archive or a folder, see `data.cifar10`.
        objective: what is minimised.
        epsilon: radius of the attacks of training and evaluation, in [0, 1] units.
        feature_weight: beta of the consistent loss.
        divergence_weight: weight of the divergence of TRADES.
        divergence_rise: steps in which that weight rises from 0; at once, it makes a trained network forget.
        attack_steps: gradients of an attack in training: 1 is FGSM, more are PGD. TRADES takes at least 2.
        layer: whose activation the consistent loss compares, or whose units get class-specific gates; "layer3.2" is the end of
            the convolutional stack.
        static: weights of other ResNet-20s: the static networks of ensemble adversarial training, or the one teacher of
            defensive distillation, itself trained by `--objective standard --temperature T`.
        temperature: T of standard training, above 1 for a teacher, and of distillation; 20 and above in its paper.
        gate_rate: learning rate of the gate.
        gate_epoch: steps that are gated together, one such epoch in three; 1 alternates step by step, for a short training.
        gate_warm_up: such epochs before the first gated one.
        num_steps: of training.
        batch_size: images in a step.
        learning_rate: its peak; SGD with Nesterov's momentum of .9, linear warm-up over a tenth, then a cosine.
        weight_decay: times the weights, added to the gradient.
        ema_decay: decay of the averaged weights; none by default.
        dtype: what convolutions compute in.
        weights: a file to begin with; fresh weights by default.
        num_training: so many training images, spread evenly; all by default.
        num_held_out: so many test images, spread evenly; all by default.
        num_robustness: how many test images are attacked.
        evaluate_every: steps between evaluations on the way.
        num_checkpoints: written on the way.
        seed: of weights, order and every draw.
    """
    gated = training.gate_schedule(gate_epoch, warm_up=gate_warm_up)
    if (objective in ("ensemble_adversarial", "distillation")) != bool(static):
        raise ValueError(
            f"expected static networks for ensemble_adversarial and distillation alone, got {len(static)} for {objective}."
        )
    attack = attacks.fgsm(epsilon) if attack_steps == 1 else attacks.pgd(epsilon, num_steps=attack_steps)
    objectives = {
        "standard": lambda: training.standard(temperature=temperature),
        "consistent": lambda: training.consistent(attack, layer=layer, feature_weight=feature_weight),
        "adversarial": lambda: training.adversarial(attack),
        "ensemble_adversarial": lambda: training.ensemble_adversarial(attack, static_share=len(static) / (len(static) + 1)),
        "distillation": lambda: training.distillation(temperature=temperature),
        "class_specific": lambda: training.class_specific(gated=gated),
        "trades": lambda: training.trades(
            epsilon,
            num_steps=max(2, attack_steps),
            divergence_weight=optax.linear_schedule(0.0, divergence_weight, divergence_rise)
            if divergence_rise
            else divergence_weight,
        ),
    }

    def build() -> Model:
        key = jax.random.key(seed) if weights is None else None
        model = models.with_dtype(models.cifar_resnet20(weights=weights, key=key), None if dtype == "float32" else dtype)
        return models.gated(model, layer=layer) if objective == "class_specific" else model

    def filling() -> training.Filling:
        others = tuple(models.cifar_resnet20(weights=path) for path in static)
        if objective == "distillation":
            return training.answers_of(others[0], temperature=temperature)
        return training.adversaries_of(others, attack)

    def pictures(split: str, count: int | None) -> data.Source:
        return data.spread(data.cifar10(images, split), count)

    rate = optax.warmup_cosine_decay_schedule(0.0, learning_rate, max(1, num_steps // 10), num_steps)
    optimizer = optax.chain(optax.add_decayed_weights(weight_decay), optax.sgd(rate, momentum=0.9, nesterov=True))
    if objective == "class_specific":
        optimizer = training.gate_optimizer(optimizer, optax.sgd(gate_rate), gated=gated)
    return pipelines.Fit(
        title=f"ResNet-20 on CIFAR-10: {objective}",
        description=f"{num_steps:,} steps of {batch_size} images, epsilon {255 * epsilon:.3g}/255.",
        build=build,
        source=lambda: pictures("train", num_training),
        held_out=lambda: pictures("test", num_held_out),
        objective=objectives[objective](),
        optimizer=optimizer,
        num_steps=num_steps,
        batch_size=batch_size,
        robustness=pipelines.Robustness(epsilon=epsilon, num_images=num_robustness),
        evaluate_every=evaluate_every,
        num_checkpoints=num_checkpoints,
        augment=data.compose(data.random_crop(padding=4), data.random_flip()),
        filling=filling if static else None,
        options=training.StepOptions(ema_decay=ema_decay),
        seed=seed,
    )
