"""Transfer between a shipped network and the same behind a defence, as a recipe. For tests; its figures mean nothing."""

from jaxinterp import attacks, data, models, pipelines


def transferred(*, epsilon: float = 8 / 255, num_images: int = 6) -> pipelines.Study:
    """A study of transfer and nothing else.

    Args:
        epsilon: radius.
        num_images: how many are attacked.
    """
    away = attacks.ensemble_logits(attacks.cross_entropy)
    return pipelines.Study(
        title="Transfer",
        description="Two networks, two attacks.",
        methods="",
        members=(
            pipelines.Member("AlexNet", models.small_alexnet, "conv5"),
            pipelines.Member("3 bits", lambda: models.with_bit_depth(models.small_alexnet(), 3), "conv5"),
        ),
        source=lambda: data.concept_world(seed=4321, num_images=24),
        attack=lambda phase: attacks.ensemble_optimization(num_steps=2),
        num_targets=1,
        transfer=pipelines.Transfer(
            sources={"AlexNet": ("AlexNet",), "both": ("AlexNet", "3 bits")},
            epsilon=epsilon,
            untargeted=attacks.mi_fgsm(epsilon, num_steps=2, loss=away),
            targeted=attacks.mi_fgsm(epsilon, num_steps=2, loss=attacks.targeted(away)),
            targets="least likely",
            num_images=num_images,
            batch_size=4,
        ),
    )
