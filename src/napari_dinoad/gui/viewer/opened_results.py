"""Masks and maps from files, and masks by hand: seen with the scan, and the frame of it, that they are of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.utils.notifications import show_info, show_warning

from napari_dinoad.errors import DinoadError
from napari_dinoad.gui.viewer.layer_marks import (
    frame_of_mark,
    is_from_file,
    is_kept_by_plugin,
    is_overlay,
    is_scan_layer,
    note_opened_over,
    scan_id_of,
)
from napari_dinoad.gui.viewer.layer_scan import METADATA_KEY, ScanSource, path_of_layer
from napari_dinoad.gui.viewer.layers import affine_on_scan, scan_of_layer
from napari_dinoad.gui.viewer.lone_maps import show_map_alone
from napari_dinoad.gui.viewer.segmented_scan import OF_ANOTHER, OVER_ANOTHER, segmentation_unlike
from napari_dinoad.gui.viewer.viewer_parts import grid_of

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from napari.layers import Layer
    from napari.viewer import Viewer

    from napari_dinoad.images.dicom.segmentations import Unlike

__all__ = ["OpenedResults", "lay_on_scans", "lies_on"]

_OFF_GRID_VOXELS = 0.1
"""Arrays whose voxels lie farther than this share of a voxel from those of a scan are of another."""


class OpenedResults:
    """Hides those of other scans and frames when a scan is chosen or a frame shown, and shows them again with theirs.

    What was copied or drawn is of the scan, and of its frame, over which that was done. What came from a file is of
    one scan on whose voxels it lies: the one that it was drawn on, as a DICOM segmentation says, or that it is named
    after, else one of its folder, else the one that was chosen when it was opened. Where there is none, nothing is
    known of it, and it is left as it is. A DICOM segmentation is of no scan of another person.
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
        for layer in filter(is_from_file, results):
            self._note_scan(layer)
        hidden = self._hidden & {layer.unique_id for layer in results}
        for layer in results:
            is_of_others = self._is_of_others(layer)
            if self._scan_of(layer) is None and not is_of_others:
                continue
            if is_of_others and layer.visible:
                layer.visible = False
                hidden.add(layer.unique_id)
            elif not is_of_others and layer.unique_id in hidden:
                layer.visible = True
                hidden.discard(layer.unique_id)
        self._hidden = hidden

    def take(self, layer: Layer) -> None:
        """Note of which scan a mask or map is that was just opened; hide it where that is not the one it lies over.

        A map that is seen hides others.
        """
        scan = self._note_scan(layer)
        chosen = next((one for one in self._scans_at(layer) if self._is_chosen(one)), None)
        is_of_other = scan is not None and chosen is not None and scan is not chosen
        unlike = None if chosen is None or is_of_other else self._unlike(layer, chosen)
        if scan is not None and is_of_other and not grid_of(self._viewer).enabled:
            self._hide(layer)
            show_info(f"“{layer.name}” is of “{scan.name}”: choose that scan to see it.")
        elif chosen is not None and unlike in OF_ANOTHER:
            self._hide(layer)
            show_warning(
                f"By its header “{layer.name}” is {OF_ANOTHER[unlike]} than “{chosen.name}”: hidden."
            )
        else:
            show_map_alone(self._viewer, layer)
            if chosen is not None and unlike is not None:
                show_warning(f"By its header “{layer.name}” {OVER_ANOTHER[unlike].format(chosen.name)}")

    def _hide(self, layer: Layer) -> None:
        layer.visible = False
        self._hidden.add(layer.unique_id)

    def bring_back(self, layer: Layer) -> None:
        """Show a layer again, now or when the scan is chosen that it is of."""
        if self._is_of_others(layer):
            self._hidden.add(layer.unique_id)
        else:
            layer.visible = True

    def _is_of_others(self, layer: Layer) -> bool:
        """Whether a layer is of scans in the viewer of which none is chosen, or of another frame or person."""
        scan = self._scan_of(layer)
        if self._chosen is None:
            return False
        if scan is None:
            chosen = (one for one in self._scans() if self._is_chosen(one))
            return any(self._unlike(layer, one) in OF_ANOTHER for one in chosen)
        return not self._is_chosen(scan) or frame_of_mark(layer, scan) not in (None, self._chosen[1])

    def _is_chosen(self, scan: Layer) -> bool:
        return self._chosen is not None and scan.unique_id == self._chosen[0]

    def _frame_of(self, scan: Layer) -> tuple[int, ...]:
        try:
            return scan_of_layer(scan, self._viewer.dims.point).frame
        except DinoadError:
            return ()

    def _scans(self) -> list[Layer]:
        return [one for one in self._viewer.layers if is_scan_layer(one)]

    def _scan_of(self, layer: Layer) -> Layer | None:
        return next((one for one in self._scans() if one.unique_id == scan_id_of(layer)), None)

    def _scans_beneath(self, layer: Layer) -> list[Layer]:
        """Return the scans that a mask or map from a file may be of, the uppermost first."""
        return [one for one in self._scans_at(layer) if self._unlike(layer, one) not in OF_ANOTHER]

    def _scans_at(self, layer: Layer) -> list[Layer]:
        """Return the scans on whose voxels a mask or map from a file lies, the uppermost first."""
        source = layer.metadata.get(METADATA_KEY)
        if not isinstance(source, ScanSource):
            return []
        return [one for one in reversed(self._scans()) if self._lies_on(source, one)]

    def _note_scan(self, layer: Layer) -> Layer | None:
        """Note of which scan a mask or map from a file is; return that scan's layer, where it is there."""
        known, beneath = self._scan_of(layer), self._scans_beneath(layer)
        if not beneath:
            return known

        def fitness(scan: Layer) -> tuple[int, int, bool, bool, bool]:
            unlike = self._unlike(layer, scan)
            is_of_series = 2 if unlike is None else int(unlike == "identifier")
            named = _named_after(layer, scan)
            return is_of_series, named, _is_beside(layer, scan), scan is known, self._is_chosen(scan)

        scan = max(beneath, key=fitness)
        # What was of a scan that is closed is of no other, unless it is that one again.
        if known is None and scan_id_of(layer) is not None and not _named_after(layer, scan):
            return None
        note_opened_over(layer, scan)
        return scan

    def _unlike(self, layer: Layer, scan: Layer) -> Unlike | None:
        try:
            return segmentation_unlike(layer, scan_of_layer(scan, self._viewer.dims.point).source)
        except DinoadError:
            return None

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
    scans = [source for layer, source in known if is_scan_layer(layer)]
    for layer, source in known:
        if not is_from_file(layer) or (source.geometry.is_physical and not source.geometry.is_oblique):
            continue
        affines = (affine_on_scan(source, scan) for scan in scans if lies_on(source, scan))
        affine = next((affine for affine in affines if affine is not None), None)
        if affine is not None and len(affine) == layer.ndim + 1:
            layer.affine = affine


def _named_after(layer: Layer, scan: Layer) -> int:
    """Return how many letters the names of both files begin with, where one is the scan's whole name; else 0."""
    own, whole = (_name_of(one) for one in (layer, scan))
    is_named = own.startswith(whole) and not own[len(whole) : len(whole) + 1].isalnum()
    return len(whole) if is_named else 0


def _name_of(layer: Layer) -> str:
    source = layer.metadata.get(METADATA_KEY)
    return source.name if isinstance(source, ScanSource) else str(layer.name)


def _is_beside(layer: Layer, scan: Layer) -> bool:
    """Whether both were read from files in one folder."""
    paths = [path_of_layer(one) for one in (layer, scan)]
    return None not in paths and len({path.parent for path in paths if path is not None}) == 1


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
