"""Jobs on the scan in a layer: preparing, finding, explaining. See `napari_dinoad.gui.work.jobs`.

The scan is read on the worker thread and sent to the worker process, which keeps it, and the loaded model, for the
next job.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from napari_dinoad.gui.work.jobs import DetectOutcome, ScanRead, SlicesScored
from napari_dinoad.gui.work.processes import borrowed
from napari_dinoad.progress import ProgressEvent

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from napari_dinoad.gui.viewer.layer_scan import LayerScan
    from napari_dinoad.gui.work.processes import WorkProcess
    from napari_dinoad.gui.work.work_process import Desk
    from napari_dinoad.gui.work.worker import JobChannel
    from napari_dinoad.images.slices import PreparedScan
    from napari_dinoad.images.volume import Volume
    from napari_dinoad.normative_model.model import NormativeModel
    from napari_dinoad.pipeline import Detector
    from napari_dinoad.scoring.protocol import Scorer
    from napari_dinoad.settings import DetectSettings

__all__ = ["DetectJob", "ExplainJob", "Explanation", "PrepareJob", "ScoredBefore"]


@dataclass(frozen=True, eq=False)
class _SliceAxis:
    """The first thing the worker process tells: across which axis of the canonical array the scan is sliced.

    And whether the model sees its colours.
    """

    axis: int
    in_colour: bool


@dataclass(frozen=True, eq=False)
class _Request:
    """What the worker process is sent.

    Attributes
    ----------
    volume : Volume, optional
        None: the one that the process holds already.
    model_path : Path
    settings : DetectSettings
    shown : tuple of int
        Canonical voxel (z, y, x) in view.
    """

    volume: Volume | None
    model_path: Path
    settings: DetectSettings
    shown: tuple[int, int, int]

    def scan(self, desk: Desk) -> Volume:
        """Return the scan, and keep it."""
        if self.volume is not None:
            desk.kept["volume"] = self.volume
        volume: Volume = desk.kept["volume"]
        return volume

    def detector(self, desk: Desk) -> Detector:
        """Return the detector of the model, loading what is not loaded yet, and keep it.

        Raises
        ------
        DinoadError
            If the model or its backbone cannot be loaded.
        """
        from napari_dinoad.normative_model.model import NormativeModel
        from napari_dinoad.pipeline import Detector

        modified = self.model_path.stat().st_mtime_ns if self.model_path.is_file() else None
        key = (self.model_path, modified, self.settings)
        known_key, detector = desk.kept.get("detector", (None, None))
        if detector is None or key != known_key:
            desk.kept.pop("detector", None)
            desk.progress(ProgressEvent("Loading the model", 0, 0))
            detector = Detector(NormativeModel.load(self.model_path), self.settings)
            desk.kept["detector"] = (key, detector)
        loaded: Detector = detector
        return loaded


@dataclass(frozen=True, eq=False)
class _Prepare(_Request):
    def work(self, desk: Desk) -> tuple[str, ...]:
        volume = self.scan(desk)
        if not self._has_weights():
            # Nothing is downloaded before somebody asked to find.
            return ()
        detector = self.detector(desk)
        # Finds the body, and lets the libraries beneath set themselves up, which the first slice would wait for.
        shown = [self.shown[detector.slice_axis(volume)]]
        return detector.detect(volume, slices=shown, progress=desk.progress).unlike

    def _has_weights(self) -> bool:
        from napari_dinoad.backbones import find_backbone
        from napari_dinoad.backbones.weights.store import local_weights
        from napari_dinoad.gui.models.model_library import read_model_summary

        spec = find_backbone(read_model_summary(self.model_path).backbone)
        return not spec.needs_weights or local_weights(spec) is not None


@dataclass(frozen=True, eq=False)
class _Detect(_Request):
    only_shown: bool

    def work(self, desk: Desk) -> DetectOutcome:
        volume, detector = self.scan(desk), self.detector(desk)
        axis = detector.slice_axis(volume)
        desk.deliver(_SliceAxis(axis, detector.model.preprocessing.colour))
        desk.progress(ProgressEvent("Preparing the scan", 0, 0))
        detection = detector.detect(
            volume,
            slices=[self.shown[axis]] if self.only_shown else None,
            start_slice=self.shown[axis],
            progress=desk.progress,
            on_slices=partial(_deliver_slices, desk, True),
            on_preliminary=partial(_deliver_slices, desk, False),
        )
        return DetectOutcome(
            detection.p_value,
            detection.n_calibration_scans,
            detection.n_more_normal,
            detection.seconds["total"],
            detector.model.card(),
            detection.unlike,
            not self.only_shown or volume.values.shape[axis] == 1,
            detection.n_calibration_persons,
            detection.normal_peaks,
        )


def _deliver_slices(desk: Desk, is_final: bool, axis: int, indices: list[int], values: np.ndarray) -> None:
    desk.deliver(SlicesScored(axis, tuple(indices), np.ascontiguousarray(values), is_final))


@dataclass(frozen=True, eq=False)
class Explanation:
    """What one scorer saw on a slice.

    Attributes
    ----------
    scorer : str
    axis, index : int
        The slice of the canonical array.
    values : numpy.ndarray
        (…) of the slice: int32 components from 1 (0: not looked at) for the DPMM, else float32 raw scores.
    names : tuple of str
        Of the components, from 1.
    """

    scorer: str
    axis: int
    index: int
    values: np.ndarray
    names: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Explain(_Request):
    def work(self, desk: Desk) -> tuple[Explanation, ...]:
        import torch

        volume, detector = self.scan(desk), self.detector(desk)
        prepared = detector.prepare(volume)[0]
        index = self.shown[prepared.axis]
        embeddings = detector.backbone(torch.from_numpy(prepared.images([index]))).values
        return tuple(_explain(scorer, prepared, index, embeddings) for scorer in _scorers(detector.model))


def _scorers(model: NormativeModel) -> tuple[Scorer, ...]:
    return tuple(member.scorer for member in model.planes[0].members)


def _explain(scorer: Scorer, prepared: PreparedScan, index: int, embeddings: torch.Tensor) -> Explanation:
    from napari_dinoad.scoring.ar_cnn.scorer import ArCnnScorer
    from napari_dinoad.scoring.dpmm.scorer import DpmmScorer

    body = prepared.body_slices([index])
    if isinstance(scorer, DpmmScorer):
        patches = scorer.components(embeddings).cpu().numpy()
        shown = np.where(body, _nearest(prepared, patches) + 1, 0).astype(np.int32)
        names = scorer.component_names
    else:
        if isinstance(scorer, ArCnnScorer):
            errors = scorer.prediction_errors(embeddings)
        else:
            errors = scorer.score(embeddings)
        raw = prepared.maps_to_slices(errors.cpu().numpy())
        shown, names = np.where(body, raw, np.float32(0)), ()
    block = np.moveaxis(prepared.from_display(shown), prepared.axis, 0)[0]
    return Explanation(scorer.name, prepared.axis, index, np.ascontiguousarray(block), names)


def _nearest(prepared: PreparedScan, patches: np.ndarray) -> np.ndarray:
    """Return the value (1, rows, columns), at each voxel of a slice, of the nearest of the patches (1, gh, gw)."""
    grid = np.indices(patches.shape[1:]).astype(np.float32)
    row, column = (np.rint(prepared.maps_to_slices(grid[axis : axis + 1])).astype(int) for axis in (0, 1))
    return np.asarray(patches[:, row[0], column[0]])


@dataclass(frozen=True, eq=False)
class _ScanJob:
    """A job on the scan in a layer.

    Attributes
    ----------
    scan : LayerScan
    model_path : Path
    settings : DetectSettings
    shown : tuple of int
        Canonical voxel (z, y, x) in view.
    """

    scan: LayerScan
    model_path: Path
    settings: DetectSettings
    shown: tuple[int, int, int]


class ExplainJob(_ScanJob):
    """Shows what the scorers see on the slice in view."""

    def __call__(self, channel: JobChannel) -> tuple[Explanation, ...]:
        """Have it done in a worker process."""
        channel.progress(ProgressEvent("Looking at this slice", 0, 0))
        with borrowed() as process:
            sent = _not_held(process, self.scan.volume(_held_by(process)))
            request = _Explain(sent, self.model_path, self.settings, self.shown)
            explanations: tuple[Explanation, ...] = process.run(request, channel)
        return explanations


class PrepareJob(_ScanJob):
    """Loads the model and looks at the scan ahead, so that finding begins at once."""

    def __call__(self, channel: JobChannel) -> tuple[str, ...]:
        """Have it done in a worker process; return in what the scan is unlike the normal ones, a sentence each."""
        with borrowed() as process:
            sent = _not_held(process, self.scan.volume(_held_by(process)))
            request = _Prepare(sent, self.model_path, self.settings, self.shown)
            unlike: tuple[str, ...] = process.run(request, channel)
        return unlike


@dataclass(frozen=True, eq=False)
class ScoredBefore:
    """What the same model has scored of a layer before.

    Attributes
    ----------
    volume : Volume
        The scan as it was then.
    is_whole : bool
        Whether all of it was scored.
    """

    volume: Volume
    is_whole: bool


@dataclass(frozen=True, eq=False)
class DetectJob(_ScanJob):
    """Scores a layer's scan: the shown slice first, then outwards; or the shown slice alone.

    Attributes
    ----------
    only_shown : bool
        Whether to score the slice in view alone.
    before : ScoredBefore, optional
        By the same model.
    """

    only_shown: bool
    before: ScoredBefore | None = None

    def __call__(self, channel: JobChannel) -> DetectOutcome | None:
        """Have it done in a worker process, delivering a `ScanRead` and then `SlicesScored` as they come.

        A slice alone of a scan that was scored as a whole is not scored again: without its neighbours it would be
        another than the one that the whole scan's result rests on. None is returned then.
        """
        channel.progress(ProgressEvent("Reading the scan", 0, 0))
        before = self.before
        with borrowed() as process:
            known = _held_by(process) if before is None else (before.volume, *_held_by(process))
            volume = self.scan.volume(known)
            is_known = before is not None and _is_same(before.volume, volume)
            if before is not None and is_known:
                # One array for both: it need not be compared again.
                volume = replace(volume, colours=before.volume.colours)
                if self.only_shown and before.is_whole:
                    return None

            def deliver(item: object) -> None:
                if isinstance(item, _SliceAxis):
                    item = ScanRead(volume.seen(item.in_colour), item.axis, is_known)
                channel.deliver(item)

            sent = _not_held(process, volume)
            request = _Detect(sent, self.model_path, self.settings, self.shown, self.only_shown)
            outcome: DetectOutcome = process.run(request, replace(channel, deliver=deliver))
        return outcome


def _held_by(process: WorkProcess) -> tuple[Volume, ...]:
    """Return the scan that a process holds, as far as the window's process holds it too."""
    held = process.notes.get("volume")
    return () if held is None else (held,)


def _not_held(process: WorkProcess, volume: Volume) -> Volume | None:
    """Return what to send of a scan: nothing where the process holds it."""
    held = process.notes.get("volume")
    if held is not None and _is_same(held, volume):
        return None
    process.notes["volume"] = volume
    return volume


def _is_same(one: Volume, other: Volume) -> bool:
    return one is other or (
        one.geometry.matches(other.geometry)
        and (one.values is other.values or np.array_equal(one.values, other.values))
        and (one.colours is other.colours or _are_alike(one.colours, other.colours))
    )


def _are_alike(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    return one is not None and other is not None and np.array_equal(one, other)
