"""Where the voxels of a Labels layer lie among those of a scan, and what it holds there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_dinoad.errors import GeometryError
from napari_dinoad.gui.viewer.layer_scan import data_to_world

if TYPE_CHECKING:
    from napari.layers import Labels, Layer
    from napari.viewer import Viewer

    from napari_dinoad.gui.viewer.layer_scan import LayerScan

__all__ = ["LabelsOnScan"]

_OFF_GRID_VOXELS = 0.1
"""Voxels that lie farther than this share of a voxel from those of the scan are not the scan's."""


@dataclass(frozen=True, eq=False)
class LabelsOnScan:
    """One frame of a Labels layer, and the steps from its voxels to those of a scan.

    Attributes
    ----------
    layer : Labels
    scan_layer : Layer
    scan : LayerScan
    steps : numpy.ndarray
        (n, n + 1) whole numbers that take a voxel of the layer to one of the scan's array (of one frame).
    frame : tuple of int
        Index along the layer's axes before these n.
    """

    layer: Labels
    scan_layer: Layer
    scan: LayerScan
    steps: np.ndarray
    frame: tuple[int, ...]

    @classmethod
    def of(cls, viewer: Viewer, layer: Labels, scan_layer: Layer, scan: LayerScan) -> LabelsOnScan:
        """Return how a layer lies on a scan; cheap, no voxel is read.

        The layer may run along other axes than the scan's, or the other way round, and may cover more or less of the
        world, if only its voxels are those of the scan. Of a layer with frames that of the scan is taken; where the
        scan has none, the shown one.

        Raises
        ------
        GeometryError
            If its voxels are not those of the scan.
        """
        n = len(_shape(scan_layer, scan))
        off_grid = GeometryError(
            f"Layer {layer.name!r}: its voxels are not those of the scan {scan_layer.name!r}. Draw in a layer that "
            "was made while the scan's was selected, or press “Draw mask” or “Edit mask”."
        )
        if layer.ndim < n:
            raise off_grid
        scan_to_world = data_to_world(scan_layer)[-n - 1 :, -n - 1 :]
        layer_to_world = data_to_world(layer)
        try:
            steps = (np.linalg.inv(scan_to_world) @ layer_to_world[-n - 1 :, -n - 1 :])[:n]
        except np.linalg.LinAlgError:
            raise off_grid from None
        whole = np.rint(steps)
        turns = np.abs(whole[:, :n])
        is_turn = all(np.array_equal(turns.sum(axis=axis), np.ones(n)) for axis in (0, 1))
        corners = np.stack(np.meshgrid(*[(0, size - 1) for size in layer.data.shape[-n:]], indexing="ij"))
        apart = np.abs((steps - whole) @ np.vstack([corners.reshape(n, -1), np.ones(2**n)])).max()
        if not is_turn or apart > _OFF_GRID_VOXELS:
            raise off_grid
        frame = _frame_of(viewer, layer, scan_layer, scan, layer.ndim - n)
        return cls(layer, scan_layer, scan, whole.astype(int), frame)

    def whole(self) -> np.ndarray:
        """Return a canonical (z, y, x) array of the scan's shape with the labels in place.

        Raises
        ------
        GeometryError
            If something is drawn outside the scan.
        """
        drawn = np.asarray(self._drawn())
        on_scan = _laid_on(drawn, self.steps, _shape(self.scan_layer, self.scan))
        if np.count_nonzero(on_scan) < np.count_nonzero(drawn):
            raise GeometryError(
                f"Layer {self.layer.name!r}: something is drawn outside the scan {self.scan_layer.name!r}, which the "
                "mask cannot hold. Erase it there, or choose the scan that it belongs to."
            )
        return np.ascontiguousarray(self.scan.to_canonical(on_scan))

    def plane(self, axis: int, index: int) -> np.ndarray:
        """Return (rows, columns) of the labels in one slice of a volume, across an axis of its canonical array.

        What is drawn outside the scan is left out.
        """
        shape = self.scan.source.geometry.canonical_shape
        steps = _then(self.scan.canonical_steps(), self.steps)
        across = int(np.abs(steps[axis, :3]).argmax())
        place = (index - steps[axis, 3]) * steps[axis, across]
        rest = [a for a in range(3) if a != axis]
        drawn = self._drawn()
        if not 0 <= place < drawn.shape[across]:
            return np.zeros([shape[a] for a in rest], drawn.dtype)
        # Only this slice is read: layers may be large, or on disk.
        cut = np.asarray(drawn[(slice(None),) * across + (int(place),)])
        within = np.delete(steps, across, axis=1)[rest]
        return _laid_on(cut, within, tuple(shape[a] for a in rest))

    def _drawn(self) -> np.ndarray:
        data = self.layer.data[0] if getattr(self.layer, "multiscale", False) else self.layer.data
        frame: np.ndarray = data[self.frame]
        return frame


def _then(second: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Return the (n, n + 1) steps that do the first and then the second."""
    n = len(first)
    both: np.ndarray = second[:, :n] @ first
    both[:, n] += second[:, n]
    return both


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


def _shape(scan_layer: Layer, scan: LayerScan) -> tuple[int, ...]:
    """Return the shape of one frame of a scan's array."""
    return tuple(int(n) for n in scan.data.shape[len(scan.frame) : scan_layer.ndim])


def _frame_of(
    viewer: Viewer, layer: Labels, scan_layer: Layer, scan: LayerScan, n_frame_axes: int
) -> tuple[int, ...]:
    """Return which of a layer's frames lies where the scan's does; the shown one where the scan has none."""
    world = np.zeros(layer.ndim)
    point = np.asarray(viewer.dims.point, dtype=float)[-layer.ndim :]
    world[layer.ndim - len(point) :] = point
    if scan.frame:
        of_scan = np.asarray(scan_layer.data_to_world(scan.data_index((0, 0, 0))), dtype=float)
        n_known = min(n_frame_axes, len(scan.frame))
        at = len(scan.frame) - n_known
        world[n_frame_axes - n_known : n_frame_axes] = of_scan[at : at + n_known]
    index = np.rint(np.asarray(layer.world_to_data(world))[:n_frame_axes]).astype(int)
    if np.any(index < 0) or np.any(index >= np.array(layer.data.shape[:n_frame_axes])):
        raise GeometryError(f"Layer {layer.name!r}: it has no frame where that of the scan is.")
    return tuple(index.tolist())
