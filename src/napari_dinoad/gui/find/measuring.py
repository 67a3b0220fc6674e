"""Measuring regions in the background: that takes a while on large scans."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING
from weakref import ref

from qtpy.QtCore import QObject, QTimer, Signal

from napari_dinoad.gui.find.result import Measured
from napari_dinoad.gui.work.processes import run_in_process
from napari_dinoad.gui.work.worker import JobRunner

if TYPE_CHECKING:
    from collections.abc import Callable
    from weakref import ReferenceType

    from napari_dinoad.gui.find.found import Found

__all__ = ["RegionMeasurer"]

_REST_MS = 150
"""Regions are measured once the slider has rested for so long; the mask itself follows at once."""


class RegionMeasurer(QObject):
    """Measures the regions of the result that is looked at; `measured` comes with its `Found`, or `failed`.

    What has failed is not tried again until the mask is another.

    Parameters
    ----------
    wanted : callable
        Returns the `Found` that is looked at, or None.
    is_busy : callable
        Whether slices are still being scored: regions are measured once they are there.
    parent : QObject
    """

    measured = Signal(object)
    failed = Signal()

    def __init__(
        self, wanted: Callable[[], Found | None], is_busy: Callable[[], bool], parent: QObject
    ) -> None:
        super().__init__(parent)
        self._wanted = wanted
        self._is_busy = is_busy
        self._found: Found | None = None
        self._begun = 0
        self._failed: tuple[ReferenceType[Found], int, str] | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_REST_MS)
        self._timer.timeout.connect(self.start)
        self._runner = JobRunner(self, in_activity_dock=False)
        self._runner.succeeded.connect(self._on_measured)
        self._runner.failed.connect(self._on_failed)
        self._runner.finished.connect(self._look_again)

    @property
    def fault(self) -> str:
        """Why the regions that are wanted now cannot be measured; empty where nothing is known of that."""
        found = self._wanted()
        if found is None or self._failed is None:
            return ""
        failed, version, fault = self._failed
        return fault if failed() is found and version == found.result.version else ""

    def start_soon(self) -> None:
        """Measure once nobody has asked again for a moment."""
        self._timer.start()

    def start(self) -> None:
        """Measure now, where that is not done yet."""
        found = self._wanted()
        if found is None or found.result.is_measured or self._runner.is_running or self.fault:
            return
        self._found, self._begun = found, found.result.version
        measurement = found.result.measurement()
        self._runner.start(partial(run_in_process, measurement), "Measuring regions")

    def stop(self) -> None:
        """Begin nothing any more."""
        self._timer.stop()

    def _on_measured(self, measured: object) -> None:
        found, self._found = self._found, None
        if found is not None and isinstance(measured, Measured) and found.result.accept(measured):
            self.measured.emit(found)

    def _on_failed(self, fault: str) -> None:
        found, self._found = self._found, None
        if found is not None:
            self._failed = ref(found), self._begun, fault
            self.failed.emit()

    def _look_again(self) -> None:
        """Measure what has changed, or come into view, while the last measurement ran."""
        if not self._is_busy() and not self._timer.isActive():
            self.start()
