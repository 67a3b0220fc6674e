"""The one colour bar on the canvas: that of the heatmap which lies uppermost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.layers import Image

from napari_dinoad.gui.canvas.framing import canvas_size
from napari_dinoad.gui.canvas.text import CanvasText
from napari_dinoad.gui.viewer.layer_marks import holding_of_layer, is_overlay
from napari_dinoad.gui.viewer.layers import same_layer
from napari_dinoad.gui.viewer.viewer_parts import set_colour_bar

if TYPE_CHECKING:
    from napari.utils.events import Event
    from napari.viewer import Viewer

__all__ = ["ColourBar"]

_TITLE = "how rare\n(−log10 p)"

_TITLE_SIZE = 10

_TITLE_FROM_PX = 400
"""On a narrower canvas bar and title would reach the letter in the middle of the upper edge."""


class ColourBar:
    """Gives the colour bar to the uppermost visible layer of the plugin, and says beside it what it shows.

    Bars of several layers would stand side by side, and nothing says which is whose; napari's own have no title.
    Where a user shows or hides a bar by hand that stays so until another layer is the uppermost.
    """

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self._of: Image | None = None
        self.text = CanvasText(viewer, "dinoad_colour_bar", "top_right", _TITLE_SIZE)
        events = viewer.layers.events
        events.inserted.connect(self._on_inserted)
        events.removed.connect(self._show)
        events.reordered.connect(self._show)
        if canvas_size(viewer) is not None:
            viewer.canvas.events.size.connect(self._show_title)
        for layer in self._coloured():
            layer.events.visible.connect(self._show)
            set_colour_bar(layer, False)
        self._show()

    def _coloured(self) -> list[Image]:
        return [layer for layer in self._viewer.layers if is_overlay(layer) and isinstance(layer, Image)]

    def _on_inserted(self, event: Event) -> None:
        if event.value in self._coloured():
            event.value.events.visible.connect(self._show)
            set_colour_bar(event.value, False)
        self._show()

    def _show(self, event: object = None) -> None:
        seen = [layer for layer in self._coloured() if layer.visible]
        uppermost = seen[-1] if seen else None
        if not same_layer(uppermost, self._of):
            if self._of is not None:
                set_colour_bar(self._of, False)
            if uppermost is not None:
                set_colour_bar(uppermost, True)
            self._of = uppermost
        self._show_title()

    def _show_title(self, event: object = None) -> None:
        is_map = self._of is not None and holding_of_layer(self._of.metadata) == "map"
        size_px = canvas_size(self._viewer)
        has_room = size_px is not None and size_px[1] >= _TITLE_FROM_PX
        self.text.show(_TITLE if is_map and has_room else "")
