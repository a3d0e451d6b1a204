"""Where the named layers of jaxinterp lie in PyTorch's modules, one function a family, in the order of the network."""

from typing import NamedTuple

from torch import nn


class Site(NamedTuple):
    """A map inside a module.

    Attributes:
        name: the layer's name in jaxinterp.
        path: the submodule; empty for the network itself.
        side: "output" or "input" of that submodule.
        relu: rectify what is found there.
        fed: where the network itself does not run the submodule (auxiliary heads in evaluation): the layer to run it on.
    """

    name: str
    path: str
    side: str = "output"
    relu: bool = False
    fed: str | None = None


LOGITS = Site("logits", "")


def outputs(*names: str) -> list[Site]:
    """Submodules whose output bears their own name."""
    return [Site(name, name) for name in names]


def features(path: str) -> Site:
    """What the last linear layer sees."""
    return Site("features", path, side="input")


def alexnet(module: nn.Module) -> list[Site]:
    """conv1 ... conv5, fc6, fc7, logits."""
    rectified = [f"features.{i}" for i, layer in enumerate(module.features) if isinstance(layer, nn.ReLU)]
    convs = [Site(f"conv{number}", path) for number, path in enumerate(rectified, start=1)]
    return [*convs, Site("fc6", "classifier.2"), Site("fc7", "classifier.5"), LOGITS]


def vgg(module: nn.Module) -> list[Site]:
    """conv1_1 ... conv5_k, fc6, fc7, logits."""
    sites, stage, number = [], 1, 1
    for i, layer in enumerate(module.features):
        if isinstance(layer, nn.ReLU):
            sites.append(Site(f"conv{stage}_{number}", f"features.{i}"))
            number += 1
        elif isinstance(layer, nn.MaxPool2d):
            stage, number = stage + 1, 1
    return [*sites, Site("fc6", "classifier.1"), Site("fc7", "classifier.4"), LOGITS]


def squeezenet(module: nn.Module) -> list[Site]:
    """conv1, fire2 ... fire9, conv10, logits."""
    fires = [i for i, layer in enumerate(module.features) if type(layer).__name__ == "Fire"]
    middle = [Site(f"fire{number}", f"features.{i}") for number, i in enumerate(fires, start=2)]
    return [Site("conv1", "features.1"), *middle, Site("conv10", "classifier.2"), LOGITS]


def _residual(module: nn.Module, stages: str) -> list[Site]:
    """Shortcut and output of every block of `stages` + 1 ... 4."""
    sites = []
    for stage in (1, 2, 3, 4):
        for i, block in enumerate(module.get_submodule(f"{stages}{stage}")):
            name = f"{stages}{stage}.{i}"
            sites += [_shortcut(name, name, "downsample" if block.downsample is not None else None), Site(name, name)]
    return sites


def _shortcut(name: str, path: str, projection: str | None) -> Site:
    if projection is None:
        return Site(f"{name}.shortcut", path, side="input")
    return Site(f"{name}.shortcut", f"{path}.{projection}")


def resnet(module: nn.Module) -> list[Site]:
    """conv1, layer1.0.shortcut, layer1.0, ..., features, logits."""
    return [Site("conv1", "relu"), *_residual(module, "layer"), features("fc"), LOGITS]


def cifar_resnet(module: nn.Module) -> list[Site]:
    """conv1, layer1.0.shortcut, layer1.0, ..., features, logits."""
    blocks = [f"layer{stage}.{i}" for stage in (1, 2, 3) for i in range(len(module.layer1))]
    middle = [site for name in blocks for site in (_shortcut(name, name, "shortcut"), Site(name, name))]
    return [Site("conv1", "bn1", relu=True), *middle, features("linear"), LOGITS]


def googlenet(module: nn.Module) -> list[Site]:
    """conv1 ... inception5b with aux1 behind inception4a and aux2 behind inception4d, features, logits."""
    first = outputs("conv1", "conv2", "conv3", "inception3a", "inception3b", "inception4a")
    second = outputs("inception4b", "inception4c", "inception4d")
    last = outputs("inception4e", "inception5a", "inception5b")
    one, two = Site("aux1", "aux1", fed="inception4a"), Site("aux2", "aux2", fed="inception4d")
    return [*first, one, *second, two, *last, features("fc"), LOGITS]


def inception_v3(module: nn.Module) -> list[Site]:
    """Conv2d_1a_3x3 ... Mixed_7c with AuxLogits behind Mixed_6e, features, logits."""
    names = [name for name, _ in module.named_children() if name.startswith(("Conv2d", "Mixed"))]
    split = names.index("Mixed_7a")
    head = Site("AuxLogits", "AuxLogits", fed="Mixed_6e")
    return [*outputs(*names[:split]), head, *outputs(*names[split:]), features("fc"), LOGITS]


def densenet(module: nn.Module) -> list[Site]:
    """conv0, denseblock1.denselayer1, ..., denseblock1, transition1, ..., norm5, features, logits."""
    sites = [Site("conv0", "features.relu0")]
    for name, part in module.features.named_children():
        if name.startswith("denseblock"):
            sites += [Site(f"{name}.{layer}", f"features.{name}.{layer}") for layer, _ in part.named_children()]
        if name.startswith(("denseblock", "transition")):
            sites.append(Site(name, f"features.{name}"))
    return [*sites, Site("norm5", "features.norm5", relu=True), features("classifier"), LOGITS]


def mobilenet_v2(module: nn.Module) -> list[Site]:
    """conv1, block1, block2, block3.shortcut, block3, ..., conv18, features, logits."""
    sites = [Site("conv1", "features.0")]
    for i, block in enumerate(module.features[1:-1], start=1):
        if block.use_res_connect:
            sites.append(Site(f"block{i}.shortcut", f"features.{i}", side="input"))
        sites.append(Site(f"block{i}", f"features.{i}"))
    return [*sites, Site("conv18", "features.18"), features("classifier"), LOGITS]


def inception_v4(module: nn.Module) -> list[Site]:
    """conv1 ... conv3, mixed_3a ... mixed_5a, inception_a1 ... reduction_a ... inception_c3, features, logits."""
    names = ["conv1", "conv2", "conv3", "mixed_3a", "mixed_4a", "mixed_5a"]
    for kind, count in (("a", 4), ("b", 7), ("c", 3)):
        names += [f"inception_{kind}{number}" for number in range(1, count + 1)]
        names += [f"reduction_{kind}"] if kind != "c" else []
    middle = [Site(name, f"features.{i}") for i, name in enumerate(names)]
    return [*middle, features("last_linear"), LOGITS]


def inception_resnet_v2(module: nn.Module) -> list[Site]:
    """conv2d_1a ... mixed_5b, repeat.0.shortcut, repeat.0, ..., block8.shortcut, block8, conv2d_7b, features, logits."""
    sites = []
    for name, part in module.named_children():
        if name.startswith("repeat"):
            for i in range(len(part)):
                sites += [_shortcut(f"{name}.{i}", f"{name}.{i}", None), Site(f"{name}.{i}", f"{name}.{i}")]
        elif name == "block8":
            sites += [_shortcut(name, name, None), Site(name, name)]
        elif name.startswith(("conv2d", "mixed")):
            sites.append(Site(name, name))
    return [*sites, features("classif"), LOGITS]


def resnetv2(module: nn.Module) -> list[Site]:
    """conv1 (no ReLU), layer1.0.shortcut, layer1.0 (the sum, no ReLU), ..., norm (after its ReLU), features, logits."""
    sites = [Site("conv1", "stem.conv")]
    for stage, part in enumerate(module.stages):
        for i, block in enumerate(part.blocks):
            name, path = f"layer{stage + 1}.{i}", f"stages.{stage}.blocks.{i}"
            sites += [_shortcut(name, path, "downsample" if block.downsample is not None else None), Site(name, path)]
    return [*sites, Site("norm", "norm"), features("head.fc"), LOGITS]
