"""`dinoad`, where its process begins: Ctrl-C is heard from here on, and all else is loaded by `main`.

Exit codes: 0 done; 2 the input or a setting is wrong (one line on stderr); 1 a fault of ours (traceback);
130 cancelled.
"""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING

from napari_dinoad.cli.interrupts import listening_for_interrupts, tell_cancelled

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["command", "main"]


def command() -> int:
    """Run the command line as all that a process does, and return its exit code."""
    code = main(ends_process=True)
    # Python would look through all that torch and others have made, which takes longer than most else of its end.
    gc.freeze()
    return code


def main(arguments: Sequence[str] | None = None, *, ends_process: bool = False) -> int:
    """Run the command line and return its exit code; Ctrl-C is ignored from then on where the process ends by it."""
    has_begun = False
    try:
        with listening_for_interrupts(ends_process=ends_process):
            from napari_dinoad.cli.verbs import run
            from napari_dinoad.machine.streams import prepare_streams

            prepare_streams()
            has_begun = True
            return run(arguments)
    except KeyboardInterrupt as error:
        # Once it has begun, the verb may have printed its object.
        as_json = not has_begun and "--json" in (sys.argv[1:] if arguments is None else arguments)
        return tell_cancelled(error, as_json=as_json)
