"""How the pictures of a gallery are marked by sliding an occluder over them."""

import dataclasses

from jaxinterp.activations import Drop


@dataclasses.dataclass(frozen=True)
class Occlusion:
    """Discrepancy maps of the images that units answer to most: what a unit needs of an image, not where it is active.

    An image costs one evaluation of the network for every place of the occluder, which serves all units of the layer.

    Attributes:
        occluder: its side in pixels; 11 is the paper's at 224 px.
        stride: pixels from one place to the next; 3 is the paper's.
        drop: where the drop of a unit is measured, see `activations.discrepancy_maps`.
        share: of a unit's largest drop on an image, above which pixels are marked.
        num_pictures: so many of each unit's top images are marked, the others are not.
        batch_size: occluded images that the network sees at once, over all devices.

    Raises:
        ValueError: a size below 1, or a share outside [0, 1).

    References:
        Bolei Zhou, Aditya Khosla, Agata Lapedriza, Aude Oliva, Antonio Torralba, "Object Detectors Emerge in Deep Scene
        CNNs", 2015, section 3.2.
    """

    occluder: int = 11
    stride: int = 3
    drop: Drop = "position"
    share: float = 0.5
    num_pictures: int = 6
    batch_size: int = 128

    def __post_init__(self) -> None:
        for name in ("occluder", "stride", "num_pictures", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected {name} of at least 1, got {getattr(self, name)}.")
        if not 0 <= self.share < 1:
            raise ValueError(f"expected 0 <= share < 1, got {self.share}; write 0.5.")
        if self.drop not in ("position", "maximum"):
            raise ValueError(f'expected drop="position" or "maximum", got {self.drop!r}.')
