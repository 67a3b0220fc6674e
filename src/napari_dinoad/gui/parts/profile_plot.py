"""Small plots, drawn by hand: the anomaly of each slice, and curves of a fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["CurvePlot", "ProfilePlot", "trend_in_words"]

_MARGIN_PX = 2
_GROUND = QColor("#1c1d22")
"""Dark in every theme, as bars, lines and letters are bright."""

_BAR = QColor("#d9552b")
_UNSCORED = QColor(128, 128, 128, 60)
_THRESHOLD = QColor(220, 220, 220)
_HERE = QColor("#00f2ff")
_CURVES = (QColor("#00c2d1"), QColor("#ff9d3b"), QColor("#b48ead"), QColor("#a3be8c"))

_POINT_PX = 5.0
"""How large a curve of one value is."""

_LEVEL_SHARE = 0.02
"""A last step of less than this share of the whole range is none."""


def trend_in_words(values: Sequence[float]) -> str:
    """Return where the last of several finite values goes, against how far they have come; empty of one alone."""
    if len(values) < 2:
        return ""
    step = values[-1] - values[-2]
    if abs(step) <= _LEVEL_SHARE * (max(values) - min(values)):
        return "hardly changes any more"
    return "falls" if step < 0 else "rises"


class ProfilePlot(QWidget):
    """The highest −log10 p of each slice; a click asks for that slice.

    Slices that were not scored yet are grey. The line marks the mask's threshold, the cursor the slice in view.
    """

    slice_chosen = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self._profile = np.zeros(0, dtype=np.float32)
        self._scored = np.zeros(0, dtype=bool)
        self._threshold = 0.0
        self._shown: int | None = None
        self._is_mirrored = False
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setToolTip(
            "The most unusual voxel of each slice (−log10 p). Click, or use the arrow keys, to go to a slice; Home "
            "goes to the most unusual one."
        )
        self.setAccessibleName("Anomaly of each slice")

    def sizeHint(self) -> QSize:
        """Return a strip that leaves the height to the regions."""
        return QSize(200, 56)

    def show_profile(self, profile: np.ndarray, scored: np.ndarray, threshold: float) -> None:
        """Show values (n,) of slices, which of them were scored (n,) bool, and the threshold in −log10 p."""
        self._profile, self._scored, self._threshold = profile.copy(), scored.copy(), threshold
        self.update()

    def set_mirrored(self, is_mirrored: bool) -> None:
        """Draw the first slice at the right, where the viewer's own slider has it at the right."""
        self._is_mirrored = is_mirrored
        self.update()

    def set_shown(self, index: int | None) -> None:
        """Mark the slice in view."""
        if index != self._shown:
            self._shown = index
            self.update()

    def slice_at(self, x_px: float) -> int | None:
        """Return the slice drawn at a horizontal position, or None where there is none."""
        n = len(self._profile)
        width = self.width() - 2 * _MARGIN_PX
        if n == 0 or width <= 0:
            return None
        place = int(np.clip((x_px - _MARGIN_PX) / width * n, 0, n - 1))
        return self._place(place)

    def _place(self, index: int) -> int:
        """Return the place from the left of a slice, and the slice of a place."""
        return len(self._profile) - 1 - index if self._is_mirrored else index

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """Ask for the slice that was clicked."""
        self._choose(event)

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        """Ask for the slice under the pressed pointer."""
        self._choose(event)

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Ask for the next slice to the left or right, or the most unusual one."""
        if event is None or self._shown is None or not len(self._profile):
            return
        steps = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1}
        if event.key() == Qt.Key.Key_Home:
            self._go_to(int(np.argmax(self._profile)))
        elif event.key() in steps:
            place = self._place(self._shown) + steps[event.key()]
            self._go_to(self._place(min(max(place, 0), len(self._profile) - 1)))
        else:
            super().keyPressEvent(event)

    def _go_to(self, index: int) -> None:
        """Ask for a slice, and count from it at once: the viewer tells only when scrolling has come to rest."""
        self.set_shown(index)
        self.slice_chosen.emit(index)

    def _choose(self, event: QMouseEvent | None) -> None:
        if event is not None and event.buttons() & Qt.MouseButton.LeftButton:
            index = self.slice_at(event.position().x())
            if index is not None and index != self._shown:
                self._go_to(index)

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw the bars, the threshold and the slice in view."""
        n = len(self._profile)
        painter = QPainter(self)
        painter.fillRect(self.rect(), _GROUND)
        if n:
            self._paint(painter, n)
        painter.end()

    def _paint(self, painter: QPainter, n: int) -> None:
        width = (self.width() - 2 * _MARGIN_PX) / n
        height = self.height() - 2 * _MARGIN_PX
        top = max(float(self._profile.max()), self._threshold * 1.25, 1.0)
        bars, blanks = [], []
        for i, value in enumerate(self._profile):
            left = _MARGIN_PX + self._place(i) * width
            bar = height * float(value) / top
            if self._scored[i]:
                bars.append(QRectF(left, _MARGIN_PX + height - bar, max(width - 0.5, 1.0), bar))
            else:
                blanks.append(QRectF(left, _MARGIN_PX, width, height))
        painter.setPen(Qt.PenStyle.NoPen)
        for rectangles, colour in ((bars, _BAR), (blanks, _UNSCORED)):
            painter.setBrush(colour)
            painter.drawRects(rectangles)
        level = _MARGIN_PX + height * (1 - self._threshold / top)
        painter.setPen(QPen(_THRESHOLD, 1))
        painter.drawLine(QPointF(0, level), QPointF(self.width(), level))
        if self._shown is not None:
            painter.setPen(QPen(_HERE, 2))
            x = _MARGIN_PX + (self._place(self._shown) + 0.5) * width
            painter.drawLine(QPointF(x, 0), QPointF(x, self.height()))
        if self.hasFocus():
            painter.setPen(QPen(_HERE, 1))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRect(QRectF(0.5, 0.5, self.width() - 1, self.height() - 1))


class CurvePlot(QWidget):
    """Curves of a fit, one for each figure, on a common scale of which no number is shown: it has no natural zero."""

    def __init__(self) -> None:
        super().__init__()
        self._curves: dict[str, list[float]] = {}
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QSize:
        """Return a strip."""
        return QSize(200, 80)

    def show_curves(self, curves: Mapping[str, Sequence[float]]) -> None:
        """Show curves by name; values that are not finite are left out."""
        finite = {name: [v for v in values if np.isfinite(v)] for name, values in curves.items()}
        self._curves = {name: values for name, values in finite.items() if values}
        self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw the curves with their names and where they go."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.fillRect(self.rect(), _GROUND)
        text_height = painter.fontMetrics().height()
        everything = [value for values in self._curves.values() for value in values]
        if everything:
            low, high = min(everything), max(everything)
            x_text = 4
            for (name, values), colour in zip(self._curves.items(), _CURVES * 4, strict=False):
                painter.setPen(QPen(colour, 1.5))
                polygon = self._polygon(values, low, (high - low) or 1.0, text_height)
                painter.drawPolyline(polygon)
                if len(values) == 1:
                    painter.setPen(QPen(colour, _POINT_PX, Qt.PenStyle.SolidLine, Qt.PenCapStyle.RoundCap))
                    painter.drawPoints(polygon)
                    painter.setPen(colour)
                label = f"{name} {trend_in_words(values)}"
                painter.drawText(x_text, painter.fontMetrics().ascent() + 1, label)
                x_text += painter.fontMetrics().horizontalAdvance(label) + 12
        painter.end()

    def _polygon(self, values: Sequence[float], low: float, span: float, top_px: int) -> QPolygonF:
        width = self.width() - 2 * _MARGIN_PX
        height = self.height() - top_px - 2 * _MARGIN_PX
        step = width / max(len(values) - 1, 1)
        return QPolygonF(
            [
                QPointF(_MARGIN_PX + i * step, top_px + _MARGIN_PX + height * (1 - (value - low) / span))
                for i, value in enumerate(values)
            ]
        )
