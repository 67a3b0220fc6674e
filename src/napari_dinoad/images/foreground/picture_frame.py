"""Bars and frames around the picture of an exported image: what was added to it is neither body nor air."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_dinoad.images.values.percentiles import percentile

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Box", "within_bars", "within_frame"]

Box = tuple[slice, slice]
"""Rows and columns of an image."""

_LIKE_SHARE = 0.01
"""Pixels of a bar differ by no more than this share of the image's range (2.5 of 255, as JPEG makes of one value)."""

_LIKE_PIXELS = 0.9
"""Share of a bar's line that has the bar's value."""

_TEXT_PIXELS = 0.3
"""Share of a bar's line with text in it that has the bar's value."""

_STEP_SHARE = 0.03
"""What follows a bar differs from it by more than this share of the range. Air that grows brighter bit by bit does
not."""

_STEP_PIXELS = 0.5
"""Share of a line behind a bar that may still be like it."""

_WIDEST_BAR = 0.45
"""Share of a side that a bar takes at most."""

_AIR_SHARE = 0.25
"""What bars enclose has air around it where half of its border is darker than this share of the image's range."""

_FALL = 0.3
"""Share of a line that turns from bright to dark where a frame ends; in a picture neighbouring lines are alike."""

_UNEVEN_LINES = 2
"""So many lines of a frame may be uneven, as antialiased ones are."""

_EVEN_SHARE = 0.1
"""Four fifths of an even line lie within this share of the range."""

_WIDEST_FRAME = 0.25
"""Share of a side that a frame takes at most."""

_BLURRED_LINES = 2
"""A bar ends within so many lines."""

_BLOCK = 8
"""Lines of a block of JPEG."""

_RINGING_FALL = 4
"""The step that ends a bar is at least so many times as high as what JPEG makes of it in the block where it lies."""


def within_bars(image: np.ndarray) -> Box | None:
    """Return the part of an image that lies within flat bars along its sides; None where there is no bar.

    A bar is of one value and ends at once, as those do that make a picture square. Where air goes on from it with the
    same value, it is none; and where it encloses a picture without air of its own, it is the air.

    Parameters
    ----------
    image : numpy.ndarray
        (rows, columns).
    """
    darkest, brightest = _darkest_and_brightest(image)
    value_range = float(brightest - darkest)

    def n_lines(part: np.ndarray, _: np.ndarray, first: int) -> int:
        value = float(np.median(part[0]))
        most = int(_WIDEST_BAR * len(part))
        like = _lines_like(part[:most], value, _LIKE_SHARE * value_range)[0]
        if like:
            # As far as the block in which the bar ends goes, and the line behind it.
            block = part[like:most][: _BLOCK - (first + like) % _BLOCK + 1]
            like += _n_ringing(np.abs(block - value), _STEP_SHARE * value_range)
        behind = part[like : like + _BLURRED_LINES]
        ends = like < most and any(
            _near(line, value, _STEP_SHARE * value_range) <= _STEP_PIXELS for line in behind
        )
        return like if ends else 0

    box = _peeled(image, image, n_lines)
    return None if box is None or not _has_air_around(image[box], darkest, brightest) else box


def within_frame(image: np.ndarray, foreground: np.ndarray) -> Box | None:
    """Return the part of an image that lies within a bright frame; None where there is no frame.

    Parameters
    ----------
    image : numpy.ndarray
        (rows, columns).
    foreground : numpy.ndarray
        (rows, columns) bool: what is bright.
    """
    darkest, brightest = _darkest_and_brightest(image)
    value_range = float(brightest - darkest)

    def n_lines(part: np.ndarray, bright: np.ndarray, _: int) -> int:
        most = int(_WIDEST_FRAME * len(part))
        n_like, has_text = _lines_like(part[:most], float(np.median(part[0])), _LIKE_SHARE * value_range)
        first = n_like - 1 if has_text else 0
        # JPEG makes the last lines of a frame uneven, as far as the block goes in which it ends.
        most_uneven = _UNEVEN_LINES + (_BLOCK - 1 if n_like else 0)
        least, n_uneven = 1.0, 0
        for place in range(first, most):
            share = float(bright[place].mean())
            if place > first and least - share >= _FALL:
                return place
            n_uneven += np.subtract(*np.percentile(part[place], (90, 10))) > _EVEN_SHARE * value_range
            if n_uneven > most_uneven:
                return 0
            least = min(least, share)
        return 0

    return _peeled(image, foreground, n_lines)


def _peeled(
    image: np.ndarray, other: np.ndarray, n_lines: Callable[[np.ndarray, np.ndarray, int], int]
) -> Box | None:
    """Return what is left of an image once ``n_lines`` has told of each side in turn how many lines to leave out.

    It is given what is left from that side on, of both, and how many lines of JPEG's block it begins behind.
    """
    ends = [0, image.shape[0], 0, image.shape[1]]
    # Twice: a line across a bar is not like the bar's other lines until the bars beside it are away.
    for _ in range(2):
        for side in range(4):
            box = slice(ends[0], ends[1]), slice(ends[2], ends[3])
            part, of_other = (_from_side(array[box], side) for array in (image, other))
            inwards = -1 if side % 2 else 1
            ends[side] += inwards * n_lines(part, of_other, inwards * ends[side] % _BLOCK)
    box = slice(ends[0], ends[1]), slice(ends[2], ends[3])
    return None if image[box].shape == image.shape else box


def _n_ringing(off: np.ndarray, least: float) -> int:
    """Return how many lines belong to a bar yet, of lines (n, pixels) that are off its value by so much.

    In the block in which a bar ends JPEG lets its lines swing around its value, by far less than the step that
    ends it.
    """
    swings = np.quantile(off, _LIKE_PIXELS, axis=1)
    steps = np.quantile(off, _STEP_PIXELS, axis=1)
    for n in range(1, len(off)):
        if steps[n] > max(least, _RINGING_FALL * swings[:n].max()):
            return n
    return 0


def _has_air_around(part: np.ndarray, darkest: np.float64, brightest: np.float64) -> bool:
    border = np.concatenate([part[0], part[-1], part[1:-1, 0], part[1:-1, -1]])
    return bool(np.median(border) - darkest <= _AIR_SHARE * (brightest - darkest))


def _lines_like(part: np.ndarray, value: float, tolerance: float) -> tuple[int, bool]:
    """Return how many lines from the first on are of one value, and whether any of them has text in it."""
    n_like, n_text = 0, 0
    for place, line in enumerate(part):
        share = _near(line, value, tolerance)
        if share < _TEXT_PIXELS:
            break
        if share >= _LIKE_PIXELS:
            n_text += place - n_like
            n_like = place + 1
    return n_like, n_text > 0


def _from_side(image: np.ndarray, side: int) -> np.ndarray:
    """Return an image's lines from its top, bottom, left or right on."""
    lines = image if side < 2 else image.T
    return lines[::-1] if side % 2 else lines


def _near(line: np.ndarray, value: float, tolerance: float) -> float:
    return float((np.abs(line - value) <= tolerance).mean())


def _darkest_and_brightest(image: np.ndarray) -> tuple[np.float64, np.float64]:
    return percentile(image, 1), percentile(image, 99.5)
