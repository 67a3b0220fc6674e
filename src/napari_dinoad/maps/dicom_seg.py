"""A mask of a DICOM series → DICOM-SEG, frame for frame on the images it was made from.

It refers to the source images and repeats the patient and study of their headers, as the standard requires of every
DICOM object: this is the one output that names the patient.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import highdicom as hd
import numpy as np
from highdicom.seg import Segmentation, SegmentDescription
from nibabel.affines import voxel_sizes
from pydicom.errors import InvalidDicomError
from pydicom.sr.codedict import codes
from pydicom.uid import CTImageStorage, MRImageStorage, PositronEmissionTomographyImageStorage
from pydicom.valuerep import DA, TM

from napari_dinoad import __version__
from napari_dinoad.errors import GeometryError, ScanReadError, SettingError
from napari_dinoad.files import atomic_path
from napari_dinoad.images.dicom_files import read_dataset
from napari_dinoad.images.dicom_headers import unit_orientation
from napari_dinoad.images.persons import of_persons

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from pydicom import Dataset

    from napari_dinoad.images.volume import Volume
    from napari_dinoad.maps.anomaly_map import AnomalyMask
    from napari_dinoad.settings import SegSegments

__all__ = ["MAX_REGION_SEGMENTS", "build_seg", "save_seg", "seg_fault"]

MAX_REGION_SEGMENTS = 20
"""With a segment for each region, so many regions get their own; the others share one more. Every segment has all
frames, so the file grows with their number (a 512 × 512 frame is 32 kB)."""

POSITION_TOLERANCE_MM = 0.01
"""A frame that is farther than this from its source image is not written: the mask would not line up."""

POSITION_TOLERANCE_VOXELS = 0.1
"""… unless it is not even this share of a voxel's smallest edge: slices need be no more even than that to be read."""

_UNIT_TOLERANCE = 1e-5
"""Direction cosines that lie farther from vectors of length 1 at right angles are made such: readers of DICOM-SEG
refuse them."""

_TYPE_2 = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
    "StudyTime", "ReferringPhysicianName",
)  # fmt: skip
"""Tags that must be present but may be empty; some scanners and most de-identifiers leave them out."""

_SEXES = ("M", "F", "O", "", None)
_PARSERS: dict[str, Callable[[Any], Any]] = {"PatientBirthDate": DA, "StudyDate": DA, "StudyTime": TM}

_ALWAYS_IN_SPACE = (CTImageStorage, MRImageStorage, PositronEmissionTomographyImageStorage)
"""Kinds of image that the standard allows in a frame of reference only."""

_SHARED_UID = (
    "several source images have the same SOPInstanceUID, by which a DICOM-SEG would refer to them. Save the mask as "
    "NIfTI"
)

_SERIES_NUMBER_OFFSET = 1000
_MAX_SERIES_NUMBER = 2**31 - 1

_LONG_STRING = 64
"""Characters that DICOM allows in a label."""

_DESCRIPTION = "napari-dinoad anomalies, research use only"


def save_seg(
    path: Path, mask: AnomalyMask, card: Mapping[str, Any] | None = None, segments: SegSegments = "single"
) -> Path:
    """Write a mask as DICOM-SEG, atomically; see `build_seg`."""
    segmentation = build_seg(mask, card, segments)
    with atomic_path(path) as temporary:
        segmentation.save_as(temporary)
    return path


def build_seg(
    mask: AnomalyMask, card: Mapping[str, Any] | None = None, segments: SegSegments = "single"
) -> Segmentation:
    """Return a mask as DICOM-SEG.

    Parameters
    ----------
    mask : AnomalyMask
        Of a scan with ``dicom_files``.
    card : mapping, optional
        The model's card, for the identification of the algorithm.
    segments : {"single", "regions"}
        One segment, or one for each region (the `MAX_REGION_SEGMENTS` highest, then one for the rest).

    Returns
    -------
    highdicom.seg.Segmentation
        BINARY. With a frame for each slice and segment, empty ones too: some viewers (OHIF) place frames by their
        number and would shift them otherwise.

    Raises
    ------
    SettingError
        If the scan was not read from DICOM, or its headers lack what the standard requires.
    ScanReadError
        If a source file has gone or is damaged.
    GeometryError
        If the source images do not lie where the mask lies.
    """
    volume = mask.anomaly_map.source
    fault = seg_fault(volume)
    if fault or not volume.dicom_files:
        raise SettingError(f"DICOM-SEG: {fault}.")
    with warnings.catch_warnings():
        # Warnings of pydicom quote the values of odd tags: a patient's name, possibly.
        warnings.simplefilter("ignore")
        sources = [_with_thickness(_read_header(path), volume) for path in volume.dicom_files]
        if len({source.SOPInstanceUID for source in sources}) < len(sources):
            raise SettingError(f"DICOM-SEG: {_SHARED_UID}.")
        labels, names = _segments(mask, segments)
        pixels = _source_frames(labels, volume, sources)
        try:
            return _without_other_frames(_segmentation(sources, pixels, names, mask, card), volume)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            told = str(error) if isinstance(error, AttributeError) else type(error).__name__
            # The cause may quote a tag's value, so it is not chained.
            raise SettingError(
                f"DICOM-SEG: the headers of the source images lack what the standard requires ({told}). "
                "Save the mask as NIfTI."
            ) from None


def seg_fault(volume: Volume) -> str:
    """Return why no DICOM-SEG can be made for a scan; empty when one can. Reads two headers at most.

    Raises
    ------
    ScanReadError
        If the first or the last source file has gone or is damaged.
    """
    if not volume.dicom_files:
        return "expected a scan read from DICOM, whose images a DICOM-SEG refers to. Save the mask as NIfTI"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header = _read_header(volume.dicom_files[0])
        last = _read_header(volume.dicom_files[-1])
    if len(volume.dicom_files) > 1 and header.get("SOPInstanceUID") == last.get("SOPInstanceUID"):
        return _SHARED_UID
    if len(volume.dicom_files) > 1 and int(header.get("NumberOfFrames") or 1) > 1:
        return (
            "expected single images or one multi-frame file, got a multi-frame image in several files. Save the mask "
            "as NIfTI"
        )
    needed = ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"]
    if volume.geometry.is_physical or header.get("SOPClassUID") in _ALWAYS_IN_SPACE:
        needed.append("FrameOfReferenceUID")
    missing = [keyword for keyword in needed if not header.get(keyword)]
    if missing:
        return f"the headers of the source images lack {', '.join(missing)}. Save the mask as NIfTI"
    if not volume.geometry.is_physical and volume.geometry.canonical_shape[0] > 1:
        return "expected images with a position, or a single one, got several without. Save the mask as NIfTI"
    return ""


def _read_header(path: Path) -> Dataset:
    try:
        header = read_dataset(path, stop_before_pixels=True)
    except (OSError, InvalidDicomError) as error:
        raise ScanReadError(
            f"{path.name}: the source image cannot be read again ({type(error).__name__}); DICOM-SEG needs its "
            "header."
        ) from error
    for keyword in _TYPE_2:
        if keyword not in header or not _is_sound(keyword, header[keyword].value):
            setattr(header, keyword, "")
    if not _has_known_characters(header):
        del header.SpecificCharacterSet
    orientation = tuple(float(x) for x in header.get("ImageOrientationPatient") or ())
    unit = unit_orientation(orientation if len(orientation) == 6 else None)
    if unit is not None and not np.allclose(unit, orientation, rtol=0, atol=_UNIT_TOLERANCE):
        header.ImageOrientationPatient = [f"{x:.10f}" for x in unit]
    if "DeidentificationMethod" in header and not header.DeidentificationMethod:
        # Present but empty is against the standard, and would be copied.
        del header.DeidentificationMethod
    return header


def _is_sound(keyword: str, value: object) -> bool:
    """Return whether a value may be repeated; dates, times and sexes that are none must be left empty."""
    if keyword == "PatientSex":
        return value in _SEXES
    parse = _PARSERS.get(keyword)
    if parse is None or not value:
        return True
    try:
        parse(value)
    except (ValueError, TypeError):
        return False
    return True


def _has_known_characters(header: Dataset) -> bool:
    names = header.get("SpecificCharacterSet", [])
    names = [names] if isinstance(names, str) else names
    known = {kind.value for kind in hd.SpecificCharacterSetValues}
    return all(not name or name in known for name in names)


def _with_thickness(source: Dataset, volume: Volume) -> Dataset:
    """Give an image that does not say how thick it is the distance between slices: frames must state a thickness."""
    if source.get("SliceThickness") in (None, "") and "ImagePositionPatient" in source:
        source.SliceThickness = f"{np.linalg.norm(volume.geometry.affine[:3, 2]):.6g}"
    return source


def _segments(mask: AnomalyMask, segments: SegSegments) -> tuple[np.ndarray, list[str]]:
    """Return (z, y, x) uint8 segment numbers from 1, and the label of each segment."""
    regions = mask.regions()
    if segments == "single" or not regions:
        return mask.values, [f"Anomalies at a rate of {mask.fpr:g} of normal voxels"]
    number_of = np.zeros(int(mask.labels.max()) + 1, dtype=np.uint8)
    own = regions[:MAX_REGION_SEGMENTS]
    for number, region in enumerate(own, start=1):
        number_of[region.label] = number
    names = [f"Region {region.label}, peak -log10 p {region.peak_neg_log10_p:.1f}" for region in own]
    others = regions[MAX_REGION_SEGMENTS:]
    if others:
        number_of[[region.label for region in others]] = len(own) + 1
        names.append(f"{len(others)} further regions")
    return number_of[mask.labels], names


def _source_frames(labels: np.ndarray, volume: Volume, sources: list[Dataset]) -> np.ndarray | hd.Volume:
    """Return segment numbers as frames (n, rows, columns) of the source images, or with a place of their own.

    Frames of single images take over the images' place and spacing to the digit. Frames of multi-frame images and of
    resampled scans bring their own; highdicom then finds the source frames that lie where they lie.
    """
    geometry = volume.geometry
    stored = geometry.to_stored(labels)
    if not geometry.is_physical:
        frames = stored.reshape(-1, *stored.shape[-2:])
        _require_shape(frames, sources)
        return np.ascontiguousarray(frames)
    frames = np.ascontiguousarray(stored.reshape(*stored.shape[:2], -1).transpose(2, 1, 0))
    affine = geometry.affine[:, [2, 1, 0, 3]]
    if not volume.is_resampled and len(sources) == len(frames):
        _require_shape(frames, sources)
        _require_positions(affine, sources)
        return frames
    return hd.Volume(frames, affine, "PATIENT", from_reference_convention="RAS")


def _require_shape(frames: np.ndarray, sources: list[Dataset]) -> None:
    n = sum(int(source.get("NumberOfFrames") or 1) for source in sources)
    expected = (n, int(sources[0].Rows), int(sources[0].Columns))
    if frames.shape != expected:
        raise GeometryError(
            f"DICOM-SEG: expected frames of the source's shape {expected}, got {frames.shape}."
        )


def _require_positions(affine: np.ndarray, sources: list[Dataset]) -> None:
    """Raise unless the first and the last pixel of each frame lie where its source image says.

    ``affine`` takes (slice, row, column) to RAS. Multi-frame images have no position at the top of their header;
    highdicom matches their frames.
    """
    tolerance = max(POSITION_TOLERANCE_MM, POSITION_TOLERANCE_VOXELS * float(voxel_sizes(affine).min()))
    for index, source in enumerate(sources):
        if "ImagePositionPatient" not in source:
            return
        last = (int(source.Rows) - 1, int(source.Columns) - 1)
        for row, column in ((0, 0), last):
            ours = (affine @ [index, row, column, 1])[:3] * (-1, -1, 1)
            distance = float(np.linalg.norm(ours - _place_in_patient(source, row, column)))
            if distance > tolerance:
                raise GeometryError(
                    f"DICOM-SEG: slice {index + 1} lies {distance:.3f} mm from its source image; expected at most "
                    f"{tolerance:.3f} mm. Save the mask as NIfTI."
                )


def _place_in_patient(source: Dataset, row: int, column: int) -> np.ndarray:
    """Return the LPS position of a pixel (the standard's equation C.7.6.2.1-1)."""
    along_row, along_column = np.array(source.ImageOrientationPatient, dtype=float).reshape(2, 3)
    between_rows, between_columns = (float(x) for x in source.PixelSpacing)
    start = np.array(source.ImagePositionPatient, dtype=float)
    return np.asarray(start + along_row * between_columns * column + along_column * between_rows * row)


def _segmentation(
    sources: list[Dataset],
    pixels: np.ndarray | hd.Volume,
    names: list[str],
    mask: AnomalyMask,
    card: Mapping[str, Any] | None,
) -> Segmentation:
    algorithm = _algorithm(mask, card)
    descriptions = [
        SegmentDescription(
            segment_number=number,
            segment_label=name[:_LONG_STRING],
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.SCT.Lesion,
            algorithm_type="AUTOMATIC",
            algorithm_identification=algorithm,
            display_color=_colour(number),
        )
        for number, name in enumerate(names, start=1)
    ]
    source_number = int(sources[0].get("SeriesNumber") or 0)
    return Segmentation(
        source_images=sources,
        pixel_array=pixels,
        segmentation_type="BINARY",
        segment_descriptions=descriptions,
        series_instance_uid=hd.UID(),
        series_number=min(source_number + _SERIES_NUMBER_OFFSET, _MAX_SERIES_NUMBER),
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="napari-dinoad",
        manufacturer_model_name="napari-dinoad",
        software_versions=__version__,
        device_serial_number="none",
        content_description=_DESCRIPTION,
        content_label="ANOMALIES",
        series_description=_DESCRIPTION,
        omit_empty_frames=False,
    )


def _without_other_frames(segmentation: Segmentation, volume: Volume) -> Segmentation:
    """Let frames refer only to those frames of a multi-frame source that the mask is of, not to other time points."""
    used = set(volume.dicom_frames)
    for group in segmentation.PerFrameFunctionalGroupsSequence if used else ():
        for derivation in group.get("DerivationImageSequence", ()):
            derivation.SourceImageSequence = [
                source
                for source in derivation.SourceImageSequence
                if "ReferencedFrameNumber" not in source or source.ReferencedFrameNumber in used
            ]
    return segmentation


def _algorithm(mask: AnomalyMask, card: Mapping[str, Any] | None) -> hd.AlgorithmIdentificationSequence:
    parameters = {"false-positive rate": f"{mask.fpr:g}"}
    if card is not None:
        backbone = card["backbone"]
        parameters |= {
            "scorer": str(card["scorer"]),
            "backbone": str(backbone["name"]),
            "backbone weights SHA-256": str(backbone["weights_sha256"]),
            "normal scans": f"{card['n_scans']}{of_persons(card['n_scans'], card.get('n_persons'))}",
            "model created": str(card["created"]),
        }
    return hd.AlgorithmIdentificationSequence(
        name="napari-dinoad",
        family=codes.cid7162.ArtificialIntelligence,
        version=__version__,
        source="napari-dinoad",
        parameters=parameters,
    )


_COLOURS = (
    (53.0, 80.0, 67.0),
    (87.0, -79.0, 81.0),
    (60.0, 93.0, -60.0),
    (91.0, -50.0, -15.0),
    (75.0, 23.0, 79.0),
)
"""CIELab colours that viewers are asked to draw segments in: red, green, magenta, cyan, orange."""


def _colour(number: int) -> hd.color.CIELabColor:
    return hd.color.CIELabColor(*_COLOURS[(number - 1) % len(_COLOURS)])
