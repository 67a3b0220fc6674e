"""Mask files of benchmarks → truth on the scan's grid, and both at the resolution that a protocol asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from napari_dinoad.errors import ScanReadError, SettingError
from napari_dinoad.evaluation.mask_folders import masks_of_folder
from napari_dinoad.evaluation.placed_segments import mark_in_place
from napari_dinoad.images.itk.headers import holds_segments
from napari_dinoad.images.itk.reader import read_itk, read_itk_frames
from napari_dinoad.images.nifti_files import is_of_pixels, read_nifti
from napari_dinoad.images.pictures.pixels import open_image
from napari_dinoad.images.pictures.reader import read_image
from napari_dinoad.images.pictures.tiff import is_unknown_to_pillow
from napari_dinoad.images.readers import is_dicom, is_dicom_mask
from napari_dinoad.machine.file_names import format_of

if TYPE_CHECKING:
    from pathlib import Path

    from napari_dinoad.images.volume import Geometry, Volume
    from napari_dinoad.settings import EvaluationProtocol

__all__ = ["PROTOCOL_PX", "at_protocol", "read_truth", "require_protocol", "truth_notes"]

PROTOCOL_PX: dict[str, int] = {"ar240": 240, "bmad224": 224}
"""Side of the square to which maps and truths are brought."""

_AFFINE_TOLERANCE_MM = 1e-3
"""Masks whose affine is farther than this from the scan's lie on another grid."""

_LOSSY_SHARE = 0.5
"""Of a JPEG's brightest pixel: what is brighter counts as marked, since black is not 0 around an edge there."""

_TOLD_LOSSY = (
    "The mask is a JPEG, whose edges ring: marked is what is brighter than half of its brightest pixel."
)

_LARGEST_SHARE = 0.5
"""Abnormal in a larger share of a scan than lesions are: the mask may show what is normal."""

_TOLD_LARGE = (
    "More than half of its pixels are abnormal. Look whether the mask has black and white the other way."
)


def read_truth(path: Path | None, source: Volume) -> np.ndarray:
    """Return the truth on the grid of a scan: (z, y, x) bool, True where the mask is above 0.

    A mask may be stored in another orientation or format than its scan, if its voxels lie where the scan's do. Pixels
    without a place, and pictures as masks of a DICOM slice, are matched by rows and columns as they are stored. Of a
    segmentation in DICOM or by 3D Slicer all segments count; what one does not reach of the scan is normal.
    Pictures are read as scans are: palettes by their colours, which count as marked where red, green or blue is above
    0; an alpha channel is ignored. Of a JPEG only the brighter half counts. A folder is all pictures of masks in it,
    together. Without a mask nothing is abnormal.

    Raises
    ------
    ScanReadError
        If the mask cannot be read, does not lie on the scan's grid, or was drawn on another DICOM series.
    """
    geometry = source.geometry
    if path is None:
        return np.zeros(geometry.canonical_shape, dtype=bool)
    if format_of(path) == "nifti":
        return _on_grid(read_nifti(path), geometry, path)
    if format_of(path) == "itk":
        return _segments(path, geometry) if holds_segments(path) else _on_grid(read_itk(path), geometry, path)
    if is_dicom_mask(path):
        # highdicom is loaded for these alone.
        from napari_dinoad.evaluation.segmented_truths import read_segmented_truth

        return read_segmented_truth(path, source)
    parts = masks_of_folder(path) if path.is_dir() else []
    if parts:
        marked = read_truth(parts[0], source)
        for part in parts[1:]:
            marked |= read_truth(part, source)
        return marked
    if path.is_dir() or is_dicom(path):
        raise ScanReadError(
            f"{path}: expected a mask as a DICOM segmentation (SEG), NIfTI or a picture, found DICOM of another kind."
        )
    stored = _read_picture(path)
    if geometry.is_physical:
        if not source.dicom_files or not source.is_2d:
            raise ScanReadError(
                f"{path}: expected a mask that says where its voxels lie, as NIfTI does, for a scan in millimetres, "
                "got a picture."
            )
        # DICOM volumes are stored as (columns, rows).
        stored = stored.T
    if stored.shape != geometry.shape:
        raise _other_shape(path, geometry.shape, stored.shape)
    return np.ascontiguousarray(geometry.to_canonical(stored))


def _segments(path: Path, grid: Geometry) -> np.ndarray:
    """Return where any segment of 3D Slicer lies, which keeps those that overlap in layers, and may crop all."""
    truth = np.zeros(grid.canonical_shape, dtype=bool)
    for layer in read_itk_frames(path):
        if layer.geometry.is_physical and grid.is_physical:
            mark_in_place(truth, layer.values > 0, layer.geometry, grid, path)
        else:
            truth |= _on_grid(layer, grid, path)
    return truth


def _on_grid(mask: Volume, geometry: Geometry, path: Path) -> np.ndarray:
    marked = mask.values > 0
    if mask.geometry.is_physical and not geometry.is_physical:
        # The scan lies nowhere, so that the mask's place says nothing.
        stored = mask.geometry.to_stored(marked)
        if is_of_pixels(mask.header, mask.geometry.affine) and stored.shape == geometry.shape:
            marked = geometry.to_canonical(stored)
        else:
            # Other programs put columns first, then rows.
            marked = stored.T.reshape(-1, *stored.shape[1::-1])
    has_shape = marked.shape == geometry.canonical_shape
    if not has_shape and sorted(mask.geometry.shape) != sorted(geometry.shape):
        raise _other_shape(path, geometry.shape, mask.geometry.shape)
    if mask.geometry.is_physical and geometry.is_physical:
        distance = float(np.abs(mask.geometry.canonical_affine - geometry.canonical_affine).max())
        if distance > _AFFINE_TOLERANCE_MM:
            raise ScanReadError(
                f"{path}: the mask lies on another grid than its scan (affines differ by {distance:.3g} mm)."
            )
    if not has_shape:
        raise _other_shape(path, geometry.canonical_shape, marked.shape)
    return marked


def _read_picture(path: Path) -> np.ndarray:
    """Return where a picture, or the pages of one, is marked: as stored, bool."""
    mask = read_image(path)
    least = _LOSSY_SHARE * float(mask.values.max()) if _is_lossy(path) else 0.0
    return mask.geometry.to_stored(mask.values) > least


def _is_lossy(path: Path) -> bool:
    if is_unknown_to_pillow(path):
        return False
    with open_image(path, "mask") as image:
        return image.format in ("JPEG", "MPO") or image.info.get("compression") == "jpeg"


def truth_notes(path: Path | None, truth: np.ndarray, source: Volume) -> tuple[str, ...]:
    """Return what users should know of a mask file and the truth (z, y, x) bool that was read from it for a scan."""
    notes: list[str] = []
    if path is not None and path.is_file() and is_dicom_mask(path):
        from napari_dinoad.evaluation.segmented_truths import segmented_truth_notes

        notes.extend(segmented_truth_notes(path, source))
    if path is not None and format_of(path) == "picture" and _is_lossy(path):
        notes.append(_TOLD_LOSSY)
    if truth.mean() > _LARGEST_SHARE:
        notes.append(_TOLD_LARGE)
    return tuple(notes)


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
