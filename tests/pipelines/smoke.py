"""A whole study in seconds: two tiny untrained networks on a handful of drawn images. For tests; its figures mean nothing."""

import jax
import optax

from jaxinterp import Model, attacks, data, models, pipelines, report, training


def smoke(
    *, num_images: int = 96, num_attacked: int = 24, epsilon: float = 8 / 255, training_steps: int = 6, seed: int = 0
) -> pipelines.Study:
    """Every stage of a study, as small as it can be.

    Args:
        num_images: images that are analysed.
        num_attacked: how many of them are attacked.
        epsilon: of FGSM.
        training_steps: of both trainings.
        seed: of every draw.
    """

    variant = {"num_classes": 24, "width": 1 / 16, "image_size": 32, "hidden": 16, "pool_size": 2, "dropout": 0.0}

    def alexnet() -> Model:
        return models.alexnet(output_stride=8, key=jax.random.key(seed), **variant)

    def vgg() -> Model:
        return models.vgg11(output_stride=8, batch_norm=True, key=jax.random.key(seed + 1), **variant)

    def world(count: int, first: int) -> data.Source:
        return data.cached(data.concept_world(seed=seed, num_images=count, image_size=32, first=first))

    def trained(objective) -> pipelines.Training:
        return pipelines.Training(
            source=lambda: world(48, 1000),
            objective=objective,
            optimizer=lambda member: optax.adam(1e-3),
            num_steps=lambda member: training_steps,
            batch_size=16,
            num_checkpoints=3,
        )

    return pipelines.Study(
        title="Smoke",
        description="Every stage, as small as it can be.",
        methods=report.methods_paragraph(
            ["AlexNet", "VGG-11"],
            "drawn images",
            num_images=num_attacked,
            num_targets=2,
            num_steps=2,
            step_size=5 / 255,
            distance_weight=1e3,
            top_k=9,
        ),
        members=(pipelines.Member("AlexNet", alexnet, "conv5"), pipelines.Member("VGG-11", vgg, "conv5_2")),
        source=lambda: world(num_images, 0),
        held_out=lambda: world(48, 2000),
        attack=lambda phase: attacks.ensemble_optimization(num_steps=2, distance_weight=1e3),
        num_attacked=num_attacked,
        num_targets=2,
        pretraining=trained(lambda member: training.standard()),
        finetuning=trained(lambda member: training.consistent(attacks.fgsm(epsilon), layer=member.layer)),
        robustness=pipelines.Robustness(epsilon=epsilon, num_images=16, num_steps=2),
        occlusion=pipelines.Occlusion(occluder=16, stride=16, num_pictures=1),
        shard_size=16,
        batch_size=32,
        attack_batch_size=16,
        num_traced=8,
        num_null_draws=5,
        num_null_images=32,
        num_bootstrap_draws=5,
        min_class_images=2,
        seed=seed,
    )
