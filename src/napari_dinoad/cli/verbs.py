"""The verbs of `dinoad`: arguments → pipeline → exit code."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import traceback
from typing import TYPE_CHECKING

from napari_dinoad import __version__
from napari_dinoad.cli import bench, demo, evaluate, fit, info, merge, score, weights
from napari_dinoad.cli.common_arguments import add_common_arguments
from napari_dinoad.cli.interrupts import is_interrupted, tell_cancelled
from napari_dinoad.cli.one_line_parser import OneLineParser
from napari_dinoad.cli.output import print_json
from napari_dinoad.errors import Cancelled, DinoadError, first_line
from napari_dinoad.machine.faults import fault_of_machine
from napari_dinoad.machine.streams import OutputError, discard_output

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["build_parser", "run"]

logger = logging.getLogger(__name__)

_COMMANDS = (demo, fit, score, evaluate, merge, info, weights, bench)

_DESCRIPTION = """\
Fit a model of normal from a folder of normal scans, and see where a patient's scan departs from it.
Research use only; not a medical device.
"""

_EXAMPLE = """\
example:
  dinoad fit normals/ --out normal.dinoad
  dinoad score patient.nii.gz --model normal.dinoad --out results/

'dinoad VERB --help' explains a verb. Exit codes: 0 done; 2 the input or a setting is wrong; 1 a fault of dinoad
itself; 130 cancelled.
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line; loads neither torch nor napari."""
    parser = OneLineParser(
        prog="dinoad",
        description=_DESCRIPTION,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"dinoad {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for command in _COMMANDS:
        verb = verbs.add_parser(
            command.NAME,
            help=command.HELP,
            description=command.HELP,
            epilog=f"example:\n  {command.EXAMPLE}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_arguments(verb)
        add_common_arguments(verb)
        verb.set_defaults(run=command.run)
    return parser


def run(arguments: Sequence[str] | None = None) -> int:
    """Run what the arguments say and return the exit code."""
    code = 0
    try:
        try:
            code = _run(arguments)
        finally:
            # What is still buffered may not go out; at the interpreter's end that would be a traceback.
            sys.stdout.flush()
    except OSError as error:
        discard_output()
        print(f"dinoad: Cannot write the output: {error.strerror or error}.", file=sys.stderr)
        return 2
    return code


def _run(arguments: Sequence[str] | None) -> int:
    """Run a verb and return the exit code; of faults, only those of our own output pass."""
    # As long as it is not known what the arguments mean.
    as_json = "--json" in (sys.argv[1:] if arguments is None else arguments)
    try:
        options = build_parser().parse_args(arguments)
        as_json = options.json
        _log_to_stderr(options.verbose)
        _require_working_folder()
        code: int = options.run(options)
    except (KeyboardInterrupt, Cancelled) as error:
        return tell_cancelled(error, as_json=as_json)
    except DinoadError as error:
        return _refused(str(error), as_json=as_json)
    except PermissionError as error:
        told = f"{error.filename}: {error.strerror}. Choose another place, or ask for access."
        return _refused(told, as_json=as_json)
    except Exception as error:  # The outer edge: log the traceback, tell the user, end with 1.
        if isinstance(error, OutputError):
            raise
        if is_interrupted():
            # A library made another exception of the one that the signal raised within it.
            logger.info("What Ctrl-C broke off:", exc_info=error)
            return tell_cancelled(error, as_json=as_json)
        fault = fault_of_machine(error)
        if fault is not None:
            logger.info("What ended it:", exc_info=error)
            return _refused(str(fault), as_json=as_json)
        traceback.print_exc()
        print("dinoad: a fault of dinoad itself; please report the lines above.", file=sys.stderr)
        _print_failure(f"A fault of dinoad itself: {type(error).__name__}: {first_line(error)}", 1, as_json)
        return 1
    return code


def _require_working_folder() -> None:
    """Refuse to work in a folder that is gone: PyTorch's MKL would end the process while it is loaded."""
    try:
        os.getcwd()  # noqa: PTH109  (nothing is done with it)
    except OSError as error:
        raise DinoadError(
            f"The folder that this command was started in is not there any more ({error.strerror}). Change to "
            "another one (cd) and run the same again."
        ) from error


def _refused(message: str, *, as_json: bool) -> int:
    """Tell in one line what is wrong with the input or a setting, and return the exit code."""
    line = " ".join(message.split())
    print(f"dinoad: {line}", file=sys.stderr)
    _print_failure(line, 2, as_json)
    return 2


def _print_failure(message: str, code: int, as_json: bool) -> None:
    """Print on stdout, for programs that read an object there, that there is no result, and why."""
    if as_json:
        print_json({"error": message, "exit_code": code})


def _log_to_stderr(is_verbose: bool) -> None:
    """Log there, except for what pydicom tells of a file: what matters of it, our own messages and notes say."""
    handler = logging.StreamHandler()
    if not is_verbose:
        handler.addFilter(lambda record: not record.name.startswith("pydicom"))
    level = logging.INFO if is_verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(levelname)s: %(message)s", handlers=[handler])
