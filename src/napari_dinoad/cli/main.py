"""`dinoad`: arguments → pipeline → exit code.

Exit codes: 0 done; 2 the input or a setting is wrong (one line on stderr); 1 a fault of ours (traceback);
130 cancelled.
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from napari_dinoad import __version__
from napari_dinoad.cli import demo, evaluate, fit, info, merge, score, weights
from napari_dinoad.cli.common_arguments import add_common_arguments
from napari_dinoad.cli.interrupts import Interrupt, listening_for_interrupts
from napari_dinoad.errors import Cancelled, DinoadError
from napari_dinoad.files import DISK_FULL
from napari_dinoad.machine_faults import fault_of_machine

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

logger = logging.getLogger(__name__)

_COMMANDS = (demo, fit, score, evaluate, merge, info, weights)

_DESCRIPTION = """\
Fit a model of normal from a folder of normal scans, and see where a patient's scan departs from it.
Research use only; not a medical device.
"""

_EXAMPLE = """\
example:
  dinoad fit normals/ --out normal.dinoad
  dinoad score patient.nii.gz --model normal.dinoad --out results/
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line; loads neither torch nor napari."""
    parser = argparse.ArgumentParser(
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    _prepare_streams()
    try:
        try:
            return _run(arguments)
        finally:
            # What is still buffered may not go out; at the interpreter's end that would be a traceback.
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our output (``| head``) went away; nothing more can be said to it.
        _discard_output()
        return 0
    except OSError as error:
        _discard_output()
        print(f"dinoad: Cannot write the output: {error.strerror or error}.", file=sys.stderr)
        return 2


def _run(arguments: Sequence[str] | None) -> int:
    """Run a verb and return the exit code; of faults, only those of our own output pass."""
    try:
        options = build_parser().parse_args(arguments)
        _log_to_stderr(options.verbose)
        with listening_for_interrupts():
            code: int = options.run(options)
    except (KeyboardInterrupt, Cancelled) as error:
        if isinstance(error, Interrupt):
            # The interpreter puts its own handlers back when it ends, and the next signal would kill it.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        print("dinoad: cancelled; nothing half-done was left behind.", file=sys.stderr)
        return 130
    except DinoadError as error:
        print(f"dinoad: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except PermissionError as error:
        print(
            f"dinoad: {error.filename}: {error.strerror}. Choose another place, or ask for access.",
            file=sys.stderr,
        )
        return 2
    except Exception as error:  # The outer edge: log the traceback, tell the user, end with 1.
        if _is_of_output(error):
            raise
        fault = fault_of_machine(error)
        if fault is not None:
            logger.info("What ended it:", exc_info=error)
            print(f"dinoad: {' '.join(str(fault).split())}", file=sys.stderr)
            return 2
        traceback.print_exc()
        print("dinoad: a fault of dinoad itself; please report the lines above.", file=sys.stderr)
        return 1
    return code


def _log_to_stderr(is_verbose: bool) -> None:
    """Log there, except for what pydicom tells of a file: what matters of it, our own messages and notes say."""
    handler = logging.StreamHandler()
    if not is_verbose:
        handler.addFilter(lambda record: not record.name.startswith("pydicom"))
    level = logging.INFO if is_verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(levelname)s: %(message)s", handlers=[handler])


def _prepare_streams() -> None:
    """Make sure that there is something to write to, and that no name can end a run."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            # Closed by whoever started us (``2>&-``), or a program without a terminal (pythonw).
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8", errors="backslashreplace"))
        elif isinstance(stream, io.TextIOWrapper):
            # A name that the terminal cannot show must not end a run.
            stream.reconfigure(errors="backslashreplace")


def _is_of_output(error: Exception) -> bool:
    """Whether what we print cannot go out: the reader went away, or the disk that it is led to is full."""
    if isinstance(error, BrokenPipeError):
        return True
    return isinstance(error, OSError) and error.filename is None and error.errno in DISK_FULL


def _discard_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
