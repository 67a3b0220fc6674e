"""2D images (PNG, JPEG, TIFF, BMP), multi-page TIFF and folders of images → `Volume` in pixels."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dinoad.errors import ScanReadError
from napari_dinoad.files import stem_of
from napari_dinoad.images.damage import naming
from napari_dinoad.images.grey import to_grey, white_of_picture
from napari_dinoad.images.image_pixels import Page, open_image, read_page, stored_size
from napari_dinoad.images.tiff_files import is_unknown_to_pillow, tiff_page, tiff_shape
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
    if is_unknown_to_pillow(path):
        return tiff_shape(path)
    with open_image(path) as image:
        n_pages = _count_pages(image, path)
        return (n_pages, *stored_size(image))


def read_image(path: Path, frame: int | None = None) -> Volume:
    """Read an image, or the pages of a TIFF as slices of one stack; see `read_volume`."""
    n_pages = image_shape(path)[0]
    if frame is not None and not 0 <= frame < n_pages:
        raise ScanReadError(f"{path}: frame: expected 0 to {n_pages - 1}, got {frame}.")
    pages = _read_pages(path, range(n_pages) if frame is None else [frame])
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
        pages += _read_pages(path, [0])
    return _stack(pages, folder, [f"{len(pages)} images of a folder are the slices of this scan."])


def _read_pages(path: Path, numbers: Iterable[int]) -> list[Page]:
    if is_unknown_to_pillow(path):
        return [tiff_page(path, number) for number in numbers]
    pages = []
    with open_image(path) as image:
        for number in numbers:
            image.seek(number)
            pages.append(read_page(image, path))
    return pages


def in_natural_order(paths: Iterable[Path]) -> list[Path]:
    """Return paths sorted by name with numbers as numbers: 2 before 10."""

    def key(path: Path) -> list[tuple[int, int, str]]:
        parts = re.split(r"(\d+)", path.name.casefold())
        return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts if part]

    return sorted(paths, key=key)


def _stack(pages: list[Page], path: Path, notes: list[str]) -> Volume:
    with naming(path, "image"):
        return _volume(pages, path, notes)


def _volume(pages: list[Page], path: Path, notes: list[str]) -> Volume:
    sizes = {page.pixels.shape[:2] for page in pages}
    if len(sizes) > 1:
        told = ", ".join(f"{rows} × {columns}" for rows, columns in sorted(sizes)[:4])
        raise ScanReadError(f"{path}: expected slices of one size, got {told} pixels.")
    white, told_white = _white(pages)
    if any(page.pixels.ndim == 3 for page in pages):
        notes = [*notes, "Colour was read as grey."]
    stored = [_grey(page, white, path) for page in pages]
    values = stored[0] if len(stored) == 1 else np.stack(stored)
    geometry = Geometry.of_pixels(values.shape)
    notes = [*notes, *told_white, *_told_turned(pages)]
    return Volume(geometry.to_canonical(values), geometry, stem_of(path), None, white, notes=tuple(notes))


def _white(pages: list[Page]) -> tuple[float | None, list[str]]:
    """Return the value that means white, and a note where it is not the largest that the file could hold."""
    kinds = {page.pixels.dtype for page in pages}
    if len(kinds) > 1:
        return None, []
    (kind,) = kinds
    low = min(float(page.pixels.min()) for page in pages)
    high = max(float(page.pixels.max()) for page in pages)
    white = white_of_picture(kind, low, high)
    if white is None or white == np.iinfo(kind).max:
        return white, []
    return white, [
        f"16-bit pixels of at most {high:g} were taken for 12-bit ones: as stored, {white:g} is white."
    ]


def _grey(page: Page, white: float | None, path: Path) -> np.ndarray:
    """Return (rows, columns) float32 of a page, high values bright."""
    grey = to_grey(page.pixels) if page.pixels.ndim == 3 else page.pixels.astype(np.float32)
    if not page.low_is_white:
        return grey
    if white is None:
        raise ScanReadError(
            f"{path}: low values are white (MINISWHITE), of a type that does not say which value is black. Save it "
            "with black as 0."
        )
    return np.float32(white) - grey


def _told_turned(pages: list[Page]) -> list[str]:
    n_turned = sum(page.is_shown_turned for page in pages)
    if not n_turned:
        return []
    which = "The picture asks" if len(pages) == 1 else f"{n_turned} of {len(pages)} pictures ask"
    return [
        f"{which} to be shown turned or mirrored (orientation tag), as other programs may do; read as stored, and so "
        "lie the results."
    ]


def _count_pages(image: Any, path: Path) -> int:
    n_pages = int(getattr(image, "n_frames", 1))
    if n_pages > 1 and image.format not in _STACK_FORMATS:
        raise ScanReadError(f"{path}: {n_pages} pages of {image.format}; expected a single 2D image.")
    return n_pages
