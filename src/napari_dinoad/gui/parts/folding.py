"""Rows and parts that take less room where there is little, or when they are not needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QPointF, QSize, Qt, QTimer
from qtpy.QtGui import QColor, QIcon, QPainter, QPixmap, QPolygonF
from qtpy.QtWidgets import (
    QBoxLayout,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLayoutItem,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from napari_dinoad.gui.parts.wheel_guard import WheelGuard

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtGui import QResizeEvent, QShowEvent

__all__ = ["Folded", "FoldingRow", "ScrolledColumn", "row_of"]

_ARROW_COLOUR = "#788290"
"""Stands out from dark and light grounds by 3 or more, as WCAG asks of signs."""

_ARROW_PX = 16

_ROW_SPACING_PX = 4

_LAID_OUT_MS = 50
"""A part that has become larger is scrolled to once nothing has moved for so long."""

_WRAPPING_PX = 20
"""What a text in two lines is wider than half of it, for its words do not end in the middle."""


class FoldingRow(QWidget):
    """Widgets side by side, or below each other where there is not room for that: large fonts, a narrow dock.

    A text that wraps may take two lines beside others.

    Parameters
    ----------
    parts : sequence of (QWidget or sequence of QWidget)
        Those of one part stay side by side.
    stretch : sequence of int, optional
        How parts side by side share what is left; by default as they want it.
    """

    def __init__(
        self,
        parts: Sequence[QWidget | Sequence[QWidget]],
        stretch: Sequence[int] = (),
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._row = QBoxLayout(QBoxLayout.Direction.LeftToRight, self)
        self._row.setContentsMargins(0, 0, 0, 0)
        self._row.setSpacing(_ROW_SPACING_PX)
        self._stretch = tuple(stretch) or (0,) * len(parts)
        for share, part in zip(self._stretch, parts, strict=True):
            if isinstance(part, QWidget):
                self._row.addWidget(part, share)
            else:
                self._row.addLayout(row_of(*part), share)

    def minimumSizeHint(self) -> QSize:
        """Return the width of the widest part: the others may go below it."""
        return QSize(max(self._widths(), default=0), super().minimumSizeHint().height())

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Put the parts side by side, or below each other."""
        super().resizeEvent(event)
        self._fold()

    def event(self, event: QEvent | None) -> bool:
        """Notice that the parts have become wider or narrower, as by another font."""
        if event is not None and event.type() == QEvent.Type.LayoutRequest:
            self._fold()
        return bool(super().event(event))

    def _fold(self) -> None:
        widths = self._widths()
        needed = sum(widths) + _ROW_SPACING_PX * (len(widths) - 1)
        fits, directions = needed <= self.width(), QBoxLayout.Direction
        self._row.setDirection(directions.LeftToRight if fits else directions.TopToBottom)
        for place, share in enumerate(self._stretch):
            self._row.setStretch(place, share if fits else 0)

    def _widths(self) -> list[int]:
        items = (self._row.itemAt(place) for place in range(self._row.count()))
        return [_least_width(item) for item in items if item is not None]


def _least_width(item: QLayoutItem) -> int:
    widget = item.widget()
    if isinstance(widget, QLabel) and widget.wordWrap():
        return int(widget.fontMetrics().horizontalAdvance(widget.text()) / 2 + _WRAPPING_PX)
    return int(item.minimumSize().width())


class ScrolledColumn(QScrollArea):
    """Parts below each other, which scroll where there is not room for all of them.

    Attributes
    ----------
    content : QWidget
        What scrolls.
    rows : QVBoxLayout
        Of the content: parts are added to it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.content = _Content()
        self.rows = QVBoxLayout(self.content)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setWidget(self.content)
        self._guard = WheelGuard(self)
        self._to_show = self.content
        self._laid_out = QTimer(self)
        self._laid_out.setSingleShot(True)
        self._laid_out.setInterval(_LAID_OUT_MS)
        self._laid_out.timeout.connect(self._scroll_to_part)
        bar = self.verticalScrollBar()
        if bar is not None:
            bar.rangeChanged.connect(self._on_taller)

    def bring_into_sight(self, part: QWidget) -> None:
        """Scroll to a part that has just become larger, once it is."""
        self._to_show = part
        self._laid_out.start()

    def _on_taller(self, *limits: int) -> None:
        if self._laid_out.isActive():
            self._laid_out.start()

    def _scroll_to_part(self) -> None:
        self.ensureWidgetVisible(self._to_show)

    def showEvent(self, event: QShowEvent | None) -> None:
        """See to it that the wheel scrolls, and changes nothing on its way."""
        super().showEvent(event)
        self._guard.guard(self.content)

    def least_width(self) -> int:
        """Return the width at which none of the content is cut off, with the bar beside it."""
        bar = self.verticalScrollBar()
        beside = 2 * self.frameWidth() + (0 if bar is None else bar.sizeHint().width())
        return int(self.content.minimumSizeHint().width() + beside)


class _Content(QWidget):
    """What scrolls: as high as its texts are at the width that there is, not at the least that they could have."""

    def minimumSizeHint(self) -> QSize:
        """Return the least width; the height follows from the width that there is."""
        return QSize(super().minimumSizeHint().width(), 0)


def row_of(*widgets: QWidget) -> QHBoxLayout:
    """Return widgets side by side; those that want room share it."""
    row = QHBoxLayout()
    row.setContentsMargins(0, 0, 0, 0)
    row.setSpacing(_ROW_SPACING_PX)
    for widget in widgets:
        row.addWidget(widget)
    return row


class Folded(QCollapsible):
    """Content under a title that opens with a click, at once and with arrows that show on dark and light themes."""

    def __init__(self, title: str) -> None:
        super().__init__(title, expandedIcon=_arrow(down=True), collapsedIcon=_arrow(down=False))
        self.setDuration(0)
        # What superqt folds has no height, and Tab would go through it.
        self.content().hide()
        self.toggled.connect(self.content().setVisible)


def _arrow(*, down: bool) -> QIcon:
    pixmap = QPixmap(_ARROW_PX, _ARROW_PX)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QColor(_ARROW_COLOUR))
    corners = [(3, 5), (13, 5), (8, 12)] if down else [(5, 3), (12, 8), (5, 13)]
    painter.drawPolygon(QPolygonF([QPointF(x, y) for x, y in corners]))
    painter.end()
    return QIcon(pixmap)
