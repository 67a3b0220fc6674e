"""Files and folders under temporary names beside their place: made, and swept where a killed process left them."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["remove_abandoned", "temporary_file", "temporary_folder"]

_PREFIX = ".dinoad-"

_NAME = re.compile(r"\.dinoad-[0-9a-z_]{8,16}(-[0-9a-z_]{8})?(\..*)?", re.DOTALL)
"""Ours, and those of earlier versions."""

_ABANDONED_S = 86_400
"""Where no lock tells whether a process is still writing it, what was not changed for so long is left over."""


@contextmanager
def temporary_file(folder: Path, suffix: str) -> Iterator[Path]:
    """Make an empty file, with the rights that new files have, and remove it in the end if it still has its name.

    Raises
    ------
    OSError
        If the folder takes none.
    """
    path = folder / f"{_PREFIX}{secrets.token_hex(8)}{suffix}"
    handle = None
    # Within it from the beginning: Ctrl-C may come as soon as the file is there.
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        if not _lock(handle):
            # Ctrl-C may come as soon as it is closed: it must not be closed again.
            closed, handle = handle, None
            os.close(closed)
        yield path
    finally:
        try:
            if handle is not None:
                os.close(handle)
        finally:
            # Windows removes no open file, and what a library leaves open when it fails must not hide why it failed.
            with suppress(OSError):
                path.unlink(missing_ok=True)


@contextmanager
def temporary_folder(folder: Path) -> Iterator[Path]:
    """Make an empty folder, and remove it in the end with all that is in it.

    Raises
    ------
    OSError
        If the folder cannot be made.
    """
    path = folder / f"{_PREFIX}{secrets.token_hex(8)}"
    handle = None
    try:
        path.mkdir()
        if sys.platform != "win32":
            handle = os.open(path, os.O_RDONLY)
            _lock(handle)
        yield path
    finally:
        if handle is not None:
            os.close(handle)
        shutil.rmtree(path, ignore_errors=True)


def remove_abandoned(folder: Path) -> None:
    """Remove what killed processes were writing in a folder, and nothing that one is writing now."""
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if _NAME.fullmatch(entry.name)]
    except OSError:
        return
    for entry in found:
        with suppress(OSError):
            if entry.is_file(follow_symlinks=False) and _is_abandoned(entry, os.O_RDWR):
                Path(entry).unlink()
            elif entry.is_dir(follow_symlinks=False) and _is_abandoned(entry, os.O_RDONLY):
                shutil.rmtree(entry)


def _is_abandoned(entry: os.DirEntry[str], mode: int) -> bool:
    if sys.platform != "win32":
        handle = os.open(entry, mode | os.O_NOFOLLOW)
        try:
            is_free = _lock(handle)
        except BlockingIOError:
            return False
        finally:
            os.close(handle)
        if is_free:
            return True
    return time.time() - entry.stat(follow_symlinks=False).st_mtime > _ABANDONED_S


if sys.platform == "win32":

    def _lock(_: int) -> bool:
        """Return False: what is locked there, nobody else can write."""
        return False

else:
    import fcntl

    def _lock(handle: int) -> bool:
        """Lock a file or folder until it is closed; return whether this disk has locks.

        Raises
        ------
        BlockingIOError
            If another process has locked it.
        """
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:
            return False
        return True
