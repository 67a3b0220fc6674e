"""Settings of detection and evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from napari_dinoad.settings.checks import require, require_choice
from napari_dinoad.settings.choices import AUPRO_FPR_LIMIT, Device, EvaluationProtocol
from napari_dinoad.settings.fitting import CalibrationSettings
from napari_dinoad.settings.kinds import settle


@dataclass(frozen=True)
class DetectSettings:
    """Settings of `detect`.

    Attributes
    ----------
    fpr : float
        False-positive rate among normal voxels at which the mask is drawn.
    min_volume_mm3 : float
        Regions smaller than this are left out (for pixels without physical size: pixels).
    device : str
        Where backbone and scorers compute: ``"auto"`` (the quickest), ``"cpu"``, ``"cuda"`` or ``"mps"``.
    batch_slices : int, optional
        Slices scored at a time; None: as many as keep the device busy and its memory holds.
    """

    fpr: float = 0.01
    min_volume_mm3: float = 0.0
    device: Device = "auto"
    batch_slices: int | None = None

    def __post_init__(self) -> None:
        settle(self)
        require_choice("device", self.device, Device)
        # Maps end at −log10 p = 12: a smaller rate would mark nothing, whatever there is.
        share = "a share of at least 1e-12 and below 1 (0.01 is 1 %)"
        require(1e-12 <= self.fpr < 1, "false-positive rate", share, self.fpr)
        require(0 <= self.min_volume_mm3 < inf, "minimum volume", "0 or more", self.min_volume_mm3)
        ok = self.batch_slices is None or self.batch_slices >= 1
        require(ok, "batch", "at least 1 slice", self.batch_slices)


@dataclass(frozen=True)
class EvaluationSettings:
    """How maps are compared with the truth of a benchmark.

    Attributes
    ----------
    protocol : str
        ``"native"`` (each scan's own pixels), ``"ar240"`` (maps and masks at 240²) or ``"bmad224"`` (at 224²).
    false_positive_rates : tuple of float
        Rates of normal pixels at which Dice is told.
    aupro_limit : float
        False-positive rate up to which the per-region overlap is averaged.
    top_fraction : float
        An image's own score is the mean of this share of its highest scores.
    frame : int, optional
        Which volume of 4D scans (or page of stacks) is scored, from 0; masks are of that one. 3D scans are scored
        as they are.
    """

    protocol: EvaluationProtocol = "native"
    false_positive_rates: tuple[float, ...] = (0.01, 0.05, 0.1)
    aupro_limit: float = AUPRO_FPR_LIMIT
    top_fraction: float = CalibrationSettings.scan_top_fraction
    frame: int | None = None

    def __post_init__(self) -> None:
        settle(self)
        require_choice("protocol", self.protocol, EvaluationProtocol)
        for rate in self.false_positive_rates:
            require(0 < rate < 1, "false-positive rate", "above 0 and below 1", rate)
        require(0 < self.aupro_limit <= 1, "AUPRO limit", "above 0, at most 1", self.aupro_limit)
        require(self.frame is None or self.frame >= 0, "frame", "0 or more", self.frame)
        require(0 < self.top_fraction <= 1, "top fraction", "above 0, at most 1", self.top_fraction)
