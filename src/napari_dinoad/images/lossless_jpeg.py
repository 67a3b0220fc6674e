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

_END = re.compile(rb"\xff+[^\x00\xff]")
"""The next marker: what ends the pixels."""

_LOSSLESS, _TABLES, _RESTARTS, _SCAN = 0xFFC3, 0xFFC4, 0xFFDD, 0xFFDA

_MOST_SPARE_BYTES = 2
"""An encoder may leave so many at the end."""

_CATEGORIES = 17
"""Of differences of 16 bits, by how many bits they take; the last stands for 32768 alone, which takes none."""


class _Scan(NamedTuple):
    """How the pixels of one grey image are coded.

    Attributes
    ----------
    bits : int
        Of a pixel.
    code_lengths : numpy.ndarray
        (17,) int64: bits of the code of each category of differences; 0 where there is none.
    predictor : int
    n_bytes : int
        Of the coded pixels.
    """

    bits: int
    code_lengths: np.ndarray
    predictor: int
    n_bytes: int


def require_all_pixels(stream: bytes, pixels: np.ndarray) -> None:
    """Raise unless pixels take as many bits as a stream has.

    Images of several colours, with restarts, or with shifted pixels, are taken as they are.

    Parameters
    ----------
    stream : bytes
        Found sound by `napari_dinoad.images.jpeg_stream.require_sound_jpeg`.
    pixels : numpy.ndarray
        (rows, columns) integers as they were decoded.

    Raises
    ------
    ValueError
        If they do not.
    """
    scan = _scan_of(stream)
    if scan is None:
        return
    counts = np.bincount(_categories()[_differences(pixels, scan)].ravel(), minlength=_CATEGORIES)
    own_bits = np.arange(_CATEGORIES) % (_CATEGORIES - 1)
    n_bytes = -(-int(counts @ (scan.code_lengths + own_bits)) // 8)
    if not 0 <= scan.n_bytes - n_bytes <= _MOST_SPARE_BYTES or counts[scan.code_lengths == 0].any():
        raise ValueError(f"a JPEG image with {scan.n_bytes} bytes of pixels, of which {n_bytes} are needed")


def _scan_of(stream: bytes) -> _Scan | None:
    place, bits = 2, 0
    tables: dict[int, np.ndarray] = {}
    while True:
        marker, length = struct.unpack_from(">HH", stream, place)
        if marker == 0xFFFF:
            place += 1
            continue
        segment = stream[place + 4 : place + 2 + length]
        place += 2 + length
        if marker == _LOSSLESS:
            bits = segment[0] if segment[5] == 1 else 0
        elif marker == _TABLES:
            tables |= _code_lengths(segment)
        elif marker == _RESTARTS and any(segment):
            return None
        elif marker == _SCAN:
            break
    if not bits or segment[0] != 1 or segment[5] & 15:
        return None
    end = _END.search(stream, place)
    coded = stream[place : None if end is None else end.start()]
    return _Scan(bits, tables[segment[2] >> 4], segment[3], len(coded) - coded.count(b"\xff\x00"))


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
