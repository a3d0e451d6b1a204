"""The concept world: the same pictures everywhere, balanced, with labels that agree with one another and with the pixels."""

import hashlib
import pathlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from jaxinterp.data._concepts import CATEGORIES, concept_table
from jaxinterp.data._source import Example
from jaxinterp.data._world import ConceptWorld, concept_world, plan_of
from jaxinterp.data._world_classes import KINDS, PARTS, SCENES
from jaxinterp.data._world_draws import Draws, balanced
from jaxinterp.data._world_materials import MATERIALS, material_field
from jaxinterp.data._world_render import color_concepts
from jaxinterp.data._world_sketch import PALETTE, Texture
from jaxinterp.data._world_textures import TEXTURES, texture_field

WORDNET = pathlib.Path("/usr/share/wordnet/data.noun")

DIGEST = """
import hashlib
from jaxinterp.data._world import concept_world
world = concept_world(seed=7, num_images=5000)
print(hashlib.sha256(b"".join(world[i].image.tobytes() + world[i].concepts.tobytes() for i in (4999, 3, 120))).hexdigest())
"""


CENSUS = """
import sys
import numpy as np
from jaxinterp.data._world import concept_world
world = concept_world(seed=11, num_images=1500, image_size=32)
pixels = np.zeros(len(world.concepts.names), np.int64)
pictures = np.zeros((len(pixels), 24), np.int64)  # row 0: pictures whose object has a texture
for index in range(len(world)):
    example = world[index]
    counts = np.bincount(example.concepts.ravel(), minlength=len(pixels))
    pixels += counts
    pictures[1:, example.label] += counts[1:] > 0
    pictures[0, example.label] += example.concepts[..., 1][example.concepts[..., 5] > 0].any()
np.savez(sys.argv[1], pixels=pixels, pictures=pictures)
"""


def examples(count: int, **knobs: Any) -> tuple[ConceptWorld, list[Example]]:
    world = concept_world(**{"seed": 0, "num_images": count, **knobs})
    return world, [world[index] for index in range(count)]


def concepts_of(example: Example) -> np.ndarray:
    assert example.concepts is not None
    return example.concepts


def layer(example: Example, category: str) -> np.ndarray:
    return concepts_of(example)[..., CATEGORIES.index(category)]


def mutual_information(first: np.ndarray, second: np.ndarray) -> float:
    """In bits, from the counts."""
    joint = np.zeros((first.max() + 1, second.max() + 1))
    np.add.at(joint, (first, second), 1 / len(first))
    independent = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    seen = joint > 0
    return float((joint[seen] * np.log2(joint[seen] / independent[seen])).sum())


@pytest.fixture(scope="module")
def sample():
    return examples(96)


def test_same_pictures_in_another_process_and_in_a_smaller_world():
    world = concept_world(seed=7, num_images=200)
    late = concept_world(seed=7, num_images=1, first=4999)
    digest = hashlib.sha256()
    for example in (late[0], world[3], world[120]):
        digest.update(example.image.tobytes() + concepts_of(example).tobytes())
    other = subprocess.run([sys.executable, "-c", DIGEST], capture_output=True, text=True, check=True).stdout.strip()
    assert digest.hexdigest() == other


def test_ids_and_first():
    shifted, whole = concept_world(seed=1, num_images=3, first=40), concept_world(seed=1, num_images=60)
    for index in range(3):
        ours, theirs = shifted[index], whole[40 + index]
        assert (ours.id, ours.source_id, ours.target, ours.label) == (40 + index, 40 + index, -1, theirs.label)
        np.testing.assert_array_equal(ours.image, theirs.image)


def test_seeds_differ():
    _, ours = examples(6)
    _, theirs = examples(6, seed=1)
    assert all((a.image != b.image).mean() > 0.5 for a, b in zip(ours, theirs, strict=True))


def test_record(sample):
    world, all_examples = sample
    assert len(world) == 96 and len(world.classes) == len(set(world.classes)) == len(world.class_names) == 24
    for example in all_examples:
        assert example.image.shape == (64, 64, 3) and example.image.dtype == np.uint8
        assert concepts_of(example).shape == (64, 64, 6) and concepts_of(example).dtype == np.int32
        assert 0 <= example.label < 24


@pytest.mark.parametrize("count", [1, 24, 25, 100, 240])
def test_classes_are_balanced_within_one(count):
    counts = np.bincount([balanced(index, 24, 5, "label") for index in range(count)], minlength=24)
    assert counts.max() - counts.min() <= 1


def test_the_order_of_classes_is_free():
    blocks = {tuple(balanced(24 * block + k, 24, 5, "label") for k in range(24)) for block in range(20)}
    assert len(blocks) == 20


def test_labels_of_examples_are_balanced(sample):
    counts = np.bincount([example.label for example in sample[1]], minlength=24)
    assert (counts == 4).all()


def test_every_layer_holds_its_own_category(sample):
    world, all_examples = sample
    table = world.concepts
    assert tuple(dict.fromkeys(table.categories)) == ("none", *CATEGORIES)
    assert len(table.of("scene")) >= 20 and len(table.of("texture")) >= 20
    category = np.array(table.categories)
    for place, name in enumerate(CATEGORIES):
        found = np.unique(np.stack([concepts_of(example)[..., place] for example in all_examples]))
        assert set(category[found]) <= {name, "none"}


def test_labels_agree(sample):
    world, all_examples = sample
    names = np.array(world.concepts.names)
    for example in all_examples:
        thing, part = layer(example, "object"), layer(example, "part")
        assert set(names[np.unique(thing)]) == {"none", world.class_names[example.label]}
        assert (thing[part > 0] > 0).all(), "a part lies outside the object"
        assert len(np.unique(layer(example, "scene"))) == 1 and layer(example, "scene").min() > 0
        np.testing.assert_array_equal(layer(example, "color"), color_concepts(example.image))
        rows, columns = np.nonzero(thing)
        side = max(np.ptp(rows), np.ptp(columns)) + 1
        assert 0.55 * 64 <= side <= 0.92 * 64, world.class_names[example.label]


def test_only_the_object_is_missing_from_the_background(sample):
    world, all_examples = sample
    empty = concept_world(seed=0, num_images=96, background_only=True)
    for index, example in enumerate(all_examples[:32]):
        background = empty[index]
        thing = layer(example, "object") > 0
        assert (example.image != background.image).any(-1)[thing].mean() > 0.9
        near = np.pad(thing, 1)
        near = np.any([near[1 + r : 65 + r, 1 + c : 65 + c] for r in (-1, 0, 1) for c in (-1, 0, 1)], axis=0)
        # Strokes thinner than a pixel colour some pixels whose centre they miss.
        assert (example.image != background.image).any(-1)[~near].mean() < 0.01
        np.testing.assert_array_equal(concepts_of(example)[~thing][:, 1:], concepts_of(background)[~thing][:, 1:])
        assert not layer(background, "object").any() and not layer(background, "part").any()
        assert background.label == example.label and background.id == example.id
    assert empty.fingerprint != world.fingerprint


@pytest.fixture(scope="module")
def census(tmp_path_factory) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of each concept, and in how many pictures of each class it occurs, over 1500 pictures."""
    path = tmp_path_factory.mktemp("census") / "counts.npz"
    subprocess.run([sys.executable, "-c", CENSUS, str(path)], check=True)
    with np.load(path) as counts:
        return counts["pixels"], counts["pictures"]


def test_every_concept_occurs_and_parts_are_shared(census):
    table = concept_world(seed=0, num_images=1).concepts
    pixels, pictures = census
    assert not [table.names[number] for number in range(1, len(table.names)) if not pixels[number]]
    for part, least in (
        ("wheel", 4),
        ("leg", 6),
        ("wing", 4),
        ("leaf", 2),
        ("window", 6),
        ("head", 8),
        ("tail", 6),
        ("eye", 6),
    ):
        assert (pictures[table.number("part", part)] > 0).sum() >= least, part
    for place, name in enumerate(table.of("object")):
        assert np.flatnonzero(pictures[table.number("object", name)]).tolist() == [place]


def test_no_scene_and_no_texture_covers_more_than_a_twentieth(census):
    table, pixels = concept_world(seed=0, num_images=1).concepts, census[0]
    for category in ("scene", "texture"):
        of_category = pixels[list(table.numbers(category))]
        assert of_category.max() <= 0.05 * of_category.sum(), table.of(category)[int(of_category.argmax())]
    things = pixels[list(table.numbers("object"))] / (1500 * 32**2)
    assert things.min() > 0.004 and things.max() < 0.02


def test_texture_of_the_object_is_as_common_in_every_class(census):
    table, pictures = concept_world(seed=0, num_images=1).concepts, census[1]
    with_texture = pictures[0]
    total = sum(pictures[number] for number in table.numbers("object"))
    assert ((with_texture / total > 0.35) & (with_texture / total < 0.85)).all()


def plans(count: int, confounding: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Classes, scenes and object textures as numbers."""
    made = [plan_of(3, number, confounding) for number in range(count)]
    scenes, label = list(SCENES), np.array([plan.label for plan in made])
    return label, np.array([scenes.index(p.scene) for p in made]), np.array([TEXTURES.index(p.texture) for p in made])


def test_without_confounding_scene_and_texture_tell_nothing_about_the_class():
    label, scene, texture = plans(7200, 0.0)
    # The plug-in estimate of independent variables is about (24 - 1) (30 - 1) / (2 n ln 2) bits.
    chance = 23 * 29 / (2 * 7200 * np.log(2))
    for value in (scene, texture):
        assert 0.5 * chance < mutual_information(value, label) < 1.3 * chance
        assert (np.bincount(value) == 240).all()


def test_full_confounding_determines_scene_and_texture():
    for value in plans(480, 1.0)[1:]:
        assert mutual_information(value, plans(480, 1.0)[0]) == pytest.approx(np.log2(24), abs=1e-9)


def test_the_knob_is_a_probability():
    label, scene, texture = plans(4000, 0.5)
    for value in (scene, texture):
        assert (value == label).mean() == pytest.approx(0.5 + 0.5 / 30, abs=0.03)
    both = ((scene == label) & (texture == label)).mean()
    assert both == pytest.approx((0.5 + 0.5 / 30) ** 2, abs=0.03)


@pytest.mark.parametrize("confounding", [0.0, 1.0])
def test_pictures_show_what_was_planned(confounding):
    world, all_examples = examples(36, image_size=32, confounding=confounding)
    textured = 0
    for number, example in enumerate(all_examples):
        plan = plan_of(0, number, confounding)
        assert example.label == plan.label
        assert layer(example, "scene")[0, 0] == world.concepts.number("scene", plan.scene)
        seen = set(np.unique(layer(example, "texture")[layer(example, "object") > 0]).tolist()) - {0}
        assert seen <= {world.concepts.number("texture", plan.texture)}
        textured += bool(seen)
    assert 9 < textured < 33


@pytest.mark.parametrize("size", [32, 96, 256])
def test_a_picture_is_the_same_at_every_size(size):
    for index in range(3):
        small, large = (concept_world(seed=2, num_images=3, image_size=side)[index] for side in (64, size))
        assert large.image.shape == (size, size, 3)
        centres = ((np.arange(32) + 0.5) / 32 * size).astype(int)
        coarse = ((np.arange(32) + 0.5) / 32 * 64).astype(int)
        ours = layer(large, "object")[centres][:, centres]
        theirs = layer(small, "object")[coarse][:, coarse]
        assert (ours == theirs).mean() > 0.9


@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
@pytest.mark.skipif(not WORDNET.is_file(), reason="WordNet is not installed")
def test_wordnet_knows_the_class(kind):
    with WORDNET.open("rb") as file:
        file.seek(int(kind.wnid[1:]))
        fields = file.readline().decode().split()
    assert fields[0] == kind.wnid[1:] and fields[2] == "n"
    words = fields[4 : 4 + 2 * int(fields[3], 16) : 2]
    assert kind.name in words


@pytest.mark.parametrize("name", TEXTURES)
def test_textures_mix_two_colours(name):
    axis = (np.arange(64, dtype=np.float32) + 0.5) / 64
    field = texture_field(Texture(name, 0.4, 0.1, 0.3, 0.7), axis[None, :], axis[:, None])
    assert field.shape == (64, 64) and field.min() >= 0 and field.max() <= 1
    assert field.std() > 0.1 and 0.08 < field.mean() < 0.92


@pytest.mark.parametrize("name", MATERIALS)
def test_materials_keep_the_brightness(name):
    axis = (np.arange(64, dtype=np.float32) + 0.5) / 64
    field = np.broadcast_to(material_field(name, axis[None, :], axis[:, None]), (64, 64))
    assert 0.85 < field.mean() < 1.15 and field.min() > 0.3 and field.max() < 1.8


def test_color_names_of_the_prototypes():
    table = concept_world(seed=0, num_images=1).concepts
    for name, values in PALETTE.items():
        image = np.array(values, np.uint8)[None]
        assert [table.names[number] for number in color_concepts(image)[0]] == [name] * len(values)


def test_draws():
    first, again, other = Draws(1, 2, "object"), Draws(1, 2, "object"), Draws(1, 2, "background")
    values = [first.uniform(-1, 3) for _ in range(2000)]
    assert values == [again.uniform(-1, 3) for _ in range(2000)] != [other.uniform(-1, 3) for _ in range(2000)]
    assert min(values) >= -1 and max(values) < 3 and abs(np.mean(values) - 1) < 0.1
    assert sorted(first.permutation(30)) == list(range(30))
    assert all(8.8 <= first.vary(10, 0.12) <= 11.2 for _ in range(50))


def test_fingerprint_tells_worlds_apart():
    knobs: dict[str, Any] = {
        "seed": 0,
        "num_images": 5,
        "image_size": 64,
        "confounding": 0.0,
        "background_only": False,
        "first": 0,
    }
    others = {"seed": 1, "num_images": 6, "image_size": 32, "confounding": 0.5, "background_only": True, "first": 24}
    prints = {concept_world(**knobs).fingerprint} | {concept_world(**(knobs | {k: v})).fingerprint for k, v in others.items()}
    assert len(prints) == 1 + len(others)
    assert concept_world(**knobs) == ConceptWorld(**knobs) and concept_world(**knobs).fingerprint in prints


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"num_images": -1}, "num_images >= 0"),
        ({"image_size": 16}, "32 to 256"),
        ({"confounding": 1.5}, r"in \[0, 1\]"),
        ({"first": -3}, "first >= 0"),
    ],
)
def test_bad_knobs(knobs, message):
    with pytest.raises(ValueError, match=message):
        concept_world(**({"seed": 0, "num_images": 4} | knobs))


@pytest.mark.parametrize("index", [-1, 4])
def test_index_out_of_range(index):
    with pytest.raises(IndexError):
        concept_world(seed=0, num_images=4)[index]


def test_concept_table():
    table = concept_table({"color": ("red", "blue"), "part": ("red",)})
    assert table.names == ("none", "red", "blue", "red") and table.categories == ("none", "color", "color", "part")
    assert table.number("part", "red") == 3 and table.numbers("color") == (1, 2) and table.of("part") == ("red",)
    with pytest.raises(ValueError, match="part has: red"):
        table.number("part", "blue")
    with pytest.raises(ValueError, match="got 'shape'"):
        concept_table({"shape": ("round",)})
    with pytest.raises(ValueError, match="'red' twice"):
        concept_table({"color": ("red", "red")})


def test_there_is_enough_to_learn():
    assert len(SCENES) >= 20 and len(TEXTURES) >= 20 and len(MATERIALS) >= 10 and len(PARTS) >= 30
