"""A scan that is seen whole still is when its canvas has become larger or smaller."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer

from napari_dinoad.gui.canvas.framing import (
    bring_into_view,
    canvas_size,
    fills_canvas,
    fit_to_canvas,
    is_seen_whole,
)
from napari_dinoad.gui.viewer.layers import same_layer

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Layer
    from napari.viewer import Viewer
    from qtpy.QtWidgets import QWidget

__all__ = ["CanvasRoom"]

_CHANGED_MS = 50
"""A canvas that has not changed its size for so long has its new one."""


class CanvasRoom(QObject):
    """Follows the size of the canvas: docks that come, go or float change it, and so does the window.

    A scan that filled the canvas does so again; one that was seen whole, but smaller, is still seen. Of a place that
    is looked at closely nothing changes.

    Parameters
    ----------
    viewer : Viewer
    chosen : callable
        Returns the layer that is chosen as scan, or None.
    dock : QWidget
        The plugin's.
    """

    def __init__(self, viewer: Viewer, chosen: Callable[[], Layer | None], dock: QWidget) -> None:
        super().__init__(dock)
        self._viewer = viewer
        self._chosen = chosen
        self._dock = weakref.ref(dock)
        self._window: weakref.ref[QWidget] | None = None
        self._size_px = canvas_size(viewer)
        self._layer: Layer | None = None
        self._was_whole = self._was_filled = False
        self._is_on = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_CHANGED_MS)
        self._timer.timeout.connect(self._frame)
        self.set_on(True)

    def set_on(self, is_on: bool) -> None:
        """Follow the canvas, or no longer; the room that the dock itself leaves is still taken."""
        if self._size_px is None or is_on == self._is_on:
            return
        self._is_on = is_on
        resized = self._viewer.canvas.events.size
        if is_on:
            self._size_px = canvas_size(self._viewer)
            resized.connect(self._on_resized)
        else:
            resized.disconnect(self._on_resized)
            self._take_note()

    def _on_resized(self, event: object = None) -> None:
        self._take_note()
        self._size_px = canvas_size(self._viewer)

    def _take_note(self) -> None:
        """Note how the scan is seen on the canvas as it was, once of a scan for changes that come together."""
        dock = self._dock()
        if dock is not None and dock.parent() is not None:
            self._window = weakref.ref(_outermost(dock))
        layer = self._chosen()
        if layer is None or layer not in self._viewer.layers:
            return
        if not same_layer(layer, self._layer):
            self._layer = layer
            self._was_whole = is_seen_whole(self._viewer, layer, self._size_px)
            self._was_filled = fills_canvas(self._viewer, layer, self._size_px)
        self._timer.start()

    def _frame(self) -> None:
        layer, self._layer = self._layer, None
        window = None if self._window is None else self._window()
        if layer is None or layer not in self._viewer.layers or not _is_shown(window):
            return
        if not same_layer(layer, self._chosen()):
            # Another one was chosen meanwhile, and brought into view.
            return
        if self._was_filled:
            fit_to_canvas(self._viewer, layer)
        elif self._was_whole:
            bring_into_view(self._viewer, layer, None)


def _outermost(widget: QWidget) -> QWidget:
    """Return the window that a widget belongs to, also from within a dock that floats."""
    parent = widget.parentWidget()
    return widget if parent is None else _outermost(parent)


def _is_shown(window: QWidget | None) -> bool:
    """Whether a window is on screen; a viewer that is closed meanwhile has no camera to move."""
    try:
        return window is not None and window.isVisible()
    except RuntimeError:
        # Qt has deleted it.
        return False
