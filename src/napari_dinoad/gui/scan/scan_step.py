"""Step 1: which scan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from magicgui.widgets import ComboBox
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QMenu, QPushButton

from napari_dinoad.errors import DinoadError
from napari_dinoad.gui.canvas.framing import bring_into_view
from napari_dinoad.gui.parts.parts import NoteLabel, Step
from napari_dinoad.gui.scan.covering import CoverNote, show_scan
from napari_dinoad.gui.scan.window_box import WindowBox
from napari_dinoad.gui.viewer.layer_marks import is_scan_layer
from napari_dinoad.gui.viewer.layer_scan import path_of_layer
from napari_dinoad.gui.viewer.layers import same_layer, scan_of_layer
from napari_dinoad.gui.viewer.viewer_parts import moves_of
from napari_dinoad.machine.file_names import SCAN_SUFFIXES

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

    from napari_dinoad.gui.viewer.layer_scan import LayerScan

__all__ = ["STUDY_FILTER", "ScanStep", "scan_in_words"]

_RESAMPLE_OPTION = "--resample"
"""How the messages of the readers offer resampling."""

STUDY_FILTER = f"Scans ({' '.join('*' + suffix for suffix in SCAN_SUFFIXES)});;All files (*)"


def scan_in_words(scan: LayerScan) -> str:
    """Return size and spacing of a scan."""
    geometry = scan.source.geometry
    axes = [axis for axis in (2, 1, 0) if axis != scan.source.dropped_axis]
    shape = " × ".join(str(geometry.canonical_shape[axis]) for axis in axes)
    if not geometry.is_physical:
        return f"{shape} pixels"
    spacing = " × ".join(f"{geometry.spacing[axis]:.2g}" for axis in axes)
    return f"{shape} {'voxels' if shape.count('×') == 2 else 'pixels'} of {spacing} mm"


class ScanStep(Step):
    """Chooses an image layer, or files to open."""

    layer_changed = Signal()
    scan_changed = Signal()  # the chosen layer's values, or where it lies
    redrawn = Signal()  # another slice of the chosen layer, or the same anew
    files_chosen = Signal(object)  # tuple of Path
    resample_asked = Signal()

    def __init__(self, viewer: Viewer) -> None:
        super().__init__("1  Scan")
        self._viewer = viewer
        self.scan: LayerScan | None = None
        self._followed: Layer | None = None
        self.layers = ComboBox(choices=self._choices, nullable=True)
        self.layers.native.setToolTip("The image layer with the scan to look at.")
        self.layers.native.setAccessibleName("Scan")
        self.open_button = QPushButton("Open study…")
        self.open_button.setToolTip(
            "Open scans with their geometry: NIfTI, DICOM, MGZ, NRRD, MetaImage, PNG, JPEG, TIFF. "
            "Files and folders can also be dropped on this panel."
        )
        menu = QMenu(self.open_button)
        menu.addAction("Files…").triggered.connect(self.ask_for_files)
        menu.addAction("Folder…").triggered.connect(self.ask_for_folder)
        self.open_button.setMenu(menu)
        self.resample_button = QPushButton("Resample to even slices")
        self.resample_button.setToolTip(
            "Make an even volume of this series by interpolation. The report will say so."
        )
        self.resample_button.hide()
        self.window = WindowBox()
        self.about = NoteLabel()
        self.assumed = NoteLabel()
        self.fault = NoteLabel()
        self.cover = CoverNote(viewer)
        self.add_row(self.layers.native, self.open_button)
        self.rows.setStretch(0, 0)
        self.layers.native.setMinimumWidth(80)
        self.layers.native.setSizeAdjustPolicy(
            self.layers.native.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.layers.native.setSizePolicy(self.sizePolicy().Policy.Expanding, self.sizePolicy().Policy.Fixed)
        self.rows.addWidget(self.fault)
        self.rows.addWidget(self.resample_button)
        self.rows.addWidget(self.window)
        self.rows.addWidget(self.about)
        self.rows.addWidget(self.assumed)
        self.rows.addWidget(self.cover)
        self.layers.changed.connect(self._on_chosen)
        self.resample_button.clicked.connect(self.resample_asked)
        self.reset_choices()

    @property
    def layer(self) -> Layer | None:
        """The chosen image layer."""
        return self.layers.value

    def choose(self, layer: Layer) -> None:
        """Choose a layer."""
        self.reset_choices()
        self._take(self.layer, next((known for known in self._choices() if same_layer(known, layer)), None))

    def show(self, layer: Layer) -> None:
        """Choose a layer and show it, as where the user chooses it in the box."""
        before = self.layer
        self.choose(layer)
        if self.layer is not None:
            show_scan(self._viewer, self.layer)
            bring_into_view(self._viewer, self.layer, before)

    def reset_choices(self) -> None:
        """List the viewer's image layers anew; the chosen one stays chosen, under whatever name.

        Where it is gone, or none was chosen yet, the topmost is.
        """
        chosen = self.layer
        # The box knows its layers by name: while it is filled anew, another stands in for one that was renamed.
        with self.layers.changed.blocked():
            self.layers.reset_choices()
        layers = self._choices()
        kept = [layer for layer in layers if same_layer(layer, chosen)]
        self._take(chosen, (kept or layers[-1:] or [None])[0])

    def _take(self, before: Layer | None, layer: Layer | None) -> None:
        """Show a layer as the chosen one; tell of it where it is another than before."""
        with self.layers.changed.blocked():
            self.layers.value = layer
        if same_layer(before, layer):
            self.describe()
        else:
            self._on_changed()

    def describe(self) -> None:
        """Say what the chosen scan is and what had to be assumed."""
        layer = self.layer
        self.about.setToolTip("")
        try:
            scan = None if layer is None else scan_of_layer(layer, self._viewer.dims.point)
        except DinoadError as error:
            self.scan = None
            self.about.tell(str(error), error=True)
            self.assumed.tell("")
            return
        self.scan = scan
        if scan is None:
            self.about.tell("Open a scan, or drop its file here. To try it out: File → Open Sample → DINOAD.")
            self.assumed.tell("")
            return
        self.about.tell(scan_in_words(scan))
        path = None if layer is None else path_of_layer(layer)
        tips = [] if path is None else [str(path)]
        if scan.source.dropped_axis is None and scan.source.geometry.is_physical:
            tips.append("Across (right–left) × deep (front–back) × high (head–foot).")
        self.about.setToolTip("\n".join(tips))
        self.assumed.tell(" ".join(scan.notes), warning=True)

    def _choices(self, widget: object = None) -> list[Layer]:
        return [layer for layer in self._viewer.layers if is_scan_layer(layer)]

    def _on_chosen(self) -> None:
        """Show what the user has chosen: the dock speaks of it."""
        self.clear_fault()
        if self.layer is not None:
            show_scan(self._viewer, self.layer)
            bring_into_view(self._viewer, self.layer, self._followed)
        self._on_changed()

    def _on_changed(self) -> None:
        self.window.follow(self.layer)
        self.describe()
        self.cover.follow(self.layer)
        self._follow(self.layer)
        self.layer_changed.emit()

    def _follow(self, layer: Layer | None) -> None:
        """Hear of it when the chosen layer becomes another scan, and of no other layer."""
        followed, self._followed = self._followed, layer
        for event in () if followed is None else (followed.events.data, *moves_of(followed)):
            event.disconnect(self._on_scan_changed)
        if followed is not None:
            followed.events.set_data.disconnect(self._on_redrawn)
        for event in () if layer is None else (layer.events.data, *moves_of(layer)):
            event.connect(self._on_scan_changed)
        if layer is not None:
            layer.events.set_data.connect(self._on_redrawn)

    def _on_redrawn(self, event: object = None) -> None:
        self.redrawn.emit()

    def _on_scan_changed(self, event: object = None) -> None:
        self.describe()
        self.scan_changed.emit()

    def ask_for_files(self) -> None:
        """Ask for files to open; `files_chosen` follows."""
        names, _ = QFileDialog.getOpenFileNames(self, "Open study", "", STUDY_FILTER)
        if names:
            self.files_chosen.emit(tuple(Path(name) for name in names))

    def ask_for_folder(self) -> None:
        """Ask for a folder to open; `files_chosen` follows."""
        name = QFileDialog.getExistingDirectory(self, "Open the folder of a study")
        if name:
            self.files_chosen.emit((Path(name),))

    def tell_fault(self, message: str) -> None:
        """Say why a scan was not opened, until `clear_fault`; where resampling would help, offer it."""
        can_resample = _RESAMPLE_OPTION in message
        if can_resample:
            from napari_dinoad.images.dicom.reader import RESAMPLE_HINT

            message = message.replace(
                RESAMPLE_HINT, "Resample it knowingly to an even volume, with the button below"
            )
        self.fault.tell(message, error=True)
        self.resample_button.setVisible(can_resample)

    def clear_fault(self) -> None:
        """Take back what was said of a scan that was not opened: another one was opened or chosen."""
        self.fault.tell("")
        self.resample_button.hide()
