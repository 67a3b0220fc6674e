"""Fitting a model: what was found, how it goes, what came out. Knows no widget, so dialogs may come and go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_dinoad.gui.fit.samples_of_folder import SampleJob, ScanSample
from napari_dinoad.gui.work.jobs import DemoModelJob, DiscoverJob, FitJob, FitOutcome, MeantScans
from napari_dinoad.gui.work.worker import JobProgress, JobRunner
from napari_dinoad.images.discovery import Discovery
from napari_dinoad.settings import CacheSettings

if TYPE_CHECKING:
    from pathlib import Path

    from napari_dinoad.settings import FitSettings

__all__ = ["FitController"]

_STOPPED = "Stopped. Choose the folder again to look into it."


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
    samples : list of ScanSample
        Some scans of the folder, as they come.
    is_paused : bool
        Whether the last fit was paused: the same one goes on where it was.
    job : FitJob, optional
        The last fit of a folder that was begun, or is under way; None after one of the demo model.
    meant : MeantScans
        As what the folder was looked into last.
    scout : JobRunner
        Looks into the folder.
    """

    discovered = Signal()
    sampled = Signal()
    refused = Signal(object)  # DinoadError
    curves_changed = Signal()
    fitted = Signal()
    ended = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.discovery: Discovery | None = None
        self.outcome: FitOutcome | None = None
        self.curves: dict[str, list[float]] = {}
        self.message = ""
        self.samples: list[ScanSample] = []
        self.is_paused = False
        self.job: FitJob | None = None
        self._pausing = False
        self._was_cancelled = False
        self.meant = MeantScans()
        self._wanted_folder: Path | None = None
        self._must_look_again = False
        self._is_left = False
        self._sampler = JobRunner(self, in_activity_dock=False)
        self._sampler.delivered.connect(self._on_sample)
        self._sampler.finished.connect(self._sample)
        self._sampled: Discovery | None = None
        self.scout = JobRunner(self)
        self.scout.succeeded.connect(self._on_discovered)
        self.scout.failed.connect(self._on_not_discovered)
        self.scout.cancelled.connect(self._on_look_stopped)
        self.scout.finished.connect(self._look_again)
        self.runner = JobRunner(self)
        self.runner.progressed.connect(self._on_progress)
        self.runner.succeeded.connect(self._on_succeeded)
        self.runner.failed.connect(self._on_failed)
        self.runner.refused.connect(self.refused)
        self.runner.cancelled.connect(self._on_cancelled)
        self.runner.finished.connect(self.ended)

    @property
    def job_under_way(self) -> FitJob | None:
        """The fit of a folder that is under way."""
        return self.job if self.runner.is_running else None

    def look_into(self, folder: Path, meant: MeantScans | None = None) -> None:
        """Find out what a folder holds; `discovered` follows. A look into another folder is given up.

        Scans and persons are taken as they are ``meant``; None: as the last time.
        """
        self.forget_folder()
        self._wanted_folder = folder
        self.meant = meant or self.meant
        self._must_look_again = not self.scout.start(
            DiscoverJob(folder, self.meant), "Looking into the folder"
        )

    def forget_folder(self) -> None:
        """Have no folder chosen."""
        self._wanted_folder = None
        self._must_look_again = False
        self.discovery = None
        self.message = ""
        self.is_paused = False
        self.samples = []
        self._sampler.cancel()
        self.scout.cancel()

    def leave_look(self) -> None:
        """Look into the folder no further, until `return_to_look`."""
        self._is_left, self._must_look_again = self.scout.is_running, False
        self.scout.cancel()

    def return_to_look(self) -> bool:
        """Look into the folder again where that was left before it was done; return whether it was."""
        is_left, self._is_left = self._is_left, False
        if not is_left or self.discovery is not None or self._wanted_folder is None:
            return False
        self.look_into(self._wanted_folder)
        return True

    def start(self, folder: Path, settings: FitSettings, out: Path) -> bool:
        """Start to fit, or go on with the same fit; return False while another fit is under way."""
        # What a paused fit, or one that ended with the machine, has left is used; what was cancelled is not.
        cache = CacheSettings(resume=not self._was_cancelled)
        return self._start(FitJob(folder, settings, out, cache), "Fitting a model of normal")

    def pause(self) -> None:
        """Stop the fit so that it can go on later."""
        self._pausing = True
        self.runner.cancel()

    def start_demo(self, settings: FitSettings, out: Path) -> bool:
        """Start to fit the demo model; return False while another fit is under way."""
        return self._start(DemoModelJob(settings, out), "Fitting the demo model")

    def _start(self, job: FitJob | DemoModelJob, title: str) -> bool:
        if self.runner.is_running:
            return False
        self.outcome, self.curves, self.message = None, {}, ""
        self.is_paused = self._pausing = self._was_cancelled = False
        self.job = job if isinstance(job, FitJob) else None
        # The fit goes on when its panels are closed, and the session with it.
        return self.runner.start(job, title, keep_alive=self.parent())

    def _on_discovered(self, discovery: object) -> None:
        if isinstance(discovery, Discovery) and self._is_of_wanted_folder:
            self.discovery = discovery
            self.discovered.emit()
            self._sample()

    def _sample(self) -> None:
        """Look at some scans of the folder, once."""
        if self.discovery is not None and self.discovery is not self._sampled and self.discovery.scans:
            if self._sampler.start(SampleJob(self.discovery), "Looking at some scans"):
                self._sampled = self.discovery

    def _on_sample(self, sample: object) -> None:
        if isinstance(sample, ScanSample) and self.discovery is self._sampled:
            self.samples.append(sample)
            self.sampled.emit()

    @property
    def _is_of_wanted_folder(self) -> bool:
        """Whether what the scout tells is of the folder that is chosen now."""
        return self._wanted_folder is not None and not self._must_look_again

    def _on_not_discovered(self, message: str) -> None:
        if self._is_of_wanted_folder:
            self.message = message
            self.discovered.emit()

    def _on_look_stopped(self) -> None:
        self._on_not_discovered(_STOPPED)

    def _look_again(self) -> None:
        """Look into the folder that was chosen while another one was being looked into."""
        if self._must_look_again and self._wanted_folder is not None:
            self.look_into(self._wanted_folder)

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
        self.is_paused, self._was_cancelled = self._pausing, not self._pausing
        self.message = (
            "Paused. What is done is kept: Resume goes on from there, also after napari was closed."
            if self._pausing
            else "Cancelled; no model was written."
        )
