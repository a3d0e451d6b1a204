"""The paper's whole study in minutes, on the embedded concept world, with the small networks that ship with the package.

Reproduces, at small scale: Dong, Su, Zhu, Bao, "Towards Interpretable Deep Neural Networks by Leveraging Adversarial
Examples" (2017): the adversarial data set, what units answer to, LC / CS1 / CS2 / r1 / r2, adversarial training with the
consistent loss, the same figures after it, and predictions traced to units. The page says of each claim whether it is
reproduced here.

    jaxinterp study configs/quickstart.py --workdir runs/quickstart
"""

import optax

from jaxinterp import attacks, data, models, pipelines, report, training


def quickstart(
    *,
    num_images: int = 1200,
    num_attacked: int = 500,
    num_targets: int = 2,
    attack_steps: int = 16,
    step_size: float = 4 / 255,
    decay: float = 0.3,
    distance_weight: float = 7e3,
    robust_distance_weight: float = 1.3e4,
    epsilon: float = 4 / 255,
    feature_weight: float = 1.0,
    num_finetuning_images: int = 4800,
    finetuning_steps: int = 105,
    learning_rate: float = 3e-3,
    num_held_out: int = 960,
    num_robustness: int = 240,
    num_traced: int = 240,
    num_null_draws: int = 8,
    seed: int = 0,
) -> pipelines.Study:
    """The whole study on the embedded concept world.

    Args:
        num_images: images that are analysed.
        num_attacked: how many of them are attacked.
        num_targets: least-likely classes each is driven to.
        attack_steps: iterations of the ensemble-optimization attack.
        step_size: of Adam, in [0, 1] units.
        decay: of Adam's mean gradient.
        distance_weight: lambda of the attack on the normal networks.
        robust_distance_weight: lambda of the attack on the trained networks, for about the same distortion.
        epsilon: of FGSM in training, and of FGSM and PGD in the table of accuracies, in [0, 1] units.
        feature_weight: beta of the consistent loss. AlexNet's adversarial cross-entropy has weight 2, the others' 1.
        num_finetuning_images: images of adversarial training.
        finetuning_steps: its steps, of 64 images, for VGG-16; ResNet-18 takes 9/5 and AlexNet, the fastest, 8/3 as many.
        learning_rate: its peak learning rate; ResNet-18 takes 2/3 of it.
        num_held_out: images on which accuracy is measured.
        num_robustness: how many of these are attacked for the table of accuracies.
        num_traced: adversarial images that are traced; of these the errors are patched, more than 200 here.
        num_null_draws: permutations behind each null of the detector counts.
        seed: of the world and of every draw.
    """
    held_out = seed + 100

    def steps_of(member: pipelines.Member) -> int:
        return round(finetuning_steps * {"AlexNet": 8 / 3, "ResNet-18": 9 / 5}.get(member.name, 1))

    def rate(member: pipelines.Member) -> optax.Schedule:
        steps, peak = steps_of(member), learning_rate * (2 / 3 if member.name == "ResNet-18" else 1)
        return optax.warmup_cosine_decay_schedule(peak / 10, peak, steps // 15, steps, peak / 50)

    def world(*, world_seed: int, count: int, background_only: bool = False) -> data.Source:
        drawn = data.concept_world(seed=world_seed, num_images=count, background_only=background_only)
        return data.cached(drawn, keep_concepts=world_seed == seed)

    return pipelines.Study(
        title="What the units of three small networks answer to",
        description=(
            f"Concept world: drawn images of 24 classes, {num_images:,} analysed, {num_attacked * num_targets:,} adversarial."
        ),
        methods=report.methods_paragraph(
            ["AlexNet", "VGG-16", "ResNet-18"],
            "an embedded world of drawn images (24 classes of WordNet, 64 x 64 pixels; small variants of the networks)",
            num_images=num_attacked,
            num_targets=num_targets,
            num_steps=attack_steps,
            step_size=step_size,
            distance_weight=distance_weight,
            top_k=100,
            epsilon=epsilon,
            feature_weight=feature_weight,
        )
        + " AlexNet's cross-entropy of the FGSM image counts twice.",
        members=(
            pipelines.Member("AlexNet", models.small_alexnet, "conv5"),
            pipelines.Member("VGG-16", models.small_vgg16, "conv5_3"),
            pipelines.Member("ResNet-18", models.small_resnet18, "layer4.1"),
        ),
        source=lambda: world(world_seed=seed, count=num_images),
        held_out=lambda: world(world_seed=held_out, count=num_held_out),
        background=lambda: world(world_seed=held_out, count=num_held_out, background_only=True),
        attack=lambda phase: attacks.ensemble_optimization(
            num_steps=attack_steps,
            step_size=step_size,
            decay=decay,
            distance_weight=distance_weight if phase == "normal" else robust_distance_weight,
        ),
        num_attacked=num_attacked,
        num_targets=num_targets,
        finetuning=pipelines.Training(
            source=lambda: world(world_seed=seed + 1, count=num_finetuning_images),
            objective=lambda member: training.consistent(
                attacks.fgsm(epsilon),
                layer=member.layer,
                feature_weight=feature_weight,
                adversarial_weight=2.0 if member.name == "AlexNet" else 1.0,
                statistics="frozen",
            ),
            optimizer=lambda member: optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(rate(member))),
            num_steps=steps_of,
            seed=seed,
            flip=True,
        ),
        robustness=pipelines.Robustness(epsilon=epsilon, num_images=num_robustness),
        num_traced=num_traced,
        num_null_draws=num_null_draws,
        num_null_images=300,
        num_bootstrap_draws=60,
        seed=seed,
    )
