"""Reading in processes of their own."""

from typing import Any

import jax

_AHEAD = 2  # batches that each process keeps ready


def in_processes(dataset: Any, num_workers: int) -> Any:
    """A grain data set whose elements are made in processes, in the same order.

    The processes are started afresh ("spawn"), never forked from one in which JAX has begun, and leave accelerators alone.

    Args:
        dataset: any grain data set that iterates and pickles.
        num_workers: how many processes; process `p` of `q` makes every `q`-th element.
    """
    import grain
    from absl import flags

    if not flags.FLAGS.is_parsed():  # grain hands its flags on to the processes
        flags.FLAGS.mark_as_parsed()
    options = grain.MultiprocessingOptions(num_workers=num_workers, per_worker_buffer_size=_AHEAD)
    return dataset.mp_prefetch(options, worker_init_fn=keep_to_cpu)


def keep_to_cpu(index: int, count: int) -> None:
    """The first that runs in a process: whoever asks for a JAX device there gets a CPU, not an accelerator in use."""
    del index, count
    jax.config.update("jax_platforms", "cpu")
