"""The command line: `jaxinterp VERB RECIPE --workdir DIR [--knob value]`. Verbs only; the work is done in `pipelines`."""

import argparse
import errno
import logging
import os
import pathlib
import sys
from collections.abc import Sequence

from jaxinterp.pipelines import VERBS

_EPILOG = """The recipe is a Python file; what follows it sets its knobs, such as --seed 1 or --epsilon 4/255.
Running the same line again resumes. Exit code 2: the input cannot be used; 1: something else failed."""


FACTORS = "factors"
"""The verb of recipes that build `pipelines.Factors`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: the arguments; those of the process by default.

    Returns:
        The exit code: 0, or 2 with one line on standard error where the input cannot be used.
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
    return 0


def _is_full(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jaxinterp", description=__doc__, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, purpose in {**VERBS, FACTORS: "train networks in conditions, and compare what their units answer to"}.items():
        verb = verbs.add_parser(name, help=purpose, description=purpose, epilog=_EPILOG)
        verb.add_argument("recipe", help="a Python file such as configs/quickstart.py")
        verb.add_argument("--workdir", required=True, help="folder of this run; rerunning resumes it")
        verb.add_argument("--fresh", action="store_true", help="discard what an earlier run left in the work directory")
        verb.add_argument("--devices", type=int, default=None, help="how many devices to use; on CPU one a core by default")
        verb.add_argument("--debug", action="store_true", help="show where an error arose")
    show = verbs.add_parser("show", help="print a recipe's knobs, layers and cost; computes nothing", epilog=_EPILOG)
    show.add_argument("recipe", help="a Python file such as configs/quickstart.py")
    show.add_argument("--debug", action="store_true", help="show where an error arose")
    return parser


def _run(known: argparse.Namespace, arguments: list[str]) -> None:
    # Imported here, since `jaxinterp --help` should not wait for them.
    from jaxinterp.cli._recipe import load_recipe, parse_knobs

    recipe = load_recipe(known.recipe)
    knobs = parse_knobs(recipe, arguments)
    if known.verb == "show":
        from jaxinterp.cli._show import show

        print(show(recipe, knobs))
        return
    _use_devices(known.devices)
    from jaxinterp import _mesh
    from jaxinterp.pipelines import Factors, Run, WorkDir, card_texts, run_factors, run_study, stages_of, transfer_texts

    study = recipe(**knobs)
    text = pathlib.Path(known.recipe).read_text(encoding="utf-8")
    if isinstance(study, Factors) != (known.verb == FACTORS):
        built, verb = ("factors", FACTORS) if isinstance(study, Factors) else ("a study", "study")
        raise ValueError(f"expected a recipe that fits the verb {known.verb!r}, got one of {built}; write jaxinterp {verb}.")
    if isinstance(study, Factors):
        mesh = _mesh.data_mesh(known.devices)
        print(run_factors(study, WorkDir(known.workdir), mesh=mesh, knobs=knobs, recipe_text=text, fresh=known.fresh))
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
