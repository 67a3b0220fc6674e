"""Orientation letters at the edges of the canvas: R, L, A, P, S, I, as on every radiologist's screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_dinoad.gui.canvas.text import CanvasText
from napari_dinoad.gui.viewer.layer_scan import METADATA_KEY, ScanSource
from napari_dinoad.gui.viewer.layers import same_layer
from napari_dinoad.gui.viewer.viewer_parts import camera_of, grid_of

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

__all__ = ["OrientationLetters", "letters_at_edges"]

_ENDS = (("I", "S"), ("P", "A"), ("L", "R"))
"""For the canonical axes z, y, x: where their indices begin, and where they grow towards."""

_PLACES = ("top_center", "bottom_center", "middle_left", "middle_right")

_FONT_SIZE = 14

_LAYER_EVENTS = ("affine", "scale", "rotate", "shear", "data")
"""What turns a layer round, or makes other axes of it."""

_FLAT = 1e-9
"""Two axes whose directions span less than this share of a square are drawn as one line."""


def letters_at_edges(viewer: Viewer, layer: Layer | None) -> tuple[str, str, str, str] | None:
    """Return the letters at the top, bottom, left and right edge, or None where they are not known.

    They are known for scans that the plugin read with their geometry, in 2D. They follow the camera and what was done
    to the layer since: where it is turned, each edge has the letter of the axis that runs most nearly towards it.
    """
    if layer is None or viewer.dims.ndisplay != 2:
        return None
    canonical = _canonical_axes(layer)
    shown = [axis - (viewer.dims.ndim - layer.ndim) for axis in viewer.dims.displayed]
    across = _axes_across_screen(layer, shown) if all(axis in canonical for axis in shown) else None
    if across is None:
        return None
    (top, bottom), (left, right) = (_ENDS[canonical[axis]][::step] for axis, step in across)
    vertical, horizontal = getattr(camera_of(viewer), "orientation2d", ("down", "right"))
    if vertical != "down":
        top, bottom = bottom, top
    if horizontal != "right":
        left, right = right, left
    return top, bottom, left, right


def _canonical_axes(layer: Layer) -> dict[int, int]:
    """Return the canonical axis of each spatial axis of a layer; empty where its orientation is not known."""
    source = layer.metadata.get(METADATA_KEY)
    if not isinstance(source, ScanSource) or not source.geometry.is_physical:
        return {}
    spatial = [axis for axis in range(3) if axis != source.dropped_axis]
    first = layer.ndim - len(spatial)
    shape = layer.data.shape[: layer.ndim]
    if list(shape[first:]) != [source.geometry.canonical_shape[axis] for axis in spatial]:
        return {}
    return dict(enumerate(spatial, start=first))


def _axes_across_screen(layer: Layer, shown: list[int]) -> list[tuple[int, int]] | None:
    """Return which shown axis runs down the screen and which to the right, each with 1, or −1 if backwards.

    Only the displayed axes count, as napari draws a slice with this part of the layer's transforms alone. None where
    they are drawn as one line.
    """
    drawn = np.empty((2, 2))
    origin = np.asarray(layer.data_to_world(np.zeros(layer.ndim)), dtype=float)
    for column, axis in enumerate(shown):
        step = np.zeros(layer.ndim)
        step[axis] = 1.0
        drawn[:, column] = (np.asarray(layer.data_to_world(step), dtype=float) - origin)[shown]
    drawn /= np.maximum(np.linalg.norm(drawn, axis=0), np.finfo(float).tiny)
    if abs(np.linalg.det(drawn)) < _FLAT:
        return None
    is_crossed = abs(drawn[0, 1]) + abs(drawn[1, 0]) > abs(drawn[0, 0]) + abs(drawn[1, 1])
    columns = (1, 0) if is_crossed else (0, 1)
    return [(shown[column], 1 if drawn[row, column] > 0 else -1) for row, column in enumerate(columns)]


class OrientationLetters:
    """Keeps the letters on the canvas right, and takes them away where they cannot be."""

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self._layer: Layer | None = None
        self._n_layers = len(viewer.layers)
        self.texts = tuple(
            CanvasText(viewer, f"dinoad_{place}", place, _FONT_SIZE, in_each_cell=True) for place in _PLACES
        )
        dims, camera = viewer.dims.events, camera_of(viewer).events
        turns = (dims.order, dims.ndisplay, dims.ndim, getattr(camera, "orientation", None))
        layers, grid = viewer.layers.events, grid_of(viewer).events
        for event in turns:
            if event is not None:
                event.connect(self._on_turned)
        for event in (layers.inserted, layers.removed):
            event.connect(self._on_listed)
        grid.enabled.connect(self._show)

    def follow(self, layer: Layer | None) -> None:
        """Show the letters for a scan's layer, or none."""
        if not same_layer(layer, self._layer):
            for name in _LAYER_EVENTS:
                if self._layer is not None:
                    getattr(self._layer.events, name).disconnect(self._show)
                if layer is not None:
                    getattr(layer.events, name).connect(self._show)
            self._layer = layer
        self._show()

    def _on_turned(self, event: object = None) -> None:
        """Wait for the list where napari takes a layer in or out: its canvas has not heard of that yet."""
        if len(self._viewer.layers) == self._n_layers:
            self._show()

    def _on_listed(self, event: object = None) -> None:
        self._n_layers = len(self._viewer.layers)
        self._show()

    def _show(self, event: object = None) -> None:
        layer = self._layer if self._layer in self._viewer.layers else None
        letters = letters_at_edges(self._viewer, layer)
        if grid_of(self._viewer).enabled and any(
            letters_at_edges(self._viewer, other) != letters for other in self._viewer.layers
        ):
            # Every cell would have them, also one whose layer lies another way or nobody knows how.
            letters = None
        for text, letter in zip(self.texts, letters or ("",) * len(_PLACES), strict=True):
            text.show(letter)
