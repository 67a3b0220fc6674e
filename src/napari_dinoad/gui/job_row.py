"""How a job goes, and how to stop it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from napari_dinoad.gui.remaining_time import duration_in_words

if TYPE_CHECKING:
    from napari_dinoad.gui.worker import JobProgress, JobRunner

__all__ = ["JobRow"]

_PROGRESS_INTERVAL_MS = 300
"""Steps are shown at most this often: without a graphics card each change redraws the whole window, which takes the
processor from the slice that somebody waits for."""


class JobRow(QWidget):
    """Shows how a job goes: stage, bar, remaining time, cancel. Hidden while none is under way.

    Parameters
    ----------
    delay_ms : int
        Jobs that end sooner are not shown.
    """

    cancel_asked = Signal()

    def __init__(self, parent: QWidget | None = None, *, delay_ms: int = 0) -> None:
        super().__init__(parent)
        self._appear = QTimer(self)
        self._appear.setSingleShot(True)
        self._appear.setInterval(delay_ms)
        self._appear.timeout.connect(self.show)
        self.stage = QLabel()
        self.stage.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.cancel_button = QPushButton("Cancel")
        self.cancel_button.setToolTip("Stop after the piece of work in hand. What is done so far is kept.")
        self.cancel_button.clicked.connect(self._ask_to_cancel)
        row = QHBoxLayout()
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.bar, 1)
        row.addWidget(self.cancel_button)
        rows = QVBoxLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setSpacing(2)
        rows.addWidget(self.stage)
        rows.addLayout(row)
        self._runner: JobRunner | None = None
        self._waiting: JobProgress | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_PROGRESS_INTERVAL_MS)
        self._timer.timeout.connect(self._draw)
        self.hide()

    def _ask_to_cancel(self) -> None:
        self.cancel_asked.emit()

    def follow(self, runner: JobRunner) -> None:
        """Show the jobs of a runner, also the one already under way, and let the button cancel them."""
        self._runner = runner
        runner.started.connect(self._on_started)
        runner.stopping.connect(self._on_stopping)
        runner.progressed.connect(self.show_progress)
        runner.finished.connect(self._on_finished)
        self.cancel_asked.connect(runner.cancel)
        if runner.is_running:
            self._on_started(runner.title)
            self._waiting = runner.last_progress
            self._draw()
        if runner.is_stopping:
            self._on_stopping()

    def show_progress(self, progress: JobProgress) -> None:
        """Show a step soon; of several, the last."""
        self._waiting = progress
        if not self._timer.isActive():
            self._timer.start()

    def _draw(self) -> None:
        progress, self._waiting = self._waiting, None
        if progress is None:
            return
        event = progress.event
        text = event.stage
        if event.total:
            text += f"  {min(event.done, event.total)} of {event.total}"
        if event.detail:
            text += f"  ({event.detail})"
        if progress.remaining_s is not None and event.done < event.total:
            text += f"  ·  {duration_in_words(progress.remaining_s)} left in this step"
        if self.cancel_button.isEnabled():
            self.stage.setText(text)
            self.stage.setToolTip(text)
        self.bar.setRange(0, event.total)
        self.bar.setValue(min(event.done, event.total))

    def _on_started(self, title: str) -> None:
        self.stage.setText(title)
        # Not yet the moving bar of unknown length: it redraws the window all the time.
        self.bar.setRange(0, 1)
        self.bar.setValue(0)
        self.cancel_button.setEnabled(True)
        if self._appear.interval():
            self._appear.start()
        else:
            self.show()

    def _on_finished(self) -> None:
        if self._runner is not None and self._runner.is_running:
            # What waited its turn was started first.
            return
        self._timer.stop()
        self._appear.stop()
        self._waiting = None
        self.hide()

    def _on_stopping(self) -> None:
        """Say so, whoever asked for it: the piece of work in hand may take a while."""
        self.cancel_button.setEnabled(False)
        self.stage.setText("Stopping…")
