"""Which model files can be read. Needs no torch, so that the interface can look at a file before it is loaded."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from napari_dinoad import __version__
from napari_dinoad.errors import ModelFileError, first_line
from napari_dinoad.machine.file_names import MODEL_SUFFIX
from napari_dinoad.settings import MODEL_FORMAT_VERSION

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["METADATA_KEY", "are_volumes", "fault_of_file", "fault_of_other_version", "require_format"]

logger = logging.getLogger(__name__)

METADATA_KEY = "napari_dinoad"
"""Under which the JSON document lies in the metadata of a model file."""

_SLICES_OF_VOLUMES = 2
"""Normal scans of at least so many slices on average are volumes."""

_UPGRADE = "Upgrade napari-dinoad, or fit the model again with this version."


def are_volumes(n_scans: int, n_slices: int, n_planes: int) -> bool:
    """Whether the normal scans behind a model are volumes, by the slices that they have in its planes."""
    return n_slices >= _SLICES_OF_VOLUMES * n_planes * n_scans


def fault_of_file(path: Path, error: Exception) -> ModelFileError:
    """Return what to tell of a file that a library cannot read as a model; the library's own words are logged."""
    logger.info("%s: %s: %s", path, type(error).__name__, first_line(error))
    if isinstance(error, OSError) and error.strerror:
        return ModelFileError(
            f"{path}: cannot be read ({error.strerror}). Copy it to another disk, or fit it again."
        )
    return ModelFileError(
        f"{path}: not a model of napari-dinoad, or one that is damaged or cut short. Choose a {MODEL_SUFFIX} "
        "file, copy this one again, or fit it again."
    )


def require_format(path: Path, document: object) -> None:
    """Refuse a model file whose layout has another version; `ModelFileError` says what to do.

    Parameters
    ----------
    path : Path
    document : object
        The JSON document in the file, of whatever form.
    """
    version = document.get("format_version") if isinstance(document, Mapping) else None
    if version == MODEL_FORMAT_VERSION:
        return
    told = f"{path}: model format: expected version {MODEL_FORMAT_VERSION}, got {version!r}"
    if not isinstance(version, int):
        raise ModelFileError(f"{told}. Copy the file again, or fit the model again.")
    if version > MODEL_FORMAT_VERSION:
        raise ModelFileError(f"{told}: {_written_by(document, is_newer=True)} {_UPGRADE}")
    raise ModelFileError(
        f"{told}: it was written by an earlier version of napari-dinoad. Fit the model again, or use the "
        "version of napari-dinoad that wrote it."
    )


def fault_of_other_version(path: Path, document: object, why: object) -> ModelFileError:
    """Return what to tell of a whole model file of our format that this version cannot use as it is.

    Parameters
    ----------
    path : Path
    document : object
        The JSON document in the file.
    why : object
        What is not known or not there, for the log.
    """
    logger.info("%s: %s", path, why)
    is_newer = _numbers(_writer(document)) > _numbers(__version__)
    return ModelFileError(
        f"{path}: {_written_by(document, is_newer=is_newer)} It is whole, but holds what this version does not "
        f"know, or lacks what it needs. {_UPGRADE}"
    )


def _written_by(document: object, *, is_newer: bool) -> str:
    writer = _writer(document)
    which = f" ({writer}; this is {__version__})" if writer not in ("", __version__) else ""
    return f"it was written by {'a newer' if is_newer else 'another'} version of napari-dinoad{which}."


def _writer(document: Any) -> str:
    """Return the version of the package that wrote a model, or nothing where the file does not say it."""
    try:
        return str(document["provenance"]["versions"]["napari-dinoad"])
    except (LookupError, TypeError):
        return ""


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]
