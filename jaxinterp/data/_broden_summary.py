"""What a build of a concept set holds: images and concepts of every set, and what was left out."""

import dataclasses
import pathlib
from collections.abc import Iterable, Mapping, Set

from jaxinterp.data._concepts import CATEGORIES


@dataclasses.dataclass
class BrodenSummary:
    """What `build_broden` built; `print` shows it as a table.

    Attributes:
        path: the folder.
        num_images: how many images each set has.
        num_unlabelled: how many images carry no label at all, before rare concepts were left out.
        counts: images of each concept: set -> category -> name -> images, with the concepts that were left out.
        dropped: the concepts that were left out for having too few images: category -> name -> images.
    """

    path: pathlib.Path
    num_images: dict[str, int] = dataclasses.field(default_factory=dict)
    num_unlabelled: int = 0
    counts: dict[str, dict[str, dict[str, int]]] = dataclasses.field(default_factory=dict)
    dropped: dict[str, dict[str, int]] = dataclasses.field(default_factory=dict)

    def add(self, name: str, found: Mapping[str, Set[str]]) -> None:
        """Counts one image.

        Args:
            name: the image, "set/...".
            found: for each category the names of its concepts.
        """
        owner = name.split("/", maxsplit=1)[0]
        self.num_images[owner] = self.num_images.get(owner, 0) + 1
        self.num_unlabelled += not any(found.values())
        counts = self.counts.setdefault(owner, {})
        for category, names in found.items():
            of_category = counts.setdefault(category, {})
            for concept in sorted(names):
                of_category[concept] = of_category.get(concept, 0) + 1

    def without(self, dropped: Iterable[tuple[str, str]]) -> "BrodenSummary":
        """The summary with some concepts, pairs of category and name, counted as `dropped`."""
        for category, concept in dropped:
            self.dropped.setdefault(category, {})[concept] = self.concepts(dropped=True)[category][concept]
        return self

    def concepts(self, *, dropped: bool = False) -> dict[str, dict[str, int]]:
        """The images of each concept over all sets: category -> name -> images.

        Args:
            dropped: count the concepts that were left out, too.
        """
        total: dict[str, dict[str, int]] = {category: {} for category in CATEGORIES}
        for counts in self.counts.values():
            for category, names in counts.items():
                for concept, images in names.items():
                    if dropped or concept not in self.dropped.get(category, {}):
                        total[category][concept] = total[category].get(concept, 0) + images
        return {category: names for category, names in total.items() if names}

    def __str__(self) -> str:
        """A table: sets down, categories across; of each the concepts, and in brackets the pairs of image and concept."""
        total = self.concepts()
        kept = {
            owner: {
                category: {name: images for name, images in names.items() if name in total.get(category, {})}
                for category, names in counts.items()
            }
            for owner, counts in self.counts.items()
        }
        rows = [["set", "images", *total]]
        for owner, counts in [*kept.items(), ("all", total)]:
            images = self.num_images.get(owner, sum(self.num_images.values()))
            cells = [counts.get(category, {}) for category in total]
            rows.append([owner, str(images), *(f"{len(cell)} ({sum(cell.values())})" if cell else "-" for cell in cells)])
        widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
        lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        lost = ", ".join(f"{len(names)} {category}" for category, names in self.dropped.items()) or "none"
        return "\n".join([*lines, f"left out as rare: {lost}; images without a label: {self.num_unlabelled}"])
