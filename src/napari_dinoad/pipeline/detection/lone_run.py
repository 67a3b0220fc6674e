"""One run of several scans at a time in a folder of results: the worklist of one would tell of the other's files."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from napari_dinoad.errors import DinoadError
from napari_dinoad.machine.file_lock import Lock, LockedError, locked
from napari_dinoad.machine.retries import patiently

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

__all__ = ["lone_run"]

_LOCK = ".dinoad-worklist.lock"
"""Named as what `napari_dinoad.machine.temporaries.remove_abandoned` removes, where a killed run left it."""

_WAITS_S = (0.05, 0.2)
"""Who looks for what killed runs left holds the lock for a moment: another run holds it longer than this."""


@contextmanager
def lone_run(folder: Path) -> Iterator[None]:
    """Hold a folder of results for the block; on a disk without locks nothing is held.

    Raises
    ------
    DinoadError
        If another run holds it.
    """
    with ExitStack() as stack:
        try:
            lock = patiently(lambda: stack.enter_context(_lock_of(folder)), LockedError, _WAITS_S)
        except LockedError:
            raise DinoadError(
                f"{folder}: another run is scoring scans into this folder. Wait for it, end it, or choose another "
                "folder."
            ) from None
        except DinoadError:
            # One that may not be written is another person's, who may hold it.
            if os.access(folder / _LOCK, os.W_OK):
                with suppress(OSError):
                    (folder / _LOCK).unlink()
        else:
            stack.callback(lock.remove)
        yield


def _lock_of(folder: Path) -> AbstractContextManager[Lock]:
    return locked(folder / _LOCK, wait=False, may_be_of_others=True)
