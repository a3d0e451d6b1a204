"""Switches with which programs compile three times as fast, at the price of code that runs somewhat slower."""

import importlib.metadata

SWITCHES = {"xla_cpu_use_fusion_emitters": False, "xla_cpu_parallel_codegen_split_count": 1}
KNOWN_TO = (0, 12)
"""The first jaxlib for which nobody has looked: a switch that it no longer knew would end the process."""


def xla_flags() -> str:
    """For XLA_FLAGS; nothing where jaxlib is newer than what the switches were tried with."""
    version = tuple(int(part) for part in importlib.metadata.version("jaxlib").split(".")[:2])
    return " ".join(f"--{name}={str(value).lower()}" for name, value in SWITCHES.items()) if version < KNOWN_TO else ""
