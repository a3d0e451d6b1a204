"""The paper's adversarial training at full scale: AlexNet, VGG-16, ResNet-18 or ResNet-50 on ImageNet.

The consistent loss on FGSM images of 4/255 of Dong, Su, Zhu, Bao, "Towards Interpretable Deep Neural Networks by Leveraging
Adversarial Examples" (2017; journal 2022), fine-tuned from published weights, in bfloat16, beside standard training.
`--images` is a folder of folders, one a class; without it TFDS reads imagenet2012 from `--data-dir`. The same line runs on one
device and on a pod. It has not been run at full scale.

    jaxinterp train configs/train_imagenet.py --workdir runs/resnet18 --images imagenet/train --held-out imagenet/val
    jaxinterp show configs/train_imagenet.py --network resnet50 --topology v5e:4x4
"""

import pathlib
from typing import Literal

import jax
import optax

from jaxinterp import Model, attacks, data, models, pipelines, training

LAYERS = {"alexnet": "conv5", "vgg16": "conv5_3", "resnet18": "layer4.1", "resnet50": "layer4.2"}
"""Network -> the end of its convolutional stack."""


def train_imagenet(
    *,
    network: Literal["alexnet", "vgg16", "resnet18", "resnet50"] = "resnet18",
    objective: Literal["standard", "consistent", "adversarial"] = "consistent",
    images: str | None = None,
    held_out: str | None = None,
    data_dir: str | None = None,
    weights: str | None = None,
    num_classes: int = 1000,
    epsilon: float = 4 / 255,
    feature_weight: float = 1.0,
    num_steps: int = 12_500,
    batch_size: int = 1024,
    learning_rate: float = 0.04,
    weight_decay: float = 1e-4,
    label_smoothing: float = 0.0,
    mixup: float | None = None,
    cutmix: float | None = None,
    rand_augment: float | None = None,
    ema_decay: float | None = None,
    num_microbatches: int = 1,
    synchronise: bool = False,
    shard_optimizer: bool = False,
    dtype: Literal["float32", "bfloat16"] = "bfloat16",
    image_size: int = 224,
    num_workers: int = 0,
    num_robustness: int = 5000,
    evaluate_every: int | None = None,
    seed: int = 0,
) -> pipelines.Fit:
    """One network of the paper on ImageNet.

    Args:
        network: which.
        objective: what is minimised.
        images: folder of the training images, a folder a class; None reads imagenet2012 by TFDS.
        held_out: the same of held-out images; None measures nothing, or with TFDS reads the validation split.
        data_dir: where TFDS has its data sets.
        weights: "imagenet" or a file to begin with; None draws fresh weights.
        num_classes: how many folders there are.
        epsilon: radius of FGSM, in [0, 1] units.
        feature_weight: beta of the consistent loss.
        num_steps: of training; 12 500 of 1024 images are ten epochs.
        batch_size: images in a step, over all devices.
        learning_rate: its peak, after a warm-up over a twentieth; then a cosine. SGD with Nesterov's momentum of .9.
        weight_decay: times the weights, added to the gradient.
        label_smoothing: of standard training.
        mixup: alpha of mixup, .2 is usual; none by default. Beside `cutmix`, each batch is mixed by one of them.
        cutmix: alpha of CutMix, 1 is usual; none by default.
        rand_augment: magnitude of two operations of RandAugment, 9 is usual; none by default.
        ema_decay: decay of the averaged weights; none by default.
        num_microbatches: parts of a device's rows that are taken one after the other.
        synchronise: take batch statistics over all devices; of each device otherwise.
        shard_optimizer: every device keeps a part of the optimiser's state alone.
        dtype: what convolutions compute in.
        image_size: side of the images in pixels.
        num_workers: processes that read images ahead.
        num_robustness: how many held-out images are attacked.
        evaluate_every: steps between evaluations on the way.
        seed: of weights, order and every draw.
    """
    objectives = {
        "standard": lambda: training.standard(label_smoothing=label_smoothing),
        "consistent": lambda: training.consistent(attacks.fgsm(epsilon), layer=LAYERS[network], feature_weight=feature_weight),
        "adversarial": lambda: training.adversarial(attacks.fgsm(epsilon), label_smoothing=label_smoothing),
    }

    mixings = [] if mixup is None else [training.mixup(concentration=mixup)]
    mixings += [] if cutmix is None else [training.cutmix(concentration=cutmix)]
    minimised = objectives[objective]()
    changes = [data.random_resized_crop(image_size=image_size), data.random_flip()]
    changes += [] if rand_augment is None else [data.rand_augment(magnitude=rand_augment)]

    def build() -> Model:
        own = {"axis_name": "data"} if synchronise and network != "alexnet" else {}
        drawn = jax.random.key(seed) if weights is None or num_classes != 1000 else None
        classes = {"head": num_classes} if weights is not None and num_classes != 1000 else {"num_classes": num_classes}
        model = getattr(models, network)(weights=weights, key=drawn, image_size=image_size, **classes, **own)
        return models.with_dtype(model, None if dtype == "float32" else dtype)

    def pictures(folder: str | None, split: str, crop: float | None) -> data.Source:
        if folder is None:
            return data.tfds_source("imagenet2012", split, image_size=image_size, crop=crop, data_dir=data_dir)
        return data.image_folder(pathlib.Path(folder), labels=None, image_size=image_size, crop=crop, convert=True)

    measured = held_out is not None or images is None
    rate = optax.warmup_cosine_decay_schedule(0.0, learning_rate, max(1, num_steps // 20), num_steps)
    return pipelines.Fit(
        title=f"{network} on ImageNet: {objective}",
        description=f"{num_steps:,} steps of {batch_size:,} images, epsilon {255 * epsilon:.3g}/255.",
        build=build,
        source=lambda: pictures(images, "train", None),
        held_out=(lambda: pictures(held_out, "validation", 224 / 256)) if measured else None,
        objective=training.mixed(minimised, *mixings) if mixings else minimised,
        optimizer=optax.chain(optax.add_decayed_weights(weight_decay), optax.sgd(rate, momentum=0.9, nesterov=True)),
        num_steps=num_steps,
        batch_size=batch_size,
        robustness=pipelines.Robustness(epsilon=epsilon, num_images=num_robustness) if measured else None,
        evaluate_every=evaluate_every,
        augment=data.compose(*changes),
        options=training.StepOptions(num_microbatches=num_microbatches, ema_decay=ema_decay, shard_optimizer=shard_optimizer),
        num_workers=num_workers,
        seed=seed,
    )
