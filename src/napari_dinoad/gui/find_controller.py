"""Finding anomalies: runs the job, keeps the results, and shows them. Knows no widget."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, QTimer, Signal

from napari_dinoad.errors import Cancelled, DinoadError
from napari_dinoad.gui.jobs import DetectOutcome, ScanRead, SlicesScored
from napari_dinoad.gui.layers import same_layer, scan_of_layer
from napari_dinoad.gui.overlay import Overlay
from napari_dinoad.gui.processes import run_in_process
from napari_dinoad.gui.result import Measured, ScanResult
from napari_dinoad.gui.scan_jobs import DetectJob, PrepareJob
from napari_dinoad.gui.viewer_parts import point_in_layer, show_index
from napari_dinoad.gui.worker import JobRunner

if TYPE_CHECKING:
    from collections.abc import Hashable
    from pathlib import Path

    from napari.layers import Layer
    from napari.viewer import Viewer

    from napari_dinoad.gui.layers import LayerScan
    from napari_dinoad.gui.worker import Job, JobChannel
    from napari_dinoad.maps import Region
    from napari_dinoad.settings import DetectSettings

__all__ = ["FindController", "Found"]

_MEASURE_DELAY_MS = 150
"""Regions are measured once the slider has rested for so long; the mask itself follows at once."""


_WAIT_S = 0.05
"""Between two looks at whether the user has given up waiting."""


@dataclass(eq=False)
class Found:
    """What the viewer shows for one layer."""

    layer: Layer
    scan: LayerScan
    model_path: Path
    settings: DetectSettings
    result: ScanResult
    overlay: Overlay | None = None


@dataclass(frozen=True, eq=False)
class _Request:
    """The job under way."""

    layer: Layer
    scan: LayerScan
    model_path: Path
    settings: DetectSettings


class FindController(QObject):
    """Scores scans and holds one result for each image layer.

    `result_changed` comes when another result is to be looked at, `map_changed` when slices were added, and
    `regions_changed` when regions, ticks or the scan-level figures are others; `compared` when it is known in what a
    scan is unlike the model's normal scans.
    """

    result_changed = Signal()
    map_changed = Signal()
    regions_changed = Signal()
    compared = Signal()

    def __init__(self, viewer: Viewer, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._found: dict[Hashable, Found] = {}
        self._ready: tuple[Layer, LayerScan, Overlay] | None = None
        self._shown_key: Hashable | None = None
        self._request: _Request | None = None
        self.preparer = JobRunner(self, in_activity_dock=False)
        self._is_prepared = threading.Event()
        self._is_prepared.set()
        self._unlike: dict[tuple[Hashable, Path], tuple[str, ...]] = {}
        self._preparing: tuple[Hashable, Path] | None = None
        self.preparer.succeeded.connect(self._on_prepared)
        self.preparer.started.connect(self._is_prepared.clear)
        self.preparer.finished.connect(self._is_prepared.set)
        self._measure_timer = QTimer(self)
        self._measure_timer.setSingleShot(True)
        self._measure_timer.setInterval(_MEASURE_DELAY_MS)
        self._measure_timer.timeout.connect(self._measure)
        self._measurer = JobRunner(self, in_activity_dock=False)
        self._measurer.succeeded.connect(self._on_measured)
        self._measurer.finished.connect(self._measure_again)
        self._measured: Found | None = None
        # The dock shows how far it is; a bar in napari's activity dock takes a fifth of a second to appear.
        self.runner = JobRunner(self, in_activity_dock=False)
        self.runner.delivered.connect(self._on_delivered)
        self.runner.succeeded.connect(self._on_succeeded)
        self.runner.finished.connect(self._on_finished)
        viewer.layers.events.removed.connect(self._on_layer_removed)

    @property
    def result(self) -> ScanResult | None:
        """The result of the layer that was chosen with `look_at`, if it has one."""
        found = self._current
        return None if found is None else found.result

    @property
    def found(self) -> Found | None:
        """What was found in the layer that was chosen with `look_at`."""
        return self._current

    @property
    def _current(self) -> Found | None:
        return None if self._shown_key is None else self._found.get(self._shown_key)

    def look_at(self, layer: Layer | None) -> None:
        """Choose the layer whose result is asked about; heatmaps and masks of others are hidden meanwhile."""
        key = None if layer is None else layer.unique_id
        if key != self._shown_key:
            self._shown_key = key
            for known, found in self._found.items():
                if found.overlay is not None:
                    found.overlay.show(known == key)
            self.result_changed.emit()
            self._measure_timer.start()

    def find(self, layer: Layer, model_path: Path, settings: DetectSettings, *, only_shown: bool) -> bool:
        """Start scoring a layer's scan; return False while another job is under way.

        Raises
        ------
        DinoadError
            If the layer cannot be taken for a scan.
        """
        if self.runner.is_running:
            return False
        scan = scan_of_layer(layer, self._viewer.dims.point)
        shown = scan.canonical_index(point_in_layer(self._viewer, layer))
        self.look_at(layer)
        self.preparer.cancel()
        self._request = _Request(layer, scan, model_path, settings)
        job = DetectJob(scan, model_path, _without_mask(settings), shown, only_shown)
        title = "Scoring this slice" if only_shown else "Scoring the scan"
        return self.runner.start(partial(_run_after, self._is_prepared, job), title)

    def prepare(self, layer: Layer, model_path: Path, settings: DetectSettings) -> None:
        """Load the model and look at the scan ahead, quietly, so that finding begins at once.

        Faults are told when finding. Layers that are read lazily are left alone until then.
        """
        if self.preparer.is_running or self.runner.is_running or not isinstance(layer.data, np.ndarray):
            return
        try:
            scan = scan_of_layer(layer, self._viewer.dims.point)
        except DinoadError:
            return
        shown = scan.canonical_index(point_in_layer(self._viewer, layer))
        self._preparing = (layer.unique_id, model_path)
        self.preparer.start(PrepareJob(scan, model_path, _without_mask(settings), shown), "Preparing")

    def unlike(self, layer: Layer, model_path: Path) -> tuple[str, ...]:
        """Return in what a layer's scan is unlike the model's normal scans, as far as that is known yet."""
        return self._unlike.get((layer.unique_id, model_path), ())

    def get_ready(self, layer: Layer) -> None:
        """Add the layers that the result will fill, before it is asked for: napari takes a while to add a layer."""
        if self.runner.is_running or self._ready is not None or layer.unique_id in self._found:
            return
        try:
            scan = scan_of_layer(layer, self._viewer.dims.point)
        except DinoadError:
            return
        self._ready = (layer, scan, Overlay(self._viewer, layer, scan))

    def forget_ready(self) -> None:
        """Take these layers away again, where nothing came of it."""
        if self._ready is not None and not self.runner.is_running:
            (_, _, overlay), self._ready = self._ready, None
            overlay.remove()

    def set_rate(self, fpr: float) -> None:
        """Move the mask to another false-positive rate at once; the regions follow."""
        found = self._current
        if found is not None:
            found.result.set_rate(fpr)
            if found.overlay is not None and found.overlay.is_live:
                found.overlay.refresh_mask()
            self._measure_timer.start()

    def set_min_volume(self, min_volume_mm3: float) -> None:
        """Leave out regions smaller than this."""
        if self.result is not None:
            self.result.set_min_volume(min_volume_mm3)
            self._measure_timer.start()

    def show_again(self) -> None:
        """Draw the result that is looked at anew and measure its regions; for values put in from elsewhere."""
        found = self._current
        if found is not None:
            if found.overlay is not None:
                found.overlay.refresh_map()
            self.map_changed.emit()
            self._measure()

    def set_ticked(self, region: Region, ticked: bool) -> None:
        """Tick or untick a region: unticked ones leave the mask and are not exported."""
        found = self._current
        if found is not None:
            found.result.set_ticked(region, ticked)
            if found.overlay is not None:
                found.overlay.refresh_mask()

    def jump_to_region(self, region: Region) -> None:
        """Show the peak of a region."""
        found = self._current
        if found is not None:
            show_index(self._viewer, found.layer, found.scan.data_index(region.peak_zyx))

    def jump_to_slice(self, index: int) -> None:
        """Show a slice, at the place within it that is in view."""
        found = self._current
        if found is not None:
            zyx = list(found.scan.canonical_index(point_in_layer(self._viewer, found.layer)))
            zyx[found.result.axis] = index
            show_index(self._viewer, found.layer, found.scan.data_index(zyx))

    def shown_slice(self) -> int | None:
        """Return the slice in view, counted along the result's axis."""
        found = self._current
        if found is None:
            return None
        return found.scan.canonical_index(point_in_layer(self._viewer, found.layer))[found.result.axis]

    def is_mirrored(self) -> bool:
        """Whether the viewer's slider runs against the result's slices; superior is at its left, for instance."""
        found = self._current
        if found is None or len(found.result.profile) < 2:
            return False
        first, second = [0, 0, 0], [0, 0, 0]
        second[found.result.axis] = 1
        step = np.subtract(
            found.layer.data_to_world(found.scan.data_index(second)),
            found.layer.data_to_world(found.scan.data_index(first)),
        )
        return bool(step[np.argmax(np.abs(step))] < 0)

    def close(self) -> None:
        """Stop what is under way; for when the interface goes away."""
        self.runner.cancel()
        self.preparer.cancel()
        self._measure_timer.stop()

    def _on_delivered(self, item: object) -> None:
        if isinstance(item, ScanRead):
            self._on_scan_read(item)
        elif isinstance(item, SlicesScored):
            self._on_slices(item)

    def _on_scan_read(self, read: ScanRead) -> None:
        request = self._request
        if request is None or request.layer not in self._viewer.layers:
            return
        key = request.layer.unique_id
        known = self._found.get(key)
        fits = (
            known is not None
            and known.model_path == request.model_path
            and known.scan.frame == request.scan.frame
            and known.result.axis == read.axis
            and known.result.values.shape == read.volume.values.shape
        )
        if known is not None and fits:
            known.scan, known.result.volume = request.scan, read.volume
            return
        if known is not None and known.overlay is not None:
            overlay, known.overlay = known.overlay, None
            overlay.remove()
        settings = request.settings
        overlay = self._take_ready(request) or Overlay(self._viewer, request.layer, request.scan)
        result = ScanResult(
            read.volume,
            read.axis,
            settings.fpr,
            settings.min_volume_mm3,
            overlay.values,
            overlay.values_of_mask,
        )
        self._found[key] = Found(
            request.layer, request.scan, request.model_path, _without_mask(settings), result, overlay
        )
        self.result_changed.emit()

    def _take_ready(self, request: _Request) -> Overlay | None:
        """Return the layers that were made ready for this scan, if they were."""
        ready, self._ready = self._ready, None
        if ready is None:
            return None
        layer, scan, overlay = ready
        if same_layer(layer, request.layer) and scan.frame == request.scan.frame and overlay.is_whole:
            return overlay
        overlay.remove()
        return None

    def _on_slices(self, scored: SlicesScored) -> None:
        found = self._running
        if found is None:
            return
        found.result.put(scored)
        if found.overlay is not None and self._is_in_view(found, scored):
            found.overlay.refresh_map()
        if found is self._current:
            self.map_changed.emit()

    def _is_in_view(self, found: Found, scored: SlicesScored) -> bool:
        """Whether the new slices may be on screen: they are, unless the view is another slice of the same plane."""
        layer_ndim = found.layer.ndim
        n_before = self._viewer.dims.ndim - layer_ndim
        layer_axis = layer_ndim - 3 + found.result.axis + n_before
        if not found.scan.is_canonical or layer_ndim < 3 or layer_axis in self._viewer.dims.displayed:
            return True
        shown = found.scan.canonical_index(point_in_layer(self._viewer, found.layer))
        return shown[found.result.axis] in scored.indices

    @property
    def _running(self) -> Found | None:
        return None if self._request is None else self._found.get(self._request.layer.unique_id)

    def _on_succeeded(self, outcome: object) -> None:
        found = self._running
        if found is not None and isinstance(outcome, DetectOutcome):
            if outcome.p_value is not None or found.result.outcome is None:
                found.result.outcome = outcome
            self._note_unlike((found.layer.unique_id, found.model_path), outcome.unlike)

    def _on_prepared(self, unlike: object) -> None:
        if self._preparing is not None and isinstance(unlike, tuple):
            self._note_unlike(self._preparing, unlike)

    def _note_unlike(self, key: tuple[Hashable, Path], unlike: tuple[str, ...]) -> None:
        if self._unlike.get(key, ()) != unlike:
            self._unlike[key] = unlike
            self.compared.emit()

    def _on_finished(self) -> None:
        found, self._request = self._running, None
        self.forget_ready()
        if found is None:
            return
        if not found.result.scored.any():
            # It failed, or was cancelled, before there was anything to show.
            self._drop(found)
            return
        if found.overlay is not None:
            found.overlay.refresh_map()
        if found is self._current:
            self.map_changed.emit()
            self.regions_changed.emit()
            self._measure()

    def _drop(self, found: Found) -> None:
        del self._found[found.layer.unique_id]
        if found.overlay is not None:
            found.overlay.remove()
        self.result_changed.emit()

    def _measure(self) -> None:
        """Find the regions of the mask in the background: that takes a while on large scans."""
        found = self._current
        if found is None or found.result.is_measured or self._measurer.is_running:
            return
        self._measured = found
        measurement = found.result.measurement()
        self._measurer.start(partial(run_in_process, measurement), "Measuring regions")

    def _on_measured(self, measured: object) -> None:
        found, self._measured = self._measured, None
        if found is None or not isinstance(measured, Measured) or not found.result.accept(measured):
            return
        if found.overlay is not None:
            found.overlay.refresh_mask()
        if found is self._current:
            self.regions_changed.emit()

    def _measure_again(self) -> None:
        """Measure what has changed, or come into view, while the last measurement ran."""
        if self._request is None and not self._measure_timer.isActive():
            self._measure()

    def _on_layer_removed(self, event: object) -> None:
        layer = getattr(event, "value", None)
        if layer is None:
            return
        if self._request is not None and same_layer(layer, self._request.layer):
            self.runner.cancel()
        if self._ready is not None and same_layer(layer, self._ready[0]):
            (_, _, overlay), self._ready = self._ready, None
            overlay.remove()
        gone = [
            key
            for key, found in self._found.items()
            if same_layer(layer, found.layer) or (found.overlay is not None and found.overlay.holds(layer))
        ]
        for key in gone:
            del self._found[key]
        for known in [known for known in self._unlike if known[0] == layer.unique_id]:
            del self._unlike[known]
        if self._shown_key in gone:
            self.result_changed.emit()


def _run_after(is_prepared: threading.Event, job: Job, channel: JobChannel) -> Any:
    """Run a job once the process that gets ready is free: another one would have to load everything first."""
    while not is_prepared.wait(_WAIT_S):
        if channel.is_stopping():
            raise Cancelled("Cancelled.")
    return job(channel)


def _without_mask(settings: DetectSettings) -> DetectSettings:
    """Return settings without those of the mask, which are no part of what a detector is loaded for."""
    return replace(settings, fpr=type(settings)().fpr, min_volume_mm3=0.0)
