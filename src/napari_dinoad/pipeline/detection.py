"""A patient's scan and a normative model → a calibrated anomaly map on the scan's own grid."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_dinoad.backbones import load_backbone
from napari_dinoad.calibration import scan_score
from napari_dinoad.errors import ModelFileError, SettingError
from napari_dinoad.images.slices import prepare_scan, slice_axis
from napari_dinoad.maps import AnomalyMap, AnomalyMask, Findings
from napari_dinoad.progress import report
from napari_dinoad.settings import DetectSettings

if TYPE_CHECKING:
    from napari_dinoad.backbones import Backbone
    from napari_dinoad.images.slices import PreparedScan
    from napari_dinoad.images.volume import Volume
    from napari_dinoad.normative_model import NormativeModel
    from napari_dinoad.progress import Progress

__all__ = ["Detection", "Detector", "OnSlices", "detect"]

OnSlices = Callable[[int, list[int], np.ndarray], None]
"""Called after each batch with (axis, slice indices, −log10 p (n, …) of these slices of the canonical array)."""


@dataclass(frozen=True, eq=False)
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
        were scored, since the normal scans were scored whole.
    n_calibration_scans : int
        Normal scans behind ``p_value``; nothing below 1 / (n + 1) can be claimed.
    n_more_normal : int
        How many of these normal scans are less extreme than this one.
    slices : tuple of int
        The slices that were scored.
    seconds : dict of float
        By stage: ``prepare``, ``embed``, ``score``, ``map``, and ``total``.
    """

    anomaly_map: AnomalyMap
    scan_score: float
    p_value: float | None
    n_calibration_scans: int
    n_more_normal: int
    slices: tuple[int, ...]
    seconds: dict[str, float]

    def mask(self, fpr: float = 0.01, min_volume_mm3: float = 0.0) -> AnomalyMask:
        """Return the mask at a false-positive rate; see `AnomalyMask.of`."""
        return AnomalyMask.of(self.anomaly_map, fpr, min_volume_mm3)

    def findings(self, mask: AnomalyMask, scan: str, card: Mapping[str, Any] | None = None) -> Findings:
        """Return what is to be written about the scan; ``scan`` is its file name, ``card`` the model's."""
        return Findings(
            mask,
            scan,
            self.p_value,
            self.n_calibration_scans,
            self.n_more_normal,
            self.seconds,
            card,
            mask.anomaly_map.source.notes,
        )


class Detector:
    """A normative model with its backbone loaded, to score many scans.

    Parameters
    ----------
    model : NormativeModel
    settings : DetectSettings, optional
    weights : str, optional
        A local weights file of the model's backbone.
    progress : callable, optional
        Told how far a download of weights is; may raise `Cancelled`.

    Raises
    ------
    BackboneError
        If the backbone or its weights cannot be had.
    ModelFileError
        If the weights are not those that the model was fitted with.
    """

    def __init__(
        self,
        model: NormativeModel,
        settings: DetectSettings | None = None,
        weights: str | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.model = model
        self.settings = settings or DetectSettings()
        self.backbone: Backbone = load_backbone(model.backbone.name, weights, self.settings.device, progress)
        if self.backbone.weights_sha256 != model.backbone.weights_sha256:
            raise ModelFileError(
                f"Weights of {model.backbone.name}: expected SHA-256 {model.backbone.weights_sha256[:12]}…, got "
                f"{self.backbone.weights_sha256[:12]}…; the model was fitted with other weights. "
                "Use those, or fit the model again with these."
            )

        self._prepared: PreparedScan | None = None

    def prepare(self, volume: Volume) -> PreparedScan:
        """Return the scan with its body, crop and intensity range; the one prepared last is kept."""
        if self._prepared is None or self._prepared.volume is not volume:
            self._prepared = prepare_scan(
                volume, self.model.preprocessing, self.backbone.default_resolution_px
            )
        return self._prepared

    def slice_axis(self, volume: Volume) -> int:
        """Return the axis of the canonical array across which this model takes slices of the scan."""
        return slice_axis(volume, self.model.preprocessing.plane)

    def detect(
        self,
        volume: Volume,
        *,
        slices: Sequence[int] | None = None,
        start_slice: int | None = None,
        progress: Progress | None = None,
        on_slices: OnSlices | None = None,
    ) -> Detection:
        """Score a scan.

        Parameters
        ----------
        volume : Volume
        slices : sequence of int, optional
            Only these slices of the canonical array, along `slice_axis`; None: all that show the body.
        start_slice : int, optional
            Slices are scored outwards from this one.
        progress : callable, optional
            Called after each batch; may raise `Cancelled`.
        on_slices : callable, optional
            Gets each batch's map as soon as it is ready, on the calling thread.

        Raises
        ------
        ScanReadError
            If no body is found.
        SettingError
            If a slice is not in the scan, or the model's intensity setting does not suit the scan.
        """
        run = _Run(self, volume)
        wanted = run.choose(slices, start_slice)
        size = self.settings.batch_slices if start_slice is None else 1
        report(progress, "Scoring slices", 0, len(wanted))
        done = 0
        while done < len(wanted):
            batch = wanted[done : done + size]
            values = run.score(batch)
            done += len(batch)
            # The first slice alone is on screen soonest; then whole batches.
            size = self.settings.batch_slices
            if on_slices is not None:
                on_slices(run.prepared.axis, batch, values)
            report(progress, "Scoring slices", done, len(wanted))
        return run.detection(wanted)


def detect(
    volume: Volume,
    model: NormativeModel,
    settings: DetectSettings | None = None,
    progress: Progress | None = None,
) -> Detection:
    """Score one scan with a model; to score many, make one `Detector`.

    Returns
    -------
    Detection
        The anomaly map ``.anomaly_map.values`` is (z, y, x) float32, −log10 p.
    """
    return Detector(model, settings, progress=progress).detect(volume, progress=progress)


class _Run:
    """One scan being scored."""

    def __init__(self, detector: Detector, volume: Volume) -> None:
        self._detector = detector
        self._started = time.perf_counter()
        self.seconds = {"prepare": 0.0, "embed": 0.0, "score": 0.0, "map": 0.0}
        self.prepared = detector.prepare(volume)
        self.seconds["prepare"] = time.perf_counter() - self._started
        self._values = np.zeros(volume.values.shape, dtype=np.float32)
        self._body_scores: list[np.ndarray] = []

    def choose(self, slices: Sequence[int] | None, start_slice: int | None) -> list[int]:
        """Return the slices to score, in order."""
        n = int(self._values.shape[self.prepared.axis])
        wanted = list(self.prepared.indices if slices is None else slices)
        outside = [index for index in wanted if not 0 <= index < n]
        if outside:
            raise SettingError(f"Slices: expected 0 to {n - 1}, got {outside}.")
        if start_slice is not None:
            wanted.sort(key=lambda index: abs(index - start_slice))
        return wanted

    def score(self, indices: list[int]) -> np.ndarray:
        """Score some slices, put them into the map, and return them (n, …) in canonical order."""
        t0 = time.perf_counter()
        images = torch.from_numpy(self.prepared.images(indices))
        t1 = time.perf_counter()
        embeddings = self._detector.backbone(images).values
        t2 = time.perf_counter()
        members = self._detector.model.planes[0].members
        patch_scores = [member.scorer.score(embeddings).cpu().numpy() for member in members]
        t3 = time.perf_counter()
        values = self._place(indices, patch_scores)
        t4 = time.perf_counter()
        for stage, spent in zip(
            ("prepare", "embed", "score", "map"), (t1 - t0, t2 - t1, t3 - t2, t4 - t3), strict=True
        ):
            self.seconds[stage] += spent
        return values

    def _place(self, indices: list[int], patch_scores: list[np.ndarray]) -> np.ndarray:
        body = self.prepared.body_slices(indices)
        plane = self._detector.model.planes[0]
        raw = plane.raw_scores([self.prepared.maps_to_slices(scores) for scores in patch_scores])
        self._body_scores.append(raw[body])
        shown = np.where(body, self._detector.model.calibration.neg_log10_p(raw), np.float32(0))
        block = self.prepared.from_display(shown)
        where: list[slice | list[int]] = [slice(None)] * 3
        where[self.prepared.axis] = indices
        self._values[tuple(where)] = block
        return np.moveaxis(block, self.prepared.axis, 0)

    def detection(self, slices: list[int]) -> Detection:
        """Return the result over all slices scored."""
        model = self._detector.model
        if not self._body_scores:
            # No slice was asked for: nothing to tell.
            score = float("-inf")
        else:
            score = scan_score(np.concatenate(self._body_scores), model.scan_top_fraction)
        is_whole = set(self.prepared.indices) <= set(slices)
        self.seconds["total"] = time.perf_counter() - self._started
        return Detection(
            AnomalyMap(self._values, self.prepared.volume),
            score,
            model.calibration.scan_p_value(score) if is_whole else None,
            model.calibration.n_scans,
            int(np.count_nonzero(model.calibration.scan_scores < score)),
            tuple(sorted(slices)),
            {stage: round(spent, 4) for stage, spent in self.seconds.items()},
        )
