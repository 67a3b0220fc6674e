"""TIFF of types that Pillow does not know (64-bit and half floating point, 64-bit integers, …), by tifffile."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from napari_dinoad.errors import ScanReadError
from napari_dinoad.images.damage import DAMAGED, naming
from napari_dinoad.images.pictures.page_axes import PageHeader, pixel_fault
from napari_dinoad.images.pictures.pixels import MOST_PIXELS, Page, without_pillows_limit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["is_unknown_to_pillow", "tiff_headers", "tiff_page"]

_SUFFIXES = (".tif", ".tiff")

_PLANES, _BITS = 284, 258
"""Tags: whether colours are stored as planes, and bits of a sample."""

_TWICE_SWAPPED = ("I;16BS", "I;32BS", "F;32BF")
"""Pillow's names of pixels whose bytes libtiff has brought in order before Pillow does so again."""

_CODECS = "imagecodecs"
"""What tifffile, where it is missing, names in the message of a ValueError."""

_LOW_IS_WHITE = 0
_NOT_TURNED = 1


def is_unknown_to_pillow(path: Path) -> bool:
    """Whether a file is a TIFF that Pillow does not open, or whose pixels it takes for others.

    The latter are colour of 16 bits in planes, and signed or floating-point numbers of the other byte order that are
    compressed.
    """
    if not path.name.lower().endswith(_SUFFIXES):
        return False
    try:
        with without_pillows_limit, Image.open(path) as image:
            return isinstance(image, TiffImageFile) and _is_mistaken(image)
    except UnidentifiedImageError:
        return _is_tiff(path)
    except DAMAGED:
        return False


def _is_mistaken(image: TiffImageFile) -> bool:
    is_in_planes = image.tag_v2.get(_PLANES) == 2 and max(image.tag_v2.get(_BITS, (8,))) > 8
    tile: Any = image.tile[0] if image.tile else ("", None, 0, None)
    return is_in_planes or (tile[0] == "libtiff" and tile[3][0] in _TWICE_SWAPPED)


def tiff_headers(path: Path) -> list[PageHeader]:
    """Return what the header of each page says."""
    with _opened(path) as tiff:
        if not len(tiff.pages):
            raise ValueError("no pages")
        return [_header(page) for page in tiff.pages]


def tiff_page(path: Path, number: int) -> Page:
    """Return a page, counted from 0.

    Raises
    ------
    ScanReadError
        If it is damaged, too large, complex, or compressed in a way that cannot be unpacked here.
    """
    with _opened(path) as tiff:
        page = tiff.pages[number]
        if page.imagelength * page.imagewidth > MOST_PIXELS:
            raise ValueError(f"{page.imagelength} × {page.imagewidth} pixels, expected at most {MOST_PIXELS}")
        _header(page).require_image(path)
        if len(page.dataoffsets) < math.prod(page.chunked):
            # tifffile takes zeros for strips and tiles that are not there.
            raise ValueError(f"{len(page.dataoffsets)} strips or tiles, expected {math.prod(page.chunked)}")
        pixels = _unpacked(page, path)
        if pixels.dtype.kind not in "fiu":
            raise ValueError(f"pixels of type {pixels.dtype}, expected numbers")
        if page.axes == "SYX":
            pixels = np.moveaxis(pixels, 0, -1)
        elif page.axes not in ("YX", "YXS"):
            raise ValueError(f"axes {page.axes}, expected rows and columns")
        if pixels.ndim == 3:
            pixels = pixels[..., :3] if pixels.shape[-1] >= 3 else pixels[..., 0]
        turned = page.tags.valueof("Orientation", _NOT_TURNED)
        native = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
        return Page(native, page.photometric == _LOW_IS_WHITE, turned != _NOT_TURNED)


def _header(page: Any) -> PageHeader:
    fault = pixel_fault(page.photometric, page.samplesperpixel, page.extrasamples, page.imagedepth)
    size = (int(page.imagelength), int(page.imagewidth))
    return PageHeader(size, bool(page.is_reduced), str(page.description), fault)


def _unpacked(page: Any, path: Path) -> np.ndarray:
    try:
        return np.asarray(page.asarray())
    except ValueError as error:
        if _CODECS not in str(error):
            raise
        way = getattr(page.compression, "name", page.compression)
        raise ScanReadError(
            f"{path}: compressed in a way ({way}) that only {_CODECS} unpacks. Install it (pip install {_CODECS}), "
            "or save the image uncompressed."
        ) from error


def _is_tiff(path: Path) -> bool:
    try:
        tiff_headers(path)
    except ScanReadError:
        return False
    return True


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    # Loaded here: other pictures are read without it.
    import tifffile

    with naming(path, "image", tifffile.TiffFileError), tifffile.TiffFile(path) as tiff:
        yield tiff
