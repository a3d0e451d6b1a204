"""Sets of annotated images: masks against brute force and hand-made files, and what is wrong with a set, in one line."""

import json
import pathlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jaxinterp import data
from jaxinterp.data._annotated import check_names
from jaxinterp.data._from_coco import _runs, fill_polygon, stack_masks


def named(layer: data.NamedLabels) -> np.ndarray:
    """A layer as names, "" where there is none."""
    return np.vectorize(lambda number: layer.names[number] or "")(layer.labels)


def layers_of(record: data.AnnotatedImage, category: str) -> list[np.ndarray]:
    given = record.concepts[category]
    several = given if isinstance(given, list) else [given]
    return [named(layer) for layer in several if isinstance(layer, data.NamedLabels)]


# Polygons and run lengths


def inside(corners: np.ndarray, x: float, y: float) -> bool:
    """Whether a ray to the left crosses the polygon's edges an odd number of times."""
    crossings = 0
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        crossings += (y0 <= y) != (y1 <= y) and x0 + (y - y0) / (y1 - y0) * (x1 - x0) <= x
    return crossings % 2 == 1


@pytest.mark.parametrize("seed", range(5))
def test_polygons_against_brute_force(seed):
    corners = np.random.default_rng(seed).uniform(-3, 15, (7, 2))
    expected = [[inside(corners, column + 0.5, row + 0.5) for column in range(12)] for row in range(10)]
    np.testing.assert_array_equal(fill_polygon(corners, 10, 12), expected)


def test_a_rectangle_covers_its_area():
    mask = fill_polygon(np.array([[2.0, 1], [5, 1], [5, 4], [2, 4]]), 6, 7)
    assert mask.sum() == 9 and mask[1:4, 2:5].all()


def compressed(runs: list[int]) -> str:
    """COCO's compressed run lengths, written from their definition."""
    text = ""
    for place, run in enumerate(runs):
        value = run - (runs[place - 2] if place > 2 else 0)
        while True:
            group, value = value & 31, value >> 5
            more = value != (-1 if group & 16 else 0)
            text += chr(48 + (group | 32 if more else group))
            if not more:
                break
    return text


def test_compressed_run_lengths():
    runs = [6, 1, 40, 4, 5, 4, 5, 4, 21, 100_000, 3, 1_023_456]
    assert _runs(compressed(runs)) == runs
    assert compressed([6, 1, 40, 4, 5, 4, 5, 4, 21]) == "61X13mN000`0", "as pycocotools writes it"


def test_masks_are_stacked_as_low_as_they_go():
    masks = {number: np.random.default_rng(number).random((9, 9)) < 0.4 for number in (4, 5, 6, 7)}
    layers = stack_masks(masks)
    assert len(layers) == np.sum(list(masks.values()), axis=0).max()
    for number, mask in masks.items():
        np.testing.assert_array_equal(np.any([layer == number for layer in layers], axis=0), mask)
    assert stack_masks({}) == []


# COCO


@pytest.fixture
def coco(tmp_path) -> dict:
    """Two images of 4 x 6; the first has a cat, a crowd of dogs and a dog's piece on the cat."""
    runs = [17, 2, 5]  # column by column: rows 1 and 2 of column 4
    box = [[0, 0, 3, 0, 3, 2, 0, 2]]
    for name in ("a.png", "b.png"):
        Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(tmp_path / name)
    return {
        "images": [
            {"id": 9, "file_name": "b.png", "height": 4, "width": 6},
            {"id": 3, "file_name": "a.png", "height": 4, "width": 6},
        ],
        "categories": [{"id": 1, "name": "cat"}, {"id": 18, "name": "dog"}],
        "annotations": [
            {"image_id": 3, "category_id": 1, "iscrowd": 0, "segmentation": box},
            {"image_id": 3, "category_id": 18, "iscrowd": 1, "segmentation": {"counts": runs, "size": [4, 6]}},
            {"image_id": 3, "category_id": 18, "iscrowd": 0, "segmentation": [[0, 0, 1, 0, 1, 1, 0, 1]]},
            {"image_id": 3, "category_id": 1, "iscrowd": 0, "segmentation": {"counts": compressed(runs), "size": [4, 6]}},
        ],
    }


def write_coco(folder: pathlib.Path, found: object) -> pathlib.Path:
    (folder / "instances.json").write_text(json.dumps(found))
    return folder / "instances.json"


def test_coco(coco, tmp_path):
    found = data.from_coco(write_coco(tmp_path, coco), tmp_path)
    first, second = list(found)
    assert len(found) == 2 and first.name == "coco/a" and second.concepts == {}
    ground, above = layers_of(first, "object")
    assert ground.tolist() == [["cat"] * 3 + [""] * 3, ["cat"] * 3 + ["", "cat", ""], [""] * 4 + ["cat", ""], [""] * 6]
    assert np.argwhere(above == "dog").tolist() == [[0, 0], [1, 4], [2, 4]]
    summary = data.build_broden(tmp_path / "set", [found], image_size=6, label_stride=1)
    assert summary.concepts() == {"object": {"cat": 1, "dog": 1}} and summary.num_unlabelled == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda coco: coco.pop("categories"), "expected a list 'categories' in .*instances.json"),
        (lambda coco: coco["images"][1].pop("height"), "expected 'height' in entry 1 of 'images'"),
        (lambda coco: coco["annotations"][0].update(category_id=5), "got image 3 and category 5"),
        (lambda coco: coco["annotations"][0].update(image_id=5), "got image 5 and category 1"),
        (lambda coco: coco["annotations"][0].update(segmentation=[]), "polygons of at least 3 points .* for a.png"),
        (lambda coco: coco["annotations"][0].update(segmentation=[[0, 0, 1, 1]]), "polygons of at least 3 points"),
        (lambda coco: coco["annotations"][1]["segmentation"].update(counts=[9]), "run lengths for 4 x 6 pixels, got 9 pixels"),
        (lambda coco: coco["annotations"][1]["segmentation"].update(size=[6, 4]), "run lengths for 4 x 6"),
        (lambda coco: coco["images"][1].update(file_name="c.png"), "expected an image file, found none at .*c.png"),
        (
            lambda coco: (coco["images"][1].update(height=5), coco.update(annotations=coco["annotations"][:1])),
            "4 x 6, the size",
        ),
    ],
)
def test_bad_coco(coco, tmp_path, change, message):
    change(coco)
    with pytest.raises(ValueError, match=message) as caught:
        found = data.from_coco(write_coco(tmp_path, coco), tmp_path)
        data.build_broden(tmp_path / "set", [found], image_size=6, label_stride=1)
    assert "\n" not in str(caught.value)


def test_bad_json(tmp_path):
    with pytest.raises(ValueError, match=r"expected a JSON file, found none at .*no\.json"):
        data.from_coco(tmp_path / "no.json", tmp_path)
    (tmp_path / "cut.json").write_text('{"images": [')
    with pytest.raises(ValueError, match=r"expected JSON, could not read .*cut\.json"):
        data.from_coco(tmp_path / "cut.json", tmp_path)
    with pytest.raises(ValueError, match="expected a list 'categories'"):
        data.from_coco(write_coco(tmp_path, [1]), tmp_path)
    with pytest.raises(ValueError, match="expected a folder, found none at"):
        data.from_coco(tmp_path / "cut.json", tmp_path / "nowhere")


# Label maps


@pytest.fixture
def street(tmp_path) -> pathlib.Path:
    """One photograph with a grey, a palette and a coloured map."""
    for folder in ("images", "grey", "palette", "color"):
        (tmp_path / "street" / folder).mkdir(parents=True)
    Image.fromarray(np.zeros((2, 3, 3), np.uint8)).save(tmp_path / "street/images/x.jpg")
    numbers = np.array([[0, 1, 2], [2, 1, 11]], np.uint8)
    Image.fromarray(numbers).save(tmp_path / "street/grey/x.png")
    palette = Image.fromarray(numbers, "L").convert("P")
    palette.putdata(numbers.ravel().tolist())
    palette.save(tmp_path / "street/palette/x.png")
    colors = np.zeros((2, 3, 4), np.uint8)
    colors[..., 0], colors[..., 2], colors[..., 3] = 10 * numbers, numbers, 255
    Image.fromarray(colors).save(tmp_path / "street/color/x.png")
    return tmp_path / "street"


@pytest.mark.parametrize("kind", ["grey", "palette", "color"])
def test_label_maps(street, kind):
    def code(number: int) -> Any:
        return (10 * number, 0, number) if kind == "color" else number

    names = {"object": {code(0): "sky", code(1): "building", code(2): "building"}, "part": {code(2): "door"}}
    found = data.from_label_pngs(street / "images", street / kind, names, ignore=[code(11)])
    assert len(found) == 1
    record = next(iter(found))
    assert record.name == "street/x" and record.image == street / "images/x.jpg"
    assert layers_of(record, "object")[0].tolist() == [["sky", "building", "building"], ["building", "building", ""]]
    assert layers_of(record, "part")[0].tolist() == [["", "", "door"], ["door", "", ""]]


def test_bad_label_maps(street):
    images, names = street / "images", {"object": {0: "sky"}}
    with pytest.raises(ValueError, match=r"number 1 without one in category object of street/x; name or ignore it"):
        found = data.from_label_pngs(images, street / "grey", names)
        data.build_broden(street / "set", [found], image_size=6, label_stride=1)
    with pytest.raises(ValueError, match="expected one number a pixel, got 4 channels"):
        next(iter(data.from_label_pngs(images, street / "color", names)))
    with pytest.raises(ValueError, match="expected labels in colours, got one channel"):
        next(iter(data.from_label_pngs(images, street / "grey", {"object": {(0, 0, 0): "sky"}})))
    with pytest.raises(ValueError, match="write one kind"):
        data.from_label_pngs(images, street / "grey", names, ignore=[(0, 0, 0)])
    with pytest.raises(ValueError, match="expected names of numbers"):
        data.from_label_pngs(images, street / "grey", {"object": {}}, ignore=[0])
    with pytest.raises(ValueError, match="from 0 to 255, got"):
        data.from_label_pngs(images, street / "color", {"object": {(0, 0, 256): "sky"}})
    (street / "grey/x.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    with pytest.raises(ValueError, match=r"expected a PNG of labels, could not read .*x\.png"):
        next(iter(data.from_label_pngs(images, street / "grey", names)))
    (street / "grey/x.png").unlink()
    with pytest.raises(ValueError, match=r"expected labels .*x\.png of .*x\.jpg, found none"):
        data.from_label_pngs(images, street / "grey", names)
    with pytest.raises(ValueError, match="expected a folder of JPEG or PNG images, got none"):
        data.from_label_pngs(street / "grey", street / "grey", names)


def test_maps_beside_their_images_and_colours_of_a_palette(street):
    palette = Image.fromarray(np.array([[0, 1, 2], [2, 1, 0]], np.uint8)).convert("P")
    palette.putpalette([9, 9, 9, 128, 0, 0, 0, 0, 7])
    palette.save(street / "images/x_map.png")
    names = {"object": {(9, 9, 9): "sky", (128, 0, 0): "building"}}
    images = street / "images"
    (record,) = data.from_label_pngs(images, images, names, ignore=[(0, 0, 7)], suffix="_map.png")
    assert layers_of(record, "object")[0].tolist() == [["sky", "building", ""], ["", "building", "sky"]]


def test_label_maps_in_sub_folders(street):
    for kind in ("images", "grey"):
        (street / kind / "north").mkdir()
    (street / "images/x.jpg").rename(street / "images/north/x.y.jpg")
    (street / "grey/x.png").rename(street / "grey/north/x.y_L.png")
    names = {"object": {0: "sky", 1: "building", 2: "building", 11: "tree"}}
    (record,) = data.from_label_pngs(street / "images", street / "grey", names, suffix="_L.png", prefix="town")
    assert record.name == "town/north/x.y" and layers_of(record, "object")[0][1, 2] == "tree"
    with pytest.raises(ValueError, match=r"expected labels .*north/x\.y\.png of .*x\.y\.jpg, found none; write suffix="):
        data.from_label_pngs(street / "images", street / "grey", names)


def test_names_are_given_by_category():
    with pytest.raises(ValueError, match=r"names by category, .* got {0: 'sky'}"):
        check_names({0: "sky"})
    with pytest.raises(ValueError, match="got 'things'"):
        check_names({"things": {0: "sky"}})


# ADE20K


@pytest.fixture
def ade(tmp_path) -> pathlib.Path:
    folder = tmp_path / "urban" / "street"
    folder.mkdir(parents=True)
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(folder / "ADE_1.jpg")

    def write(name: str, classes: list[list[int]]) -> None:
        numbers = np.array(classes)
        pixels = np.stack([numbers // 256 * 10, numbers % 256, np.full_like(numbers, 7)], axis=-1)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / name)

    write("ADE_1_seg.png", [[0, 401], [401, 2420]])
    for level, number in ((1, 3035), (2, 2122), (10, 5)):
        write(f"ADE_1_parts_{level}.png", [[0, number], [0, 0]])
    names = {401: "car, auto", 2420: "sky", 3035: "wheel", 2122: "rim", 5: "spoke"}
    entries = [{"name": name, "name_ndx": number} for number, name in names.items()]
    (folder / "ADE_1.json").write_text(
        json.dumps({"annotation": {"folder": "ADE/training/urban/street", "scene": ["urban", "street"], "object": entries}})
    )
    return tmp_path


def test_ade20k(ade):
    found = data.from_ade20k(ade)
    record = next(iter(found))
    assert len(found) == 1 and record.name == "ade20k/ADE_1" and record.concepts["scene"] == "street-s"
    assert layers_of(record, "object")[0].tolist() == [["", "car; auto"], ["car; auto", "sky"]]
    assert [layer[0, 1] for layer in layers_of(record, "part")] == ["wheel", "rim", "spoke"], "in the order of the levels"
    data.build_broden(ade / "set", [found], image_size=2, label_stride=1)
    source = data.broden(ade / "set", image_size=2)
    assert source.layers == (("scene", 1), ("part", 3), ("object", 1)) and "car" in source.concepts.names


def test_bad_ade20k(ade):
    folder = ade / "urban" / "street"
    text = (folder / "ADE_1.json").read_text()
    for change, message in (
        (text.replace('"wheel", "name_ndx": 3035', '"wheel", "name_ndx": 9'), "number 3035 without one in category part"),
        (text.replace("name_ndx", "index"), "expected objects with name and name_ndx in .*ADE_1.json"),
        (text[:-9], "expected JSON, could not read"),
        ("[]", "expected objects with name and name_ndx"),
    ):
        (folder / "ADE_1.json").write_text(change)
        with pytest.raises(ValueError, match=message):
            data.build_broden(ade / "set", [data.from_ade20k(ade)], image_size=2, label_stride=1)
    (folder / "ADE_1.json").write_bytes(text.replace("rim", "caf\xe9").encode("latin-1"))
    assert layers_of(next(iter(data.from_ade20k(ade))), "part")[1][0, 1] == "caf\xe9"
    (folder / "ADE_1.json").unlink()
    with pytest.raises(ValueError, match=r"expected a JSON file, found none at .*ADE_1\.json"):
        next(iter(data.from_ade20k(ade)))
    with pytest.raises(ValueError, match=r"expected files \*_seg\.png"):
        data.from_ade20k(ade / "set")


# Folders


def test_texture_folders(tmp_path):
    for name in ("dtd/woven/a.png", "dtd/woven/b.png", "dtd/banded/a.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / name)
    (tmp_path / "dtd" / "README.md").write_text("no folder")
    found = data.from_texture_folders(tmp_path / "dtd")
    assert [(record.name, record.concepts["texture"]) for record in found] == [
        ("dtd/banded/a", "banded"),
        ("dtd/woven/a", "woven"),
        ("dtd/woven/b", "woven"),
    ]
    data.build_broden(tmp_path / "set", [found[1:]], image_size=4)
    rows = (tmp_path / "set" / "index.csv").read_text().splitlines()[1:]
    assert [row.split(",")[0] for row in rows] == ["dtd/woven/a.png", "dtd/woven/b.png"]
    assert all(row.endswith(",4,4,2,2,1") for row in rows), "the texture is a bare number"
    (tmp_path / "dtd" / "dotted").mkdir()
    with pytest.raises(ValueError, match=r"expected a folder of JPEG or PNG images, got none in .*dotted"):
        data.from_texture_folders(tmp_path / "dtd")
    with pytest.raises(ValueError, match="expected folders named after a texture, got none"):
        data.from_texture_folders(tmp_path / "dtd" / "woven")
