"""Colour → grey, and what means white."""

from __future__ import annotations

import numpy as np

__all__ = ["COLOUR_AS_GREY", "FULL_SCALE", "to_grey", "white_of_picture"]

FULL_SCALE = {np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0}
"""The value that means white, by the type that a scan is stored as."""

_WHITE_OF_12_BITS = 4095.0

COLOUR_AS_GREY = "Colour was read as grey."
"""What the notes of a scan say whose pixels were colour and which is seen without."""

_PIXELS_AT_ONCE = 2**20

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Weights of red, green and blue in grey (ITU-R BT.601)."""


def to_grey(pixels: np.ndarray) -> np.ndarray:
    """Return grey float32 pixels (…) of colour pixels (…, 3 or 4); an alpha channel is left out."""
    grey: np.ndarray = np.empty(pixels.shape[:-1], dtype=np.float32)
    # Some rows at a time: in float32 the colours take three times the memory of the grey.
    step = max(1, _PIXELS_AT_ONCE // max(1, grey[:1].size))
    for start in range(0, len(pixels), step):
        rows = slice(start, start + step)
        # Not by a product of matrices, whose last bits differ with the layout in memory and the processor.
        np.multiply(pixels[rows, ..., 0], _LUMA[0], out=grey[rows], dtype=np.float32)
        for channel in (1, 2):
            grey[rows] += np.multiply(pixels[rows, ..., channel], _LUMA[channel], dtype=np.float32)
    return grey


def white_of_picture(dtype: np.dtype, low: float, high: float) -> float | None:
    """Return the value that means white in a picture file, whose type may hold more bits than the camera gave.

    Devices give 8, 12 or 16 bits, files hold 8 or 16, and a picture's format does not say which they were (DICOM
    does). 16-bit pixels that all lie within 12 bits are taken for 12 bits: by the file's 65535 they would be all but
    black. No other depth is guessed, since the guess goes by the brightest pixel: between depths that lie closer
    together, pictures of one device would fall on both sides. One of 12 bits never lies above 4095; one of 16 lies
    below it only where it leaves 15 of 16 parts of its range unused.

    Parameters
    ----------
    dtype : numpy.dtype
        As stored. Signed 16 bits are taken as unsigned ones where nothing lies below 0.
    low, high : float
        The least and the greatest value, of all slices of a stack.

    Returns
    -------
    float or None
        None where the type has no white: floating point, 32 bits, values below 0.
    """
    if dtype not in (np.uint16, np.int16):
        return FULL_SCALE.get(dtype)
    if low < 0:
        return None
    return _WHITE_OF_12_BITS if high <= _WHITE_OF_12_BITS else float(np.iinfo(dtype).max)
