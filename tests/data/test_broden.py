"""Broden's format: what is written is read back, every variant of a cell is understood, and bad folders are named."""

import csv
import pathlib

import numpy as np
import pytest
from PIL import Image

from jaxinterp.data._broden import Broden, broden
from jaxinterp.data._broden_writer import write_broden
from jaxinterp.data._concepts import CATEGORIES, ConceptTable, concept_table
from jaxinterp.data._source import Example
from jaxinterp.data._world import concept_world


class Toy:
    """Two examples with two layers that mix categories."""

    classes = class_names = ()
    image_size = 4
    fingerprint = "toy"
    concepts: ConceptTable | None = concept_table({"object": ("cat", "mat"), "scene": ("room",)})

    def __init__(self, maps: list[np.ndarray]) -> None:
        self.maps = maps

    def __len__(self) -> int:
        return len(self.maps)

    def __getitem__(self, index: int, /) -> Example:
        image = np.full((4, 4, 3), 50 * index, np.uint8)
        return Example(image, -1, -1, index, index, self.maps[index])


def concepts_of(example: Example) -> np.ndarray:
    assert example.concepts is not None
    return example.concepts


def names_at(source: Broden, row: int, column: int, index: int = 0) -> set[tuple[str, str]]:
    numbers = concepts_of(source[index])[row, column]
    return {(source.concepts.categories[n], source.concepts.names[n]) for n in numbers if n}


@pytest.fixture(scope="module")
def world():
    return concept_world(seed=4, num_images=4, image_size=32)


@pytest.fixture(scope="module")
def written(world, tmp_path_factory) -> pathlib.Path:
    return write_broden(world, tmp_path_factory.mktemp("broden") / "world")


def read_table(path: pathlib.Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_round_trip_is_exact(world, written):
    source = broden(written, image_size=32)
    assert len(source) == 4 and source.concepts == world.concepts and source.image_size == 32
    for index in range(4):
        ours, theirs = source[index], world[index]
        np.testing.assert_array_equal(ours.image, theirs.image)
        np.testing.assert_array_equal(ours.concepts, theirs.concepts)
        assert concepts_of(ours).dtype == np.int32
        assert (ours.label, ours.target, ours.id, ours.source_id) == (-1, -1, index, index)


def test_files_are_those_of_the_format(world, written):
    index = read_table(written / "index.csv")
    assert list(index[0])[:6] == ["image", "split", "ih", "iw", "sh", "sw"] and set(list(index[0])[6:]) == set(CATEGORIES)
    assert all(row["scene"].isdigit() and row["part"].endswith(".png") and row["sh"] == "32" for row in index)
    number = int(index[1]["scene"])
    labels = {int(row["number"]): row for row in read_table(written / "label.csv")}
    assert labels[number]["name"] == world.concepts.names[number] and labels[number]["category"].startswith("scene(")
    assert labels[number]["frequency"] == labels[number]["coverage"].split(".")[0]
    codes = read_table(written / "c_texture.csv")
    assert [int(row["code"]) for row in codes] == list(range(1, len(world.concepts.of("texture")) + 1))
    assert {row["name"] for row in read_table(written / "category.csv")} == set(CATEGORIES)
    concepts = world[0].concepts
    for row in read_table(written / "c_object.csv"):
        share = sum(float((world[i].concepts == int(row["number"])).any(-1).mean()) for i in range(4))
        assert float(row["coverage"]) == pytest.approx(share, abs=1e-5)
    pixels = np.asarray(Image.open(written / "images" / index[0]["part"])).astype(int)
    np.testing.assert_array_equal(pixels[..., 0] + 256 * pixels[..., 1], concepts[..., CATEGORIES.index("part")])


def test_half_resolution_labels(world, tmp_path):
    path = write_broden(world, tmp_path / "half", label_stride=2, split="val")
    assert read_table(path / "index.csv")[0]["sh"] == "16"
    half = concepts_of(broden(path, image_size=32, label_size=16)[2])
    whole = concepts_of(broden(path, image_size=32)[2])
    np.testing.assert_array_equal(half, world[2].concepts[1::2, 1::2])
    np.testing.assert_array_equal(whole, half.repeat(2, 0).repeat(2, 1))


def test_layers_of_mixed_categories(tmp_path):
    first = np.zeros((4, 4, 2), np.int32)
    first[:2, :, 0], first[2:, :, 0], first[1:3, :, 1] = 1, 3, 2
    second = np.zeros((4, 4, 2), np.int32)
    second[..., 1] = 3
    source = broden(write_broden(Toy([first, second]), tmp_path / "toy"), image_size=4)
    assert source.layers == (("scene", 1), ("object", 2))
    assert names_at(source, 1, 0) == {("object", "cat"), ("object", "mat")}
    assert names_at(source, 3, 0) == {("scene", "room")}
    assert names_at(source, 0, 3, index=1) == {("scene", "room")}
    assert [row["scene"] for row in read_table(tmp_path / "toy" / "index.csv")] == ["000000_scene.png", "3"]


@pytest.fixture
def handmade(tmp_path) -> pathlib.Path:
    """A folder as Network Dissection's own writer makes them: shared labels, several layers, empty cells, large numbers."""
    images = tmp_path / "images" / "set"
    images.mkdir(parents=True)
    Image.fromarray(np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)).save(images / "a.png")
    Image.fromarray(np.full((6, 8, 3), 9, np.uint8)).save(images / "b.png")
    layer = np.zeros((3, 4, 3), np.uint8)
    layer[0, :, 0] = 7
    layer[1:, 1:3] = (44, 1, 200)
    Image.fromarray(layer).save(images / "a_object.png")
    tables = {
        "index.csv": "image,split,ih,iw,sh,sw,color,object,material,scene\n"
        "set/a.png,train,6,8,3,4,,set/a_object.png;7,7,\n"
        "set/b.png,val,6,8,3,4,2;5,,,300\n",
        "c_color.csv": "code,number,name,frequency,coverage\n1,5,red-c,1,1.0\n2,2,blue-c,1,1.0\n",
        "c_object.csv": "code,number,name,frequency,coverage\n1,300,hut,1,0.5\n2,7,cloth,1,1.0\n",
        "c_material.csv": "code,number,name,frequency,coverage\n1,7,cloth,1,1.0\n",
        "c_scene.csv": "code,number,name,frequency,coverage\n1,300,hut,1,1.0\n",
    }
    for name, text in tables.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_every_kind_of_cell(handmade):
    source = broden(handmade, image_size=6, label_size=3)
    assert source.layers == (("color", 2), ("material", 1), ("scene", 1), ("object", 2))
    assert source.concepts.of("color") == ("red-c", "blue-c") and source.concepts.categories[3] == "material"
    concepts = concepts_of(source[0])
    assert concepts.shape == (3, 3, 6)
    assert names_at(source, 0, 0) == {("object", "cloth"), ("material", "cloth")}
    assert names_at(source, 2, 1) == {("object", "hut"), ("object", "cloth"), ("material", "cloth")}
    assert names_at(source, 2, 2, index=1) == {("color", "red-c"), ("color", "blue-c"), ("scene", "hut")}


def test_split_and_categories(handmade):
    source = broden(handmade, image_size=6, split="val", categories=("scene", "color"))
    assert len(source) == 1 and source[0].id == 1
    assert source.layers == (("scene", 1), ("color", 2))
    assert source.classes == () and source[0].label == -1
    assert source.fingerprint != broden(handmade, image_size=6).fingerprint
    with pytest.raises(ValueError, match="unknown split 'test'"):
        broden(handmade, image_size=6, split="test")
    with pytest.raises(ValueError, match="got 'shape'"):
        broden(handmade, image_size=6, categories=("shape",))


def test_fingerprint_changes_with_a_label_map(handmade):
    before = broden(handmade, image_size=6).fingerprint
    Image.fromarray(np.full((3, 4, 3), (7, 0, 0), np.uint8)).save(handmade / "images" / "set" / "a_object.png")
    assert broden(handmade, image_size=6).fingerprint != before


def test_missing_things_are_named(handmade, tmp_path):
    with pytest.raises(ValueError, match="found none at"):
        broden(tmp_path / "nowhere", image_size=6)
    (handmade / "images" / "set" / "a_object.png").unlink()
    source = broden(handmade, image_size=6)
    with pytest.raises(ValueError, match=r"a_object\.png"):
        source[0]
    assert source[1].id == 1
    (handmade / "c_scene.csv").unlink()
    with pytest.raises(ValueError, match=r"c_scene\.csv"):
        broden(handmade, image_size=6)
    (handmade / "index.csv").unlink()
    with pytest.raises(ValueError, match=r"expected index\.csv"):
        broden(handmade, image_size=6)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("image,split", "file,split", "column 'image'"),
        (",3,4,,set", ",5,4,,set", "as index.csv says"),
        (",6,8,3,4,,set", ",6,8,x,4,,set", "column sh, got 'x'"),
        (",6,8,3,4,,set", ",6,9,3,4,,set", "image of 6 x 9, as index.csv says, got 6 x 8"),
        (
            "6,8,3,4,,set/a_object.png;7,7,",
            "6,8,3,4,,set/a_object.png;7,7",
            "expected 10 cells in line 2 of .*index.csv, got fewer",
        ),
        ("png;7,7,", "png;7,7,,,", "expected 10 cells in line 2 of .*index.csv, got more"),
        ("set/a.png,", '"set/a.png,', "expected CSV in UTF-8"),
        ("6,8,3,4,,set/a_object.png", "6,8,3,4,,set/b.png", "expected labels of 3 x 4"),
        ("a_object.png;7,7", "a_object.png;7,5", r"c_material.csv names, got 5 in '5' of set/a.png"),
        ("a_object.png;7,7", "no_such.png;7,7", "found none at .*no_such.png"),
        ("set/a.png", "set/c.png", "found none at .*c.png"),
        ("png;7,7", "png;7,8", r"c_material.csv names, got 8 in .8. of set/a.png"),
        ("color,object,material,scene", "colour,thing,stuff,place", "it has: colour"),
    ],
)
def test_wrong_index(handmade, old, new, message):
    text = (handmade / "index.csv").read_text()
    assert old in text
    (handmade / "index.csv").write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match=message):
        broden(handmade, image_size=6)[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("code,number,name\none,300,hut\n", "number up to 65535 in column code of .*c_scene.csv, got 'one'"),
        ("code,number,name\n1,-3,hut\n", "column number of .*c_scene.csv, got '-3'"),
        ("code,number,name\n1,999999999,hut\n", "number up to 65535"),
        ("code,number,name\n1,300\n", "expected 3 cells in line 2 of .*c_scene.csv, got fewer"),
        ("code,number,name\n1,300,\n", "expected one name for each label, got '' for label 300"),
        ("code,number,name\n1,300,hut\n2,300,shed\n", "got 'shed' for label 300"),
        ("code,number,name\n", "expected labels in .*c_scene.csv, got none; leave 'scene' out"),
        ("code,name\n1,hut\n", "column 'number'"),
        ('code,number,name\n1,300,"hut\n', "expected CSV in UTF-8"),
        ("", "column 'code'"),
    ],
)
def test_wrong_table(handmade, text, message):
    (handmade / "c_scene.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        broden(handmade, image_size=6)
    assert len(broden(handmade, image_size=6, categories=("object",))) == 2


def test_bytes_that_are_no_text(handmade):
    (handmade / "c_scene.csv").write_bytes(b"code,number,name\n1,300,caf\xe9\n")
    with pytest.raises(ValueError, match=r"expected CSV in UTF-8, could not read line 1 of .*c_scene\.csv"):
        broden(handmade, image_size=6)


def test_a_mark_of_byte_order_and_carriage_returns_are_read_over(handmade):
    for path in handmade.glob("*.csv"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert names_at(broden(handmade, image_size=6), 0, 0, index=1) == {
        ("color", "red-c"),
        ("color", "blue-c"),
        ("scene", "hut"),
    }


def test_labels_must_have_the_shape_of_the_image(handmade):
    text = (handmade / "index.csv").read_text()
    (handmade / "index.csv").write_text(text.replace(",6,8,3,4,,set", ",6,8,3,2,,set"))
    Image.fromarray(np.zeros((3, 2, 3), np.uint8)).save(handmade / "images" / "set" / "a_object.png")
    with pytest.raises(ValueError, match="expected labels in the shape of the image, 6 x 8, got 3 x 2"):
        broden(handmade, image_size=6)[0]


def test_a_zero_in_a_cell_is_no_label(handmade):
    """Network Dissection writes the labels that it leaves out as 0."""
    text = (handmade / "index.csv").read_text()
    (handmade / "index.csv").write_text(text.replace("2;5,", "0;5,"))
    assert names_at(broden(handmade, image_size=6), 0, 0, index=1) == {("color", "red-c"), ("scene", "hut")}


def test_damaged_label_map(handmade):
    (handmade / "images" / "set" / "a_object.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    with pytest.raises(ValueError, match="expected a PNG of labels"):
        broden(handmade, image_size=6)[0]


def test_writer_refuses(world, written, tmp_path):
    with pytest.raises(ValueError, match="empty folder"):
        write_broden(world, written)
    with pytest.raises(ValueError, match="divides 32, got 5"):
        write_broden(world, tmp_path / "x", label_stride=5)
    plain = Toy([])
    plain.concepts = None
    with pytest.raises(ValueError, match="got one without"):
        write_broden(plain, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_source_that_fails_leaves_an_empty_folder(tmp_path):
    class Torn(Toy):
        def __getitem__(self, index: int, /) -> Example:
            return super().__getitem__(index)._replace(concepts=None if index else self.maps[0])

    with pytest.raises(ValueError, match="got none with example 1"):
        write_broden(Torn([np.ones((4, 4, 1), np.int32)] * 2), tmp_path / "x")
    assert list((tmp_path / "x").iterdir()) == []
