"""One image file → the pixels of its pages, on the grid and of the type that they are stored in.

Pillow reads them. It refuses large pictures and turns some by their orientation tag; here neither happens.
"""

from __future__ import annotations

import io
import sys
import threading
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import ExifTags, Image

from napari_dinoad.images.damage import DAMAGED, naming
from napari_dinoad.images.pictures.page_axes import DESCRIPTION, PageHeader, pixel_fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = [
    "MOST_PIXELS",
    "Page",
    "open_image",
    "page_header",
    "read_page",
    "stored_pixels",
    "stored_size",
    "without_pillows_limit",
]

MOST_PIXELS = 2**28
"""Larger pages are refused (16384 × 16384): a damaged header, or more than the memory of most machines holds."""

_BACK: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: np.fliplr,
    3: lambda shown: np.rot90(shown, 2),
    4: np.flipud,
    5: lambda shown: shown.swapaxes(0, 1),
    6: np.rot90,
    7: lambda shown: np.rot90(shown, 2).swapaxes(0, 1),
    8: lambda shown: np.rot90(shown, -1),
}
"""From the picture as it is to be shown back to the stored one, by EXIF orientation (1: they are the same)."""

_PHOTOMETRIC, _BITS, _SAMPLE_FORMAT, _WIDTH, _HEIGHT, _SUBFILE = 262, 258, 339, 256, 257, 254
_VALUES, _EXTRAS, _SLICES = 277, 338, 32997
"""Tags of a TIFF."""

_REDUCED = 1
"""Bit of the kind of a page (NewSubfileType): a copy of less resolution."""

_GREY_AND_ALPHA = "LA;16B"

_OTHER_ORDER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
_DEEP = {
    f"{colour};16{order}": f"{colour};16{other}"
    for colour in ("RGB", "RGBA", "RGBX")
    for order, other in _OTHER_ORDER.items()
} | {_GREY_AND_ALPHA: ""}
"""Pillow's names of pixels of 16 bits that it reads as 8, and of those of the other byte order."""

_LOW_IS_WHITE = 0
_IS_SIGNED = (2,)


@dataclass(frozen=True, eq=False)
class Page:
    """A page of an image file.

    Attributes
    ----------
    pixels : numpy.ndarray
        (rows, columns), or (rows, columns, 3) of colour.
    low_is_white : bool
        Whether the lowest value means white, in ``pixels`` still.
    is_shown_turned : bool
        Whether a tag asks viewers to show the picture turned or mirrored; ``pixels`` are not.
    """

    pixels: np.ndarray
    low_is_white: bool
    is_shown_turned: bool


@contextmanager
def open_image(path: Path, kind: str = "image") -> Iterator[Any]:
    """Give Pillow's image of a file; what goes wrong with it inside the block is a `ScanReadError` with its name."""
    with naming(path, kind, Image.DecompressionBombError), without_pillows_limit, Image.open(path) as image:
        # Uncompressed pixels of a named file are mapped into memory, by Pillow 13 with the turned picture's width.
        image.filename = ""
        yield image


def stored_size(image: Any) -> tuple[int, int]:
    """Return (rows, columns) of the current page, from its header.

    Raises
    ------
    ValueError
        If it has more than `MOST_PIXELS`.
    """
    width, height = image.size
    if image.format == "TIFF":  # Pillow's size is that of the picture as it is to be shown
        width, height = image.tag_v2[_WIDTH], image.tag_v2[_HEIGHT]
    if width * height > MOST_PIXELS:
        raise ValueError(f"{height} × {width} pixels, expected at most {MOST_PIXELS}; reduce or cut it")
    return int(height), int(width)


def page_header(image: Any) -> PageHeader:
    """Return what the header of a TIFF's current page says."""
    tags = image.tag_v2
    size = (int(tags[_HEIGHT]), int(tags[_WIDTH]))
    fault = pixel_fault(
        tags.get(_PHOTOMETRIC), tags.get(_VALUES, 1), tags.get(_EXTRAS, ()), tags.get(_SLICES, 1)
    )
    return PageHeader(size, bool(tags.get(_SUBFILE, 0) & _REDUCED), str(tags.get(DESCRIPTION, "")), fault)


def stored_pixels(image: Any, mode: str | None = None) -> np.ndarray:
    """Return the pixels of the current page on the grid that they are stored on, of another mode if one is named."""
    stored_size(image)
    # Asked first: Pillow turns the pixels as it reads them, and removes the tag.
    turned = _orientation(image) if image.format == "TIFF" else 1
    pixels = np.asarray(image if mode is None else image.convert(mode))
    return _BACK[turned](pixels) if turned in _BACK else pixels


def read_page(image: Any, path: Path) -> Page:
    """Return the current page of the image of a file, with palettes and odd modes resolved to grey or colour."""
    mode = None
    if image.mode in ("1", "P", "PA", "LA", "CMYK", "YCbCr", "HSV", "LAB"):
        mode = "L" if image.mode in ("1", "LA") else "RGB"
    if image.mode == "P" and image.palette is not None and not any(image.palette.palette):
        # Pillow stores indices without a palette with one of black alone. (getpalette() would read all pixels.)
        mode = None
    image.info.pop("transparency", None)  # Left out, as all alpha is; Pillow warns of that of palettes.
    tags = image.tag_v2 if image.format == "TIFF" else {}
    if tags:
        page_header(image).require_image(path)
    # Of other types Pillow turns white itself.
    low_is_white = tags.get(_PHOTOMETRIC) == _LOW_IS_WHITE and image.mode.startswith(("I", "F"))
    bits, is_signed = tags.get(_BITS), tags.get(_SAMPLE_FORMAT) == _IS_SIGNED
    is_grey_8, rawmode = image.mode == "L" and not mode, _rawmode(image)
    # A TIFF's tag is gone once its pixels are read, a PNG's may come after them.
    asked_before = _orientation(image) if image.format == "TIFF" else 1
    pixels = _with_low_bytes(image, path, rawmode) if rawmode in _DEEP else stored_pixels(image, mode)
    is_shown_turned = max(asked_before, _orientation(image)) > 1
    if image.mode == "I" and tags and bits == (32,):
        pixels = pixels if is_signed else pixels.view(np.uint32)
    elif image.mode == "I":
        pixels = _of_stored_type(pixels, is_signed and bits == (16,))
    elif is_grey_8 and is_signed and rawmode == "L":
        pixels = pixels.view(np.int8)
    return Page(pixels.astype(pixels.dtype.newbyteorder("=")), low_is_white, is_shown_turned)


def _rawmode(image: Any) -> str:
    """Return what Pillow calls the way in which the current page is stored, before its pixels are read."""
    arguments = image.tile[0][3] if image.tile else ""
    return str(arguments if isinstance(arguments, str) else (arguments or ("",))[0])


def _with_low_bytes(image: Any, path: Path, rawmode: str) -> np.ndarray:
    """Return 16-bit colour or grey pixels, of which Pillow reads the high bytes alone.

    The low ones it takes for the high ones of pixels of the other byte order.
    """
    if rawmode == _GREY_AND_ALPHA:
        return _grey_beside_alpha(path)
    page, high = image.tell(), stored_pixels(image)
    with open_image(path) as again:
        again.seek(page)
        again.tile = [_stored_as(tile, _DEEP[rawmode]) for tile in again.tile]
        low = stored_pixels(again)
    return np.asarray(high.astype(np.uint16) << 8 | low)[..., :3]


def _stored_as(tile: Any, rawmode: str) -> Any:
    arguments = rawmode if isinstance(tile[3], str) else (rawmode, *tile[3][1:])
    return tile._replace(args=arguments) if hasattr(tile, "_replace") else (*tile[:3], arguments)


def _grey_beside_alpha(path: Path) -> np.ndarray:
    """Return the grey of a PNG of grey and alpha in 16 bits: the same bytes as red, green, blue and alpha in 8."""
    content = bytearray(path.read_bytes())
    content[24:26] = 8, 6  # bits, and kind of colour, in the header chunk; then its checksum
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    with Image.open(io.BytesIO(content)) as image:
        high, low, *_ = np.moveaxis(np.asarray(image), -1, 0)
    return np.asarray(high.astype(np.uint16) << 8 | low)


def _of_stored_type(pixels: np.ndarray, is_signed: bool) -> np.ndarray:
    """Return Pillow's 32-bit pixels as the 16 bits that they were stored as, or may have been."""
    if is_signed:
        return pixels.astype(np.int16)
    return pixels.astype(np.uint16) if pixels.min() >= 0 and pixels.max() < 2**16 else pixels


def _orientation(image: Any) -> int:
    """Return the EXIF orientation, 1 to 8; damage to EXIF is no damage to the picture."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except DAMAGED:
        return 1
    return int(orientation) if orientation in _BACK else 1


class _WithoutLimit:
    """Lifts Pillow's limit on pixels, which holds for the whole process, while any thread is in its block."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_inside = 0
        self._limit: int | None = None

    def __enter__(self) -> None:
        with self._lock:
            if self._n_inside == 0:
                self._limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            self._n_inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._n_inside -= 1
            if self._n_inside == 0:
                Image.MAX_IMAGE_PIXELS = self._limit


without_pillows_limit = _WithoutLimit()
