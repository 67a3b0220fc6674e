"""A mask of a DICOM series → DICOM-SEG, frame for frame on the images it was made from.

It refers to the source images and repeats the patient and study of their headers; see ``maps/dicom/sources``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import highdicom as hd
from highdicom.seg import Segmentation, SegmentDescription
from pydicom.sr.codedict import codes

from napari_dinoad.maps.dicom.seg_content import content_by_hand, content_of_mask
from napari_dinoad.maps.dicom.sources import derived, new_instance, save_object

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pydicom import Dataset

    from napari_dinoad.images.volume import Volume
    from napari_dinoad.maps.anomaly_map import AnomalyMask
    from napari_dinoad.maps.dicom.frames import Frames
    from napari_dinoad.maps.dicom.seg_content import SegContent
    from napari_dinoad.maps.hand_mask import HandMask
    from napari_dinoad.settings import SegSegments

__all__ = ["build_hand_seg", "build_seg", "save_hand_seg", "save_seg"]

_SERIES_NUMBER_OFFSET = 1000

_LONG_STRING = 64
"""Characters that DICOM allows in a label."""


def save_seg(
    path: Path, mask: AnomalyMask, card: Mapping[str, Any] | None = None, segments: SegSegments = "single"
) -> Path:
    """Write a mask as DICOM-SEG, atomically; see `build_seg`."""
    return save_object(path, build_seg(mask, card, segments))


def save_hand_seg(path: Path, mask: HandMask, segments: SegSegments = "single") -> Path:
    """Write a mask by hand as DICOM-SEG, atomically; see `build_hand_seg`."""
    return save_object(path, build_hand_seg(mask, segments))


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
    return _build(mask.anomaly_map.source, content_of_mask(mask, card, segments))


def build_hand_seg(mask: HandMask, segments: SegSegments = "single") -> Segmentation:
    """Return a mask by hand as DICOM-SEG: SEMIAUTOMATIC where it was corrected, MANUAL where it was drawn.

    Parameters
    ----------
    mask : HandMask
        Of a scan with ``dicom_files``.
    segments : {"single", "regions"}
        One segment, or one for each label.

    Returns
    -------
    highdicom.seg.Segmentation
        As of `build_seg`.

    Raises
    ------
    SettingError, ScanReadError, GeometryError
        As `build_seg`; also if there are too many labels for a segment each.
    """
    return _build(mask.source, content_by_hand(mask, segments))


def _build(volume: Volume, content: SegContent) -> Segmentation:
    return derived(
        "DICOM-SEG",
        "Save the mask as NIfTI",
        content.numbers,
        volume,
        lambda sources, pixels: _segmentation(sources, pixels, content),
    )


def _segmentation(
    sources: list[Dataset],
    pixels: Frames,
    content: SegContent,
) -> Segmentation:
    descriptions = [
        SegmentDescription(
            segment_number=number,
            segment_label=name[:_LONG_STRING],
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.SCT.Lesion,
            algorithm_type=content.algorithm_type,
            algorithm_identification=content.algorithm,
            display_color=_colour(number),
        )
        for number, name in enumerate(content.names, start=1)
    ]
    made = Segmentation(
        source_images=sources,
        pixel_array=pixels,
        segmentation_type="BINARY",
        segment_descriptions=descriptions,
        content_description=content.description,
        content_label=content.label,
        series_description=content.description,
        omit_empty_frames=False,
        **new_instance(sources[0], _SERIES_NUMBER_OFFSET),
    )
    if "FrameOfReferenceUID" not in made:
        # highdicom leaves it out; of images without a place it must be there, and may be empty.
        made.PatientOrientation = sources[0].get("PatientOrientation") or ""
        if sources[0].get("PixelAspectRatio"):
            made.PixelAspectRatio = sources[0].PixelAspectRatio
    return made


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
