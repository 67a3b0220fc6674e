"""What Pillow does not tell of damaged PNG and JPEG files: of pixels that were overwritten it makes others."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["require_sound_picture"]

_PNG_START = b"\x89PNG\r\n\x1a\n"
_JPEG_START = b"\xff\xd8"
_JPEG_END = b"\xff\xd9"
_FILL, _SCAN = 0xFF, 0xDA
_WITHOUT_LENGTH = (0x01, *range(0xD0, 0xDA))
"""JPEG's markers that stand alone."""


def require_sound_picture(path: Path) -> None:
    """Raise `ValueError` if a PNG's pixels have not the checksum in the file, or a JPEG's come to no end.

    So it is where a part of a file is zeros, as after a copy that broke off. Other files are not looked at.
    """
    with path.open("rb") as stream:
        start = stream.read(len(_PNG_START))
        if start != _PNG_START and not start.startswith(_JPEG_START):
            return
        content = start + stream.read()
    if start == _PNG_START:
        _require_checksums(content)
    else:
        _require_end(content)


def _require_checksums(content: bytes) -> None:
    """Look at all pixels that are there; that some are missing Pillow tells."""
    place = len(_PNG_START)
    while place + 12 <= len(content):
        end = place + 8 + int.from_bytes(content[place : place + 4])
        if content[place + 4 : place + 8] == b"IDAT" and end + 4 <= len(content):
            told = int.from_bytes(content[end : end + 4])
            if zlib.crc32(memoryview(content)[place + 4 : end]) != told:
                raise ValueError(
                    "the checksum of its pixels is wrong: it was changed in copying or on its disk"
                )
        place = end + 4


def _require_end(content: bytes) -> None:
    """Find the first scan, behind a thumbnail with an end of its own, and an end behind that."""
    place = len(_JPEG_START)
    while place + 4 <= len(content) and content[place] == _FILL:
        marker = content[place + 1]
        if marker == _SCAN:
            if content.find(_JPEG_END, place) < 0:
                raise ValueError("its pixels come to no end: it was cut short in copying, or is damaged")
            return
        if marker == _FILL:
            place += 1
        elif marker in _WITHOUT_LENGTH:
            place += 2
        else:
            place += 2 + int.from_bytes(content[place + 2 : place + 4])
