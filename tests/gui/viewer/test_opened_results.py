"""Masks and maps from files are seen with the scan that they are of."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from napari.layers import Layer

from dock_driver import click, find
from napari_dinoad import read_volume
from napari_dinoad.gui.viewer.layer_scan import ScanSource
from napari_dinoad.gui.viewer.layers import layer_of_volume
from napari_dinoad.gui.viewer.opened_results import lies_on
from napari_dinoad.gui.viewer.viewer_parts import grid_of
from napari_dinoad.images.volume import Geometry, Volume
from napari_dinoad.maps import AnomalyMap


@pytest.fixture
def shifted(patient, tmp_path):
    """Return the file of another scan with voxels of the same size, which lies somewhat elsewhere."""
    image = nib.load(patient)
    affine = image.affine.copy()
    affine[:3, 3] += (4.3, -2.1, 3.3)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), affine), tmp_path / "other.nii.gz")
    return tmp_path / "other.nii.gz"


@pytest.fixture
def results(patient, tmp_path):
    """Return map and mask of the patient's scan, as files."""
    volume = read_volume(patient)
    values = np.where(volume.values > np.percentile(volume.values, 90), np.float32(4), np.float32(0))
    earlier = AnomalyMap(values, volume)
    return earlier.save(tmp_path / "a_anomaly.nii.gz"), earlier.mask().save(tmp_path / "a_mask.nii.gz")


def open_one(viewer, path):
    (layer,) = viewer.open(str(path), plugin="napari-dinoad")
    return layer


def test_what_is_of_another_scan_is_hidden_and_comes_again_with_its_own(ready, viewer, results, shifted):
    scan = ready.scan.layer
    opened = [open_one(viewer, path) for path in results]
    other = open_one(viewer, shifted)
    assert ready.scan.layer is other
    assert [layer.visible for layer in opened] == [False, False]
    ready.scan.layers.value = scan
    assert [layer.visible for layer in opened] == [True, True]
    opened[0].visible = False
    ready.scan.layers.value = other
    assert [layer.visible for layer in opened] == [False, False]
    ready.scan.layers.value = scan
    assert [layer.visible for layer in opened] == [False, True], "what the user hid stays hidden"


def test_what_is_opened_is_seen_whichever_scan_is_chosen(ready, viewer, results, shifted):
    other = open_one(viewer, shifted)
    mask = open_one(viewer, results[1])
    assert ready.scan.layer is other
    ready.reset_choices()
    assert mask.visible


def test_images_of_one_study_share_their_masks(ready, viewer, results, patient):
    mask = open_one(viewer, results[1])
    again = open_one(viewer, patient)
    assert ready.scan.layer is again
    assert mask.visible


def test_what_is_of_no_scan_at_hand_and_the_grid_are_left_alone(ready, viewer, results, shifted, tmp_path):
    image = nib.load(results[1])
    nib.save(
        nib.Nifti1Image(image.dataobj, np.diag([9, 9, 9, 1.0]), image.header), tmp_path / "far_mask.nii.gz"
    )
    far, mask = open_one(viewer, tmp_path / "far_mask.nii.gz"), open_one(viewer, results[1])
    grid_of(viewer).enabled = True
    open_one(viewer, shifted)
    assert mask.visible
    grid_of(viewer).enabled = False
    open_one(viewer, shifted)
    assert far.visible
    assert not mask.visible


def test_a_copy_goes_with_the_mask_that_it_was_made_of(qtbot, ready, viewer, patient):
    """Also where the other scan is of the same voxels: what was found in one is not of the other."""
    scan = ready.scan.layer
    find(qtbot, ready, ready.find.slice_button)
    click(qtbot, ready.result.edit_button)
    copy = viewer.layers.selection.active
    open_one(viewer, patient)
    assert not copy.visible
    ready.scan.layers.value = scan
    assert copy.visible


@pytest.mark.parametrize(
    ("start", "shape", "step", "expected"),
    [
        ((0, 0, 0), (6, 7, 8), 2.0, True),
        ((2, 4, 6), (3, 2, 2), 2.0, True),
        ((1, 0, 0), (2, 2, 2), 2.0, False),
        ((2, 4, 6), (6, 2, 2), 2.0, False),
        ((-2, 0, 0), (3, 2, 2), 2.0, False),
        ((0, 0, 0), (6, 7, 8), 2.5, False),
    ],
)
def test_a_part_of_a_grid_lies_on_it(start, shape, step, expected):
    whole = ScanSource(Geometry((6, 7, 8), np.diag([2.0, 2, 2, 1])), "scan")
    affine = np.diag([step, step, step, 1.0])
    affine[:3, 3] = start
    assert lies_on(ScanSource(Geometry(shape, affine), "mask"), whole) == expected


def test_results_from_files_lie_on_pictures_whose_pixels_are_not_square(dock, viewer, tmp_path):
    noise = np.random.default_rng(0).random((1, 20, 30), dtype=np.float32)
    plain = Volume(noise, Geometry.of_pixels((20, 30)), "plain")
    tall = Volume(noise[:, ::2], Geometry.of_pixels((10, 30), 2.0), "tall")
    for volume, affine in ((plain, np.eye(3)), (tall, np.diag([2, 1, 1]))):
        viewer.add_layer(Layer.create(*layer_of_volume(volume)))
        path = AnomalyMap(volume.values * 4, volume).mask().save(tmp_path / f"{volume.name}_mask.nii.gz")
        np.testing.assert_array_equal(open_one(viewer, path).affine.affine_matrix, affine)


def test_an_oblique_mask_lies_on_its_scan(tmp_path):
    affine = np.array([[0.98, -0.17, 0, 1], [0.17, 0.98, 0, 2], [0, 0, 3.0, 3], [0, 0, 0, 1]])
    data = np.random.default_rng(0).random((5, 6, 7)).astype(np.float32)
    nib.save(nib.Nifti1Image(data, affine), tmp_path / "scan.nii.gz")
    layer = Layer.create(*layer_of_volume(read_volume(tmp_path / "scan.nii.gz")))
    assert lies_on(layer.metadata["dinoad"], layer.metadata["dinoad"])
