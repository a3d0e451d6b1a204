"""Builds a concept set in Broden's format from small sets of labelled photographs, as an example and as a real test bed.

    python scripts/build_concepts.py DATA_DIR OUT_DIR [--image-size 224] [--label-stride 2] [--min-images 1]

What is used of DATA_DIR, each where it is there:

    seg_coco/{annotations,train2017,val2017}      COCO 2017: objects
    seg_camvid/{images,labels}                    CamVid: objects
    seg_labelmefacade/{images,labels}             LabelMeFacade: objects; doors and windows are parts of buildings
    seg_clothing_parts/{photos,pixel-level}       Clothing Co-Parsing: persons; garments, hair and skin are their parts
    seg_ade150_sample/{images,annotations}        ADE20K, the 150 classes of the scene parsing challenge: objects
    seg_ade20k_full_sample/                       ADE20K, full format: objects, parts, scenes
    texture_dtd10/                                Describable Textures Dataset: textures
    broden_metadata/w2color.npy                   the table of colour names: colours of every image
"""

import argparse
import csv
import pathlib

from scipy.io import loadmat

from jaxinterp import data

CAMVID = ("sky", "building", "pole", "road", "sidewalk", "tree", "signboard", "fence", "car", "person", "bicyclist")
CAMVID_VOID = 11

FACADE = {
    (128, 0, 0): "building",
    (128, 0, 128): "car",
    (128, 128, 0): "building",
    (128, 128, 128): "sidewalk",
    (128, 64, 0): "road",
    (0, 128, 128): "sky",
    (0, 128, 0): "vegetation",
    (0, 0, 128): "building",
}
FACADE_PARTS = {(128, 128, 0): "door", (0, 0, 128): "window"}

CARRIED = ("bag", "purse", "wallet")
"""What a person carries and does not wear."""


def sets(folder: pathlib.Path) -> list[data.AnnotatedImages]:
    """The sets that the folder has."""
    found: list[data.AnnotatedImages] = []
    if (coco := folder / "seg_coco").is_dir():
        files = {split: coco / "annotations" / f"instances_{split}.json" for split in ("train2017", "val2017")}
        found += [data.from_coco(file, coco / split) for split, file in files.items() if file.is_file()]
    if (camvid := folder / "seg_camvid").is_dir():
        names = {"object": dict(enumerate(CAMVID))}
        found.append(data.from_label_pngs(camvid / "images", camvid / "labels", names, ignore=[CAMVID_VOID], prefix="camvid"))
    if (facade := folder / "seg_labelmefacade").is_dir():
        names = {"object": FACADE, "part": FACADE_PARTS}
        found.append(
            data.from_label_pngs(facade / "images", facade / "labels", names, ignore=[(0, 0, 0)], prefix="labelmefacade")
        )
    if (clothing := folder / "seg_clothing_parts").is_dir():
        found.append(from_clothing(clothing))
    if (ade150 := folder / "seg_ade150_sample").is_dir():
        with (ade150 / "objectInfo150.csv").open(newline="", encoding="utf-8") as file:
            names = {"object": {int(row["Idx"]): row["Name"] for row in csv.DictReader(file)}}
        found.append(data.from_label_pngs(ade150 / "images", ade150 / "annotations", names, ignore=[0], prefix="ade150"))
    if (ade := folder / "seg_ade20k_full_sample").is_dir():
        found.append(data.from_ade20k(ade))
    if (dtd := folder / "texture_dtd10").is_dir():
        found.append(data.from_texture_folders(dtd))
    return found


def from_clothing(folder: pathlib.Path) -> data.AnnotatedImages:
    """Clothing Co-Parsing, whose labels are MATLAB arrays: an example of a set that has no reader of its own."""
    names = [str(cell.ravel()[0]) for cell in loadmat(folder / "label_list.mat")["label_list"].ravel()]
    parts = {number: name for number, name in enumerate(names) if number and name not in CARRIED}
    objects = {number: names[number] if names[number] in CARRIED else "person" for number in range(1, len(names))}

    def read(file: pathlib.Path) -> data.AnnotatedImage:
        labels = loadmat(file)["groundtruth"]
        concepts = data.name_labels(labels, {"object": objects, "part": parts}, ignore=[0])
        return data.AnnotatedImage(folder / "photos" / f"{file.stem}.jpg", concepts, f"clothing/{file.stem}")

    return data.AnnotatedImages(sorted((folder / "pixel-level").glob("*.mat")), read)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--label-stride", type=int, default=2)
    parser.add_argument("--min-images", type=int, default=1)
    arguments = parser.parse_args()
    colors = arguments.data / "broden_metadata" / "w2color.npy"
    summary = data.build_broden(
        arguments.out,
        sets(arguments.data),
        image_size=arguments.image_size,
        label_stride=arguments.label_stride,
        colors=colors if colors.is_file() else None,
        rename={"pavement": "sidewalk", "streetlight": "street lamp", "minibike": "motorcycle"},
        min_images=arguments.min_images,
    )
    print(summary)
    for category, names in summary.concepts().items():
        top = sorted(names.items(), key=lambda pair: (-pair[1], pair[0]))[:12]
        print(f"{category}: " + ", ".join(f"{name} {images}" for name, images in top))


if __name__ == "__main__":
    main()
