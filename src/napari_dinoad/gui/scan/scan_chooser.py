"""Choosing among the scans of a folder: DICOM series, files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QDialog,
    QDialogButtonBox,
    QFormLayout,
    QHeaderView,
    QLabel,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_dinoad.gui.parts.focus_ring import FocusRing
from napari_dinoad.gui.parts.folder_images import folder_images_field
from napari_dinoad.machine.file_names import short_paths

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_dinoad.images.scan_file import ScanFile

__all__ = ["ScanChooser", "spacing_in_words"]

_COLUMNS = ("Scan", "Kind", "Size", "Spacing", "Folder")

_FOLDER_COLUMN = 4

_KINDS = {"mask": "mask", "map": "anomaly map"}
"""Of files that are no scans."""


def spacing_in_words(spacing_mm: Sequence[float] | None) -> str:
    """Return a spacing with its unit, or nothing where there is none."""
    return "" if not spacing_mm else " × ".join(f"{step:.2g}" for step in spacing_mm) + " mm"


def _folders(scans: Sequence[ScanFile]) -> list[str]:
    """Return in which folder each scan lies, below the innermost that holds them all."""
    in_folder = (scan.path if scan.series is not None or scan.images else scan.path.parent for scan in scans)
    return [str(Path(place).parent) for place in short_paths([folder / "scan" for folder in in_folder])]


def _kind_of_scan(scan: ScanFile) -> str:
    if scan.images:
        return f"{len(scan.images)} images"
    return "2D image" if scan.kind == "image" else "volume"


def _row(scan: ScanFile, folder: str) -> list[str]:
    series = scan.series
    if series is None:
        name = scan.name if scan.images else scan.path.name
        kind = _KINDS.get(scan.holding) or _kind_of_scan(scan)
    else:
        number = "" if series.number is None else f"{series.number}: "
        name, kind = f"{number}{series.described or scan.name}", f"DICOM {series.modality}".strip()
    return [name, kind, " × ".join(map(str, scan.shape)), spacing_in_words(scan.spacing_mm), folder]


def _found_in_words(scans: Sequence[ScanFile]) -> str:
    n_scans = sum(scan.holding == "scan" for scan in scans)
    n_results = len(scans) - n_scans
    results = f"{n_results} mask{'s' if n_results > 1 else ''} or map{'s' if n_results > 1 else ''}"
    parts = [f"{n_scans} scan{'s' if n_scans > 1 else ''}"] if n_scans else []
    parts += [results] if n_results else []
    return f"{' and '.join(parts)} {'were' if len(scans) > 1 else 'was'} found"


class ScanChooser(QDialog):
    """Lists scans; those that are chosen are opened.

    Parameters
    ----------
    scans : sequence of ScanFile
    parent : QWidget, optional
    stacked : sequence of ScanFile
        What they are where the 2D images of a folder are the slices of one scan; where there are such, that is asked.
    stacks_folders : bool
        What is proposed.
    """

    chose = Signal(object)  # tuple of ScanFile

    def __init__(
        self,
        scans: Sequence[ScanFile],
        parent: QWidget | None = None,
        stacked: Sequence[ScanFile] = (),
        *,
        stacks_folders: bool = False,
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Open study")
        self._found = {False: scans, True: stacked}
        self._scans: tuple[ScanFile, ...] = ()
        self.found_label = QLabel()
        self.stack_folders = folder_images_field()
        self.stack_folders.value = bool(stacked) and stacks_folders
        self.list = QTreeWidget()
        self.list.setHeaderLabels(_COLUMNS)
        self.list.setRootIsDecorated(False)
        self.list.setUniformRowHeights(True)
        self.list.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.list.setAccessibleName("Scans found")
        self.list.header().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Open | QDialogButtonBox.StandardButton.Cancel
        )
        self.buttons.accepted.connect(self.accept)
        self.accepted.connect(self._tell_chosen)
        self.buttons.rejected.connect(self.reject)
        self.list.itemDoubleClicked.connect(self.accept)
        self.stack_folders.changed.connect(self._list_found)
        question = QFormLayout()
        question.addRow(self.stack_folders.label, self.stack_folders.native)
        rows = QVBoxLayout(self)
        rows.addWidget(self.found_label)
        rows.addLayout(question)
        rows.addWidget(self.list)
        rows.addWidget(self.buttons)
        for part in (question.labelForField(self.stack_folders.native), self.stack_folders.native):
            part.setVisible(bool(stacked))
        FocusRing(self)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._list_found()

    def _list_found(self) -> None:
        """List the scans as the images of a folder are meant."""
        # What was found in them comes after the scans, whichever was named first.
        found = self._found[self.stack_folders.value]
        self._scans = tuple(sorted(found, key=lambda scan: scan.holding != "scan"))
        advice = " Choose one, or several with Ctrl." if len(self._scans) > 1 else ""
        self.found_label.setText(f"{_found_in_words(self._scans)}.{advice}")
        folders = _folders(self._scans)
        self.list.clear()
        for scan, folder in zip(self._scans, folders, strict=True):
            item = QTreeWidgetItem(_row(scan, folder))
            item.setToolTip(_FOLDER_COLUMN, str(scan.path))
            self.list.addTopLevelItem(item)
        self.list.setColumnHidden(_FOLDER_COLUMN, len(set(folders)) == 1)
        self.list.setCurrentItem(self.list.topLevelItem(self._largest()))

    def _largest(self) -> int:
        """Return the scan with the most voxels: most often the one that is meant. Where there is a scan, no mask."""

        def n_voxels(index: int) -> tuple[bool, int]:
            n = 1
            for length in self._scans[index].shape:
                n *= length
            return self._scans[index].holding == "scan", n

        return max(range(len(self._scans)), key=n_voxels)

    def sizeHint(self) -> QSize:
        """Return room for some ten scans."""
        return QSize(620, 320)

    def _tell_chosen(self) -> None:
        self.chose.emit(self.chosen())

    def chosen(self) -> tuple[ScanFile, ...]:
        """Return the chosen scans, in the order of the list."""
        rows = sorted(self.list.indexOfTopLevelItem(item) for item in self.list.selectedItems())
        return tuple(self._scans[row] for row in rows)
