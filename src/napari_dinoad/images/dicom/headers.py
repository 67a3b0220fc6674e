"""One DICOM file → what its header says of its images, as the part of a series that lies in it.

Only the tags named here are ever parsed, so a patient's name or dates never enter the process; whether two files are
of one patient is told by `napari_dinoad.images.dicom.patient`, which gives away no number.
"""

from __future__ import annotations

from collections import Counter
from math import isfinite
from typing import TYPE_CHECKING

import numpy as np
from pydicom.datadict import tag_for_keyword
from pydicom.uid import UID

from napari_dinoad.errors import ScanReadError
from napari_dinoad.images.dicom.files import DAMAGED, MANUFACTURER, read_dataset
from napari_dinoad.images.dicom.frame_places import (
    IN_US_VOLUME,
    PLACE_TAGS,
    US_REGIONS,
    US_VOLUME,
    US_VOLUME_PLACES,
    parts_in_ultrasound,
    places_in_nuclear_medicine,
    size_in_ultrasound,
)
from napari_dinoad.images.dicom.header_values import (
    NO_NUMBER,
    Lookup,
    first_item,
    listed,
    plain_text,
    uid_of,
)
from napari_dinoad.images.dicom.patient import PATIENT_TAG, take_mark
from napari_dinoad.images.dicom.series import DicomFrame, DicomSeries
from napari_dinoad.images.dicom.silence import unvalidated
from napari_dinoad.images.volume import DisplayWindow

if TYPE_CHECKING:
    from pathlib import Path

    from pydicom import Dataset

__all__ = [
    "EXPORT_AGAIN",
    "GEOMETRY_TAGS",
    "UnreadableDicomError",
    "have_same_pixels",
    "is_of_ours",
    "is_segmentation",
    "name_of_uid",
    "read_header",
    "series_and_patient",
    "series_of_file",
    "unit_orientation",
]

GEOMETRY_TAGS = (
    "SOPClassUID", "Manufacturer", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID",
    "SeriesNumber", "SeriesDescription", "Modality", "BodyPartExamined", "ConvolutionKernel", "ImageType",
    "InstanceNumber", "AcquisitionNumber",
    "ConcatenationUID", "InConcatenationTotalNumber", "TemporalPositionIdentifier", "FrameReferenceTime", "EchoTime",
    "DiffusionBValue", "DiffusionGradientOrientation", "TriggerTime", "Rows", "Columns", "NumberOfFrames",
    "FrameIncrementPointer", "ImagePositionPatient",
    "ImageOrientationPatient", "PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio",
    "SequenceOfUltrasoundRegions", "Units", "WindowCenter", "WindowWidth", "WindowCenterWidthExplanation",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", *PLACE_TAGS,
)  # fmt: skip
"""Tags that a header is read for; all others are passed over unparsed."""

EXPORT_AGAIN = "Export it again."
"""What to do about a file that cannot be read: the last words of such a message."""

_NAMES_NO_SERIES = (
    "The header names no series (SeriesInstanceUID): images of one folder, study, series number and description were "
    "taken for one."
)

_MOST_FRAMES = 100_000
"""A file that claims more frames, or more than it has bytes, is damaged: each takes time to look through."""

_ROUNDED_COSINE = 0.002
"""Direction cosines of three decimals make vectors that are so far from length 1 and from right angles."""

_IMAGE_STORAGE = "Image Storage"
"""Part of the standard's name of every class of images."""

_SEGMENTATION = "a segmentation"

_NOT_SCANS = {
    "1.2.840.10008.5.1.4.1.1.66.4": _SEGMENTATION,
    "1.2.840.10008.5.1.4.1.1.66.7": _SEGMENTATION,
    "1.2.840.10008.5.1.4.1.1.66.8": _SEGMENTATION,
    "1.2.840.10008.5.1.4.1.1.30": "a parametric map",
    "1.2.840.10008.5.1.4.1.1.4.2": "a spectroscopy",
    "1.2.840.10008.5.1.4.1.1.77.1.6": "tiles of a whole slide",
    "1.2.840.10008.5.1.4.1.1.481.2": "a radiotherapy dose",
    "1.2.840.10008.1.3.10": "an index of a medium (DICOMDIR)",
}
"""SOP classes that hold pixels or names of files, but no scan of a patient."""


_PIXEL_SIZES = (
    ("PixelMeasuresSequence", "PixelSpacing"),
    ("FramePixelDataPropertiesSequence", "ImagerPixelSpacing"),
    ("", "NominalScannedPixelSpacing"),
    ("", US_REGIONS),
    ("", "PixelAspectRatio"),
)
"""Functional groups and tags that tell the size of a pixel, or (the last, where no other is) its shape alone."""

_FRAME_TIMES = {tag_for_keyword("FrameTime"), tag_for_keyword("FrameTimeVector")}
"""Tags by which frames of a film (cine) follow each other."""

_CAPTURES = "1.2.840.10008.5.1.4.1.1.7"
"""SOP class of secondary captures (screenshots, dose reports), and the beginning of those of several frames."""


class UnreadableDicomError(ScanReadError):
    """A file cannot be read that is, or may have been, an image of a scan: it is missing from the scan then."""


def is_segmentation(path: Path) -> bool:
    """Whether a DICOM file is a segmentation; one that cannot be read is not."""
    try:
        with unvalidated:
            header = read_dataset(path, ["SOPClassUID"], stop_before_pixels=True)
            return _NOT_SCANS.get(str(header.get("SOPClassUID"))) == _SEGMENTATION
    except DAMAGED:
        return False


def is_of_ours(path: Path) -> bool:
    """Whether this program wrote a DICOM file; one that cannot be read it did not write."""
    try:
        with unvalidated:
            header = read_dataset(path, ["Manufacturer"], stop_before_pixels=True)
            return bool(header.get("Manufacturer") == MANUFACTURER)
    except DAMAGED:
        return False


def read_header(path: Path) -> tuple[Dataset, bytes | None]:
    """Read the tags of `GEOMETRY_TAGS`, without pixels, and the mark of the patient, see `take_mark`.

    Values are converted when they are first asked for.

    Raises
    ------
    UnreadableDicomError
        If the file cannot be opened, or is damaged or cut short.
    ScanReadError
        If it is no image of a patient. The messages say why, and quote nothing of the header.
    """
    try:
        header = read_dataset(path, (*GEOMETRY_TAGS, PATIENT_TAG), stop_before_pixels=True)
        patient = take_mark(header)
        sop_class = uid_of(header, "SOPClassUID") or uid_of(header.file_meta, "MediaStorageSOPClassUID")
        is_ours = header.get("Manufacturer") == MANUFACTURER
        has_pixels = bool(header.get("Rows") and header.get("Columns"))
    except DAMAGED as error:
        if isinstance(error, OSError) and error.strerror:
            raise UnreadableDicomError(f"{path}: cannot be opened ({error.strerror}).") from None
        raise UnreadableDicomError(
            f"{path}: not a readable DICOM file ({type(error).__name__}). {EXPORT_AGAIN}"
        ) from None
    if sop_class in _NOT_SCANS:
        raise ScanReadError(f"{path}: DICOM, but {_NOT_SCANS[sop_class]}, not a scan.")
    if is_ours:
        raise ScanReadError(f"{path}: DICOM, but a result of {MANUFACTURER}, not a scan.")
    if not has_pixels:
        kind = name_of_uid(sop_class)
        if not sop_class or _IMAGE_STORAGE in kind:
            raise UnreadableDicomError(f"{path}: a DICOM file that is damaged or cut short. {EXPORT_AGAIN}")
        raise ScanReadError(f"{path}: DICOM, but not an image ({kind}).")
    return header, patient


def series_of_file(path: Path) -> DicomSeries:
    """Return the series that a DICOM file is of, with the images of this file only.

    Raises
    ------
    ScanReadError
        As `read_header`, and if values that are needed cannot be read.
    """
    return series_and_patient(path)[0]


def series_and_patient(path: Path) -> tuple[DicomSeries, bytes | None]:
    """Return the series that a DICOM file is of as `series_of_file` does, and its patient by `take_mark`."""
    with unvalidated:  # pydicom's warnings about odd values would quote them
        header, patient = read_header(path)
        try:
            return _series_of(header, path), patient
        except DAMAGED as error:
            raise UnreadableDicomError(
                f"{path}: a DICOM file with damaged header values ({type(error).__name__}). {EXPORT_AGAIN}"
            ) from None


def have_same_pixels(path: Path, other: Path) -> bool:
    """Whether two files hold the same pixels, bit by bit; True where that cannot be told."""
    tags = ["PixelData", "FloatPixelData", "DoubleFloatPixelData"]
    with unvalidated:
        try:
            one, two = (read_dataset(file, tags) for file in (path, other))
            if one.file_meta.TransferSyntaxUID != two.file_meta.TransferSyntaxUID:
                return True
            return all(one.get(tag) == two.get(tag) for tag in tags)
        except DAMAGED:
            return True


def name_of_uid(uid: str) -> str:
    """Return the standard's name of a UID; a text that is none is never quoted, since it may be anything."""
    name = str(UID(uid).name)
    return name if name != uid else "of unknown kind"


def unit_orientation(orientation: tuple[float, ...] | None) -> tuple[float, ...] | None:
    """Return two direction vectors of length 1, at right angles: headers that round cosines have others.

    Vectors that no rounding explains stay as they are, and make no grid.
    """
    if orientation is None:
        return None
    along_row, along_column = np.array(orientation[:3]), np.array(orientation[3:])
    lengths = np.linalg.norm(along_row), np.linalg.norm(along_column)
    if not np.allclose(lengths, 1, atol=_ROUNDED_COSINE) or abs(along_row @ along_column) > _ROUNDED_COSINE:
        return orientation
    along_row = along_row / lengths[0]
    along_column = along_column - (along_column @ along_row) * along_row
    return (*along_row.tolist(), *(along_column / np.linalg.norm(along_column)).tolist())


def _series_of(header: Dataset, path: Path) -> DicomSeries:
    frames, assumed = _frames_of(header, path)
    is_placed = frames[0].is_placed
    concatenation = uid_of(header, "ConcatenationUID")
    is_multi_frame = len(frames) > 1 or bool(concatenation)
    uid = uid_of(header, "SeriesInstanceUID")
    sop_class = uid_of(header, "SOPClassUID")
    if not uid and is_placed and not is_multi_frame:
        assumed = (*assumed, _NAMES_NO_SERIES)
    return DicomSeries(
        uid=f"{uid}/{concatenation or frames[0].instance_uid}" if is_multi_frame or not is_placed else uid,
        number=_series_number(header),
        description=plain_text(header.get("SeriesDescription")),
        modality=plain_text(header.get("Modality")),
        body_part=plain_text(header.get("BodyPartExamined")).upper(),
        kernel=_kernel(header),
        frames=tuple(frames),
        is_multi_frame=is_multi_frame,
        windows=_windows(header),
        patient_parts=() if is_placed else parts_in_ultrasound(header),
        study_uid=uid_of(header, "StudyInstanceUID"),
        n_parts=int(header.get("InConcatenationTotalNumber") or 0) if concatenation else 1,
        assumed=assumed,
        is_film=is_multi_frame and not is_placed and _follow_in_time(header),
        is_capture=not is_placed and (sop_class == _CAPTURES or sop_class.startswith(f"{_CAPTURES}.")),
    )


def _follow_in_time(header: Dataset) -> bool:
    pointers = listed(header.get("FrameIncrementPointer"))
    return any(int(tag) in _FRAME_TIMES for tag in pointers)


def _series_number(header: Dataset) -> int | None:
    try:
        number = header.get("SeriesNumber")
        return None if number is None else int(number)
    except NO_NUMBER:
        return None


def _frames_of(header: Dataset, path: Path) -> tuple[list[DicomFrame], tuple[str, ...]]:
    """Return the images of a file, and what was assumed of their places.

    Functional groups of a multi-frame file are looked through.
    """
    n_frames = int(header.get("NumberOfFrames") or 1)
    if not 1 <= n_frames <= min(_MOST_FRAMES, path.stat().st_size):
        raise ValueError("number of frames")
    shared = first_item(header, "SharedFunctionalGroupsSequence")
    per_frame = header.get("PerFrameFunctionalGroupsSequence") or []
    shape = (int(header.Rows), int(header.Columns))
    image_type = tuple(str(part).upper() for part in listed(header.get("ImageType")))
    instance_uid = uid_of(header, "SOPInstanceUID") or str(path)
    frame_of_reference = uid_of(header, "FrameOfReferenceUID")
    nuclear = places_in_nuclear_medicine(header, n_frames)
    frames = []
    for index in range(n_frames):
        look = Lookup(header, shared, per_frame[index] if index < len(per_frame) else None)
        position, orientation = _place_of(look)
        if nuclear is not None:
            position, orientation = nuclear.positions[index], nuclear.orientation
        spacing = look.numbers("PixelMeasuresSequence", "PixelSpacing", 2)
        is_placed = None not in (position, orientation, spacing)
        frames.append(
            DicomFrame(
                path=path,
                number=index + 1,
                shape=shape,
                position=position,
                orientation=unit_orientation(orientation),
                pixel_spacing=spacing,
                image_type=image_type,
                rank=(
                    *look.rank(),
                    look.frame_type() or image_type,
                    look.number("", "InstanceNumber"),
                    index,
                ),
                instance_uid=instance_uid,
                frame_of_reference=frame_of_reference,
                acquisition=look.acquisition(),
                stack=str(look.value("FrameContentSequence", "StackID") or ""),
                pixel_size=None if is_placed else _pixel_size_of(look),
                units=plain_text(header.get("Units")),
                gradient=look.gradient(),
            )
        )
    is_us_volume = uid_of(header, "SOPClassUID") == US_VOLUME and frames[0].is_placed
    assumed = (*(() if nuclear is None else nuclear.assumed), *((IN_US_VOLUME,) if is_us_volume else ()))
    return frames, assumed


def _place_of(look: Lookup) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    """Return position and orientation in the patient, or else in the volume of an ultrasound."""
    position = look.numbers("PlanePositionSequence", "ImagePositionPatient", 3)
    orientation = look.numbers("PlaneOrientationSequence", "ImageOrientationPatient", 6)
    if position is not None or orientation is not None:
        return position, orientation
    (of_position, of_orientation) = US_VOLUME_PLACES
    return look.numbers(*of_position, 3), look.numbers(*of_orientation, 6)


def _pixel_size_of(look: Lookup) -> tuple[str, float, float] | None:
    """Return what tells the size of a pixel (PS3.3 10.7.1), or its shape alone (C.7.6.3.1.7), height before width."""
    for sequence, keyword in _PIXEL_SIZES:
        try:
            size = (
                size_in_ultrasound(look.header)
                if keyword == US_REGIONS
                else look.numbers(sequence, keyword, 2)
            )
        except NO_NUMBER:
            continue
        if size is not None and min(size) > 0:
            return keyword, size[0], size[1]
    return None


def _kernel(header: Dataset) -> str:
    """Return the kernel of a CT; of several values the first, which is its name."""
    own = first_item(header, "PerFrameFunctionalGroupsSequence")
    look = Lookup(header, first_item(header, "SharedFunctionalGroupsSequence"), own)
    return plain_text(next(iter(listed(look.value("CTReconstructionSequence", "ConvolutionKernel"))), ""))


def _windows(header: Dataset) -> tuple[DisplayWindow, ...]:
    """Return the window presets of a header, each once; Hounsfield units for CT. None where one is no number."""
    try:
        own = first_item(header, "PerFrameFunctionalGroupsSequence")
        look = Lookup(header, first_item(header, "SharedFunctionalGroupsSequence"), own)
        sequence = "FrameVOILUTSequence"
        centres = [float(value) for value in listed(look.value(sequence, "WindowCenter"))]
        widths = [float(value) for value in listed(look.value(sequence, "WindowWidth"))]
        names = listed(look.value(sequence, "WindowCenterWidthExplanation"))
    except NO_NUMBER:
        return ()
    ranges: Counter[tuple[float, float]] = Counter()
    windows: list[DisplayWindow] = []
    for i, (centre, width) in enumerate(zip(centres, widths, strict=False)):
        bounds = (centre - width / 2, centre + width / 2)
        if not width > 0 or not all(map(isfinite, bounds)) or ranges[bounds]:
            continue
        ranges[bounds] += 1
        name = plain_text(names[i]) if i < len(names) else ""
        windows.append(DisplayWindow(name or f"Window {len(windows) + 1}", *bounds))
    return tuple(windows)
