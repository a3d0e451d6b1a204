"""The small networks of the concept world, trained from nothing, and the study on them.

Makes the weights that ship with the package:

    jaxinterp train configs/concept_world.py --workdir runs/concept_world

leaves them in runs/concept_world/weights/normal; `jaxinterp study` on the same work directory goes on with the whole study.
Expect held-out accuracies of 90 % or more and background-only accuracies near chance (4.2 %).
"""

import jax
import optax

from jaxinterp import Model, attacks, data, models, pipelines, report, training


def concept_world(
    *,
    num_images: int = 2400,
    num_attacked: int = 1200,
    num_targets: int = 4,
    attack_steps: int = 20,
    step_size: float = 4 / 255,
    decay: float = 0.3,
    distance_weight: float = 7e3,
    robust_distance_weight: float = 1.3e4,
    epsilon: float = 4 / 255,
    feature_weight: float = 1.0,
    num_training_images: int = 24000,
    training_steps: int = 5000,
    training_rate: float = 4e-3,
    finetuning_steps: int = 600,
    learning_rate: float = 2e-3,
    num_held_out: int = 1920,
    num_robustness: int = 480,
    confounding: float = 0.0,
    seed: int = 0,
) -> pipelines.Study:
    """The small networks trained from nothing, and the whole study on them.

    Args:
        num_images: images that are analysed.
        num_attacked: how many of them are attacked.
        num_targets: least-likely classes each is driven to.
        attack_steps: iterations of the ensemble-optimization attack.
        step_size: of Adam, in [0, 1] units.
        decay: of Adam's mean gradient.
        distance_weight: lambda of the attack on the normal networks.
        robust_distance_weight: lambda of the attack on the trained networks.
        epsilon: of FGSM in training, and of FGSM and PGD in the table of accuracies, in [0, 1] units.
        feature_weight: beta of the consistent loss.
        num_training_images: images of both trainings.
        training_steps: steps of normal training, of 64 images; VGG-16, which learns in fewer, takes half of them.
        training_rate: its peak learning rate.
        finetuning_steps: steps of adversarial training, of 64 images.
        learning_rate: peak learning rate of adversarial training.
        num_held_out: images on which accuracy is measured.
        num_robustness: how many of these are attacked for the table of accuracies.
        confounding: how strongly texture and scene are tied to the class, 0 to 1.
        seed: of the world and of every draw.
    """
    plain = {"AlexNet": models.small_alexnet, "VGG-16": models.small_vgg16}
    builders = plain | {"ResNet-18": models.small_resnet18}
    layers = {"AlexNet": "conv5", "VGG-16": "conv5_3", "ResNet-18": "layer4.1"}

    def training_images() -> data.Source:
        world = data.concept_world(seed=seed + 1, num_images=num_training_images, confounding=confounding)
        return data.cached(world, keep_concepts=False)

    def member(index: int, name: str) -> pipelines.Member:
        return pipelines.Member(name, lambda: builders[name](key=jax.random.key(seed + index)), layers[name])

    def normalised(member: pipelines.Member, model: Model) -> Model:
        """AlexNet and VGG-16 are trained with batch normalisation, which is folded into their convolutions afterwards."""
        key = jax.random.key(seed + list(builders).index(member.name))
        return plain[member.name](key=key, batch_norm=True) if member.name in plain else model

    def folded(member: pipelines.Member, model: Model) -> Model:
        return models.fold_batch_norm(model) if member.name in plain else model

    def steps_of(member: pipelines.Member) -> int:
        return training_steps // 2 if member.name == "VGG-16" else training_steps

    def schedule(steps: int, peak: float) -> optax.GradientTransformation:
        rate = optax.cosine_onecycle_schedule(steps, peak, pct_start=0.15, div_factor=25, final_div_factor=100)
        return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(rate, weight_decay=0.02))

    return pipelines.Study(
        title="What the units of three small networks answer to, from nothing",
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
        ),
        members=tuple(member(index, name) for index, name in enumerate(builders)),
        source=lambda: data.cached(data.concept_world(seed=seed, num_images=num_images, confounding=confounding)),
        held_out=lambda: data.concept_world(seed=seed + 100, num_images=num_held_out),
        background=lambda: data.concept_world(seed=seed + 100, num_images=num_held_out, background_only=True),
        attack=lambda phase: attacks.ensemble_optimization(
            num_steps=attack_steps,
            step_size=step_size,
            decay=decay,
            distance_weight=distance_weight if phase == "normal" else robust_distance_weight,
        ),
        num_attacked=num_attacked,
        num_targets=num_targets,
        pretraining=pipelines.Training(
            source=training_images,
            objective=lambda member: training.standard(),
            optimizer=lambda member: schedule(steps_of(member), training_rate),
            num_steps=steps_of,
            seed=seed,
            num_checkpoints=10,
            flip=True,
            start=normalised,
            finish=folded,
        ),
        finetuning=pipelines.Training(
            source=training_images,
            objective=lambda member: training.consistent(
                attacks.fgsm(epsilon), layer=member.layer, feature_weight=feature_weight, statistics="frozen"
            ),
            optimizer=lambda member: schedule(finetuning_steps, learning_rate),
            num_steps=lambda member: finetuning_steps,
            seed=seed,
        ),
        occlusion=pipelines.Occlusion(occluder=12, stride=4, num_pictures=4),
        robustness=pipelines.Robustness(epsilon=epsilon, num_images=num_robustness),
        seed=seed,
    )
