"""Weights for PyTorch."""

import os

from jaxinterp._base import Model
from jaxinterp.models._files._weights import save_state
from jaxinterp.models._fold import inner_network, unfold_batch_norm


def export(model: Model, path: str | os.PathLike[str]) -> None:
    """Writes a network for PyTorch: the torchvision network of the same name takes the file strictly.

    `torchvision.models.resnet18().load_state_dict(safetensors.torch.load_file(path), strict=True)`; where the number of
    classes is another, so it is for torchvision (`num_classes=10`). Folded normalisation is written as one that only adds
    the bias. PyTorch's network wants images of `[n c h w]` from which the model's `mean` was subtracted and which were
    divided by its `std`; both stand in the file's metadata, and so does the image size. What `at_size` and defences add
    is not written.

    Args:
        model: a network of this package, trained or not.
        path: the `.safetensors` file to write.

    Raises:
        ValueError: a variant that torchvision does not have, or a model that is none of this package; `save` writes the
            former.
    """
    model = unfold_batch_norm(model)
    network = inner_network(model)
    body = network.body
    knobs = [name for name in ("output_stride", "batch_norm") if getattr(body, name, None)]
    if "output_stride" in knobs or (knobs and type(body).__name__ == "AlexNet"):
        found = ", ".join(f"{name}={getattr(body, name)!r}" for name in knobs)
        raise ValueError(f"expected a network that torchvision has, got a variant with {found}; write models.save instead.")
    about = {"image_size": network.image_size, "mean": list(network.mean), "std": list(network.std)}
    save_state(path, model.params, model.stats, dtype="float32", about={name: str(value) for name, value in about.items()})
