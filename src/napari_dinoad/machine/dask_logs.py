"""What Dask logs, where nobody wants to hear of it."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["dask_without_chatter", "silence_dask"]

_LOGGERS = ("distributed", "distributed.client", "distributed.gc", "tornado.application")
"""Loggers of Dask and of what its calls run on that have a level of their own."""


def silence_dask() -> None:
    """Let Dask log nothing from now on but what is critical; in `dask_without_chatter`, until its end."""
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)


@contextmanager
def dask_without_chatter() -> Iterator[None]:
    """Let Dask tell of its comings and goings only where all that is done is logged; warnings and errors pass.

    Dask sets the level of its loggers to INFO when it is imported, whatever level the program has chosen.
    """
    before = {name: logging.getLogger(name).level for name in _LOGGERS}
    if not logging.getLogger().isEnabledFor(logging.INFO):
        chatter = logging.getLogger("distributed")
        chatter.setLevel(max(chatter.level, logging.WARNING))
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
