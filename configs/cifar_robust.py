"""Adversarially trained CIFAR-10 networks of others, as own models: attacked, their units shown, predictions traced.

Three small networks in PyTorch's layout become models by `models.from_linen`: CNN-A (two convolutions), ResNet-2B and
ResNet-4B. `--weights` is the folder of their state dicts as `.npz` files (cnn_a_advtrained, resnet2b_advtrained,
resnet4b_advtrained), `--images` the folder with X_sdp.npy, images `[n 32 32 3]` in [0, 1], and y_sdp.npy, their labels; both
are made from what alpha-beta-CROWN publishes (github.com/Verified-Intelligence/alpha-beta-CROWN).

`--normal FILE` adds a normally trained ResNet-20 (the weights of github.com/akamaster/pytorch_resnet_cifar10), so that the
tables of CS, r1 and r2 have the network beside those trained adversarially, as Fig. 9 of the journal has.

    jaxinterp study configs/cifar_robust.py --workdir runs/cifar --weights WEIGHTS --images IMAGES [--normal FILE]

Published for the ResNets on all 10 000 test images (VNN-COMP 2021, benchmark cifar10_resnet): clean 69.25 % and 77.20 %, under
PGD at 2/255 54.82 % and 61.41 %; on the 200 images here 74.0 % and 84.5 %, under PGD-20 61.5 % and 67.0 %, and CNN-A 70.0 % and
52.0 %. These images carry no concept labels. Two minutes on two cores.

    jaxinterp robustness configs/cifar_robust.py --standard-images 200 ...

runs the standard evaluation of their robustness instead, and writes a card of each network.
"""

import functools
import pathlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxinterp import Model, attacks, data, models, pipelines, report

MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2471, 0.2435, 0.2616)
NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
WNIDS = (
    "n02691156",
    "n02958343",
    "n01503061",
    "n02121620",
    "n02430045",
    "n02084071",
    "n01639765",
    "n02374451",
    "n04194289",
    "n04490091",
)


class RobustNet(nn.Module):
    """Convolutions of PyTorch's padding, then residual stages, then two dense layers.

    Attributes:
        convolutions: name, units, window and stride of each of the first ones; padded by 1.
        stages: units of each stage of two residual blocks.
        dense: names of the two dense layers.
    """

    convolutions: tuple[tuple[str, int, int, int], ...]
    stages: tuple[int, ...]
    dense: tuple[str, str]

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Logits of normalised images."""
        value = images
        for name, units, window, stride in self.convolutions:
            value = nn.relu(nn.Conv(units, (window, window), stride, padding=1, name=name)(value))
            value = models.named(f"relu.{name}", value)
        for stage, units in enumerate(self.stages, start=1):
            for block, stride in enumerate((2, 1)):
                name = f"layer{stage}.{block}"
                inner = nn.relu(nn.Conv(units, (3, 3), stride, padding=1, name=f"{name}.conv1")(value))
                inner = nn.Conv(units, (3, 3), padding=1, name=f"{name}.conv2")(inner)
                if stride == 2:
                    value = nn.Conv(units, (1, 1), stride, padding=0, name=f"{name}.shortcut.0")(value)
                value = models.named(name, nn.relu(inner + value))
        value = value.transpose(0, 3, 1, 2).reshape(len(value), -1)
        value = models.named("hidden", nn.relu(nn.Dense(100, name=self.dense[0])(value)))
        return nn.Dense(10, name=self.dense[1])(value)


CNN_A = RobustNet((("0", 16, 4, 2), ("2", 32, 4, 2)), (), ("5", "7"))
RESNET_2B = RobustNet((("conv1", 8, 3, 2),), (16,), ("linear1", "linear2"))
RESNET_4B = RobustNet((("conv1", 16, 3, 2),), (32, 32), ("linear1", "linear2"))
NETWORKS = {
    "CNN-A": (CNN_A, "cnn_a_advtrained.npz", "relu.2"),
    "ResNet-2B": (RESNET_2B, "resnet2b_advtrained.npz", "layer1.1"),
    "ResNet-4B": (RESNET_4B, "resnet4b_advtrained.npz", "layer2.1"),
}
"""Name -> module, file of weights, last convolutional layer."""


def network(name: str, weights: pathlib.Path) -> Model:
    """One of `NETWORKS` with the weights in that folder."""
    module, file, layer = NETWORKS[name]
    params: dict[str, dict[str, jax.Array]] = {}
    with np.load(weights / file) as state:
        for entry, value in state.items():
            part, _, leaf = entry.replace("/", ".").rpartition(".")
            axes = {1: (0,), 2: (1, 0), 4: (2, 3, 1, 0)}[value.ndim]
            params.setdefault(part, {})["kernel" if leaf == "weight" else leaf] = jnp.asarray(value.transpose(axes))
    return models.from_linen(module, {"params": params}, image_size=32, num_classes=10, last_conv=layer, mean=MEAN, std=STD)


def pictures(folder: pathlib.Path, num_images: int) -> data.Source:
    """The first images of X_sdp.npy, in 8 bits, and their labels."""
    images, labels = (np.load(folder / f"{name}_sdp.npy")[:num_images] for name in ("X", "y"))
    return data.from_arrays(np.round(255 * images).astype(np.uint8), labels, classes=WNIDS, class_names=NAMES)


def cifar_robust(
    *,
    weights: str,
    images: str,
    normal: str = "",
    num_images: int = 200,
    num_attacked: int = 60,
    num_targets: int = 2,
    attack_steps: int = 40,
    step_size: float = 5 / 255,
    decay: float = 0.9,
    distance_weight: float = 1e3,
    epsilon: float = 2 / 255,
    num_traced: int = 60,
    standard_images: int = 0,
    seed: int = 0,
) -> pipelines.Study:
    """The study on three adversarially trained CIFAR-10 networks, without training.

    Args:
        weights: folder of the three `.npz` files.
        images: folder of X_sdp.npy and y_sdp.npy.
        normal: file of weights of a normally trained CIFAR ResNet-20, which joins the ensemble; none by default.
        num_images: images that are analysed.
        num_attacked: how many of them are attacked.
        num_targets: least-likely classes each is driven to.
        attack_steps: iterations of the ensemble-optimization attack.
        step_size: of Adam, in [0, 1] units.
        decay: of Adam's mean gradient.
        distance_weight: lambda.
        epsilon: of FGSM and of PGD in the table of accuracies; the networks were trained for 2/255.
        num_traced: adversarial images that are traced.
        standard_images: images of the standard evaluation at epsilon; 0 leaves it out.
        seed: of every draw.
    """
    folder = pathlib.Path(weights)
    members = [
        pipelines.Member(name, functools.partial(network, name, folder), layer) for name, (_, _, layer) in NETWORKS.items()
    ]
    if normal:
        members.append(pipelines.Member("ResNet-20, normal", lambda: models.cifar_resnet20(weights=normal), "layer3.2"))

    return pipelines.Study(
        title="What the units of adversarially trained CIFAR-10 networks answer to",
        description=f"{num_images:,} real images of 32 px, {num_attacked * num_targets:,} adversarial ones, no training.",
        methods=report.methods_paragraph(
            [member.name for member in members],
            "CIFAR-10 (32 x 32 pixels)",
            num_images=num_attacked,
            num_targets=num_targets,
            num_steps=attack_steps,
            step_size=step_size,
            distance_weight=distance_weight,
            top_k=20,
            dissected=False,
        ),
        members=tuple(members),
        source=lambda: pictures(pathlib.Path(images), num_images),
        attack=lambda phase: attacks.ensemble_optimization(
            num_steps=attack_steps, step_size=step_size, decay=decay, distance_weight=distance_weight
        ),
        num_attacked=num_attacked,
        num_targets=num_targets,
        robustness=pipelines.Robustness(epsilon=epsilon, num_images=num_images),
        standard=pipelines.Standard(epsilon=epsilon, num_images=standard_images) if standard_images else None,
        num_traced=num_traced,
        seed=seed,
    )
