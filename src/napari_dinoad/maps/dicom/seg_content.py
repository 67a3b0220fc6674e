"""What a DICOM-SEG says: which segments there are, what they are called, and who or what made them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import highdicom as hd
import numpy as np
from pydicom.sr.codedict import codes

from napari_dinoad import __version__
from napari_dinoad.errors import SettingError
from napari_dinoad.maps.dicom.sources import model_parameters
from napari_dinoad.maps.finding_words import rate_in_words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_dinoad.maps.anomaly_map import AnomalyMask
    from napari_dinoad.maps.hand_mask import HandMask
    from napari_dinoad.settings import SegSegments

__all__ = ["MAX_REGION_SEGMENTS", "SegContent", "content_by_hand", "content_of_mask"]

MAX_REGION_SEGMENTS = 20
"""With a segment for each region, so many regions get their own; the others share one more. Every segment has all
frames, so the file grows with their number (a 512 × 512 frame is 32 kB)."""


@dataclass(frozen=True, eq=False)
class SegContent:
    """The segments of one file.

    Attributes
    ----------
    numbers : numpy.ndarray
        (z, y, x) uint8 in canonical orientation: numbers of segments from 1, 0 outside.
    names : tuple of str
        What the segments are called, from number 1 on.
    algorithm_type : {"AUTOMATIC", "SEMIAUTOMATIC", "MANUAL"}
        As the standard has it: without, with limited, and only by what a person did.
    algorithm : highdicom.AlgorithmIdentificationSequence, optional
        What computed them; None for MANUAL, which must have none.
    label, description : str
        Of the file.
    """

    numbers: np.ndarray
    names: tuple[str, ...]
    algorithm_type: Literal["AUTOMATIC", "SEMIAUTOMATIC", "MANUAL"]
    algorithm: hd.AlgorithmIdentificationSequence | None
    label: str
    description: str


def content_of_mask(mask: AnomalyMask, card: Mapping[str, Any] | None, segments: SegSegments) -> SegContent:
    """Return the regions that were found, in one segment or the `MAX_REGION_SEGMENTS` highest in one each."""
    numbers, names = _regions(mask, segments)
    algorithm = _algorithm({"false-positive rate": f"{mask.fpr:g}"}, card)
    description = "napari-dinoad anomalies, research use only"
    return SegContent(numbers, names, "AUTOMATIC", algorithm, "ANOMALIES", description)


def content_by_hand(mask: HandMask, segments: SegSegments) -> SegContent:
    """Return a mask by hand, in one segment or one for each label.

    Raises
    ------
    SettingError
        If there are more than `MAX_REGION_SEGMENTS` labels for segments of their own.
    """
    description = f"{mask.in_words}, research use only"
    names: tuple[str, ...]
    if segments == "single" or len(mask.present) < 2:
        numbers = (mask.labels > 0).astype(np.uint8)
        names = (mask.names.get(mask.present[0], "") if len(mask.present) == 1 else "",)
    else:
        if len(mask.present) > MAX_REGION_SEGMENTS:
            raise SettingError(
                f"DICOM-SEG: expected at most {MAX_REGION_SEGMENTS} labels for a segment each, got "
                f"{len(mask.present)}. Choose one segment for all, or save the mask as NIfTI."
            )
        numbers = np.searchsorted([0, *mask.present], mask.labels).astype(np.uint8)
        names = tuple(mask.names.get(label) or f"Label {label}" for label in mask.present)
    names = tuple(name or mask.in_words for name in names)
    if mask.making == "drawn":
        return SegContent(numbers, names, "MANUAL", None, "BY HAND", description)
    return SegContent(numbers, names, "SEMIAUTOMATIC", _algorithm({}, mask.card), "BY HAND", description)


def _regions(mask: AnomalyMask, segments: SegSegments) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return (z, y, x) uint8 segment numbers from 1, and the label of each segment."""
    regions = mask.regions()
    if segments == "single" or not regions:
        return mask.values, (f"Anomalies at a rate of {rate_in_words(mask.fpr)} of normal voxels",)
    number_of = np.zeros(int(mask.labels.max()) + 1, dtype=np.uint8)
    own = regions[:MAX_REGION_SEGMENTS]
    for number, region in enumerate(own, start=1):
        number_of[region.label] = number
    names = [f"Region {region.label}, peak -log10 p {region.peak_neg_log10_p:.1f}" for region in own]
    others = regions[MAX_REGION_SEGMENTS:]
    if others:
        number_of[[region.label for region in others]] = len(own) + 1
        names.append(f"{len(others)} further regions")
    return number_of[mask.labels], tuple(names)


def _algorithm(
    parameters: Mapping[str, str], card: Mapping[str, Any] | None
) -> hd.AlgorithmIdentificationSequence:
    return hd.AlgorithmIdentificationSequence(
        name="napari-dinoad",
        family=codes.cid7162.ArtificialIntelligence,
        version=__version__,
        source="napari-dinoad",
        parameters={**parameters, **model_parameters(card)} or None,
    )
