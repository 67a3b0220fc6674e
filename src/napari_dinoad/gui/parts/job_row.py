"""How a job goes, and how to stop it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from napari_dinoad.gui.work.remaining_time import duration_in_words

if TYPE_CHECKING:
    from qtpy.QtGui import QResizeEvent

    from napari_dinoad.gui.work.worker import JobProgress, JobRunner

__all__ = ["FIT_STOPS", "STOPS", "JobRow"]

_PROGRESS_INTERVAL_MS = 300
"""Steps are shown at most this often: without a graphics card each change redraws the whole window, which takes the
processor from the slice that somebody waits for."""


KEPT = "Stop after the piece of work in hand. What is done so far is kept."
"""What the button says of jobs whose parts are of use."""

STOPS = "Stop after the piece of work in hand."

FIT_STOPS = (
    "Stop the fit; no model is written. To go on later, press Pause in its window instead (Fit from folder…)."
)


class _StageLabel(QLabel):
    """One line: the longest of some versions of a text for which there is room; the rest is under the mouse."""

    def __init__(self) -> None:
        super().__init__()
        self._versions: tuple[str, ...] = ("",)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)

    def tell(self, *versions: str) -> None:
        """Show one of these versions, the longest first; where none has room, the beginning of the last."""
        self._versions = versions
        self.setToolTip(versions[0])
        self._choose()

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Choose anew."""
        super().resizeEvent(event)
        self._choose()

    def _choose(self) -> None:
        metrics, width = self.fontMetrics(), self.contentsRect().width()
        whole = (text for text in self._versions if metrics.horizontalAdvance(text) <= width)
        cut = metrics.elidedText(self._versions[-1], Qt.TextElideMode.ElideRight, width)
        self.setText(next(whole, cut))


class JobRow(QWidget):
    """Shows how a job goes: stage, bar, remaining time, cancel. Hidden while none is under way.

    Parameters
    ----------
    delay_ms : int
        Jobs that end sooner are not shown.
    cancel_tip : str
        What the button does, in words.
    """

    cancel_asked = Signal()

    def __init__(self, *, delay_ms: int = 0, cancel_tip: str = KEPT) -> None:
        super().__init__()
        self._appear = QTimer(self)
        self._appear.setSingleShot(True)
        self._appear.setInterval(delay_ms)
        self._appear.timeout.connect(self.show)
        self.stage = _StageLabel()
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.cancel_button = QPushButton("Cancel")
        self.cancel_button.setToolTip(cancel_tip)
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
        whole = f"{text}  ({event.detail})" if event.detail else text
        versions: tuple[str, ...] = (whole, text)
        if progress.remaining_s is not None and event.done < event.total:
            left = f"  ·  {duration_in_words(progress.remaining_s)} left"
            versions = (f"{whole}{left} in this step", f"{whole}{left}", f"{text}{left}")
        if self.cancel_button.isEnabled():
            self.stage.tell(*versions)
        self.bar.setRange(0, event.total)
        self.bar.setValue(min(event.done, event.total))

    def _on_started(self, title: str) -> None:
        self.stage.tell(title)
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
        self.stage.tell("Stopping…")
