"""Ctrl-C where it must not cut in: it waits until that is done, and goes to none of the processes started there."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING

from napari_dinoad.machine.dask_logs import silence_dask

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

__all__ = ["interrupts_deferred", "processes_without_interrupts"]

_DEFERRED = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)
)
"""What `cli.interrupts` listens to; Windows has no SIGHUP, and SIGBREAK (Ctrl-Break) only Windows has."""


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Let Ctrl-C, and a request to end, take effect at the end of the block and not in it.

    Also where the block raises: what was to be started there may have been sent the same request, and fails by it.
    Does nothing on another thread than the main one, which they never reach.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: dict[int, FrameType | None] = {}

    def defer(number: int, frame: FrameType | None) -> None:
        received[number] = frame
        # A job scheduler's request goes to the other processes too: that they end is no news.
        silence_dask()

    before = {number: signal.getsignal(number) for number in _DEFERRED}
    try:
        for number in _DEFERRED:
            if callable(before[number]):
                signal.signal(number, defer)
        yield
    finally:
        for number in _DEFERRED:
            if callable(before[number]):
                signal.signal(number, before[number])
        for received_number, frame in received.items():
            handler = before[signal.Signals(received_number)]
            if callable(handler):
                handler(received_number, frame)


@contextmanager
def processes_without_interrupts() -> Iterator[None]:
    """Let threads that begin in the block, and processes that these start at any time, take no notice of Ctrl-C.

    Nor of SIGHUP. A terminal sends them to all processes of a command. The one that started the others ends them;
    each by itself would print a traceback, or die before it has cleaned up. Nothing is done on Windows: see
    `napari_dinoad.machine.dask_worker`.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        # It ignores Ctrl-C itself, and lets it through again for the thread that starts it.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
