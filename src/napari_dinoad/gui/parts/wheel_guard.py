"""Keeps the wheel from changing what it passes over while a column of parts is scrolled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import QAbstractSlider, QAbstractSpinBox, QComboBox, QScrollBar

if TYPE_CHECKING:
    from qtpy.QtCore import QEvent
    from qtpy.QtWidgets import QAbstractScrollArea, QWidget

__all__ = ["WheelGuard"]

_CHANGED_BY_WHEEL = (QComboBox, QAbstractSpinBox, QAbstractSlider)
"""A turn of the wheel would choose another scan or model here without a click."""


class WheelGuard(QObject):
    """Scrolls an area by the wheel where that passes over boxes, fields and sliders; lists and bars keep it.

    Parameters
    ----------
    area : QAbstractScrollArea
    """

    def __init__(self, area: QAbstractScrollArea) -> None:
        super().__init__(area)
        self._area = area

    def guard(self, widget: QWidget) -> None:
        """Guard what lies in a widget by now."""
        for kind in _CHANGED_BY_WHEEL:
            for part in widget.findChildren(kind):
                if not isinstance(part, QScrollBar):
                    # A filter that is there already stays one.
                    part.installEventFilter(self)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Take the wheel from them."""
        if isinstance(event, QWheelEvent):
            self._area.wheelEvent(event)
            return True
        return False
