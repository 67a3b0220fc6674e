"""Orientation letters at the edges of the canvas: R, L, A, P, S, I, as on every radiologist's screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_dinoad.gui.canvas_text import show_text
from napari_dinoad.gui.layers import METADATA_KEY, ScanSource
from napari_dinoad.gui.viewer_parts import camera_of

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

__all__ = ["OrientationLetters", "letters_at_edges"]

_TOWARDS = (("S", "I"), ("A", "P"), ("R", "L"))
"""For the canonical axes z, y, x: where napari's world begins and where it ends (it is the negated RAS frame)."""

_PLACES = ("top_center", "bottom_center", "middle_left", "middle_right")

_FONT_SIZE = 14


def letters_at_edges(viewer: Viewer, layer: Layer | None) -> tuple[str, str, str, str] | None:
    """Return the letters at the top, bottom, left and right edge, or None where they are not known.

    They are known for scans that the plugin read with their geometry, in 2D.
    """
    source = None if layer is None else layer.metadata.get(METADATA_KEY)
    if not isinstance(source, ScanSource) or not source.geometry.is_physical or viewer.dims.ndisplay != 2:
        return None
    spatial = [axis for axis in range(3) if axis != source.dropped_axis]
    first = viewer.dims.ndim - len(spatial)
    shown = [axis - first for axis in viewer.dims.displayed]
    if min(shown) < 0:
        return None
    rows, columns = (_TOWARDS[spatial[axis]] for axis in shown)
    vertical, horizontal = getattr(camera_of(viewer), "orientation2d", ("down", "right"))
    top, bottom = rows if vertical == "down" else rows[::-1]
    left, right = columns if horizontal == "right" else columns[::-1]
    return top, bottom, left, right


class OrientationLetters:
    """Keeps the letters on the canvas right."""

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self._layer: Layer | None = None
        viewer.dims.events.order.connect(self._show)
        viewer.dims.events.ndisplay.connect(self._show)

    def follow(self, layer: Layer | None) -> None:
        """Show the letters for a scan's layer, or none."""
        self._layer = layer
        self._show()

    def _show(self, event: object = None) -> None:
        letters = letters_at_edges(self._viewer, self._layer)
        for place, letter in zip(_PLACES, letters or ("",) * len(_PLACES), strict=True):
            show_text(self._viewer, f"dinoad_{place}", place, letter, _FONT_SIZE)
