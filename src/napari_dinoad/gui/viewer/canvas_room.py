"""A scan keeps its place on the canvas when docks take room from it, or give it back."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer

from napari_dinoad.gui.viewer.framing import bring_into_view, fills_canvas, fit_to_canvas, is_seen_whole

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer
    from qtpy.QtWidgets import QWidget

__all__ = ["CanvasRoom"]

_CHANGED_MS = 50
"""So long after a dock has come or gone the canvas has its new size."""


class CanvasRoom(QObject):
    """Fits a scan to the canvas again that was fitted to it before; one that was seen whole still is.

    Parameters
    ----------
    viewer : Viewer
    parent : QObject
    """

    def __init__(self, viewer: Viewer, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._layer: Layer | None = None
        self._was_filled = False
        self._window: weakref.ref[QWidget] | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_CHANGED_MS)
        self._timer.timeout.connect(self._frame)

    def keep(self, layer: Layer | None, window: QWidget | None) -> None:
        """Take note of how a scan's layer is seen, before a dock comes or goes in a viewer's window."""
        if layer is None or window is None or layer not in self._viewer.layers or self._timer.isActive():
            return
        if is_seen_whole(self._viewer, layer):
            self._layer, self._window = layer, weakref.ref(window)
            self._was_filled = fills_canvas(self._viewer, layer)
            self._timer.start()

    def _frame(self) -> None:
        layer, self._layer = self._layer, None
        window = None if self._window is None else self._window()
        if layer is None or layer not in self._viewer.layers or not _is_shown(window):
            return
        if self._was_filled:
            fit_to_canvas(self._viewer, layer)
        else:
            bring_into_view(self._viewer, layer, None)


def _is_shown(window: QWidget | None) -> bool:
    """Whether a window is on screen; a viewer that is closed meanwhile has no camera to move."""
    try:
        return window is not None and window.isVisible()
    except RuntimeError:
        # Qt has deleted it.
        return False
