"""DICOM segmentations (SEG) → labels in the place of their frames. They are read by highdicom."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import highdicom as hd
import numpy as np
from highdicom.seg import Segmentation

from napari_dinoad.errors import GeometryError, ScanReadError
from napari_dinoad.images.dicom.files import DAMAGED, MANUFACTURER, read_dataset
from napari_dinoad.images.dicom.headers import EXPORT_AGAIN, GEOMETRY_TAGS, series_of_file
from napari_dinoad.images.dicom.patient import patient_mark
from napari_dinoad.images.dicom.reader import as_nifti
from napari_dinoad.images.dicom.silence import unvalidated
from napari_dinoad.images.dicom.stack import DRIFT_TOLERANCE
from napari_dinoad.images.volume import Geometry

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pydicom import Dataset

    from napari_dinoad.images.dicom.series import DicomSeries

__all__ = [
    "LabelledSegments",
    "SegmentedImages",
    "Unlike",
    "is_found_segmentation",
    "read_segmentation",
    "segmented_images",
    "unlike_scan",
]

Unlike = Literal["person", "identifier", "place", "series"]
"""How a segmentation is of another scan: another person's, in another frame of reference, drawn on other images.

Or its PatientID alone is another, and it names images of the scan: where one of both was anonymised, that is so of
the scan's own; where several patients have one set of UIDs, of another's.
"""

_HEIGHTS = "1.2.840.10008.5.1.4.1.1.66.8"
"""SOP class of segmentations by the heights of layers of the eye."""

_TAGS = (
    *GEOMETRY_TAGS,
    "ReferencedSeriesSequence", "DimensionIndexSequence", "DimensionOrganizationType", "SegmentSequence",
    "SegmentationType", "SegmentationFractionalType", "MaximumFractionalValue", "SegmentsOverlap",
    "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "PixelPaddingValue", "PixelData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths",
)  # fmt: skip
"""Tags needed for place, names of segments and pixels; nothing else is parsed, so no patient tag is."""

_AUTOMATIC = "AUTOMATIC"
"""How segments call themselves that no person has drawn or corrected."""

_SOURCE_TAGS = (
    "FrameOfReferenceUID", "ReferencedSeriesSequence", "SourceImageSequence", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)  # fmt: skip
"""Tags that say which images were segmented."""

_FAULTS = (*DAMAGED, RuntimeError, sqlite3.Error)
"""What highdicom raises of segmentations that it cannot read or put in place, beside what damaged files raise."""


@dataclass(frozen=True, eq=False)
class LabelledSegments:
    """Segments of a file that do not overlap.

    Attributes
    ----------
    labels : numpy.ndarray
        (z, y, x) uint8 or uint16 in canonical orientation: numbers of segments, 0 where there is none.
    geometry : Geometry
        The grid of the frames, with slices between them that have no frame.
    segments : dict
        Number → what the file calls the segment.
    """

    labels: np.ndarray
    geometry: Geometry
    segments: dict[int, str]


@dataclass(frozen=True)
class SegmentedImages:
    """The images that a segmentation was drawn on, as it says itself.

    Attributes
    ----------
    series_uids, instance_uids : frozenset of str
        Either may be empty: a file need not name them all, nor any.
    frame_of_reference : str
        UID of the space that its places are in; empty where it has none.
    """

    series_uids: frozenset[str]
    instance_uids: frozenset[str]
    frame_of_reference: str = ""

    @property
    def are_named(self) -> bool:
        """Whether the file names any."""
        return bool(self.series_uids or self.instance_uids)

    def are_of(self, series: DicomSeries) -> bool:
        """Whether a series, with all its images, is the one that was segmented."""
        uid = series.uid.partition("/")[0]
        if self.series_uids and uid not in self.series_uids:
            return False
        # Several X-rays or multi-frame files may be of one series, and a careless de-identifier gives several
        # patients one UID: the images decide.
        return not self.instance_uids or any(
            frame.instance_uid in self.instance_uids for frame in series.frames
        )


def segmented_images(path: Path) -> SegmentedImages:
    """Return which images a DICOM segmentation was drawn on; none where it cannot be read."""
    with unvalidated:
        try:
            header = read_dataset(path, _SOURCE_TAGS, stop_before_pixels=True)
            series = list(header.get("ReferencedSeriesSequence") or ())
            instances = [
                item for one in series for item in one.get("ReferencedInstanceSequence") or ()
            ] or _sources_of_frames(header)
            return SegmentedImages(
                frozenset(str(one.SeriesInstanceUID) for one in series if one.get("SeriesInstanceUID")),
                frozenset(
                    str(item.ReferencedSOPInstanceUID)
                    for item in instances
                    if item.get("ReferencedSOPInstanceUID")
                ),
                str(header.get("FrameOfReferenceUID") or ""),
            )
        except DAMAGED:
            return SegmentedImages(frozenset(), frozenset())


def unlike_scan(path: Path, scan_files: Sequence[Path]) -> Unlike | None:
    """Return by what a DICOM segmentation, as it says itself, is of another scan than that of these files.

    What it does not say is not compared. A segmentation of the scan's own images is not asked for its frame of
    reference.

    Returns
    -------
    {"person", "identifier", "place", "series"} or None
        The first of these that differs; None where nothing does.

    Raises
    ------
    ScanReadError
        If the scan's files cannot be read.
    """
    persons = {patient_mark(one) for one in (path, scan_files[0])} - {None}
    segmented, series = segmented_images(path), series_of_file(scan_files[0])
    if len(persons) > 1:
        return "identifier" if _names_images(segmented, series, scan_files) else "person"
    if segmented.series_uids and len(scan_files) > 1:
        is_of_it = series.uid.partition("/")[0] in segmented.series_uids
    else:
        is_of_it = any(segmented.are_of(series_of_file(one)) for one in scan_files)
    if is_of_it and segmented.are_named:
        return None
    places = {segmented.frame_of_reference, series.frames[0].frame_of_reference} - {""}
    if len(places) > 1:
        return "place"
    return None if is_of_it else "series"


def _names_images(segmented: SegmentedImages, first: DicomSeries, scan_files: Sequence[Path]) -> bool:
    """Whether a segmentation names images, not a series alone, of a scan whose first file holds ``first``."""
    # All images of a scan are of one series: of another than the named one the first says it for all.
    is_of_others = segmented.series_uids and first.uid.partition("/")[0] not in segmented.series_uids
    if is_of_others or not segmented.instance_uids:
        return False
    return any(segmented.are_of(series_of_file(one)) for one in scan_files)


def is_found_segmentation(path: Path) -> bool:
    """Whether a DICOM segmentation is a mask that this program found; those by hand call themselves otherwise."""
    with unvalidated:
        try:
            header = read_dataset(path, ["Manufacturer", "SegmentSequence"], stop_before_pixels=True)
            kinds = {segment.get("SegmentAlgorithmType") for segment in header.get("SegmentSequence") or ()}
            return bool(header.get("Manufacturer") == MANUFACTURER and kinds == {_AUTOMATIC})
        except DAMAGED:
            return False


def _sources_of_frames(header: Dataset) -> list[Dataset]:
    """Return the references to images that are not under their series."""
    groups = [
        *(header.get("SharedFunctionalGroupsSequence") or ()),
        *(header.get("PerFrameFunctionalGroupsSequence") or ()),
    ]
    derivations = [item for group in groups for item in group.get("DerivationImageSequence") or ()]
    return [item for holder in (header, *derivations) for item in holder.get("SourceImageSequence") or ()]


def read_segmentation(path: Path) -> list[LabelledSegments]:
    """Read a DICOM segmentation.

    Returns
    -------
    list of LabelledSegments
        One; segments that overlap are spread over several.

    Raises
    ------
    ScanReadError
        If it is damaged, no mask (shares, heights), or its frames have no place that is known. Quotes nothing of the
        header.
    """
    with unvalidated:  # pydicom's warnings about odd values would quote them
        try:
            dataset = read_dataset(path, _TAGS)
            kind = "HEIGHTS" if dataset.SOPClassUID == _HEIGHTS else str(dataset.SegmentationType)
            if kind not in ("BINARY", "LABELMAP"):
                raise ScanReadError(
                    f"{path}: a DICOM segmentation of another kind than those that can be opened, BINARY and "
                    "LABELMAP. Export it as one of these, or as NIfTI."
                )
            segmentation = Segmentation.from_dataset(dataset, copy=False)
            segments = {
                int(item.SegmentNumber): str(item.get("SegmentLabel") or f"segment {item.SegmentNumber}")
                for item in segmentation.SegmentSequence
                if int(item.SegmentNumber) > 0
            }
        except _FAULTS as error:
            raise ScanReadError(
                f"{path}: not a readable DICOM segmentation ({type(error).__name__}). {EXPORT_AGAIN}"
            ) from None
        try:
            layers = _without_overlap(segmentation, list(segments))
            return [
                LabelledSegments(*_in_place(layer, segmentation), {n: segments[n] for n in numbers})
                for layer, numbers in layers
            ]
        except (*_FAULTS, GeometryError) as error:
            raise ScanReadError(
                f"{path}: a DICOM segmentation whose frames cannot be put in place: expected frames of one "
                "orientation at even distances, or of one image without position; or its pixels are damaged "
                f"({type(error).__name__}). Export it as NIfTI."
            ) from None


_Frames: TypeAlias = hd.Volume | np.ndarray
"""(slices, rows, columns) with a place, or (rows, columns) without."""


def _without_overlap(segmentation: Segmentation, numbers: Sequence[int]) -> list[tuple[_Frames, list[int]]]:
    """Return the segments, with as few that do not overlap in one array as the order of their numbers allows."""
    if segmentation.SegmentationType == "LABELMAP":
        return [(_frames_of(segmentation, numbers), list(numbers))]
    layers: list[tuple[_Frames, list[int]]] = []
    kind = np.uint8 if max(numbers) < 2**8 else np.uint16
    for number in numbers:
        frames = _frames_of(segmentation, [number])
        marked = _array(frames) > 0
        place = next((layer for layer in layers if not _array(layer[0])[marked].any()), None)
        if place is None:
            place = (_like(frames, np.zeros(marked.shape, kind)), [])
            layers.append(place)
        _array(place[0])[marked] = number
        place[1].append(number)
    return layers


def _array(frames: _Frames) -> np.ndarray:
    return np.asarray(frames.array if isinstance(frames, hd.Volume) else frames)


def _like(frames: _Frames, array: np.ndarray) -> _Frames:
    return frames.with_array(array) if isinstance(frames, hd.Volume) else array


def _frames_of(segmentation: Segmentation, numbers: Sequence[int]) -> _Frames:
    """Return the numbers of segments in place."""
    if segmentation.coordinate_system is not None:
        return segmentation.get_volume(
            segment_numbers=numbers, combine_segments=True, skip_overlap_checks=True, rtol=DRIFT_TOLERANCE
        )
    uids = [uid for _, _, uid in segmentation.get_source_image_uids()]
    if len(uids) != 1:
        raise ValueError("several images without a place")
    (frame,) = segmentation.get_pixels_by_source_instance(
        uids,
        segment_numbers=numbers,
        combine_segments=True,
        skip_overlap_checks=True,
        ignore_spatial_locations=True,
        assert_missing_frames_are_empty=True,
    )
    return np.asarray(frame)


def _in_place(frames: _Frames, segmentation: Segmentation) -> tuple[np.ndarray, Geometry]:
    """Return canonical labels and their grid."""
    if not isinstance(frames, hd.Volume):
        geometry = Geometry.of_pixels(frames.shape)
        return geometry.to_canonical(frames), geometry
    if frames.spatial_shape[0] == 1 and not _is_of_one_image(segmentation):
        # A mask of one slice of a scan: with no slice beside it, it would be shown as a picture, in all slices.
        frames = frames.pad([(1, 1), (0, 0), (0, 0)])
    geometry, stored = as_nifti(frames.get_geometry(), frames.array)
    return np.ascontiguousarray(geometry.to_canonical(stored)), geometry


def _is_of_one_image(segmentation: Dataset) -> bool:
    """Whether the file says that the scan is a single image."""
    sources = [
        source
        for series in segmentation.get("ReferencedSeriesSequence") or ()
        for source in series.get("ReferencedInstanceSequence") or ()
    ]
    return len(sources) == 1 and "Enhanced" not in sources[0].ReferencedSOPClassUID.name
