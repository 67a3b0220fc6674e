"""Getting ready before anybody presses Find: the model loaded, the scan looked at."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, Signal

from napari_dinoad.errors import Cancelled, DinoadError
from napari_dinoad.gui.find.found import ModelFile
from napari_dinoad.gui.find.scan_jobs import PrepareJob
from napari_dinoad.gui.viewer.layers import scan_of_layer
from napari_dinoad.gui.viewer.viewer_parts import point_in_layer
from napari_dinoad.gui.work.worker import JobRunner

if TYPE_CHECKING:
    from collections.abc import Hashable
    from pathlib import Path

    from napari.layers import Layer
    from napari.viewer import Viewer

    from napari_dinoad.gui.viewer.layer_scan import LayerScan
    from napari_dinoad.gui.work.worker import Job, JobChannel
    from napari_dinoad.settings import DetectSettings

__all__ = ["Preparation", "ScanAndModel", "without_mask"]

_WAIT_S = 0.05
"""Between two looks at whether the user has given up waiting."""


@dataclass(frozen=True)
class ScanAndModel:
    """What is got ready, or compared: the scan in a layer (one frame of it) and a model."""

    layer_id: Hashable
    frame: tuple[int, ...]
    model: ModelFile

    @classmethod
    def of(cls, layer: Layer, scan: LayerScan, model_path: Path) -> ScanAndModel:
        """Return them as they are now."""
        return cls(layer.unique_id, scan.frame, ModelFile.of(model_path))


class Preparation(QObject):
    """Loads the model and looks at the chosen scan ahead, quietly; knows in what scans are unlike the normal ones.

    `compared` comes when that is known of another scan, or is known no more.
    """

    compared = Signal()

    def __init__(self, viewer: Viewer, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._unlike: dict[ScanAndModel, tuple[str, ...]] = {}
        self._last: ScanAndModel | None = None
        self._is_free = threading.Event()
        self._is_free.set()
        self.runner = JobRunner(self, in_activity_dock=False)
        self.runner.succeeded.connect(self._on_prepared)
        self.runner.started.connect(self._is_free.clear)
        self.runner.finished.connect(self._is_free.set)

    def start(self, layer: Layer, model_path: Path, settings: DetectSettings) -> None:
        """Get ready for a scan and a model, where nothing else is being got ready.

        Faults are told when finding. Layers that are read lazily are left alone until then.
        """
        scan = self._scan(layer)
        if self.runner.is_running or scan is None or not isinstance(layer.data, np.ndarray):
            return
        shown = scan.canonical_index(point_in_layer(self._viewer, layer))
        self._last = ScanAndModel.of(layer, scan, model_path)
        self.runner.start(PrepareJob(scan, model_path, without_mask(settings), shown), "Preparing")

    def is_due(self, layer: Layer, model_path: Path) -> bool:
        """Whether others were got ready last."""
        scan = self._scan(layer)
        return scan is not None and self._last != ScanAndModel.of(layer, scan, model_path)

    def unlike(self, layer: Layer, model_path: Path) -> tuple[str, ...]:
        """Return in what a layer's scan is unlike the model's normal scans, as far as that is known yet."""
        scan = self._scan(layer)
        return () if scan is None else self._unlike.get(ScanAndModel.of(layer, scan, model_path), ())

    def note(self, what: ScanAndModel, unlike: tuple[str, ...]) -> None:
        """Note in what a scan is unlike a model's normal scans."""
        self._last = what
        if self._unlike.get(what, ()) != unlike:
            self._unlike[what] = unlike
            self.compared.emit()

    def forget(self, layer: Layer) -> None:
        """Forget what is known of a layer: its scan is another one now."""
        if self._last is not None and self._last.layer_id == layer.unique_id:
            self._last = None
        known = [key for key in self._unlike if key.layer_id == layer.unique_id]
        for key in known:
            del self._unlike[key]
        if known:
            self.compared.emit()

    def before(self, job: Job) -> Job:
        """Return what runs a job once the process that gets ready is free: another would have to load everything."""
        return partial(_run_after, self._is_free, job)

    def _scan(self, layer: Layer) -> LayerScan | None:
        try:
            return scan_of_layer(layer, self._viewer.dims.point)
        except DinoadError:
            return None

    def _on_prepared(self, unlike: object) -> None:
        if self._last is not None and isinstance(unlike, tuple):
            self.note(self._last, unlike)


def _run_after(is_free: threading.Event, job: Job, channel: JobChannel) -> Any:
    while not is_free.wait(_WAIT_S):
        if channel.is_stopping():
            raise Cancelled("Cancelled.")
    return job(channel)


def without_mask(settings: DetectSettings) -> DetectSettings:
    """Return settings without those of the mask, which are no part of what a detector is loaded for."""
    return replace(settings, fpr=type(settings)().fpr, min_volume_mm3=0.0)
