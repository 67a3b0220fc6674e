"""When a backbone's weights are nowhere: where was looked, and the three ways to get them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_dinoad.backbones.weights.hub import INDEX_SUFFIX
from napari_dinoad.backbones.weights.store import SUFFIXES, weights_folder
from napari_dinoad.errors import WeightsError, WeightsNotFoundError
from napari_dinoad.gui.parts.focus_ring import FocusRing
from napari_dinoad.gui.parts.job_row import JobRow
from napari_dinoad.gui.parts.parts import NoteLabel
from napari_dinoad.gui.work.processes import run_in_process
from napari_dinoad.gui.work.worker import JobRunner
from napari_dinoad.progress import ProgressEvent

if TYPE_CHECKING:
    from napari_dinoad.gui.work.work_process import Desk
    from napari_dinoad.gui.work.worker import JobChannel

__all__ = ["AddWeightsJob", "GetWeightsJob", "WeightsDialog"]


@dataclass(frozen=True)
class AddWeightsJob:
    """Checks that a file holds the weights of a backbone, and keeps it for every later run."""

    file: Path
    backbone: str

    def __call__(self, channel: JobChannel) -> Any:
        """Have it done in a worker process."""
        return run_in_process(self, channel)

    def work(self, desk: Desk) -> Path:
        """Check and copy; `WeightsError` when the file is of something else."""
        from napari_dinoad.backbones.weights.matching import check_weights
        from napari_dinoad.backbones.weights.store import add_weights

        desk.progress(ProgressEvent("Checking the weights", 0, 0))
        checked = check_weights(self.backbone, self.file)
        return add_weights(self.file, checked.backbone)


@dataclass(frozen=True)
class GetWeightsJob:
    """Downloads the weights of a backbone."""

    backbone: str

    def __call__(self, channel: JobChannel) -> Any:
        """Have it done in a worker process."""
        return run_in_process(self, channel)

    def work(self, desk: Desk) -> Path:
        """Search, then download; `WeightsError` with the reason alone when neither brings them."""
        from napari_dinoad.backbones import find_backbone
        from napari_dinoad.backbones.weights.store import find_weights

        desk.progress(ProgressEvent("Downloading the weights", 0, 0))
        try:
            return find_weights(find_backbone(self.backbone), progress=desk.progress).path
        except WeightsNotFoundError as error:
            # The places and ways stand in the dialog.
            raise WeightsError(f"Downloading failed: {error.download_error}. Take another way.") from error


class WeightsDialog(QDialog):
    """Says what is missing and helps to get it; `weights_added` when it is there."""

    weights_added = Signal()

    def __init__(self, error: WeightsNotFoundError, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Weights are missing")
        self._backbone = error.backbone
        self.runner = JobRunner(self)
        self.download_button = QPushButton("Download")
        self.file_button = QPushButton("Choose file…")
        self.job = JobRow()
        self.job.follow(self.runner)
        self.note = NoteLabel()
        rows = QVBoxLayout(self)
        rows.addWidget(_text(f"<b>The weights of {error.backbone} are not on this machine.</b>"))
        rows.addWidget(_text(f"They are published under: {error.licence}. Three ways to get them:"))
        folder = weights_folder()
        ways = (
            (f"1. With internet here, download them. (Tried: {error.download_error})", self.download_button),
            ("2. Download the file on another machine, bring it here, and choose it.", self.file_button),
            (f"3. Put that file into the folder {folder}, and try again.", None),
        )
        for words, button in ways:
            row = QHBoxLayout()
            row.addWidget(_text(words), 1)
            if button is not None:
                row.addWidget(button)
            rows.addLayout(row)
        files = error.ways[1] if len(error.ways) > 1 else ""
        rows.addWidget(_text(f"<small>{files.replace('name it with --weights FILE', 'choose it')}</small>"))
        rows.addWidget(_text(f"<small>Looked in {'; '.join(error.looked_in)}.</small>"))
        rows.addWidget(_text("<small>The backbone “embedded” needs no weights (it is no DINO).</small>"))
        rows.addWidget(self.job)
        rows.addWidget(self.note)
        rows.addStretch(1)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.reject)
        rows.addWidget(buttons)
        FocusRing(self)
        self.setMinimumWidth(520)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.download_button.clicked.connect(self._get)
        self.file_button.clicked.connect(self._ask_for_file)
        self.runner.started.connect(self._show_enabled)
        self.runner.finished.connect(self._show_enabled)
        self.runner.failed.connect(self.note.tell_error)
        self.runner.succeeded.connect(self._on_added)

    def add_file(self, file: Path) -> None:
        """Check a weights file and keep it."""
        self._start(AddWeightsJob(file, self._backbone))

    def _get(self) -> None:
        self._start(GetWeightsJob(self._backbone))

    def _start(self, job: AddWeightsJob | GetWeightsJob) -> None:
        self.note.tell("")
        self.runner.start(job, "Getting weights")

    def _ask_for_file(self) -> None:
        kinds = " ".join(f"*{suffix}" for suffix in (*SUFFIXES, INDEX_SUFFIX))
        name, _ = QFileDialog.getOpenFileName(self, f"Weights of {self._backbone}", "", f"Weights ({kinds})")
        if name:
            self.add_file(Path(name))

    def _show_enabled(self) -> None:
        for button in (self.download_button, self.file_button):
            button.setEnabled(not self.runner.is_running)

    def _on_added(self) -> None:
        self.weights_added.emit()
        self.accept()


def _text(words: str) -> QLabel:
    label = QLabel(words)
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return label
