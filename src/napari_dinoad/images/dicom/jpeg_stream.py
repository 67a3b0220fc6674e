"""Whether a JPEG stream is sound as far as its pixels: over others GDCM, by which it is decoded, ends the process."""

from __future__ import annotations

import struct

__all__ = ["require_sound_jpeg"]

_START = b"\xff\xd8"
_FILL = 0xFFFF
_SCAN = 0xFFDA
_HUFFMAN = 0xFFC4
_TABLES = (_HUFFMAN, 0xFFC8, 0xFFCC)
"""Markers among those of frames that begin none: Huffman tables, an extension, arithmetic conditioning."""

_BITS = range(2, 17)
"""What a pixel may have."""

_FRAMES = range(0xFFC0, 0xFFD0)
_SEGMENTS = range(0xFFC0, 0xFFFF)
_WITHOUT_LENGTH = range(0xFFD0, 0xFFDA)
"""Restarts, start and end of an image: none of them stands between the start and the pixels."""


def require_sound_jpeg(stream: bytes, rows: int, columns: int, samples: int) -> None:
    """Raise unless the segments of a JPEG stream follow each other up to the pixels, and the image has this size.

    Parameters
    ----------
    stream : bytes
        One image, as it lies in a DICOM file.
    rows, columns, samples : int
        The size that the DICOM header names, and the number of colours.

    Raises
    ------
    ValueError
        If a segment is damaged or cut short, or the size is another one, or its pixels have an impossible depth, or
        no table.
    """
    if stream[:2] != _START:
        raise ValueError("no JPEG image")
    place, has_frame = 2, False
    tables: set[int] = set()
    try:
        while True:
            (marker,) = struct.unpack_from(">H", stream, place)
            if marker == _FILL:
                place += 1
                continue
            (length,) = struct.unpack_from(">H", stream, place + 2)
            if marker not in _SEGMENTS or marker in _WITHOUT_LENGTH or length < 2:
                raise ValueError("a damaged segment in a JPEG image")
            if marker in _FRAMES and marker not in _TABLES:
                bits, *size = struct.unpack_from(">BHHB", stream, place + 4)
                if has_frame or bits not in _BITS or size != [rows, columns, samples]:
                    raise ValueError("a JPEG image of another size or depth")
                has_frame = True
            segment = stream[place + 4 : place + 2 + length]
            if marker == _HUFFMAN:
                tables |= _named_tables(segment)
            place += 2 + length
            if marker == _SCAN:
                break
    except struct.error:
        raise ValueError("a JPEG image that is cut short") from None
    if not has_frame or place >= len(stream):
        raise ValueError("a JPEG image without pixels")
    n_colours = segment[0] if segment else 0
    used = {numbers >> 4 for numbers in segment[2 : 2 * n_colours + 1 : 2]}
    if not used or not used <= tables:
        raise ValueError("a JPEG image without a table that it uses")


def _named_tables(segment: bytes) -> set[int]:
    """Return the numbers of the Huffman tables that a segment defines."""
    tables, place = set(), 0
    while place + 17 <= len(segment):
        tables.add(segment[place] & 15)
        place += 17 + sum(segment[place + 1 : place + 17])
    return tables
