"""torchvision and timm, which needs it, as they import beside any build of PyTorch."""

import importlib
import importlib.util
import pathlib

import torch

_DECLARED = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def _declare_operators() -> torch.library.Library | None:
    """Declares the two operators that `import torchvision` asks for, where its library does not bring them.

    A wheel built for CUDA does not load its library beside a CPU build of PyTorch. The networks use no operator of it.
    """
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        raise SystemExit("expected torchvision; write pip install -r .ci/peers/requirements.txt")
    for library in pathlib.Path(spec.origin).parent.glob("_C*.*"):
        try:
            torch.ops.load_library(library)
            return None
        except OSError:
            continue
    declared = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        declared.define(name + _DECLARED)
    return declared


LIBRARY = _declare_operators()
"""Kept, since the operators live as long as this object."""

torchvision = importlib.import_module("torchvision")
timm = importlib.import_module("timm")
