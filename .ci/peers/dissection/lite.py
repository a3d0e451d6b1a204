"""NetDissect-Lite, as it lies in a checkout, on today's Python, NumPy, SciPy and PyTorch.

Its files run as they are. What they call and no longer exists is put in place before they are imported, or replaced after:

- `scipy.misc.imresize(mode="F")` was Pillow's bilinear resize of a float image, `scipy.misc.imread` Pillow's reader. What is
  read is widened here to int32, since `channel * 256` of uint8 was int64 by value in NumPy 1 and is an error in NumPy 2.
- `numpy.NaN` is `numpy.nan`.
- `raise StopIteration` in a generator is an error since Python 3.7: the two generators of batches end instead.
- `onehot` indexes with a list, which NumPy took for a tuple until 1.23.
- `V(input, volatile=True)` has no effect since PyTorch 0.4: run it under `torch.no_grad()`.
- Images and label maps are read by threads where JAX runs in the same process, which must not be forked then.
"""

import contextlib
import importlib
import io
import pathlib
import sys
from collections.abc import Iterator, Sequence
from multiprocessing.pool import ThreadPool
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

COMMIT = "2163454ebeb5b15aac64e5cbd4ed8876c5c200df"
"""The revision of github.com/CSAILVision/NetDissect-Lite that this was written for."""


class Counts(NamedTuple):
    """What `tally_job` counts, by label number of the files.

    Attributes:
        both: pixels where a unit answers and a label lies `[u q]`.
        unit_area: pixels of a unit's masks on the images where they count for a category `[u c]`.
        mask_area: pixels of a unit's masks `[u]`.
        label_area: pixels of a label `[q]`.
    """

    both: np.ndarray
    unit_area: np.ndarray
    mask_area: np.ndarray
    label_area: np.ndarray


class Labels(NamedTuple):
    """What `tally` says of every unit, in the order of the units.

    Attributes:
        number: label of highest IoU in every category `[u c]`, 0 where none overlaps.
        iou: its IoU `[u c]`.
        best: the category of the unit's highest IoU `[u]`.
    """

    number: np.ndarray
    iou: np.ndarray
    best: np.ndarray


class Lite:
    """The functions of a checkout, for one folder in Broden's format.

    Attributes:
        operator: its `FeatureOperator`.
        data: its `SegmentationData`: the images with any label, in the order of index.csv.
        categories: names of the categories, in its order.
    """

    def __init__(self, checkout: str, folder: pathlib.Path, output: pathlib.Path, *, image_size: int, threads: bool = True):
        operation = _imported(checkout)
        settings, loader = sys.modules["settings"], sys.modules["loader.data_loader"]
        if threads:
            loader.Pool = ThreadPool
        settings.DATA_DIRECTORY, settings.OUTPUT_FOLDER = str(folder), str(output)
        settings.IMG_SIZE, settings.GPU, settings.PARALLEL, settings.FEATURE_NAMES = image_size, False, 1, ["layer4"]
        settings.CATAGORIES = ["color", "texture", "material", "scene", "part", "object"]
        self.settings, self.operation = settings, operation
        self.operator = operation.FeatureOperator()
        self.data = self.operator.data
        self.categories: list[str] = self.data.category_names()

    def images(self) -> list[str]:
        """The file names of the images."""
        return [row["image"] for row in self.data.image]

    def counts(self, features: np.ndarray, thresholds: np.ndarray) -> Counts:
        """Runs `tally_job` over all images; `features` `[n u h w]`."""
        units, labels = features.shape[1], len(self.data.label)
        found = Counts(*(np.zeros(s) for s in ((units, labels), (units, len(self.categories)), units, labels)))
        with quiet():
            sums = (found.label_area, found.mask_area, found.unit_area, found.both)
            self.operator.tally_job((features, self.data, thresholds, *sums, 0, self.data.size()))
        return Counts(*(np.round(array).astype(np.int64) for array in found))

    def labels(self, features: np.ndarray, thresholds: np.ndarray) -> Labels:
        """Runs `tally`, which returns a dictionary for every unit, best first."""
        with quiet():
            rows = sorted(self.operator.tally(features, thresholds), key=lambda row: row["unit"])
        number_of = {entry["name"]: number for number, entry in enumerate(self.data.label)}
        number = [[number_of[row[f"{name}-label"]] for name in self.categories] for row in rows]
        iou = [[row[f"{name}-iou"] for name in self.categories] for row in rows]
        return Labels(*map(np.asarray, (number, iou, [self.categories.index(row["category"]) for row in rows])))

    def thresholds(self, features: np.ndarray) -> np.ndarray:
        """Runs `quantile_threshold`."""
        with quiet():
            return self.operator.quantile_threshold(features)

    def features(self, network: Any) -> np.ndarray:
        """Runs `feature_extraction` of a PyTorch network's `layer4`; the maps lie in a file of float64 `[n u h w]`."""
        import torch

        hook = network.layer4.register_forward_hook(self.operation.hook_feature)
        with quiet(), torch.no_grad():
            whole, _ = self.operator.feature_extraction(model=network)
        hook.remove()
        return whole[0]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Lets nothing through that is printed."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def imresize(array: np.ndarray, size: Sequence[int], interp: str = "bilinear", mode: str | None = None) -> np.ndarray:
    """`scipy.misc.imresize` of a float map to (rows, columns)."""
    if mode != "F" or interp != "bilinear":
        raise ValueError(f"expected what the checkout asks for, got {interp}, {mode}")
    picture = Image.fromarray(np.asarray(array, np.float32))
    return np.asarray(picture.resize((size[1], size[0]), Image.Resampling.BILINEAR))


def _imread(path: str) -> np.ndarray:
    with Image.open(path) as file:
        return np.asarray(file).astype(np.int32)


def _onehot(self: Any, arr: np.ndarray, minlength: int | None = None) -> np.ndarray:
    return np.eye(max(minlength or 0, int(arr.max()) + 1))[arr]


def _batches(self: Any) -> Iterator[Any]:
    while (batch := self.fetch_batch()) is not None:
        yield batch


def _tensor_batches(self: Any, bgr_mean: Any = None, global_labels: bool = False) -> Iterator[Any]:
    while (batch := self.fetch_tensor_batch(bgr_mean=bgr_mean, global_labels=global_labels)) is not None:
        yield batch


def _imported(checkout: str) -> ModuleType:
    import warnings

    if not (pathlib.Path(checkout) / "feature_operation.py").is_file():
        raise SystemExit(f"expected a checkout of NetDissect-Lite with feature_operation.py, found none at {checkout}.")
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", message="volatile was removed")
    misc = importlib.import_module("scipy.misc")
    misc.__dict__.update(imresize=imresize, imread=_imread)
    np.__dict__.setdefault("NaN", np.nan)
    sys.path.insert(0, str(checkout))
    operation = importlib.import_module("feature_operation")
    loader = sys.modules["loader.data_loader"]
    loader.SegmentationData.onehot = _onehot
    loader.SegmentationPrefetcher.batches = _batches
    loader.SegmentationPrefetcher.tensor_batches = _tensor_batches
    return operation
