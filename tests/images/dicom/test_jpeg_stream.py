"""Lossless JPEG that is damaged before its pixels: told as that, before a decoder ends the process over it."""

import struct

import pytest

from napari_dinoad.images.dicom.jpeg_stream import require_sound_jpeg


def segment(marker, content):
    return struct.pack(">HH", marker, len(content) + 2) + content


COMMENT = segment(0xFFFE, b"made by nobody")
TABLE = segment(0xFFC4, bytes([0, 1, *[0] * 15, 7]))
TWO_TABLES = segment(0xFFC4, bytes([1, 1, *[0] * 15, 7, 0, 2, *[0] * 15, 7, 8]))
FRAME = segment(0xFFC3, bytes([12, 0, 10, 0, 20, 1, 1, 0x11, 0]))
SCAN = segment(0xFFDA, bytes([1, 1, 0, 1, 0, 0]))
PIXELS = b"\x12\x34\xff\xd9"


@pytest.mark.parametrize("table", [TABLE, TWO_TABLES])
def test_a_sound_image(table):
    require_sound_jpeg(b"\xff\xd8" + COMMENT + b"\xff" + table + FRAME + SCAN + PIXELS, 10, 20, 1)


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ((COMMENT, TABLE, FRAME), "cut short"),
        ((TABLE, FRAME, SCAN), "without pixels"),
        ((TABLE, SCAN, PIXELS), "without pixels"),
        ((FRAME, SCAN, PIXELS), "without a table"),
        ((TABLE, FRAME, segment(0xFFDA, bytes([1, 1, 0xF0, 1, 0, 0])), PIXELS), "without a table"),
        ((TABLE, FRAME, segment(0xFFDA, b""), PIXELS), "without a table"),
        ((b"\x00\xc4" + TABLE[2:], FRAME, SCAN, PIXELS), "damaged segment"),
        ((b"\xff\xd9", TABLE, FRAME, SCAN, PIXELS), "damaged segment"),
        ((TABLE, FRAME, FRAME, SCAN, PIXELS), "another size"),
        ((TABLE, FRAME.replace(b"\x00\x0a", b"\x00\x0b"), SCAN, PIXELS), "another size"),
        ((TABLE, FRAME.replace(b"\x0c\x00\x0a", b"\x11\x00\x0a"), SCAN, PIXELS), "depth"),
    ],
)
def test_a_damaged_image(parts, told):
    with pytest.raises(ValueError, match=told):
        require_sound_jpeg(b"\xff\xd8" + b"".join(parts), 10, 20, 1)


def test_no_image():
    with pytest.raises(ValueError, match="no JPEG"):
        require_sound_jpeg(b"\x00\x00" + TABLE + FRAME + SCAN + PIXELS, 10, 20, 1)
