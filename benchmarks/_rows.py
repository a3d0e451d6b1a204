"""The rows that benchmarks write under `results`, and what each says of where it was measured."""

import json
import os
import pathlib
import platform
import resource
import subprocess
from typing import Any

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0))


def place() -> dict[str, Any]:
    """Where and of what a row was measured.

    Returns:
        commit: of the checkout, ending in "-dirty" where a file differs from it, other rows apart.
        device: JAX's first, the machine and its cores.
        load_average: of the last minute; above 1, other programs ran beside.
        peak_mib: the most memory that this process has held.
        versions: of the packages.
        xla_flags: what the environment asks of the compiler.
    """
    import jax

    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!benchmarks/results")
    device = jax.devices()[0]
    return {
        "commit": (_git("describe", "--always") or "unknown") + ("-dirty" if changed else ""),
        "device": f"{device.device_kind} ({device.platform}, {platform.machine()}, {cores()} cores)",
        "load_average": round(os.getloadavg()[0], 1),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "versions": {"jax": jax.__version__},
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }


def quartiles(values: Any) -> list[float]:
    """Of some figures, to three decimals."""
    return [round(float(q), 3) for q in np.quantile(values, [0.25, 0.5, 0.75])]


def path(name: str) -> pathlib.Path:
    """The file of a benchmark's rows."""
    return ROOT / "benchmarks" / "results" / f"{name}.jsonl"


def append(file: pathlib.Path, *rows: dict[str, Any]) -> None:
    """Adds rows to a file, a line each."""
    file.parent.mkdir(exist_ok=True)
    with file.open("a") as handle:
        handle.writelines(json.dumps(row) + "\n" for row in rows)


def _git(*words: str) -> str:
    """What git says of the checkout; nothing outside of one."""
    return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False).stdout.strip()
