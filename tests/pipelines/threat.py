"""The standard evaluation of a shipped network with few steps, as a recipe. For tests; its figures mean nothing."""

from jaxinterp import attacks, data, models, pipelines


def threat(*, epsilon: float = 8 / 255, norm: str = "linf", num_images: int = 8) -> pipelines.Study:
    """A threat model and nothing else.

    Args:
        epsilon: radius.
        norm: "linf" or "l2".
        num_images: how many are attacked.
    """
    return pipelines.Study(
        title="Threat",
        description="One network, one threat model.",
        methods="",
        members=(pipelines.Member("ResNet-18", models.small_resnet18, "layer4.1"),),
        source=lambda: data.concept_world(seed=4321, num_images=24),
        attack=lambda phase: attacks.ensemble_optimization(num_steps=2),
        num_targets=1,
        standard=pipelines.Standard(
            epsilon=epsilon, norm=norm, num_images=num_images, num_steps=4, num_targets=2, max_queries=5, batch_size=8
        ),
    )
