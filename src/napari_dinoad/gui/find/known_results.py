"""What was found in the layers of a viewer: a result for each frame of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_dinoad.errors import DinoadError
from napari_dinoad.gui.find.scan_jobs import ScoredBefore
from napari_dinoad.gui.viewer.layers import scan_of_layer

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence

    from napari.layers import Layer

    from napari_dinoad.gui.find.found import Found, ModelFile

__all__ = ["KnownResults"]

_MOST_BYTES = 2 * 2**30
"""That the results of all frames of a layer may take, but for the last one."""

_BAR_BYTES = 25 * 2**20
"""What napari keeps of each heatmap beside its values: for the text of a colour bar, also of one that is hidden."""


class KnownResults:
    """Results, the one that was looked at last behind the others.

    They stay until their layers leave the viewer, that frame is scored anew, or `take_too_many`.
    """

    def __init__(self) -> None:
        self._found: list[Found] = []

    def __iter__(self) -> Iterator[Found]:
        # What is done with one may bring another to the end.
        return iter(tuple(self._found))

    def of(self, layer: Layer, frame: tuple[int, ...]) -> Found | None:
        """Return what was found in a frame of a layer, () where it has none."""
        of_layer = (found for found in self._found if found.layer.unique_id == layer.unique_id)
        return next((found for found in of_layer if found.scan.frame == frame), None)

    def shown(self, layer_id: Hashable, point: Sequence[float]) -> Found | None:
        """Return what was found in the frame of a layer that is seen at a point of the viewer, else in its latest."""
        of_layer = [found for found in self._found if found.layer.unique_id == layer_id]
        if not of_layer:
            return None
        latest = of_layer[-1]
        try:
            frame = scan_of_layer(latest.layer, point).frame
        except DinoadError:
            return latest
        found = self.of(latest.layer, frame)
        if found is None:
            return latest
        self._found.remove(found)
        self._found.append(found)
        return found

    def scored_before(self, layer: Layer, frame: tuple[int, ...], model: ModelFile) -> ScoredBefore | None:
        """Return what a model has scored of a frame of a layer before."""
        known = self.of(layer, frame)
        if known is None or known.model != model:
            return None
        return ScoredBefore(known.result.volume, known.result.is_whole)

    def add(self, found: Found) -> None:
        """Keep a result, in place of the one of that frame."""
        before = self.of(found.layer, found.scan.frame)
        if before is not None:
            self.remove(before)
        self._found.append(found)

    def remove(self, found: Found) -> None:
        """Keep a result no more."""
        self._found.remove(found)

    def clear(self) -> None:
        """Keep none any more."""
        self._found = []

    def take_too_many(self, layer: Layer) -> list[Found]:
        """Keep those of a layer's frames no more that memory is lacking for; return them.

        Those are taken that were not looked at for longest.
        """
        n_bytes, gone = 0, []
        of_layer = [found for found in self._found if found.layer.unique_id == layer.unique_id]
        for found in reversed(of_layer):
            n_bytes += found.result.n_bytes + _BAR_BYTES
            if n_bytes > _MOST_BYTES and found is not of_layer[-1]:
                gone.append(found)
        self._found = [found for found in self._found if found not in gone]
        return gone

    def take_resting_on(self, layer: Layer) -> list[Found]:
        """Keep those no more that rest on a layer; return them."""
        gone = [found for found in self._found if found.rests_on(layer)]
        self._found = [found for found in self._found if found not in gone]
        return gone
