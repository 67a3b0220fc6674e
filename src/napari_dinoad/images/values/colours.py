"""Colours of a scan: whether pixels have any, how much, and in which type they are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_dinoad.images.values.blocks import blocks
from napari_dinoad.images.values.grey import to_grey

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_dinoad.images.volume import Volume

__all__ = [
    "are_coloured",
    "colour_type",
    "colour_window",
    "colourfulness",
    "grey_and_colours",
    "with_finite_colours",
]

_KEPT_TYPES = (np.uint8, np.uint16)

_PIXELS_AT_ONCE = 2**20


def are_coloured(pixels: np.ndarray) -> bool:
    """Whether any pixel has unequal red, green and blue, all finite; not so where grey is stored as colour.

    Parameters
    ----------
    pixels : numpy.ndarray
        (rows, columns, 3) or (n, rows, columns, 3); more channels play no part.
    """
    return any(_have_hue(part[..., :3]) for part in _parts(pixels))


def _have_hue(pixels: np.ndarray) -> bool:
    unequal = pixels[..., :2] != pixels[..., 1:]
    if pixels.dtype.kind == "f":
        # NaN is unequal to itself.
        unequal &= np.isfinite(pixels).all(axis=-1, keepdims=True)
    return bool(unequal.any())


def colourfulness(colours: np.ndarray | None, white: float) -> float:
    """Return the mean of the greatest less the least of red, green and blue, as a share of white.

    Parameters
    ----------
    colours : numpy.ndarray, optional
        (z, y, x, 3); None: 0.
    white : float
    """
    if colours is None:
        return 0.0
    total = 0.0
    for part in _parts(colours):
        spread = part.max(axis=-1).astype(np.float32) - part.min(axis=-1)
        total += float(spread.sum(dtype=np.float64))
    return total * 3 / colours.size / white


def colour_type(*stored: np.dtype) -> np.dtype:
    """Return the type that colours stored as these are kept in: their own for 8 and 16 bits, else float32."""
    kinds = set(stored)
    (kind,) = kinds if len(kinds) == 1 else (np.dtype(np.float32),)
    return kind if kind in _KEPT_TYPES else np.dtype(np.float32)


def grey_and_colours(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Return what a `Volume` has of canonical (z, y, x, 3) uint8: its grey, and an array of its colours.

    None in place of these where grey is stored as colour.
    """
    return to_grey(pixels), np.array(pixels, order="C") if are_coloured(pixels) else None


def with_finite_colours(colours: np.ndarray, lowest: float) -> np.ndarray:
    """Return colours (…, 3) in which pixels with NaN or infinity are grey, of the lowest value."""
    if colours.dtype.kind != "f":
        return colours
    finite = np.isfinite(colours).all(axis=-1, keepdims=True)
    return colours if finite.all() else np.where(finite, colours, np.float32(lowest))


def _parts(pixels: np.ndarray) -> Iterator[np.ndarray]:
    """Yield colour pixels block by block: what is compared takes memory of its own."""
    stack = pixels if pixels.ndim == 4 else pixels[np.newaxis]
    for slices, rows in blocks(stack.shape[:3], _PIXELS_AT_ONCE):
        yield stack[slices, rows]


def colour_window(volume: Volume) -> tuple[float, float] | None:
    """Return the values of its channels that are shown dark and full; None for a scan without colours to show.

    They are as stored, so that hues stay what they are.
    """
    if volume.colours is None:
        return None
    if volume.full_scale is not None:
        return 0.0, volume.full_scale
    return (0.0, 1.0) if volume.colours.min() >= 0 and volume.colours.max() <= 1 else None
