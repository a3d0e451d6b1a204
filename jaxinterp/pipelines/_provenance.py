"""Where a result comes from: versions, device, commit, knobs, seeds."""

import importlib.metadata
import pathlib
import platform
import subprocess
from typing import Any

from jax.sharding import Mesh

import jaxinterp
from jaxinterp.pipelines._comparison_settings import Comparison
from jaxinterp.pipelines._depth_settings import DepthStudy
from jaxinterp.pipelines._factors_settings import Factors
from jaxinterp.pipelines._fit_settings import Fit
from jaxinterp.pipelines._identity import describe
from jaxinterp.pipelines._study import Study

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "numpy", "pillow")


def provenance(
    mesh: Mesh, study: Study | Factors | Fit | Comparison | DepthStudy, knobs: dict[str, Any], recipe_text: str
) -> dict[str, Any]:
    """What a manifest records beside the identity of a run.

    Args:
        mesh: the devices that compute.
        study: what the recipe built.
        knobs: the recipe's resolved knobs.
        recipe_text: the recipe's file.

    Returns:
        A JSON-able description; byte-identical results may be expected where all of it is equal.
    """
    device = mesh.devices.flat[0]
    return {
        "recipe": {"title": study.title, "knobs": describe(knobs), "text": recipe_text, "seed": study.seed},
        "versions": {"python": platform.python_version(), "jaxinterp": jaxinterp.__version__}
        | {name: importlib.metadata.version(name) for name in _PACKAGES},
        "device": {"platform": device.platform, "kind": device.device_kind, "count": mesh.size},
        "commit": _commit(),
    }


def _commit() -> str:
    """The commit of the checkout that the package is imported from; "unknown" when it is installed elsewhere."""
    folder = pathlib.Path(jaxinterp.__file__).resolve().parent.parent
    if not (folder / ".git").exists():
        return "unknown"
    try:
        found = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return found.stdout.strip() or "unknown"
