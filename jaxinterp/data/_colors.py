"""Colour concepts: the colour name of every pixel, by the published table of colour names."""

import os
import pathlib

import numpy as np
from jaxtyping import UInt8

from jaxinterp.data._annotated import NamedLabels

COLOR_NAMES = tuple(
    f"{name}-c" for name in ("black", "blue", "brown", "grey", "green", "orange", "pink", "purple", "red", "white", "yellow")
)
"""Broden's names of the entries of the table; "-c" keeps the colour orange apart from the fruit."""


def color_table(colors: str | os.PathLike[str] | np.ndarray) -> UInt8[np.ndarray, "32 32 32"]:
    """The table of colour names, checked.

    Args:
        colors: the table, entry red // 8, green // 8, blue // 8, or its `.npy` file.

    References:
        Joost van de Weijer, Cordelia Schmid, Jakob Verbeek, Diane Larlus, "Learning Color Names for Real-World
        Applications", 2009.
    """
    if not isinstance(colors, np.ndarray):
        if not pathlib.Path(colors).is_file():
            raise ValueError(f"expected the table of colour names, found none at {os.fspath(colors)}; check the path.")
        try:
            colors = np.load(colors, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ValueError(f"expected a .npy file of colour names, could not read {os.fspath(colors)} ({error}).") from error
    if not isinstance(colors, np.ndarray) or colors.shape != (32, 32, 32) or colors.dtype.kind not in "iu":
        raise ValueError(f"expected a table [32 32 32] of whole numbers, got {getattr(colors, 'shape', colors)}; see colors=.")
    if colors.min() < 0 or colors.max() >= len(COLOR_NAMES):
        raise ValueError(f"expected colour numbers from 0 to {len(COLOR_NAMES) - 1}, got up to {colors.max()}; see colors=.")
    return colors.astype(np.uint8)


def name_colors(image: UInt8[np.ndarray, "h w 3"], table: UInt8[np.ndarray, "32 32 32"]) -> NamedLabels:
    """The colour name of every pixel of an image."""
    red, green, blue = np.moveaxis(image // 8, -1, 0)
    return NamedLabels(table[red, green, blue], dict(enumerate(COLOR_NAMES)))
