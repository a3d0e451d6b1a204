"""Concept sets: what annotated images say is what is read back, and what is wrong with them is said in one line."""

import csv
import itertools
import pathlib
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from jaxinterp import data
from jaxinterp.data import AnnotatedImage, NamedLabels, build_broden, name_labels
from jaxinterp.data._broden_builder import _split
from jaxinterp.data._broden_files import BrodenFiles

PHOTO = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
MASK = np.repeat(np.array([[0, 1], [1, 2]], np.uint8), 4, 0).repeat(4, 1)
PARTS = NamedLabels(MASK, {0: None, 1: "hair", 2: "skin"})


def images() -> list[AnnotatedImage]:
    """A window that is a part and an object, two layers on one pixel, a label of the whole image, one image without labels."""
    house = name_labels(MASK, {"object": {1: "house", 2: "house"}, "part": {2: "window;pane"}}, ignore=[0])
    window = NamedLabels(np.full((8, 8), 7), {7: "window"})
    return [
        AnnotatedImage(PHOTO, {**house, "scene": "street-s"}, "a/1"),
        AnnotatedImage(PHOTO, {"object": [NamedLabels(MASK, {0: None, 1: "cat", 2: None}), window]}, "a/2"),
        AnnotatedImage(PHOTO, {"texture": ["dotted", "striped"]}, "b/3", "test"),
        AnnotatedImage(PHOTO, {}, "b/4"),
    ]


def build(path: pathlib.Path, records, **knobs) -> data.BrodenSummary:
    return build_broden(path, records, **{"image_size": 8, "label_stride": 2, **knobs})


def concepts_at(source: data.Broden, index: int, row: int, column: int) -> set[tuple[str, str]]:
    maps = source[index].concepts
    assert maps is not None
    return {(source.concepts.categories[n], source.concepts.names[n]) for n in maps[row, column] if n}


def read_table(path: pathlib.Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("built") / "set"
    build(path, [images()])
    return path


def test_what_is_said_is_read(built):
    source = data.broden(built, image_size=8, label_size=4)
    np.testing.assert_array_equal(source[0].image, PHOTO)
    house, part, scene = ("object", "house"), ("part", "window"), ("scene", "street-s")
    assert concepts_at(source, 0, 0, 0) == {scene}
    assert concepts_at(source, 0, 0, 2) == {scene, house}
    assert concepts_at(source, 0, 3, 3) == {scene, house, part}
    assert concepts_at(source, 1, 0, 3) == {("object", "cat"), ("object", "window")}
    assert concepts_at(source, 2, 1, 1) == {("texture", "dotted"), ("texture", "striped")}
    assert concepts_at(source, 3, 0, 0) == set()


def test_tables_are_those_of_the_format(built):
    labels = {row["name"]: row for row in read_table(built / "label.csv")}
    assert labels["window"]["category"] == "object(1);part(1)" and labels["window"]["frequency"] == "2"
    assert labels["window"]["syns"] == "pane" and float(labels["window"]["coverage"]) == 1.25
    objects, parts = read_table(built / "c_object.csv"), read_table(built / "c_part.csv")
    assert [row["code"] for row in objects] == ["1", "2", "3"]
    assert {row["name"]: row["number"] for row in objects}["window"] == parts[0]["number"] == labels["window"]["number"]
    assert [row["name"] for row in objects] == ["window", "house", "cat"], "the frequent and the large first"
    ranges = {row["name"]: row for row in read_table(built / "category.csv")}
    assert ranges["object"]["count"] == "3" and ranges["object"]["frequency"] == "3" and "color" not in ranges
    index = read_table(built / "index.csv")
    assert list(index[0]) == ["image", "split", "ih", "iw", "sh", "sw", "object", "part", "scene", "texture"]
    assert index[0]["sh"] == "4" and index[0]["scene"] == labels["street-s"]["number"]
    assert index[1]["object"] == f"a/2_object.png;{labels['window']['number']}"
    assert index[2]["texture"] == f"{labels['dotted']['number']};{labels['striped']['number']}" and index[2]["split"] == "test"
    assert not list(built.glob("*.partial")) and not list(built.glob("*.tmp"))


def test_summary(built, tmp_path):
    summary = build(tmp_path / "again", [images()])
    assert summary.num_images == {"a": 2, "b": 2} and summary.num_unlabelled == 1 and summary.dropped == {}
    assert summary.counts["a"]["object"] == {"house": 1, "cat": 1, "window": 1}
    assert summary.concepts()["texture"] == {"dotted": 1, "striped": 1}
    lines = str(summary).splitlines()
    assert lines[0].split() == ["set", "images", "texture", "scene", "part", "object"]
    assert lines[3].split() == ["all", "4", "2", "(2)", "1", "(1)", "1", "(1)", "3", "(3)"]
    for file in sorted(path for path in built.rglob("*") if path.is_file()):
        assert file.read_bytes() == (tmp_path / "again" / file.relative_to(built)).read_bytes()


def test_any_iterable_will_do(built, tmp_path):
    build(tmp_path / "one", iter(images()))
    build(tmp_path / "two", [images()[0], (record for record in images()[1:])])
    for path in ("one", "two"):
        assert (tmp_path / path / "index.csv").read_bytes() == (built / "index.csv").read_bytes()


def test_sets_share_names(tmp_path):
    other = AnnotatedImage(PHOTO, {"object": NamedLabels(MASK, {0: "cat", 1: "dog", 2: None})}, "c/1")
    summary = build(tmp_path / "set", [images(), [other]], rename={"dog": "house"})
    assert summary.concepts()["object"] == {"house": 2, "cat": 2, "window": 1}
    assert concepts_at(data.broden(tmp_path / "set", image_size=8), 4, 0, 7) == {("object", "house")}
    assert {row["name"]: row["syns"] for row in read_table(tmp_path / "set" / "label.csv")}["house"] == "dog"


def test_a_name_is_changed_in_one_category_or_in_all(tmp_path):
    bag = AnnotatedImage(PHOTO, {"object": NamedLabels(MASK, {0: "bag", 1: "bag; purse", 2: None})}, "c/1")
    rename = {"window": "pane", "object": {"house": "home", "window": "window"}, "bag;purse": "purse"}
    summary = build(tmp_path / "set", [images(), [bag]], rename=rename)
    assert summary.concepts()["object"] == {"home": 1, "cat": 1, "window": 1, "bag": 1, "purse": 1}
    assert summary.concepts()["part"] == {"pane": 1}
    synonyms = {row["name"]: row["syns"] for row in read_table(tmp_path / "set" / "label.csv")}
    assert synonyms["pane"] == "window" and synonyms["purse"] == "bag"
    with pytest.raises(ValueError, match="in rename, got 'things'"):
        build(tmp_path / "other", [images()], rename={"things": {"house": "home"}})


def test_names_of_broden_plus(tmp_path):
    path = tmp_path / "label_assignment.csv"
    lines = [
        "dataset,category,raw_label,raw_name,broden_label,broden_name",
        "ade20k,object,312,house;home,5,building",
        "ade20k,object,3,abacus,0,-",
        "ade20k,scene,0,,-1,zen_garden",
        "ade20k,scene,60,street-s,329,road",
        "pascal,part,1,window,2,pane",
    ]
    path.write_text("\n".join(lines))
    assert data.broden_plus_names(path) == {"object": {"house;home": "building"}, "scene": {"street-s": "road-s"}}
    assert data.broden_plus_names(path, dataset="pascal") == {"part": {"window": "pane"}}
    with pytest.raises(ValueError, match="ade20k, pascal, got 'coco'"):
        data.broden_plus_names(path, dataset="coco")
    summary = build(tmp_path / "set", [images()], rename=data.broden_plus_names(path))
    assert "road-s" in summary.concepts()["scene"] and "house" in summary.concepts()["object"], "synonyms are part of the name"


def test_rare_concepts_are_left_out_and_reported(tmp_path):
    hair = [AnnotatedImage(PHOTO, {"part": PARTS, "scene": "room-s"}, f"c/{place}") for place in range(2)]
    bald = AnnotatedImage(PHOTO, {"part": NamedLabels(MASK, {0: None, 1: "ear", 2: "skin"})}, "c/bald")
    summary = build(tmp_path / "set", [images(), hair, [bald]], min_images=2)
    assert summary.concepts() == {"scene": {"room-s": 2}, "part": {"hair": 2, "skin": 3}}
    assert summary.dropped == {
        "object": {"cat": 1, "house": 1, "window": 1},
        "part": {"ear": 1, "window": 1},
        "scene": {"street-s": 1},
        "texture": {"dotted": 1, "striped": 1},
    }
    assert "left out as rare: 3 object, 2 part, 1 scene, 2 texture" in str(summary)
    source = data.broden(tmp_path / "set", image_size=8, label_size=4)
    assert source.concepts.names == ("none", "room-s", "skin", "hair")
    assert [concepts_at(source, place, 3, 3) for place in (0, 1, 2, 3, 6)] == [set()] * 4 + [{("part", "skin")}]
    assert concepts_at(source, 6, 0, 3) == set() and concepts_at(source, 4, 0, 3) == {("part", "hair"), ("scene", "room-s")}
    named = {item for row in read_table(tmp_path / "set" / "index.csv") for item in (row["image"], *row["part"].split(";"))}
    files = {str(file.relative_to(tmp_path / "set" / "images")) for file in (tmp_path / "set" / "images").rglob("*.png")}
    assert files == {name for name in named if name.endswith(".png")}, "no map is left of what was left out"


def test_splits_are_a_matter_of_the_name(tmp_path):
    draws = [_split(f"a/{place}", {"train": 0.7, "val": 0.3}) for place in range(2000)]
    assert abs(draws.count("train") / 2000 - 0.7) < 0.03
    assert {_split(f"a/{place}", {"all": 1.0}) for place in range(9)} == {"all"}
    build(tmp_path / "set", [images()[::-1]], splits={"one": 0.5, "two": 0.5})
    for row in read_table(tmp_path / "set" / "index.csv"):
        name = row["image"].removesuffix(".png")
        assert row["split"] == ("test" if name == "b/3" else _split(name, {"one": 0.5, "two": 0.5}))


def test_images_that_are_not_square(tmp_path):
    """A border between two labels is where the border between two grey values is, squeezed or cropped."""
    photo, labels = np.zeros((12, 20, 3), np.uint8), np.zeros((12, 20), np.uint8)
    photo[:, 13:], labels[:, 13:] = 255, 1
    record = AnnotatedImage(photo, {"object": NamedLabels(labels, {0: "left", 1: "right"})}, "a/1")
    for crop, border in ((False, 20 * 13 / 20), (True, 20 * (13 - 4) / 12)):
        build(tmp_path / str(crop), [record], image_size=20, label_stride=1, crop=crop)
        source = data.broden(tmp_path / str(crop), image_size=20)
        maps = source[0].concepts
        assert maps is not None
        right = maps[..., 0] == source.concepts.number("object", "right")
        np.testing.assert_array_equal(right, np.broadcast_to(np.arange(20) + 0.5 >= border, (20, 20)))
        np.testing.assert_array_equal(right, source[0].image[..., 0] > 127)


def test_colors_by_the_table(tmp_path):
    table = np.zeros((32, 32, 32), np.uint8)
    table[31, 0, 0], table[0, 31, 0], table[31, 31, 31] = 8, 4, 9
    photo = np.zeros((8, 8, 3), np.uint8)
    photo[:4, :, 0], photo[4:, :, 1] = 255, 250
    own = AnnotatedImage(photo, {"color": "red-c", "object": "orange"}, "a/2")
    for place, colors in enumerate((table, tmp_path / "w2color.npy")):
        np.save(tmp_path / "w2color.npy", table)
        build(tmp_path / f"set{place}", [AnnotatedImage(photo, {}, "a/1"), own], colors=colors)
        source = data.broden(tmp_path / f"set{place}", image_size=8)
        assert concepts_at(source, 0, 0, 5) == {("color", "red-c")} and concepts_at(source, 0, 7, 5) == {("color", "green-c")}
        assert concepts_at(source, 1, 7, 5) == {("color", "red-c"), ("object", "orange")}


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (
            AnnotatedImage(PHOTO, {"part": NamedLabels(MASK[:4], {})}, "a/9"),
            "8 x 8, the size of the image, in category part of a/9",
        ),
        (
            AnnotatedImage(PHOTO, {"part": NamedLabels(MASK, {0: None, 1: "hair"})}, "a/9"),
            "number 2 without one in category part",
        ),
        (AnnotatedImage(PHOTO, {"part": NamedLabels(MASK / 2, {})}, "a/9"), "whole-numbered labels .* got float64 8 x 8"),
        (AnnotatedImage(PHOTO, {"part": []}, "a/9"), "labels in category part of a/9, got none; leave the category out"),
        (AnnotatedImage(PHOTO, {"part": ""}, "a/9"), "expected a name of a concept, got '' in category part of a/9"),
        (AnnotatedImage(PHOTO, {"part": " "}, "a/9"), "expected a name of a concept, got ' ' in category part of a/9"),
        (AnnotatedImage(PHOTO, {"scene": "-"}, "a/9"), "expected a name of a concept, got '-'"),
        (AnnotatedImage(PHOTO, {"stuff": "grass"}, "a/9"), "expected a category of .* got 'stuff' for a/9"),
        (AnnotatedImage(PHOTO, {"part": cast(Any, [MASK])}, "a/9"), "expected a name or NamedLabels .* got ndarray"),
        (AnnotatedImage("no/such.jpg", {}, "a/9"), "expected an image file, found none at no/such.jpg for a/9"),
        (AnnotatedImage(PHOTO / 255, {}, "a/9"), "expected an image .* of uint8, got float64"),
        (AnnotatedImage(PHOTO, {}, "../9"), 'expected a name such as "street/0001"'),
        (AnnotatedImage(PHOTO, {}, "a/1"), "expected every image once, got 'a/1' twice"),
        (AnnotatedImage(PHOTO, {}, "a/2_object"), None),
        ([MASK], "expected AnnotatedImage records or sets of them, got ndarray"),
    ],
)
def test_bad_records(tmp_path, record, message):
    """A build that fails leaves an empty folder, which the next one takes."""
    if message is not None:
        with pytest.raises(ValueError, match=message) as caught:
            build(tmp_path / "set", iter([images(), record]))
        assert "\n" not in str(caught.value)
        assert list((tmp_path / "set").iterdir()) == []
    assert build(tmp_path / "set", [images()]).num_images == {"a": 2, "b": 2}


def test_an_image_must_not_be_named_like_a_map(tmp_path):
    with pytest.raises(ValueError, match=r"expected no image with the name of a label map, got a/1_object\.png"):
        build(tmp_path / "set", [AnnotatedImage(PHOTO, {}, "a/1_object"), *images()])


def test_damaged_image(tmp_path):
    Image.fromarray(PHOTO.repeat(9, 0)).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    with pytest.raises(ValueError, match=r"expected a whole image, got a damaged one .*a\.png"):
        build(tmp_path / "set", [AnnotatedImage(tmp_path / "a.png", {"scene": "room-s"})])


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"label_stride": 3}, "label_stride that divides 8, got 3"),
        ({"min_images": 0}, "min_images of at least 1"),
        ({"min_images": 9}, "concept of at least 9 images, got none"),
        ({"splits": {"train": 0.5}}, "shares that sum to 1"),
        ({"colors": "no.npy"}, "table of colour names, found none at no.npy"),
    ],
)
def test_bad_knobs(tmp_path, knobs, message):
    with pytest.raises(ValueError, match=message):
        build(tmp_path / "set", [images()], **knobs)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (np.zeros((3, 3), np.uint8), r"table \[32 32 32\] of whole numbers, got \(3, 3\)"),
        (np.full((32, 32, 32), 11), "colour numbers from 0 to 10, got up to 11"),
        (np.array(["red"], object), "expected a .npy file of colour names"),
    ],
)
def test_bad_tables_of_colors(tmp_path, table, message):
    np.save(tmp_path / "table.npy", table, allow_pickle=True)
    with pytest.raises(ValueError, match=message):
        build(tmp_path / "set", [images()], colors=tmp_path / "table.npy")


def test_nothing_to_build(tmp_path):
    with pytest.raises(ValueError, match="expected annotated images, got none"):
        build(tmp_path / "set", [[], []])
    with pytest.raises(ValueError, match="expected labels, got 1 images without any"):
        build(tmp_path / "set", [images()[3]])


def test_a_killed_build_is_seen(built, tmp_path):
    """A build that ends in the middle takes its files away."""

    def stop():
        yield images()[0]
        (tmp_path / "set" / "images" / "a" / "1.png").rename(tmp_path / "kept.png")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "set", stop())
    assert list((tmp_path / "set").iterdir()) == []
    with pytest.raises(ValueError, match="expected an empty folder, got one with files"):
        build(built, [images()])


def test_after_a_kill_the_same_bytes_are_built(tmp_path):
    """A process that is killed leaves files and no `index.csv`; while it lives, nobody else builds there."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    build(whole, [images()])
    files = BrodenFiles(cut)
    files.add("a/1", np.zeros((8, 8, 3), np.uint8), {}, split="train")
    (cut / "label.csv").write_text("half")
    with pytest.raises(ValueError, match=r"got one in which another process builds: .*; wait"):
        build(cut, [images()])
    with pytest.raises(ValueError, match=r"expected index\.csv"):
        data.broden(cut, image_size=8)
    files._partial.close()
    build(cut, [images()])
    names = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(cut) for path in cut.rglob("*") if path.is_file())
    assert all((whole / name).read_bytes() == (cut / name).read_bytes() for name in names)
    (cut / "index.partial").write_text("")
    (cut / "notes.txt").write_text("mine")
    build(cut, [images()])
    assert (cut / "notes.txt").read_text() == "mine"


def test_a_build_that_fails_at_its_tables_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(BrodenFiles, "_rows", lambda *_: iter([1]))
    with pytest.raises(csv.Error):
        build(tmp_path / "set", [images()])
    assert list((tmp_path / "set").iterdir()) == []


def test_nothing_grows_with_the_number_of_images(tmp_path):
    """Records are read one at a time: no record is asked for before the last one is written."""
    path = tmp_path / "set"

    def record(place: int) -> AnnotatedImage:
        assert len(list(path.rglob("c/*.png"))) == 2 * place
        return AnnotatedImage(PHOTO, {"part": PARTS}, f"c/{place}")

    lazy = data.AnnotatedImages(range(5), record)
    assert len(lazy) == 5 and isinstance(lazy[1:3], data.AnnotatedImages) and len(lazy[1:3]) == 2
    assert build(path, [lazy]).num_images == {"c": 5}
    path = tmp_path / "first"
    build(path, [itertools.islice(lazy, 2)])
    path = tmp_path / "second"
    build(path, [lazy[:2]])
    assert (tmp_path / "first" / "index.csv").read_bytes() == (path / "index.csv").read_bytes()
