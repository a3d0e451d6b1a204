"""Puts the weights that `jaxinterp train configs/concept_world.py` has made into the package, in half precision.

python scripts/ship_weights.py runs/concept_world/weights/normal
"""

import pathlib
import sys

import jax

from jaxinterp import models

SHIPPED = {"AlexNet": models.small_alexnet, "VGG-16": models.small_vgg16, "ResNet-18": models.small_resnet18}
LARGEST = 1_000_000


def main(folder: str) -> None:
    """Writes the three files and prints their sizes."""
    target = pathlib.Path(models.__file__).parent / "concept_world"
    target.mkdir(exist_ok=True)
    total = 0
    for name, build in SHIPPED.items():
        model = models.load(pathlib.Path(folder) / f"{name}.safetensors", build(key=jax.random.key(0)))
        path = target / f"{name.lower().replace('-', '')}.safetensors"
        models.save(model, path, dtype="float16")
        path.chmod(0o644)
        total += path.stat().st_size
        print(f"{path}: {path.stat().st_size:,} bytes")
    if total > LARGEST:
        sys.exit(f"expected at most {LARGEST:,} bytes in all, got {total:,}; make the networks smaller.")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
