"""Where the body is in a scan: its voxels are scored and calibrate, the air around it is not."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage.filters import threshold_otsu

__all__ = ["find_body"]

CT_BODY_HU = -300.0
"""Hounsfield units above which a voxel is tissue and not air (fat is about −100, lung below −500)."""

_MIN_FRACTION = 0.01
"""A body smaller than this share of the scan is taken for a failure, and the whole scan is used."""

_BORDER_FRACTION = 0.5
"""If more than this share of an image's border is bright, there is no dark surround to tell a body from; one value of
more than this share of it is the surround's."""

_NOT_DARK = 5.0
"""Percent of a scan's voxels that are darker than a surround which no threshold can tell from the body."""

_NOISE_SIGMAS = 4.0
"""The body must be brighter than the surround's median by this many of its standard deviations."""

_MAD_TO_SIGMA = 1.4826
"""Median absolute deviation → standard deviation of a normal distribution."""

_CLOSED_VOXELS = 3
"""Gaps in the body's outline up to twice this wide are closed."""

_WORKING_VOXELS = 2_000_000
"""Otsu's threshold is taken from at most about this many voxels."""


def find_body(values: np.ndarray, *, is_ct: bool = False) -> np.ndarray:
    """Return the body as one solid object.

    Bright voxels (above half of Otsu's threshold, taken of the square roots, and above the surround's noise; for CT
    above `CT_BODY_HU`) are opened by one voxel, the largest connected object is kept, closed, and its holes are
    filled in every plane, so that dark tissue inside (ventricles, air, a dark lesion) belongs to it.

    A surround of one exact value that lies among those of the body (0 around a brain of mean 0, or beyond the round
    field of view of a CT) is no body either, however bright.

    Parameters
    ----------
    values : numpy.ndarray
        (z, y, x) in the scan's own units.
    is_ct : bool
        Whether the values are Hounsfield units.

    Returns
    -------
    numpy.ndarray
        (z, y, x) bool. All True when the scan has no dark surround or no object stands out.
    """
    surround = _value_around(values)
    if surround is None:
        foreground = values > (CT_BODY_HU if is_ct else _threshold(values))
    else:
        foreground = values != surround
        if is_ct:
            foreground &= values > CT_BODY_HU
    if _bright_border(foreground):
        return np.ones(values.shape, dtype=bool)
    flat = [axis for axis, n in enumerate(values.shape) if n == 1]
    body = _largest_object(foreground, flat)
    if np.count_nonzero(body) < _MIN_FRACTION * body.size:
        return np.ones(values.shape, dtype=bool)
    return body


def _value_around(values: np.ndarray) -> float | None:
    """Return the one value of most of the border if it lies among the body's values, else None.

    A dark one is left to the threshold, and a bright one is a frame around pictures on black.
    """
    border = _border(values)
    value = float(np.median(border))
    if np.count_nonzero(border == value) <= _BORDER_FRACTION * border.size:
        return None
    others = values[values != value]
    if not others.size:
        return None
    darker = 100 * np.count_nonzero(others < value) / others.size
    return value if _NOT_DARK < darker < 100 - _NOT_DARK else None


def _border(values: np.ndarray) -> np.ndarray:
    """Return the values (n,) on the border of a scan, along all axes that have more than one voxel."""
    faces = [values.take((0, -1), axis=axis).ravel() for axis, n in enumerate(values.shape) if n > 1]
    return np.concatenate(faces) if faces else values.ravel()


def _threshold(values: np.ndarray) -> float:
    step = max(1, round((values.size / _WORKING_VOXELS) ** (1 / 3)))
    sample = values[tuple(slice(None, None, step if n > 16 else 1) for n in values.shape)].astype(np.float64)
    low, high = np.percentile(sample, (1, 99.5))
    if high <= low:
        return float(low)
    scaled = np.sqrt(np.clip((sample - low) / (high - low), 0, 1))
    otsu = float(threshold_otsu(scaled.ravel()))
    # Otsu alone lies between dark and bright tissue when the surround is exactly 0, as in skull-stripped
    # scans; half of it keeps dark tissue, as long as that is above the surround's noise.
    surround = sample[scaled < otsu]
    middle = np.median(surround)
    noise = _MAD_TO_SIGMA * np.median(np.abs(surround - middle))
    above_otsu, above_half = (low + cut**2 * (high - low) for cut in (otsu, 0.5 * otsu))
    return float(min(above_otsu, max(above_half, middle + _NOISE_SIGMAS * noise)))


def _bright_border(foreground: np.ndarray) -> bool:
    """Whether most of the border of the middle slice across each thick axis is foreground."""
    if min(foreground.shape) > 1:
        # In volumes the neck, or a tight crop, may cut through some faces; look at the eight edges' corners.
        corners = foreground[
            :: foreground.shape[0] - 1, :: foreground.shape[1] - 1, :: foreground.shape[2] - 1
        ]
        return bool(corners.mean() > _BORDER_FRACTION)
    image = foreground.reshape([n for n in foreground.shape if n > 1] or [1])
    if image.ndim < 2:
        return True
    border = np.concatenate([image[0], image[-1], image[1:-1, 0], image[1:-1, -1]])
    return bool(border.mean() > _BORDER_FRACTION)


def _largest_object(foreground: np.ndarray, flat: list[int]) -> np.ndarray:
    thick = [axis for axis in range(3) if axis not in flat]
    opened = _dilated(_eroded(foreground, thick), thick)
    labels, n_objects = ndimage.label(opened if opened.any() else foreground)
    if n_objects == 0:
        return np.zeros_like(foreground)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    largest = int(sizes.argmax())
    # What follows reaches no farther than this box, and no farther than its margin beyond it.
    found = ndimage.find_objects(labels, largest)[largest - 1]
    box = tuple(slice(max(0, side.start - 1), side.stop + 1) for side in found)
    body = _dilated(labels[box] == largest, thick) & (foreground[box] | opened[box])
    closed = np.pad(body, _CLOSED_VOXELS)
    for step in (_dilated,) * _CLOSED_VOXELS + (_eroded,) * _CLOSED_VOXELS:
        closed = step(closed, thick)
    inner = (slice(_CLOSED_VOXELS, -_CLOSED_VOXELS),) * 3
    whole = np.zeros_like(foreground)
    whole[box] = _fill_in_planes(closed[inner] | body, flat)
    return whole


def _eroded(image: np.ndarray, axes: list[int]) -> np.ndarray:
    """Return what keeps all its neighbours along these axes; beyond the border there is nothing."""
    out = image.copy()
    for axis in axes:
        lower, upper = _shifts(axis)
        out[lower] &= image[upper]
        out[upper] &= image[lower]
        for end in (0, -1):
            out[(slice(None),) * axis + (end,)] = False
    return out


def _dilated(image: np.ndarray, axes: list[int]) -> np.ndarray:
    """Return the image and all its neighbours along these axes."""
    out = image.copy()
    for axis in axes:
        lower, upper = _shifts(axis)
        out[lower] |= image[upper]
        out[upper] |= image[lower]
    return out


def _shifts(axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    before = (slice(None),) * axis
    return (*before, slice(None, -1)), (*before, slice(1, None))


def _fill_in_planes(body: np.ndarray, flat: list[int]) -> np.ndarray:
    """Fill what is enclosed within single slices of any plane (an open neck does not empty the head)."""
    filled = body.copy()
    for axis in flat or range(3):
        others = [a for a in range(3) if a != axis]
        in_plane = ndimage.generate_binary_structure(3, 1) & (np.indices((3, 3, 3))[axis] == 1)
        # All slices at once: what of the surround does not reach a border of its slice is enclosed.
        labels, n_parts = ndimage.label(~filled, in_plane)
        is_open = np.zeros(n_parts + 1, dtype=bool)
        for other in others:
            is_open[labels.take((0, -1), axis=other)] = True
        is_open[0] = True
        filled |= ~is_open[labels]
    return filled
