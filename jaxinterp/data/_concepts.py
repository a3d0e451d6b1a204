"""The concepts of a source: a numbered list of names, each in one of the six categories of Broden."""

from typing import NamedTuple

CATEGORIES: tuple[str, ...] = ("color", "texture", "material", "scene", "part", "object")
"""The six categories, in the order C T M S P O in which the papers tabulate them."""

NO_CONCEPT = "none"
"""Name and category of concept 0, which marks a pixel that carries no label."""


class ConceptTable(NamedTuple):
    """Names and categories of concepts; the index in both tuples is the concept's number.

    Concept 0 is `("none", "none")`: it marks pixels without a label and is no concept. A *concept map* `[h w l]` holds
    up to `l` concept numbers per pixel.

    Attributes:
        names: name of each concept; two concepts may share a name in different categories.
        categories: category of each concept, one of `CATEGORIES`.

    Example:
        >>> table = concept_table({"color": ("red", "blue"), "object": ("dog",)})
        >>> table.names[3], table.categories[3]
        ('dog', 'object')
    """

    names: tuple[str, ...]
    categories: tuple[str, ...]

    def number(self, category: str, name: str) -> int:
        """The number of the concept of that category and name.

        Raises:
            ValueError: when there is none.
        """
        for number, pair in enumerate(zip(self.categories, self.names, strict=True)):
            if pair == (category, name):
                return number
        raise ValueError(f"unknown concept {name!r} of category {category!r}; {category} has: {', '.join(self.of(category))}")

    def numbers(self, category: str) -> tuple[int, ...]:
        """The numbers of the concepts of one category, ascending."""
        return tuple(number for number, name in enumerate(self.categories) if name == category)

    def of(self, category: str) -> tuple[str, ...]:
        """The names of the concepts of one category, in the order of their numbers."""
        return tuple(self.names[number] for number in self.numbers(category))


def concept_table(names: dict[str, tuple[str, ...]]) -> ConceptTable:
    """A `ConceptTable` that numbers the concepts densely from 1, category by category.

    Args:
        names: the concepts of each category; the order of the dictionary is the order of the numbers.

    Raises:
        ValueError: for a category that is not one of `CATEGORIES`, or a name that occurs twice in a category.
    """
    for category, members in names.items():
        if category not in CATEGORIES:
            raise ValueError(f"expected a category of {', '.join(CATEGORIES)}, got {category!r}; write one of them.")
        if len(set(members)) != len(members):
            twice = next(name for name in members if members.count(name) > 1)
            raise ValueError(f"expected every {category} once, got {twice!r} twice; give each concept its own name.")
    pairs = [(NO_CONCEPT, NO_CONCEPT)] + [(name, category) for category, members in names.items() for name in members]
    return ConceptTable(tuple(name for name, _ in pairs), tuple(category for _, category in pairs))
