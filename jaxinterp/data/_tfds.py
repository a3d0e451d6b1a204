"""Data sets of TensorFlow Datasets as sources, read without TensorFlow."""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from jaxinterp.data._cifar import CIFAR10_CLASSES
from jaxinterp.data._fingerprint import digest
from jaxinterp.data._images import centre_square, decode_rgb
from jaxinterp.data._source import Example

_INFO = "dataset_info.json"
_HOW = 'tfds.builder(name, data_dir=...).download_and_prepare(file_format="array_record")'


@dataclasses.dataclass(frozen=True)
class TfdsSource:
    """A split of a data set of TensorFlow Datasets, as `tfds_source` opens it; images are decoded when they are asked for.

    Attributes:
        directory: where its files lie.
        split: which of its examples.
        num_examples: how many these are.
        image_size: side of the images in pixels.
        crop: side of the centre square as a fraction of the resized short side; None for whole images at their own size.
        image: name of the feature that holds the image.
        label: name of the feature that holds the class.
        classes: WordNet ids where the data set has them or they are known; a label is an index into this.
        class_names: what people call them.
        fingerprint: digest of what the data set says of itself, and of the preprocessing.
    """

    directory: pathlib.Path
    split: str
    num_examples: int
    image_size: int
    crop: float | None
    image: str
    label: str
    classes: tuple[str, ...]
    class_names: tuple[str, ...]
    fingerprint: str
    concepts: None = None

    def __len__(self) -> int:
        return self.num_examples

    def __getitem__(self, index: int, /) -> Example:
        if not 0 <= index < self.num_examples:
            raise IndexError(f"expected an index from 0 to {self.num_examples - 1}, got {index}.")
        where = f"record {index} of {self.split} in {self.directory}"
        try:
            stored = self._records[index]
        except RuntimeError as error:
            raise ValueError(f"expected a whole shard, {where} is damaged; write it again.") from error
        pixels = decode_rgb(stored[self.image], where)
        image = np.array(pixels) if self.crop is None else centre_square(pixels, image_size=self.image_size, crop=self.crop)
        label = int(stored[self.label])
        if not 0 <= label < len(self.classes):
            raise ValueError(
                f"expected a label from 0 to {len(self.classes) - 1}, got {label}: {where}; use a split with labels."
            )
        return Example(image, label, -1, index, index, None)

    @functools.cached_property
    def _records(self) -> Any:
        import tensorflow_datasets as tfds

        builder = cast(Any, tfds.builder_from_directory(self.directory))  # a decorator hides its arguments
        return builder.as_data_source(self.split, decoders={self.image: tfds.decode.SkipDecoding()})

    def __reduce__(self) -> tuple[Any, ...]:
        return (TfdsSource, tuple(getattr(self, field.name) for field in dataclasses.fields(self)))


def tfds_source(
    name: str | os.PathLike[str],
    split: str,
    *,
    image_size: int,
    crop: float | None = 224 / 256,
    image: str = "image",
    label: str = "label",
    classes: Sequence[str] | None = None,
    class_names: Sequence[str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
) -> TfdsSource:
    """A data set of TensorFlow Datasets with an image and a class for every example, resized and cropped as in `image_folder`.

    It is read by place, without TensorFlow, so it must have been written as ArrayRecord files. Nothing is downloaded.

    Args:
        name: a folder with `dataset_info.json`, or the name of a data set that has been prepared: "imagenet2012",
            "cifar10", "imagenet_resized/64x64", "cifar10:3.0.2".
        split: "train", "test", "validation[:10%]" and the like; ids are places in it.
        image_size: side of the images in pixels, as the networks take them.
        crop: side of the centre square as a fraction of the resized short side; 1 keeps the whole short side. None gives whole
            images at their own size, for training with `augment=random_resized_crop(image_size=...)`.
        image: name of the feature that holds the image.
        label: name of the feature that holds the class.
        classes: WordNet ids; by default the names of the label where they are WordNet ids (as in imagenet2012), the synsets
            of `CIFAR10_CLASSES` where they are those of CIFAR-10, and otherwise these names.
        class_names: what people call the classes; by default the names of the label.
        data_dir: where prepared data sets lie; by default TFDS's own place.

    Returns:
        The source. Its fingerprint is made of what `dataset_info.json` says: name, version, configuration, split, number of
        examples, bytes and examples of every shard.

    Raises:
        ValueError: no such data set, not prepared, in files that cannot be read by place, no such split or feature.

    Example:
        >>> source = tfds_source("imagenet2012", "validation", image_size=224, data_dir="tfds")  # doctest: +SKIP
        >>> source[0].image.shape, source.classes[0]  # doctest: +SKIP
        ((224, 224, 3), 'n01440764')
    """
    if image_size < 1 or (crop is not None and not 0 < crop <= 1):
        raise ValueError(
            f"expected image_size of at least 1 and crop above 0 and at most 1, got {image_size} and {crop}; "
            f"write image_size=224, crop=224 / 256."
        )
    builder = _builder(name, data_dir)
    features = builder.info.features
    for feature, wanted in ((image, "Image"), (label, "ClassLabel")):
        if feature not in features or type(features[feature]).__name__ != wanted:
            found = ", ".join(f"{key} ({type(kind).__name__})" for key, kind in features.items())
            raise ValueError(f"expected a feature {feature!r} of the kind {wanted}, this data set has: {found}.")
    try:
        info = builder.info.splits[split]
        num_examples = int(info.num_examples)
        builder.as_data_source(split)
    except (KeyError, ValueError, AssertionError) as error:
        known = ", ".join(sorted(builder.info.splits))
        raise ValueError(
            f"unknown split {split!r}; {builder.info.name} has: {known}, and parts such as train[:10%]."
        ) from error
    except NotImplementedError as error:
        raise ValueError(
            f"expected a data set in ArrayRecord files, {builder.data_dir} is in others; prepare it again with {_HOW}."
        ) from error
    names = tuple(features[label].names)
    chosen = _classes(names) if classes is None else tuple(classes)
    called = names if class_names is None else tuple(class_names)
    if not len(names) == len(chosen) == len(called):
        raise ValueError(
            f"expected one class and one name for each of {len(names)} labels, got {len(chosen)} and {len(called)}; "
            f"leave classes= and class_names= out."
        )
    return TfdsSource(
        directory=pathlib.Path(builder.data_dir),
        split=split,
        num_examples=num_examples,
        image_size=image_size,
        crop=crop,
        image=image,
        label=label,
        classes=chosen,
        class_names=called,
        fingerprint=digest("tfds", _identity(builder), split, num_examples, image_size, crop, image, label, chosen, called),
    )


def _builder(name: str | os.PathLike[str], data_dir: str | os.PathLike[str] | None) -> Any:
    """The builder of a data set that is there."""
    import tensorflow_datasets as tfds

    folder = pathlib.Path(name)
    if (folder / _INFO).is_file():
        return cast(Any, tfds.builder_from_directory(folder))
    if folder.is_dir():
        raise ValueError(
            f"expected a folder of TensorFlow Datasets, found no {_INFO} in {folder}; give the folder that has it."
        )
    try:
        builder = cast(Any, tfds.builder(os.fspath(name), data_dir=None if data_dir is None else os.fspath(data_dir)))
    except (tfds.core.DatasetNotFoundError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"expected a data set that TFDS knows or a folder of one, got {os.fspath(name)!r}: {reason}"
        ) from error
    if not builder.info.initialized:
        raise ValueError(f"expected a prepared data set, found none in {builder.data_dir}; prepare it with {_HOW}.")
    return builder


def _classes(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(CIFAR10_CLASSES.values()) if names == tuple(CIFAR10_CLASSES) else names


def _identity(builder: Any) -> list[Any]:
    info = builder.info
    config = builder.builder_config.name if builder.builder_config else None
    splits = {key: [int(part.num_bytes), [int(count) for count in part.shard_lengths]] for key, part in info.splits.items()}
    return [info.name, str(info.version), config, splits]
