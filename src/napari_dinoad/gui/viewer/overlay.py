"""Heatmap and mask as napari layers over the scan. Main thread only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image, Labels

from napari_dinoad.gui.viewer.layer_marks import (
    frame_of_mark,
    is_copy_over,
    is_drawn_over,
    is_overlay,
    mark_overlay,
)
from napari_dinoad.gui.viewer.layers import same_layer, title_of
from napari_dinoad.gui.viewer.lone_maps import show_map_alone
from napari_dinoad.gui.viewer.looks import heatmap_look, mask_look
from napari_dinoad.gui.viewer.viewer_parts import layers_meet, moves_of

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

    from napari_dinoad.gui.viewer.layer_scan import LayerScan

__all__ = ["Overlay", "line_up"]

_HEATMAP_NAME, _MASK_NAME = " · anomaly, −log10 p", " · mask"
"""Behind the name of the scan's layer."""


def _place_above(viewer: Viewer, layer: Layer) -> int:
    """Return the place in the list of layers above a scan and all maps and masks that lie over it.

    Layers in which a person draws may stay above: a map would hide what is painted.
    """
    place: int = viewer.layers.index(layer)
    for index, other in enumerate(viewer.layers):
        is_by_hand = is_copy_over(other, layer) or is_drawn_over(other, layer)
        if index > place and is_overlay(other) and not is_by_hand and layers_meet(other, layer):
            place = index
    return place + 1


def line_up(overlay: Layer, layer: Layer, scan: LayerScan) -> None:
    """Lay a layer of one frame's voxels over its scan's layer as that lies now."""
    for name, value in scan.overlay_arguments(layer).items():
        setattr(overlay, name, value)


class Overlay:
    """The two layers that show a map and a mask; they share memory with these where the layout allows.

    Parameters
    ----------
    viewer : Viewer
    layer : Layer
        The scan's.
    scan : LayerScan
    values, mask : numpy.ndarray, optional
        (z, y, x) float32 and uint8, shown as they are at each refresh; new empty ones when left out.
    """

    def __init__(
        self,
        viewer: Viewer,
        layer: Layer,
        scan: LayerScan,
        values: np.ndarray | None = None,
        mask: np.ndarray | None = None,
    ) -> None:
        self._viewer = viewer
        self._layer = layer
        self._scan = scan
        self._hidden: list[Layer] | None = None
        shape = scan.source.geometry.canonical_shape
        self.values = np.zeros(shape, np.float32) if values is None else values
        self.values_of_mask = np.zeros(shape, np.uint8) if mask is None else mask
        arguments = scan.overlay_arguments(layer)
        self._title = self.title
        self.heatmap = Image(
            scan.to_layer(self.values),
            name=f"{self._title}{_HEATMAP_NAME}",
            **heatmap_look(),
            **arguments,
        )
        self.mask = Labels(
            scan.to_layer(self.values_of_mask),
            name=f"{self._title}{_MASK_NAME}",
            **mask_look(),
            **arguments,
        )
        mark_overlay(self.heatmap, layer, scan, "map")
        mark_overlay(self.mask, layer, scan, "mask")
        self._lock_mask()
        # napari unlocks it with each new array.
        self.mask.events.editable.connect(self._lock_mask)
        self._follow_dimensions()
        selected = list(viewer.layers.selection)
        place = _place_above(viewer, layer)
        viewer.layers.insert(place, self.heatmap)
        viewer.layers.insert(place + 1, self.mask)
        viewer.layers.selection = set(selected)
        viewer.dims.events.ndisplay.connect(self._follow_dimensions)
        for event in moves_of(layer):
            event.connect(self._line_up)
        layer.events.name.connect(self._rename)

    @property
    def title(self) -> str:
        """What the result is of: the scan's layer, and its frame where that has several."""
        return title_of(self._layer, self._scan)

    @property
    def is_live(self) -> bool:
        """Whether the mask can follow a slider at once; in 3D whole volumes would go to the graphics card."""
        return bool(self._viewer.dims.ndisplay == 2)

    @property
    def is_whole(self) -> bool:
        """Whether both layers still are in the viewer."""
        return self.heatmap in self._viewer.layers and self.mask in self._viewer.layers

    def _follow_dimensions(self, event: object = None) -> None:
        """Draw outlines in 2D, filled regions in 3D, where napari has no outlines."""
        self.mask.contour = 1 if self.is_live else 0

    def _lock_mask(self, event: object = None) -> None:
        """Let nobody paint in the mask: it is drawn from the map, so that would be lost, and not be exported."""
        self.mask.editable = False

    def _line_up(self, event: object = None) -> None:
        for overlay in (self.heatmap, self.mask):
            line_up(overlay, self._layer, self._scan)

    def _rename(self, event: object = None) -> None:
        """Follow the name of the scan's layer, unless the user has given others."""
        before, self._title = self._title, self.title
        for layer, what in ((self.heatmap, _HEATMAP_NAME), (self.mask, _MASK_NAME)):
            if layer.name == f"{before}{what}":
                layer.name = f"{self._title}{what}"

    def holds(self, layer: Layer) -> bool:
        """Whether a layer is one of the two."""
        return same_layer(layer, self.heatmap) or same_layer(layer, self.mask)

    def show(self, is_shown: bool) -> None:
        """Hide both layers, or show again those of them that were visible."""
        if is_shown and self._hidden is not None:
            hidden, self._hidden = self._hidden, None
            for layer in hidden:
                layer.visible = True
        elif not is_shown and self._hidden is None:
            self._hidden = [layer for layer in (self.heatmap, self.mask) if layer.visible]
            for layer in self._hidden:
                layer.visible = False

    def hide_again(self) -> None:
        """Hide what a person has made visible since both layers were hidden; it is shown again with them."""
        if self._hidden is not None:
            seen = [layer for layer in (self.heatmap, self.mask) if layer.visible]
            self._hidden += [layer for layer in seen if layer not in self._hidden]
            for layer in seen:
                layer.visible = False

    def come_up(self) -> None:
        """Lay both layers above all other maps and masks that lie over the scan; visible, and the only map there.

        A mask that is hidden stays so while a copy of it is seen in its place, in which a person paints.
        """
        layers = self._viewer.layers
        place = _place_above(self._viewer, self._layer)
        own = [layers.index(layer) for layer in (self.heatmap, self.mask)]
        if own != [place - 2, place - 1]:
            layers.move_multiple(own, place)
        if self._hidden is not None:
            keeps_mask = self.mask in self._hidden or not self._has_visible_copy()
            self._hidden = [self.heatmap, self.mask] if keeps_mask else [self.heatmap]
            return
        show_map_alone(self._viewer, self.heatmap)
        self.heatmap.visible = True
        self.mask.visible = self.mask.visible or not self._has_visible_copy()

    def bring_back_map(self) -> None:
        """Show the map again, now or when both layers are shown again."""
        if self._hidden is None:
            self.heatmap.visible = True
        elif self.heatmap not in self._hidden:
            self._hidden.append(self.heatmap)

    def _has_visible_copy(self) -> bool:
        return any(
            layer.visible
            and is_copy_over(layer, self._layer)
            and frame_of_mark(layer, self._layer) == self._scan.frame
            for layer in self._viewer.layers
        )

    def refresh_map(self) -> None:
        """Show the map and the mask as they are now."""
        self._show(self.heatmap, self.values)
        self.refresh_mask()

    def refresh_mask(self) -> None:
        """Show the mask as it is now."""
        self._show(self.mask, self.values_of_mask)

    def _show(self, layer: Layer, canonical: np.ndarray) -> None:
        if np.shares_memory(layer.data, canonical):
            layer.refresh(extent=False, thumbnail=False, highlight=False)
        else:
            layer.data = self._scan.to_layer(canonical)

    def release(self) -> tuple[Layer, Layer]:
        """Follow the scan and the viewer no more; return the two layers, to be taken out of the viewer."""
        self._viewer.dims.events.ndisplay.disconnect(self._follow_dimensions)
        for event in moves_of(self._layer):
            event.disconnect(self._line_up)
        self._layer.events.name.disconnect(self._rename)
        return self.heatmap, self.mask

    def remove(self) -> None:
        """Take both layers out of the viewer, where they still are."""
        for layer in self.release():
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)
