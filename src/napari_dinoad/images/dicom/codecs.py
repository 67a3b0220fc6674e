"""Which of pydicom's decoders takes compressed pixels: one that damaged images cannot make end the whole process.

pydicom tries GDCM first. Over damaged streams it throws what nobody catches, or reads beyond its tables; the others,
which are used where they are installed, give the same values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydicom.encaps import generate_frames
from pydicom.uid import (
    JPEG2000TransferSyntaxes,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSTransferSyntaxes,
)

from napari_dinoad.images.dicom.jpeg_stream import require_sound_jpeg
from napari_dinoad.images.dicom.lossless_jpeg import require_all_pixels

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from pydicom import Dataset
    from pydicom.pixels.decoders.base import Decoder

__all__ = ["require_all_decoded", "robust_plugin"]

_BETTER = {
    JPEGBaseline8Bit: "pillow",
    **dict.fromkeys(JPEGLSTransferSyntaxes, "pyjpegls"),
    **dict.fromkeys(JPEG2000TransferSyntaxes, "pylibjpeg"),
}

_LOSSLESS = (JPEGLossless, JPEGLosslessSV1)

_ONLY_GDCM = (JPEGExtended12Bit, *_LOSSLESS)
"""Syntaxes without another decoder, or none with a free licence: their streams are looked through before."""


def robust_plugin(dataset: Dataset, decoder: Decoder) -> str:
    """Return the name of the plugin that decodes the pixels of a data set, or ``""`` for the first that can.

    Raises
    ------
    ValueError
        If the pixels are a JPEG image that is damaged before its pixels begin.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax in _ONLY_GDCM:
        size = (int(dataset.Rows), int(dataset.Columns), int(dataset.SamplesPerPixel))
        for stream in _streams(dataset):
            require_sound_jpeg(stream, *size)
    better = _BETTER.get(syntax, "")
    return better if better in decoder.available_plugins else ""


def require_all_decoded(dataset: Dataset, pixels: np.ndarray, numbers: Sequence[int]) -> None:
    """Raise `ValueError` where frames hold pixels that a decoder of lossless JPEG has made up.

    Parameters
    ----------
    dataset : Dataset
        As it was decoded.
    pixels : numpy.ndarray
        (n, rows, columns), or (n, rows, columns, 3) of colour.
    numbers : sequence of int
        Of the frames, from 1.
    """
    if dataset.file_meta.TransferSyntaxUID not in _LOSSLESS:
        return
    if pixels.ndim > 3 and dataset.PhotometricInterpretation != "RGB":
        # As decoded they have been made red, green and blue.
        return
    decoded = dict(zip(numbers, pixels, strict=True))
    for number, stream in enumerate(_streams(dataset), start=1):
        if number in decoded:
            require_all_pixels(stream, decoded[number])


def _streams(dataset: Dataset) -> Iterator[bytes]:
    """Yield each frame as it is compressed."""
    offsets = [dataset.get(f"ExtendedOffsetTable{part}") for part in ("", "Lengths")]
    streams: Iterator[bytes] = generate_frames(
        dataset.PixelData,
        number_of_frames=int(dataset.get("NumberOfFrames") or 1),
        extended_offsets=(offsets[0], offsets[1]) if offsets[0] and offsets[1] else None,
    )
    return streams
