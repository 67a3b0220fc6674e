"""Layers from DICOM segmentations: whether a segmentation is, as its header says, of a scan that it may lie over."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from napari_dinoad.errors import ScanReadError
from napari_dinoad.gui.viewer.layer_marks import is_from_file
from napari_dinoad.gui.viewer.layer_scan import path_of_layer
from napari_dinoad.images.readers import is_dicom_mask

if TYPE_CHECKING:
    from pathlib import Path

    from napari.layers import Layer

    from napari_dinoad.gui.viewer.layer_scan import ScanSource
    from napari_dinoad.images.dicom.segmentations import Unlike

__all__ = ["OF_ANOTHER", "OVER_ANOTHER", "segmentation_unlike"]

OF_ANOTHER: dict[Unlike | None, str] = {
    "person": "of another patient (PatientID)",
    "place": "in another frame of reference",
}
"""What a segmentation is that must not lie over a scan, by its header."""

OVER_ANOTHER: dict[Unlike, str] = {
    "identifier": (
        "names another PatientID than “{}”, though images of it. That is so where one of both was anonymised; else "
        "it may be another person's."
    ),
    "series": "was drawn on another series than “{}”.",
}
"""What is told of a segmentation that may lie over a scan, by its header; to be given the scan's name."""

_MOST_KNOWN = 256


def segmentation_unlike(layer: Layer, scan: ScanSource) -> Unlike | None:
    """Return by what a layer from a DICOM segmentation is of another scan; None where nothing is known of that."""
    path = path_of_layer(layer)
    if path is None or not scan.dicom_files or not is_from_file(layer):
        return None
    try:
        return _unlike(path, path.stat().st_mtime_ns, scan.dicom_files)
    except (OSError, ScanReadError):
        return None


@lru_cache(_MOST_KNOWN)
def _unlike(path: Path, written_ns: int, scan_files: tuple[Path, ...]) -> Unlike | None:
    """Read the headers, once for each state of a file."""
    if not is_dicom_mask(path):
        return None
    from napari_dinoad.images.dicom.segmentations import unlike_scan

    return unlike_scan(path, scan_files)
