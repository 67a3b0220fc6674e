"""Volumes → model inputs → back: the body, the planes, the intensity, the orientation shown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_dinoad.errors import ScanReadError, SettingError
from napari_dinoad.images.foreground.body import find_body
from napari_dinoad.images.slices import SliceStack, counts_across, prepare_scan, slice_axis
from napari_dinoad.images.values.grey import to_grey
from napari_dinoad.images.volume import Geometry, Volume
from napari_dinoad.settings import PRESETS, PreprocessingSettings, preset


def ball(shape=(24, 40, 32), radius=0.8, hole=True):
    """Return a bright ellipsoid with a dark hole inside, noise around it."""
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    distance = np.sqrt(sum(a**2 for a in axes))
    rng = np.random.default_rng(0)
    values = rng.normal(0, 3, shape).astype(np.float32)
    values += np.where(distance < radius, 100 + 20 * axes[2], 0).astype(np.float32)
    if hole:
        values[distance < 0.25] = 0
    return values, distance < radius


def volume_of(values, spacing=(1.0, 1.0, 1.0), **options):
    """Return a volume whose canonical array is ``values`` (z, y, x), stored as LAS."""
    z, y, x = spacing
    affine = np.diag([-x, y, z, 1.0])
    affine[:3, 3] = (values.shape[2] * x / 2, -values.shape[1] * y / 2, -values.shape[0] * z / 2)
    return Volume(values, Geometry(values.shape[::-1], affine), **options)


def coloured(n_slices=1, seed=0):
    """Return a stack of pictures in colour, and its colours."""
    rng = np.random.default_rng(seed)
    colours = rng.integers(0, 256, (n_slices, 20, 28, 3), dtype=np.uint8)
    shape = (20, 28) if n_slices == 1 else (n_slices, 20, 28)
    return Volume(to_grey(colours), Geometry.of_pixels(shape), "picture", None, 255.0, colours=colours)


COLOUR = replace(PRESETS["image-colour"], resolution_px=32)
MR = PreprocessingSettings("mr-brain", "robust-percentiles", plane="axial")


def test_the_body_is_one_solid_object():
    values, truth = ball()
    values[0, 0, 0] = 200  # a bright speck outside
    body = find_body(values)
    overlap = 2 * (body & truth).sum() / (body.sum() + truth.sum())
    assert overlap > 0.95
    assert body[12, 20, 16], "the dark hole belongs to the body"
    assert not body[0, 0, 0]


def test_ct_body_is_told_by_hounsfield_units():
    _, truth = ball(hole=False)
    hounsfield = np.where(truth, 40.0, -1000.0).astype(np.float32)
    np.testing.assert_array_equal(find_body(hounsfield, is_ct=True), truth)


def test_an_image_without_dark_surround_is_all_body():
    photograph = np.full((1, 30, 30), 220, np.float32)
    photograph[0, 10:20, 10:20] = 30
    assert find_body(photograph).all()


@pytest.mark.parametrize(
    ("plane", "spacing", "axis"),
    [
        ("axial", (1, 1, 1), 0),
        ("coronal", (1, 1, 1), 1),
        ("sagittal", (1, 1, 1), 2),
        ("acquired", (1, 1, 1), 0),
        ("acquired", (1, 5, 1), 1),
        ("acquired", (0.9, 0.9, 3), 2),
    ],
)
def test_plane(plane, spacing, axis):
    assert slice_axis(volume_of(ball()[0], spacing), plane) == axis


def test_a_2d_scan_has_only_its_own_plane():
    values = np.random.default_rng(0).random((20, 1, 30), dtype=np.float32)
    assert slice_axis(volume_of(values), "axial") == 1


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_what_is_shown_returns_to_its_place(plane):
    values, _ = ball()
    prepared = prepare_scan(
        volume_of(values), PreprocessingSettings("x", "robust-percentiles", plane=plane), 64
    )
    indices = list(prepared.indices)
    block = np.take(values, indices, axis=prepared.axis)
    np.testing.assert_array_equal(prepared.from_display(prepared.to_display(block)), block)


def test_superior_is_up_and_the_patients_right_is_left():
    values, _ = ball(hole=False)
    values[:, :, 20:] *= 0.5  # x grows towards the patient's right
    prepared = prepare_scan(
        volume_of(values), PreprocessingSettings("x", "robust-percentiles", plane="coronal"), 64
    )
    image = prepared.images([20])[0]
    assert image[:, 10:25].mean() < image[:, 40:55].mean(), "the dark right side is shown on the left"
    values, _ = ball(hole=False)
    values[14:] *= 0.5
    prepared = prepare_scan(
        volume_of(values), PreprocessingSettings("x", "robust-percentiles", plane="coronal"), 64
    )
    image = prepared.images([20])[0]
    assert image[10:25].mean() < image[40:55].mean(), "the dark top is shown above"


def test_images_without_physical_size_are_shown_as_stored():
    pixels = np.zeros((1, 32, 32), np.float32)
    pixels[0, 8:24, 8:24] = 200
    pixels[0, 8:12, 8:24] = 100
    volume = Volume(pixels, Geometry.of_pixels((32, 32)), full_scale=255)
    image = prepare_scan(volume, preset("image-2d"), 64).images([0])[0]
    assert image[8:12, 32].mean() < image[50:56, 32].mean()
    assert image.max() == pytest.approx(200 / 255, abs=0.01)


def test_robust_percentiles_ignore_a_scanner_scale():
    values, _ = ball()
    images = [
        prepare_scan(volume_of((values * scale + shift).astype(np.float32)), MR, 48).images([12])
        for scale, shift in ((1, 0), (37.5, 0))
    ]
    np.testing.assert_allclose(images[0], images[1], atol=1e-3)
    assert images[0].min() >= 0
    assert images[0].max() <= 1


def test_ct_window():
    _, truth = ball(hole=False)
    hounsfield = np.where(truth, 40.0, -1000.0).astype(np.float32)
    image = prepare_scan(volume_of(hounsfield), preset("ct-head"), 64).images([12])[0]
    assert image[32, 32] == pytest.approx(0.5)
    assert image[0, 0] == 0


def test_slice_percentiles_are_each_slices_own():
    values = np.random.default_rng(0).random((3, 20, 20), dtype=np.float32)
    values[1] *= 1000
    images = prepare_scan(volume_of(values), preset("oct"), 64).images([0, 1])
    assert images[0].mean() == pytest.approx(images[1].mean(), abs=0.1)


def test_as_stored_refuses_other_ranges():
    values, _ = ball()
    with pytest.raises(SettingError, match=r"patient.*8 or 16 bit.*preset"):
        prepare_scan(volume_of(values, name="patient"), preset("bmad"), 64)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["mr-brain", "oct", "ct-head"])
def test_a_volume_made_by_hand_with_values_that_are_none_is_refused(wrong, name):
    values, _ = ball()
    values[12, 20, 15:17] = wrong
    with pytest.raises(ScanReadError, match="finite values, got NaN or infinity in 2 voxels"):
        prepare_scan(volume_of(values), preset(name), 64)


def test_large_values_are_finite():
    """Their sum is not, in float32."""
    values, _ = ball()
    plain, large = (prepare_scan(volume_of(values * f), MR, 64) for f in (np.float32(1), np.float32(1e35)))
    np.testing.assert_allclose(large.images([12]), plain.images([12]), atol=1e-5)


def test_a_constant_body_is_refused():
    values = np.zeros((8, 20, 20), np.float32)
    values[2:6, 5:15, 5:15] = 7
    with pytest.raises(ScanReadError, match="all but constant"):
        prepare_scan(volume_of(values), MR, 64)


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_unequal_voxels_keep_their_proportions(plane):
    """A ball in voxels of 0.4 × 0.4 × 5 mm is round on the model input in every plane."""
    spacing = (5.0, 0.4, 0.4)
    axes = np.meshgrid(
        *[(np.arange(n) - n // 2) * s for n, s in zip((24, 280, 280), spacing, strict=True)], indexing="ij"
    )
    values = np.where(sum(a**2 for a in axes) < 45**2, 100.0, 0.0).astype(np.float32)
    settings = PreprocessingSettings(
        "x", "robust-percentiles", percentiles=(0, 100), plane=plane, body_mask="off"
    )
    prepared = prepare_scan(volume_of(values, spacing), settings, 120)
    image = prepared.images([values.shape[prepared.axis] // 2])[0] > 0.5
    height, width = (np.ptp(index) + 1 for index in np.nonzero(image))
    mm_a_pixel = [
        step * s
        for step, s in zip(
            prepared.placement.step, [s for a, s in enumerate(spacing) if a != prepared.axis], strict=True
        )
    ]
    assert mm_a_pixel[0] == pytest.approx(mm_a_pixel[1])
    assert width * mm_a_pixel[1] == pytest.approx(90, abs=5.5)
    assert height * mm_a_pixel[0] == pytest.approx(90, abs=5.5)


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_the_model_input_is_a_square_around_the_body_and_a_margin(plane):
    spacing, where = (3.0, 1.0, 1.5), (slice(6, 17), slice(4, 30), slice(20, 52))
    values = np.random.default_rng(0).normal(0, 3, (25, 50, 60)).astype(np.float32)
    values[where] += 100
    prepared = prepare_scan(volume_of(values, spacing), replace(MR, plane=plane), 64)
    placement, mm = prepared.placement, [s for axis, s in enumerate(spacing) if axis != prepared.axis]
    shown = prepared.body_slices(range(values.shape[prepared.axis])).any(0)
    # Rows and columns (first, past the last) of the body in any slice.
    boxes = [(rows.min(), rows.max() + 1) for rows in np.nonzero(shown)]
    assert [stop - start for start, stop in boxes] == [
        s.stop - s.start for axis, s in enumerate(where) if axis != prepared.axis
    ]
    sides = [64 * step for step in placement.step]
    for corner, side, box in zip(placement.corner, sides, boxes, strict=True):
        assert corner + side / 2 == pytest.approx(np.mean(box))
    longest = max((stop - start) * size for (start, stop), size in zip(boxes, mm, strict=True))
    assert [side * size for side, size in zip(sides, mm, strict=True)] == pytest.approx([1.06 * longest] * 2)


def test_b_scans_are_cut_as_stored_each_in_its_own_range():
    pages = np.random.default_rng(0).random((5, 20, 30), dtype=np.float32) * 200
    pages[3] *= 0.1
    volume = Volume(pages, Geometry.of_pixels(pages.shape), full_scale=255)
    prepared = prepare_scan(volume, preset("oct"), 60)
    assert prepared.axis == 0
    assert prepared.indices == tuple(range(5))
    bright, dark = prepared.images([2, 3])
    assert bright.mean() == pytest.approx(dark.mean(), abs=0.05)
    np.testing.assert_array_equal(prepared.from_display(prepared.to_display(pages)), pages)


@pytest.mark.parametrize("shape", [(20, 30), (5, 20, 30)])
def test_pixels_that_are_not_square_keep_their_shape(shape):
    values = np.random.default_rng(0).random((1, *shape)[-3:], dtype=np.float32)
    volume = Volume(values, Geometry.of_pixels(shape, 3.0), full_scale=1)
    prepared = prepare_scan(volume, replace(preset("image-2d"), body_mask="off"), 60)
    assert prepared.axis == 0, "rows lie farther apart than columns, and than images, which lie nowhere"
    (image,) = prepared.images([0])
    in_use = image != image[0, 0]
    assert (in_use.any(axis=1).sum(), in_use.any(axis=0).sum()) == (60, 30)
    assert volume.content_sha256() != Volume(values, Geometry.of_pixels(shape), full_scale=1).content_sha256()


def test_slices_with_hardly_any_body_are_left_out():
    values, _ = ball()
    every = prepare_scan(volume_of(values), replace(MR, min_body_fraction=0.0), 64)
    counts = every.body.sum(axis=(1, 2))
    assert every.indices == tuple(np.flatnonzero(counts))
    for least in (0.3, 0.6):
        some = prepare_scan(volume_of(values), replace(MR, min_body_fraction=least), 64)
        assert some.indices == tuple(np.flatnonzero(counts > least * counts.max()))
        assert 0 < len(some.indices) < len(every.indices)


def test_every_preset_is_valid_and_named_like_its_key():
    assert {name: settings.preset for name, settings in PRESETS.items()} == {name: name for name in PRESETS}
    with pytest.raises(SettingError, match="expected one of"):
        preset("mr-knee")


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize(
    "indices", [[2, 3, 4], [5], [], [4, 2, 3], [7, 6, 8, 5, 9], [0, 2, 4], [9, 0, 5, 1], [3, 2, 1, 0]]
)
def test_runs_are_all_slices_each_in_its_place(axis, indices):
    shape = (10, 11, 12)
    stack = SliceStack(shape, axis, tuple(range(10)), is_turned=False)
    truth = np.random.default_rng(0).random(shape)
    block, written = np.take(truth, indices, axis=axis), np.zeros(shape)
    runs = list(stack.runs(indices))
    for there, here in runs:
        written[there] += block[here]
    expected = np.zeros(shape)
    expected[stack.where(indices)] = block
    np.testing.assert_array_equal(written, expected)
    assert len(runs) == sum(index - 1 not in indices for index in indices)


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_slices_have_the_same_content_exactly_where_all_voxels_are_the_same(plane):
    values = np.random.default_rng(0).random((150, 140, 160), dtype=np.float32)
    stack = np.moveaxis(values, {"axial": 0, "coronal": 1, "sagittal": 2}[plane], 0)
    stack[5] = stack[9]
    # As different as two slices can be that most of their voxels say are alike.
    stack[11] = stack[10]
    stack[11, 1, 1] = np.nextafter(stack[10, 1, 1], 2)
    scan = prepare_scan(volume_of(values), replace(MR, plane=plane, body_mask="off"), 64)
    contents = scan.contents(range(len(stack)))
    assert contents[5] == contents[9]
    assert len(set(contents)) == len(stack) - 1


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_body_voxels_are_counted_slice_by_slice(axis):
    body = np.random.default_rng(0).random((5, 300, 280)) < 0.9
    others = tuple(a for a in range(3) if a != axis)
    np.testing.assert_array_equal(counts_across(body, axis), np.count_nonzero(body, axis=others))


@pytest.mark.parametrize("intensity", ["as-stored", "robust-percentiles", "slice-percentiles"])
def test_model_inputs_in_colour_are_each_channel_as_grey_would_be(intensity):
    volume = coloured(4)
    scan = prepare_scan(volume, replace(COLOUR, intensity=intensity), 32)
    images = scan.images(scan.indices)
    assert images.shape == (4, 3, 32, 32)
    assert images.dtype == np.float32
    grey = np.tensordot(images, np.array([0.299, 0.587, 0.114], np.float32), axes=(1, 0))
    if intensity == "as-stored":  # percentiles clip the channels
        np.testing.assert_allclose(grey, scan.grey_images(scan.indices), atol=1e-5)
        for channel in range(3):
            alone = replace(volume, values=volume.colours[..., channel].astype(np.float32), colours=None)
            expected = prepare_scan(alone, replace(COLOUR, colour=False), 32).images(scan.indices)
            np.testing.assert_array_equal(images[:, channel], expected)


def test_grey_has_three_equal_channels_in_colour():
    grey = replace(coloured(3), colours=None)
    scan = prepare_scan(grey, COLOUR, 32)
    images = scan.images([0, 2])
    without = prepare_scan(grey, replace(COLOUR, colour=False), 32).images([0, 2])
    np.testing.assert_array_equal(images, np.repeat(without[:, None], 3, axis=1))


def test_without_the_setting_colours_play_no_part():
    volume = coloured(3)
    scans = [
        prepare_scan(v, replace(COLOUR, colour=False), 32) for v in (volume, replace(volume, colours=None))
    ]
    np.testing.assert_array_equal(scans[0].images([0, 1, 2]), scans[1].images([0, 1, 2]))
    assert scans[0].contents([0, 1, 2]) == scans[1].contents([0, 1, 2])


def test_slices_of_one_grey_in_two_colours_are_not_alike():
    volume = coloured(2)
    volume.colours[1] = volume.colours[0]
    volume.values[1] = volume.values[0]
    alike = prepare_scan(volume, COLOUR, 32).contents([0, 1])
    assert alike[0] == alike[1]
    volume.colours[1, ..., 0] += 1  # no other grey is claimed
    in_colour, in_grey = (
        prepare_scan(volume, replace(COLOUR, colour=colour), 32).contents([0, 1]) for colour in (True, False)
    )
    assert in_colour[0] != in_colour[1]
    assert in_grey[0] == in_grey[1]


def photograph():
    """Return a picture in colour of a bright disc on black, and where the disc is (rows, columns)."""
    rows, columns = np.indices((60, 90))
    disc = np.hypot(rows - 30, columns - 40) < 26
    tissue = np.random.default_rng(0).integers(90, 200, (1, 60, 90, 3))
    colours = np.where(disc[..., np.newaxis], tissue, 3).astype(np.uint8)
    geometry = Geometry.of_pixels((60, 90))
    return Volume(to_grey(colours), geometry, "picture", None, 255.0, colours=colours), disc


def test_photographs_in_colour_are_scored_within_their_field_of_view():
    """Black around it was scored, and was part of what is normal."""
    volume, disc = photograph()
    body = prepare_scan(volume, COLOUR, 32).body[0]
    assert body[disc].all()
    assert body[~disc].mean() < 0.1


def test_a_field_of_view_is_of_the_colours_that_a_model_sees():
    volume, disc = photograph()
    volume.colours[0, ~disc] = 0, 0, 255  # blue, nearly black in the grey that was made before
    assert prepare_scan(volume, COLOUR, 32).body.all()
    grey = prepare_scan(volume, replace(COLOUR, colour=False), 32).body[0]
    assert grey[~disc].mean() < 0.1


def test_no_preset_of_grey_looks_for_a_field_of_view():
    assert [name for name in PRESETS if PRESETS[name].body_mask == "field-of-view"] == ["image-colour"]
