"""A patient's scan and a normative model → a calibrated anomaly map on the scan's own grid."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_dinoad.backbones import load_backbone
from napari_dinoad.backbones.embeddings import require_backbone, weights_identity
from napari_dinoad.errors import first_line
from napari_dinoad.given_arrays import require_number
from napari_dinoad.images.slices import prepare_planes, slice_axis
from napari_dinoad.images.values.hounsfield import modality_note
from napari_dinoad.images.values.intensity import darkness_note
from napari_dinoad.images.volume import require_volume
from napari_dinoad.machine.faults import is_of_memory
from napari_dinoad.maps import AnomalyMap
from napari_dinoad.normative_model.cohort_norms import all_reach_air, unlike_all
from napari_dinoad.normative_model.fingerprints import fingerprint_of
from napari_dinoad.normative_model.format import are_volumes
from napari_dinoad.normative_model.model import NormativeModel, require_model
from napari_dinoad.pipeline.detection.detection import Detection
from napari_dinoad.pipeline.detection.scan_run import ScanRun
from napari_dinoad.pipeline.slices.device_slices import sent_voxels
from napari_dinoad.pipeline.slices.scan_facts import scan_facts
from napari_dinoad.progress import report
from napari_dinoad.settings import DetectSettings
from napari_dinoad.settings.checks import require, require_kind

if TYPE_CHECKING:
    from napari_dinoad.backbones import Backbone
    from napari_dinoad.images.slices import PreparedScan
    from napari_dinoad.images.volume import Volume
    from napari_dinoad.progress import Progress

__all__ = ["NOT_COMPARABLE", "SEEN", "Detector", "OnSlices", "detect"]

logger = logging.getLogger(__name__)

_LESS = 4
"""Where a GPU's memory ran out, a batch has so many times fewer slices."""

NOT_COMPARABLE = {
    True: "It is a single slice and the normal scans are volumes: nothing can be said about a whole scan.",
    False: "It is a volume and the normal scans are single images: nothing can be said about a whole scan.",
}
"""Told of a single slice where the normal scans are volumes, or the other way round; by whether it is one."""

SEEN = "It is one of the normal scans behind this model, which has seen it: a new one would look less normal."
"""Told of a scan that is one of the normal scans behind the model; see `Detector.has_seen`."""

OnSlices = Callable[[int, list[int], np.ndarray], None]
"""Called after each batch with (axis, slice indices, −log10 p (n, …) of these slices of the canonical array)."""


class Detector:
    """A normative model with its backbone loaded, to score many scans.

    Parameters
    ----------
    model : NormativeModel
        Stays as it is.
    settings : DetectSettings, optional
        Device, slices at a time, and the rate and smallest region of `Detection.mask`.
    weights : str, optional
        A local weights file of the model's backbone.
    progress : callable, optional
        Told how far a download of weights is; may raise `Cancelled`.
    backbone : Backbone, optional
        The model's backbone, loaded already: several models can share it. None: it is loaded on the device of
        ``settings``.

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
        backbone: Backbone | None = None,
    ) -> None:
        require_model(model)
        self.settings = settings or DetectSettings()
        require_kind("settings", self.settings, DetectSettings)
        if backbone is None:
            backbone = load_backbone(model.backbone.name, weights, self.settings.device, progress)
        require_backbone(backbone)
        self.backbone: Backbone = backbone
        model.require_weights(weights_identity(self.backbone, model.preprocessing.colour))
        self.model = model.on_device(self.backbone.device)
        self._prepared: tuple[PreparedScan, ...] = ()
        self._unlike: tuple[tuple[PreparedScan, ...], tuple[str, ...]] | None = None

    def __repr__(self) -> str:
        return f"<Detector on {self.backbone.device}: {self.model!r}>"

    def prepare(self, volume: Volume) -> tuple[PreparedScan, ...]:
        """Return the scan with its body, crop and intensity range for each plane; the one prepared last is kept.

        Parameters
        ----------
        volume : Volume

        Raises
        ------
        ScanReadError
            If no body is found.
        SettingError
            If the intensity setting does not suit the scan, or a path was given in place of one.
        """
        # Another thread may put its own scan in place meanwhile.
        prepared = self._prepared
        if not prepared or prepared[0].volume is not volume:
            # The scan of before is let go first: to find the body takes as much as two more.
            del prepared
            self._prepared, self._unlike = (), None
            prepared = self._prepared = self.prepare_apart(volume)
        return prepared

    def prepare_apart(self, volume: Volume) -> tuple[PreparedScan, ...]:
        """Return what `prepare` does, without keeping it: for `detect`, on another thread while it scores a scan."""
        require_volume(volume)
        return prepare_planes(volume, self.model.preprocessing, self.backbone.default_resolution_px)

    def unlike(self, volume: Volume) -> tuple[str, ...]:
        """Return in what a scan is unlike the model's normal scans: kind, voxel size, extent of the body, contrast.

        One sentence each; none where nothing stands out. That it is one of them (see `has_seen`), that it looks like
        CT and the model is of MR, or the other way round, and that it is nearly black to the model is told whatever
        the normal ones were. The map of such a scan says little. Errors are those of `prepare`.
        """
        prepared = self.prepare(volume)
        kept = self._unlike
        if kept is None or kept[0] is not prepared:
            facts = scan_facts(prepared[0])
            of_normals = all_reach_air(self.model.cohorts)
            kind = modality_note(self.model.preprocessing.preset, facts["reaches_air"], of_normals)
            dark = darkness_note(volume, prepared[0].intensity)
            words = (*filter(None, [kind, dark]), *unlike_all(self.model.cohorts, facts))
            if not self._is_comparable(volume):
                words = (NOT_COMPARABLE[volume.is_2d], *words)
            if self.has_seen(volume):
                words = (SEEN, *words)
            kept = self._unlike = prepared, words
        return kept[1]

    def has_seen(self, volume: Volume) -> bool:
        """Return whether a scan is one of the normal scans behind the model, voxel for voxel.

        Those that were held out to calibrate it count, too. Other images of the same persons are not known.
        """
        behind = self.model.fingerprints
        return (
            bool(behind) and fingerprint_of(volume.content_sha256(self.model.preprocessing.colour)) in behind
        )

    def _is_comparable(self, volume: Volume) -> bool:
        """Whether a scan's own score can be compared with the normal ones: a slice's cannot with whole volumes'."""
        made = self.model.provenance
        return volume.is_2d != are_volumes(made.n_scans, made.n_slices, len(self.model.planes))

    def slice_axis(self, volume: Volume) -> int:
        """Return the axis of the canonical array across which this model takes slices of the scan, first of all."""
        require_volume(volume)
        return slice_axis(volume, self.model.planes[0].plane)

    def detect(
        self,
        volume: Volume,
        *,
        slices: Sequence[int] | None = None,
        start_slice: int | None = None,
        progress: Progress | None = None,
        on_slices: OnSlices | None = None,
        on_preliminary: OnSlices | None = None,
        prepared: tuple[PreparedScan, ...] = (),
    ) -> Detection:
        """Score a scan.

        A model of several planes scores one after the other. What the first says, calibrated on its own, is given to
        ``on_slices`` as it comes; in the end the fused map is, slice by slice, in its place. A slice of a volume
        comes once the neighbours that it is averaged with are scored (see `CalibrationSettings.smoothing_mm`); that
        at ``start_slice`` comes twice, at first scored for itself.

        Where a GPU's memory runs out around the network, the scan is scored once more: fewer slices at a time, and
        resampled and placed by the CPU. What has come to ``on_slices`` by then comes again.

        Parameters
        ----------
        volume : Volume
        slices : sequence of int, optional
            Only these slices of the canonical array, along `slice_axis`, each scored for itself and only by the
            model's first plane; None: all that show the body.
        start_slice : int, optional
            Slices are scored outwards from this one.
        progress : callable, optional
            Called after each batch; may raise `Cancelled`.
        on_slices : callable, optional
            Gets the map of some slices as soon as it is ready, on the calling thread.
        on_preliminary : callable, optional
            Gets, in place of ``on_slices``, what will come again with other values; None: ``on_slices`` gets all.
        prepared : tuple of PreparedScan
            What `prepare_apart` has made of this scan; empty: it is prepared here.

        Raises
        ------
        ScanReadError
            If no body is found.
        SettingError
            If a slice is not in the scan, the intensity setting does not suit the scan, a path was given in place of
            one, or what is to be called cannot be.
        """
        for name, hearer in (("on_slices", on_slices), ("on_preliminary", on_preliminary)):
            require(hearer is None or callable(hearer), name, "a function", hearer)
        if start_slice is not None:
            require_number("Start slice", start_slice)
        if prepared:
            self._prepared = prepared
        size = self.settings.batch_slices or self.backbone.batch_slices
        hearers = (on_slices, on_preliminary or on_slices)
        scored_with = partial(
            self._detect, time.perf_counter(), volume, slices, start_slice, progress, hearers
        )
        try:
            return scored_with(size)
        except (RuntimeError, MemoryError) as error:
            # The network halves its batches by itself; what is around it takes its memory anew.
            if self.backbone.device.type == "cpu" or not is_of_memory(error):
                raise
            logger.warning(
                "The GPU's memory ran out (%s); the scan is scored again with less.", first_line(error)
            )
        # Here the exception, which holds the tensors of the run, is gone.
        torch.cuda.empty_cache()
        return scored_with(max(1, size // _LESS), torch.device("cpu"))

    def _detect(
        self,
        started: float,
        volume: Volume,
        slices: Sequence[int] | None,
        start_slice: int | None,
        progress: Progress | None,
        hearers: tuple[OnSlices | None, OnSlices | None],
        size: int,
        placed_on: torch.device | None = None,
    ) -> Detection:
        """Score a scan, ``size`` slices at a time; see `ScanRun` for ``placed_on``.

        ``hearers`` are told what is final, and what is preliminary.
        """
        # A GPU waits neither for its voxels to arrive nor for what the CPU has to say of the scan as such.
        with ThreadPoolExecutor(1, thread_name_prefix="dinoad-aside") as aside:
            sent = None
            if self._works_on_gpu and placed_on is None:
                sent = aside.submit(sent_voxels, volume, self.backbone.device)
            prepared = self.prepare(volume)
            if self._works_on_gpu:
                aside.submit(self.unlike, volume)  # It is kept; what it raises, it raises again.
            run = ScanRun(
                self.model, self.backbone, prepared, slices, placed_on, sent.result() if sent else None
            )
            del sent  # Where the scan stays on the CPU after all, the GPU has its memory back.
            run.seconds["prepare"] = time.perf_counter() - started
            self._score(run, start_slice, progress, hearers, size)
        run.seconds["total"] = time.perf_counter() - started
        return self._detection(run, volume)

    @property
    def _works_on_gpu(self) -> bool:
        """Whether slices are resampled and placed on a CUDA device; see `slices_of_planes`."""
        return (
            self.backbone.device.type == "cuda" and self.model.preprocessing.intensity != "slice-percentiles"
        )

    def _score(
        self,
        run: ScanRun,
        start_slice: int | None,
        progress: Progress | None,
        hearers: tuple[OnSlices | None, OnSlices | None],
        size: int,
    ) -> None:
        on_slices, on_preliminary = hearers
        total, done = run.n_slices, 0
        report(progress, "Scoring slices", done, total)
        for batch in run.scored(run.batches(start_slice, size)):
            done += batch.n_scored
            tell = on_slices if batch.is_final else on_preliminary
            if tell is not None and batch.plane == 0 and batch.indices:
                tell(run.axis, batch.indices, batch.values)
            plane = run.planes[batch.plane] if len(run.planes) > 1 else ""
            report(progress, "Scoring slices", done, total, plane)
        if run.fuse() and on_slices is not None:
            for indices, values in run.shown_batches(size):
                on_slices(run.axis, indices, values)

    def _detection(self, run: ScanRun, volume: Volume) -> Detection:
        calibration, score = run.calibration, run.scan_score()
        is_compared = run.is_whole and self._is_comparable(volume)
        return Detection(
            AnomalyMap(run.values, volume.seen(self.model.preprocessing.colour)),
            score,
            calibration.scan_p_value(score) if is_compared else None,
            calibration.n_scans,
            calibration.n_persons,
            int(np.count_nonzero(calibration.scan_scores < score)),
            tuple(sorted(run.slices)),
            run.planes,
            {stage: round(spent, 4) for stage, spent in run.seconds.items()},
            self.unlike(volume),
            self.settings,
            float(calibration.neg_log10_p(np.array(score))),
            run.is_whole,
            calibration.normal_peaks() if is_compared else None,
        )


def detect(
    volume: Volume,
    model: NormativeModel,
    settings: DetectSettings | None = None,
    progress: Progress | None = None,
) -> Detection:
    """Score one scan with a model; to score many, make one `Detector`.

    Parameters
    ----------
    volume : Volume
        From `read_volume`, or made of an array and its `Geometry`.
    model : NormativeModel
        From `fit_folder`, or `NormativeModel.load`.
    settings : DetectSettings, optional
        The rate and smallest region of `Detection.mask`, and the device.
    progress : callable, optional
        Called after each batch; may raise `Cancelled`.

    Returns
    -------
    Detection
        The anomaly map ``.anomaly_map.values`` is (z, y, x) float32, −log10 p; ``.mask()`` and ``.p_value`` go
        with it.

    Raises
    ------
    BackboneError
        If the backbone or its weights cannot be had.
    ModelFileError
        If the weights are not those that the model was fitted with.
    ScanReadError
        If no body is found.
    SettingError
        If the intensity setting does not suit the scan, or a path was given in place of scan or model.
    """
    return Detector(model, settings, progress=progress).detect(volume, progress=progress)
