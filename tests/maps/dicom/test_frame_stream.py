"""Frames as a stream: the bytes of an array that was never made."""

from __future__ import annotations

import io
import os

import numpy as np
import pytest

from napari_dinoad.maps.dicom.frame_stream import streamed

FRAMES = np.random.default_rng(0).random((5, 7, 9), dtype=np.float32)


@pytest.mark.parametrize("size", [1, 5, 7 * 9 * 4, 300, 10_000])
def test_it_reads_as_all_frames_one_after_the_other(size):
    turned = FRAMES[::-1, :, ::-1]
    stream, read = streamed(list(turned)), b""
    while part := stream.read(size):
        read += part
    assert read == turned.tobytes()


def test_it_can_be_read_again_from_any_place():
    stream, expected = streamed(list(FRAMES)), io.BytesIO(FRAMES.tobytes())
    for offset, whence in [(0, os.SEEK_END), (0, os.SEEK_SET), (333, os.SEEK_SET), (50, os.SEEK_CUR)]:
        assert stream.seek(offset, whence) == expected.seek(offset, whence)
        assert stream.read(100) == expected.read(100)
        assert stream.tell() == expected.tell()
