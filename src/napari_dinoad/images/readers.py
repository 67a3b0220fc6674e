"""One scan on disk → `Volume`: NIfTI volumes and slices, PNG/JPEG/TIFF/BMP images."""

from __future__ import annotations

import logging
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from PIL import Image, UnidentifiedImageError

from napari_dinoad.errors import GeometryError, ScanReadError
from napari_dinoad.files import SCAN_SUFFIXES, stem_of
from napari_dinoad.images.volume import Geometry, Volume

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Image

__all__ = ["IMAGE_SUFFIXES", "NIFTI_SUFFIXES", "open_nifti", "read_volume", "to_grey"]

logger = logging.getLogger(__name__)

NIFTI_SUFFIXES = (".nii", ".nii.gz")
IMAGE_SUFFIXES = tuple(s for s in SCAN_SUFFIXES if not s.startswith(".nii"))

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Weights of red, green and blue in grey (ITU-R BT.601)."""

_FULL_SCALE = {np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0}


def read_volume(path: str | Path, *, frame: int | None = None) -> Volume:
    """Read one scan.

    Parameters
    ----------
    path : str or Path
        A NIfTI file (``.nii``, ``.nii.gz``; 2D, 3D, or 4D with ``frame``) or a 2D image
        (PNG, JPEG, TIFF, BMP; colour becomes grey).
    frame : int, optional
        Which frame of a 4D series to take, from 0.

    Returns
    -------
    Volume
        Values (z, y, x) float32 in canonical orientation, with the geometry as stored.

    Raises
    ------
    ScanReadError
        If the file is missing, of an unknown kind, damaged, 4D without ``frame``, or empty (all voxels the
        same); the message names the file.
    """
    path = Path(path)
    if not path.is_file():
        raise ScanReadError(f"{path}: expected a scan, found no such file.")
    name = path.name.lower()
    try:
        if name.endswith(NIFTI_SUFFIXES):
            volume = _read_nifti(path, frame)
        elif name.endswith(IMAGE_SUFFIXES):
            volume = _read_image(path)
        else:
            raise ScanReadError(
                f"{path}: expected one of {', '.join(SCAN_SUFFIXES)}; this ending is not known."
            )
    except GeometryError as error:
        raise ScanReadError(f"{path}: {error}") from error
    _require_signal(volume, path)
    return volume


def open_nifti(path: Path) -> Nifti1Image:
    """Open a NIfTI file, reading its header only; `ScanReadError` when it is none."""
    try:
        image = nib.load(path)
    except (ImageFileError, HeaderDataError, OSError, EOFError, ValueError, zlib.error) as error:
        raise ScanReadError(
            f"{path}: not a readable NIfTI file ({_reason(error, path)}). Export or download it again."
        ) from error
    if not isinstance(image, nib.Nifti1Image):
        raise ScanReadError(f"{path}: expected NIfTI, got {type(image).__name__}.")
    return image


def to_grey(pixels: np.ndarray) -> np.ndarray:
    """Return grey float32 pixels (…) of colour pixels (…, 3 or 4); an alpha channel is left out."""
    return np.asarray(pixels[..., :3].astype(np.float32) @ _LUMA)


def _read_nifti(path: Path, frame: int | None) -> Volume:
    image = open_nifti(path)
    dtype = image.get_data_dtype()
    try:
        stored = (
            np.asanyarray(image.dataobj)
            if dtype.names
            else image.get_fdata(dtype=np.float32, caching="unchanged")
        )
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise ScanReadError(
            f"{path}: the file is damaged or cut short ({_reason(error, path)}). Export or download it again."
        ) from error
    if stored.dtype.names:
        stored = to_grey(np.stack([stored[c] for c in stored.dtype.names], axis=-1))
        dtype = np.dtype(np.uint8)
    stored = _choose_frame(stored, frame, path)
    geometry = Geometry(stored.shape, image.affine)
    values = np.ascontiguousarray(geometry.to_canonical(stored), dtype=np.float32)
    scaled = image.dataobj.slope != 1.0 or image.dataobj.inter != 0.0
    full_scale = None if scaled else _FULL_SCALE.get(np.dtype(dtype))
    return Volume(_without_nan(values), geometry, stem_of(path), image.header.copy(), full_scale)


def _choose_frame(stored: np.ndarray, frame: int | None, path: Path) -> np.ndarray:
    n_frames = int(np.prod(stored.shape[3:], dtype=int))
    if n_frames == 1:
        return stored
    if frame is None:
        raise ScanReadError(
            f"{path}: a series of {n_frames} frames (shape {stored.shape}); expected one 3D volume. "
            "Choose one frame or split the series."
        )
    if not 0 <= frame < n_frames:
        raise ScanReadError(f"{path}: frame: expected 0 to {n_frames - 1}, got {frame}.")
    return stored.reshape(*stored.shape[:3], n_frames)[..., frame]


def _read_image(path: Path) -> Volume:
    try:
        with Image.open(path) as image:
            n_pages = int(getattr(image, "n_frames", 1))
            if n_pages > 1:
                raise ScanReadError(f"{path}: {n_pages} pages; expected a single 2D image.")
            pixels = _pixels(image)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise ScanReadError(f"{path}: not a readable image ({_reason(error, path)}).") from error
    full_scale = _FULL_SCALE.get(pixels.dtype)
    grey = to_grey(pixels) if pixels.ndim == 3 else pixels.astype(np.float32)
    geometry = Geometry.of_pixels(grey.shape)
    return Volume(_without_nan(grey[np.newaxis]), geometry, stem_of(path), None, full_scale)


def _pixels(image: Any) -> np.ndarray:
    """Return the pixels (rows, columns) or (rows, columns, 3), with palettes and odd modes resolved."""
    if image.mode in ("1", "P", "PA", "LA", "CMYK", "YCbCr", "HSV", "LAB"):
        image = image.convert("L" if image.mode in ("1", "LA") else "RGB")
    pixels = np.asarray(image)
    if image.mode == "I" and pixels.min() >= 0 and pixels.max() <= _FULL_SCALE[np.dtype(np.uint16)]:
        return pixels.astype(np.uint16)
    return pixels.astype(pixels.dtype.newbyteorder("="))


def _without_nan(values: np.ndarray) -> np.ndarray:
    finite = np.isfinite(values)
    if finite.all():
        return values
    logger.info("%d voxels without a finite value were set to 0.", values.size - np.count_nonzero(finite))
    return np.where(finite, values, np.float32(0))


def _require_signal(volume: Volume, path: Path) -> None:
    low, high = float(volume.values.min()), float(volume.values.max())
    if low == high:
        raise ScanReadError(f"{path}: no signal: every voxel is {low:g}.")


def _reason(error: Exception, path: Path) -> str:
    first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return first_line.rstrip(".").replace(str(path), path.name)
