"""What the metadata of a layer say of it: a scan, or a map or mask, of which scan, and by whom."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from napari.layers import Image

from napari_dinoad.gui.viewer.layer_scan import METADATA_KEY

if TYPE_CHECKING:
    from collections.abc import Hashable

    from napari.layers import Layer
    from napari.viewer import Viewer

    from napari_dinoad.gui.viewer.layer_scan import LayerScan
    from napari_dinoad.images.nifti_files import Holding

__all__ = [
    "OVERLAY_KEY",
    "frame_of_mark",
    "holding_of_layer",
    "is_copy_over",
    "is_drawn_over",
    "is_found_mask",
    "is_from_file",
    "is_kept_by_plugin",
    "is_overlay",
    "is_scan_layer",
    "mark_copy",
    "mark_drawn",
    "mark_of_file",
    "mark_overlay",
    "note_opened_over",
    "overlays_of",
    "scan_id_of",
]

OVERLAY_KEY = "dinoad_overlay"
"""Key in ``layer.metadata`` of heatmaps and masks, so that they are not offered as scans."""


def is_overlay(layer: Layer) -> bool:
    """Whether a layer is a heatmap or mask of the plugin, not a scan."""
    return bool(layer.metadata.get(OVERLAY_KEY))


def is_scan_layer(layer: Layer) -> bool:
    """Whether a layer is an image that may be a scan: no heatmap of the plugin, and no labels."""
    return isinstance(layer, Image) and not is_overlay(layer)


@dataclass(frozen=True)
class _Mark:
    """What an overlay's metadata say of it; a duplicate, which the user made, has another id of its own."""

    scan_id: Hashable
    own_id: Hashable
    holding: Holding = field(default="scan", compare=False)
    frame: tuple[int, ...] = field(default=(), compare=False)
    is_drawn: bool = field(default=False, compare=False)
    opened_over: Hashable = field(default=None, compare=False)


def mark_overlay(overlay: Layer, layer: Layer, scan: LayerScan, holding: Holding = "scan") -> None:
    """Note in a layer's metadata that it lies over a scan's layer, and the scan's true geometry, for saving.

    ``holding`` says what it holds, where it is a map or a mask.
    """
    _mark(overlay, _Mark(layer.unique_id, overlay.unique_id, holding, scan.frame), scan)


def mark_drawn(mask: Layer, layer: Layer, scan: LayerScan) -> None:
    """Note in the metadata of a layer in which a person draws over which scan's layer, and the true geometry."""
    _mark(mask, _Mark(layer.unique_id, None, "mask", scan.frame, is_drawn=True), scan)


def _mark(overlay: Layer, mark: _Mark, scan: LayerScan) -> None:
    overlay.metadata[OVERLAY_KEY] = mark
    if scan.is_canonical:
        overlay.metadata[METADATA_KEY] = scan.source


def holding_of_layer(metadata: dict[str, Any]) -> Holding:
    """Return what a layer of these metadata holds; a scan where the plugin did not make it a map or mask."""
    mark = metadata.get(OVERLAY_KEY)
    return mark.holding if isinstance(mark, _Mark) else "scan"


def mark_of_file(holding: Holding) -> dict[str, Any]:
    """Return metadata that say of a layer that it is a mask or map that was read from a file."""
    return {OVERLAY_KEY: _Mark(None, None, holding)}


def is_from_file(layer: Layer) -> bool:
    """Whether a layer is a mask or map that was read from a file."""
    mark = layer.metadata.get(OVERLAY_KEY)
    return isinstance(mark, _Mark) and mark.scan_id is None


def note_opened_over(layer: Layer, scan: Layer) -> None:
    """Note in the metadata of a mask or map that was read from a file of which scan's layer it is."""
    layer.metadata[OVERLAY_KEY] = replace(layer.metadata[OVERLAY_KEY], opened_over=scan.unique_id)


def is_kept_by_plugin(layer: Layer) -> bool:
    """Whether the plugin itself laid this layer over a scan; not so copies, nor what came from a file."""
    mark = layer.metadata.get(OVERLAY_KEY)
    return isinstance(mark, _Mark) and mark.own_id == layer.unique_id


def is_copy_over(layer: Layer, scan: Layer) -> bool:
    """Whether a layer was copied from the mask that was found in a scan's layer."""
    mark = layer.metadata.get(OVERLAY_KEY)
    is_mask_of = isinstance(mark, _Mark) and mark.holding == "mask" and mark.scan_id == scan.unique_id
    return is_mask_of and not is_kept_by_plugin(layer) and not mark.is_drawn


def is_drawn_over(layer: Layer, scan: Layer) -> bool:
    """Whether a layer was made to draw in over a scan's layer, or is a duplicate of such a one."""
    mark = layer.metadata.get(OVERLAY_KEY)
    return isinstance(mark, _Mark) and mark.is_drawn and mark.scan_id == scan.unique_id


def frame_of_mark(layer: Layer, scan: Layer) -> tuple[int, ...] | None:
    """Return of which frame of a scan's layer one is that was drawn or copied over it; None where it was not."""
    is_over = is_copy_over(layer, scan) or is_drawn_over(layer, scan)
    return layer.metadata[OVERLAY_KEY].frame if is_over else None


def scan_id_of(layer: Layer) -> Hashable | None:
    """Return the ``unique_id`` of the scan's layer that a layer of the plugin, or from a file, is of, where known."""
    mark = layer.metadata.get(OVERLAY_KEY)
    return (mark.scan_id or mark.opened_over) if isinstance(mark, _Mark) else None


def mark_copy(copy: Layer, mask: Layer) -> None:
    """Note in a layer's metadata that it was copied from a mask: what is in it is a person's from now on."""
    copy.metadata.update(mask.metadata)
    copy.metadata[OVERLAY_KEY] = replace(mask.metadata[OVERLAY_KEY], own_id=None)


def is_found_mask(metadata: dict[str, Any]) -> bool:
    """Whether a layer of these metadata is the mask that was found, or a duplicate that is not marked as a copy."""
    mark = metadata.get(OVERLAY_KEY)
    return isinstance(mark, _Mark) and mark.holding == "mask" and mark.own_id is not None


def overlays_of(viewer: Viewer, layer: Layer) -> list[Layer]:
    """Return the layers that the plugin laid over a scan's layer, also those of a dock that was closed since."""
    return [
        known
        for known in viewer.layers
        if known.metadata.get(OVERLAY_KEY) == _Mark(layer.unique_id, known.unique_id)
    ]
