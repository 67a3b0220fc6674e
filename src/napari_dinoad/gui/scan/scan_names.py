"""Scans that have the same name, told apart by the folders they are from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from napari_dinoad.gui.viewer.layer_marks import is_scan_layer, scan_id_of
from napari_dinoad.gui.viewer.layer_scan import METADATA_KEY, ScanSource, path_of_layer
from napari_dinoad.machine.file_names import short_paths

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

__all__ = ["tell_apart"]


def tell_apart(viewer: Viewer, layer: Layer) -> None:
    """Put the folder behind the names of all scans that are called like one that was just opened.

    What the user has named stays as it is, and so do scans of one folder.
    """
    name = _name_of(layer)
    alike = [(other, path_of_layer(other)) for other in viewer.layers if name and _name_of(other) == name]
    known = [(other, path) for other, path in alike if path is not None]
    if len(known) < 2 or path_of_layer(layer) is None:
        return
    # A scan of several files is known by their folder.
    places = short_paths([(path if path.is_dir() else path.parent) / "scan" for _, path in known])
    given = re.compile(rf"{re.escape(name)}( \[\d+\])?")
    for (other, _), place in zip(known, places, strict=True):
        folder = str(Path(place).parent)
        if folder != "." and given.fullmatch(other.name):
            before, other.name = other.name, f"{name} ({folder})"
            _rename_masks(viewer, other, before)


def _rename_masks(viewer: Viewer, scan: Layer, before: str) -> None:
    """Let masks by hand have the new name of their scan, where they had the one before."""
    for mask in viewer.layers:
        if scan_id_of(mask) == scan.unique_id and mask.name.startswith(f"{before} · "):
            mask.name = f"{scan.name}{mask.name.removeprefix(before)}"


def _name_of(layer: Layer) -> str:
    source = layer.metadata.get(METADATA_KEY)
    is_scan = is_scan_layer(layer) and isinstance(source, ScanSource)
    return source.name if is_scan else ""
