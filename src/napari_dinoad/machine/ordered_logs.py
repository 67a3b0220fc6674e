"""Logs of work that is done on several threads at a time, told in the order of the work."""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["OrderedLogs", "tell"]


class OrderedLogs(logging.Filter):
    """Holds back what is logged in blocks of `holding`, by each thread, until it is told; other logs pass.

    A context manager, inside which the handlers of the root logger are watched; those of other loggers hear at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self._here = threading.local()
        self._watched: list[logging.Handler] = []

    def __enter__(self) -> Self:
        last = logging.lastResort
        self._watched = [*logging.getLogger().handlers, *([] if last is None else [last])]
        for handler in self._watched:
            handler.addFilter(self)
        return self

    def __exit__(self, *_: object) -> None:
        for handler in self._watched:
            handler.removeFilter(self)

    @contextmanager
    def holding(self, records: list[logging.LogRecord]) -> Iterator[None]:
        """Add what this thread logs in the block to ``records``, for `tell`."""
        before = getattr(self._here, "records", None)
        self._here.records = records
        try:
            yield
        finally:
            self._here.records = before

    def filter(self, record: logging.LogRecord) -> bool:
        """Hold a record; False then."""
        records: list[logging.LogRecord] | None = getattr(self._here, "records", None)
        if records is None:
            return True
        # Each handler asks.
        if not (records and records[-1] is record):
            records.append(record)
        return False


def tell(records: list[logging.LogRecord]) -> None:
    """Give what was held to the handlers of the root logger, once."""
    while records:
        # Those of the record's own logger have had it.
        logging.getLogger().callHandlers(records.pop(0))
