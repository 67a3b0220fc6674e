"""Bringing a scan into view: the slider to one of its slices, the camera to where it lies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_dinoad.gui.viewer.viewer_parts import camera_of, grid_of, on_step

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

__all__ = ["bring_into_view", "canvas_size", "fills_canvas", "fit_to_canvas", "is_seen_whole", "share_inside"]

_WHOLE_FROM = 0.9
"""A scan of which along each axis at least this share is seen counts as seen whole."""

_SMALL_BELOW = 0.5
"""A scan that fills less than this of the canvas along each axis is small."""

_SAME_SIZE = 2.0
"""Scans of which one is at most so many times as large as the other may be seen at the same scale."""

_FILLS = 0.95
"""Share of the canvas that a scan fills which is brought into view, as with napari's *Home*."""

_FULL_FROM = 0.85
"""A scan that is seen whole and fills at least this of the canvas along an axis is as large as it can be."""

_TINY = 1e-9


def share_inside(one: Layer, other: Layer) -> float:
    """Return which share of a layer's box in the world lies within another's, along the axis where that is least."""
    n = min(one.ndim, other.ndim)
    return _least_share(*(np.asarray(layer.extent.world)[:, -n:] for layer in (one, other)))


def bring_into_view(viewer: Viewer, layer: Layer, before: Layer | None) -> None:
    """Show a scan: one of its slices, and all of it unless a place within it is looked at.

    Where the scan before was seen whole, so is this one, without a move if it is already. Where a part of that one
    was looked at closely and this one lies there too, as another sequence of the same head does, that stays in view.

    Parameters
    ----------
    viewer : Viewer
    layer : Layer
        The scan's.
    before : Layer, optional
        That of the scan that was looked at before.
    """
    if grid_of(viewer).enabled or layer not in viewer.layers:
        return
    _go_inside(viewer, layer)
    box, view = _displayed_box(viewer, layer), _view_box(viewer)
    if box is None or view is None:
        return
    known = None if before is None or before not in viewer.layers else _displayed_box(viewer, before)
    is_close = known is not None and _least_share(known, view) < _WHOLE_FROM
    if not (_is_same_place(box, known, view) if is_close else _is_well_seen(box, view)):
        _fit(viewer, box, view)


def canvas_size(viewer: Viewer) -> tuple[int, int] | None:
    """Return height and width of the canvas in pixels; None where napari does not say them (before 0.9)."""
    return getattr(getattr(viewer, "canvas", None), "size", None)


def is_seen_whole(viewer: Viewer, layer: Layer, size_px: tuple[int, int] | None = None) -> bool:
    """Whether the canvas shows all of a layer's slice, or nearly so; with ``size_px``, if it had this size."""
    box, view = _displayed_box(viewer, layer), _view_box(viewer, size_px)
    return box is not None and view is not None and _least_share(box, view) >= _WHOLE_FROM


def fills_canvas(viewer: Viewer, layer: Layer, size_px: tuple[int, int] | None = None) -> bool:
    """Whether the canvas shows all of a layer's slice, or nearly so, and has no room to show it much larger.

    With ``size_px``, if it had this height and width.
    """
    box, view = _displayed_box(viewer, layer), _view_box(viewer, size_px)
    if grid_of(viewer).enabled or box is None or view is None:
        return False
    filled = (box[1] - box[0]) / (view[1] - view[0])
    return _least_share(box, view) >= _WHOLE_FROM and bool(filled.max() >= _FULL_FROM)


def fit_to_canvas(viewer: Viewer, layer: Layer) -> None:
    """Show all of a layer's slice, as large as the canvas allows."""
    box, view = _displayed_box(viewer, layer), _view_box(viewer)
    if not grid_of(viewer).enabled and box is not None and view is not None:
        _fit(viewer, box, view)


def _go_inside(viewer: Viewer, layer: Layer) -> None:
    """Move the point that is looked at to a layer's middle along its axes where it lies outside.

    Those on display have no slider; planes through the point cross them.
    """
    low, high = np.asarray(layer.extent.world)
    point = list(viewer.dims.point)
    n_before = viewer.dims.ndim - layer.ndim
    for axis in range(viewer.dims.ndim):
        own, steps = axis - n_before, viewer.dims.range[axis]
        if own >= 0 and not low[own] - steps.step / 2 <= point[axis] <= high[own] + steps.step / 2:
            point[axis] = on_step(float(low[own] + high[own]) / 2, steps)
    if tuple(point) != tuple(viewer.dims.point):
        viewer.dims.point = tuple(point)


def _displayed_box(viewer: Viewer, layer: Layer) -> np.ndarray | None:
    """Return (2, n) the corners of a layer along the axes on display; None where it does not have them all."""
    own = np.array(viewer.dims.displayed) - (viewer.dims.ndim - layer.ndim)
    return None if own.min() < 0 else np.asarray(layer.extent.world)[:, own]


def _view_box(viewer: Viewer, size_px: tuple[int, int] | None = None) -> np.ndarray | None:
    """Return (2, n) the corners of what the canvas shows, or would with another height and width.

    None where napari does not say how large it is.
    """
    size_px = size_px or canvas_size(viewer)
    if size_px is None:
        return None
    n, camera = len(viewer.dims.displayed), camera_of(viewer)
    half = np.asarray(size_px, dtype=float) / (2 * camera.zoom)
    half = half if n == 2 else np.full(n, half.min())
    centre = np.asarray(camera.center, dtype=float)[-n:]
    return np.stack([centre - half, centre + half])


def _fit(viewer: Viewer, box: np.ndarray, view: np.ndarray) -> None:
    """Move the camera to a box; napari's own way fails for layers with fewer axes than the viewer."""
    camera, centre = camera_of(viewer), box.mean(axis=0)
    camera.zoom *= _FILLS / float(((box[1] - box[0]) / (view[1] - view[0])).clip(_TINY).max())
    camera.center = (0.0,) * (3 - len(centre)) + tuple(float(place) for place in centre)


def _is_well_seen(box: np.ndarray, view: np.ndarray) -> bool:
    filled = (box[1] - box[0]) / (view[1] - view[0])
    return _least_share(box, view) >= _WHOLE_FROM and bool(filled.max() >= _SMALL_BELOW)


def _is_same_place(box: np.ndarray, known: np.ndarray | None, view: np.ndarray) -> bool:
    """Whether what is looked at closely lies in this box too, and is as large there."""
    if known is None:
        return False
    centre = view.mean(axis=0)
    ratio = np.maximum(box[1] - box[0], _TINY).max() / np.maximum(known[1] - known[0], _TINY).max()
    is_inside = bool(np.all(box[0] <= centre) and np.all(centre <= box[1]))
    return is_inside and 1 / _SAME_SIZE <= float(ratio) <= _SAME_SIZE


def _least_share(box: np.ndarray, other: np.ndarray) -> float:
    """Return which share of a box (2, n) lies within another, along the axis where that is least."""
    sizes = np.maximum(box[1] - box[0], _TINY)
    common = np.minimum(box[1], other[1]) - np.maximum(box[0], other[0])
    return float((np.clip(common, 0, None) / sizes).min())
