"""A lock on a folder or a file that the system releases when its process ends, however it ends."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from napari_dinoad.errors import DinoadError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Lock", "LockedError", "locked"]


class LockedError(DinoadError):
    """Another process holds the lock."""


class Lock:
    """A lock that is held; its file may be removed by whoever holds it, and by nobody else."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_left = False

    def remove(self) -> None:
        """Remove the file: now, or where no open file can be removed (Windows) as soon as the lock is released."""
        try:
            self._path.unlink(missing_ok=True)
        except PermissionError:
            self._is_left = True

    def remove_if_left(self) -> None:
        """Do what `remove` could not; where another process has opened the file meanwhile, the file stays."""
        if self._is_left:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)


@contextmanager
def locked(path: Path, *, wait: bool, may_be_of_others: bool = False) -> Iterator[Lock]:
    """Hold the lock file ``path``, made if needed.

    Parameters
    ----------
    path : Path
    wait : bool
        Whether to wait until another process releases it.
    may_be_of_others : bool
        Whether a file of another person, which may be read only, is held too.

    Raises
    ------
    LockedError
        If another process holds it and ``wait`` is False.
    DinoadError
        If the file cannot be made or locked.
    """
    handle = _hold(path, wait, may_be_of_others)
    lock = Lock(path)
    try:
        yield lock
    finally:
        _unlock(handle)
        os.close(handle)
        lock.remove_if_left()


def _hold(path: Path, wait: bool, may_be_of_others: bool) -> int:
    while True:
        try:
            handle = _opened(path, may_be_of_others)
        except OSError as error:
            raise DinoadError(
                f"Cannot write {path}: {error.strerror or error}. Choose another folder (--cache)."
            ) from error
        try:
            is_held = _lock(handle, wait)
        except OSError as error:
            os.close(handle)
            raise DinoadError(
                f"Cannot lock {path}: {error.strerror or error}. Choose a folder on a disk of this machine (--cache)."
            ) from error
        if not is_held:
            os.close(handle)
            raise LockedError(
                "The same fit is already running in another process. Wait for it, end it, or give this one another "
                "folder (--cache)."
            )
        if _is_at(handle, path):
            return handle
        # Removed by its last holder while this process waited for it: that lock protects nothing any more.
        os.close(handle)


def _opened(path: Path, may_be_of_others: bool) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError:
        if not may_be_of_others:
            raise
        return os.open(path, os.O_RDONLY)


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int, wait: bool) -> bool:
        mode = msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK
        # How a lock that another holds is told; waiting for it ends after ten seconds.
        busy = errno.EDEADLK if wait else errno.EACCES
        while True:
            try:
                msvcrt.locking(handle, mode, 1)
            except OSError as error:
                if error.errno != busy:
                    raise
                if not wait:
                    return False
            else:
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
