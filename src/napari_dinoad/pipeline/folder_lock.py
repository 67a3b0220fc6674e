"""A lock on a folder that the system releases when its process ends, however it ends."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from napari_dinoad.errors import DinoadError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["locked"]


@contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[None]:
    """Hold the lock file ``path``, made if needed; whoever holds it may remove it.

    Raises
    ------
    DinoadError
        If another process holds it and ``wait`` is False, or the file cannot be made.
    """
    handle = _hold(path, wait)
    try:
        yield
    finally:
        _unlock(handle)
        os.close(handle)


def _hold(path: Path, wait: bool) -> int:
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise DinoadError(
                f"Cannot write {path}: {error.strerror or error}. Choose another folder (--cache)."
            ) from error
        if not _lock(handle, wait):
            os.close(handle)
            raise DinoadError(
                "The same fit is already running in another process. Wait for it, end it, or give this one another "
                "folder (--cache)."
            )
        if _is_at(handle, path):
            return handle
        # Removed by its last holder while this process waited for it: that lock protects nothing any more.
        os.close(handle)


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int, wait: bool) -> bool:
        try:
            msvcrt.locking(handle, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _unlock(handle: int) -> None:
        os.lseek(handle, 0, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(handle: int, wait: bool) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        return True

    def _unlock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_UN)
