"""The regions of a mask: size, how unusual, where; ticked ones are exported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QSize, Qt, Signal
from qtpy.QtGui import QKeySequence, QPalette
from qtpy.QtWidgets import (
    QAbstractItemView,
    QApplication,
    QHeaderView,
    QMenu,
    QTreeWidget,
    QTreeWidgetItem,
)

from napari_dinoad.gui.parts.parts import take_letter_size
from napari_dinoad.maps.finding_words import (
    area_in_words,
    place_in_words,
    reaching_in_words,
    volume_in_words,
)
from napari_dinoad.maps.findings import regions_beyond

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qtpy.QtCore import QPoint
    from qtpy.QtGui import QKeyEvent

    from napari_dinoad.calibration import NormalPeaks
    from napari_dinoad.maps import Region

__all__ = ["RegionTable", "probability_in_words", "region_size_in_words"]

MAX_ROWS = 200
"""More regions than this are not listed one by one; they stay in the mask and in exports."""

_COLUMNS = ("", "Size", "Peak p", "Seen", "Place")

_LEAST_ROWS = 5
"""Three regions, the header, and a bar that scrolls sideways."""

_ROW_MARGIN_PX = 4

_BOX_ON_DARK, _BOX_ON_LIGHT = "#c9d1d9", "#3f4850"
"""Lines around boxes that are not ticked: seen in the chosen row too."""

_COLUMN_WORDS = (
    "Ticked regions are in the mask and in what is exported. Number 1 has the most unusual voxel.",
    "Volume of the region (area of a single image).",
    "How unusual its most unusual voxel is: this share of normal voxels is at least as unusual. 0.1 % is one in a "
    "thousand.",
    "How many of the held-out normal scans have, anywhere, a voxel that is at least as unusual. What many of them "
    "have may well be chance; 0: none has it.",
    "Where its most unusual voxel is: millimetres from the scanner's origin; R/L is the patient's right/left, A/P "
    "front/back, S/I head/foot.",
)
"""What a column says, for people who have never heard of p."""

_NORMALS_COLUMN, _PLACE_COLUMN = 3, 4


def region_size_in_words(region: Region) -> str:
    """Return the size of a region with its unit, as the report has it."""
    if region.volume_mm3 is not None:
        return volume_in_words(region.volume_mm3)
    if region.area_mm2 is not None:
        return area_in_words(region.area_mm2)
    return f"{region.area_px} px"


def probability_in_words(neg_log10_p: float) -> str:
    """Return p as people read it: ``"0.4 %"``, ``"0.003 %"``, ``"< 0.001 %"``."""
    p = 10.0**-neg_log10_p
    return f"{float(f'{100 * p:.1g}'):g} %" if p >= 1e-5 else "< 0.001 %"


class _RegionItem(QTreeWidgetItem):
    """A row; it sorts by figures, not by their words."""

    def __init__(self, texts: list[str], region: Region) -> None:
        super().__init__(texts)
        self.region = region

    def __lt__(self, other: QTreeWidgetItem) -> bool:
        tree = self.treeWidget()
        column = 0 if tree is None else tree.sortColumn()
        if not isinstance(other, _RegionItem) or column >= _PLACE_COLUMN:
            return bool(self.text(column) < other.text(column))
        mine, others = _sort_figures(self.region), _sort_figures(other.region)
        return mine[column] < others[column]


def _sort_figures(region: Region) -> tuple[float, float, float, float]:
    """Return what the first columns sort by; the higher a peak, the fewer normal scans reach it."""
    return region.label, region.n_voxels, -region.peak_neg_log10_p, -region.peak_neg_log10_p


class RegionTable(QTreeWidget):
    """Lists regions; a click, or the arrow keys, asks to go there; ticks say what is kept.

    `ticks_changed` names regions, listed or not, that were ticked or unticked together.
    """

    region_chosen = Signal(object)
    ticks_changed = Signal(tuple, bool)

    def __init__(self) -> None:
        super().__init__()
        self._regions: tuple[Region, ...] = ()
        self._normal_peaks: NormalPeaks | None = None
        self.setColumnCount(len(_COLUMNS))
        self.setHeaderLabels(_COLUMNS)
        for column, words in enumerate(_COLUMN_WORDS):
            self.headerItem().setToolTip(column, words)
        self.setRootIsDecorated(False)
        self.setUniformRowHeights(True)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setAccessibleName("Regions")
        self.setToolTip(
            "Click a region to go to its peak; its outline turns magenta. Untick one to take it out of the mask and "
            "of what is exported.\n"
            "Place: millimetres from the scanner's origin; R/L is the patient's right/left, A/P front/back, "
            "S/I head/foot.\n"
            "Seen: how many of the held-out normal scans have a voxel as unusual, anywhere.\n"
            "Right-click: tick several at once, or copy them as text (Ctrl+C)."
        )
        header = self.header()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        # Stretched, the last column has 100 pixels where there is no room for it, and no bar scrolls to its end.
        header.setStretchLastSection(False)
        self.setSortingEnabled(True)
        self.sortByColumn(0, Qt.SortOrder.AscendingOrder)
        self.itemChanged.connect(self._on_item_changed)
        self.currentItemChanged.connect(self._on_current_changed)
        self.itemClicked.connect(self._on_clicked)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.customContextMenuRequested.connect(self._open_menu)
        self._frame_boxes()

    def sizeHint(self) -> QSize:
        """Return room for three regions; the table takes what else there is."""
        return QSize(280, self.minimumSizeHint().height())

    def minimumSizeHint(self) -> QSize:
        """Return room for three regions, whatever the size of letters."""
        return QSize(200, _LEAST_ROWS * (self.fontMetrics().height() + _ROW_MARGIN_PX))

    def show_regions(
        self,
        regions: Sequence[Region],
        is_ticked: Callable[[Region], bool],
        normal_peaks: NormalPeaks | None = None,
    ) -> None:
        """List regions with their ticks; emits nothing. The chosen row stays when its peak is still there.

        Parameters
        ----------
        regions : sequence of Region
        is_ticked : callable
        normal_peaks : NormalPeaks, optional
            Of the normal scans that they are compared with; None: the column is not shown.
        """
        chosen = self.chosen_region()
        blocked = self.blockSignals(True)
        self.setSortingEnabled(False)
        self.setColumnHidden(_NORMALS_COLUMN, normal_peaks is None)
        self._regions, self._normal_peaks = tuple(regions), normal_peaks
        self.clear()
        for region in self._regions[:MAX_ROWS]:
            texts = [
                str(region.label),
                region_size_in_words(region),
                probability_in_words(region.peak_neg_log10_p),
            ]
            texts.append("" if normal_peaks is None else reaching_in_words(region, normal_peaks))
            item = _RegionItem([*texts, place_in_words(region, between=" ")], region)
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            state = Qt.CheckState.Checked if is_ticked(region) else Qt.CheckState.Unchecked
            item.setCheckState(0, state)
            self.addTopLevelItem(item)
            if chosen is not None and region.peak_zyx == chosen.peak_zyx:
                self.setCurrentItem(item)
        self.setSortingEnabled(True)
        self.blockSignals(blocked)

    def menu_for(self, region: Region | None) -> QMenu:
        """Return what can be done with several regions, or with this one."""
        menu = QMenu(self)
        if region is not None:
            menu.addAction("Keep only this region", lambda: self._keep_only([region]))
        if self._normal_peaks is not None:
            beyond = regions_beyond(self._regions, self._normal_peaks)
            keep = menu.addAction("Keep only what no normal scan reaches", lambda: self._keep_only(beyond))
            if keep is not None:
                keep.setEnabled(bool(beyond))
        menu.addAction("Tick all", lambda: self._tick(self._regions, True))
        menu.addAction("Untick all", lambda: self._tick(self._regions, False))
        menu.addSeparator()
        copy = menu.addAction("Copy the ticked regions as text", self.copy_ticked)
        if copy is not None:
            copy.setEnabled(bool(self._ticked_lines()))
        return menu

    def copy_ticked(self) -> None:
        """Copy the listed regions that are ticked, in their order, as text; where none is, leave what was copied."""
        lines, clipboard = self._ticked_lines(), QApplication.clipboard()
        if lines and clipboard is not None:
            clipboard.setText("\n".join(lines))

    def _ticked_lines(self) -> list[str]:
        items = (self.topLevelItem(row) for row in range(self.topLevelItemCount()))
        return [
            "\t".join(item.text(column) for column in range(len(_COLUMNS)) if not self.isColumnHidden(column))
            for item in items
            if item is not None and item.checkState(0) == Qt.CheckState.Checked
        ]

    def changeEvent(self, event: QEvent | None) -> None:
        """Take the size of letters that the user prefers."""
        super().changeEvent(event)
        if event is not None and event.type() == QEvent.Type.StyleChange:
            take_letter_size(self)
            self._frame_boxes()

    def _frame_boxes(self) -> None:
        """Draw boxes that are not ticked, where napari's themes draw nothing, on the ground of the theme."""
        ground = self.palette().color(QPalette.ColorRole.Window)
        colour = _BOX_ON_DARK if ground.lightnessF() < 0.5 else _BOX_ON_LIGHT
        sheet = f"QTreeView::indicator:unchecked {{ border: 1px solid {colour}; border-radius: 2px; }}"
        if sheet != self.styleSheet():
            self.setStyleSheet(sheet)

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Copy by the usual keys, tick by Space; all others do what they do in a list."""
        if event is not None and event.matches(QKeySequence.StandardKey.Copy):
            self.copy_ticked()
            return
        item = self.currentItem()
        if item is not None and event is not None and event.key() == Qt.Key.Key_Space:
            # Qt ticks the cell that is current: after a click the one that was clicked, which has no box.
            is_ticked = item.checkState(0) == Qt.CheckState.Checked
            item.setCheckState(0, Qt.CheckState.Unchecked if is_ticked else Qt.CheckState.Checked)
            return
        super().keyPressEvent(event)

    def _open_menu(self, place: QPoint) -> None:
        if self._regions:
            menu = self.menu_for(self._region_of(self.itemAt(place)))
            menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
            menu.popup(self.viewport().mapToGlobal(place))

    def _keep_only(self, regions: Sequence[Region]) -> None:
        kept = {region.label for region in regions}
        self._tick([other for other in self._regions if other.label not in kept], False)
        self._tick(regions, True)

    def _tick(self, regions: Sequence[Region], ticked: bool) -> None:
        """Tick or untick regions, and tell of all at once."""
        meant = {region.peak_zyx for region in regions}
        state = Qt.CheckState.Checked if ticked else Qt.CheckState.Unchecked
        blocked = self.blockSignals(True)
        for row in range(self.topLevelItemCount()):
            item = self.topLevelItem(row)
            region = self._region_of(item)
            if item is not None and region is not None and region.peak_zyx in meant:
                item.setCheckState(0, state)
        self.blockSignals(blocked)
        self.viewport().update()
        self.ticks_changed.emit(tuple(regions), ticked)

    def chosen_region(self) -> Region | None:
        """Return the region of the current row."""
        return self._region_of(self.currentItem())

    def _region_of(self, item: QTreeWidgetItem | None) -> Region | None:
        return item.region if isinstance(item, _RegionItem) else None

    def _on_item_changed(self, item: QTreeWidgetItem, column: int) -> None:
        region = self._region_of(item)
        if column == 0 and region is not None:
            self.ticks_changed.emit((region,), item.checkState(0) == Qt.CheckState.Checked)

    def _on_current_changed(self, current: QTreeWidgetItem | None, previous: object) -> None:
        region = self._region_of(current)
        if region is not None:
            self.region_chosen.emit(region)

    def _on_clicked(self, item: QTreeWidgetItem, column: int) -> None:
        # A click on the current row goes there again, after the user has scrolled away.
        region = self._region_of(item)
        if region is not None and column > 0:
            self.region_chosen.emit(region)
