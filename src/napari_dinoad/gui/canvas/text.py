"""Text on the canvas (since napari 0.9, which lets a canvas have more overlays)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_dinoad.gui.viewer.viewer_parts import grid_of

if TYPE_CHECKING:
    from napari.components.overlays import TextOverlay
    from napari.viewer import Viewer

__all__ = ["CanvasText"]

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
    in_each_cell : bool
        In napari's grid of layers, whether each cell has the text; else it is not shown there.
    """

    def __init__(
        self, viewer: Viewer, key: str, place: str, font_size: float, *, in_each_cell: bool = False
    ) -> None:
        self._text = ""
        self._is_on = True
        self._in_each_cell = in_each_cell
        self._grid = grid_of(viewer)
        self._key = key
        self._overlay: TextOverlay | None = None
        self._overlays = overlays = getattr(getattr(viewer, "canvas", None), "overlays", None)
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
            gridded=in_each_cell,
        )
        overlays[key] = self._overlay
        self._grid.events.enabled.connect(self._draw)

    def show(self, text: str) -> None:
        """Show a text in place of what was shown; an empty one shows nothing."""
        self._text = text
        self._draw()

    def set_on(self, is_on: bool) -> None:
        """Let it be seen, or keep it out of sight whatever it is to show."""
        self._is_on = is_on
        self._draw()

    def _draw(self, event: object = None) -> None:
        if self._overlay is not None:
            has_place = self._in_each_cell or not self._grid.enabled
            self._overlay.text = self._text
            self._set_visible(self._is_on and has_place and bool(self._text))

    def _set_visible(self, is_visible: bool) -> None:
        """Show or hide it; one that appears in the grid is put on the canvas anew, for the cells that there are now.

        napari gives a hidden overlay no cells, and fails when that appears among others than it had before.
        """
        overlays, overlay = self._overlays, self._overlay
        if overlays is None or overlay is None:
            return
        is_anew = is_visible and not overlay.visible and self._grid.enabled
        if is_anew:
            del overlays[self._key]
        overlay.visible = is_visible
        if is_anew:
            overlays[self._key] = overlay
