"""Where the picture of a slice lies: in the patient as the source's slice does, or with the source's sizes only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from highdicom.spatial import get_closest_patient_orientation

from napari_dinoad.images.dicom.frame_places import US_VOLUME
from napari_dinoad.maps.dicom.source_header import number_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydicom import Dataset

    from napari_dinoad.images.volume import Volume

__all__ = ["SlicePlace", "slice_numbers"]

_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
"""Tags by which images without a place in the patient say how large their pixels are."""

_DECIMALS, _DIGITS = 4, 8
"""Decimals of positions in mm, which a scan's affine has no more of (32 bit): slices of the source's size then lie at
the source's own numbers. Digits of cosines. Values of more than 16 characters are forbidden."""


@dataclass(frozen=True)
class SlicePlace:
    """Where an enlarged slice lies.

    Attributes
    ----------
    zoom : int
        Pixels along the edge of one of the source's.
    spacing : tuple of float, optional
        Between rows and columns, of the enlarged slice; None without physical size.
    position, orientation : tuple of float, optional
        DICOM's, in LPS; None where the source does not lie in the patient.
    letters : tuple of str, optional
        DICOM's patient orientation.
    """

    zoom: int
    spacing: tuple[float, float] | None = None
    position: tuple[float, ...] | None = None
    orientation: tuple[float, ...] | None = None
    letters: tuple[str, str] | None = None

    @classmethod
    def of(cls, volume: Volume, source: Dataset, index: int, zoom: int) -> SlicePlace:
        """Return the place of a slice, by its index as stored, of a scan; ``source`` is the header of an image."""
        if not volume.geometry.is_physical:
            return cls(zoom)
        affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.geometry.affine
        along_row, along_column = affine[:3, 0], affine[:3, 1]
        sizes = np.linalg.norm(along_row), np.linalg.norm(along_column)
        spacing = (float(sizes[1]) / zoom, float(sizes[0]) / zoom)
        if source.get("SOPClassUID") == US_VOLUME:
            # It lies in the ultrasound's volume; nobody knows where that lies in the patient.
            return cls(zoom, spacing)
        # The centre of the first of the smaller pixels, in steps of one of the source's.
        first = (1 / zoom - 1) / 2
        position = (affine @ [first, first, index, 1])[:3]
        cosines = np.concatenate([along_row / sizes[0], along_column / sizes[1]])
        right, down, _ = get_closest_patient_orientation(affine)
        return cls(
            zoom,
            spacing,
            tuple(position.tolist()),
            tuple(cosines.tolist()),
            (right.value, down.value),
        )

    def write(self, made: Dataset, source: Dataset) -> None:
        """Write place and orientation into an image, or what the source says of its pixels' size."""
        if self.letters is None:
            made.PatientOrientation = source.get("PatientOrientation")
        if self.spacing is None:
            self._write_sizes(made, source)
        if self.position is None or self.orientation is None:
            return
        made.ImagePositionPatient = [f"{round(x, _DECIMALS) + 0.0:.12g}" for x in self.position]
        made.ImageOrientationPatient = [f"{x:.{_DIGITS}g}" for x in self.orientation]
        if source.get("FrameOfReferenceUID"):
            made.FrameOfReferenceUID = source.FrameOfReferenceUID
            made.PositionReferenceIndicator = source.get("PositionReferenceIndicator")

    def _write_sizes(self, made: Dataset, source: Dataset) -> None:
        told = {keyword: source.get(keyword) or () for keyword in _SPACINGS}
        known = {
            keyword: sizes
            for keyword, sizes in told.items()
            if len(sizes) == 2 and min(map(float, sizes)) > 0
        }
        for keyword, sizes in known.items():
            setattr(made, keyword, [f"{float(size) / self.zoom:.10g}" for size in sizes])
        if not known and source.get("PixelAspectRatio"):
            made.PixelAspectRatio = source.PixelAspectRatio


def slice_numbers(volume: Volume, sources: Sequence[Dataset], n: int) -> range:
    """Return the number in its series of each of ``n`` slices, from 1: in the direction in which the source counts.

    Viewers scroll by it, so that the series would otherwise run against the source where positions are not linked.
    """
    numbers = volume.dicom_frames or tuple(number_of(source, "InstanceNumber") for source in sources)
    return range(n, 0, -1) if numbers[0] > numbers[-1] else range(1, n + 1)
