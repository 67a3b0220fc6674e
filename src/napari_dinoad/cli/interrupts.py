"""Ctrl-C and requests to end: the first one ends the run, wherever it comes; the next ones let it clean up."""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

__all__ = ["Interrupt", "listening_for_interrupts"]

logger = logging.getLogger(__name__)

_PATIENCE_S = 5.0
"""After the first Ctrl-C the next ones do nothing for so long: cleaning up may hang, but mostly it is at work."""

_AGAIN_S = 0.02
"""Until one is sent again that came where no exception can leave."""


_OF_DASK = ("distributed", "tornado.application")
"""Loggers of Dask and of what its calls run on."""


class Interrupt(KeyboardInterrupt):
    """Ctrl-C, or a request to end.

    A class of its own: where the interpreter has seen a `KeyboardInterrupt` pass through ``exec``, as modules use it
    while they are imported, it ends by killing itself, whatever exit code it is given.
    """


@contextmanager
def listening_for_interrupts() -> Iterator[None]:
    """Raise `Interrupt` on the first Ctrl-C or request to end, in the block and after it.

    Where it comes while Python collects garbage (in ``__del__``, or in what Dask calls there) the interpreter drops
    the exception, and the run would go on: it is sent again.
    """
    listener = _Listener()
    signal.signal(signal.SIGTERM, listener)
    now = signal.getsignal(signal.SIGINT)
    # Who runs us in the background may have switched it off.
    if now is signal.default_int_handler or isinstance(now, _Listener):
        signal.signal(signal.SIGINT, listener)
    before = sys.unraisablehook
    sys.unraisablehook = lambda told: listener.on_dropped(told) or before(told)
    try:
        yield
    finally:
        sys.unraisablehook = before


class _Listener:
    """What is called when signals come."""

    def __init__(self) -> None:
        self._first_s: float | None = None
        self._number: int | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        self._number = number
        for name in _OF_DASK:
            # A call that is cut off before it began is an error with a traceback to them, told by another thread.
            logging.getLogger(name).setLevel(logging.CRITICAL)
        if self._first_s is None or now - self._first_s > _PATIENCE_S:
            self._first_s = self._first_s or now
            raise Interrupt

    def on_dropped(self, told: sys.UnraisableHookArgs) -> bool:
        """Send the signal again whose exception was dropped; return whether there is nothing to be printed."""
        if self._number is None:
            return False
        if isinstance(told.exc_value, Interrupt):
            self._first_s = None
            again = threading.Timer(_AGAIN_S, _send, [self._number])
            again.daemon = True
            again.start()
        else:
            # Of what was interrupted there, which nobody can mend any more.
            logger.info("Dropped in %r: %r", told.object, told.exc_value)
        return True


def _send(number: int) -> None:
    if hasattr(signal, "pthread_kill"):
        main = threading.main_thread().ident
        if main is not None:
            signal.pthread_kill(main, number)
    else:
        signal.raise_signal(number)
