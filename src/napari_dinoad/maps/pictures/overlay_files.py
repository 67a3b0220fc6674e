"""Mask and heatmap of a 2D scan as PNG on the image's own pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from napari_dinoad.errors import SettingError
from napari_dinoad.images.found_masks import PNG_KEYWORD, found_mark
from napari_dinoad.machine.atomic_files import atomic_path
from napari_dinoad.maps.pictures.panels import heat_colour, heat_share
from napari_dinoad.settings import HEATMAP_LIMITS

if TYPE_CHECKING:
    from pathlib import Path

    from napari_dinoad.images.volume import Volume
    from napari_dinoad.maps.anomaly_map import AnomalyMask

__all__ = ["image_plane", "save_heatmap_png", "save_mask_png"]

_COLOURED_PIXELS = 2**18
"""Colours are found for so many pixels at a time: they take 60 bytes each before they are rounded."""

_COMPRESS_LEVEL = 4
"""Half the time of Pillow's own, 6, for files that are 9 % larger."""


def image_plane(canonical: np.ndarray, source: Volume) -> np.ndarray:
    """Return (rows, columns) of a canonical (z, y, x) array of a 2D scan, as the image is looked at.

    Images and DICOM: the very rows and columns of the file. NIfTI slices, which have none: as radiologists see them,
    the patient's right on the left, front or head up.

    Raises
    ------
    SettingError
        If the scan has more than one slice.
    """
    if not source.is_2d:
        raise SettingError(
            f"PNG: expected a 2D scan, got one of shape {source.geometry.shape}. Save it as NIfTI."
        )
    geometry = source.geometry
    if not geometry.is_physical:
        return canonical.reshape(geometry.shape[-2:])
    if source.dicom_files:
        # DICOM volumes are stored as (columns, rows).
        return geometry.to_stored(canonical).reshape(geometry.shape[:2]).T
    plane = canonical.squeeze(axis=canonical.shape.index(1))
    return plane[::-1, ::-1]


def save_mask_png(path: Path, marked: np.ndarray, source: Volume, *, is_found: bool = False) -> Path:
    """Write a mask (z, y, x) of a 2D scan, 1 where marked, as 8-bit grey: 255 where marked; atomically.

    One that was found (``is_found``) says so; see `napari_dinoad.images.found_masks`.
    """
    pixels = image_plane(marked.astype(np.uint8, copy=False), source) * np.uint8(255)
    texts = PngInfo()
    if is_found:
        texts.add_text(PNG_KEYWORD, found_mark(pixels))
    return _save(path, np.ascontiguousarray(pixels), texts)


def save_heatmap_png(path: Path, mask: AnomalyMask) -> Path:
    """Write the heatmap as RGBA to lay over the image: transparent below its lower limit, atomically."""
    plane = image_plane(mask.anomaly_map.values, mask.anomaly_map.source)
    pixels = np.empty((*plane.shape, 4), dtype=np.uint8)
    cold = (*np.round(heat_colour(np.zeros(1)))[0], 0)
    step = max(1, _COLOURED_PIXELS // plane.shape[1])
    for start in range(0, len(plane), step):
        rows = slice(start, start + step)
        is_hot = plane[rows] > HEATMAP_LIMITS[0]
        share, opacity = heat_share(plane[rows][is_hot])
        # What has no heat is transparent, and has a colour all the same.
        pixels[rows] = cold
        hot = np.empty((len(share), 4))
        hot[:, :3], hot[:, 3] = heat_colour(share), 255 * opacity
        pixels[rows][is_hot] = np.round(hot)
    return _save(path, pixels)


def _save(path: Path, pixels: np.ndarray, texts: PngInfo | None = None) -> Path:
    with atomic_path(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG", compress_level=_COMPRESS_LEVEL, pnginfo=texts)
    return path
