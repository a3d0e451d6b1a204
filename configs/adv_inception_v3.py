"""The journal's Adv-Inc-v3: an adversarially trained Inception-v3 beside the normal one, last layer, real images, no training.

Answers Fig. 9 of doi 10.16383/j.aas.c200317: r1 and r2 of the adversarially trained network lie below those of a normal one.
The weights are timm's `inception_v3.tf_adv_in1k` and `inception_v3.tf_in1k` (ports of TensorFlow's of 2016 and 2017), fetched
when they are first needed; `--adversarial FILE` and `--normal FILE` take files instead. `--images` is a folder of images
with a labels.csv beside it (columns: index, wnid, name, file).

    jaxinterp study configs/adv_inception_v3.py --workdir runs/adv_inception --images IMAGES

On two cores the 1000 images of 299 pixels take hours; `--num-images 200 --num-attacked 20` is a first look.
`configs/cifar_robust.py` asks the same of small adversarially trained networks in minutes.
"""

import functools

from jaxinterp import Model, attacks, data, models, pipelines, report


def _network(weights: str) -> Model:
    return models.inception_v3(weights=weights, aux=False)


def adv_inception_v3(
    *,
    images: str,
    adversarial: str = "inception_v3.tf_adv_in1k",
    normal: str = "inception_v3.tf_in1k",
    labels: str = "labels.csv",
    num_images: int = 1000,
    num_attacked: int = 100,
    num_targets: int = 2,
    attack_steps: int = 20,
    step_size: float = 5 / 255,
    decay: float = 0.9,
    distance_weight: float = 1e5,
    epsilon: float = 4 / 255,
    num_traced: int = 60,
    seed: int = 0,
) -> pipelines.Study:
    """An adversarially trained Inception-v3 beside the normal one.

    Args:
        images: folder of the images.
        adversarial: weights of Adv-Inc-v3: a published name or a file.
        normal: weights of the normal Inception-v3: a published name or a file.
        labels: the CSV that lists the images; a path, or a name that is looked for in the folder and beside it.
        num_images: images that are analysed, spread evenly over the list.
        num_attacked: how many of them are attacked.
        num_targets: least-likely classes each is driven to.
        attack_steps: iterations of the ensemble-optimization attack.
        step_size: of Adam, in [0, 1] units.
        decay: of Adam's mean gradient.
        distance_weight: lambda.
        epsilon: of FGSM and of PGD in the table of accuracies; the journal's Table 2 has 4/255.
        num_traced: adversarial images that are traced.
        seed: of every draw.
    """
    networks = {"Inception-v3": normal, "Adv-Inc-v3": adversarial}
    return pipelines.Study(
        title="What the units of an adversarially trained Inception-v3 answer to",
        description=f"{num_images:,} real images, {num_attacked * num_targets:,} adversarial ones, published weights.",
        methods=report.methods_paragraph(
            list(networks),
            "ImageNet (299 x 299 pixels)",
            num_images=num_attacked,
            num_targets=num_targets,
            num_steps=attack_steps,
            step_size=step_size,
            distance_weight=distance_weight,
            top_k=max(num_images // 100, min(100, num_images // 10)),
            dissected=False,
        ),
        members=tuple(
            pipelines.Member(name, functools.partial(_network, weights), "Mixed_7c") for name, weights in networks.items()
        ),
        source=lambda: data.image_folder(images, labels=labels, image_size=299, num_images=num_images),
        attack=lambda phase: attacks.ensemble_optimization(
            num_steps=attack_steps, step_size=step_size, decay=decay, distance_weight=distance_weight
        ),
        num_attacked=num_attacked,
        num_targets=num_targets,
        robustness=pipelines.Robustness(epsilon=epsilon, num_images=min(num_images, 200)),
        shard_size=25,
        batch_size=16,
        attack_batch_size=10,
        num_traced=num_traced,
        seed=seed,
    )
