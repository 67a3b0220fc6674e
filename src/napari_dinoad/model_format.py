"""Which model files can be read. Needs no torch, so that the interface can look at a file before it is loaded."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from napari_dinoad.errors import ModelFileError, first_line
from napari_dinoad.files import MODEL_SUFFIX
from napari_dinoad.settings import MODEL_FORMAT_VERSION

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["fault_of_file", "require_format"]

logger = logging.getLogger(__name__)


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


def require_format(path: Path, version: object) -> None:
    """Refuse a model file whose layout has another version; `ModelFileError` says what to do."""
    if version != MODEL_FORMAT_VERSION:
        raise ModelFileError(
            f"{path}: model format: expected version {MODEL_FORMAT_VERSION}, got {version!r}. "
            "Fit the model again, or use the version of napari-dinoad that wrote it."
        )
