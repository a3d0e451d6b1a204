"""Adversarial data sets: TFDS data sets that are also sources."""

import dataclasses
import functools
import json
import os
import pathlib
import tempfile
from typing import Any, cast

import numpy as np

from jaxinterp.data._fingerprint import digest, files_digest
from jaxinterp.data._records import AdversarialFormat, AdversarialRecord, decode_png, features
from jaxinterp.data._shards import DATASET_NAME, finished_shards, remove_unfinished, shard_length, shard_path, whole_file
from jaxinterp.data._source import NO_IMAGE, Example

_LAST = "dataset_info.json"
_FIGURES = {
    **dict.fromkeys(("id", "source_id", "label", "target", "rank", "clean_predictions", "predictions"), np.int64),
    **dict.fromkeys(("success", "joint_success"), np.bool_),
    **dict.fromkeys(("rms", "linf"), np.float32),
}


@dataclasses.dataclass(frozen=True)
class AdversarialSet:
    """A split of an adversarial data set as a source, as `adversarial_set` opens it; images are decoded when asked for.

    Attributes:
        directory: folder of the data set.
        split: name of the split.
        form: image size, classes, models and number of targets.
    """

    directory: pathlib.Path
    split: str
    form: AdversarialFormat
    concepts: None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """WordNet ids; a label is an index into this."""
        return self.form.classes

    @property
    def class_names(self) -> tuple[str, ...]:
        """What people call the classes."""
        return self.form.class_names

    @property
    def image_size(self) -> int:
        """Side of the images in pixels."""
        return self.form.image_size

    @property
    def fingerprint(self) -> str:
        """Digest of the shards of this split and the format."""
        return self._fingerprint

    @functools.cached_property
    def _fingerprint(self) -> str:
        return digest("adversarial", files_digest(sorted(self.directory.glob(f"{DATASET_NAME}-{self.split}.*"))), self.form)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int, /) -> Example:
        return self.read(index, image=True, concepts=False)

    def read(self, index: int, *, image: bool, concepts: bool) -> Example:
        """The example as far as it is needed, see `data.read`; it has no concept maps."""
        stored = self._read(index)
        picture = decode_png(stored["image"]) if image else NO_IMAGE
        return Example(picture, int(stored["label"]), int(stored["target"]), int(stored["id"]), int(stored["source_id"]), None)

    def record(self, index: int) -> AdversarialRecord:
        """Everything that is stored of one adversarial image."""
        stored = self._read(index)
        return AdversarialRecord(
            image=decode_png(stored["image"]),
            source_id=int(stored["source_id"]),
            rank=int(stored["rank"]),
            label=int(stored["label"]),
            target=int(stored["target"]),
            clean_predictions=np.asarray(stored["clean_predictions"]),
            predictions=np.asarray(stored["predictions"]),
            rms=float(stored["rms"]),
            linf=float(stored["linf"]),
        )

    @functools.cached_property
    def table(self) -> dict[str, np.ndarray]:
        """All records without their images: field -> `[n]`, or `[n m]` for the figures of each of `m` models."""
        stored = [self._read(index) for index in range(len(self))]
        return {name: np.array([record[name] for record in stored], kind) for name, kind in _FIGURES.items()}

    @functools.cached_property
    def _records(self) -> Any:
        import tensorflow_datasets as tfds

        builder = cast(Any, tfds.builder_from_directory(self.directory))  # a decorator hides its arguments
        return builder.as_data_source(self.split, decoders={"image": tfds.decode.SkipDecoding()})

    def _read(self, index: int) -> Any:
        try:
            return self._records[index]
        except RuntimeError as error:
            raise ValueError(
                f"expected a whole shard, record {index} of {self.directory} is damaged; write it again."
            ) from error

    def __reduce__(self) -> tuple[Any, ...]:
        return (AdversarialSet, (self.directory, self.split, self.form))


def finish(
    directory: str | os.PathLike[str],
    form: AdversarialFormat,
    splits: dict[str, int],
    *,
    description: str = "Adversarial images, with what they did to every attacked model.",
) -> None:
    """Writes the metadata that make the shards of a folder a TFDS data set; the same bytes each time.

    Afterwards anybody reads it, without TensorFlow, with `tfds.builder_from_directory(directory).as_data_source(split)`.

    Args:
        directory: folder of the data set.
        form: what all records share.
        splits: the number of shards of every split.
        description: one paragraph for the reader of the data set.

    Raises:
        ValueError: a shard is missing or damaged.
        OSError: a full disk or a folder that cannot be written.
    """
    import tensorflow_datasets as tfds

    folder = pathlib.Path(directory)
    infos = []
    for split, num_shards in splits.items():
        missing = sorted(set(range(num_shards)) - set(finished_shards(folder, split=split, num_shards=num_shards)))
        if missing:
            raise ValueError(f"expected {num_shards} shards of {split!r}, {missing[0]} is missing in {folder}; write it first.")
        files = [shard_path(folder, split=split, shard=shard, num_shards=num_shards) for shard in range(num_shards)]
        size = sum(file.stat().st_size for file in files)
        infos.append(tfds.core.SplitInfo(name=split, shard_lengths=[shard_length(file) for file in files], num_bytes=size))
    remove_unfinished(folder)
    with tempfile.TemporaryDirectory() as scratch:
        for split, num_shards in splits.items():  # TFDS takes the data set's name and format from the names of its files
            shard_path(scratch, split=split, shard=0, num_shards=num_shards).touch()
        tfds.folder_dataset.write_metadata(
            data_dir=scratch,
            features=features(form),
            split_infos=infos,
            filename_template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
            check_data=False,
            description=description,
            metadata=tfds.core.MetadataDict(form._asdict()),
        )
        written = [file for file in sorted(pathlib.Path(scratch).iterdir()) if not file.name.startswith(f"{DATASET_NAME}-")]
        for file in sorted(written, key=lambda file: file.name == _LAST):
            with whole_file(folder / file.name) as temporary:
                temporary.write_bytes(file.read_bytes())


def adversarial_set(directory: str | os.PathLike[str], *, split: str) -> AdversarialSet:
    """A split of an adversarial data set as a source.

    Args:
        directory: its folder, as `write_shard` and `finish` have written it.
        split: name of the split.

    Returns:
        A source whose examples carry the original class as `label`, the class aimed at as `target`, and
        `id = source_id * num_targets + rank`.

    Raises:
        ValueError: no such folder, no finished data set in it, no such split, or a damaged shard.
    """
    folder = pathlib.Path(directory)
    if not (folder / _LAST).is_file():
        raise ValueError(
            f"expected a finished adversarial data set, found no {_LAST} in {folder}; run the stage that writes it."
        )
    splits = {entry["name"]: entry for entry in json.loads((folder / _LAST).read_text(encoding="utf-8"))["splits"]}
    if split not in splits:
        raise ValueError(f"unknown split {split!r}; {folder} has: {', '.join(sorted(splits))}.")
    lengths = [int(length) for length in splits[split]["shardLengths"]]
    for shard, length in enumerate(lengths):
        file = shard_path(folder, split=split, shard=shard, num_shards=len(lengths))
        found = shard_length(file) if file.is_file() else 0
        if found != length:
            raise ValueError(f"expected {length} records in {file}, got {found}; write the data set again.")
    stored = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))
    form = AdversarialFormat(
        image_size=stored["image_size"],
        classes=tuple(stored["classes"]),
        class_names=tuple(stored["class_names"]),
        models=tuple(stored["models"]),
        num_targets=stored["num_targets"],
    )
    return AdversarialSet(directory=folder, split=split, form=form)
