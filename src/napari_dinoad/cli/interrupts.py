"""Ctrl-C and requests to end: the first one ends the run, wherever it comes; later ones do not disturb the clean-up.

This module imports little: until `listening_for_interrupts` has begun, Ctrl-C prints a traceback.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from napari_dinoad.machine.dask_logs import silence_dask

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

__all__ = ["Interrupt", "is_interrupted", "listening_for_interrupts", "tell_cancelled"]

logger = logging.getLogger(__name__)

_EXIT_CODE = 130

_PATIENCE_S = 5.0
"""After the first Ctrl-C the next ones do nothing for so long: cleaning up may hang, but mostly it is at work."""

_AGAIN_S = 0.02
"""Until one is sent again that came where no exception can leave."""

_IMPORT = "<frozen importlib._bootstrap>"
"""The file that frames of Python's own import name."""

_TAKE_LOCKS = frozenset(
    taking.__code__
    for taking in (
        threading.Condition.__enter__,
        logging.Handler.acquire,
        getattr(logging, "_acquireLock", None),  # until Python 3.12
    )
    if taking is not None
)

_MAIN = os.path.join(os.path.dirname(__file__), "main.py")  # noqa: PTH118, PTH120  (pathlib takes longer to load)
"""The file that the first frame of a command names."""


class Interrupt(KeyboardInterrupt):
    """Ctrl-C, or a request to end.

    A class of its own: where the interpreter has seen a `KeyboardInterrupt` pass through ``exec``, as modules use it
    while they are imported, it ends by killing itself, whatever exit code it is given.
    """


_REQUESTS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)
)
"""To end: of ``kill``, job schedulers and ``timeout``, where the terminal is closed, and Ctrl-Break of Windows."""


@contextmanager
def listening_for_interrupts(*, ends_process: bool = False) -> Iterator[None]:
    """Raise `Interrupt` on the first Ctrl-C or request to end, in the block and, where one came, after it.

    A signal that whoever started the process has switched off (``nohup``, ``&`` in a script) stays off. Python drops
    exceptions that are raised while it collects garbage (in ``__del__``, or in what Dask calls there), and the run
    would go on: such a signal is sent again. So is one that comes while something is imported, until that is done.

    Parameters
    ----------
    ends_process : bool
        Whether the process ends with the block. Then all these signals are ignored after it: the work is done, and
        one that came while the interpreter shuts down would kill it, or print a traceback, and the exit status would
        say that the command had failed.
    """
    listener = _Listener()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, *_REQUESTS)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, listener)
    hook, tells_of_logging = sys.unraisablehook, logging.raiseExceptions
    sys.unraisablehook = lambda told: listener.on_dropped(told) or hook(told)
    try:
        yield
    finally:
        sys.unraisablehook = hook
        if not ends_process:
            logging.raiseExceptions = tells_of_logging
        if not listener.has_heard:
            for number, handler in before.items():
                if handler is not None:
                    signal.signal(number, signal.SIG_IGN if ends_process else handler)


def is_interrupted() -> bool:
    """Whether a signal has come that `listening_for_interrupts` listens for."""
    handlers = map(signal.getsignal, (signal.SIGINT, *_REQUESTS))
    return any(isinstance(handler, _Listener) and handler.has_heard for handler in handlers)


def tell_cancelled(error: BaseException, *, as_json: bool) -> int:
    """Say that a run was cancelled, by what is told as ``error``, and return the exit code.

    With ``as_json`` also on stdout, for programs that read an object there. Notes of the error are told too.
    """
    if isinstance(error, Interrupt):
        # The interpreter puts its own handlers back when it ends, and the next signal would kill it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    told = " ".join(["cancelled; nothing half-done was left behind.", *getattr(error, "__notes__", ())])
    print(f"dinoad: {told}", file=sys.stderr)
    if as_json:
        print(f'{{"error": "{told}", "exit_code": {_EXIT_CODE}}}')
    return _EXIT_CODE


def _is_importing(frame: FrameType | None) -> bool:
    """Whether the command is importing something; a script that runs it may itself be imported.

    Python's own import takes locks that an exception there leaves taken for ever, and PyTorch, which imports NumPy
    from C++, takes any exception for one that NumPy is not installed: it drops it, and NumPy stays half-loaded.
    """
    while frame is not None and frame.f_code.co_filename != _MAIN:
        if frame.f_code.co_filename == _IMPORT:
            return True
        frame = frame.f_back
    return False


def _is_taking_lock(frame: FrameType | None) -> bool:
    """Whether a lock is being taken by a function of Python's own, which then returns to the block that releases it.

    An exception in between leaves it taken for ever, and other threads wait for it: Dask's, which log and set events.
    """
    return frame is not None and frame.f_code in _TAKE_LOCKS


class _Listener:
    """What is called when signals come."""

    def __init__(self) -> None:
        self._first_s: float | None = None
        self._number: int | None = None

    @property
    def has_heard(self) -> bool:
        """Whether any signal has come."""
        return self._number is not None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self._number = number
        if _is_importing(frame) or _is_taking_lock(frame):
            self._send_again(number)
            return
        now = time.monotonic()
        is_heeded = self._first_s is None or now - self._first_s > _PATIENCE_S
        # Before anything else: the next one may come in the middle of what follows, which takes logging's lock.
        self._first_s = self._first_s or now
        # A call that is cut off before it began is an error with a traceback to it, told by another thread, and what
        # is lost by it a warning.
        silence_dask()
        # What a thread was about to log, to a stream that is gone meanwhile, is no fault to be shown.
        logging.raiseExceptions = False
        if is_heeded:
            raise Interrupt

    def on_dropped(self, told: sys.UnraisableHookArgs) -> bool:
        """Send the signal again whose exception was dropped; return whether there is nothing to be printed."""
        if self._number is None:
            return False
        if isinstance(told.exc_value, Interrupt):
            self._first_s = None
            self._send_again(self._number)
        else:
            # Of what was interrupted there, which nobody can mend any more.
            logger.info("Dropped in %r: %r", told.object, told.exc_value)
        return True

    @staticmethod
    def _send_again(number: int) -> None:
        again = threading.Timer(_AGAIN_S, _send, [number])
        again.daemon = True
        again.start()


def _send(number: int) -> None:
    if hasattr(signal, "pthread_kill"):
        main = threading.main_thread().ident
        if main is not None:
            signal.pthread_kill(main, number)
    else:
        signal.raise_signal(number)
