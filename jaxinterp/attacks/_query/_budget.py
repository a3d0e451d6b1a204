"""What attacks that count their queries share."""

from collections.abc import Callable, Mapping
from typing import Any

from jax import Array


def answered(logits: Array) -> Callable[..., tuple[Array, dict[str, Array]]]:
    """A network that has answered already: losses and criteria then share one query."""
    return lambda images, *, key=None: (logits, {})


def check_budget(max_queries: int, *, least: int) -> None:
    """Raises `ValueError` for a budget that does not pay for one step."""
    if max_queries < least:
        raise ValueError(f"expected max_queries >= {least}, got {max_queries}; write max_queries={least} or more.")


def choose(name: str, value: str, choices: Mapping[str, Any]) -> Any:
    """The choice of that name; raises `ValueError` for another."""
    if value not in choices:
        quoted = [f'"{choice}"' for choice in choices]
        raise ValueError(f"expected {name} to be {' or '.join(quoted)}, got {value!r}; write {name}={quoted[0]}.")
    return choices[value]
