"""What was found stays with its heatmap while no dock is there; one that is opened later takes it up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_dinoad.gui.viewer.layer_marks import overlays_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari.layers import Layer
    from napari.viewer import Viewer

    from napari_dinoad.gui.find.found import Found

__all__ = ["leave_results", "take_results"]

_FOUND_KEY = "dinoad_found"
"""Key in ``layer.metadata`` of a heatmap whose dock was closed."""


class _Kept:
    """Holds a result, which no duplicate of its layer holds too."""

    def __init__(self, found: Found | None) -> None:
        self.found = found

    def __deepcopy__(self, memo: dict[int, Any]) -> _Kept:
        return _Kept(None)


def leave_results(results: Iterable[Found]) -> None:
    """Leave results with their heatmaps, for as long as these are there."""
    for found in results:
        if found.overlay is not None:
            found.overlay.heatmap.metadata[_FOUND_KEY] = _Kept(found)


def take_results(viewer: Viewer, layer: Layer) -> list[Found]:
    """Return what was found in a scan's layer and left, once; not where its mask is gone."""
    kept = [overlay.metadata.pop(_FOUND_KEY, None) for overlay in overlays_of(viewer, layer)]
    left = [one.found for one in kept if isinstance(one, _Kept) and one.found is not None]
    return [found for found in left if found.overlay is not None and found.overlay.is_whole]
