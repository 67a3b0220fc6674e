"""Taking layers out of the viewer once it has finished with taking out others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

__all__ = ["LayerRemoval"]


class LayerRemoval(QObject):
    """Removes layers a moment later: napari fails when one goes while it is removing those that are selected."""

    def __init__(self, viewer: Viewer, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._waiting: list[Layer] = []
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._remove)

    def add(self, *layers: Layer) -> None:
        """Remove these layers soon, where they still are in the viewer then."""
        if layers:
            self._waiting += layers
            self._timer.start()

    def _remove(self) -> None:
        try:
            while self._waiting:
                layer = self._waiting.pop(0)
                if layer in self._viewer.layers:
                    self._viewer.layers.remove(layer)
        finally:
            # Where somebody fails who hears of one, the others go all the same.
            if self._waiting:
                self._timer.start()
