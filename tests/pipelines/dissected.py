"""A shipped network over drawn images with concept labels, as a recipe. For tests; its figures mean nothing."""

from jaxinterp import attacks, data, models, pipelines


def dissected(*, num_images: int = 24, adversarial: bool = True) -> pipelines.Study:
    """A study of concept images and nothing else.

    Args:
        num_images: how many are dissected.
        adversarial: adversarial versions and the noise control too.
    """
    return pipelines.Study(
        title="Concepts",
        description="Two layers, three sets.",
        methods="",
        members=(pipelines.Member("AlexNet", models.small_alexnet, "conv5"),),
        source=None,
        attack=lambda phase: attacks.ensemble_optimization(num_steps=3, step_size=8 / 255, distance_weight=1e3),
        num_targets=1,
        dissection=pipelines.Dissection(
            source=lambda: data.cached(data.concept_world(seed=99, num_images=40)),
            layers={"AlexNet": ("conv3", "conv5")},
            adversarial=adversarial,
            num_images=num_images,
            label_size=32,
            min_images=2,
            num_null_draws=5,
            num_null_images=16,
            num_bootstrap_draws=10,
            num_formula_draws=5,
            num_top=4,
            batch_size=8,
        ),
        shard_size=10,
        attack_batch_size=8,
    )
