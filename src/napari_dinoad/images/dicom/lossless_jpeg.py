"""Whether pixels are all that a lossless JPEG stream holds: of one that is damaged, decoders make up the rest.

libjpeg, on which they rest, says that on stderr only. It reads on in what is left after the damage; the pixels that
it makes of that, or of nothing, take another number of bits than the stream has.
"""

from __future__ import annotations

import re
import struct
from functools import lru_cache
from typing import NamedTuple

import numpy as np

__all__ = ["require_all_pixels"]

_MARKER = re.compile(rb"\xff+[^\x00\xff]")
"""What ends the pixels, or a part of them that is decoded for itself."""

_LOSSLESS, _TABLES, _RESTARTS, _SCAN, _FILL = 0xFFC3, 0xFFC4, 0xFFDD, 0xFFDA, 0xFFFF
_RESTART = range(0xD0, 0xD8)

_MOST_SPARE_BYTES = 2
"""An encoder may leave so many at the end."""

_CATEGORIES = 17
"""Of differences of 16 bits, by how many bits they take; the last stands for 32768 alone, which takes none."""

_NOT_SUBSAMPLED = 0x11
"""The sampling factors of a colour that is as fine as the image."""


class _Scan(NamedTuple):
    """How pixels of one image are coded: grey, one of its colours, or all of them, pixel by pixel.

    Attributes
    ----------
    bits : int
        Of a pixel.
    code_lengths : dict of numpy.ndarray
        By the place of each colour: (17,) int64, bits of the code of each category of differences; 0 where there is
        none.
    predictor : int
    interval : int
        So many pixels are coded as if another image began behind them; 0: all.
    n_bytes : tuple of int
        Of the coded pixels between two such beginnings.
    """

    bits: int
    code_lengths: dict[int, np.ndarray]
    predictor: int
    interval: int
    n_bytes: tuple[int, ...]


def require_all_pixels(stream: bytes, pixels: np.ndarray) -> None:
    """Raise unless pixels take as many bits as a stream has.

    Images with shifted pixels, or of colours of several sizes, are taken as they are.

    Parameters
    ----------
    stream : bytes
        Found sound by `napari_dinoad.images.dicom.jpeg_stream.require_sound_jpeg`.
    pixels : numpy.ndarray
        (rows, columns), or (rows, columns, n) of n colours, integers as they were decoded.

    Raises
    ------
    ValueError
        If they do not.
    """
    n_colours = pixels.shape[2] if pixels.ndim > 2 else 1
    colours = pixels.reshape(*pixels.shape[:2], n_colours)
    try:
        scans = _scans_of(stream, n_colours)
    except (struct.error, LookupError, ValueError) as error:
        raise ValueError("a JPEG image that is damaged behind its first pixels") from error
    if scans is None:
        return
    if sorted(colour for scan in scans for colour in scan.code_lengths) != list(range(n_colours)):
        raise ValueError("a JPEG image in which a colour is missing")
    for scan in scans:
        _require_all(scan, colours)


def _require_all(scan: _Scan, colours: np.ndarray) -> None:
    rows, columns, _ = colours.shape
    # Of whole rows, as the standard has it (ITU-T T.81, H.1.1).
    n_rows, rest = divmod(scan.interval, columns) if scan.interval else (rows, 0)
    if rest:
        return
    starts = range(0, rows, n_rows)
    if len(starts) != len(scan.n_bytes):
        raise ValueError(f"a JPEG image of {len(starts)} parts, of which {len(scan.n_bytes)} are there")
    for start, n_bytes in zip(starts, scan.n_bytes, strict=True):
        n_bits = 0
        for colour, code_lengths in scan.code_lengths.items():
            differences = _differences(colours[start : start + n_rows, :, colour], scan)
            counts = np.bincount(_categories()[differences].ravel(), minlength=_CATEGORIES)
            own_bits = np.arange(_CATEGORIES) % (_CATEGORIES - 1)
            n_bits += int(counts @ (code_lengths + own_bits))
            if counts[code_lengths == 0].any():
                raise ValueError("a JPEG image with bytes of pixels for which there is no code")
        needed = -(-n_bits // 8)
        if not 0 <= n_bytes - needed <= _MOST_SPARE_BYTES:
            raise ValueError(f"a JPEG image with {n_bytes} bytes of pixels, of which {needed} are needed")


def _scans_of(stream: bytes, n_colours: int) -> list[_Scan] | None:
    """Return the scans of an image; None where one is coded in a way that is not checked."""
    place, bits, interval = 2, 0, 0
    tables: dict[int, np.ndarray] = {}
    numbers: dict[int, int] = {}
    scans: list[_Scan] = []
    while sum(len(scan.code_lengths) for scan in scans) < n_colours:
        if place + 4 > len(stream):
            break
        marker, length = struct.unpack_from(">HH", stream, place)
        if marker == _FILL:
            place += 1
            continue
        segment = stream[place + 4 : place + 2 + length]
        place += 2 + length
        if marker == _LOSSLESS:
            bits = segment[0]
            of_each = [segment[6 + 3 * number : 9 + 3 * number] for number in range(segment[5])]
            if len(of_each) > 1 and any(colour[1] != _NOT_SUBSAMPLED for colour in of_each):
                return None
            numbers = {colour[0]: number for number, colour in enumerate(of_each)}
        elif marker == _TABLES:
            tables |= _code_lengths(segment)
        elif marker == _RESTARTS:
            (interval,) = struct.unpack(">H", segment)
        elif marker == _SCAN:
            predictor, _, shift = segment[-3:]
            if not bits or shift & 15:
                return None
            pairs = [segment[1 + 2 * number : 3 + 2 * number] for number in range(segment[0])]
            code_lengths = {numbers[name]: tables[table >> 4] for name, table in pairs}
            place, n_bytes = _coded_parts(stream, place)
            scans.append(_Scan(bits, code_lengths, predictor, interval, n_bytes))
    return scans


def _coded_parts(stream: bytes, place: int) -> tuple[int, tuple[int, ...]]:
    """Return where the coded pixels that begin at ``place`` end, and how many bytes each part of them has."""
    n_bytes = []
    for found in _MARKER.finditer(stream, place):
        n_bytes.append(_n_coded(stream[place : found.start()]))
        place = found.end() - 2
        if stream[found.end() - 1] not in _RESTART:
            return place, tuple(n_bytes)
        place = found.end()
    return len(stream), (*n_bytes, _n_coded(stream[place:]))


def _n_coded(part: bytes) -> int:
    return len(part) - part.count(b"\xff\x00")


def _code_lengths(segment: bytes) -> dict[int, np.ndarray]:
    """Return the Huffman tables that a segment defines, by their numbers: the length of each category's code."""
    tables, place = {}, 0
    while place + 17 <= len(segment):
        lengths = np.zeros(_CATEGORIES, dtype=np.int64)
        n_codes = segment[place + 1 : place + 17]
        categories = segment[place + 17 : place + 17 + sum(n_codes)]
        for category, length in zip(categories, np.repeat(np.arange(1, 17), list(n_codes)), strict=False):
            lengths[min(category, _CATEGORIES - 1)] = length
        tables[segment[place] & 15] = lengths
        place += 17 + sum(n_codes)
    return tables


def _differences(pixels: np.ndarray, scan: _Scan) -> np.ndarray:
    """Return pixels (rows, columns) less what is predicted of them, modulo 2¹⁶, uint16 (ITU-T T.81, H.1.2)."""
    coded = pixels.view(f"u{pixels.itemsize}").astype(np.int32) & ((1 << scan.bits) - 1)
    predicted = np.empty_like(coded)
    left, above, corner = coded[1:, :-1], coded[:-1, 1:], coded[:-1, :-1]
    predicted[0, 0] = 1 << (scan.bits - 1)
    predicted[0, 1:] = coded[0, :-1]
    predicted[1:, 0] = coded[:-1, 0]
    inner = predicted[1:, 1:]
    if scan.predictor == 1:
        inner[:] = left
    elif scan.predictor == 2:
        inner[:] = above
    elif scan.predictor == 3:
        inner[:] = corner
    elif scan.predictor == 4:
        inner[:] = left + above - corner
    elif scan.predictor == 5:
        inner[:] = left + ((above - corner) >> 1)
    elif scan.predictor == 6:
        inner[:] = above + ((left - corner) >> 1)
    else:
        inner[:] = (left + above) >> 1
    return (coded - predicted).astype(np.uint16)


@lru_cache(maxsize=1)
def _categories() -> np.ndarray:
    """Return the category (65536,) of each difference modulo 2¹⁶: how many bits its magnitude takes."""
    magnitudes = np.abs(np.arange(1 << 16, dtype=np.uint16).view(np.int16).astype(np.int32))
    return np.asarray(np.frexp(magnitudes.astype(np.float64))[1], dtype=np.uint8)
