"""The false-positive-rate slider: logarithmic, from 10 % to 0.01 %."""

from __future__ import annotations

import math

from qtpy.QtCore import QEvent, QSize, Qt, Signal
from qtpy.QtGui import QFontMetrics, QKeyEvent, QPainter, QPaintEvent
from qtpy.QtWidgets import QGridLayout, QLabel, QWidget
from superqt import QDoubleSlider

from napari_dinoad.gui.parts.parts import take_letter_size
from napari_dinoad.maps.finding_words import rate_in_words

__all__ = ["RateSlider"]

_LOOSEST = 0.1
_STRICTEST = 0.0001
_MARKS = (0.1, 0.01, 0.001, 0.0001)


class _Scale(QWidget):
    """The marks under the slider, each below its place."""

    def __init__(self, margin_px: int) -> None:
        super().__init__()
        self._margin_px = margin_px

    def sizeHint(self) -> QSize:
        return QSize(120, QFontMetrics(self.font()).height())

    def changeEvent(self, event: QEvent | None) -> None:
        super().changeEvent(event)
        if event is not None and event.type() == QEvent.Type.StyleChange:
            take_letter_size(self)
            self.updateGeometry()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        painter = QPainter(self)
        colour = self.palette().windowText().color()
        colour.setAlpha(170)
        painter.setPen(colour)
        metrics = painter.fontMetrics()
        span = self.width() - 2 * self._margin_px
        for mark in _MARKS:
            text = rate_in_words(mark)
            width = metrics.horizontalAdvance(text)
            centre = self._margin_px + span * _position(mark)
            left = min(max(centre - width / 2, 0), self.width() - width)
            painter.drawText(int(left), metrics.ascent(), text)
        painter.end()


def _position(rate: float) -> float:
    """Return where a rate lies on the slider, 0 to 1."""
    return math.log(rate / _LOOSEST) / math.log(_STRICTEST / _LOOSEST)


class _KeyboardSlider(QDoubleSlider):
    """superqt's slider, which follows the mouse only, with the keys that every slider knows."""

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        if event is None:
            return
        keys = Qt.Key
        single, page = self.singleStep(), self.pageStep()
        steps = {keys.Key_Left: -single, keys.Key_Down: -single, keys.Key_Right: single, keys.Key_Up: single}
        steps |= {keys.Key_PageDown: -page, keys.Key_PageUp: page}
        if event.key() in (keys.Key_Home, keys.Key_End):
            self.setValue(self.minimum() if event.key() == keys.Key_Home else self.maximum())
        elif event.key() in steps:
            self.setValue(min(max(self.value() + steps[event.key()], self.minimum()), self.maximum()))
        else:
            super().keyPressEvent(event)


class RateSlider(QWidget):
    """Chooses a false-positive rate; emits `rate_changed` while it is dragged."""

    rate_changed = Signal(float)

    def __init__(self, rate: float = 0.01) -> None:
        super().__init__()
        self.slider = _KeyboardSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(-math.log10(_LOOSEST), -math.log10(_STRICTEST))
        self.slider.setSingleStep(0.05)
        self.slider.setPageStep(0.5)
        self.slider.setAccessibleName("False-positive rate")
        self.value_label = QLabel()
        self.value_label.setAlignment(Qt.AlignmentFlag.AlignRight)
        self.setToolTip(
            "Share of normal voxels that the mask may mark by mistake. "
            "To the right: stricter, fewer and surer regions. "
            "The rate is measured on normal scans that the model had not seen."
        )
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setVerticalSpacing(0)
        grid.addWidget(QLabel("False-positive rate"), 0, 0)
        grid.addWidget(self.value_label, 0, 1)
        grid.addWidget(self.slider, 1, 0, 1, 2)
        grid.addWidget(_Scale(margin_px=8), 2, 0, 1, 2)
        self.set_rate(rate)
        self.slider.valueChanged.connect(self._on_moved)

    @property
    def rate(self) -> float:
        """The chosen rate, a share (0.01 is 1 %)."""
        return float(10.0 ** -self.slider.value())

    def set_rate(self, rate: float) -> None:
        """Choose a rate without emitting a signal; it is clipped to the slider's ends."""
        blocked = self.slider.blockSignals(True)
        self.slider.setValue(-math.log10(min(max(rate, _STRICTEST), _LOOSEST)))
        self.slider.blockSignals(blocked)
        self._show()

    def _on_moved(self) -> None:
        self._show()
        self.rate_changed.emit(self.rate)

    def _show(self) -> None:
        self.value_label.setText(rate_in_words(self.rate))
