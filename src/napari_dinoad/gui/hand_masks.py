"""Labels layers that a person draws or corrects, as masks on the grid of the scan that something was found in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Labels

from napari_dinoad.errors import DinoadError, GeometryError
from napari_dinoad.gui.layers import data_to_world, same_layer
from napari_dinoad.gui.overlay import hand_look, is_copy_over, is_kept_by_plugin, is_overlay, mark_copy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.viewer import Viewer

    from napari_dinoad.gui.find_controller import FindController
    from napari_dinoad.gui.found import Found
    from napari_dinoad.maps.hand_mask import HandMask, Making

__all__ = ["HandLayer", "HandMasks", "hand_mask_of"]

_OFF_GRID_VOXELS = 0.1
"""Voxels that lie farther than this share of a voxel from those of the scan are not the scan's."""


@dataclass(frozen=True, eq=False)
class HandLayer:
    """A Labels layer that may be exported in place of the found mask.

    Attributes
    ----------
    layer : Labels
    making : {"corrected", "drawn"}, optional
        What is known of it: copies of the mask that was found are corrected; of what came from a file or another
        plugin nothing is known.
    fault : str
        Why it cannot be exported; empty where it can.
    """

    layer: Labels
    making: Making | None
    fault: str = ""

    @property
    def name(self) -> str:
        """The layer's name."""
        return str(self.layer.name)


class HandMasks:
    """The Labels layers beside the result that a `FindController` looks at."""

    def __init__(self, viewer: Viewer, finder: FindController) -> None:
        self._viewer = viewer
        self._finder = finder

    def layers(self) -> list[HandLayer]:
        """Return those that are none of the plugin's own, the uppermost first; none where there is no result."""
        found = self._finder.found
        if found is None:
            return []
        layers = [layer for layer in reversed(self._viewer.layers) if isinstance(layer, Labels)]
        return [self._describe(layer, found) for layer in layers if not is_kept_by_plugin(layer)]

    def selected(self, layers: Sequence[HandLayer]) -> HandLayer | None:
        """Return which of these is selected in the list of layers, where it can be exported and a person made it.

        What was opened from a file is selected by that alone.
        """
        active = self._viewer.layers.selection.active
        known = [one for one in layers if one.making is not None and not one.fault]
        return next((one for one in known if same_layer(one.layer, active)), None)

    def mask_of(self, one: HandLayer, making: Making) -> HandMask:
        """Return what a layer holds now, on the grid of the result's scan; see `hand_mask_of`."""
        found = self._finder.found
        if found is None:
            raise DinoadError("Export: the result is gone; press Find first.")
        return hand_mask_of(self._viewer, one.layer, found, making)

    def start_correction(self) -> Labels | None:
        """Add a copy of the result's mask to paint in, select it, and hide the mask; None where there is none."""
        found = self._finder.found
        if found is None or found.overlay is None or not found.overlay.is_whole:
            return None
        mask = found.overlay.mask
        layer = Labels(
            np.array(mask.data),
            name=f"{found.overlay.title} · corrected",
            **hand_look(),
            **found.scan.overlay_arguments(found.layer),
        )
        mark_copy(layer, mask)
        self._viewer.add_layer(layer)
        mask.visible = False
        self._viewer.layers.selection.active = layer
        layer.mode = "paint"
        return layer

    def _describe(self, layer: Labels, found: Found) -> HandLayer:
        try:
            _steps_to_scan(self._viewer, layer, found)
            fault = ""
        except GeometryError as error:
            fault = str(error)
        return HandLayer(layer, _making_of(layer, found), fault)


def _making_of(layer: Labels, found: Found) -> Making | None:
    if is_copy_over(layer, found.layer):
        return "corrected"
    origin = layer.source
    is_from_elsewhere = is_overlay(layer) or origin.path or origin.widget or origin.sample
    return None if is_from_elsewhere else "drawn"


def hand_mask_of(viewer: Viewer, layer: Labels, found: Found, making: Making) -> HandMask:
    """Return what a Labels layer holds now as a mask on the scan's grid; later changes do not reach it.

    The layer may run along other axes than the scan's, or the other way round, and may cover more or less of the
    world, if only its voxels are those of the scan. Of a layer with frames the one of the result is taken.

    Raises
    ------
    GeometryError
        If its voxels are not the scan's, or something is drawn outside the scan.
    """
    from napari_dinoad.maps.hand_mask import HandMask

    data = layer.data[0] if getattr(layer, "multiscale", False) else layer.data
    steps, frame = _steps_to_scan(viewer, layer, found)
    drawn = np.asarray(data[frame])
    on_scan = _laid_on(drawn, steps, _frame_shape(found))
    if np.count_nonzero(on_scan) < np.count_nonzero(drawn):
        raise GeometryError(
            f"Layer {layer.name!r}: something is drawn outside the scan {found.layer.name!r}, which the mask cannot "
            "hold. Erase it there, or choose the scan that it belongs to."
        )
    canonical = np.ascontiguousarray(found.scan.to_canonical(on_scan))
    outcome = found.result.outcome
    card = None if outcome is None else outcome.card
    return HandMask(canonical, found.result.volume, making, _names(layer), card)


def _laid_on(drawn: np.ndarray, steps: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return an array of a scan's shape with what was drawn in its place, cut where it goes beyond."""
    n = len(shape)
    # The axes of what was drawn, in the order of the scan's, and the ends at which they begin there.
    order = np.abs(steps[:, :n]).argmax(axis=1)
    signs = steps[np.arange(n), order].astype(int)
    sizes = np.array(drawn.shape)[order]
    starts = steps[:, n].astype(int) - np.where(signs < 0, sizes - 1, 0)
    turned = drawn.transpose(order)[tuple(slice(None, None, sign) for sign in signs)]
    begins = np.clip(starts, 0, shape)
    ends = np.clip(starts + sizes, begins, shape)
    on_scan = np.zeros(shape, drawn.dtype)
    here, there = (
        tuple(slice(begin, end) for begin, end in zip(begins - off, ends - off, strict=True))
        for off in (0, starts)
    )
    on_scan[here] = turned[there]
    return on_scan


def _frame_shape(found: Found) -> tuple[int, ...]:
    n_frame_axes = len(found.scan.frame)
    return tuple(int(n) for n in found.scan.data.shape[n_frame_axes : found.layer.ndim])


def _steps_to_scan(viewer: Viewer, layer: Labels, found: Found) -> tuple[np.ndarray, tuple[int, ...]]:
    """Return the (n, n + 1) whole numbers that take a layer's voxel to the scan's, and the layer's frame.

    Raises
    ------
    GeometryError
        If its voxels are not those of the scan.
    """
    n = len(_frame_shape(found))
    off_grid = GeometryError(
        f"Layer {layer.name!r}: its voxels are not those of the scan {found.layer.name!r}. Draw in a layer that was "
        "made while the scan's was selected, or press “Edit mask”."
    )
    if layer.ndim < n:
        raise off_grid
    scan_to_world = data_to_world(found.layer)[-n - 1 :, -n - 1 :]
    layer_to_world = data_to_world(layer)
    try:
        steps = (np.linalg.inv(scan_to_world) @ layer_to_world[-n - 1 :, -n - 1 :])[:n]
    except np.linalg.LinAlgError:
        raise off_grid from None
    whole = np.rint(steps)
    is_turn = np.array_equal(np.abs(whole[:, :n]).sum(axis=0), np.ones(n)) and np.array_equal(
        np.abs(whole[:, :n]).sum(axis=1), np.ones(n)
    )
    corners = np.stack(np.meshgrid(*[(0, size - 1) for size in layer.data.shape[-n:]], indexing="ij"))
    apart = np.abs((steps - whole) @ np.vstack([corners.reshape(n, -1), np.ones(2**n)])).max()
    if not is_turn or apart > _OFF_GRID_VOXELS:
        raise off_grid
    return whole, _frame_of(viewer, layer, found, layer.ndim - n)


def _frame_of(viewer: Viewer, layer: Labels, found: Found, n_frame_axes: int) -> tuple[int, ...]:
    """Return which of a layer's frames lies where the result's does; the shown one where the scan has none."""
    world = np.zeros(layer.ndim)
    point = np.asarray(viewer.dims.point, dtype=float)[-layer.ndim :]
    world[layer.ndim - len(point) :] = point
    if found.scan.frame:
        of_scan = np.asarray(found.layer.data_to_world(found.scan.data_index((0, 0, 0))), dtype=float)
        n_known = min(n_frame_axes, len(found.scan.frame))
        at = len(found.scan.frame) - n_known
        world[n_frame_axes - n_known : n_frame_axes] = of_scan[at : at + n_known]
    index = np.rint(np.asarray(layer.world_to_data(world))[:n_frame_axes]).astype(int)
    if np.any(index < 0) or np.any(index >= np.array(layer.data.shape[:n_frame_axes])):
        raise GeometryError(f"Layer {layer.name!r}: it has no frame where the result’s is.")
    return tuple(index.tolist())


def _names(layer: Labels) -> dict[int, str]:
    """Return what a layer says that its labels are: the segments of a DICOM file that was opened."""
    table = layer.features
    if not {"index", "segment"} <= set(table.columns):
        return {}
    known = table[["index", "segment"]].dropna()
    return {int(label): str(name) for label, name in zip(known["index"], known["segment"], strict=True)}
