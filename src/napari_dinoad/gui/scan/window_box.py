"""The box that sets window and level of a scan, and says which window it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtWidgets import QComboBox

from napari_dinoad.gui.viewer.ct_windows import AUTOMATIC, apply_window, windows_of
from napari_dinoad.gui.viewer.grey_limits import display_range
from napari_dinoad.gui.viewer.layers import same_layer

if TYPE_CHECKING:
    from napari.layers import Layer

__all__ = ["WindowBox"]

_BY_HAND = "Set by hand"


class WindowBox(QComboBox):
    """Names the grey limits that a layer has, by whomever they were set. Hidden for scans without windows."""

    def __init__(self) -> None:
        super().__init__()
        self._layer: Layer | None = None
        self._limits: dict[str, tuple[float, float]] = {}
        self.setToolTip("Window and level: those of the scan's header, and the usual ones for CT.")
        self.setAccessibleName("Window")
        self.setPlaceholderText(_BY_HAND)
        self.textActivated.connect(self._on_chosen)
        self.hide()

    def follow(self, layer: Layer | None) -> None:
        """Offer the windows of a layer, or nothing."""
        named = self.currentText() if same_layer(layer, self._layer) else ""
        if not same_layer(layer, self._layer):
            if self._layer is not None:
                self._layer.events.contrast_limits.disconnect(self._show)
            if layer is not None:
                layer.events.contrast_limits.connect(self._show)
            self._layer = layer
        self._limits = {} if layer is None else windows_of(layer)
        if layer is not None and self._limits:
            self._limits = {AUTOMATIC: display_range(np.asarray(layer.data)), **self._limits}
        self.clear()
        self.addItems(list(self._limits))
        self.setCurrentIndex(self.findText(named))
        self.setVisible(bool(self._limits))
        self._show()

    def _on_chosen(self, name: str) -> None:
        if self._layer is not None:
            apply_window(self._layer, name)
            self._show()

    def _show(self, event: object = None) -> None:
        """Name the limits; where two windows are the same, the one that was named before stays."""
        if self._layer is None or not self._limits:
            return
        limits = self._layer.contrast_limits
        alike = [name for name, window in self._limits.items() if np.allclose(window, limits)]
        if self.currentText() not in alike:
            self.setCurrentIndex(self.findText(alike[0]) if alike else -1)
