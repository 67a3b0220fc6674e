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
from typing import TYPE_CHECKING

from napari_dinoad import __version__
from napari_dinoad.cli import demo, evaluate, fit, info, merge, score, weights
from napari_dinoad.errors import Cancelled, DinoadError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

__all__ = ["main"]

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
        verb.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
        verb.add_argument("-v", "--verbose", action="store_true", help="log what is done")
        verb.set_defaults(run=command.run)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    options = build_parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO if options.verbose else logging.WARNING, format="%(levelname)s: %(message)s"
    )
    signal.signal(signal.SIGTERM, _interrupt)
    for stream in (sys.stdout, sys.stderr):
        # A name that the terminal cannot show must not end a run.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code: int = options.run(options)
    except (KeyboardInterrupt, Cancelled):
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
    except BrokenPipeError:
        # The reader of our output (``| head``) went away; nothing more can be said to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception:  # noqa: BLE001 - the outer edge: log the traceback, tell the user, end with 1
        traceback.print_exc()
        print("dinoad: a fault of dinoad itself; please report the lines above.", file=sys.stderr)
        return 1
    return code


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
