"""The command line: `jaxinterp VERB RECIPE --workdir DIR [--knob value]`. Verbs only; the work is done in `pipelines`."""

import argparse
import errno
import logging
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from jaxinterp.pipelines import VERBS, Stopped

_EPILOG = """The recipe is a Python file; what follows it sets its knobs, such as --seed 1 or --epsilon 4/255.
Running the same line again resumes. Exit code 2: the input cannot be used; 143: stopped by SIGTERM, and saved; 1: else."""


FACTORS, COMPARE, DEPTH = "factors", "compare", "depth"
"""The verbs of recipes that build `pipelines.Factors`, `pipelines.Comparison` and `pipelines.DepthStudy`."""

_OTHERS = {
    FACTORS: "train networks in conditions, and compare what their units answer to",
    COMPARE: "train networks in several ways from several seeds, and measure all of them alike",
    DEPTH: "train networks that tell depth, and read how selective their units are for it",
}

STOPPED = 143
"""The exit code after SIGTERM, when what was trained is saved: that of a process which the signal ended."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: the arguments; those of the process by default.

    Returns:
        The exit code: 0, or 2 with one line on standard error where the input cannot be used, or 143 with one where SIGTERM
        stopped a training that has saved itself.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = _parser()
    known, knobs = parser.parse_known_args(arguments)
    if not known.debug:
        # Orbax logs the traceback of a write that fails; its error is what is reported.
        logging.getLogger("absl").setLevel(logging.CRITICAL)
    try:
        _run(known, knobs)
    except (ValueError, OSError) as error:
        if known.debug:
            raise
        remedy = "; make room on that disk and run the same line again, which resumes" if _is_full(error) else ""
        print(f"jaxinterp: {' '.join(str(error).split())}{remedy}", file=sys.stderr)
        return 2
    except Stopped as stopped:
        print(f"jaxinterp: {stopped}", file=sys.stderr)
        return STOPPED
    return 0


def _is_full(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jaxinterp", description=__doc__, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, purpose in {**VERBS, **_OTHERS}.items():
        verb = verbs.add_parser(name, help=purpose, description=purpose, epilog=_EPILOG)
        verb.add_argument("recipe", help="a Python file such as configs/quickstart.py")
        verb.add_argument("--workdir", required=True, help="folder of this run; rerunning resumes it")
        verb.add_argument("--fresh", action="store_true", help="discard what an earlier run left in the work directory")
        verb.add_argument("--devices", type=int, default=None, help="how many devices to use; on CPU one a core by default")
        verb.add_argument("--debug", action="store_true", help="show where an error arose")
        if name == "train":
            _add_training(verb)
    show = verbs.add_parser("show", help="print a recipe's knobs, layers and cost; computes nothing", epilog=_EPILOG)
    show.add_argument("recipe", help="a Python file such as configs/quickstart.py")
    show.add_argument("--topology", metavar="v5e:4x4", help="compile the step of a training for that pod; wants jaxinterp[tpu]")
    show.add_argument("--debug", action="store_true", help="show where an error arose")
    return parser


def _run(known: argparse.Namespace, arguments: list[str]) -> None:
    # Imported here, since `jaxinterp --help` should not wait for them.
    from jaxinterp.cli._recipe import load_recipe, parse_knobs

    recipe = load_recipe(known.recipe)
    knobs = parse_knobs(recipe, arguments)
    if known.verb == "show":
        from jaxinterp.cli._show import show

        print(show(recipe, knobs, topology=known.topology))
        return
    _use_devices(known.devices)
    if known.verb == "train":
        _join_hosts(known)
    from jaxinterp import _mesh
    from jaxinterp.pipelines import (
        Comparison,
        DepthStudy,
        Factors,
        Fit,
        Run,
        WorkDir,
        card_texts,
        run_comparison,
        run_depth,
        run_factors,
        run_fit,
        run_study,
        stages_of,
        transfer_texts,
    )

    study = recipe(**knobs)
    text = pathlib.Path(known.recipe).read_text(encoding="utf-8")
    _check_verb(study, known.verb)
    asked = {"mesh": _mesh.data_mesh(known.devices), "knobs": knobs, "recipe_text": text, "fresh": known.fresh}
    if isinstance(study, Fit):
        profile = tuple(known.profile) if known.profile else None
        print(run_fit(study, WorkDir(known.workdir), **asked, log_ids=known.log_ids, profile=profile))
        return
    if isinstance(study, Factors):
        print(run_factors(study, WorkDir(known.workdir), **asked))
        return
    if isinstance(study, Comparison):
        print(run_comparison(study, WorkDir(known.workdir), **asked))
        return
    if isinstance(study, DepthStudy):
        print(run_depth(study, WorkDir(known.workdir), **asked))
        return
    stages_of(study, known.verb)
    workdir = WorkDir(known.workdir)
    run = Run(study, workdir, mesh=_mesh.data_mesh(known.devices))
    page = run_study(run, verb=known.verb, knobs=knobs, recipe_text=text, fresh=known.fresh)
    if known.verb == "robustness":
        print("\n".join(card_texts(run)))
    if known.verb == "transfer":
        print("\n".join(transfer_texts(run)))
    print(page)


def _check_verb(built: Any, verb: str) -> None:
    """Raises `ValueError` where a verb does not run what a recipe built."""
    from jaxinterp.pipelines import Comparison, DepthStudy, Factors, Fit

    kinds = (
        (Factors, "factors", (FACTORS,)),
        (Comparison, "a comparison", (COMPARE,)),
        (DepthStudy, "depth", (DEPTH,)),
        (Fit, "one training", ("train",)),
        (object, "a study", tuple(VERBS)),
    )
    name, fitting = next((name, verbs) for kind, name, verbs in kinds if isinstance(built, kind))
    if verb not in fitting:
        raise ValueError(f"expected a recipe that fits the verb {verb!r}, got one of {name}; write jaxinterp {fitting[0]}.")


def _add_training(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--distributed", action="store_true", help="join the other hosts, found by SLURM, a TPU pod, MPI or k8s")
    verb.add_argument("--coordinator", metavar="HOST:PORT", help="of the first host, where nothing tells; with the next two")
    verb.add_argument("--num-hosts", type=int, help="how many there are")
    verb.add_argument("--host", type=int, help="which of them this is, from 0")
    verb.add_argument("--log-ids", action="store_true", help="write the ids of the images of every step")
    verb.add_argument("--profile", type=int, nargs=2, metavar=("FIRST", "LAST"), help="trace these steps for TensorBoard")


def _join_hosts(known: argparse.Namespace) -> None:
    import jax

    named = (known.coordinator, known.num_hosts, known.host)
    if any(value is not None for value in named) and None in named:
        raise ValueError("expected --coordinator, --num-hosts and --host together, got some of them; write all three.")
    if known.distributed or known.coordinator:
        jax.distributed.initialize(known.coordinator, known.num_hosts, known.host)


def _use_devices(count: int | None) -> None:
    """On CPU, a device a core: small convolutions keep two devices busier than two threads of one."""
    import jax

    if count is not None and count < 1:
        raise ValueError(f"expected at least 1 device, got --devices {count}.")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        jax.config.update("jax_num_cpu_devices", count or min(cores, 8))
    except RuntimeError:
        return  # JAX has started already, with the devices it has
