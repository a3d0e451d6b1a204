"""How networks are dissected over a set of images with concept labels."""

import dataclasses
from collections.abc import Callable, Mapping

from jaxinterp.activations import Anchor, AreaRule
from jaxinterp.data import Source


@dataclasses.dataclass(frozen=True)
class Dissection:
    """Network Dissection of the members of a study over a concept set, real and adversarial.

    Attributes:
        source: builds the images with concept labels, such as `data.broden`; they need no classes.
        layers: member -> layers that are dissected, all in the same passes; a member that is left out has its own layer.
        adversarial: dissect adversarial versions of the images too, and the noise control beside them. They are made by the
            study's attack on its members, towards the ensemble's least likely class.
        num_images: how many of the images, spread evenly over the set; None for all.
        quantile: share of a unit's activations above its threshold T_k.
        anchor: where the positions of a map lie in the image, see `activations.upsample`.
        area_rule: for which categories a mask's area counts on an image, see `activations.tally`, in the counts and in their
            null; the intervals are counted by the paper's rule, "carried".
        label_size: side of the label maps that masks are compared with, in pixels; None for that of the source's maps.
        iou_threshold: a unit detects a concept above this IoU.
        min_images: concepts that fewer images carry are left out.
        num_null_draws: permutations of the label maps behind each count.
        num_null_images: images on which null and intervals are counted, spread evenly over the set.
        null_label_size: side of the label maps there; None for half of `label_size`, a quarter of the memory.
        num_bootstrap_draws: resamples of the images behind the intervals of the adversarial effect and the stability of labels,
            at least 2.
        num_formula_draws: permutations behind each unit's formula of two concepts and concept of best average precision, on the
            real images of the sample, at least 5; 0 leaves both out, since they take longer than everything else.
        num_top: images that are kept of each unit, those it answers to most.
        class_names: what people call the networks' classes, for captions; none are needed.
        batch_size: images in a batch, over all devices.
        max_kept_bytes: maps are kept in files between the passes, so that the network runs once and not four times, where the
            float32 maps of a network's layers on all images take no more than this and no more than half of what is free on
            the disk of the work directory; 0 computes them anew. The figures are the same.

    Raises:
        ValueError: a number below 1, a quantile or an IoU that cannot be one.
    """

    source: Callable[[], Source]
    layers: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    adversarial: bool = True
    num_images: int | None = None
    quantile: float = 0.005
    anchor: Anchor = "receptive_field"
    area_rule: AreaRule = "carried"
    label_size: int | None = None
    iou_threshold: float = 0.04
    min_images: int = 10
    num_null_draws: int = 100
    num_null_images: int = 1000
    null_label_size: int | None = None
    num_bootstrap_draws: int = 200
    num_formula_draws: int = 0
    num_top: int = 12
    class_names: tuple[str, ...] = ()
    batch_size: int = 32
    max_kept_bytes: int = 8 * 2**30

    def __post_init__(self) -> None:
        for name in ("num_null_draws", "num_null_images", "num_top", "batch_size", "min_images"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected {name} of at least 1, got {getattr(self, name)}.")
        if self.num_bootstrap_draws < 2:
            raise ValueError(f"expected num_bootstrap_draws of at least 2, got {self.num_bootstrap_draws}; write 200.")
        if self.num_formula_draws != 0 and self.num_formula_draws < 5:
            raise ValueError(f"expected num_formula_draws of 0 or at least 5, got {self.num_formula_draws}; write 20.")
        for name in ("num_images", "label_size", "null_label_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"expected {name} of at least 1, got {value}; leave it out for the default.")
        if self.max_kept_bytes < 0:
            raise ValueError(f"expected max_kept_bytes of at least 0, got {self.max_kept_bytes}; write 0 to keep none.")
        if not 0 < self.quantile < 1:
            raise ValueError(f"expected 0 < quantile < 1, got {self.quantile}; write 0.005 for the top half per cent.")
        if not 0 <= self.iou_threshold < 1:
            raise ValueError(f"expected 0 <= iou_threshold < 1, got {self.iou_threshold}; write 0.04.")

    def check_members(self, names: list[str]) -> None:
        """Raises `ValueError` where layers are given of a network that is no member."""
        unknown = [name for name in self.layers if name not in names]
        if unknown:
            raise ValueError(f"expected layers of members, got {unknown[0]!r}; the members are: {', '.join(names)}.")

    def layers_of(self, member: str, own: str) -> tuple[str, ...]:
        """The layers that are dissected of a member whose own layer is `own`."""
        return tuple(self.layers.get(member, (own,)))
