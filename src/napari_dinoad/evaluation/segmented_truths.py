"""DICOM segmentations → truth on the grid of the series that they were drawn on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_dinoad.errors import ScanReadError
from napari_dinoad.evaluation.placed_segments import mark_in_place
from napari_dinoad.images.dicom.headers import series_of_file
from napari_dinoad.images.dicom.segmentations import read_segmentation, segmented_images, unlike_scan

if TYPE_CHECKING:
    from pathlib import Path

    from napari_dinoad.images.volume import Volume

__all__ = ["read_segmented_truth", "segmented_truth_notes"]

_TOLD_IDENTIFIER = (
    "The segmentation names another PatientID than the scan, though its very images. That is so where one of both "
    "was anonymised; else it may be another person's."
)


def read_segmented_truth(path: Path, source: Volume) -> np.ndarray:
    """Return where any segment of a DICOM segmentation lies on the grid of a scan: (z, y, x) bool.

    Raises
    ------
    ScanReadError
        If it cannot be read, was drawn on another series, is another person's, or does not lie on the scan's voxels.
    """
    _require_same_scan(path, source)
    truth = np.zeros(source.geometry.canonical_shape, dtype=bool)
    for one in read_segmentation(path):
        if one.geometry.is_physical and source.geometry.is_physical:
            # The distance of slices is told by two of them only, which may be every other one.
            mark_in_place(truth, one.labels > 0, one.geometry, source.geometry, path, may_lack_slices=True)
        elif one.labels.shape == truth.shape:
            truth |= one.labels > 0
        else:
            raise ScanReadError(
                f"{path}: expected a mask of the scan's shape {truth.shape}, got {one.labels.shape}."
            )
    return truth


def segmented_truth_notes(path: Path, source: Volume) -> tuple[str, ...]:
    """Return what users should know of a DICOM segmentation that was read as the truth of a scan."""
    if source.dicom_files and unlike_scan(path, source.dicom_files) == "identifier":
        return (_TOLD_IDENTIFIER,)
    return ()


def _require_same_scan(path: Path, source: Volume) -> None:
    if not source.dicom_files:
        return
    unlike = unlike_scan(path, source.dicom_files)
    if unlike in (None, "identifier"):
        return
    uids = segmented_images(path).series_uids
    if unlike == "person":
        expected, found = "of its scan's patient", "is of another patient (PatientID)"
    elif unlike == "place" and not uids:
        expected, found = "in its scan's frame of reference", "lies in another one (FrameOfReferenceUID)"
    else:
        own = series_of_file(source.dicom_files[0]).uid.partition("/")[0]
        drawn_on = ", ".join(sorted(f"…{other[-8:]}" for other in uids)) or "not named"
        expected = f"of its scan's series (UID …{own[-8:]})"
        found = f"was drawn on another series or image (series UID {drawn_on})"
    raise ScanReadError(
        f"{path}: expected a segmentation {expected}, found one that {found}. Give the scan its own, or convert the "
        "segmentation to NIfTI on the scan's grid."
    )
