"""Reading the result: rate, scan-level words, profile, regions, export."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QPushButton, QSizePolicy

from napari_dinoad.errors import DinoadError
from napari_dinoad.gui.find.export_job import HandExportJob, export_of
from napari_dinoad.gui.find.result import scan_level_words
from napari_dinoad.gui.parts.folding import FoldingRow
from napari_dinoad.gui.parts.parts import NoteLabel, Step, WrappedLabel
from napari_dinoad.gui.parts.profile_plot import ProfilePlot
from napari_dinoad.gui.results.export_dialog import ExportDialog
from napari_dinoad.gui.results.rate_slider import RateSlider
from napari_dinoad.gui.results.region_table import MAX_ROWS, RegionTable
from napari_dinoad.gui.results.written_note import WrittenNote
from napari_dinoad.gui.viewer.layer_scan import identity_of
from napari_dinoad.gui.work.worker import JobRunner
from napari_dinoad.maps.finding_words import rate_in_words
from napari_dinoad.maps.findings import beyond_words, chance_words, regions_beyond

if TYPE_CHECKING:
    from collections.abc import Hashable
    from pathlib import Path

    from napari_dinoad.gui.find.export_job import ExportJob
    from napari_dinoad.gui.find.find_controller import FindController
    from napari_dinoad.gui.find.result import ScanResult
    from napari_dinoad.gui.parts.last_folder import LastFolder
    from napari_dinoad.gui.results.hand_masks import HandLayer, HandMasks
    from napari_dinoad.maps import Region
    from napari_dinoad.maps.hand_mask import Making
    from napari_dinoad.settings import SegSegments

__all__ = ["ResultPanel"]


_MEASURING = "Measuring the regions…"
"""Of pictures of many megapixels that takes a while; those in the table are of the mask before."""


class ResultPanel(Step):
    """Shows the result that a `FindController` looks at, and passes on what the user does with it."""

    explain_asked = Signal(bool)
    mask_changed = Signal()
    new_rate_changed = Signal()

    def __init__(
        self, controller: FindController, hand_masks: HandMasks, rate: float, last_folder: LastFolder
    ) -> None:
        super().__init__("Result")
        self._controller = controller
        self._hand_masks = hand_masks
        self.exporter = JobRunner(self)
        self.standing = NoteLabel()
        self.scan_words = WrappedLabel()
        self.rate = RateSlider(rate)
        self._new_rate = rate
        self.profile = ProfilePlot()
        self.table = RegionTable()
        self.summary = NoteLabel()
        self.explain_box = QCheckBox("Explain")
        self.explain_note = NoteLabel()
        self.edit_button = QPushButton("Edit mask")
        self.export_button = QPushButton("Export result…")
        self.export_dialog: ExportDialog | None = None
        self._last_folder = last_folder
        self._exported: Hashable = None
        self.export_note = WrittenNote()
        self._build()
        self._connect()
        self.show_result()

    def _build(self) -> None:
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        self.rows.addWidget(self.standing)
        self.rows.addWidget(self.scan_words)
        self.rows.addWidget(self.rate)
        self.rows.addWidget(self.profile)
        self.rows.addWidget(self.table, 1)
        self.export_button.setToolTip(
            "Write what was found, on the scan's own grid: mask of the ticked regions, map, table, report; or a mask "
            "that was corrected."
        )
        self.edit_button.setToolTip(
            "Copy the mask into a layer to paint and erase in. Export result… and Export mask… write it."
        )
        self.edit_button.clicked.connect(self._hand_masks.start_correction)
        self.export_button.clicked.connect(self.open_export)
        self.explain_box.setToolTip(
            "Show what the method sees on the slices that are looked at: which component of normal explains a patch "
            "(DPMM), how badly it is predicted (AR-CNN), how far the nearest normal patch is (memory bank)."
        )
        self.explain_box.toggled.connect(self.explain_asked)
        self.rows.addWidget(self.summary)
        self.rows.addWidget(FoldingRow(((self.explain_box,), (self.edit_button, self.export_button)), (1, 0)))
        self.rows.addWidget(self.explain_note)
        self.rows.addWidget(self.export_note)

    def _connect(self) -> None:
        controller = self._controller
        controller.result_changed.connect(self._on_result_changed)
        controller.map_changed.connect(self._show_profile)
        controller.regions_changed.connect(self.show_result)
        controller.regions_changed.connect(self._show_export)
        controller.standing_changed.connect(self._show_standing)
        self.rate.rate_changed.connect(controller.set_rate)
        self.rate.rate_changed.connect(self.set_new_rate)
        self.rate.rate_changed.connect(self._show_profile)
        self.rate.rate_changed.connect(self.mask_changed)
        self.profile.slice_chosen.connect(controller.jump_to_slice)
        self.table.region_chosen.connect(controller.jump_to_region)
        self.table.ticks_changed.connect(self._on_ticked)
        self.exporter.succeeded.connect(self._on_exported)
        self.exporter.failed.connect(self.export_note.tell_error)
        self.exporter.finished.connect(self._show_summary)

    @property
    def new_rate(self) -> float:
        """False-positive rate of the next new mask: that of the slider, or of the preferences when changed since."""
        return self._new_rate

    def set_new_rate(self, rate: float) -> None:
        """Choose the rate of the next new mask; those that there are keep theirs."""
        if rate != self._new_rate:
            self._new_rate = rate
            self.new_rate_changed.emit()

    def _on_result_changed(self) -> None:
        # What was written is of the result before.
        self.export_note.tell("")
        if self._controller.result is not None:
            self.set_new_rate(self._controller.result.fpr)
        self.show_result()

    def show_result(self) -> None:
        """Show the controller's result as it is now."""
        result = self._controller.result
        self.setVisible(result is not None)
        if result is None:
            return
        self.rate.set_rate(result.fpr)
        self._show_standing()
        words = self._scan_words(result)
        self.scan_words.setText(words)
        self.scan_words.setVisible(bool(words))
        self.table.show_regions(result.regions, result.is_ticked, result.normal_peaks)
        self._controller.mark_region(self.table.chosen_region())
        self._show_profile()

    def _show_standing(self) -> None:
        """Say of what the result is, where it is not simply of what is shown and chosen."""
        standing = self._controller.standing
        self.standing.tell(
            " ".join([standing.frame, *standing.departures]).strip(), warning=bool(standing.departures)
        )

    def _scan_words(self, result: ScanResult) -> str:
        """Return what can be said of the whole scan; nothing while that is being scored for the first time."""
        if result.outcome is not None and result.is_whole:
            return scan_level_words(result.outcome)
        if self._controller.runner.is_running:
            return ""
        n = int(np.count_nonzero(result.scored))
        return f"Only {n} of {len(result.scored)} slices were scored: no statement about the whole scan."

    def _running_words(self, result: ScanResult) -> str:
        # One line either way: on a small screen the dock has no room for another.
        if self._controller.shown_slice() in result.preliminary:
            return "Preliminary: this slice is scored again."
        return "Regions follow when all slices are scored."

    def show_slice_in_view(self) -> None:
        """Mark the slice in view in the profile, and tell of it what may still change."""
        self.profile.set_shown(self._controller.shown_slice())
        self._show_summary()

    def export(
        self,
        folder: Path,
        outputs: tuple[str, ...] | None = None,
        seg_segments: SegSegments = "single",
    ) -> None:
        """Write the chosen outputs (None: all that the scan allows) into a folder, in the background."""
        result = self._controller.result
        if result is None:
            return
        try:
            job = export_of(result, folder, outputs, seg_segments)
        except DinoadError as error:
            self.export_note.tell(str(error), error=True)
            return
        self._start_export(job)

    def export_by_hand(
        self,
        one: HandLayer,
        making: Making,
        folder: Path,
        outputs: tuple[str, ...],
        seg_segments: SegSegments = "single",
        author: str = "",
    ) -> None:
        """Write a Labels layer in place of the found regions, as it is now, in the background."""
        ground = self._hand_masks.of_result()
        if ground is None:
            self.export_note.tell("The result is gone; export this mask from step 1.", error=True)
            return
        try:
            mask = self._hand_masks.mask_of(one, making, ground, author)
        except DinoadError as error:
            self.export_note.tell(str(error), error=True)
            return
        self._start_export(HandExportJob(mask, folder, outputs, seg_segments))

    def _start_export(self, job: ExportJob | HandExportJob) -> None:
        self.export_note.tell("")
        ground = self._hand_masks.of_result()
        self._exported = None if ground is None else identity_of(ground.layer)
        self.exporter.start(job, "Exporting")
        self.export_button.setEnabled(False)

    def _show_profile(self) -> None:
        result = self._controller.result
        if result is not None:
            self.profile.setVisible(len(result.profile) > 1)
            self.profile.set_mirrored(self._controller.is_mirrored())
            self.profile.show_profile(result.profile, result.scored, -float(np.log10(result.fpr)))
            self.show_slice_in_view()

    def _show_summary(self) -> None:
        result = self._controller.result
        if result is None:
            return
        n = len(result.regions)
        n_ticked = sum(result.is_ticked(region) for region in result.regions)
        words = beyond_words(result.regions, result.normal_peaks)
        beyond = f"; {words}" if words else ""
        if not result.is_measured:
            is_running = self._controller.runner.is_running
            text = (
                self._running_words(result) if is_running else self._controller.measuring_fault or _MEASURING
            )
        elif n == 0:
            text = f"No region at {rate_in_words(result.fpr)}."
        elif n_ticked == n:
            text = f"{n} region{'s' if n > 1 else ''}{beyond}."
        else:
            text = f"{n_ticked} of {n} regions ticked{beyond}."
        if n > MAX_ROWS:
            text += f" The first {MAX_ROWS} are listed."
        self.summary.tell(text)
        self.summary.setToolTip(_chance_tip(result))
        self.export_button.setEnabled(not self.exporter.is_running)

    def _on_ticked(self, regions: tuple[Region, ...], ticked: bool) -> None:
        self._controller.set_ticked(regions, ticked)
        self._show_summary()
        self.mask_changed.emit()

    def open_export(self) -> None:
        """Ask what to export and where to."""
        result, ground = self._controller.result, self._hand_masks.of_result()
        if result is None or ground is None:
            return
        by_hand = self._hand_masks.layers(ground)
        corrected = self._hand_masks.selected(by_hand, only="corrected")
        dialog = ExportDialog(
            result.volume,
            self._last_folder.path,
            self,
            by_hand,
            corrected,
            author=self._hand_masks.author,
            is_of_another=partial(self._last_folder.is_of_another, scan=identity_of(ground.layer)),
        )
        dialog.accepted.connect(self._on_export_chosen)
        dialog.rejected.connect(self._on_export_closed)
        self.export_dialog = dialog
        self._show_export()
        dialog.open()

    def _show_export(self) -> None:
        """Say in the window that asks what to export which regions there are by now."""
        result = self._controller.result
        if self.export_dialog is not None and result is not None:
            self.export_dialog.show_regions(
                sum(result.is_ticked(region) for region in result.regions),
                len(result.regions),
                is_measured=result.is_measured,
                is_scoring=self._controller.runner.is_running,
            )

    def _on_export_closed(self) -> None:
        self.export_dialog = None

    def _on_export_chosen(self) -> None:
        dialog = self.export_dialog
        self._on_export_closed()
        if dialog is None or dialog.path is None:
            return
        self._last_folder.path = dialog.path
        if dialog.by_hand is None:
            self.export(dialog.path, dialog.outputs, dialog.seg_segments)
        elif dialog.making is not None:
            self.export_by_hand(
                dialog.by_hand,
                dialog.making,
                dialog.path,
                dialog.outputs,
                dialog.seg_segments,
                dialog.author,
            )

    def _on_exported(self, paths: tuple[Path, ...]) -> None:
        self._last_folder.note(paths, self._exported)
        self.export_note.tell_written(paths)


def _chance_tip(result: ScanResult) -> str:
    """Return how often a new normal scan has what is told of this one: a region beyond all normal scans."""
    peaks = result.normal_peaks
    if peaks is None or not regions_beyond(result.regions, peaks):
        return ""
    return chance_words(peaks)
