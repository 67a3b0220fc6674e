"""Where the body is in a scan: its voxels are scored and calibrate, the air around it is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from skimage.filters import threshold_otsu

from napari_dinoad.images.foreground.grey_levels import GreyLevels
from napari_dinoad.images.foreground.packed_masks import (
    FRAME,
    box_around,
    closed_parts,
    dilated,
    eroded,
    large_parts,
    n_marked,
    packed,
    span,
    unpacked,
)
from napari_dinoad.images.foreground.picture_frame import within_bars, within_frame
from napari_dinoad.images.values.blocks import blocks
from napari_dinoad.images.values.sampling import evenly_spread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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

_DARK, _BRIGHT = 1.0, 99.5
"""Percent of a scan's voxels that are darker than what is taken for its darkest and its brightest value."""

_OTSU_BINS = 256

_DARK_SHARE = 0.15
"""A surround is dark where `_NOT_DARK` percent of a scan lie below this share of its bright values; one value, where
it lies above the darkest by no more than this share of the way to the bright ones.

Real air does: at 0.1 the masks of some scans with air change, at this share those of none (548 scans). At 0.25 a
seventh of 1,252 crops within the body lost more than 5 %, at this share 4 %.
"""

_FLAT_SHARE = 0.1
"""A surround is flat where it varies by less than this share of the way from it to the body."""

_NOISE_SHARE = 0.5
"""A surround is noise where neighbours differ by more than this share of what it varies in all."""

_NOISE_SIGMAS = 4.0
"""The body must be brighter than the surround's median by this many of its standard deviations."""

_MAD_TO_SIGMA = 1.4826
"""Median absolute deviation → standard deviation of a normal distribution."""

_MEAN_TO_SIGMA = 1.2533
"""Mean absolute deviation → standard deviation of a normal distribution."""

_NESTED_FRAMES = 3
"""So many bars and frames may lie around each other."""

_PART_SHARE, _CT_PART_SHARE = 0.05, 2 / 3
"""An object of less than this share of the largest one's voxels is no part of the body: text and scales beside a
picture, of CT the table and what the head rests on."""

_MOST_PARTS = 8
"""More objects of that size are texture (tissue in ultrasound, cells), from which no body stands out, unless…"""

_MAIN_SHARE = 0.5
"""… one of them holds more than this share of all: markers drawn beside a body are no texture. Of 5 × 5 cells each
holds 4 %, of smoothed noise the largest of 18 objects 18 %."""

_CLOSED_VOXELS = 3
"""Gaps in the body's outline up to twice this wide are closed."""

_LINES_PIXELS = 2**20
"""Neighbours are compared in so many rows at a time as have about this many pixels."""

_COUNTED_VOXELS = 2**18
"""Voxels are counted so many at a time: what is in between stays in the cache."""

_WORKING_VOXELS = 500_000
"""Otsu's threshold is taken from about this many voxels of a larger scan."""


def find_body(values: np.ndarray, *, is_ct: bool = False) -> np.ndarray:
    """Return the body as one solid object.

    Bright voxels (above half of Otsu's threshold, taken of the square roots, and above the surround's noise; for CT
    above `CT_BODY_HU`) are opened by one voxel. The largest connected object is kept, with those that are not much
    smaller (the other hemisphere, a scalp beyond dark bone, the other leg), closed, and its holes are filled in every
    plane, so that dark tissue inside (ventricles, air, a dark lesion) belongs to it. Many objects are texture,
    and all is body, unless the largest holds more than all others.

    A surround of one exact value that lies among those of the body (0 around a brain of mean 0, or beyond the round
    field of view of a CT) is no body either, however bright. Where what lies around the object is neither dark nor
    flat nor noise, it is darker tissue in a picture without any surround (a crop of a breast, a jaw).

    Flat bars and bright frames around the picture of a 2D image are neither body nor surround: the body is found in
    what they enclose (not of CT, whose thresholds they do not move).

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
    thin = [axis for axis, n in enumerate(values.shape) if n == 1][:1]
    body = _found(np.moveaxis(values, thin, range(len(thin))), is_ct, _NESTED_FRAMES)
    return np.moveaxis(body, range(len(thin)), thin)


def _found(values: np.ndarray, is_ct: bool, n_frames: int) -> np.ndarray:
    """Return the body within at most so many frames around each other; an image is (1, rows, columns)."""
    surround = _value_around(values)
    levels = None
    if surround is None and not is_ct:
        levels = GreyLevels.of(evenly_spread(values, _WORKING_VOXELS))
    threshold = CT_BODY_HU if levels is None else _threshold(levels)

    def is_bright(some: np.ndarray) -> np.ndarray:
        if surround is None:
            return np.asarray(some > threshold)
        return np.asarray((some != surround) & (some > threshold) if is_ct else some != surround)

    is_bright_around = _is_bright_around(values, is_bright)
    if n_frames and values.shape[0] == 1 < min(values.shape[1:]) and not is_ct:
        image = values[0]
        box = (within_frame(image, is_bright(image)) if is_bright_around else None) or within_bars(image)
        if box is not None:
            body = np.zeros(values.shape, dtype=bool)
            body[0][box] = _found(values[:, *box], is_ct, n_frames - 1)[0]
            return body
    if is_bright_around:
        return np.ones(values.shape, dtype=bool)
    objects = _largest_objects(values, is_bright, _CT_PART_SHARE if is_ct else _PART_SHARE)
    if objects is None or np.count_nonzero(objects) < _MIN_FRACTION * objects.size:
        return np.ones(values.shape, dtype=bool)
    if levels is not None and _is_tissue_around(values, objects, levels):
        return np.ones(values.shape, dtype=bool)
    return objects


def _value_around(values: np.ndarray) -> float | None:
    """Return the one value of most of the border if it lies among the body's values, else None.

    A dark one is left to the threshold, and a bright one is a frame around pictures on black. Air in a JPEG has one
    value, nearly black, with others just below and above it.
    """
    border = _border(values)
    value = float(np.median(border))
    if np.count_nonzero(border == value) <= _BORDER_FRACTION * border.size:
        return None
    n_darker = _count(values, lambda some: some < value)
    if not n_darker:
        return None
    darker = 100 * n_darker / _count(values, lambda some: some != value)
    if not _NOT_DARK < darker < 100 - _NOT_DARK:
        return None
    levels = GreyLevels.of(evenly_spread(values, _WORKING_VOXELS))
    dark, bright = levels.percentile(_DARK), levels.percentile(_BRIGHT)
    return None if levels.values[0] >= 0 and value - dark <= _DARK_SHARE * (bright - dark) else value


def _count(values: np.ndarray, told: Callable[[np.ndarray], np.ndarray]) -> int:
    """Return of how many voxels something is told; some at a time, as a mask of all is slow to come by."""
    return sum(int(np.count_nonzero(told(values[block]))) for block in blocks(values.shape, _COUNTED_VOXELS))


def _is_tissue_around(values: np.ndarray, body: np.ndarray, levels: GreyLevels) -> bool:
    """Whether what lies around the body is neither dark nor flat nor noise."""
    dark, bright = levels.percentile(_NOT_DARK), levels.percentile(_BRIGHT)
    if dark <= _DARK_SHARE * bright or body.all():
        return False
    middle = np.median(values[body])
    outside = values[~body]
    spread = _spread(outside)
    if spread <= _FLAT_SHARE * (middle - np.median(outside)):
        return False
    del outside
    steps = _steps_outside(values, body)
    return bool(steps.size and _spread(steps) / np.sqrt(2) < _NOISE_SHARE * spread)


def _steps_outside(values: np.ndarray, body: np.ndarray) -> np.ndarray:
    """Return by how much neighbours (n,) along rows differ of which neither is of the body."""
    # Slice by slice, or row by row of a picture: all differences would take as much memory as the scan.
    lines, bodies = (array.reshape(-1, array.shape[-1]) for array in (values, body))
    step = max(1, _LINES_PIXELS // lines.shape[1])
    parts = []
    for start in range(0, len(lines), step):
        some, inside = lines[start : start + step], bodies[start : start + step]
        parts.append(np.diff(some, axis=-1)[~(inside[:, 1:] | inside[:, :-1])])
    return np.concatenate(parts)


def _spread(values: np.ndarray) -> float:
    """Return the standard deviation of values (n,), as the mean deviation from the median says.

    The median deviation of steps of a few grey values would be one of them, whatever the noise.
    """
    deviations = values - np.median(values)
    return float(_MEAN_TO_SIGMA * np.abs(deviations, out=deviations).mean())


def _border(values: np.ndarray) -> np.ndarray:
    """Return the values (n,) on the border of a scan, along all axes that have more than one voxel."""
    faces = [values.take((0, -1), axis=axis).ravel() for axis, n in enumerate(values.shape) if n > 1]
    return np.concatenate(faces) if faces else values.ravel()


def _threshold(levels: GreyLevels) -> float:
    low, high = levels.percentile(_DARK), levels.percentile(_BRIGHT)
    if high <= low:
        return low
    scaled = np.sqrt(np.clip((levels.values - low) / (high - low), 0, 1))
    counts, edges = np.histogram(scaled, _OTSU_BINS, weights=levels.counts)
    otsu = float(threshold_otsu(hist=(counts, (edges[:-1] + edges[1:]) / 2)))
    # Otsu alone lies between dark and bright tissue when the surround is exactly 0, as in skull-stripped
    # scans; half of it keeps dark tissue, as long as that is above the surround's noise.
    surround = levels.first(int(np.searchsorted(scaled, otsu)))
    middle = surround.median()
    noise = _MAD_TO_SIGMA * surround.median_deviation(middle)
    above_otsu, above_half = (low + cut**2 * (high - low) for cut in (otsu, 0.5 * otsu))
    return float(min(above_otsu, max(above_half, middle + _NOISE_SIGMAS * noise)))


def _is_bright_around(values: np.ndarray, is_bright: Callable[[np.ndarray], np.ndarray]) -> bool:
    """Whether most of a volume's corners, or of an image's border, is bright."""
    if min(values.shape) > 1:
        # In volumes the neck, or a tight crop, may cut through some faces; look at the eight edges' corners.
        corners = values[tuple(slice(None, None, n - 1) for n in values.shape)]
        return bool(is_bright(corners).mean() > _BORDER_FRACTION)
    image = values[0]
    if min(image.shape) == 1:
        return True
    border = np.concatenate([image[0], image[-1], image[1:-1, 0], image[1:-1, -1]])
    return bool(is_bright(border).mean() > _BORDER_FRACTION)


def _largest_objects(
    values: np.ndarray, is_bright: Callable[[np.ndarray], np.ndarray], share: float
) -> np.ndarray | None:
    """Return the objects of at least this share of the largest one, closed and filled; None of many."""
    axes = (1, 2) if values.shape[0] == 1 else (0, 1, 2)
    bright = packed(values.shape, lambda block: is_bright(values[block]))
    opened = dilated(eroded(bright, axes), axes)
    objects = opened if opened.any() else bright
    largest, n_parts = large_parts(objects, axes[:-1], share)
    if n_parts > _MOST_PARTS and not _has_main(objects, largest, axes[:-1]):
        return None
    del objects, opened
    box = box_around(largest, 1 + FRAME)[:2]  # Whole rows: their ends are framed.
    body = dilated(largest[box], axes)
    body &= bright[box]
    del largest
    for step in (dilated,) * _CLOSED_VOXELS + (eroded,) * _CLOSED_VOXELS:
        body = step(body, axes)
    whole = np.zeros_like(bright)
    del bright
    whole[box] = _filled(body)
    return unpacked(whole, values.shape)


def _has_main(objects: np.ndarray, parts: np.ndarray, axes: Sequence[int]) -> bool:
    """Whether the largest of the objects holds more than `_MAIN_SHARE` of those that are parts."""
    main, n_main = large_parts(objects, axes, 1.0)
    return n_main == 1 and n_marked(main) > _MAIN_SHARE * n_marked(parts)


def _filled(words: np.ndarray) -> np.ndarray:
    """Fill what is enclosed within single slices of any plane (an open neck does not empty the head)."""
    spans: dict[int, np.ndarray] = {}
    for plane in ((1, 2), (0, 2), (0, 1)) if words.shape[0] > 1 else ((1, 2),):
        spans = {axis: spans[axis] if axis in spans else span(words, axis) for axis in (*plane, *spans)}
        # Only what has body on both sides, along both axes, can be enclosed.
        between = spans[plane[0]] & spans[plane[1]]
        between &= ~words
        if not between.any():
            continue
        leaks = dilated(~(words | between), plane)
        leaks &= between
        words = words | closed_parts(between, leaks, plane)
        # What lies between body along the plane's axes leaves the spans along them as they were.
        spans = {axis: spans[axis] for axis in plane}
    return words
