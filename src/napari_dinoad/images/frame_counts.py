"""How many frames a scan has to choose from: volumes of a 4D scan, pages of a stack. Headers only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_dinoad.images.readers import dicom_beside, is_dicom
from napari_dinoad.machine.file_names import format_of

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["frames_in"]


def frames_in(path: Path) -> int | None:
    """Return the number of frames of a scan that is named by one file; None when there is no such scan.

    Raises
    ------
    ScanReadError
        If the file is damaged.
    """
    if not path.is_file():
        return None
    scan_format = format_of(path)
    if scan_format == "nifti":
        from napari_dinoad.images.nifti_files import count_frames, open_nifti

        return count_frames(open_nifti(path))
    if scan_format == "itk":
        from napari_dinoad.images.itk.reader import itk_shape

        return itk_shape(path)[2]
    if scan_format == "picture":
        from napari_dinoad.images.pictures.reader import image_layout

        return image_layout(path).n_frames
    return _frames_in_series(path) if is_dicom(path) else None


def _frames_in_series(path: Path) -> int | None:
    """Return the number of frames of the series of a DICOM file, whose other files lie beside it."""
    from napari_dinoad.images.dicom.grouping import group_series

    series = group_series(dicom_beside(path))[0]
    one = next((one for one in series if path in (*one.files, *one.copies)), None)
    if one is None:
        return None
    return one.n_frames if one.frames[0].is_placed else len(one.frames)
