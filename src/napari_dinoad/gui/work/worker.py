"""Long jobs on a worker thread: the only place that knows about threads.

A job is a plain callable that gets a `JobChannel`. It runs on a worker thread and touches no layer and no widget;
what it has to tell goes through the channel and arrives, as Qt signals, on the main thread.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari.qt.threading import WorkerBase, WorkerBaseSignals, create_worker
from napari.utils.notifications import notification_manager
from napari.utils.progress import cancelable_progress
from qtpy.QtCore import QObject, QTimer, Signal
from superqt.utils import create_worker as create_unlisted_worker

from napari_dinoad.errors import Cancelled, DinoadError, WeightsNotFoundError
from napari_dinoad.gui.viewer.viewer_parts import calm_spinners, is_of_another_viewer
from napari_dinoad.gui.work.remaining_time import RemainingTime
from napari_dinoad.machine.faults import fault_of_machine

if TYPE_CHECKING:
    from napari_dinoad.progress import ProgressEvent

__all__ = ["Job", "JobChannel", "JobProgress", "JobRunner"]

logger = logging.getLogger(__name__)

_REPORT_INTERVAL_S = 0.05
"""Progress goes to the main thread at most this often, so that a fast loop does not flood it."""

_ACTIVITY_INTERVAL_MS = 100
"""The bar in napari's activity dock is drawn at most this often."""


@dataclass(frozen=True)
class JobChannel:
    """What a running job may call, from its worker thread.

    Attributes
    ----------
    progress : callable
        Takes a `ProgressEvent`; raises `Cancelled` once the user has asked to stop.
    deliver : callable
        Hands an intermediate result to the main thread; then as ``progress``.
    is_stopping : callable
        Tells whether the user has asked to stop.
    """

    progress: Callable[[ProgressEvent], None]
    deliver: Callable[[object], None]
    is_stopping: Callable[[], bool] = lambda: False


Job = Callable[[JobChannel], Any]


@dataclass(frozen=True)
class JobProgress:
    """A `ProgressEvent` with the time that its stage may still take.

    Attributes
    ----------
    event : ProgressEvent
    remaining_s : float, optional
        Seconds; None while it cannot be told.
    """

    event: ProgressEvent
    remaining_s: float | None


class _Task:
    """A job with its title, for napari's list of running tasks, which is read when a window closes.

    napari keeps that list, and with it every worker and its function, for as long as the window lives; so the job,
    which may hold a whole scan, is let go of as soon as it has run.
    """

    def __init__(self, job: Job, title: str) -> None:
        self._job: Job | None = job
        self._title = title

    def __repr__(self) -> str:
        return self._title

    def take(self) -> Job:
        """Return the job, once."""
        job, self._job = self._job, None
        if job is None:
            raise RuntimeError(f"{self._title}: a job runs once.")
        return job


class _JobSignals(WorkerBaseSignals):
    progressed = Signal(object)
    delivered = Signal(object)
    succeeded = Signal(object)
    aborted = Signal()
    broke = Signal(object)


class _JobWorker(WorkerBase):
    """Runs one job; made by `JobRunner`."""

    def __init__(self, task: _Task) -> None:
        super().__init__(SignalsClass=_JobSignals)
        self._task = task
        self._last_report = (-_REPORT_INTERVAL_S, "")

    def work(self) -> None:
        try:
            self._stop_if_asked()
            result = self._task.take()(self._channel())
        except Cancelled:
            self.quit()
            self.aborted.emit()
            return
        except Exception as error:  # noqa: BLE001 - an edge: whatever ended the job is told to the user
            # Not `errored`: what napari connects to it takes no error, over which PySide6 raises a TypeError.
            self.broke.emit(error)
            return
        # Not `returned`: that stays silent when the wish to cancel comes after the work was done.
        self.succeeded.emit(result)

    def _channel(self) -> JobChannel:
        return JobChannel(self._report, self._deliver, lambda: bool(self.abort_requested))

    def _report(self, event: ProgressEvent) -> None:
        self._stop_if_asked()
        sent, stage = self._last_report
        now = time.monotonic()
        is_due = now - sent >= _REPORT_INTERVAL_S or stage != event.stage or event.done == event.total
        if is_due or event.metrics:
            self._last_report = (now, event.stage)
            self.progressed.emit(event)

    def _deliver(self, item: object) -> None:
        self.delivered.emit(item)
        self._stop_if_asked()

    def _stop_if_asked(self) -> None:
        if self.abort_requested:
            raise Cancelled("Cancelled.")


class _ActivityBar(cancelable_progress):
    """A bar in napari's activity dock whose cancel button stops the job at once.

    napari lets waiting events through each time such a bar changes. Were it drawn as a step arrives, the steps behind
    would be dealt with inside, and the window would show them in reverse; so it is drawn on its own, at rest.
    """

    def __init__(self, title: str, cancel: Callable[[], None]) -> None:
        self._title = title
        self._waiting: ProgressEvent | None = None
        self._is_drawing = self._is_closed = False
        self._shown_total = 0
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(_ACTIVITY_INTERVAL_MS)
        self._timer.timeout.connect(self._draw)
        # gui=True keeps tqdm from drawing the bar in the terminal as well.
        super().__init__(desc=title, total=0, cancel_callback=cancel, gui=True)

    def cancel(self) -> None:
        super().cancel()
        self.cancel_callback()

    def show(self, event: ProgressEvent) -> None:
        """Draw a step soon; of several, the last."""
        self._waiting = event
        if not (self._timer.isActive() or self._is_drawing or self._is_closed):
            self._timer.start()

    def close(self) -> None:
        self._is_closed = True
        self._timer.stop()
        super().close()

    def __del__(self) -> None:
        """Do nothing, where tqdm closes the bar: napari keeps it until then, or until Python ends, after Qt has."""

    def _draw(self) -> None:
        event, self._waiting = self._waiting, None
        if event is None:
            return
        self._is_drawing = True
        for part in (self._draw_count, self._draw_stage):
            # The job may have ended in the meantime.
            if not self._is_closed:
                part(event)
        self._is_drawing = False
        if self._waiting is not None:
            self.show(self._waiting)

    def _draw_count(self, event: ProgressEvent) -> None:
        if self._shown_total != event.total:
            self._shown_total = self.total = event.total
        if event.total:
            self.n = min(event.done, event.total)
            self.events.value(value=self.n)

    def _draw_stage(self, event: ProgressEvent) -> None:
        self.set_description(f"{self._title}: {event.stage}")


class JobRunner(QObject):
    """Runs one job at a time and tells, on the main thread, how it goes.

    Every job ends with exactly one of `succeeded`, `cancelled` and `failed`, and then `finished`. A `DinoadError`
    is told as one line; anything else is logged with its traceback and shown as napari's error notification too.

    napari asks before it closes the window in which a job was started, and cancels the job then. A job that starts
    while the window of another viewer is the current one is not known to napari: closing that one must not end it.
    """

    started = Signal(str)
    stopping = Signal()  # once somebody has asked it to
    progressed = Signal(object)  # JobProgress
    delivered = Signal(object)
    succeeded = Signal(object)
    cancelled = Signal()
    failed = Signal(str)
    refused = Signal(object)  # DinoadError, before `failed`
    finished = Signal()

    def __init__(self, parent: QObject | None = None, *, in_activity_dock: bool = True) -> None:
        super().__init__(parent)
        self._in_activity_dock = in_activity_dock
        self._worker: _JobWorker | None = None
        self._activity: _ActivityBar | None = None
        self._remaining = RemainingTime()
        self._title = ""
        self.last_progress: JobProgress | None = None

    @property
    def is_running(self) -> bool:
        """Whether a job is under way."""
        return self._worker is not None

    @property
    def is_stopping(self) -> bool:
        """Whether the job under way was asked to stop."""
        return self._worker is not None and bool(self._worker.abort_requested)

    @property
    def title(self) -> str:
        """What the job under way, or the last one, does."""
        return self._title

    def start(self, job: Job, title: str, keep_alive: object = None) -> bool:
        """Start a job; return False, and do nothing, while another one is under way.

        Parameters
        ----------
        job : callable
        title : str
            What it does, for people.
        keep_alive : object, optional
            Lives at least as long as the job, for jobs that go on when their widgets are gone.
        """
        if self._worker is not None:
            return False
        self._title = title
        self._remaining = RemainingTime()
        self.last_progress = None
        task = _Task(job, title)
        # napari lists what it creates with the window that is current, and cancels it when that one is closed.
        create = create_unlisted_worker if is_of_another_viewer(self) else create_worker
        worker = create(task, _worker_class=_JobWorker, _start_thread=False, _ignore_errors=True)
        self._worker = worker
        kept = [keep_alive]
        worker.progressed.connect(self._on_progress)
        worker.delivered.connect(self.delivered)
        worker.succeeded.connect(self.succeeded)
        worker.aborted.connect(self.cancelled)
        worker.broke.connect(self._on_error)
        worker.warned.connect(_log_warning)
        if self._in_activity_dock:
            calm_spinners()
            self._activity = _ActivityBar(title, worker.quit)
            # Not through this object, which may be gone by then; and before anybody hears that the job has ended.
            worker.finished.connect(self._activity.close)
        worker.finished.connect(self._on_finished)
        # A plain function: the worker's own methods are no slots any more once Qt has deleted it.
        worker.finished.connect(lambda: kept.clear())
        worker.start()
        self.started.emit(title)
        return True

    def cancel(self) -> None:
        """Ask the job to stop; it does after the unit of work in hand."""
        if self._worker is not None:
            self._worker.quit()
            self.stopping.emit()

    def _on_progress(self, event: ProgressEvent) -> None:
        progress = JobProgress(event, self._remaining.update(event, time.monotonic()))
        self.last_progress = progress
        if self._activity is not None:
            self._activity.show(event)
        self.progressed.emit(progress)

    def _on_error(self, error: Exception) -> None:
        error = fault_of_machine(error) or error
        if isinstance(error, DinoadError):
            # The message may name a scan's file, which does not belong in a log.
            logger.info("%s ended with a %s.", self._title, type(error).__name__)
            self.refused.emit(error)
            # A window shows where was looked, and the ways.
            self.failed.emit(error.in_short if isinstance(error, WeightsNotFoundError) else str(error))
            return
        logger.error("%s failed.", self._title, exc_info=error)
        self.failed.emit(f"{self._title} failed: {type(error).__name__}: {error}. The log has the details.")
        notification_manager.receive_error(type(error), error, error.__traceback__)

    def _on_finished(self) -> None:
        self._activity = self._worker = None
        self.finished.emit()


def _log_warning(arguments: tuple[Any, ...]) -> None:
    """Log a Python warning from a worker: the arguments of `warnings.showwarning`."""
    message, category = arguments[:2]
    logger.warning("%s: %s", category.__name__, message)
