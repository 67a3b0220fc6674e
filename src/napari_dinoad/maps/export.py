"""Arrays on the scan's grid → files: NIfTI with the scan's own affine, regions as CSV, report as JSON."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dinoad.errors import SettingError
from napari_dinoad.machine.atomic_files import atomic_path, write_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    import nibabel as nib

    from napari_dinoad.images.nifti_files import Holding
    from napari_dinoad.images.volume import Volume

__all__ = ["REGION_COLUMNS", "csv_table", "nifti_on_grid", "save_on_grid", "write_regions_csv"]

_SCANNER = 1
"""NIfTI's code for scanner-based coordinates."""

_QFORM_TOLERANCE_MM = 1e-3
"""A quaternion that is farther than this from the affine does not describe it."""

REGION_COLUMNS = (
    "label",
    "n_voxels",
    "volume_mm3",
    "area_mm2",
    "area_px",
    "peak_neg_log10_p",
    "n_normal_reaching",
    "p_value_corrected",
    "peak_i",
    "peak_j",
    "peak_k",
    "peak_x_mm",
    "peak_y_mm",
    "peak_z_mm",
    "centroid_x_mm",
    "centroid_y_mm",
    "centroid_z_mm",
    "extent_x_mm",
    "extent_y_mm",
    "extent_z_mm",
)


def nifti_on_grid(
    canonical: np.ndarray, source: Volume, holding: Holding = "scan", *, is_found: bool = False
) -> nib.Nifti1Image:
    """Return a NIfTI image of a canonical (z, y, x) array on the grid of the scan.

    Shape and orientation are as stored. For a NIfTI scan the affine is bit-identical, since sform, qform, their codes
    and the unit are the scan's own, and the version (1 or 2) too; for other scans the affine is rounded to
    NIfTI-1's float32. Values are stored unscaled. Text fields (``descrip``, ``aux_file``, ``db_name``,
    ``intent_name``), extensions and all else that could name a patient are empty. ``holding`` becomes the intent
    code, by which viewers tell masks and maps from scans. A mask that was found (``is_found``) says so in
    ``descrip``; see `napari_dinoad.images.found_masks`.
    """
    import nibabel as nib

    from napari_dinoad.images.nifti_files import INTENTS

    # As it lies in memory: NIfTI's order is that of a canonical array, which a copy would turn and nibabel turn back.
    stored = source.geometry.to_stored(canonical)
    header = source.header
    if isinstance(header, nib.Nifti1Header):
        # NIfTI-2 headers are Nifti1Headers to nibabel, but hold the affine in float64.
        kind = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
        # The header's own affine, in the header's own unit: `Geometry` holds millimetres.
        image = kind(stored, header.get_best_affine())
        _copy_space(header, image)
    else:
        image = nib.Nifti1Image(stored, source.geometry.affine)
        _state_space(image, source)
    image.header["intent_code"] = INTENTS[holding]
    if is_found:
        from napari_dinoad.images.found_masks import found_mark

        image.header["descrip"] = found_mark(stored)
    return image


def _copy_space(header: nib.Nifti1Header, image: nib.Nifti1Image) -> None:
    """Give the image the scan's sform, qform and unit, byte for byte, so every viewer places both alike."""
    target = image.header
    # The first entry is the handedness of the qform; a 2D scan's slice thickness counts in its affine too.
    target["pixdim"][:4] = header["pixdim"][:4]
    for name in (
        "sform_code", "qform_code", "srow_x", "srow_y", "srow_z",
        "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z",
    ):  # fmt: skip
        target[name] = header[name]
    from napari_dinoad.images.nifti_files import space_unit

    unit = space_unit(header)
    target.set_xyzt_units(xyz="mm" if unit == "unknown" else unit)


def _state_space(image: nib.Nifti1Image, source: Volume) -> None:
    """Say where a scan without NIfTI header lies: scanner coordinates, as sform and where possible as qform."""
    if not source.geometry.is_physical:
        image.header.set_xyzt_units(xyz="unknown")
        return
    affine = source.geometry.affine
    image.set_sform(affine, _SCANNER)
    image.set_qform(affine, _SCANNER)
    if not np.allclose(image.get_qform(), affine, atol=_QFORM_TOLERANCE_MM):
        # A quaternion cannot say shear; readers then go by the sform alone.
        image.set_qform(affine, 0)
    image.header.set_xyzt_units(xyz="mm")


def save_on_grid(
    path: Path, canonical: np.ndarray, source: Volume, holding: Holding = "scan", *, is_found: bool = False
) -> Path:
    """Write a canonical (z, y, x) array as NIfTI (``.nii`` or ``.nii.gz``) on the scan's grid, atomically.

    ``holding`` and ``is_found`` are what the header says that it is; see `nifti_on_grid`.

    Raises
    ------
    SettingError
        If ``path`` does not end in ``.nii`` or ``.nii.gz``.
    """
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        raise SettingError(f"Export: expected a name ending in .nii.gz or .nii, got {path.name!r}.")
    import nibabel as nib

    image = nifti_on_grid(canonical, source, holding, is_found=is_found)
    with atomic_path(path) as temporary:
        nib.save(image, temporary)
    return path


def write_regions_csv(path: Path, regions: Iterable[Mapping[str, Any]]) -> None:
    """Write one line a region (see `Findings.region_dicts`), atomically; entries that do not apply stay empty."""
    write_text(path, csv_table(REGION_COLUMNS, map(_row, regions)))


def csv_table(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """Return rows as CSV with a header; entries that a row lacks stay empty."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def _row(values: Mapping[str, Any]) -> dict[str, Any]:
    row = {name: values[name] for name in REGION_COLUMNS if name in values}
    row.update(zip(("peak_i", "peak_j", "peak_k"), values.get("peak_ijk", ()), strict=False))
    for point in ("peak", "centroid", "extent"):
        axes = (f"{point}_{axis}_mm" for axis in "xyz")
        row.update(zip(axes, values.get(f"{point}_mm", ()), strict=False))
    return row
