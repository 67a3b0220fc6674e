"""What was found in one scan, with what a reader needs to judge it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from napari_dinoad.images.persons import of_persons

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from napari_dinoad.calibration import NormalPeaks
    from napari_dinoad.images.volume import Volume
    from napari_dinoad.maps.anomaly_map import AnomalyMap, AnomalyMask
    from napari_dinoad.maps.regions import Region

NOT_COMPARABLE = "Nothing can be said about the whole scan: single slices and volumes cannot be compared."

__all__ = [
    "NOT_COMPARABLE",
    "RESEARCH_USE",
    "Findings",
    "beyond_words",
    "chance_words",
    "regions_beyond",
    "scan_level_words",
    "scan_notes",
    "suspicion_words",
]

RESEARCH_USE = "Research use only; not a medical device."

_SUSPECT_RATE = 0.01
_SUSPECT_SHARE = 0.2
"""A scan with more of its voxels beyond this rate is another kind of scan rather than one with an illness."""


@dataclass(frozen=True, eq=False)
class Findings:
    """Mask, scan-level figures and model of one scan: everything that is written about it.

    Attributes
    ----------
    mask : AnomalyMask
        With its anomaly map and the scan.
    scan : str
        File name of the scan; never its folder, which may name a patient.
    p_value : float, optional
        Of the whole scan; None when only some of its slices were scored, or the normal scans are of another kind.
    n_calibration_scans, n_more_normal : int, optional
        Normal scans compared with, and how many of them are less extreme; None when nothing was compared.
    seconds : mapping of str to float
        By stage.
    card : mapping, optional
        The model's card.
    notes : tuple of str
        What was assumed or done on the way, beside what the reader of the scan notes.
    n_calibration_persons : int, optional
        Persons that the normal scans are of; None: as many as scans.
    is_whole : bool
        Whether all slices that the model looks at were scored.
    normal_peaks : NormalPeaks, optional
        The highest −log10 p of each of the normal scans; None where ``p_value`` is.
    """

    mask: AnomalyMask
    scan: str
    p_value: float | None = None
    n_calibration_scans: int | None = None
    n_more_normal: int | None = None
    seconds: Mapping[str, float] | None = None
    card: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()
    n_calibration_persons: int | None = None
    is_whole: bool = False
    normal_peaks: NormalPeaks | None = None

    @property
    def volume(self) -> Volume:
        """The scan."""
        return self.mask.anomaly_map.source

    def all_notes(self) -> tuple[str, ...]:
        """Return what a reader of the results should know: of the scan's own reading, its geometry, the detection."""
        suspicion = self.suspicion()
        return (*((suspicion,) if suspicion else ()), *scan_notes(self.volume), *self.notes)

    def suspicion(self) -> str:
        """Return a warning when so much is unusual that the scan is probably of another kind; else nothing."""
        return suspicion_words(self.mask.anomaly_map, is_whole=self.is_whole or self.volume.is_2d)

    def only(self, labels: Collection[int]) -> Findings:
        """Return the findings with these regions alone; they keep their numbers."""
        return replace(self, mask=self.mask.only(labels))

    def scan_words(self) -> str:
        """Return what the scan-level figures say, for people."""
        if self.p_value is None and (self.is_whole or self.volume.is_2d):
            return NOT_COMPARABLE
        if self.n_calibration_scans is None or self.n_more_normal is None:
            return scan_level_words(None, 0, 0)
        return scan_level_words(
            self.p_value, self.n_calibration_scans, self.n_more_normal, self.n_calibration_persons
        )

    def beyond_words(self) -> str:
        """Return how many regions are beyond all normal scans; empty where none was compared, or there is none."""
        return beyond_words(self.mask.regions(), self.normal_peaks)

    def regions_beyond(self) -> list[Region] | None:
        """Return the regions that no normal scan has the like of; None where none was compared."""
        peaks = self.normal_peaks
        return None if peaks is None else regions_beyond(self.mask.regions(), peaks)

    def region_dicts(self) -> list[dict[str, Any]]:
        """Return JSON values of each region, with how its peak compares to the normal scans, where that is known."""
        regions = [region.to_dict() for region in self.mask.regions()]
        if self.normal_peaks is None:
            return regions
        return [
            values
            | {
                "n_normal_reaching": self.normal_peaks.n_reaching(region.peak_neg_log10_p),
                "p_value_corrected": self.normal_peaks.p_value(region.peak_neg_log10_p),
            }
            for region, values in zip(self.mask.regions(), regions, strict=True)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, without the model's card and without any folder."""
        regions, beyond = self.region_dicts(), self.regions_beyond()
        n_scans, n_persons = self.n_calibration_scans, self.n_calibration_persons
        return {
            "scan": self.scan,
            "p_value": self.p_value,
            "n_calibration_scans": n_scans,
            "n_calibration_persons": n_scans if n_persons is None else n_persons,
            "n_more_normal": self.n_more_normal,
            "threshold_fpr": self.mask.fpr,
            "n_regions": len(regions),
            "n_regions_beyond_normal": None if beyond is None else len(beyond),
            "regions": regions,
            "seconds": None if self.seconds is None else dict(self.seconds),
            "notes": list(self.all_notes()),
        }


def scan_notes(volume: Volume) -> tuple[str, ...]:
    """Return what a reader of anything about a scan should know: of its reading, and how it lies."""
    geometry = volume.geometry
    if not (geometry.is_physical and geometry.is_oblique):
        return volume.notes
    return (
        *volume.notes,
        f"The scan's axes are turned by up to {geometry.obliquity_deg:.1f}° against the patient's; pictures are "
        "along its own axes, positions in the patient's.",
    )


def scan_level_words(
    p_value: float | None, n_normal: int, n_more_normal: int, n_persons: int | None = None
) -> str:
    """Return what a scan-level p-value says, for people; it claims no more than the normal scans allow.

    Parameters
    ----------
    p_value : float, optional
    n_normal : int
        Normal scans compared with.
    n_more_normal : int
        How many of them are less extreme than this scan.
    n_persons : int, optional
        Persons that they are of; None: as many.
    """
    if p_value is None:
        return "Only some slices were scored: no statement about the whole scan."
    of = of_persons(n_normal, n_persons)
    if n_more_normal == n_normal:
        return (
            f"More unusual than all {n_normal} normal scans{of} (p = {p_value:.2g}, the smallest that "
            f"{f'{n_persons} persons' if of else f'{n_normal} scans'} allow)."
        )
    if n_more_normal == 0:
        return f"Not more unusual than any of {n_normal} normal scans{of} (p = {p_value:.2g})."
    return f"More unusual than {n_more_normal} of {n_normal} normal scans{of} (p = {p_value:.2g})."


def regions_beyond(regions: Iterable[Region], normal_peaks: NormalPeaks) -> list[Region]:
    """Return the regions with a peak that no normal scan reaches anywhere."""
    return [region for region in regions if normal_peaks.is_beyond(region.peak_neg_log10_p)]


def beyond_words(regions: Sequence[Region], normal_peaks: NormalPeaks | None) -> str:
    """Return how many `regions_beyond` there are: ``"2 beyond all 24 normal scans"``; empty if nothing is told."""
    if normal_peaks is None or not regions:
        return ""
    n_scans = normal_peaks.n_scans
    of = f"all {n_scans} normal scans" if n_scans > 1 else "the normal scan"
    return f"{len(regions_beyond(regions, normal_peaks)) or 'none'} beyond {of}"


def chance_words(normal_peaks: NormalPeaks) -> str:
    """Return how often a new normal scan has a region beyond all normal scans: where it is the highest of all."""
    return f"One in {1 + normal_peaks.n_persons} new normal scans has such a region by chance."


def suspicion_words(anomaly_map: AnomalyMap, *, is_whole: bool) -> str:
    """Return a warning when so much is unusual that the scan is probably of another kind; else nothing.

    Parameters
    ----------
    anomaly_map : AnomalyMap
    is_whole : bool
        Whether all of the scan was scored.
    """
    share = anomaly_map.n_beyond(_SUSPECT_RATE) / max(anomaly_map.n_scored, 1)
    if share < _SUSPECT_SHARE:
        return ""
    what = "this scan" if is_whole else "what was scored of this scan"
    return (
        f"{100 * share:.0f} % of {what} is beyond the rate of 1 %. It is probably of another kind than the normal "
        "scans (contrast, scanner, body part, resolution) rather than ill everywhere: score it with a "
        "model that was fitted on scans of its kind."
    )
