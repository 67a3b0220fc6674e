"""What to export, and where to."""

from __future__ import annotations

import glob
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

from napari_dinoad.files import safe_stem
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
    folder : Path, optional
        At first.
    """

    def __init__(self, volume: Volume, folder: Path | None, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("Export")
        self._name = safe_stem(volume.name)
        self.regions = QLabel()
        self.regions.setWordWrap(True)
        usual, possible = default_outputs(volume), available_outputs(volume)
        self.choices = {key: QCheckBox(title) for key, title in OUTPUTS.items() if key in possible}
        for key, box in self.choices.items():
            box.setChecked(key in usual)
            box.toggled.connect(self._show_state)
        self.segments = QComboBox()
        self.segments.addItem("one segment for all regions", "single")
        self.segments.addItem("a segment for each region", "regions")
        self.segments.setAccessibleName("Segments of the DICOM-SEG")
        self.segments.setToolTip("How the ticked regions lie in the DICOM-SEG.")
        self.folder = FileEdit(mode="d", tooltip="Existing files of the same names are replaced.")
        self.folder.line_edit.native.setAccessibleName("Folder")
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
        rows.addWidget(self.regions)
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
        try:
            return None if text in ("", ".") else Path(text).expanduser()
        except RuntimeError:
            # The home of a user who is not known.
            return None

    def show_regions(self, n_ticked: int, n_regions: int, *, is_measured: bool, is_scoring: bool) -> None:
        """Say which regions masks and tables will hold, as far as that is known."""
        if not is_measured:
            so_far = "; slices that are not scored yet are left out" if is_scoring else ""
            self.regions.setText(f"Masks and tables hold the regions that are found at this rate{so_far}.")
            return
        regions = f"{n_ticked} of {n_regions} regions" if n_ticked < n_regions else f"{n_regions} regions"
        self.regions.setText(f"Masks and tables hold the ticked regions: {regions}.")

    def _show_state(self) -> None:
        missing = "" if self.outputs else "Choose what to export."
        if self.path is None:
            missing = missing or "Choose a folder."
        n_there = 0 if self.path is None else _count_files(self.path, self._name)
        replaced = f"{n_there} files of this scan are there already; those of the same names are replaced."
        self.note.tell(missing or (replaced if n_there else ""), warning=not missing)
        self.segments.setEnabled("seg" in self.outputs)
        self.buttons.button(QDialogButtonBox.StandardButton.Save).setEnabled(not missing)


def _count_files(folder: Path, stem: str) -> int:
    """Return how many files of a scan a folder holds; none where there is no such folder, or none can be."""
    try:
        return sum(1 for _ in folder.glob(f"{glob.escape(stem)}_*")) if folder.is_dir() else 0
    except (OSError, ValueError):
        return 0
