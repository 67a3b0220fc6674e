"""What can be done with a scan before anything was found: its other planes, and masks drawn by hand."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from napari_dinoad.errors import DinoadError
from napari_dinoad.gui.find.export_job import HandExportJob
from napari_dinoad.gui.parts.folding import FoldingRow
from napari_dinoad.gui.parts.job_row import STOPS, JobRow
from napari_dinoad.gui.planes.other_planes import has_planes
from napari_dinoad.gui.results.export_dialog import ExportDialog
from napari_dinoad.gui.results.written_note import WrittenNote
from napari_dinoad.gui.viewer.layer_marks import scan_id_of
from napari_dinoad.gui.viewer.layer_scan import identity_of
from napari_dinoad.gui.work.worker import JobRunner

if TYPE_CHECKING:
    from collections.abc import Hashable
    from pathlib import Path

    from napari_dinoad.gui.parts.last_folder import LastFolder
    from napari_dinoad.gui.results.hand_masks import Ground, HandMasks
    from napari_dinoad.gui.viewer.layer_scan import LayerScan

__all__ = ["MaskRow"]

_READING_MS = 500
"""Scans that are read sooner are not told to be."""

_NOTHING = (
    "No mask by hand to export: press “Draw mask” and paint, or make a Labels layer while the layer of the scan is "
    "selected."
)

_BUT_FOUND = "What was found is exported by “Export result…”."


class MaskRow(QWidget):
    """Draws and exports masks by hand of the scan that is chosen, and asks for its other planes."""

    planes_asked = Signal(bool)

    def __init__(self, hand_masks: HandMasks, last_folder: LastFolder) -> None:
        super().__init__()
        self._hand_masks = hand_masks
        self._ground: Ground | None = None
        self._last_folder = last_folder
        self._exported: Hashable = None
        self.reader = JobRunner(self)
        self.exporter = JobRunner(self)
        self.export_dialog: ExportDialog | None = None
        self.planes_box = QCheckBox("Planes")
        self.planes_box.setToolTip(
            "Show the planes that the canvas does not show, through the point that is looked at. Click in them, or "
            "on the canvas, to go there."
        )
        self.draw_button = QPushButton("Draw mask")
        self.draw_button.setToolTip("Add an empty layer on the scan's voxels, and paint in it.")
        self.export_button = QPushButton("Export mask…")
        self.export_button.setToolTip(
            "Write a mask by hand (drawn, corrected, opened) on the scan's own grid: NIfTI, and as the scan allows "
            "DICOM-SEG or PNG. Nothing need have been found; what was is written by “Export result…”."
        )
        self.reading = JobRow(delay_ms=_READING_MS, cancel_tip=STOPS)
        self.note = WrittenNote()
        self.planes_box.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        rows = QVBoxLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setSpacing(4)
        rows.addWidget(FoldingRow((self.planes_box, (self.draw_button, self.export_button)), (1, 0)))
        rows.addWidget(self.reading)
        rows.addWidget(self.note)
        self._connect()
        self.show_scan(None)

    def _connect(self) -> None:
        self.reading.follow(self.reader)
        self.planes_box.toggled.connect(self.planes_asked)
        self.draw_button.clicked.connect(self._draw)
        self.export_button.clicked.connect(self.open_export)
        self.reader.succeeded.connect(self._on_read)
        self.reader.failed.connect(self.note.tell_error)
        self.exporter.succeeded.connect(self._on_exported)
        self.exporter.failed.connect(self.note.tell_error)
        for runner in (self.reader, self.exporter):
            runner.started.connect(self._show_busy)
            runner.finished.connect(self._show_busy)

    def show_scan(self, scan: LayerScan | None) -> None:
        """Offer what can be done with the scan that is chosen; nothing where there is none."""
        self.setVisible(scan is not None)
        self.planes_box.setVisible(has_planes(scan))

    def forget(self) -> None:
        """Another scan is chosen: take back what was said, and what is being read."""
        self.clear_note()
        self.reader.cancel()

    def clear_note(self) -> None:
        """Take back what was said."""
        self.note.tell("")

    def untick_planes(self) -> None:
        """Show that the other planes are closed."""
        self.planes_box.setChecked(False)

    def _show_busy(self) -> None:
        self.export_button.setEnabled(not (self.reader.is_running or self.exporter.is_running))

    def _draw(self) -> None:
        self.note.tell("")
        ground = self._chosen()
        if ground is not None:
            self._hand_masks.start_drawing(ground)

    def open_export(self) -> None:
        """Ask which mask to export, as what and where to; a scan that is not in memory is read first."""
        self.note.tell("")
        ground = self._chosen()
        if ground is None:
            return
        layers = self._hand_masks.layers(ground)
        if all(one.fault for one in layers):
            # Why a mask of another scan is none of this one goes without saying.
            meant = (one.fault for one in layers if scan_id_of(one.layer) in (None, ground.layer.unique_id))
            words = [next(meant, _NOTHING)]
            if self._hand_masks.of_result() is not None:
                words.append(_BUT_FOUND)
            self.note.tell(" ".join(words), warning=True)
        elif ground.volume is None:
            self.reader.start(ground.read, "Reading the scan")
        else:
            self._on_read(ground)

    def _chosen(self) -> Ground | None:
        try:
            return self._hand_masks.of_scan()
        except DinoadError as error:
            self.note.tell(str(error), error=True)
            return None

    def _on_read(self, ground: Ground) -> None:
        if ground.volume is None:
            return
        self._ground = ground
        layers = self._hand_masks.layers(ground)
        dialog = ExportDialog(
            ground.volume,
            self._last_folder.path,
            self,
            layers,
            self._hand_masks.selected(layers),
            author=self._hand_masks.author,
            has_found=False,
            is_of_another=partial(self._last_folder.is_of_another, scan=identity_of(ground.layer)),
        )
        dialog.accepted.connect(self._on_export_chosen)
        dialog.rejected.connect(self._on_export_closed)
        self.export_dialog = dialog
        dialog.open()

    def _on_export_closed(self) -> None:
        self.export_dialog = self._ground = None

    def _on_export_chosen(self) -> None:
        dialog, ground = self.export_dialog, self._ground
        self._on_export_closed()
        if dialog is None or ground is None or dialog.path is None:
            return
        one, making = dialog.by_hand, dialog.making
        if one is None or making is None:
            return
        self._last_folder.path = dialog.path
        self._exported = identity_of(ground.layer)
        try:
            mask = self._hand_masks.mask_of(one, making, ground, dialog.author)
        except DinoadError as error:
            self.note.tell_error(str(error))
            return
        self.exporter.start(
            HandExportJob(mask, dialog.path, dialog.outputs, dialog.seg_segments), "Exporting"
        )

    def _on_exported(self, paths: tuple[Path, ...]) -> None:
        self._last_folder.note(paths, self._exported)
        self.note.tell_written(paths)
