"""A threat model as cards have it, and in words."""

from collections.abc import Mapping
from typing import Any


def threat_model(norm: str, epsilon: float) -> dict[str, Any]:
    """Norm and radius as JSON has them.

    Args:
        norm: "linf" or "l2".
        epsilon: radius in [0, 1] units.
    """
    return {"norm": norm, "epsilon": epsilon, "of_255": round(255 * epsilon, 4)}


def threat_in_words(model: Mapping[str, Any]) -> str:
    """A threat model in words: the radius in grey levels for Linf, plain for another norm.

    Args:
        model: what `threat_model` returned.
    """
    radius = f"{model['of_255']:g}/255" if model["norm"] == "linf" else f"{model['epsilon']:g}"
    return f"{model['norm']}, epsilon = {radius}"
