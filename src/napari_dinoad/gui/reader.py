"""The npe2 reader: NIfTI with its geometry, and 2D images for "Open study…"."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dinoad.gui.layers import ScanSource, layer_of_volume, source_layer
from napari_dinoad.images.readers import NIFTI_SUFFIXES, open_nifti, read_volume

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["get_reader", "read_layers"]

LayerTuple = tuple[np.ndarray, dict[str, Any], str]


def get_reader(path: str | list[str]) -> Callable[[str | list[str]], list[LayerTuple]] | None:
    """Return a reader when every path is a NIfTI file, else None (npe2 reader contribution)."""
    paths = [path] if isinstance(path, str) else list(path)
    if not paths or not all(str(p).lower().endswith(NIFTI_SUFFIXES) for p in paths):
        return None
    return _read_all


def _read_all(path: str | list[str]) -> list[LayerTuple]:
    paths = [path] if isinstance(path, str) else path
    return [layer for p in paths for layer in read_layers(p)]


def read_layers(path: str | Path) -> list[LayerTuple]:
    """Read one scan as layer data tuples.

    Raises
    ------
    ScanReadError
        If the file cannot be read; the message names it and says why.
    """
    path = Path(path)
    if path.name.lower().endswith(NIFTI_SUFFIXES) and path.is_file():
        n_frames = int(np.prod(open_nifti(path).shape[3:], dtype=int))
        if n_frames > 1:
            return [_read_series(path, n_frames)]
    return [layer_of_volume(read_volume(path))]


def _read_series(path: Path, n_frames: int) -> LayerTuple:
    """Return a 4D layer (frame, z, y, x); the file is unpacked once for all frames."""
    first = read_volume(path, frame=0)
    stored = np.asanyarray(open_nifti(path).dataobj)
    stored = stored.reshape(*stored.shape[:3], n_frames)
    frames = [first.geometry.to_canonical(stored[..., frame]) for frame in range(n_frames)]
    source = ScanSource(first.geometry, first.name, first.header, first.full_scale)
    return source_layer(np.stack(frames), source)
