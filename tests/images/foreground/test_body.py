"""The body as one solid object."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_dinoad.images.foreground import packed_masks
from napari_dinoad.images.foreground.body import _filled, find_body


def body_of_foreground(foreground):
    """Say what `find_body` does to the foreground, by SciPy's operators on the whole array; None of texture."""
    flat = [axis for axis, n in enumerate(foreground.shape) if n == 1]
    cross = ndimage.generate_binary_structure(3, 1)
    for axis in flat:
        cross[tuple(slice(None) if a != axis else [0, 2] for a in range(3))] = False
    opened = ndimage.binary_opening(foreground, cross)
    labels, _ = ndimage.label(opened if opened.any() else foreground)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    is_large = sizes >= 0.05 * sizes.max()
    if is_large.sum() > 8 and sizes.max() <= 0.5 * sizes[is_large].sum():
        return None
    body = ndimage.binary_dilation(is_large[labels], cross) & (foreground | opened)
    body |= ndimage.binary_closing(np.pad(body, 3), cross, iterations=3)[3:-3, 3:-3, 3:-3]
    filled = body.copy()
    for axis in flat or range(3):
        for i in range(body.shape[axis]):
            where = (slice(None),) * axis + (i,)
            filled[where] = ndimage.binary_fill_holes(filled[where])
    return filled


@pytest.mark.parametrize(
    "shape", [(17, 20, 23), (9, 31, 14), (7, 12, 140), (1, 40, 33), (25, 1, 31), (30, 80, 1), (1, 50, 130)]
)
@pytest.mark.parametrize("packed_voxels", [1, 1000, 10**6])
def test_the_body_is_what_scipys_operators_make_of_the_whole_array(shape, packed_voxels, monkeypatch):
    monkeypatch.setattr(packed_masks, "_PACKED_VOXELS", packed_voxels)  # one, some, or all slices at a time
    rng = np.random.default_rng(len(shape) + shape[0])
    for _ in range(12):
        values = ndimage.gaussian_filter(rng.random(shape), rng.uniform(0.5, 3.0))
        # Bright tissue in air that is exactly 0: what is above 0 is the foreground.
        values = np.where(values > np.quantile(values, rng.uniform(0.5, 0.9)), 1.0 + values, 0.0)
        for axis, n in enumerate(shape):
            if n > 1:
                values[(slice(None),) * axis + (slice(0, 2),)] = 0.0
        expected = body_of_foreground(values > 0)
        found = find_body(values)
        if expected is None:
            # Of images the margin of zeros is a bar, outside the picture.
            assert found[values > 0].all()
        elif np.count_nonzero(expected) >= 0.01 * expected.size:
            np.testing.assert_array_equal(found, expected)
        else:
            assert found.all()


@settings(max_examples=60)
@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 5, 9, 70])),
    share=st.floats(0.2, 0.9),
    seed=st.integers(0, 99),
)
def test_holes_are_filled_as_slice_by_slice(shape, share, seed):
    """All slices of a plane at once, and each by scipy on its own."""
    body = np.random.default_rng(seed).random(shape) < share
    expected = body.copy()
    for axis in range(3) if shape[0] > 1 else [0]:
        for index in range(shape[axis]):
            where = tuple(index if a == axis else slice(None) for a in range(3))
            expected[where] = ndimage.binary_fill_holes(expected[where])
    words = packed_masks.packed(shape, lambda block: body[block])
    np.testing.assert_array_equal(packed_masks.unpacked(_filled(words), shape), expected)


def head_and_body(shape=(24, 40, 36)):
    """Return a textured ellipsoid of mean 0 and standard deviation 1 (z, y, x), 0 elsewhere, and where it is."""
    axes = np.meshgrid(*[np.linspace(-1.4, 1.4, n) if n > 1 else [0.0] for n in shape], indexing="ij")
    body = sum(axis**2 for axis in axes) < 1
    values = np.random.default_rng(0).normal(size=shape)
    return np.where(body, (values - values[body].mean()) / values[body].std(), 0.0).astype(np.float32), body


def ellipse(shape, centre, radii):
    grid = np.indices(shape)
    distances = [((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radii, strict=True)]
    return sum(distances) <= 1


def noisy(values, seed=0):
    return values + np.abs(np.random.default_rng(seed).normal(0, 2, values.shape))


def test_hemispheres_and_scalp_that_dark_bone_parts_are_body():
    shape = (1, 120, 100)
    left, right = (ellipse(shape, (0, 60, x), (1, 40, 16)) for x in (31, 69))
    scalp = ellipse(shape, (0, 60, 50), (1, 55, 46)) & ~ellipse(shape, (0, 60, 50), (1, 51, 42))
    head = ellipse(shape, (0, 60, 50), (1, 55, 46))
    body = find_body(noisy(np.where(left, 110.0, 0) + np.where(right, 100.0, 0) + np.where(scalp, 200.0, 0)))
    assert (body != head).mean() < 0.01
    stripped = find_body(noisy(np.where(left, 110.0, 0) + np.where(right, 100.0, 0)))
    assert stripped[left].all()
    assert stripped[right].all()
    assert not stripped[~head].any()


def test_both_legs_of_a_ct_are_body_and_the_table_is_not():
    shape = (12, 90, 120)
    first, second = (ellipse(shape, (6, 40, x), (40, 22, r)) for x, r in ((30, 22), (88, 20)))
    table = np.zeros(shape, dtype=bool)
    table[:, 72:80, 10:110] = True
    body = find_body(np.where(first | second, 40.0, np.where(table, -200.0, -1000.0)), is_ct=True)
    assert (body != (first | second)).mean() < 0.01


def test_letters_beside_a_head_are_not_body():
    shape = (1, 120, 100)
    head = ellipse(shape, (0, 60, 50), (1, 45, 36))
    letter = np.zeros(shape, dtype=bool)
    letter[0, 4:16, 4:9] = True
    body = find_body(noisy(np.where(head, 100.0, 0) + np.where(letter, 250.0, 0)))
    assert (body != head).mean() < 0.01


def test_many_objects_are_texture_and_all_is_body():
    shape = (1, 160, 160)
    cells = [ellipse(shape, (0, y, x), (1, 13, 12)) for y in range(20, 150, 38) for x in range(20, 150, 38)]
    assert find_body(noisy(np.where(np.any(cells, axis=0), 150.0, 5.0))).all()


@pytest.mark.parametrize(("n_markers", "is_texture"), [(6, False), (10, False), (14, False), (20, True)])
def test_markers_beside_a_body_are_no_texture(n_markers, is_texture):
    """Ten of them, each of 6 % of the head, made all of the picture the body, air too."""
    shape = (1, 200, 240)
    head = ellipse(shape, (0, 100, 90), (1, 40, 36))
    places = [(y, x) for y in range(12, 190, 36) for x in (180, 200, 220, 150)][:n_markers]
    markers = np.any([ellipse(shape, (0, y, x), (1, 10, 9)) for y, x in places], axis=0)
    assert 0.05 < markers.sum() / n_markers / head.sum() < 0.08
    body = find_body(noisy(np.where(head, 100.0, 0) + np.where(markers, 250.0, 0)))
    if is_texture:
        assert body.all(), "they hold more than the largest object"
    else:
        assert (body != head | markers).mean() < 0.01


def test_cells_of_one_size_are_texture():
    shape = (1, 160, 160)
    cells = np.zeros(shape, dtype=bool)
    for y in range(10, 150, 30):
        for x in range(10, 150, 30):
            cells[0, y : y + 16, x : x + 16] = True
    assert find_body(noisy(np.where(cells, 150.0, 5.0))).all()


@pytest.mark.parametrize("shape", [(24, 40, 36), (1, 60, 60)])
def test_zeros_around_a_brain_of_mean_zero_are_not_body(shape):
    values, body = head_and_body(shape)
    found = find_body(values)
    assert found[body].mean() > 0.99
    assert found[~body].mean() < 0.05


def test_water_beyond_the_field_of_view_of_a_ct_is_not_body():
    """0 HU is water: it would be body by the threshold."""
    values, body = head_and_body()
    axes = np.meshgrid(*[np.linspace(-1.4, 1.4, n) for n in values.shape], indexing="ij")
    in_view = axes[1] ** 2 + axes[2] ** 2 < 1.25**2
    hounsfield = np.where(body, 40 + 20 * values, np.where(in_view, -1000.0, 0.0)).astype(np.float32)
    found = find_body(hounsfield, is_ct=True)
    assert found[body].mean() > 0.99
    assert found[~body].mean() < 0.05


def test_noise_of_a_jpeg_in_nearly_black_air_is_not_body():
    """What differed from the air's one value was taken for the body, as around a brain of mean 0."""
    rows, columns = np.indices((120, 120))
    head = np.hypot(rows - 60, columns - 60) < 35
    rng = np.random.default_rng(0)
    ringing = np.hypot(rows - 60, columns - 60) < 50
    air = np.where(ringing, rng.integers(0, 4, head.shape), 1)
    found = find_body(np.where(head, rng.integers(60, 200, head.shape), air)[np.newaxis].astype(np.float32))[
        0
    ]
    assert found[head].mean() > 0.99
    assert found[~head].mean() < 0.05


def test_a_white_frame_is_no_surround():
    values = np.full((1, 60, 60), 255.0)
    values[0, 5:-5, 5:-5] = np.random.default_rng(0).integers(0, 250, (50, 50))
    assert find_body(values)[0, 5:-5, 5:-5].all()


def test_a_lesion_as_black_as_the_surround_is_body():
    """A calcification or a cyst of exactly the value that a skull was replaced by."""
    values, body = head_and_body()
    values = np.where(body, 100 + 10 * values, 0.0)
    z, y, x = np.indices(body.shape)
    for centre in ((12, 20, 18), (12, 14, 18)):  # deep, and beneath the surface
        lesion = sum((axis - at) ** 2 for axis, at in zip((z, y, x), centre, strict=True)) < 4**2
        assert find_body(np.where(lesion, 0.0, values))[lesion & body].all()


def test_what_stands_in_air_that_a_slice_encloses_is_body():
    """Lungs are enclosed within axial slices alone, where the scan ends within them; what is in them is scored."""
    z, y, x = np.indices((20, 60, 60))
    wall, lung = np.hypot(y - 30, x - 30) < 25, np.hypot(y - 30, x - 30) < 18
    nodule = (z - 10) ** 2 + (y - 30) ** 2 + (x - 33) ** 2 < 4**2
    hounsfield = np.where(wall & (~lung | nodule), 40.0, np.where(lung, -850.0, -1000.0))
    found = find_body(hounsfield, is_ct=True)
    assert found[lung].all()
    assert not found[~wall].any()


def textured(shape=(1, 120, 120), seed=0):
    """Return a field (z, y, x) of mean 0 and standard deviation 1 that is smooth over several pixels."""
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), (0, 6, 6))
    return (field - field.mean()) / field.std()


def disc_in(shape=(1, 120, 120)):
    rows, columns = np.indices(shape[1:])
    return np.hypot(rows - 60, columns - 60)[np.newaxis] < 30


@pytest.mark.parametrize("seed", range(5))
def test_a_picture_within_the_body_has_no_surround(seed):
    """A crop of a breast: the dense tissue in it alone was taken for the body."""
    values = 120 + 15 * textured(seed=seed) + 80 * ndimage.gaussian_filter(disc_in() * 1.0, (0, 4, 4))
    assert find_body(np.round(values)).all()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_picture_within_the_body_has_no_surround_whatever_axis_it_lacks(axis):
    values = 120 + 15 * textured() + 80 * ndimage.gaussian_filter(disc_in() * 1.0, (0, 4, 4))
    assert find_body(np.moveaxis(np.round(values), 0, axis)).all()


@pytest.mark.parametrize("seed", range(5))
def test_a_crop_of_a_bright_muscle_has_no_surround(seed):
    """The darkest of what is around it has a fifth of its brightness: the muscle alone was taken for the body."""
    values = 75 + 20 * textured(seed=seed) + 140 * ndimage.gaussian_filter(disc_in() * 1.0, (0, 4, 4))
    assert find_body(np.round(values)).all()


def test_a_few_negative_voxels_make_no_surround():
    """As splines leave them where a picture is resampled: three quarters of a crop were no body any more."""
    values = 120 + 15 * textured() + 80 * ndimage.gaussian_filter(disc_in() * 1.0, (0, 4, 4))
    values[0, ::40, ::40] = -2
    assert find_body(values).all()


@pytest.mark.parametrize("smoothed", [0.0, 1.0])
def test_air_that_is_stored_bright_is_a_surround(smoothed):
    """Counts of a micro-CT or a microscope's camera begin far above 0."""
    noise = np.random.default_rng(0).normal(size=(1, 120, 120))
    values = ndimage.gaussian_filter(30_000 + 15_000 * disc_in() + 2_500 * noise, (0, smoothed, smoothed))
    found = find_body(values)
    assert found[disc_in()].mean() > 0.98
    assert found[~disc_in()].mean() < 0.05


def test_dark_tissue_beside_a_dark_surround_makes_no_picture_within_the_body():
    values = np.where(disc_in(), 200.0, 12.0) + 4 * textured()
    assert not find_body(np.maximum(values, 0)).all()
