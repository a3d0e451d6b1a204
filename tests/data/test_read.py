"""Examples read as far as they are needed."""

import dataclasses

import jax
import numpy as np
import pytest
from PIL import Image

from jaxinterp import data
from jaxinterp.data import Example
from jaxinterp.pipelines._concept_sets import noise_control
from jaxinterp.pipelines._passes import renumbered, source_ids, with_concepts
from tests.data.test_loader import Numbers


@dataclasses.dataclass(frozen=True)
class Parts(Numbers):
    """Remembers what was asked of it."""

    asked: list[tuple[int, bool, bool]] = dataclasses.field(default_factory=list)

    def read(self, index: int, *, image: bool, concepts: bool) -> Example:
        self.asked.append((index, image, concepts))
        whole = self[index]
        return whole._replace(
            image=whole.image if image else np.zeros((0, 0, 3), np.uint8), concepts=whole.concepts if concepts else None
        )


@pytest.fixture
def broden(tmp_path) -> data.Source:
    data.write_broden(data.concept_world(seed=2, num_images=5, image_size=32), tmp_path / "set")
    return data.broden(tmp_path / "set", image_size=32)


@pytest.fixture
def folder(tmp_path) -> data.Source:
    for index in range(3):
        (tmp_path / "pictures" / "n02084071").mkdir(parents=True, exist_ok=True)
        Image.fromarray(Numbers(3)[index].image).resize((40, 40)).save(tmp_path / "pictures" / "n02084071" / f"{index}.png")
    return data.image_folder(tmp_path / "pictures", labels=None, image_size=16)


@pytest.mark.parametrize("name", ["broden", "folder", "subset", "renumbered", "no parts"])
def test_parts_are_those_of_the_whole(name, request):
    if name in ("broden", "folder"):
        source = request.getfixturevalue(name)
    else:
        source = {"subset": data.subset(Parts(5), [3, 1]), "renumbered": renumbered(Parts(5)), "no parts": Numbers(5)}[name]
    for index in range(len(source)):
        whole = source[index]
        for image, concepts in ((True, True), (True, False), (False, True), (False, False)):
            found = data.read(source, index, image=image, concepts=concepts)
            assert found[1:5] == whole[1:5]
            if image:
                np.testing.assert_array_equal(found.image, whole.image)
            if concepts and whole.concepts is not None:
                assert found.concepts is not None
                np.testing.assert_array_equal(found.concepts, whole.concepts)
            if name != "no parts":
                assert image or found.image.shape == (0, 0, 3)
                assert concepts or found.concepts is None


def test_broden_opens_only_the_files_of_what_is_needed(broden):
    whole, _ = broden[0], broden.fingerprint  # which reads every file once
    pictures = [path for path in (broden.path / "images").rglob("*") if path.is_file()]
    maps = {path: path.read_bytes() for path in pictures if path.suffix == ".png" and path.name.count("_")}
    assert maps and len(maps) < len(pictures)
    for path in maps:
        path.unlink()
    np.testing.assert_array_equal(data.read(broden, 0, concepts=False).image, whole.image)
    for path, content in maps.items():
        path.write_bytes(content)
    for path in pictures:
        if path not in maps:
            path.unlink()
    found = data.read(broden, 0, image=False).concepts
    assert found is not None
    np.testing.assert_array_equal(found, whole.concepts)
    with pytest.raises(ValueError, match="found none at"):
        broden[0]


def test_batches_ask_for_what_they_carry():
    source = Parts(5)
    for kind in (source, data.subset(source, range(5))):
        plain = list(data.batches(kind, batch_size=3, read_concepts=False, num_threads=0))
        assert all(one[1:] == (True, False) for one in source.asked) and "concepts" not in plain[0].extra
        source.asked.clear()
        maps = list(data.batches(kind, batch_size=3, read_images=False, num_threads=0))
        assert all(one[1:] == (False, True) for one in source.asked) and maps[0].image.shape == (3, 0, 0, 3)
        for one, other in zip(plain, maps, strict=True):
            np.testing.assert_array_equal(one.id, other.id)
        np.testing.assert_array_equal(maps[0].extra["concepts"][2], Numbers(5)[2].concepts)
        source.asked.clear()
    whole = next(data.batches(Numbers(5), batch_size=3, read_images=False, num_threads=0))
    assert whole.image.shape == (3, 7, 7, 3), "a source without parts gives everything"


def test_training_reads_no_maps_and_a_cache_without_maps_neither():
    source = Parts(6)
    next(data.training_batches(source, batch_size=3, seed=0))
    data.cached(source, keep_concepts=False)
    assert source.asked and not any(concepts for _, _, concepts in source.asked)
    assert data.cached(source).maps is not None and source.asked[-1] == (5, True, True)


def test_sets_made_of_others_read_nothing_twice():
    clean, adversarial = Parts(4), Parts(4)
    assert source_ids(clean).tolist() == [100, 101, 102, 103]
    assert set(clean.asked) == {(index, False, False) for index in range(4)}
    clean.asked.clear()
    images = np.stack([Numbers(4)[index].image for index in range(4)])
    carried = with_concepts(data.from_arrays(images, np.zeros(4, np.int32), classes=["a"]), renumbered(clean))
    clean.asked.clear()
    np.testing.assert_array_equal(carried[2].concepts, Numbers(4)[2].concepts)
    assert clean.asked == [(2, False, True)]
    clean.asked.clear()
    assert data.read(carried, 2, concepts=False).concepts is None and clean.asked == []

    noise = noise_control(jax.random.key(0), clean, adversarial)
    shown = data.read(noise, 1, concepts=False)
    assert shown.image.shape == (7, 7, 3) and not any(concepts for _, _, concepts in clean.asked + adversarial.asked)
    assert len(clean.asked) == 2, "its own image and the other one's"
    clean.asked.clear()
    adversarial.asked.clear()
    assert data.read(noise, 1, image=False).image.size == 0
    assert clean.asked == [(1, False, True)] and adversarial.asked == []
