"""Scoring a folder of scans: its job, and the window in which it is started."""

from __future__ import annotations

from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from magicgui.widgets import FileEdit
from qtpy.QtCore import QSize, QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QDialog, QFormLayout, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from napari_dinoad.errors import DinoadError, WeightsNotFoundError
from napari_dinoad.gui.models.weights_dialog import WeightsDialog
from napari_dinoad.gui.parts.focus_ring import FocusRing
from napari_dinoad.gui.parts.job_row import JobRow
from napari_dinoad.gui.parts.parts import NoteLabel, folder_of, name_field
from napari_dinoad.gui.work.processes import run_in_process
from napari_dinoad.gui.work.worker import JobRunner
from napari_dinoad.machine.files import folder_to_fill
from napari_dinoad.machine.temporaries import remove_abandoned
from napari_dinoad.maps.finding_words import rate_in_words

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from qtpy.QtGui import QShowEvent

    from napari_dinoad.gui.parts.last_folder import LastFolder
    from napari_dinoad.gui.work.work_process import Desk
    from napari_dinoad.gui.work.worker import JobChannel
    from napari_dinoad.progress import Progress, ProgressEvent
    from napari_dinoad.settings import DetectSettings

__all__ = ["FolderOutcome", "FolderScoringDialog", "ScoreFolderJob"]


@dataclass(frozen=True)
class FolderOutcome:
    """How a folder was scored, or is so far.

    Attributes
    ----------
    n_scored : int
    failed : tuple of (str, str)
        Scans that could not be scored, and why.
    page : Path, optional
        The worklist, which is there when the job has ended; None of a single scan.
    """

    n_scored: int
    failed: tuple[tuple[str, str], ...]
    page: Path | None


@dataclass(frozen=True)
class ScoreFolderJob:
    """Scores all scans of a folder and writes what ``dinoad score`` writes.

    Attributes
    ----------
    folder : Path
        Its subfolders are looked into as well.
    out : Path
        For the results.
    model_path : Path
    settings : DetectSettings
    """

    folder: Path
    out: Path
    model_path: Path
    settings: DetectSettings

    def __call__(self, channel: JobChannel) -> FolderOutcome:
        """Have it done in a worker process."""
        outcome: FolderOutcome = run_in_process(self, channel)
        return outcome

    def work(self, desk: Desk) -> FolderOutcome:
        """Score one scan after the other; one that cannot be scored holds up none of the others.

        Raises
        ------
        DinoadError
            If the folder holds no scan, or the results cannot be written.
        """
        from napari_dinoad.images.discovery import discover_scans
        from napari_dinoad.maps.worklist import Worklist
        from napari_dinoad.normative_model import NormativeModel
        from napari_dinoad.pipeline import Detector
        from napari_dinoad.pipeline.detection.batch import score_scans
        from napari_dinoad.settings import ReadSettings

        reading = ReadSettings()
        found = discover_scans(self.folder, reading, progress=desk.progress)
        unusable = [item for item in found.skipped if item.is_scan]
        if not found.scans and not unusable:
            raise DinoadError(f"{self.folder}: expected scans in this folder, found none.")
        detector = Detector(NormativeModel.load(self.model_path), self.settings)
        failed = [(item.path.name, item.reason) for item in unusable]
        n_scored = 0
        with (
            folder_to_fill(self.out),
            Worklist(self.out, self.model_path.stem, self.settings.fpr) as worklist,
        ):
            remove_abandoned(self.out)
            for name, reason in failed:
                worklist.add_failed(name, reason)

            def outcome(n_scored: int) -> FolderOutcome:
                is_listed = n_scored + len(failed) > 1
                return FolderOutcome(n_scored, tuple(failed), worklist.page if is_listed else None)

            def progress(number: int, _: str) -> AbstractContextManager[Progress]:
                # The scan before this one may be written yet: it will be, even if this is the last that is told.
                desk.deliver(outcome(number - 1 - (len(failed) - len(unusable))))
                return nullcontext(_of_scan(desk.progress, number, len(found.scans)))

            scored = score_scans(detector, found.scans, reading, self.out, worklist, progress=progress)
            with closing(scored):
                for item in scored:
                    if item.error is None:
                        n_scored += 1
                    else:
                        failed.append((item.scan.path.name or item.name, item.reason))
            return outcome(n_scored)


def _of_scan(progress: Progress, place: int, n_scans: int) -> Progress:
    """Return what tells of a scan's own steps, and which of the scans it is. No name: it may be a patient's."""

    def tell(event: ProgressEvent) -> None:
        progress(replace(event, stage=f"Scan {place} of {n_scans}: {event.stage.lower()}"))

    return tell


class FolderScoringDialog(QDialog):
    """Asks for a folder of scans and one for results; closing it does not stop the scoring.

    Parameters
    ----------
    chosen : callable
        Returns the model's file, or None, and the settings that are chosen now.
    last_folder : LastFolder
        Where results are proposed to go.
    parent : QWidget
    """

    def __init__(
        self,
        chosen: Callable[[], tuple[Path | None, DetectSettings]],
        last_folder: LastFolder,
        parent: QWidget,
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Score a folder of scans")
        self._chosen = chosen
        self._last_folder = last_folder
        self._out: Path | None = None
        self._page: Path | None = None
        self._n_scored = 0
        self.runner = JobRunner(self)
        self.folder = FileEdit(mode="d", tooltip="Patients' scans; subfolders are looked into as well.")
        self.out = FileEdit(
            mode="d", tooltip="For maps, masks and reports. Files of the same names are replaced."
        )
        name_field(self.folder, "Scans")
        name_field(self.out, "Results")
        self.about = NoteLabel()
        self.start_button = QPushButton("Score")
        self.start_button.setToolTip("Score all scans of the folder. This window may be closed meanwhile.")
        self.page_button = QPushButton("Open the worklist")
        self.page_button.setToolTip("All scans, the least normal first, with links to their reports.")
        self.folder_button = QPushButton("Open the results")
        self.job = JobRow()
        self.note = NoteLabel()
        self.weights_dialog: WeightsDialog | None = None
        self._build()
        self._connect()
        self.show_state()

    def _build(self) -> None:
        form = QFormLayout()
        form.addRow("Scans", self.folder.native)
        form.addRow("Results", self.out.native)
        rows = QVBoxLayout(self)
        rows.addLayout(form)
        for widget in (self.about, self.start_button, self.job, self.note):
            rows.addWidget(widget)
        buttons = QHBoxLayout()
        buttons.addWidget(self.page_button)
        buttons.addWidget(self.folder_button)
        rows.addLayout(buttons)
        rows.addStretch(1)
        FocusRing(self)
        for button in self.findChildren(QPushButton):
            # Return ends the typing of a path; it presses nothing.
            button.setAutoDefault(False)

    def _connect(self) -> None:
        self.job.follow(self.runner)
        self.folder.changed.connect(self.show_state)
        self.out.changed.connect(self.show_state)
        self.start_button.clicked.connect(self.start)
        self.page_button.clicked.connect(self._open_page)
        self.folder_button.clicked.connect(self._open_results)
        self.runner.succeeded.connect(self._on_scored)
        self.runner.delivered.connect(self._on_delivered)
        self.runner.cancelled.connect(self._on_cancelled)
        self.runner.failed.connect(self.note.tell_error)
        self.runner.refused.connect(self._on_refused)
        self.runner.finished.connect(self.show_state)

    def showEvent(self, event: QShowEvent | None) -> None:
        """Propose the folder that was written into last, where none is named."""
        super().showEvent(event)
        if folder_of(self.out) is None and self._last_folder.path is not None:
            self.out.value = self._last_folder.path

    def sizeHint(self) -> QSize:
        """Leave room for paths and for what is told."""
        return QSize(480, 240)

    def start(self) -> None:
        """Start to score with what is chosen now."""
        model, settings = self._chosen()
        folder, out = folder_of(self.folder), folder_of(self.out)
        if model is None or folder is None or out is None:
            return
        self.note.tell("")
        self._out, self._page, self._n_scored = out, None, 0
        self._last_folder.path = out
        self.runner.start(ScoreFolderJob(folder, out, model, settings), "Scoring a folder")
        self.show_state()

    def show_state(self) -> None:
        """Say what is used and what is missing; while scoring, what that began with, which stays as it is."""
        is_idle = not self.runner.is_running
        for part in (self.folder.native, self.out.native, self.start_button):
            part.setEnabled(is_idle)
        self.page_button.setVisible(is_idle and self._page is not None and self._page.is_file())
        self.folder_button.setVisible(is_idle and self._out is not None and self._out.is_dir())
        if is_idle:
            self._show_chosen()

    def _show_chosen(self) -> None:
        model, settings = self._chosen()
        missing = [
            what
            for what, value in (
                ("a model of normal in the dock", model),
                ("the folder of the scans", folder_of(self.folder)),
                ("a folder for the results", folder_of(self.out)),
            )
            if value is None
        ]
        used = "" if model is None else f"Model “{model.stem}”, masks at {rate_in_words(settings.fpr)}. "
        self.about.tell(f"{used}Choose {' and '.join(missing)}." if missing else used.strip())
        self.start_button.setEnabled(not missing)

    def _open_page(self) -> None:
        _open(self._page)

    def _open_results(self) -> None:
        _open(self._out)

    def _on_scored(self, outcome: object) -> None:
        if not isinstance(outcome, FolderOutcome):
            return
        self._page = outcome.page
        text = f"{outcome.n_scored} scan{'' if outcome.n_scored == 1 else 's'} scored."
        if outcome.failed:
            name, reason = outcome.failed[0]
            more = len(outcome.failed) - 1
            text += f" Not scored: {name} ({' '.join(reason.split()).rstrip('.')})"
            text += f", and {more} more, which the worklist names." if more else "."
        self.note.tell(text, warning=bool(outcome.failed))

    def _on_delivered(self, outcome: object) -> None:
        if isinstance(outcome, FolderOutcome):
            self._page, self._n_scored = outcome.page, outcome.n_scored

    def _on_cancelled(self) -> None:
        kept = "Stopped; the results of the scans scored so far are kept."
        self.note.tell(kept if self._n_scored else "Stopped before any scan was scored.")

    def _on_refused(self, error: DinoadError) -> None:
        if isinstance(error, WeightsNotFoundError):
            self.weights_dialog = WeightsDialog(error, self)
            self.weights_dialog.weights_added.connect(self.start)
            self.weights_dialog.open()


def _open(path: Path | None) -> None:
    if path is not None:
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(path)))
