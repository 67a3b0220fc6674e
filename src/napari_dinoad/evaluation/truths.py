"""Mask files of benchmarks → truth on the scan's grid, and both at the resolution that a protocol asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, UnidentifiedImageError

from napari_dinoad.errors import ScanReadError, SettingError
from napari_dinoad.files import NIFTI_SUFFIXES
from napari_dinoad.images.nifti_files import open_nifti

if TYPE_CHECKING:
    from pathlib import Path

    from napari_dinoad.images.volume import Volume
    from napari_dinoad.settings import EvaluationProtocol

__all__ = ["PROTOCOL_PX", "at_protocol", "read_truth"]

PROTOCOL_PX: dict[str, int] = {"ar240": 240, "bmad224": 224}
"""Side of the square to which maps and truths are brought."""

_AFFINE_TOLERANCE_MM = 1e-3
"""Masks whose affine is farther than this from the scan's lie on another grid."""


def read_truth(path: Path | None, source: Volume) -> np.ndarray:
    """Return the truth on the grid of a scan: (z, y, x) bool, True where the mask is above 0.

    Colours count as marked where red, green or blue is above 0; an alpha channel is ignored. Without a mask nothing
    is abnormal.

    Raises
    ------
    ScanReadError
        If the mask cannot be read or does not lie on the scan's grid.
    """
    geometry = source.geometry
    if path is None:
        return np.zeros(geometry.canonical_shape, dtype=bool)
    if path.name.lower().endswith(NIFTI_SUFFIXES):
        stored = _read_nifti(path, source)
    else:
        stored = _read_image(path)
    if stored.shape != geometry.shape:
        raise ScanReadError(
            f"{path}: expected a mask of the scan's shape {geometry.shape}, got {stored.shape}."
        )
    return np.ascontiguousarray(geometry.to_canonical(stored))


def _read_nifti(path: Path, source: Volume) -> np.ndarray:
    image = open_nifti(path)
    if source.geometry.is_physical:
        distance = float(np.abs(np.asarray(image.affine) - source.geometry.affine).max())
        if distance > _AFFINE_TOLERANCE_MM:
            raise ScanReadError(
                f"{path}: the mask lies on another grid than its scan (affines differ by {distance:.3g} mm)."
            )
    try:
        return np.asarray(np.asanyarray(image.dataobj) > 0)
    except (OSError, EOFError, ValueError) as error:
        raise ScanReadError(f"{path}: the mask is damaged ({type(error).__name__}).") from error


def _read_image(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise ScanReadError(f"{path}: not a readable mask ({type(error).__name__}).") from error
    if pixels.ndim == 3:
        # The last of two or four channels is alpha.
        colours = pixels[..., :-1] if pixels.shape[-1] in (2, 4) else pixels
        return np.asarray((colours > 0).any(axis=-1))
    return pixels > 0


def at_protocol(
    scores: np.ndarray, truth: np.ndarray, protocol: EvaluationProtocol
) -> tuple[np.ndarray, np.ndarray]:
    """Return scores and truth (z, y, x) at the resolution of a protocol.

    ``native``: unchanged. Otherwise both are resized to a square, the scores bilinearly (a triangle filter where they
    shrink), the truth to the nearest pixel.

    Raises
    ------
    SettingError
        If the scan is no single slice and the protocol is not ``native``.
    """
    if protocol == "native":
        return scores, truth
    if 1 not in scores.shape:
        raise SettingError(
            f"Protocol {protocol}: expected 2D images, got a volume of shape {scores.shape}. Use native."
        )
    axis = scores.shape.index(1)
    size = (PROTOCOL_PX[protocol],) * 2
    resized = Image.fromarray(scores.squeeze(axis).astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
    marked = Image.fromarray(truth.squeeze(axis).astype(np.uint8)).resize(size, Image.Resampling.NEAREST)
    return np.asarray(resized)[np.newaxis], np.asarray(marked)[np.newaxis] > 0
