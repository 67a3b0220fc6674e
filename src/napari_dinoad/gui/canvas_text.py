"""Text on the canvas (since napari 0.9, which lets a canvas have more overlays)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.layers import Image

from napari_dinoad.gui.overlay import is_overlay

if TYPE_CHECKING:
    from napari.components.overlays import TextOverlay
    from napari.utils.events import Event
    from napari.viewer import Viewer

__all__ = ["CanvasText", "ColourBarTitle"]

_TITLE = "−log10 p"

_TITLE_SIZE = 10

_COLOUR = (1.0, 1.0, 1.0, 1.0)

_BOX_COLOUR = (0.0, 0.0, 0.0, 0.6)
"""Behind each text, which then stands out from black and from white, whatever theme and scan are."""


class CanvasText:
    """A text at a place of the canvas. A later one with the same key takes its place for good.

    Parameters
    ----------
    viewer : Viewer
    key : str
        Names the text among the canvas's overlays.
    place : str
        One of napari's canvas positions, ``"top_right"`` for instance.
    font_size : float
    """

    def __init__(self, viewer: Viewer, key: str, place: str, font_size: float) -> None:
        self._text = ""
        self._is_on = True
        self._overlay: TextOverlay | None = None
        overlays = getattr(getattr(viewer, "canvas", None), "overlays", None)
        if overlays is None:
            return
        from napari.components.overlays import TextOverlay

        self._overlay = TextOverlay(
            position=place,
            font_size=font_size,
            color=_COLOUR,
            box=True,
            box_color=_BOX_COLOUR,
            visible=False,
        )
        overlays[key] = self._overlay

    def show(self, text: str) -> None:
        """Show a text in place of what was shown; an empty one shows nothing."""
        self._text = text
        self._draw()

    def set_on(self, is_on: bool) -> None:
        """Let it be seen, or keep it out of sight whatever it is to show."""
        self._is_on = is_on
        self._draw()

    def _draw(self) -> None:
        if self._overlay is not None:
            self._overlay.text = self._text
            self._overlay.visible = self._is_on and bool(self._text)


class ColourBarTitle:
    """Says beside the colour bar of the heatmap what it shows; napari's own bars have no title."""

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self.text = CanvasText(viewer, "dinoad_colour_bar", "top_right", _TITLE_SIZE)
        viewer.layers.events.inserted.connect(self._on_inserted)
        viewer.layers.events.removed.connect(self._show)
        for heatmap in self._heatmaps():
            heatmap.events.visible.connect(self._show)
        self._show()

    def _heatmaps(self) -> list[Image]:
        return [layer for layer in self._viewer.layers if is_overlay(layer) and isinstance(layer, Image)]

    def _on_inserted(self, event: Event) -> None:
        if event.value in self._heatmaps():
            event.value.events.visible.connect(self._show)
        self._show()

    def _show(self, event: object = None) -> None:
        is_seen = any(heatmap.visible for heatmap in self._heatmaps())
        self.text.show(_TITLE if is_seen else "")
