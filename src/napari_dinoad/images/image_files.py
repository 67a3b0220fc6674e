"""2D images (PNG, JPEG, TIFF, BMP), multi-page TIFF and folders of images → `Volume` in pixels."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dinoad.errors import ScanReadError
from napari_dinoad.files import stem_of
from napari_dinoad.images.damage import naming
from napari_dinoad.images.grey import FULL_SCALE, to_grey
from napari_dinoad.images.image_pixels import Page, open_image, read_page, stored_size
from napari_dinoad.images.volume import Geometry, Volume

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["image_shape", "in_natural_order", "read_image", "read_image_stack"]

_STACK_FORMATS = ("TIFF",)
"""Formats whose pages are slices (pages of others are animations or thumbnails)."""


def image_shape(path: Path) -> tuple[int, int, int]:
    """Return (pages, rows, columns) from the header only.

    Raises
    ------
    ScanReadError
        If it is no readable image, or an animation.
    """
    with open_image(path) as image:
        n_pages = _count_pages(image, path)
        return (n_pages, *stored_size(image))


def read_image(path: Path, frame: int | None = None) -> Volume:
    """Read an image, or the pages of a TIFF as slices of one stack; see `read_volume`."""
    with open_image(path) as image:
        n_pages = _count_pages(image, path)
        if frame is not None and not 0 <= frame < n_pages:
            raise ScanReadError(f"{path}: frame: expected 0 to {n_pages - 1}, got {frame}.")
        pages = []
        for page in range(n_pages) if frame is None else [frame]:
            image.seek(page)
            pages.append(read_page(image))
    notes = [] if frame is None or n_pages == 1 else [f"Page {frame} of {n_pages}, counted from 0."]
    return _stack(pages, path, notes)


def read_image_stack(paths: Iterable[Path], folder: Path) -> Volume:
    """Read the images of a folder, in natural order of their names, as slices of one stack (OCT B-scans).

    Raises
    ------
    ScanReadError
        If an image cannot be read or they differ in size.
    """
    pages = []
    for path in in_natural_order(paths):
        with open_image(path) as image:
            pages.append(read_page(image))
    return _stack(pages, folder, [f"{len(pages)} images of a folder are the slices of this scan."])


def in_natural_order(paths: Iterable[Path]) -> list[Path]:
    """Return paths sorted by name with numbers as numbers: 2 before 10."""

    def key(path: Path) -> list[tuple[int, int, str]]:
        parts = re.split(r"(\d+)", path.name.casefold())
        return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts if part]

    return sorted(paths, key=key)


def _stack(pages: list[Page], path: Path, notes: list[str]) -> Volume:
    with naming(path, "image"):
        return _volume([page.pixels for page in pages], path, notes)


def _volume(pages: list[np.ndarray], path: Path, notes: list[str]) -> Volume:
    sizes = {page.shape[:2] for page in pages}
    if len(sizes) > 1:
        told = ", ".join(f"{rows} × {columns}" for rows, columns in sorted(sizes)[:4])
        raise ScanReadError(f"{path}: expected slices of one size, got {told} pixels.")
    kinds = {page.dtype for page in pages}
    full_scale = FULL_SCALE.get(kinds.pop()) if len(kinds) == 1 else None
    if any(page.ndim == 3 for page in pages):
        notes = [*notes, "Colour was read as grey."]
    grey = [to_grey(page) if page.ndim == 3 else page.astype(np.float32) for page in pages]
    stored = grey[0] if len(grey) == 1 else np.stack(grey)
    geometry = Geometry.of_pixels(stored.shape)
    return Volume(
        geometry.to_canonical(stored), geometry, stem_of(path), None, full_scale, notes=tuple(notes)
    )


def _count_pages(image: Any, path: Path) -> int:
    n_pages = int(getattr(image, "n_frames", 1))
    if n_pages > 1 and image.format not in _STACK_FORMATS:
        raise ScanReadError(f"{path}: {n_pages} pages of {image.format}; expected a single 2D image.")
    return n_pages
