"""What scoring has left in a benchmark's folder, which is no test scan. Masks may be the truth and are not judged."""

from __future__ import annotations

import glob
from typing import TYPE_CHECKING

from napari_dinoad.errors import ScanReadError
from napari_dinoad.files import MAP_ENDING, NIFTI_SUFFIXES, PICTURE_ENDINGS, SCAN_SUFFIXES, stem_of

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["what_scoring_wrote"]


def what_scoring_wrote(path: Path) -> str:
    """Return what a file is, if it is the map of a scan that was scored, or a picture of it; else nothing."""
    if _is_map(path):
        return "a map of −log10 p"
    return "a picture of a result" if _is_picture(path) else ""


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
