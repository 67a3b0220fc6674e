"""Masks that this program found, known again by a mark in the file: they are no truth to compare its findings with.

The mark of a NIfTI file or PNG holds a checksum of what is marked: other programs keep such texts in files that they
change, and a mask that someone has corrected is one that someone has drawn.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from napari_dinoad.errors import ScanReadError
from napari_dinoad.machine.file_names import NIFTI_SUFFIXES

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["PNG_KEYWORD", "found_mark", "is_found_mask"]

_BEGINNING = "napari-dinoad found mask "

_DIGITS = 32
"""Of the checksum; with the words before it the mark fits into the 80 bytes of NIfTI's ``descrip``."""

_VOXELS_AT_ONCE = 2**22

PNG_KEYWORD = "Software"
"""Which text of a PNG holds the mark."""


def found_mark(stored: np.ndarray) -> str:
    """Return the mark of a mask that was found, as its voxels lie in the file: those above 0 are marked."""
    shape = tuple(stored.shape)
    while shape[2:] and shape[-1] == 1:
        shape = shape[:-1]
    digest = hashlib.sha256(repr(shape).encode())
    # Bits of several slices at a time, in the file's order; eight slices make whole bytes.
    step = 8 * max(1, _VOXELS_AT_ONCE // (8 * max(1, stored[..., :1].size)))
    for start in range(0, stored.shape[-1], step):
        marked = stored[..., start : start + step] > 0
        digest.update(np.packbits(np.ravel(marked, order="F")).data)
    return f"{_BEGINNING}{digest.hexdigest()[:_DIGITS]}"


def is_found_mask(path: Path) -> bool:
    """Whether a NIfTI file or PNG is a mask that was found, and not changed since; one that cannot be read is not."""
    try:
        if path.name.lower().endswith(NIFTI_SUFFIXES):
            return _is_found_nifti(path)
        return path.suffix.lower() == ".png" and _is_found_png(path)
    except ScanReadError:
        # Told when it is read.
        return False


def _is_found_nifti(path: Path) -> bool:
    import nibabel as nib

    from napari_dinoad.images.nifti_files import open_nifti, read_frames

    image = open_nifti(path)
    if not isinstance(image, nib.Nifti1Image):
        return False
    mark = image.header["descrip"].item()
    return bool(mark.startswith(_BEGINNING.encode())) and mark.decode("latin1") == found_mark(
        read_frames(path)
    )


def _is_found_png(path: Path) -> bool:
    from napari_dinoad.images.pictures.pixels import open_image, read_page

    with open_image(path) as image:
        mark = image.info.get(PNG_KEYWORD)
        if not (isinstance(mark, str) and mark.startswith(_BEGINNING)):
            return False
        pixels = read_page(image, path).pixels
        return pixels.ndim == 2 and mark == found_mark(pixels)
