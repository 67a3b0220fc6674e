"""Geometry between scans and layers: positions, orientation and shape survive the way there and back."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from napari.layers import Image, Layer

from napari_dinoad.errors import ScanReadError
from napari_dinoad.gui.scan.scan_step import scan_in_words
from napari_dinoad.gui.viewer.layers import layer_of_volume, same_layer, scan_of_layer
from napari_dinoad.gui.viewer.looks import heatmap_look
from napari_dinoad.images.values.grey import COLOUR_AS_GREY, to_grey
from napari_dinoad.images.volume import Geometry, Volume
from napari_dinoad.maps.pictures.panels import heat_colour, heat_share
from taken_memory import most_taken

ORIENTATIONS = [
    (axes, flips)
    for axes in itertools.permutations(range(3))
    for flips in itertools.product((1, -1), repeat=3)
]


def affine_of(axes: tuple[int, ...], flips: tuple[int, ...], spacing=(0.9, 1.1, 3.0)) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = 0
    for stored_axis, (axis, flip) in enumerate(zip(axes, flips, strict=True)):
        affine[axis, stored_axis] = flip * spacing[axis]
    affine[:3, 3] = (12.5, -33.0, 7.25)
    return affine


def volume_of(affine: np.ndarray, shape=(5, 6, 7)) -> Volume:
    geometry = Geometry(shape, affine)
    stored = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    return Volume(np.ascontiguousarray(geometry.to_canonical(stored)), geometry, "scan")


def test_a_heatmap_looks_the_same_in_the_planes_reports_and_pictures_as_on_the_canvas():
    """There it had colours of its own, a quarter opaque where it begins: much looked marked that did not here."""
    look = heatmap_look()
    (low, high), levels = look["contrast_limits"], np.linspace(0, 6, 200)
    on_canvas = look["colormap"].map(np.clip((levels - low) / (high - low), 0, 1))
    share, opacity = heat_share(levels)
    # napari's colours are those of 256 steps.
    np.testing.assert_allclose(heat_colour(share) / 255, on_canvas[:, :3], atol=0.01)
    np.testing.assert_allclose(opacity, on_canvas[:, 3], atol=0.01)


@pytest.mark.parametrize(("axes", "flips"), ORIENTATIONS)
def test_layer_is_diagonal_and_shows_the_negated_ras_frame(axes, flips):
    volume = volume_of(affine_of(axes, flips))
    layer = Layer.create(*layer_of_volume(volume))
    linear = layer.affine.affine_matrix[:3, :3]
    np.testing.assert_allclose(linear, -np.diag(volume.geometry.spacing))
    for index in [(0, 0, 0), (2, 3, 1)]:
        ras = volume.geometry.canonical_to_world(np.array(index, float))
        np.testing.assert_allclose(layer.data_to_world(index), -ras[::-1])
    assert [str(unit) for unit in layer.units] == ["millimeter"] * 3
    assert layer.axis_labels == ("z", "y", "x")


@pytest.mark.parametrize(("axes", "flips"), ORIENTATIONS)
def test_own_layer_gives_its_volume_back(axes, flips):
    volume = volume_of(affine_of(axes, flips))
    layer = Layer.create(*layer_of_volume(volume))
    again = scan_of_layer(layer, (0, 0, 0)).volume()
    np.testing.assert_array_equal(again.values, volume.values)
    assert again.geometry.matches(volume.geometry)


def test_oblique_scan_keeps_its_true_affine_and_says_so():
    turn = np.deg2rad(20)
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[1:3, 1:3] = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ np.diag(
        [1, 2]
    )
    volume = volume_of(affine)
    layer = Layer.create(*layer_of_volume(volume))
    scan = scan_of_layer(layer, (0, 0, 0))
    assert any("Oblique" in note for note in scan.notes)
    assert np.array_equal(scan.volume().geometry.affine, affine)
    linear = layer.affine.affine_matrix[:3, :3]
    np.testing.assert_allclose(linear, np.diag(np.diag(linear)))


def test_pixels_stay_pixels_and_are_not_negated():
    values = np.arange(12, dtype=np.float32).reshape(1, 3, 4)
    part = (slice(1, 3), slice(0, 4))
    volume = Volume(values, Geometry.of_pixels((3, 4)), "photo", None, 255.0, patient_parts=(part,))
    layer = Layer.create(*layer_of_volume(volume))
    assert layer.ndim == 2
    np.testing.assert_array_equal(layer.affine.affine_matrix, np.eye(3))
    assert all(str(unit) == "pixel" for unit in layer.units)
    again = scan_of_layer(layer, (0, 0)).volume()
    assert not again.geometry.is_physical
    assert again.full_scale == 255.0
    assert again.patient_parts == (part,)
    np.testing.assert_array_equal(again.values, values)


def test_pixels_that_are_not_square_are_shown_so():
    volume = Volume(np.arange(12, dtype=np.float32).reshape(1, 3, 4), Geometry.of_pixels((3, 4), 2.0))
    layer = Layer.create(*layer_of_volume(volume))
    np.testing.assert_array_equal(layer.affine.affine_matrix, np.diag([2, 1, 1]))
    assert all(str(unit) == "pixel" for unit in layer.units)
    assert scan_of_layer(layer, (0, 0)).volume().geometry.pixel_aspect == 2


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_single_slice_of_any_plane_is_a_2d_layer_in_millimetres(axis):
    shape = [5, 6, 7]
    shape[axis] = 1
    volume = volume_of(affine_of((0, 1, 2), (-1, 1, 1)), tuple(shape))
    layer = Layer.create(*layer_of_volume(volume))
    assert layer.ndim == 2
    scan = scan_of_layer(layer, (0, 0))
    np.testing.assert_array_equal(scan.volume().values, volume.values)
    np.testing.assert_array_equal(scan.to_layer(volume.values), layer.data)


@pytest.mark.parametrize(("axes", "flips"), ORIENTATIONS[::5])
@pytest.mark.parametrize("own", [True, False])
def test_indices_go_there_and_back(axes, flips, own):
    volume = volume_of(affine_of(axes, flips))
    layer = Layer.create(*layer_of_volume(volume))
    if not own:
        world = np.eye(4)
        world[:3, :3] = -np.diag([2.0, 1.5, 1.0])
        layer = Image(np.random.default_rng(0).random((4, 5, 6)), affine=world, units="mm")
    scan = scan_of_layer(layer, (0, 0, 0))
    shape = scan.source.geometry.canonical_shape
    for zyx in itertools.product(*(range(0, n, 2) for n in shape)):
        index = scan.data_index(zyx)
        assert scan.canonical_index(index) == zyx
        canonical = scan.volume().values
        value = np.asarray(layer.data)[tuple(round(i) for i in index)]
        assert canonical[zyx] == pytest.approx(value, rel=1e-6)


def test_layer_of_another_plugin_is_read_as_displayed_and_the_assumptions_are_named():
    data = np.random.default_rng(0).random((4, 5, 6))
    layer = Image(data, scale=(3, 1, 1))
    scan = scan_of_layer(layer, (0, 0, 0))
    assert any("1 × 1 × 3 mm" in note for note in scan.notes)
    assert any("orientation" in note for note in scan.notes)
    volume = scan.volume()
    assert volume.geometry.spacing == (3, 1, 1)
    # Rows run down the screen and downwards is posterior, so the canonical rows run the other way.
    np.testing.assert_allclose(volume.values, data[::-1, ::-1, ::-1].astype(np.float32))
    np.testing.assert_allclose(scan.to_layer(volume.values), data.astype(np.float32))


def test_units_of_another_plugin_become_millimetres():
    layer = Image(np.random.default_rng(0).random((4, 5, 6)), scale=(0.3, 0.1, 0.1), units="cm")
    scan = scan_of_layer(layer, (0, 0, 0))
    np.testing.assert_allclose(scan.source.geometry.spacing, (3, 1, 1))
    assert not any("unit" in note for note in scan.notes)


def test_2d_layer_without_units_is_of_pixels():
    scan = scan_of_layer(Image(np.eye(5), scale=(2, 2)), (0, 0))
    assert not scan.source.geometry.is_physical
    assert any("pixels" in note for note in scan.notes)
    assert scan.canonical_index((3.4, 1.6)) == (0, 3, 2)
    assert scan.canonical_index((-2.0, 7.0)) == (0, 0, 4)


def test_beyond_the_frames_is_the_last_or_the_first():
    layer = Image(np.random.default_rng(0).random((3, 4, 5, 6)))
    assert [scan_of_layer(layer, (t, 0, 0, 0)).frame for t in (-3.0, 0.6, 9.0)] == [(0,), (1,), (2,)]


def test_colour_becomes_grey():
    rng = np.random.default_rng(0)
    layer = Image(rng.integers(0, 255, (5, 6, 3), dtype=np.uint8), rgb=True)
    scan = scan_of_layer(layer, (0, 0))
    volume = scan.volume()
    np.testing.assert_array_equal(volume.values, to_grey(layer.data)[None])
    np.testing.assert_array_equal(volume.colours, layer.data[None])
    assert volume.full_scale == 255.0


@pytest.mark.parametrize(("kind", "white"), [("uint8", 255.0), ("uint16", 65535.0), ("uint16", 4095.0)])
@pytest.mark.parametrize("shape", [(5, 6), (3, 5, 6)])
def test_a_scan_in_colour_is_shown_in_colour_and_read_as_it_was(kind, white, shape):
    colours = np.random.default_rng(0).integers(0, white + 1, (*shape, 3), dtype=kind)
    stored = colours if len(shape) == 3 else colours[None]
    volume = Volume(to_grey(stored), Geometry.of_pixels(shape), "a", None, white, colours=stored)
    array, arguments, kind_of_layer = layer_of_volume(volume)
    layer = Layer.create(array, arguments, kind_of_layer)
    assert layer.rgb
    assert layer.ndim == len(shape)
    np.testing.assert_allclose(layer.data / (255 if kind == "uint8" else 1), colours / white, atol=1e-6)
    colours_before = volume.colours.copy()
    read = scan_of_layer(layer, (0,) * len(shape)).volume()
    assert read.colours.dtype == colours.dtype
    np.testing.assert_array_equal(read.colours, volume.colours)
    np.testing.assert_array_equal(read.values, volume.values)
    assert read.full_scale == white
    assert read.geometry is volume.geometry
    layer.data[...] = 0
    np.testing.assert_array_equal(read.colours, colours_before, err_msg="later changes do not reach it")


def test_colours_of_a_scan_in_the_patient_are_shown_in_its_orientation():
    geometry = Geometry((5, 6, 7), affine_of((2, 0, 1), (1, -1, 1)))
    stored = np.random.default_rng(0).integers(0, 256, (5, 6, 7, 3), dtype=np.uint8)
    colours = np.ascontiguousarray(geometry.colours_to_canonical(stored))
    volume = Volume(to_grey(colours), geometry, "a", None, 255.0, colours=colours)
    array, arguments, kind = layer_of_volume(volume)
    layer = Layer.create(array, arguments, kind)
    grey_layer = Layer.create(*layer_of_volume(replace(volume, colours=None)))
    np.testing.assert_array_equal(layer.affine.affine_matrix, grey_layer.affine.affine_matrix)
    np.testing.assert_array_equal(layer.data, colours)
    np.testing.assert_array_equal(scan_of_layer(layer, (0, 0, 0)).volume().colours, colours)


def test_colours_of_an_unknown_white_are_shown_as_grey_with_a_note():
    colours = np.random.default_rng(0).normal(0, 9, (1, 5, 6, 3)).astype(np.float32)
    volume = Volume(to_grey(colours), Geometry.of_pixels((5, 6)), colours=colours)
    layer = Layer.create(*layer_of_volume(volume))
    assert not layer.rgb
    assert COLOUR_AS_GREY in scan_of_layer(layer, (0, 0)).notes


def test_grey_in_three_channels_has_no_colours():
    pixels = np.random.default_rng(0).integers(0, 255, (5, 6, 1), dtype=np.uint8)
    assert scan_of_layer(Image(np.repeat(pixels, 3, axis=-1), rgb=True), (0, 0)).volume().colours is None


@pytest.mark.parametrize(("brightest", "white"), [(4000, 4095.0), (60000, 65535.0)])
def test_white_of_another_plugins_picture_is_that_of_the_file(brightest, white):
    pixels = np.linspace(0, brightest, 30).astype(np.uint16).reshape(5, 6)
    assert scan_of_layer(Image(pixels), (0, 0)).volume().full_scale == white


def test_voxels_without_a_value_are_the_lowest():
    values = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32)
    values[0], lowest = np.nan, values[1:].min()
    volume = scan_of_layer(Image(values), (0, 0, 0)).volume()
    assert np.count_nonzero(volume.values == lowest) == 31
    assert any("30 voxels without a finite value" in note for note in volume.notes)
    with pytest.raises(ScanReadError, match="no voxel has a finite value"):
        scan_of_layer(Image(np.full((4, 5), np.nan)), (0, 0)).volume()


@pytest.mark.parametrize("is_own", [True, False])
def test_a_scan_that_is_known_already_is_not_copied(is_own):
    values = np.random.default_rng(0).random((20, 200, 201), dtype=np.float32)
    volume = Volume(values, Geometry(values.shape[::-1], np.diag([1.0, 1, 1, 1])), "x")
    layer = Layer.create(*layer_of_volume(volume)) if is_own else Image(values)
    scan = scan_of_layer(layer, (0, 0, 0))
    first = scan.volume()
    assert not np.shares_memory(first.values, layer.data)
    other = replace(first, values=first.values + 1)
    again, taken = most_taken(lambda: scan.volume((other, first)))
    assert again.values is first.values
    assert taken < 0.5 * values.nbytes
    layer.data[3, 4, 5] = 7
    changed = scan.volume((other, first))
    np.testing.assert_array_equal(scan.to_layer(changed.values), layer.data)
    assert not np.array_equal(changed.values, first.values)


@pytest.mark.parametrize("kind", ["numpy", "dask", "zarr"])
def test_series_uses_the_shown_frame(kind):
    data = np.random.default_rng(0).random((3, 4, 5, 6)).astype(np.float32)
    if kind == "dask":
        array = pytest.importorskip("dask.array").from_array(data)
    elif kind == "zarr":
        array = pytest.importorskip("zarr").array(data)
    else:
        array = data
    layer = Image(array, scale=(10, 2, 1, 1), units=("pixel", "mm", "mm", "mm"))
    scan = scan_of_layer(layer, (20.0, 0, 0, 0))
    assert scan.frame == (2,)
    np.testing.assert_allclose(scan.to_layer(scan.volume().values), data[2])
    overlay = Image(data[2], **scan.overlay_arguments(layer))
    np.testing.assert_allclose(overlay.data_to_world((1, 2, 3)), layer.data_to_world((2, 1, 2, 3))[1:])


def test_overlay_copies_every_transform():
    layer = Image(
        np.random.default_rng(0).random((4, 5, 6)),
        scale=(3, 1, 1),
        translate=(1, 2, 3),
        rotate=np.array([[1, 0, 0], [0, np.cos(0.2), -np.sin(0.2)], [0, np.sin(0.2), np.cos(0.2)]]),
        shear=(0, 0, 0.1),
        affine=np.diag([2, 2, 2, 1]),
        units="mm",
        axis_labels=("a", "b", "c"),
    )
    overlay = Image(np.zeros((4, 5, 6)), **scan_of_layer(layer, (0, 0, 0)).overlay_arguments(layer))
    for index in [(0, 0, 0), (1, 2, 3)]:
        np.testing.assert_allclose(overlay.data_to_world(index), layer.data_to_world(index))
    assert overlay.units == layer.units
    assert overlay.axis_labels == layer.axis_labels


def test_empty_layer_is_refused_in_one_line():
    scan = scan_of_layer(Image(np.zeros((4, 5, 6))), (0, 0, 0))
    with pytest.raises(ScanReadError, match="no signal"):
        scan.volume()


def test_changed_data_is_no_longer_taken_for_the_file():
    layer = Layer.create(*layer_of_volume(volume_of(affine_of((0, 1, 2), (1, 1, 1)))))
    layer.data = np.asarray(layer.data)[1:]
    assert not scan_of_layer(layer, (0, 0, 0)).is_canonical


def test_same_layer():
    one, other = Image(np.eye(3)), Image(np.eye(3))
    assert same_layer(one, one)
    assert not same_layer(one, other)
    assert same_layer(None, None)
    assert not same_layer(one, None)


def test_voxels_that_are_taken_from_the_scale_are_told_like_the_size_of_the_scan():
    layer = Image(np.random.default_rng(0).random((4, 6, 8)), scale=(3, 2, 1), name="foreign")
    scan = scan_of_layer(layer, (0, 0, 0))
    assert scan_in_words(scan) == "8 × 6 × 4 voxels of 1 × 2 × 3 mm"
    assert any("taken to be 1 × 2 × 3 mm" in note for note in scan.notes)
