"""The field of view of photographs on black, and what has none."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter
from skimage.morphology import convex_hull_image

from coloured_pictures import eight_bits, picture
from napari_dinoad.images.foreground.field_of_view import _hull, find_field_of_view

SIDE = 200
ROWS, COLUMNS = np.indices((SIDE, SIDE))
DISC = np.hypot(ROWS - 100, COLUMNS - 98) < 93
CUT_DISC = (np.hypot(ROWS - 100, COLUMNS - 98) < 106) & (abs(ROWS - 100) < 92)
OCTAGON = np.minimum(ROWS, 199 - ROWS) + np.minimum(COLUMNS, 199 - COLUMNS) > 34
RECTANGLE = abs(ROWS - 100) < 70


def photograph(field, level=4.0, seed=0, kind="fundus"):
    """Return a picture in colour (rows, columns, 3) of 8 bit with noisy black around its field of view."""
    rng = np.random.default_rng(seed)
    share = gaussian_filter(field.astype(float), 0.7)[..., np.newaxis]
    around = level + 1.5 * rng.normal(size=(SIDE, SIDE, 3))
    pixels = 255 * picture(kind, rng, SIDE) * share + around * (1 - share)
    return np.rint(np.clip(pixels, 0, 255)).astype(np.uint8)


def as_jpeg(pixels, quality=75):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))


def with_black(pixels, where, seed=1):
    """Return the picture with something textured in it that is all but black."""
    black = np.array([16, 10, 9]) + 3 * np.random.default_rng(seed).normal(size=pixels.shape)
    return np.where(where[..., np.newaxis], np.clip(black, 0, 255), pixels).astype(np.uint8)


def with_text(pixels):
    shown = Image.fromarray(pixels)
    ImageDraw.Draw(shown).text((2, 1), "12-05-1961", fill=(230, 230, 230))
    ImageDraw.Draw(shown).text((170, 186), "OD 45", fill=(230, 230, 230))
    return np.asarray(shown)


def is_field(found, field):
    """Whether all of the field was found, and no more than its rim."""
    rim = gaussian_filter(field.astype(float), 2) > 0.01
    return found[field].mean() > 0.995 and found[~rim].mean() < 0.03


@pytest.mark.parametrize("field", [DISC, CUT_DISC, OCTAGON, RECTANGLE])
@pytest.mark.parametrize("level", [0.0, 4.0, 20.0])
def test_black_around_a_field_of_view_is_not_scored(field, level):
    assert is_field(find_field_of_view(as_jpeg(photograph(field, level))[np.newaxis])[0], field)


@pytest.mark.parametrize("field", [RECTANGLE, RECTANGLE.T])
def test_a_sharp_field_of_view_is_found_to_the_pixel(field):
    np.testing.assert_array_equal(find_field_of_view(200.0 * field[np.newaxis])[0], field)


def test_text_beside_a_field_of_view_is_not_scored():
    assert is_field(find_field_of_view(as_jpeg(with_text(photograph(DISC)))[np.newaxis])[0], DISC)


def test_a_thin_line_across_a_field_of_view_does_not_widen_it():
    pixels = photograph(DISC)
    pixels[9:12] = 230  # 1.5 % of the side
    assert is_field(find_field_of_view(pixels[np.newaxis])[0], DISC)


def test_bright_pixels_in_the_very_corners_hide_no_black():
    pixels = photograph(DISC)
    pixels[::199, ::199] = 255
    assert is_field(find_field_of_view(pixels[np.newaxis])[0], DISC)


def test_specks_of_black_in_the_corners_are_scored():
    """They are two thousandths of the picture: nothing is gained without them."""
    specks = np.minimum(ROWS + COLUMNS, ROWS + 199 - COLUMNS) < 7
    assert find_field_of_view(photograph(~specks, level=0.0, kind="skin")[np.newaxis]).all()


@pytest.mark.parametrize("kind", ["skin", "histology", "fundus"])
def test_a_picture_of_tissue_to_its_border_is_scored_as_a_whole(kind):
    assert find_field_of_view(photograph(np.ones_like(DISC), kind=kind)[np.newaxis]).all()


@pytest.mark.parametrize("centre", [(100, 0), (0, 0), (199, 120)])
def test_a_black_lesion_at_the_border_is_scored(centre):
    lesion = np.hypot(ROWS - centre[0], COLUMNS - centre[1]) < 50
    pixels = with_black(photograph(np.ones_like(DISC), kind="skin"), lesion)
    assert find_field_of_view(pixels[np.newaxis]).all()


def test_a_dark_lesion_along_a_side_is_scored():
    pixels = photograph(np.ones_like(DISC), kind="skin")
    pixels[:, :60] = pixels[:, :60] // 4
    assert find_field_of_view(pixels[np.newaxis]).all()


def test_a_black_lesion_at_the_rim_of_a_field_of_view_is_scored():
    """As black as what lies around: it is the field's shape that tells them apart."""
    lesion = (np.hypot(ROWS - 100, COLUMNS - 185) < 25) & DISC
    found = find_field_of_view(with_black(photograph(DISC), lesion)[np.newaxis])[0]
    assert found[lesion].mean() > 0.9
    assert is_field(found, DISC)


def test_cells_on_black_are_scored_as_a_whole():
    rng = np.random.default_rng(0)
    pixels = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
    for row, column in rng.integers(0, SIDE, (30, 2)):
        pixels[np.hypot(ROWS - row, COLUMNS - column) < 8] = 20, 40, 220
    assert find_field_of_view(pixels[np.newaxis]).all()


def test_white_around_tissue_is_scored():
    rng = np.random.default_rng(0)
    pixels = np.where(DISC[..., np.newaxis], picture("histology", rng, SIDE), 0.95)
    assert find_field_of_view(eight_bits(pixels)[np.newaxis]).all()


@pytest.mark.parametrize("value", [0, 7, 255])
def test_a_picture_of_one_value_is_scored_as_a_whole(value):
    assert find_field_of_view(np.full((1, 30, 40, 3), value, dtype=np.uint8)).all()


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 9), (1, 3, 2), (1, 2, 700)])
def test_tiny_pictures(shape):
    assert find_field_of_view(np.random.default_rng(0).random(shape)).shape == shape


def test_a_field_in_pure_blue_is_as_bright_as_its_blue():
    pixels = np.zeros((1, SIDE, SIDE, 3), dtype=np.uint8)
    pixels[0, DISC, 2] = 40
    assert is_field(find_field_of_view(pixels)[0], DISC)


@pytest.mark.parametrize("times", [4, 7])
def test_a_large_picture_has_the_field_of_a_small_one(times):
    """Only some of its pixels are looked at."""
    large = np.kron(photograph(CUT_DISC), np.ones((times, times, 1), dtype=np.uint8))
    found = find_field_of_view(large[np.newaxis])[0]
    wanted = np.kron(CUT_DISC, np.ones((times, times), dtype=bool))
    assert found.shape == wanted.shape
    assert found[wanted].all()
    assert found[~wanted].mean() < 0.15


def test_of_a_large_picture_what_is_looked_at_is_told_as_if_there_were_no_more():
    large = np.kron(photograph(CUT_DISC), np.ones((4, 4, 1), dtype=np.uint8))[np.newaxis]
    seen = large[:, ::2, ::2]
    np.testing.assert_array_equal(find_field_of_view(large)[:, ::2, ::2], find_field_of_view(seen))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_have_one_field_whatever_their_plane(axis):
    """One of them is dark; what is black in all of them is none."""
    grey = np.stack([photograph(DISC, seed=seed)[..., 0] for seed in range(3)])
    grey[1] //= 8
    found = np.moveaxis(find_field_of_view(np.moveaxis(grey, 0, axis), axis), axis, 0)
    assert all(is_field(one, DISC) for one in found)


@pytest.mark.parametrize("seed", range(8))
def test_the_hull_is_that_of_scikit_image(seed):
    """It takes a fortieth of the time."""
    part = gaussian_filter(np.random.default_rng(seed).normal(size=(50, 70)), 2 + seed) > 0.02
    expected = convex_hull_image(part, offset_coordinates=False)
    assert (_hull(part) != expected).sum() <= 3  # rounding on its edges
    assert _hull(part)[part].all()
