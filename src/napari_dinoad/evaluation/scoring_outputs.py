"""What scoring has left in a benchmark's folder, which is no test scan and no truth."""

from __future__ import annotations

import glob
from typing import TYPE_CHECKING

from napari_dinoad.errors import ScanReadError
from napari_dinoad.images.mask_names import masked_names
from napari_dinoad.machine.file_names import (
    MAP_ENDING,
    NIFTI_SUFFIXES,
    PICTURE_ENDINGS,
    SCAN_SUFFIXES,
    stem_of,
)

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FOUND_MASK", "what_scoring_wrote"]

FOUND_MASK = "a mask that napari-dinoad found, not the truth"
"""Why a mask is not used."""


def what_scoring_wrote(path: Path) -> str:
    """Return what a file is, if scoring wrote it of a scan, and what it is not; else nothing. DICOM is not judged."""
    if _is_map(path):
        return "a map of −log10 p, not a scan"
    if _is_mask(path):
        return FOUND_MASK
    return "a picture of a result, not a scan" if _is_picture(path) else ""


def _is_mask(path: Path) -> bool:
    """Whether a file is a mask, by its name as of one and by its mark."""
    if not masked_names(stem_of(path)):
        return False
    from napari_dinoad.images.found_masks import is_found_mask

    return is_found_mask(path)


def _is_map(path: Path) -> bool:
    """Whether a file is a map, by the name that it was written with and its header."""
    if not (stem_of(path).endswith(MAP_ENDING) and path.name.lower().endswith(NIFTI_SUFFIXES)):
        return False
    from napari_dinoad.images.nifti_files import holding_of, open_nifti

    try:
        return holding_of(open_nifti(path)) == "map"
    except ScanReadError:
        # Told when it is read.
        return False


def _is_picture(path: Path) -> bool:
    """Whether a file is what is drawn of an image that lies beside it, by their names."""
    name = stem_of(path)
    of = next((name.removesuffix(ending) for ending in PICTURE_ENDINGS if name.endswith(ending)), "")
    if not of or path.suffix.lower() != ".png":
        return False
    beside = path.parent.glob(f"{glob.escape(of)}.*")
    return any(stem_of(other) == of and other.name.lower().endswith(SCAN_SUFFIXES) for other in beside)
