"""Parts of the viewer that moved between napari versions, found by public names only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtWidgets import QApplication, QLabel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Layer
    from napari.viewer import Viewer

__all__ = [
    "calm_spinners",
    "camera_of",
    "grid_of",
    "layers_meet",
    "moves_of",
    "point_in_layer",
    "scale_bar_of",
    "set_colour_bar",
    "show_index",
]


_SPINNER_SPEED = 10
"""Percent: about three pictures a second."""


def calm_spinners() -> None:
    """Slow down napari's animated "in progress" picture.

    Each of its 33 pictures a second makes Qt put the whole window together anew, the canvas included: without a
    graphics card that takes most of a processor core from the work that it announces.
    """
    application = QApplication.instance()
    for window in QApplication.topLevelWidgets() if application else []:
        for label in window.findChildren(QLabel):
            if label.movie() is not None:
                label.movie().setSpeed(_SPINNER_SPEED)


def camera_of(viewer: Viewer) -> Any:
    """Return the camera: ``viewer.scene.camera`` since napari 0.9, ``viewer.camera`` before."""
    scene = getattr(viewer, "scene", None)
    return viewer.camera if scene is None else scene.camera


def grid_of(viewer: Viewer) -> Any:
    """Return the grid of layers: ``viewer.canvas.grid`` since napari 0.9, ``viewer.grid`` before."""
    grid = getattr(getattr(viewer, "canvas", None), "grid", None)
    return viewer.grid if grid is None else grid


def scale_bar_of(viewer: Viewer) -> Any:
    """Return the scale bar: ``viewer.canvas.overlays.scale_bar`` since napari 0.9, ``viewer.scale_bar`` before."""
    overlays = getattr(getattr(viewer, "canvas", None), "overlays", None)
    return viewer.scale_bar if overlays is None else overlays.scale_bar


def set_colour_bar(layer: Layer, is_shown: bool) -> None:
    """Show or hide the layer's colour bar, where napari has one (since 0.7)."""
    bar = getattr(layer, "colorbar", None)
    if bar is not None:
        bar.visible = is_shown


def layers_meet(one: Layer, other: Layer) -> bool:
    """Whether the boxes that two layers fill in the world meet, along the axes that both have."""
    n = min(one.ndim, other.ndim)
    (low, high), (other_low, other_high) = (np.asarray(layer.extent.world)[:, -n:] for layer in (one, other))
    return bool(np.all(low <= other_high) and np.all(other_low <= high))


def moves_of(layer: Layer) -> tuple[Any, ...]:
    """Return the events that come when a layer is moved, turned or scaled."""
    events = layer.events
    return events.scale, events.translate, events.rotate, events.shear, events.affine, events.units


def point_in_layer(viewer: Viewer, layer: Layer) -> np.ndarray:
    """Return the index into the layer's array (n,) float of the viewer's current point."""
    world = np.zeros(layer.ndim)
    point = np.asarray(viewer.dims.point, dtype=float)[-layer.ndim :]
    world[layer.ndim - len(point) :] = point
    return np.asarray(layer.world_to_data(world), dtype=float)


def _on_step(value: float, steps: Any) -> float:
    """Return where napari's slider would stand for a position.

    It goes there in any case; a point that is off by rounding alone would have every layer sliced once more.
    """
    step = steps.step or 1
    return float(steps.start + round((value - steps.start) / step) * step)


def show_index(viewer: Viewer, layer: Layer, data_index: Sequence[float]) -> None:
    """Move the viewer to an index of a layer's array; the camera only where it would lie outside the view."""
    world = np.asarray(layer.data_to_world(np.asarray(data_index, dtype=float)), dtype=float)
    point = np.array(viewer.dims.point, dtype=float)
    n = min(len(point), len(world))
    point[len(point) - n :] = world[len(world) - n :]
    viewer.dims.point = tuple(map(_on_step, point.tolist(), viewer.dims.range))
    camera = camera_of(viewer)
    displayed = list(viewer.dims.displayed)
    target = point[displayed]
    centre = np.asarray(camera.center, dtype=float)[-len(displayed) :]
    size_px = getattr(getattr(viewer, "canvas", None), "size", None)
    if size_px is not None and len(displayed) == 2:
        half_view = np.asarray(size_px, dtype=float) / (2 * camera.zoom)
        if np.all(np.abs(target - centre) < half_view):
            return
    camera.center = (0.0,) * (3 - len(displayed)) + tuple(float(value) for value in target)
