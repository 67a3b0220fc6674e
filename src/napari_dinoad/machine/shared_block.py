"""A block that changes something of the whole process: changed once for all threads that are in it."""

from __future__ import annotations

import threading
import warnings
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

__all__ = ["SharedBlock", "unwarned"]


class SharedBlock:
    """A context manager that several threads may be in: the first one begins it, the last one ends it.

    What puts a setting of the process back as it was on entering (`warnings.catch_warnings`, pydicom's of its
    checks) goes wrong where two threads overlap: the first to leave puts it back for the other too, and this one
    puts back for ever what the first had set.

    Parameters
    ----------
    make : callable
        Makes the context manager, anew each time.
    """

    def __init__(self, make: Callable[[], AbstractContextManager[object]]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._n_inside = 0
        self._made: AbstractContextManager[object] | None = None

    def __enter__(self) -> None:
        with self._lock:
            if self._n_inside == 0:
                made = self._make()
                made.__enter__()
                self._made = made
            self._n_inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._n_inside -= 1
            if self._n_inside == 0 and self._made is not None:
                made, self._made = self._made, None
                made.__exit__(None, None, None)


unwarned = SharedBlock(partial(warnings.catch_warnings, action="ignore"))
"""A block in which no thread warns of anything."""
