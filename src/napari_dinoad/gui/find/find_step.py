"""Step 3: find, and how it goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast, get_args

from qtpy.QtCore import QEvent, QObject, QTimer, Signal
from qtpy.QtWidgets import QComboBox, QPushButton, QSizePolicy

from napari_dinoad.gui.parts.folding import FoldingRow
from napari_dinoad.gui.parts.job_row import JobRow
from napari_dinoad.gui.parts.parts import NoteLabel, Step
from napari_dinoad.settings import Device

if TYPE_CHECKING:
    from napari_dinoad.gui.work.worker import JobRunner

__all__ = ["FindStep"]

_TURNED_AWAY_MS = 1500


class FindStep(Step):
    """Starts scoring and shows its progress."""

    find_asked = Signal(bool)  # only the slice in view
    ready_asked = Signal(bool)  # whether somebody is about to press a button, or has turned away

    def __init__(self, runner: JobRunner, device: Device) -> None:
        super().__init__("3  Find")
        self._runner = runner
        self.scan_button = QPushButton()
        self.slice_button = QPushButton("This slice only")
        self.slice_button.setToolTip("Score the slice in view alone.")
        self.devices = QComboBox()
        self.devices.addItems(get_args(Device))
        self.devices.setCurrentText(device)
        self.devices.setToolTip(
            "Where the backbone runs: auto takes a graphics card where there is one. The plane of the slices is the "
            "model's own: its probabilities hold for that one."
        )
        self.devices.setAccessibleName("Device")
        self.devices.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        self.job = JobRow()
        self.job.follow(runner)
        self.whose = NoteLabel()
        self.note = NoteLabel()
        self.rows.addWidget(FoldingRow((self.scan_button, (self.slice_button, self.devices))))
        self.rows.addWidget(self.job)
        self.rows.addWidget(self.whose)
        self.rows.addWidget(self.note)
        self.scan_button.clicked.connect(self._ask_for_scan)
        self.slice_button.clicked.connect(self._ask_for_slice)
        for button in (self.scan_button, self.slice_button):
            button.installEventFilter(self)
        self._turned_away = QTimer(self)
        self._turned_away.setSingleShot(True)
        self._turned_away.setInterval(_TURNED_AWAY_MS)
        self._turned_away.timeout.connect(self._on_turned_away)
        runner.started.connect(self._on_started)
        runner.failed.connect(self.note.tell_error)
        runner.finished.connect(self._show_enabled)
        self._missing = ""
        self.set_is_single(False)
        self._show_enabled()

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Notice the pointer, or the keyboard, come to a button and leave it."""
        if event is not None and isinstance(watched, QPushButton) and watched.isEnabled():
            if event.type() in (QEvent.Type.Enter, QEvent.Type.FocusIn):
                self._turned_away.stop()
                self.ready_asked.emit(True)
            elif event.type() in (QEvent.Type.Leave, QEvent.Type.FocusOut):
                self._turned_away.start()
        return False

    @property
    def device(self) -> Device:
        """The chosen device."""
        return cast("Device", self.devices.currentText())

    def set_device(self, device: Device) -> None:
        """Choose a device."""
        self.devices.setCurrentText(device)

    def set_missing(self, what: str) -> None:
        """Say what has to be chosen before anything can be found; empty when nothing is missing."""
        if self._missing and not what:
            self.note.tell("")
        self._missing = what
        self._show_enabled()

    def forget(self) -> None:
        """Another scan or frame is chosen: take back what was said of the one before."""
        self.note.tell(self._missing)

    def set_is_single(self, is_single: bool) -> None:
        """Say whether the scan is a single image, of which one slice is all that there is."""
        self.slice_button.setVisible(not is_single)
        self.scan_button.setText("Find in image" if is_single else "Find in whole scan")
        # Qt takes it away with the text.
        self.scan_button.setShortcut("Ctrl+Return")
        order = "the image" if is_single else "the slice in view first, then the others, outwards from it"
        self.scan_button.setToolTip(f"Score {order}. (Ctrl+Return)")

    def tell_whose(self, other: str) -> None:
        """Say the name of another scan than the chosen one while that is being scored; else empty."""
        self.whose.tell(f"“{other}” is being scored, not the scan chosen here." if other else "")

    def _ask_for_scan(self) -> None:
        self.find_asked.emit(False)

    def _ask_for_slice(self) -> None:
        self.find_asked.emit(True)

    def _on_turned_away(self) -> None:
        self.ready_asked.emit(False)

    def _on_started(self) -> None:
        self.note.tell("")
        self._show_enabled()

    def _show_enabled(self) -> None:
        ready = not self._missing and not self._runner.is_running
        for button in (self.scan_button, self.slice_button):
            button.setEnabled(ready)
        if self._missing:
            self.note.tell(self._missing)
