"""How much room a disk has, for messages of one that is full."""

from __future__ import annotations

import errno
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["DISK_FULL", "bytes_in_words", "is_of_full_disk", "room_in_words"]

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
"""Numbers of errors by which a system says that a disk, or the share of it that a user may fill, is full."""


def is_of_full_disk(error: BaseException | None) -> bool:
    """Whether an error, or what it comes from, says that a disk is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            return True
        error = error.__cause__
    return False


def room_in_words(error: OSError, folder: Path, n_bytes: int | None = None, written_bytes: int = 0) -> str:
    """Return a sentence on the room for a file on a full disk: how much there is, where, and how much is needed.

    Parameters
    ----------
    error : OSError
        A number of `DISK_FULL`.
    folder : Path
        That of the file.
    n_bytes : int, optional
        Its size, where that is known.
    written_bytes : int
        What has been written of it, and goes again.
    """
    if error.errno == errno.EDQUOT:
        # How much is left of a share, no system tells alike.
        room = f"Your share of the disk of {folder} is used up"
    else:
        try:
            free_bytes = shutil.disk_usage(folder).free + written_bytes
        except OSError:
            return f"It is the disk of {folder}."
        room = f"The disk of {folder} has {bytes_in_words(free_bytes)} free"
    needed = "" if n_bytes is None else f", and {bytes_in_words(n_bytes)} are needed"
    return f"{room}{needed}."


def bytes_in_words(n_bytes: int) -> str:
    """Return a size for people, in decimal units."""
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if n_bytes >= size:
            return f"{n_bytes / size:.3g} {unit}"
    return f"{n_bytes / 1e3:.3g} kB"
