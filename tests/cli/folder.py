"""A study of a folder of images with a weight file, as small as it can be; for tests of what goes wrong."""

from jaxinterp import attacks, data, models, pipelines


def folder(
    *, images: str, weights: str, image_size: int = 32, layer: str = "layer4.1", epsilon: float = 8 / 255, convert: bool = False
) -> pipelines.Study:
    """A study of a folder of images.

    Args:
        images: the folder.
        weights: the weight file.
        image_size: side of the images in pixels.
        layer: the layer that is studied.
        epsilon: of FGSM.
        convert: accept images that are not RGB.
    """
    return pipelines.Study(
        title="Folder",
        description="A folder of images.",
        methods="",
        members=(
            pipelines.Member(
                "ResNet-18",
                lambda: models.resnet18(num_classes=3, width=1 / 64, image_size=image_size, output_stride=8, weights=weights),
                layer,
            ),
        ),
        source=lambda: data.image_folder(images, image_size=image_size, convert=convert),
        attack=lambda phase: attacks.ensemble_optimization(num_steps=1),
        num_targets=1,
        robustness=pipelines.Robustness(epsilon=epsilon, num_images=4, num_steps=1),
    )
