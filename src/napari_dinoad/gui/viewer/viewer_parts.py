"""Parts of the viewer that moved between napari versions, found by public names only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari import current_viewer
from qtpy.QtWidgets import QApplication, QLabel

from napari_dinoad.gui.viewer.layer_scan import data_to_world

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Layer
    from napari.viewer import Viewer
    from qtpy.QtCore import QObject

    from napari_dinoad.gui.viewer.layer_scan import LayerScan

__all__ = [
    "axis_in_view",
    "calm_spinners",
    "camera_of",
    "grid_of",
    "is_of_another_viewer",
    "layers_meet",
    "moves_of",
    "on_step",
    "point_in_layer",
    "set_colour_bar",
    "show_index",
]


_BLACK = (0.0, 0.0, 0.0, 1.0)
_WHITE = (1.0, 1.0, 1.0, 1.0)

_STRAIGHT = 1e-5
"""Layers that are turned out of the slice by less than this are not."""

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


def is_of_another_viewer(thing: QObject) -> bool:
    """Whether something of the plugin is part of a viewer, or of its session, that is not napari's current one."""
    viewer, owner = current_viewer(), _outermost(thing)
    if viewer is None or owner is thing:
        return False
    docks = viewer.window.dock_widgets.values()
    return not any(owner in (_outermost(dock), getattr(dock, "session", None)) for dock in docks)


def _outermost(thing: QObject) -> QObject:
    """Return the window that something is in, or what else it is a part of."""
    parent = thing.parent()
    return thing if parent is None else _outermost(parent)


def camera_of(viewer: Viewer) -> Any:
    """Return the camera: ``viewer.scene.camera`` since napari 0.9, ``viewer.camera`` before."""
    scene = getattr(viewer, "scene", None)
    return viewer.camera if scene is None else scene.camera


def grid_of(viewer: Viewer) -> Any:
    """Return the grid of layers: ``viewer.canvas.grid`` since napari 0.9, ``viewer.grid`` before."""
    grid = getattr(getattr(viewer, "canvas", None), "grid", None)
    return viewer.grid if grid is None else grid


def set_colour_bar(layer: Layer, is_shown: bool) -> None:
    """Show or hide the layer's colour bar, where napari has one (since 0.7).

    It lies on black in every theme, as a scan does: colours that begin transparent are pale on a light ground.
    """
    bar = getattr(layer, "colorbar", None)
    if bar is None:
        return
    if hasattr(bar, "box_color"):
        bar.box, bar.box_color, bar.color = True, _BLACK, _WHITE
    if is_shown and not bar.visible and hasattr(bar.events.visible, "emit"):
        # napari leaves a hidden bar in the cell of its grid where it was last, which may be gone: since 0.9 it fails
        # when the bar appears before its layer has told that it is to be seen.
        with bar.events.visible.blocked():
            bar.visible = True
        layer.events.visible()
        bar.events.visible.emit(True)
    else:
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


def point_in_layer(viewer: Viewer, layer: Layer, point: Sequence[float] | None = None) -> np.ndarray:
    """Return the index into the layer's array (n,) float that is seen at a point of the viewer's world.

    Without ``point`` at the viewer's current one.
    """
    world = np.zeros(layer.ndim)
    known = np.asarray(viewer.dims.point if point is None else point, dtype=float)[-layer.ndim :]
    world[layer.ndim - len(known) :] = known
    drawn = _drawn_askew(viewer, layer)
    if drawn is None:
        return np.asarray(layer.world_to_data(world), dtype=float)
    return np.asarray((np.linalg.inv(drawn) @ [*world, 1.0])[:-1])


def _drawn_askew(viewer: Viewer, layer: Layer) -> np.ndarray | None:
    """Return the (n + 1, n + 1) matrix by which napari draws a layer that is turned out of the slice; else None.

    In 2D napari leaves that turn out, so a voxel is seen elsewhere than the layer's own transforms say.
    """
    n = layer.ndim
    n_before = viewer.dims.ndim - n
    shown = [axis - n_before for axis in viewer.dims.displayed if axis >= n_before]
    hidden = [axis for axis in range(n) if axis not in shown]
    true = data_to_world(layer)
    out_of_slice = max(
        np.abs(true[np.ix_(shown, hidden)]).max(initial=0), np.abs(true[np.ix_(hidden, shown)]).max(initial=0)
    )
    if out_of_slice <= _STRAIGHT * np.abs(true[:n, :n]).max():
        return None
    drawn = np.eye(n + 1)
    try:
        # napari cuts the way from the world to the layer for the slice, and the other way for what it draws of it.
        to_slice = np.linalg.inv(true)[np.ix_([*hidden, n], [*hidden, n])]
        drawn[np.ix_([*hidden, n], [*hidden, n])] = np.linalg.inv(to_slice)
        drawn[np.ix_(shown, [*shown, n])] = true[np.ix_(shown, [*shown, n])]
        np.linalg.inv(drawn)
    except np.linalg.LinAlgError:
        # Its axes are exchanged: napari draws nothing that could be read.
        return None
    return drawn


def axis_in_view(viewer: Viewer, layer: Layer, scan: LayerScan) -> int | None:
    """Return the canonical axis across which the canvas shows a volume; None in 3D."""
    dims = viewer.dims
    n_before = dims.ndim - layer.ndim
    hidden = [axis - n_before for axis in dims.not_displayed if axis - n_before >= layer.ndim - 3]
    if len(hidden) != 1:
        return None
    here = point_in_layer(viewer, layer)
    far = np.array(here)
    here[hidden[0]], far[hidden[0]] = 0, scan.data.shape[hidden[0]] - 1
    apart = np.subtract(scan.canonical_index(far), scan.canonical_index(here))
    return int(np.argmax(np.abs(apart)))


def on_step(value: float, steps: Any) -> float:
    """Return where napari's slider would stand for a position.

    It goes there in any case; a point that is off by rounding alone would have every layer sliced once more.
    """
    step = steps.step or 1
    return float(steps.start + round((value - steps.start) / step) * step)


def show_index(viewer: Viewer, layer: Layer, data_index: Sequence[float]) -> None:
    """Move the viewer to an index of a layer's array; the camera only where it would lie outside the view."""
    index = np.asarray(data_index, dtype=float)
    drawn = _drawn_askew(viewer, layer)
    world = np.asarray(
        layer.data_to_world(index) if drawn is None else (drawn @ [*index, 1.0])[:-1], dtype=float
    )
    point = np.array(viewer.dims.point, dtype=float)
    n = min(len(point), len(world))
    point[len(point) - n :] = world[len(world) - n :]
    viewer.dims.point = tuple(map(on_step, point.tolist(), viewer.dims.range))
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
