"""2D images (PNG, JPEG, TIFF, BMP), multi-page TIFF and folders of images → `Volume` in pixels."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dinoad.errors import ScanReadError
from napari_dinoad.images.damage import naming
from napari_dinoad.images.frame_choice import require_frame
from napari_dinoad.images.pictures.page_axes import (
    PageHeader,
    declared_images,
    full_pages,
    told_of_pages,
    volumes_of_pages,
)
from napari_dinoad.images.pictures.pixels import Page, open_image, page_header, read_page, stored_size
from napari_dinoad.images.pictures.soundness import require_sound_picture
from napari_dinoad.images.pictures.tiff import is_unknown_to_pillow, tiff_headers, tiff_page
from napari_dinoad.images.values.colours import are_coloured, colour_type
from napari_dinoad.images.values.grey import to_grey, white_of_picture
from napari_dinoad.images.volume import Geometry, Volume
from napari_dinoad.machine.file_names import stem_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["ImageLayout", "image_layout", "in_natural_order", "read_image", "read_image_stack"]

_STACK_FORMATS = ("TIFF",)
"""Formats whose pages are slices (pages of others are animations or thumbnails)."""


@dataclass(frozen=True)
class ImageLayout:
    """What an image file holds.

    Attributes
    ----------
    rows, columns : int
    volumes : tuple of tuple of int
        The pages of each channel and time point, in the order of the slices, from 0.
    told : str
        A sentence where it is not clear that all pages are slices; else empty.
    n_copies : int
        Pages beside these that are reduced copies of others.
    """

    rows: int
    columns: int
    volumes: tuple[tuple[int, ...], ...]
    told: str = ""
    n_copies: int = 0

    @property
    def n_pages(self) -> int:
        """Number of pages in all."""
        return sum(map(len, self.volumes))

    @property
    def is_series(self) -> bool:
        """Whether there are several channels or time points, of which one is a scan."""
        return len(self.volumes) > 1

    @property
    def n_frames(self) -> int:
        """How many frames there are to choose from: channels and time points, or else pages."""
        return len(self.volumes) if self.is_series else self.n_pages


def image_layout(path: Path) -> ImageLayout:
    """Return what an image file holds, from its headers only.

    Raises
    ------
    ScanReadError
        If it is no readable image, or an animation.
    """
    if is_unknown_to_pillow(path):
        pages = tiff_headers(path)
    else:
        with open_image(path) as image:
            pages = _headers(image, _count_pages(image, path))
    numbers = full_pages(pages)
    n_pages = len(numbers)
    for number in numbers:
        pages[number].require_image(path)
    (rows, columns), description = pages[numbers[0]].size, pages[numbers[0]].description
    n_declared = declared_images(description)
    if n_pages == 1 < n_declared:
        raise ScanReadError(
            f"{path}: ImageJ says that it wrote {n_declared} images, of which only the first can be found: so it "
            "stores more than 4 GB. Save it as BigTIFF, or in parts."
        )
    told = told_of_pages(description, n_pages)
    volumes = tuple(
        tuple(numbers[place] for place in volume) for volume in volumes_of_pages(description, n_pages)
    )
    return ImageLayout(rows, columns, volumes, told, len(pages) - n_pages)


def read_image(path: Path, frame: int | None = None) -> Volume:
    """Read an image, or the pages of a TIFF as slices of one stack; see `read_volume`."""
    layout = image_layout(path)
    if frame is not None or layout.is_series:
        n_pages = len(layout.volumes[0])
        require_frame(path, frame, layout.n_frames, f"channels, time points; {n_pages} pages each")
    notes = []
    if layout.is_series:
        numbers = layout.volumes[frame or 0]
        notes.append(f"Frame {frame} of {layout.n_frames}, counted from 0, channels first.")
    else:
        numbers = layout.volumes[0] if frame is None else (layout.volumes[0][frame],)
        if frame is None and layout.told:
            notes.append(layout.told)
        elif frame is not None and layout.n_pages > 1:
            notes.append(f"Page {frame} of {layout.n_pages}, counted from 0.")
    if layout.n_copies:
        notes.append(
            f"{layout.n_copies} pages of the file are reduced copies (thumbnails) and were left out."
        )
    return _stack(_read_pages(path, numbers), path, notes)


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
        require_sound_picture(path)
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
        advice = "Name a file to read it alone." if path.is_dir() else "Choose one page with --frame."
        raise ScanReadError(f"{path}: expected slices of one size, got {told} pixels. {advice}")
    white, told_white = _white(pages)
    values: np.ndarray
    if len(pages) == 1:
        values = _grey(pages[0], white, path)
    else:
        values = np.empty((len(pages), *pages[0].pixels.shape[:2]), dtype=np.float32)
        for slice_, page in zip(values, pages, strict=True):
            slice_[...] = _grey(page, white, path)
    geometry = Geometry.of_pixels(values.shape)
    notes = [*notes, *told_white, *_told_turned(pages)]
    return Volume(
        geometry.to_canonical(values),
        geometry,
        stem_of(path),
        None,
        white,
        notes=tuple(notes),
        colours=_colours(pages, values),
    )


def _colours(pages: list[Page], values: np.ndarray) -> np.ndarray | None:
    """Return the colours (z, y, x, 3) of pages with these grey values; None where all of them are grey."""
    if not any(page.pixels.ndim == 3 and are_coloured(page.pixels) for page in pages):
        return None
    kind = colour_type(*(page.pixels.dtype for page in pages))
    if len(pages) == 1:
        return np.ascontiguousarray(pages[0].pixels[..., :3], dtype=kind)[np.newaxis]
    colours: np.ndarray = np.empty((*values.shape, 3), dtype=kind)
    for slice_, page, grey in zip(colours, pages, values, strict=True):
        # The grey of a page without colours is exact in its own type.
        slice_[...] = page.pixels[..., :3] if page.pixels.ndim == 3 else grey[..., np.newaxis]
    return colours


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


def _headers(image: Any, n_pages: int) -> list[PageHeader]:
    if image.format not in _STACK_FORMATS:
        return [PageHeader(stored_size(image))]
    pages = []
    for number in range(n_pages):
        image.seek(number)
        pages.append(page_header(image))
    image.seek(full_pages(pages)[0])
    stored_size(image)
    return pages


def _count_pages(image: Any, path: Path) -> int:
    n_pages = int(getattr(image, "n_frames", 1))
    if n_pages > 1 and image.format not in _STACK_FORMATS:
        raise ScanReadError(f"{path}: {n_pages} pages of {image.format}; expected a single 2D image.")
    return n_pages
