"""Step 3: find, and how it goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QPushButton, QWidget

from napari_dinoad.gui.parts import JobRow, NoteLabel, Step

if TYPE_CHECKING:
    from napari_dinoad.gui.worker import JobRunner

__all__ = ["FindStep"]


class FindStep(Step):
    """Starts scoring and shows its progress."""

    find_asked = Signal(bool)  # only the slice in view

    def __init__(self, runner: JobRunner, parent: QWidget | None = None) -> None:
        super().__init__("3  Find", parent)
        self._runner = runner
        self.scan_button = QPushButton("Find in whole scan")
        self.scan_button.setToolTip(
            "Score the slice in view first, then the others, outwards from it. (Ctrl+Return)"
        )
        self.scan_button.setShortcut("Ctrl+Return")
        self.slice_button = QPushButton("This slice only")
        self.slice_button.setToolTip("Score the slice in view alone.")
        self.job = JobRow()
        self.job.follow(runner)
        self.note = NoteLabel()
        self.add_row(self.scan_button, self.slice_button)
        self.rows.addWidget(self.job)
        self.rows.addWidget(self.note)
        self.scan_button.clicked.connect(lambda: self.find_asked.emit(False))
        self.slice_button.clicked.connect(lambda: self.find_asked.emit(True))
        runner.started.connect(self._on_started)
        runner.failed.connect(lambda message: self.note.tell(message, error=True))
        runner.cancelled.connect(lambda: self.note.tell("Cancelled; the slices scored so far are kept."))
        runner.finished.connect(self._show_enabled)
        self._missing = ""
        self._show_enabled()

    def set_missing(self, what: str) -> None:
        """Say what has to be chosen before anything can be found; empty when nothing is missing."""
        if self._missing and not what:
            self.note.tell("")
        self._missing = what
        self._show_enabled()

    def _on_started(self) -> None:
        self.note.tell("")
        self._show_enabled()

    def _show_enabled(self) -> None:
        ready = not self._missing and not self._runner.is_running
        for button in (self.scan_button, self.slice_button):
            button.setEnabled(ready)
        if self._missing:
            self.note.tell(self._missing)
