"""Masks and maps from files, and masks by hand: seen with the scan, and the frame of it, that they are of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image

from napari_dinoad.errors import DinoadError
from napari_dinoad.gui.viewer.layer_marks import (
    frame_of_mark,
    is_from_file,
    is_kept_by_plugin,
    is_overlay,
    scan_id_of,
)
from napari_dinoad.gui.viewer.layer_scan import METADATA_KEY, ScanSource
from napari_dinoad.gui.viewer.layers import affine_on_scan, scan_of_layer
from napari_dinoad.gui.viewer.viewer_parts import grid_of

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from napari.layers import Layer
    from napari.viewer import Viewer

__all__ = ["OpenedResults", "lay_on_scans", "lies_on"]

_OFF_GRID_VOXELS = 0.1
"""Arrays whose voxels lie farther than this share of a voxel from those of a scan are of another."""


class OpenedResults:
    """Hides those of other scans and frames when a scan is chosen or a frame shown, and shows them again with theirs.

    What was copied or drawn is of the scan, and of its frame, over which that was done; what came from a file, of the
    scans on whose voxels it lies. Where there is no such scan, nothing is known of it, and it is left as it is.
    """

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self._chosen: tuple[Hashable, tuple[int, ...]] | None = None
        self._hidden: set[Hashable] = set()

    def look_at(self, scan: Layer | None) -> None:
        """Choose the scan, as it is shown now; nothing happens where scan and frame are the same as before."""
        if scan is None or grid_of(self._viewer).enabled:
            return
        chosen = (scan.unique_id, self._frame_of(scan))
        if chosen == self._chosen:
            return
        self._chosen = chosen
        results = [
            layer for layer in self._viewer.layers if is_overlay(layer) and not is_kept_by_plugin(layer)
        ]
        hidden = self._hidden & {layer.unique_id for layer in results}
        for layer in results:
            is_of_others = self._is_of_others(layer)
            if is_of_others and layer.visible:
                layer.visible = False
                hidden.add(layer.unique_id)
            elif not is_of_others and layer.unique_id in hidden:
                layer.visible = True
                hidden.discard(layer.unique_id)
        self._hidden = hidden

    def bring_back(self, layer: Layer) -> None:
        """Show a layer again, now or when the scan is chosen that it is of."""
        if self._is_of_others(layer):
            self._hidden.add(layer.unique_id)
        else:
            layer.visible = True

    def _is_of_others(self, layer: Layer) -> bool:
        """Whether a layer is of scans in the viewer of which none is chosen, or of another frame."""
        scans = self._scans_of(layer)
        if not scans or self._chosen is None:
            return False
        chosen_id, frame = self._chosen
        scan = next((one for one in scans if one.unique_id == chosen_id), None)
        return scan is None or frame_of_mark(layer, scan) not in (None, frame)

    def _frame_of(self, scan: Layer) -> tuple[int, ...]:
        try:
            return scan_of_layer(scan, self._viewer.dims.point).frame
        except DinoadError:
            return ()

    def _scans_of(self, layer: Layer) -> list[Layer]:
        scans = [one for one in self._viewer.layers if isinstance(one, Image) and not is_overlay(one)]
        if not is_from_file(layer):
            return [one for one in scans if one.unique_id == scan_id_of(layer)]
        source = layer.metadata.get(METADATA_KEY)
        return [one for one in scans if isinstance(source, ScanSource) and self._lies_on(source, one)]

    def _lies_on(self, source: ScanSource, scan: Layer) -> bool:
        try:
            return lies_on(source, scan_of_layer(scan, self._viewer.dims.point).source)
        except DinoadError:
            return False


def lay_on_scans(layers: Iterable[Layer]) -> None:
    """Show masks and maps from files on the scan that they are of, where that is there too and lies otherwise.

    That is so of oblique scans, and of pictures whose pixels are not square.
    """
    sources = [(layer, layer.metadata.get(METADATA_KEY)) for layer in layers]
    known = [(layer, source) for layer, source in sources if isinstance(source, ScanSource)]
    scans = [source for layer, source in known if isinstance(layer, Image) and not is_overlay(layer)]
    for layer, source in known:
        if not is_from_file(layer) or (source.geometry.is_physical and not source.geometry.is_oblique):
            continue
        affines = (affine_on_scan(source, scan) for scan in scans if lies_on(source, scan))
        affine = next((affine for affine in affines if affine is not None), None)
        if affine is not None and len(affine) == layer.ndim + 1:
            layer.affine = affine


def lies_on(source: ScanSource, scan: ScanSource) -> bool:
    """Whether an array's grid is a scan's, or a part of it: its steps, within its voxels; of pictures all."""
    if affine_on_scan(source, scan) is None:
        return False
    own, whole = source.geometry, scan.geometry
    if not own.is_physical and own.canonical_shape[1:] != whole.canonical_shape[1:]:
        return False
    ends = np.array([np.zeros(3), np.array(own.canonical_shape) - 1])
    places = np.c_[own.canonical_to_world(ends), np.ones(2)]
    index = np.linalg.solve(whole.canonical_affine, places.T)[2::-1]
    off = np.abs(index - np.rint(index)).max()
    last = np.array(whole.canonical_shape)[:, np.newaxis] - 1
    return bool(off <= _OFF_GRID_VOXELS and np.all(np.rint(index) >= 0) and np.all(np.rint(index) <= last))
