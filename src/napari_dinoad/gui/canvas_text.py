"""Text on the canvas (since napari 0.9, which lets a canvas have more overlays)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.layers import Image

from napari_dinoad.gui.overlay import is_overlay

if TYPE_CHECKING:
    from napari.viewer import Viewer

__all__ = ["ColourBarTitle", "show_text"]

_TITLE = "−log10 p"

_TITLE_SIZE = 10


def show_text(viewer: Viewer, key: str, place: str, text: str, font_size: float) -> None:
    """Show a text at a place of the canvas in place of what ``key`` showed there; an empty one takes it away.

    Parameters
    ----------
    viewer : Viewer
    key : str
        Names the text among the canvas's overlays.
    place : str
        One of napari's canvas positions, ``"top_right"`` for instance.
    text : str
    font_size : float
    """
    overlays = getattr(getattr(viewer, "canvas", None), "overlays", None)
    if overlays is None:
        return
    if key in overlays:
        overlays[key].text = text
        overlays[key].visible = bool(text)
    elif text:
        from napari.components.overlays import TextOverlay

        # A box behind each text costs a redraw half as much again without a graphics card.
        overlays[key] = TextOverlay(text=text, position=place, font_size=font_size, visible=True, box=False)


class ColourBarTitle:
    """Says beside the colour bar of the heatmap what it shows; napari's own bars have no title."""

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        for event in (viewer.layers.events.inserted, viewer.layers.events.removed):
            event.connect(self._show)

    def _show(self, event: object = None) -> None:
        has_heatmap = any(is_overlay(layer) and isinstance(layer, Image) for layer in self._viewer.layers)
        text = _TITLE if has_heatmap else ""
        show_text(self._viewer, "dinoad_colour_bar", "top_right", text, _TITLE_SIZE)
