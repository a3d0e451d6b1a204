"""Concept sets of real photographs: a few of every set that `scripts/build_concepts.py` knows."""

import importlib.util
import json
import pathlib
from typing import Any

import numpy as np
import pytest

from jaxinterp import data
from jaxinterp.data._from_coco import _mask
from tests.conftest import SHARED

REAL = SHARED / "data"
pytestmark = pytest.mark.skipif(not (REAL / "seg_coco").is_dir(), reason="needs the real images")


def script() -> Any:
    path = pathlib.Path(__file__).parents[2] / "scripts" / "build_concepts.py"
    spec = importlib.util.spec_from_file_location("build_concepts", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[pathlib.Path, data.BrodenSummary]:
    path = tmp_path_factory.mktemp("real") / "concepts"
    few = [found[:2] for found in script().sets(REAL)]
    return path, data.build_broden(path, few, image_size=112, colors=REAL / "broden_metadata" / "w2color.npy")


def test_every_set_is_there(built):
    path, summary = built
    assert set(summary.num_images) == {"coco", "camvid", "labelmefacade", "clothing", "ade150", "ade20k", "dtd"}
    assert sum(summary.num_images.values()) == 16 and summary.num_unlabelled == 0
    assert {"window", "hair", "skin", "wheel"} <= set(summary.concepts()["part"])
    assert summary.concepts()["scene"] == {"street-s": 2} and summary.concepts()["texture"] == {"banded": 2}
    assert summary.counts["clothing"]["object"]["person"] == 2
    source = data.broden(path, image_size=112, label_size=56)
    assert len(source) == 16 and set(source.concepts.categories) == {*data.CATEGORIES, "none"} - {"material"}
    colors = source.layers[0][1]
    for index in range(16):
        maps = source[index].concepts
        assert maps is not None and (maps[..., :colors] > 0).all(), "every pixel has a colour"


def test_parts_lie_on_their_objects(built):
    path, _ = built
    source = data.broden(path, image_size=112, label_size=56)
    window, building = source.concepts.number("part", "window"), source.concepts.number("object", "building")
    hair, person = source.concepts.number("part", "hair"), source.concepts.number("object", "person")
    found = 0
    for index, row in enumerate(source.rows):
        for owner, part, whole in (("labelmefacade", window, building), ("clothing", hair, person)):
            maps = source[index].concepts if row.image.startswith(owner) else None
            if maps is not None:
                on_part, on_whole = (maps == part).any(-1), (maps == whole).any(-1)
                found += on_part.sum()
                assert (on_part <= on_whole).all()
    assert found > 20


def test_names_of_broden_plus():
    renamed = data.broden_plus_names(
        REAL / "broden_metadata" / "unifiedparsing" / "joint_dataset" / "label_assignment.csv", dataset="ade20k"
    )
    assert renamed["object"]["windowpane;window"] == "window" and renamed["part"]["doors"] == "door"
    assert "abacus" not in renamed["object"] and renamed["scene"]["street-s"] == "street-s"


def test_polygons_have_the_areas_that_coco_says():
    found = json.loads((REAL / "seg_coco" / "annotations" / "instances_val2017.json").read_text())
    sizes = {image["id"]: (image["height"], image["width"]) for image in found["images"]}
    large = [entry for entry in found["annotations"] if entry["area"] > 1000 and not entry["iscrowd"]][::10]
    ratios = [_mask(entry["segmentation"], *sizes[entry["image_id"]], "").sum() / entry["area"] for entry in large]
    assert len(ratios) > 40 and abs(np.median(ratios) - 1) < 1e-3 and max(abs(np.array(ratios) - 1)) < 0.02
