"""Where the field of view of a photograph is: the black that an instrument leaves around it is not scored."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from napari_dinoad.images.values.sampling import evenly_spread

__all__ = ["find_field_of_view"]

_CORNER_SHARE = 0.01
"""Side of a picture's corner, as a share of the picture's shorter side."""

_N_DARK_CORNERS = 2
"""So many corners are black at least: one may be a lesion's, and lines of text lie over some."""

_BRIGHT = 99.5
"""Percent of a picture's pixels that are darker than what is taken for its brightest value."""

_DARK_SHARE = 0.15
"""Corners are black below this share of the brightest value."""

_LIKE_SHARE = 0.04
"""What is no brighter than the corners by this share of the way to the brightest value is like them (10 of 255: what
JPEG makes of black beside a bright rim is)."""

_TEXT_SHARE = 0.02
"""What is narrower than this share of the picture's shorter side is text, not part of the field."""

_WITHIN_SHARE = 0.8
"""The field has at least this share of all that is not black: of cells on black none has."""

_SMALLEST_FIELD = 0.05
"""A field smaller than this share of the picture is taken for a failure."""

_LEAST_AROUND = 0.005
"""Share of the picture that lies around a field at least."""

_SIDE = 512
"""The field is looked for in every so many pixels that a side has no more than this many."""

_SAMPLED_PIXELS = 500_000


def find_field_of_view(pixels: np.ndarray, axis: int = 0) -> np.ndarray:
    """Return the convex field of view of photographs of one instrument, alike in all slices.

    Optics and masks of endoscopes, of cameras for the eye's ground and of dermatoscopes show a disc, a cut disc, an
    octagon or a rectangle on black. Where at least two corners are black, the field is the convex hull of the largest
    object that is not: so a black lesion at its rim, a dark lumen and a hair belong to it, and text around it
    does not. White is left as it is: it surrounds tissue on slides, which is of any shape, and is its holes, too.

    Parameters
    ----------
    pixels : numpy.ndarray
        (z, y, x) or in colour (z, y, x, 3), 0 is black. In colour a pixel is as bright as its brightest channel.
    axis : int
        Axis across which slices are taken: black is what is so in all of them.

    Returns
    -------
    numpy.ndarray
        (z, y, x) bool. All True when there is no such field.
    """
    shape = pixels.shape[:3]
    rows, columns = (n for a, n in enumerate(shape) if a != axis)
    step = -(-max(rows, columns) // _SIDE)
    every = tuple(slice(None, None, 1 if a == axis else step) for a in range(3))
    seen = pixels[every].max(axis=axis)
    field = _field_in(seen.max(axis=-1) if pixels.ndim > len(shape) else seen)
    whole = np.ones((rows, columns), dtype=bool) if field is None else _enlarged(field, step, (rows, columns))
    return np.broadcast_to(np.expand_dims(whole, axis), shape).copy()


def _field_in(image: np.ndarray) -> np.ndarray | None:
    """Return the field of view (rows, columns) bool; None where there is none on black."""
    side = min(image.shape)
    n = max(1, round(_CORNER_SHARE * side))
    ends = slice(None, n), slice(-n, None)
    black = sorted(float(np.median(image[rows, columns])) for rows in ends for columns in ends)[
        _N_DARK_CORNERS - 1
    ]
    bright = float(np.percentile(evenly_spread(image, _SAMPLED_PIXELS), _BRIGHT))
    if black >= _DARK_SHARE * bright:
        return None
    lit = image > black + _LIKE_SHARE * (bright - black)
    width = max(1, round(_TEXT_SHARE * side / 2))
    cross = ndimage.generate_binary_structure(2, 1)
    # Beyond the border a field goes on.
    core = ndimage.binary_erosion(lit, cross, iterations=width, border_value=1)
    parts, n_parts = ndimage.label(ndimage.binary_dilation(core, cross, iterations=width))
    if not n_parts:
        return None
    field = _hull(parts == 1 + np.argmax(np.bincount(parts.ravel())[1:]))
    if not _SMALLEST_FIELD <= field.mean() <= 1 - _LEAST_AROUND:
        return None
    return field if np.count_nonzero(lit & field) >= _WITHIN_SHARE * np.count_nonzero(lit) else None


def _hull(part: np.ndarray) -> np.ndarray:
    """Return the convex hull (rows, columns) bool of the centres of a part's pixels."""
    lines, first, last = _spans(part)
    rows, columns = np.ogrid[: part.shape[0], : part.shape[1]]
    left = np.interp(rows, *_below(lines, first))
    right = -np.interp(rows, *_below(lines, -last))
    return np.asarray((rows >= lines[0]) & (rows <= lines[-1]) & (columns >= left) & (columns <= right))


def _spans(part: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the rows (n,) that a part has pixels in, and the first and the last column (n,) of each."""
    lines = np.flatnonzero(part.any(axis=1))
    return lines, np.argmax(part[lines], axis=1), part.shape[1] - 1 - np.argmax(part[lines, ::-1], axis=1)


def _below(at: np.ndarray, values: np.ndarray) -> tuple[list[int], list[int]]:
    """Return the corners, as places and values, of the highest convex line on or below values (n,) at rising places.

    As A. M. Andrew, "Another efficient algorithm for convex hulls in two dimensions", 1979, does.
    """
    x: list[int] = []
    y: list[int] = []
    for place, value in zip(at.tolist(), values.tolist(), strict=True):
        while len(x) > 1 and (y[-1] - y[-2]) * (place - x[-1]) >= (value - y[-1]) * (x[-1] - x[-2]):
            x.pop()
            y.pop()
        x.append(place)
        y.append(value)
    return x, y


def _enlarged(field: np.ndarray, step: int, shape: tuple[int, int]) -> np.ndarray:
    """Return a convex field (rows, columns) of every so many pixels in all of them, not smaller than it is."""
    lines, first, last = _spans(field)
    # Its border lies anywhere between a pixel that was seen and the one before.
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    left = np.interp(rows, step * lines, step * first) - step
    right = np.interp(rows, step * lines, step * last) + step
    is_line = (rows > step * (lines[0] - 1)) & (rows < step * (lines[-1] + 1))
    return np.asarray(is_line & (columns > left) & (columns < right))
