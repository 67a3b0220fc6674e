"""What was found in a scan: its map, its p-value, and what goes with them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_dinoad.maps import AnomalyMap, AnomalyMask, Findings
from napari_dinoad.settings import DetectSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_dinoad.calibration import NormalPeaks
    from napari_dinoad.settings import Plane

__all__ = ["Detection"]


@dataclass(frozen=True, eq=False, repr=False)
class Detection:
    """What was found in a scan.

    Attributes
    ----------
    anomaly_map : AnomalyMap
        −log10 p on the scan's own grid.
    scan_score : float
        The scan's own raw score (only of the slices that were scored).
    p_value : float, optional
        Of the whole scan: how often a normal scan is at least as extreme. None when only some of its slices
        were scored, since the normal scans were scored whole, and where one is a single slice and the others are
        volumes, or the other way round.
    n_calibration_scans : int
        Normal scans behind ``p_value``.
    n_calibration_persons : int
        Persons that these scans are of; nothing below 1 / (n + 1) can be claimed.
    n_more_normal : int
        How many of these normal scans are less extreme than this one.
    slices : tuple of int
        The slices that were scored, along the axis of the first plane.
    planes : tuple of str
        The planes that the map was made from.
    seconds : dict of float
        By stage: ``prepare``, ``embed``, ``score``, ``map``, and ``total``.
    unlike : tuple of str
        In what the scan as such is unlike the model's normal scans, a sentence each; see `Detector.unlike`.
    settings : DetectSettings
        Those that it was made with.
    scan_neg_log10_p : float
        What a voxel with the scan's own score would have: it compares scans whose slices were averaged with others,
        which have another calibration.
    is_whole : bool
        Whether all slices that the model looks at were scored.
    normal_peaks : NormalPeaks, optional
        The highest −log10 p of each of the normal scans; None where ``p_value`` is.
    """

    anomaly_map: AnomalyMap
    scan_score: float
    p_value: float | None
    n_calibration_scans: int
    n_calibration_persons: int
    n_more_normal: int
    slices: tuple[int, ...]
    planes: tuple[Plane, ...]
    seconds: dict[str, float]
    unlike: tuple[str, ...] = ()
    settings: DetectSettings = field(default_factory=DetectSettings)
    scan_neg_log10_p: float = 0.0
    is_whole: bool = True
    normal_peaks: NormalPeaks | None = None

    def __repr__(self) -> str:
        p = "no p-value of the whole scan" if self.p_value is None else f"scan-level p = {self.p_value:.3g}"
        return f"<Detection, slices scored: {len(self.slices)}, {p}, {self.anomaly_map!r}>"

    def mask(self, fpr: float | None = None, min_volume_mm3: float | None = None) -> AnomalyMask:
        """Return the mask at a false-positive rate; see `AnomalyMask.of`.

        Parameters
        ----------
        fpr, min_volume_mm3 : float, optional
            None: those of `settings`.
        """
        return AnomalyMask.of(
            self.anomaly_map,
            self.settings.fpr if fpr is None else fpr,
            self.settings.min_volume_mm3 if min_volume_mm3 is None else min_volume_mm3,
        )

    def findings(self, mask: AnomalyMask, scan: str, card: Mapping[str, Any] | None = None) -> Findings:
        """Return what is to be written about the scan, for `napari_dinoad.maps.outputs.save_outputs`.

        Parameters
        ----------
        mask : AnomalyMask
            Of this detection's map.
        scan : str
            The name of the scan's file, which reports tell.
        card : mapping, optional
            See `NormativeModel.card`; None: nothing is told of the model.
        """
        return Findings(
            mask,
            scan,
            self.p_value,
            self.n_calibration_scans,
            self.n_more_normal,
            self.seconds,
            card,
            self.unlike,
            self.n_calibration_persons,
            self.is_whole,
            self.normal_peaks,
        )
