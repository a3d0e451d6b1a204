"""What one adversarial image is on disk: its pixels, where it came from, what it did to every model."""

import importlib
import io
from typing import Any, NamedTuple

import numpy as np
import PIL.Image
from jaxtyping import Integer, UInt8


class AdversarialFormat(NamedTuple):
    """What all records of an adversarial data set share.

    Attributes:
        image_size: side of the images in pixels.
        classes: WordNet ids; labels, targets and predictions are indices into this.
        class_names: what people call them.
        models: names of the attacked models, in the order of every per-model figure.
        num_targets: how many adversarial images each clean image has.
    """

    image_size: int
    classes: tuple[str, ...]
    class_names: tuple[str, ...]
    models: tuple[str, ...]
    num_targets: int


class AdversarialRecord(NamedTuple):
    """One adversarial image and what it did.

    Attributes:
        image: the pixels as they are stored; every figure of the record is of these 8-bit pixels.
        source_id: id of the clean image.
        rank: which of the clean image's adversarial images this is, from 0 (its least likely target).
        label: class of the clean image.
        target: class the attack aimed at; -1 for an attack that only wants another class.
        clean_predictions: what each model says of the clean image, `m` models.
        predictions: what each model says of this image.
        rms: root mean square of the perturbation, in [0, 1] units.
        linf: its largest absolute value, in [0, 1] units.
    """

    image: UInt8[np.ndarray, "h w 3"]
    source_id: int
    rank: int
    label: int
    target: int
    clean_predictions: Integer[np.ndarray, " m"]
    predictions: Integer[np.ndarray, " m"]
    rms: float
    linf: float


def features(form: AdversarialFormat) -> Any:
    """The TFDS features of a record."""
    import tensorflow_datasets as tfds

    kind = tfds.features
    size, models = form.image_size, (len(form.models),)
    return kind.FeaturesDict(
        {
            "image": kind.Image(shape=(size, size, 3), dtype=np.uint8, encoding_format="png"),
            "id": kind.Scalar(np.int64),
            "source_id": kind.Scalar(np.int64),
            "label": kind.ClassLabel(names=list(form.classes)),
            "target": kind.Scalar(np.int64),
            "rank": kind.Scalar(np.int64),
            "clean_predictions": kind.Tensor(shape=models, dtype=np.int64),
            "predictions": kind.Tensor(shape=models, dtype=np.int64),
            "success": kind.Tensor(shape=models, dtype=np.bool_),
            "joint_success": kind.Scalar(np.bool_),
            "rms": kind.Scalar(np.float32),
            "linf": kind.Scalar(np.float32),
        }
    )


def fields(record: AdversarialRecord, form: AdversarialFormat) -> dict[str, Any]:
    """The fields of a record as they are stored, checked; `id`, `success` and `joint_success` follow from the others.

    Raises:
        ValueError: pixels that are not 8-bit or of another size, or a number that cannot be one of this data set.
    """
    size, classes, models = form.image_size, len(form.classes), len(form.models)
    if record.image.dtype != np.uint8:
        raise ValueError(
            f"expected uint8 images, which is what can be stored, got {record.image.dtype}; "
            f"write np.round(image * 255).astype('uint8') and score that."
        )
    if record.image.shape != (size, size, 3):
        raise ValueError(f"expected images of shape {(size, size, 3)}, got {record.image.shape}; check image_size.")
    predictions, clean = np.asarray(record.predictions), np.asarray(record.clean_predictions)
    if predictions.shape != (models,) or clean.shape != (models,):
        raise ValueError(f"expected predictions of {models} models, got {predictions.shape} and {clean.shape}; stack one each.")
    _check_between("rank", record.rank, 0, form.num_targets)
    _check_between("label", record.label, 0, classes)
    _check_between("target", record.target, -1, classes)
    if not (np.isfinite(record.rms) and np.isfinite(record.linf)):
        raise ValueError(f"expected finite distortions, got rms {record.rms} and linf {record.linf}; check the attack.")
    success = predictions == record.target if record.target >= 0 else predictions != record.label
    return {
        "image": encode_png(record.image),
        "id": int(record.source_id) * form.num_targets + int(record.rank),
        "source_id": int(record.source_id),
        "label": int(record.label),
        "target": int(record.target),
        "rank": int(record.rank),
        "clean_predictions": clean.astype(np.int64),
        "predictions": predictions.astype(np.int64),
        "success": success,
        "joint_success": bool(success.all()),
        "rms": np.float32(record.rms),
        "linf": np.float32(record.linf),
    }


def encode_record(record: AdversarialRecord, form: AdversarialFormat, kinds: Any) -> bytes:
    """A record as a TFDS example; the same bytes in every process."""
    tf_example: Any = importlib.import_module("tensorflow_datasets.proto").tf_example_pb2  # generated: no types to check
    example = fields(record, form)
    example["image"] = io.BytesIO(example["image"])
    encoded = kinds.serialize_example(kinds.encode_example(example))
    # The order of a protobuf map differs from process to process, unless one asks.
    return tf_example.Example.FromString(encoded).SerializeToString(deterministic=True)


def encode_png(image: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """An image as the bytes of a PNG file; nothing is lost."""
    buffer = io.BytesIO()
    PIL.Image.fromarray(image).save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def decode_png(data: bytes) -> UInt8[np.ndarray, "h w 3"]:
    """The pixels of a PNG file."""
    with PIL.Image.open(io.BytesIO(data)) as image:
        return np.array(image)


def _check_between(name: str, value: int, low: int, high: int) -> None:
    if not low <= value < high:
        raise ValueError(f"expected {name} from {low} to {high - 1}, got {value}; this data set has no such {name}.")
