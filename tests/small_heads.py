"""Small scans that look enough like heads for the whole pipeline to run in seconds."""

from __future__ import annotations

import nibabel as nib
import numpy as np
from pydicom.uid import MRImageStorage

from dicom_files import save_all, series_datasets

SHAPE = (30, 40, 16)
"""Stored shape (i, j, k) of the small heads."""


def make_head(seed: int, *, lesion: bool = False) -> np.ndarray:
    """Return a small head (i, j, k) float32: a rim, textured tissue, dark ventricles, noise; each seed differs."""
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*[np.linspace(-1.15, 1.15, n) for n in SHAPE], indexing="ij")
    stretch = rng.uniform(0.92, 1.08, 3)
    distance = np.sqrt(sum((a / s) ** 2 for a, s in zip(axes, stretch, strict=True)))
    values = np.where(distance < 1, 100.0, 0.0) + np.where((distance > 0.9) & (distance < 1), 80.0, 0.0)
    ventricle = ((np.abs(axes[0]) - 0.2) / 0.12) ** 2 + (axes[1] / 0.4) ** 2 + (axes[2] / 0.4) ** 2 < 1
    values[ventricle] = 30
    values += np.where(distance < 0.9, 8 * np.sin(9 * axes[0]) * np.sin(9 * axes[1]), 0)
    if lesion:
        values[lesion_of_head()] = 190
    return np.maximum(values + rng.normal(0, 2, SHAPE), 0).astype(np.float32)


def lesion_of_head() -> np.ndarray:
    """Return where the lesion of an abnormal small head lies (i, j, k)."""
    axes = np.meshgrid(*[np.linspace(-1.15, 1.15, n) for n in SHAPE], indexing="ij")
    return (axes[0] - 0.5) ** 2 + (axes[1] - 0.3) ** 2 + axes[2] ** 2 < 0.25**2


AFFINE = np.array([[-5.0, 0, 0, 75], [0, 5.0, 0, -100], [0, 0, 8.0, -60], [0, 0, 0, 1]])


def save_head(path, seed, *, lesion=False):
    nib.save(nib.Nifti1Image(make_head(seed, lesion=lesion), AFFINE), path)
    return path


def save_dicom_head(folder, seed, *, lesion=False, leave_out=None, **tags):
    """Write a small head as a DICOM series, axial as scanners store it, under random names; perhaps with a hole."""
    slices = np.round(make_head(seed, lesion=lesion)).astype(np.int16).transpose(2, 1, 0)[:, ::-1]
    # (k, j, i) with rows from front to back; LPS has x and y the other way round than RAS.
    places = [(-75, 100 - 5 * (SHAPE[1] - 1), -60 + 8 * k) for k in range(SHAPE[2])]
    keep = [k for k in range(SHAPE[2]) if k != leave_out]
    tags = {"Modality": "MR", "SOPClassUID": MRImageStorage} | tags
    datasets = series_datasets(slices[keep], spacing=(5, 5), places=[places[k] for k in keep], **tags)
    return save_all(datasets, folder, np.random.default_rng(seed))


def add_bad_scans(folder):
    """Add a truncated scan, a text file, an empty folder, a 4D series and an all-zero volume."""
    whole = save_head(folder / "truncated.nii.gz", 7)
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 3])
    (folder / "text.nii").write_text("this is no scan\n" * 40)
    (folder / "empty").mkdir()
    series = np.stack([make_head(8), make_head(9)], axis=-1)
    nib.save(nib.Nifti1Image(series, AFFINE), folder / "series.nii.gz")
    nib.save(nib.Nifti1Image(np.zeros(SHAPE, np.float32), AFFINE), folder / "zero.nii.gz")


BAD_SCANS = {
    "truncated.nii.gz": "not a readable NIfTI",
    "text.nii": "not a readable NIfTI",
    "empty": "empty folder",
    "series.nii.gz": "2 frames",
    "zero.nii.gz": "no signal",
}
"""What `add_bad_scans` adds, and a part of the reason for which each is skipped."""
