"""Arrays on the scan's grid → files: NIfTI with the scan's own affine, regions as CSV, report as JSON."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np

from napari_dinoad.errors import SettingError
from napari_dinoad.files import atomic_path, write_text

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from napari_dinoad.images.volume import Volume
    from napari_dinoad.maps.regions import Region

__all__ = ["REGION_COLUMNS", "nifti_on_grid", "save_on_grid", "write_regions_csv"]

REGION_COLUMNS = (
    "label",
    "n_voxels",
    "volume_mm3",
    "area_mm2",
    "area_px",
    "peak_neg_log10_p",
    "peak_i",
    "peak_j",
    "peak_k",
    "peak_x_mm",
    "peak_y_mm",
    "peak_z_mm",
    "centroid_x_mm",
    "centroid_y_mm",
    "centroid_z_mm",
)


def nifti_on_grid(canonical: np.ndarray, source: Volume) -> nib.Nifti1Image:
    """Return a NIfTI image of a canonical (z, y, x) array on the grid of the scan.

    Shape and orientation are as stored, the affine is bit-identical, and the codes that say how the affine
    came about (sform, qform, units) are the scan's own. Patient-related header fields are not copied.
    """
    stored = np.ascontiguousarray(source.geometry.to_stored(canonical))
    image = nib.Nifti1Image(stored, source.geometry.affine)
    header = source.header
    if isinstance(header, nib.Nifti1Header):
        _copy_space(header, image)
    image.header.set_xyzt_units(xyz="mm" if source.geometry.is_physical else "unknown")
    return image


def _copy_space(header: nib.Nifti1Header, image: nib.Nifti1Image) -> None:
    """Give the image the scan's sform and qform, byte for byte, so every viewer places both alike."""
    target = image.header
    n_axes = min(len(image.shape), 3)
    target["pixdim"][: n_axes + 1] = header["pixdim"][: n_axes + 1]
    for name in (
        "sform_code", "qform_code", "srow_x", "srow_y", "srow_z",
        "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z",
    ):  # fmt: skip
        target[name] = header[name]


def save_on_grid(path: Path, canonical: np.ndarray, source: Volume) -> Path:
    """Write a canonical (z, y, x) array as NIfTI (``.nii`` or ``.nii.gz``) on the scan's grid, atomically.

    Raises
    ------
    SettingError
        If ``path`` does not end in ``.nii`` or ``.nii.gz``.
    """
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        raise SettingError(f"Export: expected a name ending in .nii.gz or .nii, got {path.name!r}.")
    image = nifti_on_grid(canonical, source)
    with atomic_path(path) as temporary:
        nib.save(image, temporary)
    return path


def write_regions_csv(path: Path, regions: Iterable[Region]) -> None:
    """Write one line a region, atomically; entries that do not apply stay empty."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, REGION_COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for region in regions:
        writer.writerow(_row(region))
    write_text(path, stream.getvalue())


def _row(region: Region) -> dict[str, Any]:
    values = region.to_dict()
    row = {name: values[name] for name in REGION_COLUMNS if name in values}
    row.update(zip(("peak_i", "peak_j", "peak_k"), values["peak_ijk"], strict=False))
    for point in ("peak", "centroid"):
        axes = (f"{point}_{axis}_mm" for axis in "xyz")
        row.update(zip(axes, values.get(f"{point}_mm", ()), strict=False))
    return row
