"""Opening studies: looking for scans, asking which, reading them; one after the other."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_dinoad.gui.scan.study_jobs import FoundScans, LookJob, ReadJob, RefusedScans
from napari_dinoad.gui.work.worker import JobRunner

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_dinoad.gui.work.worker import Job
    from napari_dinoad.images.scan_file import ScanFile

__all__ = ["StudyOpener"]


class StudyOpener(QObject):
    """Opens what it is asked to, in that order; what is asked for while it reads waits its turn.

    `scan_read` comes for each scan, with its layer data tuples; `choice_asked` where there are several to choose
    from, with what was found. `faulted` says what could not be opened since the user last opened something.
    """

    scan_read = Signal(object)
    choice_asked = Signal(object)  # FoundScans
    faulted = Signal(str)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.runner = JobRunner(self)
        self._waiting: deque[tuple[Job, str]] = deque()
        self._refused: tuple[ScanFile, ...] = ()
        self._faults: list[str] = []
        self.runner.delivered.connect(self.scan_read)
        self.runner.succeeded.connect(self._on_done)
        self.runner.failed.connect(self._tell)
        self.runner.finished.connect(self._go_on)

    @property
    def is_busy(self) -> bool:
        """Whether something is being opened."""
        return self.runner.is_running

    def open(self, paths: Sequence[Path], *, stacks_files: bool = False) -> None:
        """Look for the scans in files and folders, and read them; where a folder holds several, ask which.

        With ``stacks_files`` it is asked, too, where pictures are named that may be the slices of one scan.
        """
        if not self.is_busy:
            self._forget_faults()
        self._add(LookJob(tuple(paths), stacks_files), "Looking for scans")

    def read(self, scans: Sequence[ScanFile]) -> None:
        """Read these scans."""
        if scans:
            self._add(ReadJob(tuple(scans)), "Reading")

    def resample_refused(self) -> None:
        """Read the scans that were refused once more, resampled to even slices."""
        refused = self._refused
        self._forget_faults()
        self._add(ReadJob(refused, resample=True), "Reading")

    def _add(self, job: Job, title: str) -> None:
        self._waiting.append((job, title))
        self._go_on()

    def _go_on(self) -> None:
        if self._waiting and not self.runner.is_running:
            self.runner.start(*self._waiting.popleft())

    def _on_done(self, done: object) -> None:
        if isinstance(done, FoundScans):
            self._on_found(done)
            self._tell(*done.faults)
        elif isinstance(done, RefusedScans):
            self._refused += done.scans
            self._tell(*done.faults)

    def _on_found(self, found: FoundScans) -> None:
        scans = found.scans
        if len(scans) > 1 and found.is_choice:
            self.choice_asked.emit(found)
        elif scans:
            # Before what waits: it was asked for first.
            self._waiting.appendleft((ReadJob(scans), "Reading"))

    def _forget_faults(self) -> None:
        self._refused, self._faults = (), []

    def _tell(self, *faults: str) -> None:
        if faults:
            self._faults += faults
            self.faulted.emit("\n".join(self._faults))
