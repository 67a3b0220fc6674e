"""The source images of a scan from DICOM, as objects that are made of it refer to them.

Such an object repeats the patient and study of the source images, as the standard requires of every DICOM object:
these are the only outputs that name the patient.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import highdicom as hd
import numpy as np
from pydicom import Dataset
from pydicom.uid import CTImageStorage, MRImageStorage, PositronEmissionTomographyImageStorage

from napari_dinoad import __version__
from napari_dinoad.errors import SettingError
from napari_dinoad.images.dicom.files import MANUFACTURER
from napari_dinoad.images.dicom.frame_places import PLACED_OTHERWISE
from napari_dinoad.images.persons import of_persons
from napari_dinoad.machine.atomic_files import atomic_path
from napari_dinoad.maps.dicom.discretion import discreet, unheard
from napari_dinoad.maps.dicom.frames import source_frames
from napari_dinoad.maps.dicom.source_header import number_of, source_header

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from napari_dinoad.images.volume import Volume
    from napari_dinoad.maps.dicom.frames import Frames

__all__ = [
    "derived",
    "describe",
    "model_parameters",
    "new_instance",
    "save_object",
    "source_fault",
    "source_headers",
]

_ALWAYS_IN_SPACE = (CTImageStorage, MRImageStorage, PositronEmissionTomographyImageStorage)
"""Kinds of image that the standard allows in a frame of reference only."""

_SHARED_UID = "several source images have the same SOPInstanceUID, by which it would refer to them"

_MAX_SERIES_NUMBER = 2**31 - 1

_Made = TypeVar("_Made", bound=Dataset)


def derived(
    name: str,
    instead: str,
    values: np.ndarray,
    volume: Volume,
    make: Callable[[list[Dataset], Frames], _Made],
) -> _Made:
    """Return a DICOM object of values on the grid of a scan.

    Parameters
    ----------
    name : str
        What it is called in messages.
    instead : str
        What else can be done, for messages.
    values : numpy.ndarray
        (z, y, x) in canonical orientation.
    volume : Volume
        A scan with ``dicom_files``.
    make : callable
        Makes the object of the headers of the source images and the values as their frames.

    Raises
    ------
    SettingError
        If the scan was not read from DICOM, or its headers lack what the standard requires.
    ScanReadError
        If a source file has gone or is damaged.
    GeometryError
        If the source images do not lie where the scan lies.
    """
    fault = source_fault(volume)
    if fault:
        raise SettingError(f"{name}: {fault}. {instead}.")
    with discreet(name, instead):
        sources = source_headers(volume)
        if len({source.SOPInstanceUID for source in sources}) < len(sources):
            raise SettingError(f"{name}: {_SHARED_UID}. {instead}.")
        return _without_other_frames(make(sources, source_frames(values, volume, sources)), volume)


def save_object(path: Path, made: Dataset) -> Path:
    """Write a DICOM object, atomically."""
    with atomic_path(path) as temporary:
        made.save_as(temporary)
    return path


def source_headers(volume: Volume) -> list[Dataset]:
    """Return the headers of a scan's source images, with what objects made of them need put in order.

    Raises
    ------
    ScanReadError
        If a source file has gone or is damaged.
    """
    headers = [_with_distances(source_header(path), volume) for path in volume.dicom_files or ()]
    if volume.dicom_frames:
        _share_of_frames(headers[0], volume.dicom_frames[0])
    return headers


def source_fault(volume: Volume) -> str:
    """Return why no DICOM object can be made of a scan; empty when one can. Reads two headers at most.

    Raises
    ------
    ScanReadError
        If the first or the last source file has gone or is damaged.
    """
    if not volume.dicom_files:
        return "expected a scan read from DICOM, whose images it refers to"
    with unheard():
        header = source_header(volume.dicom_files[0])
        last = source_header(volume.dicom_files[-1])
    if len(volume.dicom_files) > 1 and header.get("SOPInstanceUID") == last.get("SOPInstanceUID"):
        return _SHARED_UID
    if len(volume.dicom_files) > 1 and "PerFrameFunctionalGroupsSequence" in header:
        return "expected single images or one multi-frame file, got a multi-frame image in several files"
    if volume.geometry.is_physical and str(header.get("SOPClassUID")) in PLACED_OTHERWISE:
        return (
            "expected images whose frames say where in the patient they lie, got nuclear medicine or an ultrasound "
            "volume, to whose frames it cannot refer"
        )
    needed = ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"]
    if volume.geometry.is_physical or header.get("SOPClassUID") in _ALWAYS_IN_SPACE:
        needed.append("FrameOfReferenceUID")
    missing = [keyword for keyword in needed if not header.get(keyword)]
    if missing:
        return f"the headers of the source images lack {', '.join(missing)}"
    if not volume.geometry.is_physical and volume.geometry.canonical_shape[0] > 1:
        return "expected images with a position, or a single one, got several without"
    if not volume.geometry.is_physical and int(header.get("NumberOfFrames") or 1) > 1:
        return "expected images with a position, or a file of a single one, got a frame of several without"
    return ""


def new_instance(source: Dataset, series_offset: int) -> dict[str, Any]:
    """Return what highdicom asks of the first object of a new series: UIDs, numbers and what made it.

    The series' number is the source's and ``series_offset``.
    """
    return {
        "series_instance_uid": hd.UID(),
        "series_number": min(number_of(source, "SeriesNumber") + series_offset, _MAX_SERIES_NUMBER),
        "sop_instance_uid": hd.UID(),
        "instance_number": 1,
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": MANUFACTURER,
        "software_versions": __version__,
        "device_serial_number": "none",
    }


def model_parameters(card: Mapping[str, Any] | None) -> dict[str, str]:
    """Return what identifies the model, as names and values for people; nothing without its card."""
    if card is None:
        return {}
    backbone = card["backbone"]
    return {
        "scorer": str(card["scorer"]),
        "backbone": str(backbone["name"]),
        "backbone weights SHA-256": str(backbone["weights_sha256"]),
        "normal scans": f"{card['n_scans']}{of_persons(card['n_scans'], card.get('n_persons'))}",
        "model created": str(card["created"]),
    }


def _derivation(card: Mapping[str, Any] | None) -> str:
    """Return one text on how an object was made, of what `model_parameters` says."""
    told = (f"{name}: {value}" for name, value in model_parameters(card).items())
    return "; ".join((f"napari-dinoad {__version__}, research use only", *told))


def describe(made: Dataset, source: Dataset, card: Mapping[str, Any] | None) -> None:
    """Add, in place, what highdicom leaves out: how an image was made, and the side of a paired body part."""
    made.DerivationDescription = _derivation(card)
    side = source.get("Laterality")
    made.Laterality = side if side in ("R", "L") else ""


def _with_distances(source: Dataset, volume: Volume) -> Dataset:
    """Let an image say how thick it is and how far the slices are apart; frames must state a thickness.

    Where it does not say, its thickness is the distance between slices. Some scanners call the gap between two slices
    their spacing; the standard means the distance of their centres, and readers place frames by it.
    """
    if "ImagePositionPatient" not in source:
        return source
    distance = float(np.linalg.norm(volume.geometry.affine[:3, 2]))
    if not _is_length(source.get("SliceThickness")):
        source.SliceThickness = f"{distance:.6g}"
    if "SpacingBetweenSlices" in source and len(volume.dicom_files or ()) > 1:
        source.SpacingBetweenSlices = f"{distance:.6g}"
    return source


def _share_of_frames(source: Dataset, number: int) -> None:
    """Let a multi-frame image say for all frames what it says for one of them, counted from 1, in place.

    highdicom takes orientation and pixel measures from there; several stacks in one image have their own, and some
    scanners write them for each frame in any case.
    """
    frames = source.get("PerFrameFunctionalGroupsSequence") or ()
    shared = source.get("SharedFunctionalGroupsSequence") or [Dataset()]
    for keyword in ("PlaneOrientationSequence", "PixelMeasuresSequence"):
        if keyword not in shared[0] and number <= len(frames) and keyword in frames[number - 1]:
            setattr(shared[0], keyword, frames[number - 1][keyword].value)
    source.SharedFunctionalGroupsSequence = shared


def _is_length(value: object) -> bool:
    """Return whether a header's value is a number of millimetres; some write ``2,0``."""
    try:
        return float(str(value)) >= 0
    except ValueError:
        return False


def _without_other_frames(made: _Made, volume: Volume) -> _Made:
    """Let frames refer only to those frames of a multi-frame source that the scan is of, not to other time points."""
    used = set(volume.dicom_frames)
    for group in made.PerFrameFunctionalGroupsSequence if used else ():
        for derivation in group.get("DerivationImageSequence", ()):
            derivation.SourceImageSequence = [
                source
                for source in derivation.SourceImageSequence
                if "ReferencedFrameNumber" not in source or source.ReferencedFrameNumber in used
            ]
    return made
