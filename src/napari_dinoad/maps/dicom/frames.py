"""Values on a scan's grid as frames of its source images, which must lie where the scan lies."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import highdicom as hd
import numpy as np
from pydicom.valuerep import format_number_as_ds

from napari_dinoad.errors import GeometryError
from napari_dinoad.images.dicom.stack import shift_tolerance_px

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydicom import Dataset

    from napari_dinoad.images.volume import Volume

__all__ = ["Frames", "as_frames", "source_frames"]

POSITION_TOLERANCE_MM = 0.01
"""A frame that is farther than this from its source image is not written: it would not line up."""

POSITION_TOLERANCE_VOXELS = 0.1
"""… unless it is along no axis off by more than this share of a voxel, or in its plane by what is let pass when it is
read: slices need be no more even than that."""

EVEN_TO_MM = 1e-4
"""Frames this near to an even grid keep their source's numbers; others are put on it. Readers take frames for uneven
that are 1e-3 mm off it (GDCM, by which ITK reads: it gives every voxel 1 mm) or a hundredth of a gap (highdicom)."""

Frames: TypeAlias = np.ndarray | hd.Volume
"""Values as frames (n, rows, columns) of the source images, or with a place of their own."""


def source_frames(values: np.ndarray, volume: Volume, sources: list[Dataset]) -> Frames:
    """Return (z, y, x) values as frames (n, rows, columns) of the source images, or with a place of their own.

    Frames of single images take over the images' place and spacing to the digit where these are even, and lie on the
    scan's even grid where they are not quite: the headers are changed, in place. Frames of multi-frame images and of
    resampled scans bring their own; highdicom then finds the source frames that lie where they lie.
    """
    frames = as_frames(values, volume)
    if not volume.geometry.is_physical:
        _require_shape(frames, sources)
        return frames
    affine = volume.geometry.affine[:, [2, 1, 0, 3]]
    if volume.is_resampled:
        return hd.Volume(frames, affine, "PATIENT", from_reference_convention="RAS")
    if not volume.dicom_frames and len(sources) == len(frames):
        _require_shape(frames, sources)
        # Multi-frame images have no position at the top of their header; highdicom matches their frames.
        if all("ImagePositionPatient" in source for source in sources):
            _require_positions(affine, sources)
            _put_on_grid(affine, sources)
        return frames
    _put_on_grid(affine, _planes_of_frames(sources[0], volume.dicom_frames))
    return hd.Volume(frames, affine, "PATIENT", from_reference_convention="RAS")


def _planes_of_frames(source: Dataset, numbers: Sequence[int]) -> list[Dataset]:
    """Return what holds the position of each frame of a multi-frame header; nothing where some have none."""
    groups = source.get("PerFrameFunctionalGroupsSequence", ())
    planes = [
        plane
        for number in numbers
        for plane in groups[number - 1].get("PlanePositionSequence", ())
        if "ImagePositionPatient" in plane
    ]
    return planes if len(planes) == len(numbers) else []


def _put_on_grid(affine: np.ndarray, planes: Sequence[Dataset]) -> None:
    """Let planes lie on the scan's grid, in place, unless they lie evenly already.

    Parameters
    ----------
    affine : numpy.ndarray
        As of `_require_positions`.
    planes : sequence of pydicom.Dataset
        What holds the position of each slice, in their order.
    """
    if len(planes) < 2:
        return
    positions = np.array([plane.ImagePositionPatient for plane in planes], dtype=float)
    shares = np.linspace(0, 1, len(planes))[:, np.newaxis]
    even = positions[0] + shares * (positions[-1] - positions[0])
    if np.abs(positions - even).max() <= EVEN_TO_MM:
        return
    for index, plane in enumerate(planes):
        place = (affine @ [index, 0, 0, 1])[:3] * (-1, -1, 1)
        plane.ImagePositionPatient = [format_number_as_ds(float(x)) for x in place]


def as_frames(values: np.ndarray, volume: Volume) -> np.ndarray:
    """Return (n, rows, columns) of a canonical (z, y, x) array, as the source images of a scan are stored."""
    stored = volume.geometry.to_stored(values)
    if not volume.geometry.is_physical:
        return stored.reshape(-1, *stored.shape[-2:])
    return stored.reshape(*stored.shape[:2], -1).transpose(2, 1, 0)


def _require_shape(frames: np.ndarray, sources: list[Dataset]) -> None:
    n = sum(int(source.get("NumberOfFrames") or 1) for source in sources)
    expected = (n, int(sources[0].Rows), int(sources[0].Columns))
    if frames.shape != expected:
        raise GeometryError(f"expected frames of the source's shape {expected}, got {frames.shape}")


def _require_positions(affine: np.ndarray, sources: list[Dataset]) -> None:
    """Raise unless the first and the last pixel of each frame lie where its source image says.

    ``affine`` takes (slice, row, column) to RAS.
    """
    to_voxels = np.linalg.inv(affine[:3, :3])
    positions = np.array([source.ImagePositionPatient for source in sources], dtype=float)
    orientation = [float(x) for x in sources[0].ImageOrientationPatient]
    spacing = [float(x) for x in sources[0].PixelSpacing]
    in_plane = np.maximum(POSITION_TOLERANCE_VOXELS, shift_tolerance_px(positions, orientation, spacing))
    tolerance = np.array([POSITION_TOLERANCE_VOXELS, *in_plane])
    for index, source in enumerate(sources):
        last = (int(source.Rows) - 1, int(source.Columns) - 1)
        for row, column in ((0, 0), last):
            ours = (affine @ [index, row, column, 1])[:3]
            apart = ours - _place_in_patient(source, row, column) * (-1, -1, 1)
            distance = float(np.linalg.norm(apart))
            shares = np.abs(to_voxels @ apart)
            worst = int(np.argmax(shares - tolerance))
            if distance > POSITION_TOLERANCE_MM and shares[worst] > tolerance[worst]:
                raise GeometryError(
                    f"slice {index + 1} lies {distance:.3f} mm from its source image, {shares[worst]:.2f} of a voxel "
                    f"along one axis; expected at most {tolerance[worst]:.2g}"
                )


def _place_in_patient(source: Dataset, row: int, column: int) -> np.ndarray:
    """Return the LPS position of a pixel (the standard's equation C.7.6.2.1-1)."""
    along_row, along_column = np.array(source.ImageOrientationPatient, dtype=float).reshape(2, 3)
    between_rows, between_columns = (float(x) for x in source.PixelSpacing)
    start = np.array(source.ImagePositionPatient, dtype=float)
    return np.asarray(start + along_row * between_columns * column + along_column * between_rows * row)
