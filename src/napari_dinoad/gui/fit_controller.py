"""Fitting a model: what was found, how it goes, what came out. Knows no widget, so dialogs may come and go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_dinoad.gui.jobs import DemoModelJob, DiscoverJob, FitJob, FitOutcome
from napari_dinoad.gui.worker import JobProgress, JobRunner
from napari_dinoad.images.discovery import Discovery

if TYPE_CHECKING:
    from pathlib import Path

    from napari_dinoad.settings import FitSettings

__all__ = ["FitController"]


class FitController(QObject):
    """Looks into a folder, then fits; its state can be shown by any number of panels.

    Attributes
    ----------
    discovery : Discovery, optional
        What the chosen folder holds.
    outcome : FitOutcome, optional
        The last model that was fitted.
    curves : dict of list of float
        Figures of the fit by name, one value an epoch.
    message : str
        How the last fit ended, where it ended without a model.
    """

    discovered = Signal()
    curves_changed = Signal()
    fitted = Signal()
    ended = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.discovery: Discovery | None = None
        self.outcome: FitOutcome | None = None
        self.curves: dict[str, list[float]] = {}
        self.message = ""
        self._wanted_folder: Path | None = None
        self._scout = JobRunner(self)
        self._scout.succeeded.connect(self._on_discovered)
        self._scout.failed.connect(self._on_not_discovered)
        self._scout.finished.connect(self._look_again)
        self.runner = JobRunner(self)
        self.runner.progressed.connect(self._on_progress)
        self.runner.succeeded.connect(self._on_succeeded)
        self.runner.failed.connect(self._on_failed)
        self.runner.cancelled.connect(self._on_cancelled)
        self.runner.finished.connect(self.ended)

    def look_into(self, folder: Path) -> None:
        """Find out what a folder holds; `discovered` follows."""
        self._wanted_folder = folder
        self.discovery = None
        self.message = ""
        self._scout.start(DiscoverJob(folder), "Looking into the folder")

    def start(self, folder: Path, settings: FitSettings, out: Path) -> bool:
        """Start to fit; return False while another fit is under way."""
        return self._start(FitJob(folder, settings, out), "Fitting a model of normal")

    def start_demo(self, settings: FitSettings, out: Path) -> bool:
        """Start to fit the demo model; return False while another fit is under way."""
        return self._start(DemoModelJob(settings, out), "Fitting the demo model")

    def _start(self, job: FitJob | DemoModelJob, title: str) -> bool:
        if self.runner.is_running:
            return False
        self.outcome, self.curves, self.message = None, {}, ""
        # The fit goes on when its panels are closed, and the session with it.
        return self.runner.start(job, title, keep_alive=self.parent())

    def _on_discovered(self, discovery: object) -> None:
        if isinstance(discovery, Discovery) and discovery.folder == self._wanted_folder:
            self.discovery = discovery
            self.discovered.emit()

    def _on_not_discovered(self, message: str) -> None:
        self.message = message
        self.discovered.emit()

    def _look_again(self) -> None:
        """Look into the folder that was chosen while another one was being looked into."""
        done = None if self.discovery is None else self.discovery.folder
        if self._wanted_folder is not None and self._wanted_folder != done and not self.message:
            self._scout.start(DiscoverJob(self._wanted_folder), "Looking into the folder")

    def _on_progress(self, progress: JobProgress) -> None:
        metrics = progress.event.metrics
        if metrics:
            if progress.event.done <= 1:
                self.curves = {}
            for name, value in metrics.items():
                self.curves.setdefault(name, []).append(float(value))
            self.curves_changed.emit()

    def _on_succeeded(self, outcome: object) -> None:
        if isinstance(outcome, FitOutcome):
            self.outcome = outcome
            self.fitted.emit()

    def _on_failed(self, message: str) -> None:
        self.message = message

    def _on_cancelled(self) -> None:
        self.message = "Cancelled; no model was written."
