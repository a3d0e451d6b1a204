import csv
import dataclasses
import pickle

import numpy as np
import PIL.Image
import pytest

from jaxinterp import data
from tests.conftest import SHARED

WNIDS = ("n00000001", "n00000002", "n00000003")


def save(folder, name, *, size=(48, 40), mode="RGB", **options):
    generator = np.random.default_rng(len(name))
    pixels = generator.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    PIL.Image.fromarray(pixels).convert(mode).save(folder / name, **options)


def write_table(path, *lines):
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="surrogateescape")


@pytest.fixture
def folder(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for name in ("a.png", "b.jpg", "c.png", "d.png"):
        save(images, name)
    write_table(images / "labels.csv", "index,wnid,name,file", "0,n00000001,one,a.png", "2,n00000003,three,c.png",
                '1,n00000002,"two, or 2",b.jpg', "1,n00000002,two,d.png")  # fmt: skip
    return images


def one_line(message):
    assert "\n" not in str(message) and len(str(message)) > 20


def test_columns_are_found_by_name(folder):
    source = data.image_folder(folder, image_size=32)
    assert (len(source), source.classes, source.image_size, source.concepts) == (4, WNIDS, 32, None)
    assert source.class_names == ("one", "two", "three")
    examples = [source[index] for index in range(4)]
    assert [(e.label, e.target, e.id, e.source_id) for e in examples] == [
        (0, -1, 0, 0),
        (2, -1, 1, 1),
        (1, -1, 2, 2),
        (1, -1, 3, 3),
    ]
    assert all(e.image.shape == (32, 32, 3) and e.image.dtype == np.uint8 and e.concepts is None for e in examples)


def test_a_table_beside_the_folder_with_other_titles(folder):
    (folder / "labels.csv").unlink()
    write_table(folder.parent / "dev.csv", "TargetClass,ImageId,TrueLabel", "3,a,1", "1,b,2", "")
    source = data.image_folder(folder, image_size=32, labels="dev.csv", first_label=1, classes=WNIDS)
    assert [(source[i].label, source[i].target) for i in range(2)] == [(0, 2), (1, 0)]
    assert [file.name for file in source.files] == ["a.png", "b.jpg"]
    assert source.class_names == WNIDS
    named = data.image_folder(folder, image_size=32, labels="dev.csv", first_label=1, classes=WNIDS, class_names="xyz")
    assert named.class_names == ("x", "y", "z")
    numbered = data.image_folder(folder, image_size=32, labels=folder.parent / "dev.csv")
    assert numbered.classes == ("0", "1", "2", "3") and numbered[0].label == 1


def test_wnids_alone_are_sorted(folder):
    write_table(folder / "labels.csv", "file,wnid", "a.png,n00000003", "b.jpg,n00000001")
    source = data.image_folder(folder, image_size=32)
    assert source.classes == ("n00000001", "n00000003") and source.labels == (1, 0)
    chosen = data.image_folder(folder, image_size=32, classes=WNIDS)
    assert chosen.labels == (2, 0)


def test_a_folder_for_every_class(tmp_path):
    for wnid in WNIDS[:2]:
        (tmp_path / wnid).mkdir()
        for name in ("x.png", "y.jpg"):
            save(tmp_path / wnid, name)
    source = data.image_folder(tmp_path, image_size=32, labels=None)
    assert source.classes == WNIDS[:2] and source.labels == (0, 0, 1, 1) and source.ids == (0, 1, 2, 3)
    with pytest.raises(ValueError, match="expected folders named after 1 classes"):
        data.image_folder(tmp_path, image_size=32, labels=None, classes=WNIDS[:1])


def test_a_part_of_the_images_is_spread_over_them(folder):
    source = data.image_folder(folder, image_size=32, num_images=2)
    assert source.ids == (0, 2)
    with pytest.raises(ValueError, match="num_images from 1 to 4, got 5"):
        data.image_folder(folder, image_size=32, num_images=5)


@pytest.mark.parametrize(
    ("size", "image_size", "crop"), [((48, 40), 32, 224 / 256), ((40, 75), 35, 224 / 256), ((33, 40), 33, 1.0)]
)
def test_resize_and_crop_against_their_definition(tmp_path, size, image_size, crop):
    save(tmp_path, "a.png", size=size)
    write_table(tmp_path / "labels.csv", "file,label", "a.png,0")
    pixels = PIL.Image.open(tmp_path / "a.png")
    width, height = size
    short = round(image_size / crop)
    new = (short, round(height * short / width)) if width < height else (round(width * short / height), short)
    large = np.asarray(pixels.resize(new, PIL.Image.Resampling.BILINEAR))
    left, top = (new[0] - image_size) // 2, (new[1] - image_size) // 2
    image = data.image_folder(tmp_path, image_size=image_size, crop=crop)[0].image
    np.testing.assert_array_equal(image, large[top : top + image_size, left : left + image_size])
    pixels.close()
    if crop == 1.0:  # nothing is resampled
        np.testing.assert_array_equal(large, np.asarray(PIL.Image.open(tmp_path / "a.png")))


def test_the_fingerprint_follows_pixels_labels_and_preprocessing(folder):
    def fingerprint(**knobs):
        return data.image_folder(folder, **{"image_size": 32, **knobs}).fingerprint

    seen = [fingerprint(), fingerprint(image_size=31), fingerprint(crop=1.0), fingerprint(num_images=2)]
    assert fingerprint() == seen[0]
    save(folder, "d.png", size=(48, 41))
    seen.append(fingerprint())
    (folder / "labels.csv").write_text((folder / "labels.csv").read_text().replace("0,n00000001,one", "1,n00000002,two"))
    seen.append(fingerprint(classes=WNIDS))
    assert len(set(seen)) == len(seen)
    source = data.image_folder(folder, image_size=32, classes=WNIDS)
    assert pickle.loads(pickle.dumps(source)).fingerprint == source.fingerprint


def grey(folder):
    save(folder, "c.png", mode="L")


def cmyk(folder):
    save(folder, "b.jpg", mode="CMYK")


def palette(folder):
    save(folder, "c.png", mode="P")


def grey_16_bit(folder):
    PIL.Image.fromarray(np.full((40, 40), 257 * 77, np.uint16)).save(folder / "c.png")


def colour_16_bit(folder):
    import struct
    import zlib

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = (b"\0" + np.full((40, 3), 257 * 77, ">u2").tobytes()) * 40
    head = struct.pack(">IIBBBBB", 40, 40, 16, 2, 0, 0, 0)
    data_ = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (folder / "c.png").write_bytes(data_)


def gif(folder):
    save(folder, "c.png", mode="P", format="GIF")


def text(folder):
    (folder / "c.png").write_text("no image")


def nothing(folder):
    (folder / "c.png").write_bytes(b"")


def tiny(folder):
    save(folder, "c.png", size=(48, 20))


def missing(folder):
    (folder / "c.png").unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (grey, "8-bit RGB image, got mode L: .*c.png; write convert=True"),
        (cmyk, "8-bit RGB image, got mode CMYK: .*b.jpg"),
        (palette, "got mode P: .*c.png"),
        (grey_16_bit, "got mode 16-bit I;16: .*c.png"),
        (colour_16_bit, "got mode 16-bit RGB: .*c.png"),
        (gif, "JPEG or PNG, got GIF"),
        (text, "could not read .*c.png"),
        (nothing, "could not read .*c.png"),
        (tiny, "at least 32 pixels a side, got 48 x 20: .*c.png"),
        (missing, "expected an image .*c.png, found none; the labels name it in line 3"),
    ],
)
def test_bad_images_are_refused_when_the_folder_is_opened(folder, spoil, message):
    spoil(folder)
    with pytest.raises(ValueError, match=message) as caught:
        data.image_folder(folder, image_size=32)
    one_line(caught.value)


@pytest.mark.parametrize("spoil", [grey, cmyk, palette, grey_16_bit, colour_16_bit])
def test_convert_accepts_them(folder, spoil):
    spoil(folder)
    source = data.image_folder(folder, image_size=32, convert=True)
    source.check()
    if "16_bit" in spoil.__name__:
        assert (source[1].image == 77).all()
    elif spoil is grey:
        assert (np.ptp(source[1].image, axis=-1) == 0).all() and np.ptp(source[1].image) > 0


@pytest.mark.parametrize("name", ["b.jpg", "c.png"])
def test_truncated_images_are_found(folder, name):
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: len(whole) // 2])
    source = data.image_folder(folder, image_size=32)
    with pytest.raises(ValueError, match=f"expected a whole image, got a damaged one .*{name}") as caught:
        source.check()
    one_line(caught.value)
    with pytest.raises(ValueError, match="expected a whole image"):
        list(data.batches(source, batch_size=2))
    assert (folder / name).read_bytes() == whole[: len(whole) // 2]  # nothing is changed on disk


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ((), "expected the columns file and label"),
        (("file,colour", "a.png,red"), "expected the columns file and label .* got file, colour"),
        (("index,wnid", "0,n1"), "expected the columns file and label"),
        (("file,label",), "only a header"),
        (("file,label", "a.png,one"), "expected a class number, got 'one' in .* line 2"),
        (("file,label", "a.png"), "expected at least 2 columns, got 1 in .* line 2"),
        (("file,label", "a.png,-1"), "expected a class from 0 to 2, got -1 in .* line 2; write first_label=1"),
        (("file,label", "a.png,0", "b.jpg,3"), "expected a class from 0 to 2, got 3 in .* line 3"),
        (("file,label,target", "a.png,0,3"), "expected a class from 0 to 2, got 3 in .* line 2"),
        (("file,wnid", "a.png,n00000004"), "expected one of 3 classes, got 'n00000004' in .* line 2"),
        (("file,index,wnid", "a.png,0,n00000002"), "expected n00000001 for this label, got n00000002 in .* line 2"),
        (("file,label", "\udcff,0"), "expected a CSV file in UTF-8"),
        (("file,label", "a.png,0", "a.png,1"), "expected every image once, got .*a.png twice"),
    ],
)
def test_bad_tables(folder, lines, message):
    write_table(folder / "labels.csv", *lines)
    with pytest.raises(ValueError, match=message) as caught:
        data.image_folder(folder, image_size=32, classes=WNIDS)
    one_line(caught.value)


def test_tables_that_do_not_name_every_class(folder):
    write_table(folder / "labels.csv", "file,index,wnid", "a.png,0,n00000001", "b.jpg,2,n00000003")
    with pytest.raises(ValueError, match="expected a wnid for each of 3 classes, got none for 1"):
        data.image_folder(folder, image_size=32)
    assert data.image_folder(folder, image_size=32, classes=WNIDS).labels == (0, 2)
    write_table(folder / "labels.csv", "file,index", "a.png,1000000000")
    with pytest.raises(ValueError, match="expected classes below 100000"):
        data.image_folder(folder, image_size=32)


def test_bad_folders_and_knobs(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    cases = [
        (tmp_path / "nowhere", {}, "expected a folder of images, found none"),
        (tmp_path / "empty", {}, "got an empty folder"),
        (tmp_path, {}, "expected a labels file labels.csv in or beside"),
        (folder, {"labels": None}, "got none: .*write labels= with a CSV"),
        (folder, {"image_size": 0}, "at least 1 pixel, got image_size=0"),
        (folder, {"crop": 1.5}, "crop above 0 and at most 1, got 1.5"),
        (folder, {"first_label": 2}, "first_label 0 or 1, got 2"),
        (folder, {"classes": ("a", "a", "b")}, "expected every class once, got 1 repeated"),
        (folder, {"class_names": ("a", "b")}, "expected 3 class_names, got 2"),
    ]
    for path, knobs, message in cases:
        with pytest.raises(ValueError, match=message) as caught:
            data.image_folder(path, **{"image_size": 32, **knobs})
        one_line(caught.value)


@pytest.mark.skipif(not SHARED.is_dir(), reason="real data")
def test_real_images_against_plain_preprocessing():
    root = SHARED / "data" / "imagenet_sample"
    source = data.image_folder(root / "short256", image_size=224)
    assert len(source) == 1000 and len(set(source.classes)) == 1000 and source.classes[:2] == ("n01440764", "n01443537")
    assert source.class_names[0] == "tench" and source.labels == tuple(range(1000))
    with (root / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for index in range(8):
        with PIL.Image.open(root / "short256" / rows[index]["file"]) as image:
            scale = 256 / min(image.size)
            resized = image.resize((round(image.width * scale), round(image.height * scale)), PIL.Image.Resampling.BILINEAR)
        x, y = (resized.width - 224) // 2, (resized.height - 224) // 2
        np.testing.assert_array_equal(source[index].image, np.asarray(resized)[y : y + 224, x : x + 224])
    assert dataclasses.replace(source, files=source.files[:8]).check() is None


@pytest.mark.skipif(not SHARED.is_dir(), reason="real data")
def test_competition_images_count_from_one():
    root = SHARED / "data" / "nips17_dev"
    wnids = data.image_folder(SHARED / "data/imagenet_sample/short256", image_size=224, num_images=1000).classes
    source = data.image_folder(
        root / "images", image_size=299, crop=1.0, labels="dev_dataset.csv", first_label=1, classes=wnids
    )
    assert len(source) == 100
    assert (source.labels[0], source.targets[0]) == (582, 439)
    with PIL.Image.open(source.files[0]) as image:
        np.testing.assert_array_equal(source[0].image, np.asarray(image))
