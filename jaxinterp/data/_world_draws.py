"""Random draws of the concept world: equal on every machine, in every process and in every order of the images."""

import hashlib
import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

Number = float | int
"""A coordinate, a length, an angle or a probability; whole ones may be written without a point."""


class Draws:
    """A stream of random draws named by a key; streams of different keys are independent.

    Only `random.Random.random` is used, the one method that Python promises to keep equal between versions.

    Args:
        key: what names the stream, for example (seed, index, "object").
    """

    __slots__ = ("_random",)

    def __init__(self, *key: int | str) -> None:
        digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
        self._random = random.Random(int.from_bytes(digest, "little")).random

    def uniform(self, low: Number, high: Number) -> float:
        """A number in [low, high)."""
        return low + (high - low) * self._random()

    def vary(self, value: Number, share: Number = 0.12) -> float:
        """The value, changed by at most that share of itself."""
        return value * (1 + share * (2 * self._random() - 1))

    def integer(self, count: int) -> int:
        """A number of 0 .. count - 1."""
        return int(self._random() * count)

    def choice(self, options: Sequence[T]) -> T:
        """One of the options, all equally likely."""
        return options[int(self._random() * len(options))]

    def coin(self, probability: Number) -> bool:
        """True with that probability."""
        return self._random() < probability

    def permutation(self, count: int) -> list[int]:
        """The numbers 0 .. count - 1 in random order."""
        order = list(range(count))
        for last in range(count - 1, 0, -1):
            other = int(self._random() * (last + 1))
            order[last], order[other] = order[other], order[last]
        return order


def balanced(index: int, count: int, *key: int | str) -> int:
    """A number of 0 .. count - 1 such that every aligned block of `count` indices holds each number once, in its own order."""
    block, position = divmod(index, count)
    return Draws(*key, block).permutation(count)[position]
