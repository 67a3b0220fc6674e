"""Shows where the keyboard is: napari's themes draw buttons, boxes and sliders the same with it and without."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, QPoint, QRect, Qt
from qtpy.QtGui import QPainter, QPen
from qtpy.QtWidgets import QApplication, QWidget

if TYPE_CHECKING:
    from qtpy.QtGui import QPaintEvent

__all__ = ["FocusRing"]

_LINE_PX = 2

_FOLLOWED = (QEvent.Type.Move, QEvent.Type.Resize)


class FocusRing(QWidget):
    """A line around the widget that has the focus, once the focus was moved by keys; a click shows none.

    Parameters
    ----------
    parent : QWidget
        Widgets in it get the line.
    """

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._followed: list[QWidget] = []  # the widget, and what it lies in
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.hide()
        application = QApplication.instance()
        if isinstance(application, QApplication):
            application.focusChanged.connect(self.follow)

    def follow(self, before: QWidget | None, now: QWidget | None) -> None:
        """Go to the widget that has the focus now, or away."""
        self._leave()
        root = self.parentWidget()
        if now is None or root is None or not root.isAncestorOf(now) or not _by_keys(now):
            return
        widget: QWidget | None = now
        while widget is not None and widget is not root:
            self._followed.append(widget)
            widget.installEventFilter(self)
            widget = widget.parentWidget()
        self._lay_around(now)
        self.raise_()
        self.show()

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Go where the widget goes, by itself or with what it lies in."""
        if event is not None and self._followed:
            if event.type() in _FOLLOWED:
                self._lay_around(self._followed[0])
            elif event.type() == QEvent.Type.Hide or (
                event.type() == QEvent.Type.FocusOut and watched is self._followed[0]
            ):
                self._leave()
        return False

    def _leave(self) -> None:
        for widget in self._followed:
            widget.removeEventFilter(self)
        self._followed.clear()
        self.hide()

    def _lay_around(self, widget: QWidget) -> None:
        corner = widget.mapTo(self.parentWidget(), QPoint())
        self.setGeometry(QRect(corner, widget.size()).adjusted(-_LINE_PX, -_LINE_PX, _LINE_PX, _LINE_PX))

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw the line in the colour of the text, which stands out in every theme."""
        painter = QPainter(self)
        painter.setPen(QPen(self.palette().windowText().color(), _LINE_PX))
        inset = _LINE_PX // 2
        painter.drawRect(self.rect().adjusted(inset, inset, -inset, -inset))
        painter.end()


def _by_keys(widget: QWidget) -> bool:
    """Whether the focus came by Tab or a shortcut, not by a click."""
    return bool(widget.window().testAttribute(Qt.WidgetAttribute.WA_KeyboardFocusChange))
