"""Exceptions that come of the machine and not of us: no memory, libraries or disks that fail, nowhere for files."""

from __future__ import annotations

import errno
import importlib.metadata
import re
import sys
import traceback
from pathlib import Path
from typing import TypeGuard

from napari_dinoad.errors import DinoadError, first_line
from napari_dinoad.machine.disk_room import DISK_FULL, room_in_words

__all__ = [
    "MORE_OPEN_FILES",
    "NAME_A_TEMPORARY_FOLDER",
    "TOO_MANY_OPEN",
    "MachineError",
    "fault_of_machine",
    "is_of_memory",
    "is_of_temporary_folder",
]

_OURS = "napari_dinoad"

_OUT_OF_MEMORY = re.compile(
    r"out of memory|can't allocate memory|cannot allocate memory(?: \(12\))?$|not enough memory"
    r"|CUBLAS_STATUS_NOT_INITIALIZED|unable to find an engine to execute"
    r"|failed to allocate|bad[ _]alloc|STATUS_ALLOC_FAILED|could not create a (?:primitive|memory)"
    r"|failed to map segment from shared object$|paging file is too small|can't start new thread",
    re.IGNORECASE | re.MULTILINE,
)
"""What PyTorch, C++, CUDA's libraries, oneDNN and the loaders of Linux and Windows say where memory is short.

cuBLAS says that it is not initialised where its handle finds no room, cuDNN that no engine can compute (PyTorch's
issue 108645) where none finds room to work.
oneDNN says only that it could not create something. A library that the system will not map for another reason
(no right to execute) is told with that reason behind.
"""

_MORE_MEMORY = (
    "Close other programs, use a smaller resolution or backbone, or raise the limit under which this one runs "
    "(ulimit -v, the memory that a batch job asked for)."
)


_MORE_GPU_MEMORY = (
    "Close other programs that use the GPU, use a smaller resolution or backbone, or use --device cpu."
)

_GPU = re.compile(r"CUDA|CUBLAS|CUDNN|CUSOLVER|CUFFT|\bHIP\b|\bMPS\b", re.IGNORECASE)


_DISK_NAMES = (
    "EIO", "ENXIO", "ENODEV", "ESTALE", "ENOTCONN", "EHOSTDOWN", "EHOSTUNREACH", "ETIMEDOUT", "EREMOTEIO",
    "ENOSPC", "EDQUOT", "EROFS",
)  # fmt: skip
_OF_DISK = {getattr(errno, name) for name in _DISK_NAMES if hasattr(errno, name)}
"""What systems say where a disk fails or is full, a drive was taken out, or the server of a network drive is gone."""

TOO_MANY_OPEN = (errno.EMFILE, errno.ENFILE)
"""Numbers of errors by which a system says that a process, or all of them, have as many files open as they may."""

MORE_OPEN_FILES = (
    "Close other programs, or raise the limit of open files under which this one runs (ulimit -n)."
)
"""What to do about that."""

_NO_TEMPORARY_FOLDER = re.compile("No usable temporary directory")
"""What Python's `tempfile` says where no usual place can be written, as in a container that is read-only."""

NAME_A_TEMPORARY_FOLDER = "Name a folder that can be written in the environment variable TMPDIR."
"""What to do about that."""


class MachineError(DinoadError):
    """The machine lacks what is needed: memory, a library that can be loaded, a disk that works."""


def fault_of_machine(error: Exception) -> MachineError | None:
    """Return what to tell of an exception that a machine without memory or with a damaged installation raises.

    Whatever a library raises while it is loaded counts: mostly that is ImportError, on Windows OSError, and where
    memory is short anything. None of any other exception than those, what a system says of its disks, and a name that
    the locale has no letters for.
    """
    told, is_short = first_line(error), is_of_memory(error)
    if is_of_temporary_folder(error):
        return _caused(error, f"{error.strerror}. {NAME_A_TEMPORARY_FOLDER}")
    if isinstance(error, UnicodeEncodeError) and _is_of_names(error):
        return _caused(
            error,
            f"The file name {error.object!a} cannot be written in {sys.getfilesystemencoding()}, the encoding of "
            "this system's locale. Run the same with the environment variable PYTHONUTF8=1, or rename the file.",
        )
    library = _library_being_loaded(error)
    if library is None and not is_short:
        return _fault_of_disk(error)
    if library is None:
        is_of_gpu = _GPU.search(str(error)) is not None
        return _caused(
            error,
            f"The GPU's memory is used up ({told}). {_MORE_GPU_MEMORY}"
            if is_of_gpu
            else f"Memory is used up ({told}). {_MORE_MEMORY}",
        )
    if is_short:
        # By the name that it is imported by: looking for its package's takes tens of MB.
        name, advice = library, f"there is too little memory for it. {_MORE_MEMORY}"
    else:
        name = next(iter(importlib.metadata.packages_distributions().get(library, ())), library)
        advice = (
            "it is missing, damaged, or built for another machine. Install it anew, for instance with: "
            f"pip install --force-reinstall {name}"
        )
    return _caused(error, f"{name} cannot be loaded ({told}): {advice}")


def _is_of_names(error: UnicodeEncodeError) -> bool:
    """Whether a text could not be given to the system as a name; in UTF-8 all can that are names."""
    names = sys.getfilesystemencoding()
    try:
        error.object.encode(names, sys.getfilesystemencodeerrors())
    except UnicodeEncodeError as same:
        # Encodings of one byte a letter all call themselves "charmap" there.
        return names != "utf-8" and same.encoding == error.encoding
    return False


def _caused(error: Exception, told: str) -> MachineError:
    fault = MachineError(told)
    fault.__cause__ = error
    return fault


def _fault_of_disk(error: Exception) -> MachineError | None:
    if not isinstance(error, OSError):
        return None
    what = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if error.errno in TOO_MANY_OPEN:
        advice = MORE_OPEN_FILES
    elif error.errno == errno.ENAMETOOLONG:
        advice = "Choose a shorter name."
    elif error.errno in _OF_DISK:
        advice = (
            "See whether the disk or the network drive is there, works and has room, and run the same again."
        )
    else:
        return None
    if error.errno in DISK_FULL and isinstance(error.filename, str):
        advice += f" {room_in_words(error, Path(error.filename).parent)}"
    return _caused(error, f"{what}. {advice}")


def _library_being_loaded(error: Exception) -> str | None:
    """Return the package that could not be imported, or raised the error meanwhile; None where there is none."""
    if isinstance(error, ModuleNotFoundError) and error.name is not None:
        package = error.name.partition(".")[0]
        return None if package == _OURS else package
    foreign: list[str] = []
    is_loading = False
    for frame, _ in traceback.walk_tb(error.__traceback__):
        name = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if name == _OURS:
            foreign, is_loading = [], False
        else:
            foreign.append(name)
            is_loading |= frame.f_code.co_name == "<module>"
    if is_loading:
        return foreign[0]
    # A library that is nothing but a binary file raises it in no frame of its own.
    is_binary = isinstance(error, ImportError) and error.path is not None and not error.path.endswith(".py")
    return error.name if is_binary and isinstance(error, ImportError) else None


def is_of_memory(error: Exception) -> bool:
    """Whether an exception says that memory is used up, of whatever library."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return isinstance(error, ImportError | OSError | RuntimeError) and bool(_OUT_OF_MEMORY.search(str(error)))


def is_of_temporary_folder(error: Exception) -> TypeGuard[FileNotFoundError]:
    """Whether an exception says that no folder for temporary files can be written."""
    return isinstance(error, FileNotFoundError) and bool(_NO_TEMPORARY_FOLDER.search(str(error)))
