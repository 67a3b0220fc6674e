"""Colour → grey."""

from __future__ import annotations

import numpy as np

__all__ = ["FULL_SCALE", "to_grey"]

FULL_SCALE = {np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0}
"""The value that means white, by the type that a scan is stored as."""

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Weights of red, green and blue in grey (ITU-R BT.601)."""


def to_grey(pixels: np.ndarray) -> np.ndarray:
    """Return grey float32 pixels (…) of colour pixels (…, 3 or 4); an alpha channel is left out."""
    return np.asarray(pixels[..., :3].astype(np.float32) @ _LUMA)
