"""Files that are there: which a folder holds, whether they can be read, and whether they have changed."""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import suppress
from pathlib import Path

from napari_dinoad.errors import DinoadError

__all__ = [
    "files_below",
    "is_special",
    "require_readable",
    "resolved",
    "sha256_of_file",
    "version_of",
]


def files_below(folder: Path) -> list[Path]:
    """Return the files in a folder and its subfolders, sorted; hidden ones, and what may not be looked at, are not.

    Links to files are followed, links to folders are not.
    """
    found, waiting = [], [folder]
    while waiting:
        with suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                with suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(Path(entry))
                    elif entry.is_file():
                        found.append(Path(entry))
    return sorted(found)


def resolved(path: Path) -> Path:
    """Return where a path leads; where links lead in a circle, as far as they can be followed.

    Of those `Path.resolve` makes a RuntimeError before Python 3.13.
    """
    return Path(os.path.realpath(path))


def is_special(path: Path) -> bool:
    """Whether it is a pipe, a socket or a device: opening one may wait for ever, and reading it find no end."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def require_readable(path: Path, error: type[DinoadError] = DinoadError) -> None:
    """Refuse, with ``error``, a file that may not be opened: libraries tell it as missing, or as damaged."""
    try:
        path.open("rb").close()
    except OSError as refused:
        raise error(
            f"{path}: cannot be opened ({refused.strerror or refused}). Ask for access, or close the program that "
            "holds it."
        ) from refused


def version_of(path: Path) -> object:
    """Return what is another one as soon as a file has been replaced or written; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 (hex) of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
