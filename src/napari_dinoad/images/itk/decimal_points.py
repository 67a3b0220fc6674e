"""Numbers in files have a decimal point, whatever country the process is set to."""

from __future__ import annotations

import locale
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["decimal_points"]


class _DecimalPoints:
    """Sets how the C library reads and writes numbers while anyone needs it, in any thread.

    Qt sets it to the user's country: in a window in Germany ``0.75`` is 0 to libraries in C, and 1.25 is 1.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._usual = "C"

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            if self._users == 0:
                self._usual = locale.setlocale(locale.LC_NUMERIC)
                locale.setlocale(locale.LC_NUMERIC, "C")
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    locale.setlocale(locale.LC_NUMERIC, self._usual)


decimal_points = _DecimalPoints()
"""A block within which libraries in C read and write numbers as files have them."""
