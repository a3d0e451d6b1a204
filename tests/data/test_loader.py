import dataclasses
import itertools
import json

import numpy as np
import pytest

from jaxinterp import data
from jaxinterp.data import ConceptTable, Example

TABLE = ConceptTable(("none", "red"), ("none", "color"))


@dataclasses.dataclass(frozen=True)
class Numbers:
    """Image i of a source of `length` is 7 x 7 pixels of values that only i has."""

    length: int
    broken: int = -1
    classes: tuple[str, ...] = ("n00000001", "n00000002", "n00000003")
    class_names: tuple[str, ...] = ("a", "b", "c")
    image_size: int = 7
    concepts: ConceptTable = TABLE

    @property
    def fingerprint(self) -> str:
        return f"numbers {self.length}"

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int, /) -> Example:
        if index == self.broken:
            raise ValueError(f"expected a whole image, got a damaged one: {index}.png; fetch it again.")
        generator = np.random.default_rng(index)
        image = generator.integers(0, 256, (7, 7, 3), dtype=np.uint8)
        concepts = generator.integers(0, 2, (7, 7, 6)).astype(np.int32)
        return Example(image, index % 3, (index + 1) % 3, 100 + index, 200 + index, concepts)


def same(first, second) -> bool:
    arrays = [(getattr(first, name), getattr(second, name)) for name in ("image", "label", "target", "id", "source_id", "mask")]
    arrays += [(first.extra[name], second.extra[name]) for name in first.extra.keys() | second.extra.keys()]
    return all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in arrays)


@pytest.mark.parametrize("num_threads", [0, 2])
def test_batches_hold_every_example_once_and_pad_the_last(num_threads):
    source = Numbers(11)
    found = list(data.batches(source, batch_size=4, num_threads=num_threads))
    assert [batch.mask.tolist() for batch in found] == [[True] * 4, [True] * 4, [True] * 3 + [False]]
    rows = [(batch, row) for batch in found for row in range(4) if batch.mask[row]]
    for index, (batch, row) in enumerate(rows):
        example = source[index]
        assert batch.image.dtype == np.float32 and batch.label.dtype == np.int32
        np.testing.assert_array_equal(batch.image[row], example.image.astype(np.float32) / np.float32(255))
        np.testing.assert_array_equal(batch.extra["concepts"][row], example.concepts)
        assert (batch.label[row], batch.target[row], batch.id[row], batch.source_id[row]) == example[1:5]
    last = found[-1]
    assert (last.label[3], last.target[3], last.id[3], last.source_id[3]) == (-1, -1, -1, -1)
    assert not last.image[3].any() and not last.extra["concepts"][3].any()


def test_float_images_round_back_to_the_same_bytes():
    image = np.arange(7 * 7 * 3, dtype=np.uint8).reshape(7, 7, 3)
    image[0, 0] = (255, 254, 128)
    batch = data.collate([Example(image, 0, -1, 0, 0, None)], batch_size=1)
    assert batch.image.max() == 1.0 and batch.extra == {}
    np.testing.assert_array_equal(np.round(batch.image[0] * 255).astype(np.uint8), image)


def test_chosen_indices_come_in_their_order():
    found = next(data.batches(Numbers(11), batch_size=3, indices=[7, 2, 9], read_concepts=False))
    assert found.id.tolist() == [107, 102, 109]
    assert found.extra == {}


def test_an_error_of_the_source_arrives_as_it_is():
    for num_threads in (0, 2):
        with pytest.raises(ValueError, match=r"damaged one: 5.png") as caught:
            list(data.batches(Numbers(11, broken=5), batch_size=2, num_threads=num_threads))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "expected a batch_size of at least 1, got 0"),
        ({"batch_size": 2, "indices": [0, 11]}, "expected indices from 0 to 10, got 11"),
        ({"batch_size": 2, "indices": [-1]}, "got -1"),
        ({"batch_size": 2, "indices": []}, "at least one index"),
        ({"batch_size": 2, "indices": [3, 3]}, "every index once"),
        ({"batch_size": 2, "num_threads": -1}, "num_threads of at least 0"),
    ],
)
def test_bad_arguments_of_batches(arguments, message):
    with pytest.raises(ValueError, match=message) as caught:
        data.batches(Numbers(11), **arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 12, "seed": 0}, "batch_size of at most 11"),
        ({"batch_size": 2, "seed": -1}, "a seed from 0"),
        ({"batch_size": 2, "seed": 0, "num_epochs": 0}, "at least one epoch"),
    ],
)
def test_bad_arguments_of_training_batches(arguments, message):
    with pytest.raises(ValueError, match=message):
        data.training_batches(Numbers(11), **arguments)


def test_epochs_are_permutations_that_differ():
    stream = data.training_batches(Numbers(12), batch_size=4, seed=3, num_epochs=3)
    assert stream.batches_per_epoch == 3
    ids = [batch.id.tolist() for batch in stream]
    assert len(ids) == 9
    epochs = np.array(ids).reshape(3, 12).tolist()
    assert all(sorted(epoch) == list(range(100, 112)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    other = data.training_batches(Numbers(12), batch_size=4, seed=4, num_epochs=1)
    assert [batch.id.tolist() for batch in other] != ids[:3]


def test_the_left_over_examples_differ_between_epochs():
    stream = data.training_batches(Numbers(11), batch_size=4, seed=0, num_epochs=8)
    assert stream.batches_per_epoch == 2
    ids = [batch.id.tolist() for batch in stream]
    left = [tuple(sorted(set(range(100, 111)) - set(ids[i] + ids[i + 1]))) for i in range(0, 16, 2)]
    assert all(len(out) == 3 for out in left) and len(set(left)) > 1


def test_flips_mirror_half_of_the_images_and_their_concepts():
    source = Numbers(64)
    flipped = 0
    for batch in data.training_batches(source, batch_size=16, seed=1, num_epochs=4, flip=True, read_concepts=True):
        for image, name, concepts in zip(batch.image, batch.id, batch.extra["concepts"], strict=True):
            example = source[int(name) - 100]
            pixels = np.round(image * 255).astype(np.uint8)
            mirrored = not np.array_equal(pixels, example.image)
            step = -1 if mirrored else 1
            np.testing.assert_array_equal(pixels, example.image[:, ::step])
            assert example.concepts is not None
            np.testing.assert_array_equal(concepts, example.concepts[:, ::step])
            flipped += mirrored
    assert 96 <= flipped <= 160  # 256 fair coins: outside with probability below 1e-4


@pytest.mark.parametrize("num_threads", [0, 2])
def test_a_resumed_stream_goes_on_with_the_same_bytes(num_threads):
    def start(threads):
        return data.training_batches(Numbers(20), batch_size=6, seed=5, flip=True, num_threads=threads)

    whole = list(itertools.islice(start(2), 12))
    for stop in (0, 2, 3, 7):
        first = start(num_threads)
        for batch in itertools.islice(first, stop):
            assert batch.mask.all()
        state = json.loads(json.dumps(first.get_state()))
        resumed = start(num_threads)
        next(resumed)
        resumed.set_state(state)
        again = list(itertools.islice(resumed, 12 - stop))
        assert all(same(a, b) for a, b in zip(again, whole[stop:], strict=True))


def test_a_state_of_other_batches_is_refused():
    state = data.training_batches(Numbers(20), batch_size=6, seed=5).get_state()
    others = [
        data.training_batches(Numbers(20), batch_size=5, seed=5),
        data.training_batches(Numbers(20), batch_size=6, seed=6),
        data.training_batches(Numbers(20), batch_size=6, seed=5, flip=True),
        data.training_batches(Numbers(21), batch_size=6, seed=5),
    ]
    for other in others:
        with pytest.raises(ValueError, match="expected a state of these batches"):
            other.set_state(state)


def test_a_subset_keeps_ids_and_changes_the_fingerprint():
    source = Numbers(11)
    chosen = data.subset(source, range(3, 11, 4))
    assert len(chosen) == 2 and [chosen[i].id for i in range(2)] == [103, 107]
    assert (chosen.classes, chosen.class_names, chosen.image_size) == (source.classes, source.class_names, 7)
    assert chosen.concepts is source.concepts
    assert len({source.fingerprint, chosen.fingerprint, data.subset(source, [7, 3]).fingerprint}) == 3
    with pytest.raises(ValueError, match="expected indices from 0 to 10"):
        data.subset(source, [11])
    with pytest.raises(IndexError):
        chosen[2]


def test_a_cached_source_has_the_same_examples():
    source = Numbers(11)
    memory = data.cached(source)
    assert len(memory) == 11 and memory.image_size == 7
    assert (memory.classes, memory.concepts, memory.fingerprint) == (source.classes, source.concepts, source.fingerprint)
    for index in range(11):
        for a, b in zip(memory[index], source[index], strict=True):
            np.testing.assert_array_equal(a, b)
    concepts = memory[0].concepts
    assert concepts is not None and concepts.dtype == np.int32
    with pytest.raises(ValueError, match="read-only"):
        memory[0].image[0, 0, 0] = 1
    plain = data.cached(source, keep_concepts=False)
    assert plain[0].concepts is None and plain.concepts is None
    assert same(next(data.batches(memory, batch_size=11)), next(data.batches(source, batch_size=11)))


def test_processes_read_the_same_cache():
    memory, alone = data.cached(Numbers(11), num_processes=2), data.cached(Numbers(11))
    for name in ("images", "rows", "maps"):
        np.testing.assert_array_equal(getattr(memory, name), getattr(alone, name))


@pytest.mark.parametrize(("count", "expected"), [(4, [0, 2, 5, 7]), (None, list(range(10))), (30, list(range(10))), (1, [0])])
def test_examples_are_spread_evenly(count, expected):
    source = data.concept_world(seed=0, num_images=10, image_size=32)
    assert [source[index].id for index in data.spread(source, count).indices] == expected


def test_no_example_is_no_spread():
    with pytest.raises(ValueError, match="expected a count of at least 1, got 0; write None for all"):
        data.spread(data.concept_world(seed=0, num_images=10), 0)
