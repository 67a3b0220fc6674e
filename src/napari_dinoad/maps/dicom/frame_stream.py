"""Frames as a stream of bytes, so that a large file is written without a second copy of its pixels."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["streamed"]


def streamed(frames: Sequence[np.ndarray]) -> io.BufferedReader:
    """Return a buffer, as pydicom takes one for a value, of frames one after the other.

    Parameters
    ----------
    frames : sequence of numpy.ndarray
        (rows, columns) each, alike in shape and type; they are read when the buffer is, in this machine's order of
        bytes, which is DICOM's on all that this package runs on.
    """
    return io.BufferedReader(_Frames(frames), buffer_size=max(frames[0].nbytes, 1))


class _Frames(io.RawIOBase):
    """Bytes of frames; one of them at a time is laid out in order."""

    def __init__(self, frames: Sequence[np.ndarray]) -> None:
        super().__init__()
        self._frames = frames
        self._frame_bytes = frames[0].nbytes
        self._place = 0
        self._laid_out: tuple[int, memoryview] | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        starts = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}
        self._place = max(0, starts[whence] + offset)
        return self._place

    def tell(self) -> int:
        return self._place

    @property
    def _size(self) -> int:
        return self._frame_bytes * len(self._frames)

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # as the io module calls it
        if self._place >= self._size:
            return 0
        number, start = divmod(self._place, self._frame_bytes)
        part = self._bytes_of(number)[start : start + len(buffer)]
        buffer[: len(part)] = part
        self._place += len(part)
        return len(part)

    def _bytes_of(self, number: int) -> memoryview:
        if self._laid_out is None or self._laid_out[0] != number:
            self._laid_out = number, np.ascontiguousarray(self._frames[number]).data.cast("B")
        return self._laid_out[1]
