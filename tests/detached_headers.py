"""NRRD and MetaImage files that name another file for their voxels."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

META_IMAGE = (
    "ObjectType = Image\nNDims = 3\nDimSize = 4 3 2\nElementType = MET_SHORT\n{}\nElementDataFile = {}"
)
NRRD = "NRRD0004\ntype: short\ndimension: 3\nsizes: 4 3 2\nendian: little\n{}\ndata file: {}"


def save_with_voxels_apart(path: Path, voxels: np.ndarray) -> None:
    """Write the header of a scan of 4 × 3 × 2 voxels (24,) int16, and these as ``.raw`` beside it."""
    raw = path.with_suffix(".raw")
    raw.write_bytes(voxels.astype("<i2").tobytes())
    is_nrrd = path.suffix in (".nrrd", ".nhdr")
    text = (
        NRRD.format("encoding: raw", raw.name)
        if is_nrrd
        else META_IMAGE.format("BinaryData = True", raw.name)
    )
    path.write_text(f"{text}\n")
