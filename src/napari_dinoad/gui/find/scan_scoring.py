"""A scan being scored: runs the job, and fills a result with what it delivers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_dinoad.gui.find.found import Found, ModelFile, Run
from napari_dinoad.gui.find.preparation import Preparation, ScanAndModel, without_mask
from napari_dinoad.gui.find.ready_layers import ReadyLayers
from napari_dinoad.gui.find.result import ScanResult
from napari_dinoad.gui.find.scan_jobs import DetectJob
from napari_dinoad.gui.viewer.layer_marks import overlays_of
from napari_dinoad.gui.viewer.layers import same_layer
from napari_dinoad.gui.viewer.lone_maps import hand_on, take_hidden
from napari_dinoad.gui.viewer.overlay import Overlay
from napari_dinoad.gui.viewer.viewer_parts import point_in_layer
from napari_dinoad.gui.work.jobs import DetectOutcome, ScanRead, SlicesScored
from napari_dinoad.gui.work.worker import JobRunner

if TYPE_CHECKING:
    from collections.abc import Hashable
    from pathlib import Path

    from napari.layers import Layer
    from napari.viewer import Viewer

    from napari_dinoad.gui.find.known_results import KnownResults
    from napari_dinoad.gui.viewer.layer_scan import LayerScan
    from napari_dinoad.settings import DetectSettings

__all__ = ["ScanScoring"]


@dataclass(frozen=True, eq=False)
class _Request:
    """The job under way."""

    layer: Layer
    scan: LayerScan
    model: ModelFile
    settings: DetectSettings


class ScanScoring(QObject):
    """Scores one scan at a time, and adds its result to those that are known.

    `begun` comes when a result has its place among them, or is filled further; `filled` with it when slices were
    added, and `ended` when its run is over: cancelled or failed it may be empty. `told` is what the user should know.
    """

    begun = Signal()
    filled = Signal(object)
    ended = Signal(object)
    told = Signal(str)

    def __init__(
        self, viewer: Viewer, known: KnownResults, preparation: Preparation, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._known = known
        self._preparation = preparation
        self._ready = ReadyLayers(viewer)
        self._request: _Request | None = None
        self._run: Run | None = None
        # The dock shows how far it is; a bar in napari's activity dock takes a fifth of a second to appear.
        self.runner = JobRunner(self, in_activity_dock=False)
        self.runner.delivered.connect(self._on_delivered)
        self.runner.succeeded.connect(self._on_succeeded)
        self.runner.cancelled.connect(self._on_cancelled)
        self.runner.finished.connect(self._on_finished)

    @property
    def layer(self) -> Layer | None:
        """The layer whose scan is being scored."""
        return None if self._request is None else self._request.layer

    def start(
        self, layer: Layer, scan: LayerScan, model_path: Path, settings: DetectSettings, *, only_shown: bool
    ) -> None:
        """Start scoring a layer's scan, the slice in view first or alone; no other may be under way."""
        self._preparation.runner.cancel()
        self._request = _Request(layer, scan, ModelFile.of(model_path), settings)
        before = self._known.scored_before(layer, scan.frame, self._request.model)
        shown = scan.canonical_index(point_in_layer(self._viewer, layer))
        job = DetectJob(scan, model_path, without_mask(settings), shown, only_shown, before)
        title = "Scoring this slice" if only_shown else "Scoring the scan"
        self.runner.start(self._preparation.before(job), title)

    def get_ready(self, layer: Layer) -> None:
        """Add the layers that the result will fill, before it is asked for."""
        if not self.runner.is_running:
            self._ready.add(layer)

    def forget_ready(self) -> None:
        """Take these layers away again, where nothing came of it."""
        if not self.runner.is_running:
            self._ready.remove()

    def cancel_on(self, layer: Layer) -> tuple[Layer, ...]:
        """Stop where the scan of a layer that is gone is being scored; return what was ready for it, to go too."""
        if self._request is not None and same_layer(layer, self._request.layer):
            self.runner.cancel()
        return self._ready.release_with(layer)

    def cancel_of(self, found: Found) -> None:
        """Stop where it is this result that is being filled."""
        if self._run is not None and found is self._run.found:
            self.runner.cancel()

    def close(self) -> None:
        """Stop, and leave what was scored so far as it is to be shown."""
        self.runner.cancel()
        if self._run is not None:
            self._run.settle()
        # What is still on its way has no place any more.
        self._request = self._run = None
        self.forget_ready()

    def _on_delivered(self, item: object) -> None:
        if isinstance(item, ScanRead):
            self._on_scan_read(item)
        elif isinstance(item, SlicesScored):
            self._on_slices(item)

    def _on_scan_read(self, read: ScanRead) -> None:
        request = self._request
        if request is None or request.layer not in self._viewer.layers:
            return
        known = self._known.of(request.layer, request.scan.frame)
        if known is not None and read.is_known and known.result.axis == read.axis:
            self._run = self._going_on(known, request, read)
        else:
            self._run = Run(self._added(request, read, known))
        self.begun.emit()

    def _added(self, request: _Request, read: ScanRead, known: Found | None) -> Found:
        """Return an empty result, which takes the place of the one that is known."""
        hidden: tuple[Hashable, ...] = ()
        if known is not None and known.overlay is not None:
            old, known.overlay = known.overlay, None
            hidden = take_hidden(old.heatmap)
            old.remove()
        overlay = self._ready.take(request.layer, request.scan, read.volume.values.shape)
        if overlay is None:
            for stale in overlays_of(self._viewer, request.layer):
                if not any(found.rests_on(stale) for found in self._known):
                    self._viewer.layers.remove(stale)
            overlay = Overlay(self._viewer, request.layer, request.scan)
        hand_on(overlay.heatmap, hidden)
        settings = request.settings
        result = ScanResult(
            read.volume,
            read.axis,
            settings.fpr,
            settings.min_volume_mm3,
            overlay.values,
            overlay.values_of_mask,
        )
        found = Found(request.layer, request.scan, request.model, without_mask(settings), result, overlay)
        self._known.add(found)
        return found

    def _going_on(self, known: Found, request: _Request, read: ScanRead) -> Run:
        """Return what fills a result further: the same scan is scored with the same model again."""
        known.scan, known.result.volume, known.is_edited = request.scan, read.volume, False
        known.result.set_min_volume(request.settings.min_volume_mm3)
        # Before its neighbours are scored a slice differs from what it was; the whole scan's figures stand on that.
        return Run(known, known.result.kept() if known.result.is_whole else None)

    def _on_slices(self, scored: SlicesScored) -> None:
        # What was on its way when the scan or its result was removed has no place any more.
        if self._run is None or self._run.found not in self._known:
            return
        found = self._run.found
        found.result.put(scored)
        if found.overlay is not None and not self._run.is_seen:
            found.overlay.come_up()
            self._run.is_seen = True
        if found.overlay is not None and found.is_in_view(self._viewer, scored.indices):
            found.overlay.refresh_map()
        self.filled.emit(found)

    def _on_succeeded(self, outcome: object) -> None:
        request, run = self._request, self._run
        if outcome is None:
            self.told.emit("This slice was scored with the whole scan already; that result stands.")
            known = None if request is None else self._known.of(request.layer, request.scan.frame)
            if known is not None and known.overlay is not None:
                known.overlay.come_up()
        if request is None or run is None or not isinstance(outcome, DetectOutcome):
            return
        run.is_done = True
        run.found.result.outcome = outcome
        what = ScanAndModel(request.layer.unique_id, request.scan.frame, request.model)
        self._preparation.note(what, outcome.unlike)
        other_plane = "" if outcome.is_whole else run.found.other_plane_in_words(self._viewer)
        if other_plane:
            self.told.emit(other_plane)

    def _on_cancelled(self) -> None:
        is_gone = self._request is not None and self._request.layer not in self._viewer.layers
        if is_gone or (self._run is not None and self._run.found not in self._known):
            self.told.emit("Stopped: a layer of the scan or its result was removed.")
        elif self._run is None or not self._run.found.result.scored.any():
            self.told.emit("Cancelled before any slice was scored.")
        elif self._run.before is not None:
            self.told.emit("Cancelled; the result of the whole scan from before is kept.")
        else:
            self.told.emit("Cancelled; the slices scored so far are kept.")

    def _on_finished(self) -> None:
        self._request = None
        run, self._run = self._run, None
        self.forget_ready()
        if run is not None and run.found in self._known:
            run.settle()
            self.ended.emit(run.found)
