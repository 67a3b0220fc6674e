"""Bars and frames around the pictures of exported images."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import ndimage

from napari_dinoad.images.foreground.body import find_body
from napari_dinoad.images.foreground.picture_frame import within_bars, within_frame

SHAPE = (140, 110)
INSIDE = slice(12, 152), slice(9, 119)


def head(air=0.0, noise=2.0, seed=0):
    """Return a slice (rows, columns) through a head of 8 bit in noisy air, and where the head is."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices(SHAPE)
    inside = np.hypot((rows - 70) / 55, (columns - 55) / 42) < 1
    tissue = 120 + 25 * ndimage.gaussian_filter(rng.normal(size=SHAPE), 4) / 0.07
    values = np.where(inside, tissue, air) + noise * np.abs(rng.normal(size=SHAPE))
    return np.clip(np.round(values), 0, 255), inside


def framed(image, value):
    """Return the image with lines of one value around it, of different numbers on its sides."""
    return np.pad(image, ((12, 7), (9, 16)), constant_values=value)


def as_jpeg(image, quality=85):
    stream = io.BytesIO()
    Image.fromarray(image.astype(np.uint8)).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream), dtype=float)


def is_same(found, inside, box):
    """Whether the body is the head, but for a line or two around it, and nothing beyond the picture."""
    whole = np.zeros(found.shape, dtype=bool)
    whole[box] = inside
    return found[whole].mean() > 0.98 and found[~whole].mean() < 0.03


@pytest.mark.parametrize("value", [255.0, 90.0])
@pytest.mark.parametrize("stored", [np.asarray, as_jpeg])
def test_a_frame_around_a_picture_is_no_body(value, stored):
    """A page around a picture: the whole image was the body."""
    image, inside = head()
    assert is_same(find_body(stored(framed(image, value))[np.newaxis])[0], inside, INSIDE)


def test_one_grey_line_around_a_picture_is_no_body():
    """What is left of a frame where a picture was cut out by hand, or scaled down."""
    image, inside = head()
    image[[0, -1]] = 36.0
    image[:, [0, -1]] = 77.0
    assert is_same(find_body(image[np.newaxis])[0], inside, (slice(None), slice(None)))


def with_uneven_lines(image, n):
    """Return the image with so many lines on each side that grow brighter from one end to the other."""
    image = image.copy()
    for lines in image[:n], image[-n:], image[:, :n].T, image[:, -n:].T:
        lines[:] = np.linspace(20, 110, lines.shape[1])
    return image


@pytest.mark.parametrize("n", [1, 2])
def test_one_or_two_uneven_lines_around_a_picture_are_no_body(n):
    image, inside = head()
    framed = with_uneven_lines(image, n)
    assert within_frame(framed, framed > 15) == (slice(n, SHAPE[0] - n), slice(n, SHAPE[1] - n))
    assert is_same(find_body(framed[np.newaxis])[0], inside, (slice(None), slice(None)))


def test_more_uneven_lines_are_a_picture():
    image = with_uneven_lines(head()[0], 3)
    assert within_frame(image, image > 15) is None


@pytest.mark.parametrize("stored", [np.asarray, as_jpeg])
@pytest.mark.parametrize("axis", [0, 1])
def test_black_bars_beside_noisy_air_leave_the_body_as_it_is(stored, axis):
    """They made air the body: it alone was not black."""
    image, inside = head(air=20.0, noise=6.0)
    bars = [(0, 0), (0, 0)]
    bars[axis] = (40, 30)
    box = tuple(slice(before, before + n) for (before, _), n in zip(bars, SHAPE, strict=True))
    assert is_same(find_body(stored(np.pad(image, bars))[np.newaxis])[0], inside, box)


@pytest.mark.parametrize("quality", [75, 85, 95])
@pytest.mark.parametrize("value", [0.0, 90.0, 255.0])
@pytest.mark.parametrize("widths", [(37, 29), (33, 35), (20, 44)])
@pytest.mark.parametrize("axis", [0, 1])
def test_bars_that_end_within_a_block_of_jpeg_belong_to_no_picture(quality, value, widths, axis):
    """Their last lines swing around their value, so the bars did not end at once, and were the body or its air."""
    image, inside = head(air=20.0, noise=6.0)
    bars = [(0, 0), (0, 0)]
    bars[axis] = widths
    box = tuple(slice(before, before + n) for (before, _), n in zip(bars, SHAPE, strict=True))
    stored = as_jpeg(np.pad(image, bars, constant_values=value), quality)
    assert within_bars(stored) == box
    assert is_same(find_body(stored[np.newaxis])[0], inside, box)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_blurred_line_between_a_bar_and_its_picture_hides_no_bar(axis):
    """Its value is between those of both: neither the bar's nor so far from it that the bar ends there."""
    image, _ = head(air=12.0, noise=6.0)
    bars, line = [(0, 0), (0, 0)], [(0, 0), (0, 0)]
    bars[axis], line[axis] = (40, 30), (1, 1)
    shown = np.pad(np.pad(image, line, constant_values=5.0), bars)
    ends = [slice(0, n) for n in SHAPE]
    ends[axis] = slice(41, 41 + SHAPE[axis])
    assert within_bars(shown) == tuple(ends)


def test_a_page_around_black_bars_is_no_body_either():
    image, inside = head(air=20.0, noise=6.0)
    whole = np.pad(np.pad(image, ((0, 0), (30, 30))), 10, constant_values=255)
    assert is_same(find_body(whole[np.newaxis])[0], inside, (slice(10, 150), slice(40, 150)))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_plane_of_a_slice_makes_no_difference(axis):
    image, _ = head()
    expected = find_body(framed(image, 255.0)[np.newaxis])[0]
    np.testing.assert_array_equal(
        find_body(np.expand_dims(framed(image, 255.0), axis)).squeeze(axis), expected
    )


@pytest.mark.parametrize("seed", range(5))
def test_air_that_grows_brighter_is_no_bar(seed):
    """In whole numbers each line differs from the next at once."""
    image, _ = head(noise=0.0, seed=seed)
    image = np.where(image > 0, image, np.round(np.linspace(0, 9, SHAPE[1]))[np.newaxis])
    assert within_bars(image) is None


def test_air_of_one_value_is_no_bar():
    image, inside = head(noise=0.0)
    assert within_bars(np.where(inside, image, 13.0)) is None


def test_black_around_a_picture_without_air_is_its_air():
    """Without it, the darker tissue of a crop would be what lies around the body."""
    tissue = 120 + 40 * ndimage.gaussian_filter(np.random.default_rng(0).normal(size=SHAPE), 6) / 0.05
    image = np.pad(np.clip(tissue, 60, 255), 30)
    assert within_bars(image) is None
    assert find_body(image[np.newaxis])[0, 33:-33, 33:-33].all()


@pytest.mark.parametrize("seed", range(5))
def test_a_picture_within_the_body_has_no_frame(seed):
    tissue = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=SHAPE), 5)
    assert within_frame(tissue, tissue > tissue.mean()) is None
    assert within_bars(tissue) is None


def test_a_picture_of_one_value_has_neither():
    image = np.full(SHAPE, 7.0)
    assert within_bars(image) is None
    assert within_frame(image, np.ones(SHAPE, dtype=bool)) is None


@pytest.mark.parametrize("value", [255, 90])
@pytest.mark.parametrize("height", [17, 28, 56])
def test_text_in_bars_above_and_below_belongs_to_them(value, height):
    """Lines with text were no more like the others, nor even as those of a frame: all of the picture was the body."""
    image, inside = head()
    whole = np.pad(image, ((height, height), (0, 0)), constant_values=value)
    drawn = Image.fromarray(whole.astype(np.uint8))
    for row, words in (2, "HEAD 1961"), (height + SHAPE[0] + 1, "W 255"):
        ImageDraw.Draw(drawn).text((4, row), words, fill=10)
    box = slice(height, height + SHAPE[0]), slice(None)
    assert is_same(find_body(np.asarray(drawn, dtype=float)[np.newaxis])[0], inside, box)
