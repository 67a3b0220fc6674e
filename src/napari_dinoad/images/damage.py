"""What libraries raise over damaged files → `ScanReadError` that names the file."""

from __future__ import annotations

import struct
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING

from napari_dinoad.errors import DinoadError, GeometryError, ScanReadError, first_line
from napari_dinoad.machine.files import require_readable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["DAMAGED", "RENAME_DICOM", "is_dicom_inside", "naming"]

RENAME_DICOM = "Its content is DICOM: give its name the ending .dcm, or none."
"""What to do about a file with the ending of another format."""

_DICOM_PREAMBLE = 128

DAMAGED = (
    OSError, EOFError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError, SyntaxError,
    NotImplementedError, RecursionError, MemoryError, struct.error, zlib.error,
)  # fmt: skip
"""What the readers' libraries raise over damaged files, beside errors of their own: they trust what a header says."""


@contextmanager
def naming(path: Path, kind: str, *also: type[Exception]) -> Iterator[None]:
    """Tell what goes wrong while one file is read as `ScanReadError` with its name, so that a batch can go on.

    Parameters
    ----------
    path : Path
        The file.
    kind : str
        What it was taken for, as in "not a readable NIfTI file".
    *also : type
        What the library raises of its own, beside `DAMAGED`.

    Raises
    ------
    ScanReadError
        From the library's error, which stays its cause: a fault of ours looks the same to the user.
    """
    damaged: tuple[type[Exception], ...] = (*DAMAGED, *also)
    try:
        yield
    except GeometryError as error:
        raise ScanReadError(f"{path}: {error}") from error
    except DinoadError:
        raise
    except MemoryError as error:
        raise ScanReadError(
            f"{path}: not a readable {kind}: larger than this machine's memory, or damaged."
        ) from error
    except damaged as error:
        if isinstance(error, OSError) and error.strerror:
            raise ScanReadError(f"{path}: cannot be read ({error.strerror}).") from error
        if path.is_file():
            # Libraries tell a file that may not be opened as a damaged one.
            require_readable(path, ScanReadError)
        remedy = RENAME_DICOM if is_dicom_inside(path) else "Export or download it again."
        raise ScanReadError(f"{path}: not a readable {kind} ({_reason(error, path)}). {remedy}") from error


def is_dicom_inside(path: Path) -> bool:
    """Whether a file is DICOM by its content, and has a preamble; one that cannot be opened is not."""
    try:
        with path.open("rb") as stream:
            return stream.read(_DICOM_PREAMBLE + 4).endswith(b"DICM")
    except OSError:
        return False


def _reason(error: Exception, path: Path) -> str:
    """Return the first line of a message, or the error's type too where that is but a word: ``KeyError: 282``."""
    told, kind = first_line(error).rstrip(".").replace(str(path), path.name), type(error).__name__
    return told if " " in told or told == kind else f"{kind}: {told}".removesuffix(": ")
