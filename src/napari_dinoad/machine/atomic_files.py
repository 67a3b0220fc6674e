"""Writing files so that nothing half-written ever lies under a final name."""

from __future__ import annotations

import errno
import json
import os
import sys
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_dinoad.errors import DinoadError, FileInUseError
from napari_dinoad.machine.disk_room import DISK_FULL, room_in_words
from napari_dinoad.machine.faults import MORE_OPEN_FILES, TOO_MANY_OPEN
from napari_dinoad.machine.file_names import stem_of
from napari_dinoad.machine.file_set import current_file_set
from napari_dinoad.machine.files import is_special
from napari_dinoad.machine.retries import patiently
from napari_dinoad.machine.temporaries import temporary_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "CLOSE_IT",
    "atomic_path",
    "folder_to_fill",
    "require_folder",
    "require_writable",
    "telling_of_writing",
    "write_json",
    "write_text",
]


@contextmanager
def atomic_path(path: Path, folder: Path | None = None, n_bytes: int | None = None) -> Iterator[Path]:
    """Give a temporary path that takes the name ``path`` when the block ends well.

    The temporary name keeps the ending, because writers choose the format by it. When the block
    raises, the temporary file is removed and an existing ``path`` stays as it was. A killed process leaves it:
    see `napari_dinoad.machine.temporaries.remove_abandoned`. Before the file has its name, what is in it is on the
    disk, so that no power cut leaves an empty one. Within `napari_dinoad.machine.file_set.written_together` it gets
    the name at the end of that block.

    Parameters
    ----------
    path : Path
        The final name.
    folder : Path, optional
        Where the temporary file lies until then, on the same file system; None: beside ``path``.
    n_bytes : int, optional
        How large it will be, where that is known: it is told where the disk is full.
    """
    path = Path(path)
    suffix = path.name[len(stem_of(path)) :]
    with ExitStack() as stack:
        try:
            temporary = stack.enter_context(temporary_file(folder or path.parent, suffix))
        except OSError as error:
            raise _refusal(path, error, folder or path.parent, n_bytes) from error
        with telling_of_writing(path, temporary, n_bytes):
            yield temporary
        files = current_file_set()
        if files is None:
            _force(temporary, path)
            _give_name(temporary, path)
        else:
            files.take(
                path,
                partial(_force, temporary, path),
                partial(_require_replaceable, path),
                partial(_give_name, temporary, path),
                stack.pop_all(),
            )


def _force(temporary: Path, path: Path) -> None:
    """Have what will be the file ``path`` on the disk."""
    with telling_of_writing(path, temporary), temporary.open("rb+") as stream:
        os.fsync(stream.fileno())


CLOSE_IT = "If another program has the file open, close it there; else choose another folder."
"""What to do about a file that may not be replaced or removed."""

_WAITS_S: tuple[float, ...] = (0.05, 0.1, 0.2, 0.4) if sys.platform == "win32" else ()
"""Virus scanners and search indexes of Windows open what was just written, and for that moment it keeps its name."""


def _require_replaceable(path: Path) -> None:
    """Refuse a file that is there and that another program holds open or, on Windows, that is read only."""
    if not _is_there(path):
        return
    with telling_of_writing(path):
        if sys.platform == "win32":
            _patiently(lambda: path.open("rb+").close())
        _patiently(partial(path.replace, path))


def _is_there(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113  (never raises)


def _give_name(temporary: Path, path: Path) -> None:
    with telling_of_writing(path):
        _patiently(partial(temporary.replace, path))


def _patiently(act: Callable[[], object]) -> None:
    patiently(act, PermissionError, _WAITS_S)


@contextmanager
def telling_of_writing(
    path: Path, temporary: Path | None = None, n_bytes: int | None = None
) -> Iterator[None]:
    """Tell a system's error inside the block as a `DinoadError` of writing ``path``, with what to do.

    The block begins where it is known that the folder takes files; of one that is there, permission is denied where
    another program holds it (`FileInUseError`).

    Parameters
    ----------
    path : Path
    temporary : Path, optional
        What is written until it is whole, and goes where it cannot be.
    n_bytes : int, optional
        See `atomic_path`.
    """
    try:
        yield
    except OSError as error:
        told = error
        # Pydicom raises them anew, without the number by which one knows what is wrong.
        while told.errno is None and isinstance(told.__cause__, OSError):
            told = told.__cause__
        if isinstance(told, PermissionError):
            kind = FileInUseError if _is_there(path) else DinoadError
            raise kind(f"Cannot write {path}: {told.strerror or told}. {CLOSE_IT}") from error
        raise _refusal(path, told, path.parent, n_bytes, temporary) from error


def require_writable(path: Path) -> None:
    """Refuse a file that could not be written, before the work whose result it is to hold.

    Raises
    ------
    DinoadError
        If its folder does not exist or takes no file, or it is a folder itself, or a device, or may not be replaced.
    """
    if is_special(path):
        raise DinoadError(f"Cannot write {path}: it is a pipe, a socket or a device. Choose another name.")
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        _try_writing(path.parent)
    except OSError as error:
        raise _refusal(path, error, path.parent) from error
    _require_replaceable(path)


def _try_writing(folder: Path) -> None:
    # A real file: permissions tell neither of read-only disks nor of network shares. Not Python's `tempfile`: where
    # Windows refuses one, it tries two thousand million other names (before 3.11.8 and 3.12.2).
    with temporary_file(folder, ""):
        pass


def _refusal(
    what: Path | str, error: OSError, folder: Path, n_bytes: int | None = None, temporary: Path | None = None
) -> DinoadError:
    """Return what to tell of a file that cannot be written."""
    told = f"Cannot write {what}: {error.strerror or error}. {_advice(error, folder)}"
    if error.errno in DISK_FULL:
        written_bytes = 0
        with suppress(OSError):
            written_bytes = 0 if temporary is None else temporary.stat().st_size
        told += f" {room_in_words(error, folder, n_bytes, written_bytes)}"
    return DinoadError(told)


_LONG_FOLDER = 200
"""Characters of a folder's path from which on what is written in it may have a path that is too long for Windows."""


def _advice(error: OSError, folder: Path) -> str:
    if error.errno == errno.ENOENT and sys.platform == "win32" and len(str(folder.absolute())) > _LONG_FOLDER:
        return "Choose a shorter path: Windows takes 260 characters, unless long paths are switched on."
    if error.errno == errno.EISDIR:
        return "Name a file in it."
    if error.errno == errno.ENAMETOOLONG:
        return "Choose a shorter name."
    if error.errno in TOO_MANY_OPEN:
        return MORE_OPEN_FILES
    if error.errno in DISK_FULL:
        return "Free disk space or choose another folder."
    if error.errno == errno.EFBIG:
        return "Choose a folder on a disk that takes files of this size (FAT32 ends at 4 GB)."
    return "Choose a folder that exists and is writable."


def require_folder(folder: Path) -> Path:
    """Make ``folder`` (and its parents) if needed and return it; refuse one that cannot be made or takes no file."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DinoadError(
            f"Cannot make the folder {folder}: {error.strerror or error}. Choose another place."
        ) from error
    try:
        _try_writing(folder)
    except OSError as error:
        raise _refusal(f"into {folder}", error, folder) from error
    return folder


@contextmanager
def folder_to_fill(folder: Path) -> Iterator[Path]:
    """Make ``folder`` as `require_folder` does; in the end what was made and is still empty is removed again."""
    made = [path for path in (folder, *folder.parents) if not os.path.exists(path)]  # noqa: PTH110  (never raises)
    try:
        yield require_folder(folder)
    finally:
        with suppress(OSError):
            for path in made:
                path.rmdir()


def write_text(path: Path, text: str) -> None:
    r"""Write ``text`` as UTF-8, atomically; of names that are not UTF-8 the odd bytes as ``\udcfc``."""
    with atomic_path(path, n_bytes=len(text.encode(errors="backslashreplace"))) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, document: Any) -> None:
    """Write a JSON document, atomically; NaN and infinity are refused."""
    write_text(path, json.dumps(document, indent=2, allow_nan=False) + "\n")
