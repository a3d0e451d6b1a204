"""The methods paragraph of a study, for a reader who wants to describe it in a paper of their own."""

from collections.abc import Sequence

_ATTACK = """
Adversarial images were made from {images} images of {source} against {models} by ensemble optimization
[dong2017; dong2022]: lambda d(x, x*) plus the {mean}cross-entropy towards the target class was minimised by Adam
[kingma2015] ({num_steps} steps of {step}, lambda = {distance_weight}, d the mean squared difference of images in
[0, 1], projected to [0, 1]). Targets were the {num_targets} least likely classes of each image{by}, which gives
{adversarial} adversarial images. They are stored with 8 bits, and success is that of the stored images.
"""
_UNITS = """
A unit is a channel of a convolutional layer; its activation on an image is the largest value of its map, and its top
images are the {top_k} with the highest activation. {dissection}LC and the consistencies CS1 and CS2 [dong2017] use shortest
hypernym paths between classes in WordNet [miller1995] and a similarity of width sigma = {sigma}, which is our reading.
Intervals are clustered on the real image that adversarial images share.
"""
_DISSECTION = """
Units were compared with concepts by Network Dissection [bau2017]: threshold at the {quantile} upper quantile, detector at
IoU > {iou_threshold}, each count beside that of label maps permuted between images; where single units are named, the false
discovery rate is held at 5 % [benjamini1995].
"""
_CONCEPTS = """
The units of {models} were compared with the concepts of {source} by Network Dissection [bau2017]: a unit's mask is where its
bilinearly upsampled map exceeds its upper {quantile} quantile over all positions of all images, and it detects the concept of
highest IoU where that exceeds {iou_threshold}. Concepts that fewer than {min_images} images carry were left out. Each count
stands beside that of label maps permuted between images ({num_null_draws} permutations); where single units are named, the
false discovery rate is held at 5 % [benjamini1995].
"""
_BEYOND = """
Beside the single concept stand the formula of two concepts, joined by and, or, and not, of highest IoU [mu2020], and the
concept, of those that at most half of the images carry, for which a unit's maximum ranks images with the highest lift in
average precision; each beside the same search with label maps permuted between images ({num_formula_draws} permutations).
"""
_PERTURBED = """
Adversarial versions of the images were made against {models} by ensemble optimization [dong2017; dong2022]: lambda d(x, x*)
plus the {mean}cross-entropy towards the least likely class was minimised by Adam [kingma2015] ({num_steps} steps of {step},
lambda = {distance_weight}, d the mean squared difference of images in [0, 1]). Thresholds are those of the real images. The
control adds another image's perturbation of the same norm.
"""
_TRAINING = """
The networks were then fine-tuned on the sum of the cross-entropies of the real image and of its FGSM image
[goodfellow2015] at epsilon = {epsilon}, plus {feature_weight} times the mean squared distance of their features
[dong2017]; robust accuracy is measured with FGSM and with PGD [madry2018], and the adversarial images were made anew
against the trained networks.
"""
_GATES = """
How far units belong to classes was measured on {num_images} held-out images by a gate for each unit and class
[liang2020], fitted to the frozen network in {num_steps} steps: cross-entropy with every activation multiplied by the
gate of the image's class, plus {weight} times what the L1 norm of the gate exceeds {density} of its size; and by the
mutual information score, the mean over units of the largest information of the unit's mean activation about one class,
beside that of permuted labels.
"""
_DEPTH = """
Selectivity for depth is that of You et al. [you2021] over {num_bins} bins of increasing spacing from {nearest} to
{farthest} m, the bin chosen on one half of the images and scored on the other; errors are the absolute relative error,
the root mean squared error and the shares within 1.25 [eigen2014].
"""


def methods_paragraph(
    models: Sequence[str],
    source: str,
    *,
    num_images: int,
    num_targets: int,
    num_steps: int,
    step_size: float | int,
    distance_weight: float | int,
    top_k: int,
    sigma: float | int = 2.0,
    dissected: bool = True,
    quantile: float = 0.005,
    iou_threshold: float = 0.04,
    epsilon: float | int | None = None,
    feature_weight: float | int | None = None,
) -> str:
    """What was done, in a paragraph or two, with the keys of the works it rests on.

    Args:
        models: names of the networks of the ensemble.
        source: the images, in words, for example "the procedural concept world (24 classes, 64 x 64 pixels)".
        num_images: real images attacked.
        num_targets: adversarial images a real image.
        num_steps: iterations of Adam.
        step_size: of Adam, images in [0, 1].
        distance_weight: lambda, the weight of the mean squared distance.
        top_k: top images a unit.
        sigma: width of the similarity of classes, in WordNet edges.
        dissected: whether units were compared with concepts.
        quantile: share of positions at which a unit is above its threshold.
        iou_threshold: least IoU of a detector.
        epsilon: of FGSM in adversarial training; None where no network was trained.
        feature_weight: beta, the weight of the feature distance; None where no network was trained.

    Returns:
        Plain text, a blank line between paragraphs; `citations` lists the keys for `bibliography`.

    Raises:
        ValueError: no model, or only one of `epsilon` and `feature_weight`.
    """
    if not models:
        raise ValueError("expected the name of at least one model, got none.")
    if (epsilon is None) != (feature_weight is None):
        raise ValueError("expected both of epsilon and feature_weight (a trained study) or neither; give the other one too.")
    several = len(models) > 1
    dissection = _DISSECTION.format(quantile=f"{quantile:g}", iou_threshold=f"{iou_threshold:g}") if dissected else ""
    parts = [
        _ATTACK.format(
            images=f"{num_images:,}",
            source=source,
            models=_listed(models),
            mean="mean over the networks of the " if several else "",
            num_steps=num_steps,
            step=f"{step_size * 255:.3g}/255",
            distance_weight=f"{distance_weight:g}",
            num_targets=num_targets,
            by=" by the mean probability over the networks" if several else "",
            adversarial=f"{num_images * num_targets:,}",
        ),
        _UNITS.format(top_k=top_k, dissection=dissection, sigma=f"{sigma:g}"),
    ]
    if epsilon is not None and feature_weight is not None:
        parts.append(_TRAINING.format(epsilon=f"{epsilon * 255:.3g}/255", feature_weight=f"{feature_weight:g}"))
    return "\n\n".join(" ".join(part.split()) for part in parts)


def dissection_paragraph(
    models: Sequence[str],
    source: str,
    *,
    quantile: float = 0.005,
    iou_threshold: float = 0.04,
    min_images: int = 10,
    num_null_draws: int = 100,
    num_formula_draws: int = 0,
    num_steps: int | None = None,
    step_size: float | int | None = None,
    distance_weight: float | int | None = None,
) -> str:
    """How networks were dissected over concept images, in a paragraph or two, with the keys of the works it rests on.

    Args:
        models: names of the networks.
        source: the concept images, in words, for example "Broden (63,305 images)".
        quantile: share of positions at which a unit is above its threshold.
        iou_threshold: least IoU of a detector.
        min_images: concepts that fewer images carry are left out.
        num_null_draws: permutations of the label maps.
        num_formula_draws: the same for formulas and average precision; 0 where there are none.
        num_steps: iterations of Adam of the attack on the images; None where they were not attacked.
        step_size: of Adam, images in [0, 1].
        distance_weight: lambda, the weight of the mean squared distance.

    Returns:
        Plain text, a blank line between paragraphs; `citations` lists the keys for `bibliography`.

    Raises:
        ValueError: no model, or only some of the attack's numbers.
    """
    if not models:
        raise ValueError("expected the name of at least one model, got none.")
    concepts = _CONCEPTS.format(
        models=_listed(models),
        source=source,
        quantile=f"{quantile:g}",
        iou_threshold=f"{iou_threshold:g}",
        min_images=min_images,
        num_null_draws=num_null_draws,
    )
    if num_formula_draws:
        concepts += _BEYOND.format(num_formula_draws=num_formula_draws)
    if num_steps is None and step_size is None and distance_weight is None:
        return " ".join(concepts.split())
    if num_steps is None or step_size is None or distance_weight is None:
        raise ValueError("expected num_steps, step_size and distance_weight (attacked images) or none of them; give all three.")
    perturbed = _PERTURBED.format(
        models=_listed(models),
        mean="mean over the networks of the " if len(models) > 1 else "",
        num_steps=num_steps,
        step=f"{step_size * 255:.3g}/255",
        distance_weight=f"{distance_weight:g}",
    )
    return "\n\n".join(" ".join(part.split()) for part in (concepts, perturbed))


def _listed(models: Sequence[str]) -> str:
    return f"{', '.join(models[:-1])} and {models[-1]}" if len(models) > 1 else models[0]


def gates_paragraph(*, num_images: int, num_steps: int, regulariser_weight: float | int, density: float | int) -> str:
    """How class-specific gates were measured, in a paragraph with the key of the work it rests on.

    Args:
        num_images: held-out images.
        num_steps: in which a gate was fitted.
        regulariser_weight: of the excess of the gate's norm.
        density: up to which that norm is free.
    """
    shown = {"num_images": f"{num_images:,}", "num_steps": num_steps, "weight": f"{regulariser_weight:g}"}
    return " ".join(_GATES.format(**shown, density=f"{density:g}").split())


def depth_paragraph(*, num_bins: int, nearest: float | int, farthest: float | int) -> str:
    """How selectivity for depth was measured, in a paragraph with the keys of the works it rests on.

    Args:
        num_bins: bins of depth.
        nearest: lower edge of the first bin in metres.
        farthest: upper edge of the last bin in metres.
    """
    return " ".join(_DEPTH.format(num_bins=num_bins, nearest=f"{nearest:g}", farthest=f"{farthest:g}").split())
