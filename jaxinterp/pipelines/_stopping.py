"""Stopping on request: SIGTERM lets a training save itself before it ends."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

import jax


class Stopped(Exception):
    """A training was asked to stop and has saved itself.

    Attributes:
        step: after how many steps.
        num_steps: how many there are in all.
    """

    def __init__(self, name: str, step: int, num_steps: int) -> None:
        super().__init__(f"{name}: stopped after step {step} of {num_steps} and saved; run the same line again, which resumes.")
        self.step = step
        self.num_steps = num_steps


@contextlib.contextmanager
def stop_requests() -> Iterator[Callable[[int], bool]]:
    """While it is entered, SIGTERM is a request.

    Yields:
        `(step) -> whether to stop after it`. Several hosts, of which one may be asked, agree on the step: every one of them
        must call it after every step.
    """
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        yield multihost_utils.reached_preemption_sync_point
        return
    requested = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield lambda step: False
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: requested.set())
    try:
        yield lambda step: requested.is_set()
    finally:
        signal.signal(signal.SIGTERM, before)
