"""Layers that a result will fill, added before it is asked for: napari takes a while to add a layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from napari_dinoad.errors import DinoadError
from napari_dinoad.gui.viewer.layer_marks import overlays_of
from napari_dinoad.gui.viewer.layers import same_layer, scan_of_layer
from napari_dinoad.gui.viewer.overlay import Overlay

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

    from napari_dinoad.gui.viewer.layer_scan import LayerScan

__all__ = ["ReadyLayers"]


class _Ready(NamedTuple):
    layer: Layer
    scan: LayerScan
    overlay: Overlay


class ReadyLayers:
    """The empty heatmap and mask of one scan at most."""

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self._ready: _Ready | None = None

    def add(self, layer: Layer) -> None:
        """Add them for a layer's scan; nothing happens where there are any, or it has heatmap and mask already."""
        if self._ready is not None or overlays_of(self._viewer, layer):
            return
        try:
            scan = scan_of_layer(layer, self._viewer.dims.point)
        except DinoadError:
            return
        self._ready = _Ready(layer, scan, Overlay(self._viewer, layer, scan))

    def remove(self) -> None:
        """Take them away again, where nothing came of it."""
        ready, self._ready = self._ready, None
        if ready is not None:
            ready.overlay.remove()

    def take(self, layer: Layer, scan: LayerScan, shape: tuple[int, ...]) -> Overlay | None:
        """Hand over those for this scan, of this shape (z, y, x), if they are there; others are taken away."""
        ready = self._ready
        if ready is not None and same_layer(ready.layer, layer) and ready.scan.frame == scan.frame:
            overlay = ready.overlay
            if overlay.values.shape == shape and overlay.is_whole:
                self._ready = None
                return overlay
        self.remove()
        return None

    def release_with(self, layer: Layer) -> tuple[Layer, ...]:
        """Return those that are left of them, to be taken away, where a layer is gone that they rest on."""
        ready = self._ready
        if ready is None or not (same_layer(layer, ready.layer) or ready.overlay.holds(layer)):
            return ()
        self._ready = None
        return tuple(ready.overlay.release())
