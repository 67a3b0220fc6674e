"""Which model files can be read. Needs no torch, so that the interface can look at a file before it is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_dinoad.errors import ModelFileError
from napari_dinoad.settings import MODEL_FORMAT_VERSION

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["require_format"]


def require_format(path: Path, version: object) -> None:
    """Refuse a model file whose layout has another version; `ModelFileError` says what to do."""
    if version != MODEL_FORMAT_VERSION:
        raise ModelFileError(
            f"{path}: model format: expected version {MODEL_FORMAT_VERSION}, got {version!r}. "
            "Fit the model again, or use the version of napari-dinoad that wrote it."
        )
