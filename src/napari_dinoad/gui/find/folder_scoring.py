"""The window in which scoring a folder of scans is started."""

from __future__ import annotations

from typing import TYPE_CHECKING

from magicgui.widgets import FileEdit
from qtpy.QtCore import QSize, QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QDialog, QFormLayout, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from napari_dinoad.errors import DinoadError, WeightsNotFoundError
from napari_dinoad.gui.find.folder_job import FolderOutcome, ScoreFolderJob
from napari_dinoad.gui.models.weights_dialog import WeightsDialog
from napari_dinoad.gui.parts.focus_ring import FocusRing
from napari_dinoad.gui.parts.folder_images import folder_images_field
from napari_dinoad.gui.parts.job_row import JobRow
from napari_dinoad.gui.parts.parts import NoteLabel, folder_of, letter_scale, name_field, without_options
from napari_dinoad.gui.parts.series_field import SeriesField
from napari_dinoad.gui.work.worker import JobRunner
from napari_dinoad.maps.finding_words import rate_in_words
from napari_dinoad.settings import ReadSettings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qtpy.QtGui import QShowEvent

    from napari_dinoad.gui.models.meant_images import MeantImages
    from napari_dinoad.gui.models.model_library import ModelSummary
    from napari_dinoad.gui.parts.last_folder import LastFolder
    from napari_dinoad.settings import DetectSettings

__all__ = ["FolderScoringDialog"]

_REPLACED = (
    "Results of an earlier run are there: its worklist, and files of the same names, will be replaced, or removed "
    "where they no longer hold. Scans that were scored with this model and rate, and have not changed, are taken "
    "over."
)


class FolderScoringDialog(QDialog):
    """Asks for a folder of scans and one for results; closing it does not stop the scoring.

    Parameters
    ----------
    chosen : callable
        Returns the model, or None, and the settings that are chosen now.
    last_folder : LastFolder
        Where results are proposed to go.
    meant_images : MeantImages
        What the 2D images of a folder are proposed to be.
    parent : QWidget
    """

    def __init__(
        self,
        chosen: Callable[[], tuple[ModelSummary | None, DetectSettings]],
        last_folder: LastFolder,
        meant_images: MeantImages,
        parent: QWidget,
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Score a folder of scans")
        self._chosen = chosen
        self._last_folder = last_folder
        self._meant_images = meant_images
        self._out: Path | None = None
        self._page: Path | None = None
        self._n_scored = 0
        self._scored: ScoreFolderJob | None = None
        self.runner = JobRunner(self)
        self.folder = FileEdit(mode="d", tooltip="Patients' scans; subfolders are looked into as well.")
        self.out = FileEdit(
            mode="d", tooltip="For maps, masks and reports. Files of the same names are replaced."
        )
        self.series = SeriesField()
        self.stack_folders = folder_images_field()
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
        form.addRow("Series", self.series)
        form.labelForField(self.series).setToolTip(self.series.toolTip())
        form.addRow(self.stack_folders.label, self.stack_folders.native)
        form.labelForField(self.stack_folders.native).setToolTip(self.stack_folders.tooltip)
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
        self.series.chosen.connect(self.show_state)
        self.stack_folders.changed.connect(self._on_images_meant)
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
        return QSize(480, 300) * letter_scale(self.about)

    def start(self) -> None:
        """Start to score with what is chosen now."""
        job = self._job()
        if job is None:
            return
        self.note.tell("")
        self._out, self._page, self._n_scored = job.out, None, 0
        self._last_folder.path = job.out
        self._scored = job
        self.runner.start(job, "Scoring a folder")
        self.show_state()

    def _job(self) -> ScoreFolderJob | None:
        """Return what is chosen now; None while something is missing."""
        model, settings = self._chosen()
        folder, out = folder_of(self.folder), folder_of(self.out)
        if model is None or folder is None or out is None:
            return None
        reading = ReadSettings(self.series.wanted, stack_folders=self.stack_folders.value)
        return ScoreFolderJob(folder, out, model.path, settings, reading)

    def show_state(self) -> None:
        """Say what is used and what is missing; while scoring, what that began with, which stays as it is."""
        is_idle = not self.runner.is_running
        fields = self.folder.native, self.series, self.stack_folders.native, self.out.native
        for part in (*fields, self.start_button):
            part.setEnabled(is_idle)
        self.page_button.setVisible(is_idle and self._page is not None and self._page.is_file())
        self.folder_button.setVisible(is_idle and self._out is not None and self._out.is_dir())
        if is_idle:
            with self.stack_folders.changed.blocked():
                self.stack_folders.value = self._meant_images.proposed(self._chosen()[0])
            self._show_chosen()

    def _on_images_meant(self, stacks_folders: bool) -> None:
        self._meant_images.choose(stacks_folders, self._chosen()[0])
        self.show_state()

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
        used = "" if model is None else f"Model “{model.name}”, masks at {rate_in_words(settings.fpr)}. "
        words = (
            f"Choose {' and '.join(missing)}." if missing else f"{self._read_otherwise()}{self._replaced()}"
        )
        self.about.tell(f"{used}{words}".strip(), warning=bool(words) and not missing)
        self.start_button.setEnabled(not missing)

    def _read_otherwise(self) -> str:
        """Return how the normal scans were read, where 2D images are to be read otherwise; else nothing."""
        model, _ = self._chosen()
        if model is None or self.stack_folders.value == model.stacks_folders:
            return ""
        if model.stacks_folders:
            return "Of the model's normal scans the images of a folder were slices of one scan. "
        return "The model's normal scans were single images. " if model.is_2d else ""

    def _replaced(self) -> str:
        """Return what a run would replace; nothing where it is the one that was made here, once more."""
        job = self._job()
        if job is None or job == self._scored:
            return ""
        # Loaded here: the dock opens without what draws pictures.
        from napari_dinoad.maps.pages.worklist import WORKLIST_PAGE

        try:
            is_there = (job.out / WORKLIST_PAGE).exists()
        except (OSError, ValueError):
            return ""
        return _REPLACED if is_there else ""

    def _open_page(self) -> None:
        _open(self._page)

    def _open_results(self) -> None:
        _open(self._out)

    def _on_scored(self, outcome: object) -> None:
        if not isinstance(outcome, FolderOutcome):
            return
        self._page = outcome.page
        text = f"{outcome.n_scored} scan{'' if outcome.n_scored == 1 else 's'} scored."
        if outcome.n_taken_over:
            text += f" Taken over from an earlier run: {outcome.n_taken_over} of them."
        earlier = {
            "Removed, of earlier results": outcome.n_removed,
            "Named so too, perhaps of other results": outcome.n_others,
        }
        text += "".join(f" {what}: {n} file{'' if n == 1 else 's'}." for what, n in earlier.items() if n)
        if outcome.failed:
            name, reason = outcome.failed[0]
            more = len(outcome.failed) - 1
            text += f" Not scored: {name} ({' '.join(without_options(reason).split()).rstrip('.')})"
            text += f", and {more} more, which the worklist names." if more else "."
        if outcome.not_renewed:
            it = "it" if len(outcome.not_renewed) == 1 else "them"
            text += (
                f" Not renewed: {' and '.join(outcome.not_renewed)}, which another program has open. Close {it} "
                "there, and score again: what was scored is taken over."
            )
        self.note.tell(text, warning=bool(outcome.failed or outcome.not_renewed))

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
