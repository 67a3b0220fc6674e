"""What to export, and where to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from magicgui.widgets import FileEdit
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFormLayout,
    QLabel,
    QVBoxLayout,
    QWidget,
)

from napari_dinoad.gui.parts import NoteLabel
from napari_dinoad.maps.outputs import OUTPUTS, available_outputs, default_outputs

if TYPE_CHECKING:
    from napari_dinoad.images.volume import Volume
    from napari_dinoad.settings import SegSegments

__all__ = ["ExportDialog"]


class ExportDialog(QDialog):
    """Choices and a folder; `accepted` when they are to be written.

    Parameters
    ----------
    volume : Volume
        The scan; it says what can be written (DICOM-SEG needs a scan from DICOM).
    n_ticked, n_regions : int
    folder : Path, optional
        At first.
    """

    def __init__(
        self, volume: Volume, n_ticked: int, n_regions: int, folder: Path | None, parent: QWidget
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Export")
        self._name = volume.name
        usual, possible = default_outputs(volume), available_outputs(volume)
        self.choices = {key: QCheckBox(title) for key, title in OUTPUTS.items() if key in possible}
        for key, box in self.choices.items():
            box.setChecked(key in usual)
            box.toggled.connect(self._show_state)
        self.segments = QComboBox()
        self.segments.addItem("one segment for all regions", "single")
        self.segments.addItem("a segment for each region", "regions")
        self.segments.setToolTip("How the ticked regions lie in the DICOM-SEG.")
        self.folder = FileEdit(mode="d", tooltip="Existing files of the same names are replaced.")
        if folder is not None:
            self.folder.value = folder
        self.folder.changed.connect(self._show_state)
        self.note = NoteLabel()
        self.buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Save | QDialogButtonBox.StandardButton.Cancel
        )
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        rows = QVBoxLayout(self)
        regions = f"{n_ticked} of {n_regions} regions" if n_ticked < n_regions else f"{n_regions} regions"
        rows.addWidget(QLabel(f"Masks and tables hold the ticked regions: {regions}."))
        for box in self.choices.values():
            rows.addWidget(box)
        form = QFormLayout()
        if "seg" in self.choices:
            form.addRow("DICOM-SEG", self.segments)
        form.addRow("Folder", self.folder.native)
        rows.addLayout(form)
        rows.addWidget(self.note)
        rows.addWidget(self.buttons)
        self.setMinimumWidth(440)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._show_state()

    @property
    def outputs(self) -> tuple[str, ...]:
        """Keys of what is to be written."""
        return tuple(key for key, box in self.choices.items() if box.isChecked())

    @property
    def seg_segments(self) -> SegSegments:
        """Whether a DICOM-SEG gets one segment or one for each region."""
        chosen: SegSegments = self.segments.currentData()
        return chosen

    @property
    def path(self) -> Path | None:
        """The chosen folder."""
        text = str(self.folder.value or "").strip()
        return None if text in ("", ".") else Path(text).expanduser()

    def _show_state(self) -> None:
        missing = "" if self.outputs else "Choose what to export."
        if self.path is None:
            missing = missing or "Choose a folder."
        there = [] if self.path is None or not self.path.is_dir() else list(self.path.glob(f"{self._name}_*"))
        replaced = f"{len(there)} files of this scan are there already; those of the same names are replaced."
        self.note.tell(missing or (replaced if there else ""), warning=not missing)
        self.segments.setEnabled("seg" in self.outputs)
        self.buttons.button(QDialogButtonBox.StandardButton.Save).setEnabled(not missing)
