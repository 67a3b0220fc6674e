"""One map at a time over a scan; those that it hides come again when it is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_dinoad.gui.viewer.layer_marks import holding_of_layer
from napari_dinoad.gui.viewer.layers import same_layer
from napari_dinoad.gui.viewer.viewer_parts import grid_of, layers_meet

if TYPE_CHECKING:
    from collections.abc import Hashable

    from napari.layers import Layer
    from napari.viewer import Viewer

__all__ = ["hand_on", "maps_to_bring_back", "show_map_alone", "take_hidden"]

_HIDES_KEY = "dinoad_hides"
"""Key in ``layer.metadata`` of a map: ``unique_id`` of those that were hidden for it."""


def show_map_alone(viewer: Viewer, layer: Layer) -> None:
    """Hide the other maps that lie where this one does; nothing in napari's grid, or where it is no map.

    Where one has no heat that of another would be seen in its place.
    """
    if not _is_map(layer) or grid_of(viewer).enabled:
        return
    over = _visible_maps_over(viewer, layer)
    for other in over:
        other.visible = False
    hand_on(layer, tuple(other.unique_id for other in over))


def maps_to_bring_back(viewer: Viewer, removed: Layer) -> list[Layer]:
    """Return the maps that were hidden for one that has just left the viewer, and hide no other now.

    While another map is seen in their place they stay hidden, for that one.
    """
    ids = take_hidden(removed)
    if not _is_map(removed) or not ids:
        return []
    instead = _visible_maps_over(viewer, removed)
    if instead:
        hand_on(instead[-1], ids)
        return []
    return [layer for layer in viewer.layers if layer.unique_id in ids and not layer.visible]


def take_hidden(layer: Layer) -> tuple[Hashable, ...]:
    """Return the ids of the maps that were hidden for this one, and let it bring none of them back."""
    ids: tuple[Hashable, ...] = layer.metadata.pop(_HIDES_KEY, ())
    return ids


def hand_on(layer: Layer, ids: tuple[Hashable, ...]) -> None:
    """Let the maps of these ids, which are hidden, come again when this one is gone."""
    known: tuple[Hashable, ...] = layer.metadata.get(_HIDES_KEY, ())
    layer.metadata[_HIDES_KEY] = (*known, *(one for one in ids if one not in known))


def _is_map(layer: Layer) -> bool:
    return holding_of_layer(layer.metadata) == "map"


def _visible_maps_over(viewer: Viewer, layer: Layer) -> list[Layer]:
    return [
        other
        for other in viewer.layers
        if other.visible and _is_map(other) and not same_layer(other, layer) and layers_meet(other, layer)
    ]
