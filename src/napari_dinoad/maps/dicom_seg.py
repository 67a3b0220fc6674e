"""A mask of a DICOM series → DICOM-SEG, frame for frame on the images it was made from.

It refers to the source images and repeats the patient and study of their headers; see `dicom_sources`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import highdicom as hd
import numpy as np
from highdicom.seg import Segmentation, SegmentDescription
from pydicom.sr.codedict import codes

from napari_dinoad import __version__
from napari_dinoad.files import atomic_path
from napari_dinoad.maps.dicom_sources import derived, model_parameters, new_instance

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pydicom import Dataset

    from napari_dinoad.maps.anomaly_map import AnomalyMask
    from napari_dinoad.maps.dicom_sources import Frames
    from napari_dinoad.settings import SegSegments

__all__ = ["MAX_REGION_SEGMENTS", "build_seg", "save_seg"]

MAX_REGION_SEGMENTS = 20
"""With a segment for each region, so many regions get their own; the others share one more. Every segment has all
frames, so the file grows with their number (a 512 × 512 frame is 32 kB)."""

_SERIES_NUMBER_OFFSET = 1000

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
    labels, names = _segments(mask, segments)
    return derived(
        "DICOM-SEG",
        "Save the mask as NIfTI",
        labels,
        mask.anomaly_map.source,
        lambda sources, pixels: _segmentation(sources, pixels, names, mask, card),
    )


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


def _segmentation(
    sources: list[Dataset],
    pixels: Frames,
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
    return Segmentation(
        source_images=sources,
        pixel_array=pixels,
        segmentation_type="BINARY",
        segment_descriptions=descriptions,
        content_description=_DESCRIPTION,
        content_label="ANOMALIES",
        series_description=_DESCRIPTION,
        omit_empty_frames=False,
        **new_instance(sources[0], _SERIES_NUMBER_OFFSET),
    )


def _algorithm(mask: AnomalyMask, card: Mapping[str, Any] | None) -> hd.AlgorithmIdentificationSequence:
    parameters = {"false-positive rate": f"{mask.fpr:g}", **model_parameters(card)}
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
