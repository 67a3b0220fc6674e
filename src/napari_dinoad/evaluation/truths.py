"""Mask files of benchmarks → truth on the scan's grid, and both at the resolution that a protocol asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageSequence

from napari_dinoad.errors import ScanReadError, SettingError
from napari_dinoad.files import ITK_SUFFIXES, MGH_SUFFIXES, NIFTI_SUFFIXES
from napari_dinoad.images.image_pixels import open_image, stored_pixels
from napari_dinoad.images.itk_files import read_itk
from napari_dinoad.images.nifti_files import read_nifti

if TYPE_CHECKING:
    from pathlib import Path

    from napari_dinoad.images.volume import Geometry, Volume
    from napari_dinoad.settings import EvaluationProtocol

__all__ = ["PROTOCOL_PX", "at_protocol", "read_truth", "require_protocol"]

PROTOCOL_PX: dict[str, int] = {"ar240": 240, "bmad224": 224}
"""Side of the square to which maps and truths are brought."""

_AFFINE_TOLERANCE_MM = 1e-3
"""Masks whose affine is farther than this from the scan's lie on another grid."""


def read_truth(path: Path | None, source: Volume) -> np.ndarray:
    """Return the truth on the grid of a scan: (z, y, x) bool, True where the mask is above 0.

    A mask may be stored in another orientation or format than its scan, if its voxels lie where the scan's do.
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
    if path.name.lower().endswith((*NIFTI_SUFFIXES, *MGH_SUFFIXES)):
        return _on_grid(read_nifti(path), geometry, path)
    if path.name.lower().endswith(ITK_SUFFIXES):
        return _on_grid(read_itk(path), geometry, path)
    stored = _read_picture(path)
    if stored.shape != geometry.shape:
        raise _other_shape(path, geometry.shape, stored.shape)
    return np.ascontiguousarray(geometry.to_canonical(stored))


def _on_grid(mask: Volume, geometry: Geometry, path: Path) -> np.ndarray:
    has_shape = mask.values.shape == geometry.canonical_shape
    if not has_shape and sorted(mask.geometry.shape) != sorted(geometry.shape):
        raise _other_shape(path, geometry.shape, mask.geometry.shape)
    if mask.geometry.is_physical and geometry.is_physical:
        distance = float(np.abs(mask.geometry.canonical_affine - geometry.canonical_affine).max())
        if distance > _AFFINE_TOLERANCE_MM:
            raise ScanReadError(
                f"{path}: the mask lies on another grid than its scan (affines differ by {distance:.3g} mm)."
            )
    if not has_shape:
        raise _other_shape(path, geometry.canonical_shape, mask.values.shape)
    return mask.values > 0


def _read_picture(path: Path) -> np.ndarray:
    with open_image(path, "mask") as image:
        pages = [stored_pixels(page) for page in ImageSequence.Iterator(image)]
    marked = [_marked(page) for page in pages]
    if any(page.shape != marked[0].shape for page in marked):
        raise ScanReadError(f"{path}: expected pages of one size, got several.")
    return np.stack(marked) if len(marked) > 1 else marked[0]


def _marked(pixels: np.ndarray) -> np.ndarray:
    if pixels.ndim == 3:
        # The last of two or four channels is alpha.
        colours = pixels[..., :-1] if pixels.shape[-1] in (2, 4) else pixels
        return np.asarray((colours > 0).any(axis=-1))
    return pixels > 0


def _other_shape(path: Path, expected: tuple[int, ...], got: tuple[int, ...]) -> ScanReadError:
    return ScanReadError(f"{path}: expected a mask of the scan's shape {expected}, got {got}.")


def require_protocol(shape: tuple[int, ...], protocol: EvaluationProtocol) -> None:
    """Refuse a volume where the protocol is for single slices, by `SettingError`."""
    if protocol != "native" and 1 not in shape:
        raise SettingError(
            f"Protocol {protocol}: expected 2D images, got a volume of shape {shape}. Use native."
        )


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
    require_protocol(scores.shape, protocol)
    if protocol == "native":
        return scores, truth
    axis = scores.shape.index(1)
    size = (PROTOCOL_PX[protocol],) * 2
    resized = Image.fromarray(scores.squeeze(axis).astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
    marked = Image.fromarray(truth.squeeze(axis).astype(np.uint8)).resize(size, Image.Resampling.NEAREST)
    return np.asarray(resized)[np.newaxis], np.asarray(marked)[np.newaxis] > 0
