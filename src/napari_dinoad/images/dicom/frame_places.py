"""Places of frames and sizes of pixels where the standard keeps them elsewhere: nuclear medicine, ultrasound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_dinoad.images.dicom.header_values import numbers_of

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = [
    "IN_US_VOLUME",
    "PLACED_OTHERWISE",
    "PLACE_TAGS",
    "US_REGIONS",
    "US_VOLUME",
    "US_VOLUME_PLACES",
    "FramePlaces",
    "parts_in_ultrasound",
    "places_in_nuclear_medicine",
    "size_in_ultrasound",
]

PLACE_TAGS = (
    "DetectorInformationSequence", "SliceVector", "SpacingBetweenSlices", "SliceThickness",
)  # fmt: skip
"""Tags that this module reads, at the top of a header."""

NUCLEAR_MEDICINE = "1.2.840.10008.5.1.4.1.1.20"
"""SOP class of the images of gamma cameras."""

US_VOLUME = "1.2.840.10008.5.1.4.1.1.6.2"
"""SOP class of enhanced ultrasound volumes."""

PLACED_OTHERWISE = (NUCLEAR_MEDICINE, US_VOLUME)
"""Classes whose frames do not say where in the patient they lie, each for itself."""

US_VOLUME_PLACES = (
    ("PlanePositionVolumeSequence", "ImagePositionVolume"),
    ("PlaneOrientationVolumeSequence", "ImageOrientationVolume"),
)
"""Where functional groups of ultrasound volumes have position and orientation, in place of those in the patient."""

US_REGIONS = "SequenceOfUltrasoundRegions"
"""Where images of ultrasound say what each part of the picture shows, and how large pixels are (PS3.3 C.8.5.5)."""

_OF_TISSUE, _CENTIMETRES = 1, 3
"""RegionSpatialFormat of an image of tissue, not of its motion or flow in time, and what both axes are counted in."""

_OF_PATIENT = (1, 2, 3)
"""RegionSpatialFormat of what the probe sees: tissue, its motion and flow in time; others are curves and scales."""

IN_US_VOLUME = (
    "The header places the slices in the ultrasound's volume, not in the patient: sizes and shapes are right, but "
    "what is called right, front and above may lie elsewhere."
)

_RECONSTRUCTED = ("RECON TOMO", "RECON GATED TOMO")
"""Third value of ImageType where frames are slices and not projections."""

_DIGITS = 6
"""Sizes in millimetres are compared to so many."""

_LEAST_NORMAL = 1e-6
"""Vectors with a shorter normal span no plane; they are refused where the stack is made."""


@dataclass(frozen=True)
class FramePlaces:
    """Where frames lie in the patient.

    Attributes
    ----------
    positions : tuple of tuple of float
        Of the first pixel of each frame, LPS millimetres.
    orientation : tuple of float
        As in the header.
    assumed : tuple of str
        What the header does not say, a sentence each.
    """

    positions: tuple[tuple[float, ...], ...]
    orientation: tuple[float, ...]
    assumed: tuple[str, ...] = ()


def size_in_ultrasound(header: Dataset) -> tuple[float, float] | None:
    """Return height and width of a pixel in millimetres in the regions that show tissue.

    None where the header does not say, or regions differ.
    """
    sizes = set()
    for region in header.get(US_REGIONS) or ():
        units = {region.get(f"PhysicalUnits{axis}Direction") for axis in "XY"}
        if region.get("RegionSpatialFormat") != _OF_TISSUE or units != {_CENTIMETRES}:
            continue
        height, width = (10 * abs(float(region.get(f"PhysicalDelta{axis}") or 0)) for axis in "YX")
        sizes.add((round(height, _DIGITS), round(width, _DIGITS)))
    return sizes.pop() if len(sizes) == 1 else None


def parts_in_ultrasound(header: Dataset) -> tuple[tuple[slice, slice], ...]:
    """Return rows and columns of the regions that show the patient; none where the header does not say."""
    parts = []
    for region in header.get(US_REGIONS) or ():
        corners = [region.get(f"RegionLocation{corner}") for corner in ("MinY0", "MaxY1", "MinX0", "MaxX1")]
        if region.get("RegionSpatialFormat") in _OF_PATIENT and all(isinstance(at, int) for at in corners):
            top, bottom, left, right = corners
            parts.append((slice(top, bottom + 1), slice(left, right + 1)))
    return tuple(parts)


def places_in_nuclear_medicine(header: Dataset, n_frames: int) -> FramePlaces | None:
    """Return where the slices of a reconstructed tomogram lie (PS3.3 C.8.4.11 and C.8.4.15).

    The detector's first item holds the place of the first slice, the Slice Vector which slice each frame is, and
    Spacing Between Slices the way from one to the next along the normal of the image, or against it where it is
    negative.

    Returns
    -------
    FramePlaces or None
        None where the file is none, or does not say where the first slice lies and how far apart they are.
    """
    kind = [str(part).upper() for part in header.get("ImageType") or ()][2:3]
    if str(header.get("SOPClassUID") or "") != NUCLEAR_MEDICINE or not set(kind) & set(_RECONSTRUCTED):
        return None
    holders = [*(header.get("DetectorInformationSequence") or ())[:1], header]
    position = next(filter(None, (numbers_of(one.get("ImagePositionPatient"), 3) for one in holders)), None)
    orientation = next(
        filter(None, (numbers_of(one.get("ImageOrientationPatient"), 6) for one in holders)), None
    )
    spacing, assumed = _distance_of_slices(header)
    if position is None or orientation is None or not spacing:
        return None
    numbers = numbers_of(header.get("SliceVector"), n_frames)
    if numbers is None:
        numbers = tuple(float(number) for number in range(1, n_frames + 1))
        assumed += ("The header does not say which slice each frame is: they are taken in their order.",)
    normal = np.cross(orientation[:3], orientation[3:])
    normal /= max(float(np.linalg.norm(normal)), _LEAST_NORMAL)
    steps = spacing * (np.array(numbers) - 1)
    positions = np.array(position) + steps[:, np.newaxis] * normal
    return FramePlaces(tuple(map(tuple, positions.tolist())), orientation, assumed)


def _distance_of_slices(header: Dataset) -> tuple[float, tuple[str, ...]]:
    """Return the way from slice to slice in millimetres, 0 where it is not known, and what was assumed."""
    told = numbers_of(header.get("SpacingBetweenSlices"), 1)
    if told is not None and told[0]:
        return told[0], ()
    thickness = numbers_of(header.get("SliceThickness"), 1)
    if thickness is None or not thickness[0] > 0:
        return 0.0, ()
    (mm,) = thickness
    return mm, (
        f"The header does not say how far apart the slices lie: their thickness, {mm:g} mm, was taken.",
    )
