"""The dock widget: scan, normal, find, result, from top to bottom."""

from __future__ import annotations

import logging
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

from napari.layers import Layer as LayerClass
from qtpy.QtCore import QEvent, QObject, QSize, Qt, QTimer
from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget

from napari_dinoad.errors import DinoadError, WeightsNotFoundError
from napari_dinoad.gui.canvas.colour_bar import ColourBar
from napari_dinoad.gui.canvas.orientation import OrientationLetters
from napari_dinoad.gui.canvas.room import CanvasRoom
from napari_dinoad.gui.dock_before import DockBefore
from napari_dinoad.gui.dock_windows import DockWindows
from napari_dinoad.gui.find.explanation import Explainer
from napari_dinoad.gui.find.find_controller import FindController
from napari_dinoad.gui.find.find_step import FindStep
from napari_dinoad.gui.find.readiness import Readiness
from napari_dinoad.gui.fit.session import session_of
from napari_dinoad.gui.mask_row import MaskRow
from napari_dinoad.gui.models.normal_step import NormalStep
from napari_dinoad.gui.parts.focus_ring import FocusRing
from napari_dinoad.gui.parts.folding import FoldingRow, ScrolledColumn
from napari_dinoad.gui.parts.job_row import FIT_STOPS, STOPS, JobRow
from napari_dinoad.gui.parts.last_folder import LastFolder
from napari_dinoad.gui.parts.parts import NoteLabel
from napari_dinoad.gui.planes.other_planes import OtherPlanes
from napari_dinoad.gui.results.hand_masks import HandMasks
from napari_dinoad.gui.results.result_panel import ResultPanel
from napari_dinoad.gui.scan.scan_names import tell_apart
from napari_dinoad.gui.scan.scan_step import ScanStep
from napari_dinoad.gui.scan.study_opener import StudyOpener
from napari_dinoad.gui.viewer.layer_marks import is_from_file, is_scan_layer
from napari_dinoad.gui.viewer.layer_scan import METADATA_KEY
from napari_dinoad.gui.viewer.layers import same_layer
from napari_dinoad.gui.viewer.lone_maps import maps_to_bring_back
from napari_dinoad.gui.viewer.looks import finish_look
from napari_dinoad.gui.viewer.model_drops import ModelDrops
from napari_dinoad.gui.viewer.opened_results import OpenedResults, lay_on_scans
from napari_dinoad.gui.viewer.warming_up import WarmUp, steps_of_warm_up
from napari_dinoad.machine.file_names import MODEL_SUFFIX
from napari_dinoad.settings import DetectSettings, demo_settings

if TYPE_CHECKING:
    from typing import Any

    import napari.viewer
    from qtpy.QtGui import QDragEnterEvent, QDropEvent

    from napari_dinoad.gui.configuration import Configuration
    from napari_dinoad.gui.models.model_library import ModelSummary
    from napari_dinoad.gui.scan.study_jobs import FoundScans

__all__ = ["DockWidget"]

logger = logging.getLogger(__name__)

_SETTLE_MS = 40
"""What follows the slice in view is drawn this long after scrolling."""

_WARM_UP_MS = 400
"""After the dock has opened and been drawn."""


_LEAST_WIDTH_PX = 232
"""Beside napari's own docks and its canvas, of 590 pixels, a window so wide is on a laptop's screen at 200 %."""


class DockWidget(QWidget):
    """Joins the steps: it holds no logic of its own but who hears whom."""

    def __init__(self, napari_viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = napari_viewer
        self.session = session_of(napari_viewer)
        before = DockBefore.take_from(napari_viewer, DockWidget)
        self.finder = FindController(napari_viewer, self)
        self.opener = StudyOpener(self)
        self.scan = ScanStep(napari_viewer)
        self.normal = NormalStep(self.session.library)
        self.find = FindStep(self.finder.runner, self.session.configuration.device)
        self.explainer = Explainer(napari_viewer, self.finder, self)
        scan = self.scan
        author = self.session.configuration.author
        self._hand_masks = hand_masks = HandMasks(napari_viewer, self.finder, lambda: scan.layer, author)
        last_folder = LastFolder()
        self.masks = MaskRow(hand_masks, last_folder)
        self.planes = OtherPlanes(napari_viewer, self.finder, hand_masks, self)
        self.result = ResultPanel(self.finder, hand_masks, self.session.configuration.fpr, last_folder)
        self.reading = JobRow(cancel_tip=STOPS)
        self.fitting = JobRow(cancel_tip=FIT_STOPS)
        self.folder_button = QPushButton("Score a folder…")
        self.help_button = QPushButton("Help")
        self.windows = DockWindows(napari_viewer, self.session, self._chosen, last_folder, self)
        self._letters = OrientationLetters(napari_viewer)
        self._colour_bar = ColourBar(napari_viewer)
        self._opened = OpenedResults(napari_viewer)
        self._drops = ModelDrops(self, self.open_files)
        self._settle = QTimer(self)
        self._settle.setSingleShot(True)
        self._settle.setInterval(_SETTLE_MS)
        self._warm_up = WarmUp(self, steps_of_warm_up())
        self._warm_up.start(_WARM_UP_MS)
        self.readiness = Readiness(scan, self.normal, self.find, self.finder, self._detect_settings, self)
        self._build()
        self.setAcceptDrops(True)
        self._connect()
        for layer in napari_viewer.layers:
            finish_look(layer)
        lay_on_scans(napari_viewer.layers)
        self._on_layer_changed()
        self._show_fit_state()
        if before is not None:
            before.give_to(self)
        self._room = CanvasRoom(napari_viewer, lambda: scan.layer, self)

    def _build(self) -> None:
        self._scroll = ScrolledColumn()
        self._scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        rows = self._scroll.rows
        rows.setContentsMargins(6, 4, 6, 4)
        rows.setSpacing(7)
        self.scan.rows.addWidget(self.reading)
        self.scan.rows.addWidget(self.masks)
        self.normal.rows.addWidget(self.fitting)
        for step in (self.scan, self.normal, self.find):
            rows.addWidget(step)
        rows.addWidget(self.result, 1)
        rows.addStretch(0)
        rows.addWidget(self._build_footer())
        FocusRing(self._scroll.content)
        self._scroll.content.installEventFilter(self)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(self._scroll)

    def _build_footer(self) -> FoldingRow:
        note = NoteLabel()
        note.tell("Research use only; not a medical device.")
        self.help_button.setToolTip("How it works and what the numbers mean.")
        self.help_button.clicked.connect(self.windows.open_help)
        self.folder_button.setToolTip(
            "Score all scans of a folder with this model, and list the least normal first."
        )
        self.folder_button.clicked.connect(self.windows.open_folder)
        return FoldingRow((note, (self.folder_button, self.help_button)), (1, 0))

    def sizeHint(self) -> QSize:
        """Fit a screen of 900 px; taller screens give the region table more room."""
        return QSize(max(372, self._scroll.least_width()), 700)

    def minimumSizeHint(self) -> QSize:
        """Let the dock be made small: its content scrolls, but not sideways, so that none of it is cut off."""
        return QSize(max(_LEAST_WIDTH_PX, self._scroll.least_width()), 200)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Notice that the content has become wider or narrower, as by another font."""
        if event is not None and event.type() == QEvent.Type.LayoutRequest:
            self.updateGeometry()
        return False

    def dragEnterEvent(self, event: QDragEnterEvent | None) -> None:
        """Accept files."""
        if event is not None and event.mimeData().hasUrls():
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent | None) -> None:
        """Open the scans that are dropped, and choose the model, wherever on the dock that is."""
        if event is None:
            return
        paths = [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]
        if paths:
            event.acceptProposedAction()
            self.open_files(tuple(paths))

    def changeEvent(self, event: QEvent | None) -> None:
        """Keep the texts from the canvas when napari takes the dock away, and end what nobody can follow then."""
        if event is not None and event.type() == QEvent.Type.ParentChange:
            for text in (*self._letters.texts, self._colour_bar.text):
                text.set_on(self.parent() is not None)
            if self.parent() is None:
                self._leave()
            else:
                self._drops.watch_soon()
                self._room.set_on(True)
                self.readiness.set_on(True)
                self.finder.open_again()
                self.finder.look_at(self.scan.layer)
        super().changeEvent(event)

    def _leave(self) -> None:
        """Stop at once: Python may let the dock live on for long after napari has closed it."""
        self._room.set_on(False)
        self.readiness.set_on(False)
        self._warm_up.stop()
        self.finder.close()
        self.result.explain_box.setChecked(False)
        self.planes.set_on(False)
        self.windows.close_all()

    def _connect(self) -> None:
        self.reading.follow(self.opener.runner)
        self.fitting.follow(self.session.fit.runner)
        self.opener.scan_read.connect(self._on_read)
        self.opener.choice_asked.connect(self._ask_which)
        self.opener.faulted.connect(self.scan.tell_fault)
        self.scan.resample_asked.connect(self._on_resample_asked)
        self.scan.files_chosen.connect(self.open_files)
        self.scan.layer_changed.connect(self.masks.forget)
        self.scan.layer_changed.connect(self.find.forget)
        self.scan.layer_changed.connect(self._on_layer_changed)
        self.scan.scan_changed.connect(self._on_scan_changed)
        self.scan.redrawn.connect(self._settle.start)
        self.normal.fit_asked.connect(self.windows.open_fit)
        self.normal.demo_asked.connect(self.fit_demo_model)
        self.find.find_asked.connect(self.start_finding)
        self.finder.runner.started.connect(self.masks.clear_note)
        self.finder.runner.finished.connect(self._show_whose)
        self.finder.told.connect(self.find.note.tell)
        self.explainer.failed.connect(self.find.note.tell_error)
        self.explainer.told.connect(self.result.explain_note.tell)
        self.result.explain_asked.connect(self.explainer.set_on)
        self.masks.planes_asked.connect(self.planes.set_on)
        self.result.mask_changed.connect(self.planes.look)
        self.planes.closed.connect(self.masks.untick_planes)
        self.result.exporter.finished.connect(self._show_what_was_written)
        self.finder.runner.refused.connect(self._on_refused)
        self.session.configured.connect(self._on_configured)
        self.session.model_fitted.connect(self.normal.choose)
        self.normal.model_changed.connect(self.windows.show_folder_state)
        self.result.new_rate_changed.connect(self.windows.show_folder_state)
        self.session.fit.runner.failed.connect(self.normal.fault.tell_error)
        self.session.fit.runner.started.connect(self._show_fit_state)
        self.session.fit.ended.connect(self._show_fit_state)
        self._settle.timeout.connect(self._on_settled)
        self._viewer.dims.events.point.connect(self._on_scrolled)
        self._viewer.layers.events.inserted.connect(self._on_inserted)
        self._viewer.layers.events.removed.connect(self._on_removed)
        self.destroyed.connect(_closer(self.finder))

    def reset_choices(self) -> None:
        """List the viewer's layers anew; napari calls this whenever they change."""
        self.scan.reset_choices()
        self._on_layer_changed()

    def open_files(self, paths: tuple[Path, ...]) -> None:
        """Look for scans in the background and show them; where a folder holds several, ask which. Choose models."""
        models = [path for path in paths if path.suffix.lower() == MODEL_SUFFIX]
        scans = tuple(path for path in paths if path not in models)
        for path in models:
            self.normal.choose(path)
        if not self.opener.is_busy:
            self.scan.clear_fault()
        if scans:
            self.opener.open(scans, stacks_files=self.session.meant_images.proposed(self.normal.model))

    def _on_resample_asked(self) -> None:
        self.scan.clear_fault()
        self.opener.resample_refused()

    def _ask_which(self, found: FoundScans) -> None:
        self.windows.ask_which(found, self.opener.read)

    def _chosen(self) -> tuple[ModelSummary | None, DetectSettings]:
        """Return the model and the settings that are chosen now."""
        return self.normal.model, self._detect_settings()

    def fit_demo_model(self) -> None:
        """Fit the demo model on phantoms, in the background."""
        settings = demo_settings(device=self.find.device)
        self.session.fit.start_demo(settings, self.session.library.free_path("demo"))

    def start_finding(self, only_shown: bool = False) -> None:
        """Score the chosen scan with the chosen model."""
        layer, model = self.scan.layer, self.normal.model
        if layer is None or model is None:
            return
        self.readiness.stop()
        try:
            self.finder.find(layer, model.path, self._detect_settings(), only_shown=only_shown)
        except DinoadError as error:
            self.find.note.tell(str(error), error=True)
            return
        self.session.library.remember(model.path)

    def _show_what_was_written(self) -> None:
        """Scroll to what is told of an export: on small screens it comes below the edge."""
        self._scroll.bring_into_sight(self.result.export_note)

    def _on_refused(self, error: DinoadError) -> None:
        if isinstance(error, WeightsNotFoundError):
            self.windows.ask_for_weights(error, self._find_again)

    def _find_again(self) -> None:
        self.start_finding()

    def _detect_settings(self) -> DetectSettings:
        return DetectSettings(
            fpr=self.result.new_rate,
            min_volume_mm3=self.session.configuration.min_volume_mm3,
            device=self.find.device,
        )

    def _on_configured(self, before: Configuration) -> None:
        """Take over what was changed in the preferences; what was chosen in the dock stays otherwise."""
        now = self.session.configuration
        if now.device != before.device:
            self.find.set_device(now.device)
        if now.fpr != before.fpr:
            self.result.set_new_rate(now.fpr)
        if now.author != before.author:
            self._hand_masks.author = now.author
        self.finder.set_min_volume(now.min_volume_mm3)

    def _on_read(self, layers: list[tuple[Any, dict[str, Any], str]]) -> None:
        for data in layers:
            self._viewer.add_layer(LayerClass.create(*data))

    def _on_inserted(self, event: Any) -> None:
        """Choose a scan that was just opened, by whatever way."""
        finish_look(event.value)
        lay_on_scans(self._viewer.layers)
        if is_scan_layer(event.value):
            if not self.opener.is_busy:
                self.scan.clear_fault()
            if METADATA_KEY in event.value.metadata:
                tell_apart(self._viewer, event.value)
                self.scan.show(event.value)
            else:
                # Of others it is left to them how they show it: pictures of a mosaic, what a filter has made.
                self.scan.choose(event.value)
        elif is_from_file(event.value):
            self._opened.take(event.value)

    def _on_removed(self, event: Any) -> None:
        for layer in maps_to_bring_back(self._viewer, event.value):
            if not self.finder.bring_back(layer):
                self._opened.bring_back(layer)

    def _on_layer_changed(self) -> None:
        self.masks.show_scan(self.scan.scan)
        self.planes.follow(self.scan.scan)
        self.finder.look_at(self.scan.layer)
        self._opened.look_at(self.scan.layer)
        self._letters.follow(self.scan.layer)
        self._show_whose()
        self.readiness.review()

    def _show_whose(self) -> None:
        layer = self.finder.layer_under_way
        self.find.tell_whose("" if layer is None or same_layer(layer, self.scan.layer) else layer.name)

    def _on_scan_changed(self) -> None:
        """Take note that the chosen layer holds another scan now, or lies elsewhere."""
        if self.scan.layer is not None:
            self.finder.preparation.forget(self.scan.layer)
        self.finder.review()
        self.masks.show_scan(self.scan.scan)
        self.planes.follow(self.scan.scan)
        self.explainer.line_up()
        self.readiness.review()

    def _show_fit_state(self) -> None:
        """Offer the demo model while nothing is fitted; the file of the chosen one may be another after a fit."""
        self.normal.demo_button.setEnabled(not self.session.fit.runner.is_running)
        self.readiness.review()

    def _on_scrolled(self) -> None:
        self._settle.start()

    def _on_settled(self) -> None:
        before = self.scan.scan
        self.scan.describe()
        if before is not None and self.scan.scan is not None and before.frame != self.scan.scan.frame:
            self.find.forget()
            self._opened.look_at(self.scan.layer)
            self.readiness.review()
        self.finder.look_for_edits()
        self.result.show_slice_in_view()
        self.explainer.look()


def _closer(finder: FindController) -> Any:
    """Return what stops a run when its widget is gone, without keeping anything alive."""
    reference = weakref.ref(finder.runner)

    def close() -> None:
        runner = reference()
        if runner is not None:
            runner.cancel()

    return close
