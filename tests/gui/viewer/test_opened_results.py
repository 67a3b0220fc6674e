"""Masks and maps from files are seen with the scan that they are of."""

from __future__ import annotations

import shutil

import nibabel as nib
import numpy as np
import pytest
from napari.layers import Layer
from pydicom import dcmread

from dock_driver import click, find
from napari_dinoad import read_volume
from napari_dinoad.gui.results.hand_masks import HandMasks
from napari_dinoad.gui.viewer.layer_scan import ScanSource
from napari_dinoad.gui.viewer.layers import layer_of_volume
from napari_dinoad.gui.viewer.opened_results import lies_on
from napari_dinoad.gui.viewer.viewer_parts import grid_of
from napari_dinoad.images.volume import Geometry, Volume
from napari_dinoad.maps import AnomalyMap
from napari_dinoad.maps.dicom.seg import save_seg
from small_heads import save_dicom_head


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


def captured(monkeypatch, name):
    """Return what napari is asked to tell by a function of this name, in place of telling it."""
    told = []
    monkeypatch.setattr(f"napari_dinoad.gui.viewer.opened_results.{name}", told.append)
    return told


@pytest.fixture
def capture_infos(monkeypatch):
    return captured(monkeypatch, "show_info")


@pytest.fixture
def capture_warnings(monkeypatch):
    return captured(monkeypatch, "show_warning")


@pytest.fixture
def twin(patient, tmp_path):
    """Return the file of another person's scan on the same voxels, as in a space that all are brought into."""
    (tmp_path / "others").mkdir()
    return shutil.copy(patient, tmp_path / "others" / "twin.nii.gz")


def test_a_mask_is_of_the_scan_that_it_was_opened_over_alone(ready, viewer, results, twin):
    scan = ready.scan.layer
    opened = [open_one(viewer, path) for path in results]
    other = open_one(viewer, twin)
    assert ready.scan.layer is other
    assert [layer.visible for layer in opened] == [False, False], "another person's"
    for chosen, is_seen in ((scan, True), (other, False)):
        ready.scan.layers.value = chosen
        assert [layer.visible for layer in opened] == [is_seen, is_seen]
    viewer.layers.remove(scan)
    opened[1].visible = True
    open_one(viewer, twin)
    ready.scan.layers.value = other
    hand_masks = HandMasks(viewer, ready.finder, lambda: other)
    (mask,) = (one for one in hand_masks.layers(hand_masks.of_scan()) if one.layer is opened[1])
    assert mask.over_other == "a scan that was closed"


@pytest.mark.parametrize(
    "order",
    [
        ("anna", "anna_mask", "berta", "berta_mask"),
        ("anna", "berta", "anna_mask", "berta_mask"),
        ("anna_mask", "berta_mask", "anna", "berta"),
    ],
    ids=["one after the other", "scans first", "masks first"],
)
def test_masks_opened_with_several_scans_are_of_those_they_are_named_after(dock, viewer, order, named_files):
    layers = {name: open_one(viewer, named_files / f"{name}.nii.gz") for name in order}
    for chosen, other in (("anna", "berta"), ("berta", "anna")):
        dock.scan.layers.value = layers[chosen]
        assert layers[f"{chosen}_mask"].visible
        assert not layers[f"{other}_mask"].visible


@pytest.fixture
def named_files(patient, results, tmp_path):
    for name in ("anna", "berta"):
        shutil.copy(patient, tmp_path / f"{name}.nii.gz")
        shutil.copy(results[1], tmp_path / f"{name}_mask.nii.gz")
    return tmp_path


def test_a_mask_of_another_scan_than_the_chosen_one_is_told_and_seen_with_its_own(
    dock, viewer, named_files, capture_infos
):
    anna, berta = (open_one(viewer, named_files / f"{name}.nii.gz") for name in ("anna", "berta"))
    mask = open_one(viewer, named_files / "anna_mask.nii.gz")
    assert dock.scan.layer is berta
    assert not mask.visible
    assert capture_infos == ["“anna_mask” is of “anna”: choose that scan to see it."]
    dock.scan.layers.value = anna
    assert mask.visible
    dock.scan.layers.value = berta
    grid_of(viewer).enabled = True
    assert open_one(viewer, named_files / "anna_mask.nii.gz").visible, "each scan has a cell of its own"


def test_of_scans_of_one_name_the_one_in_its_folder_is_a_masks(dock, viewer, patient, results, tmp_path):
    layers = {}
    for person in ("anna", "berta"):
        (tmp_path / person).mkdir()
        layers[person] = open_one(viewer, shutil.copy(patient, tmp_path / person / "t1.nii.gz"))
    mask = open_one(viewer, shutil.copy(results[1], tmp_path / "anna" / "lesion_mask.nii.gz"))
    assert not mask.visible
    dock.scan.layers.value = layers["anna"]
    assert mask.visible


def test_a_mask_that_was_there_first_is_of_the_scan_that_comes(dock, viewer, results, patient, twin):
    mask = open_one(viewer, results[1])
    scan = open_one(viewer, patient)
    assert mask.visible
    open_one(viewer, twin)
    assert not mask.visible
    viewer.layers.remove(scan)
    again = open_one(viewer, patient)
    assert dock.scan.layer is again
    assert not mask.visible, "nothing says that it is the same scan"


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


@pytest.fixture
def segmented(tmp_path):
    """Return a folder of scans on the same voxels, and the segmentation of the first of them."""
    first = save_dicom_head(tmp_path / "first", 3)
    frame = dcmread(first[0]).FrameOfReferenceUID
    save_dicom_head(tmp_path / "person", 4, PatientID="another")
    save_dicom_head(tmp_path / "place", 5)
    save_dicom_head(tmp_path / "series", 6, FrameOfReferenceUID=frame)
    volume = read_volume(tmp_path / "first")
    values = np.where(volume.values > np.percentile(volume.values, 90), np.float32(4), np.float32(0))
    (tmp_path / "out").mkdir()
    return tmp_path, save_seg(tmp_path / "out" / "seg.dcm", AnomalyMap(values, volume).mask(0.01))


@pytest.mark.parametrize(
    ("scan", "told"),
    [
        ("person", "is of another patient (PatientID) than “person”: hidden"),
        ("place", "is in another frame of reference than “place”: hidden"),
        ("series", "was drawn on another series than “series”"),
        ("first", None),
    ],
)
def test_a_dicom_segmentation_is_not_laid_over_another_persons_scan(
    dock, viewer, segmented, scan, told, capture_warnings
):
    folder, path = segmented
    layer = open_one(viewer, folder / scan)
    mask = open_one(viewer, path)
    assert dock.scan.layer is layer
    assert mask.visible == (scan in ("first", "series"))
    assert capture_warnings == ([f"By its header “seg” {told}."] if told else [])
    hand_masks = HandMasks(viewer, dock.finder, lambda: layer)
    (one,) = hand_masks.layers(hand_masks.of_scan())
    assert bool(one.fault) == (scan in ("person", "place"))
    assert one.fault_in_brief == ("" if not one.fault else told.removeprefix("is ").partition(" than ")[0])
    assert one.over_other == ("another series" if scan == "series" else "")


def test_a_segmentation_of_the_scans_own_images_is_shown_whatever_its_patient_is_called(
    dock, viewer, segmented, capture_warnings
):
    """Where the scan or the segmentation was anonymised alone, it was hidden as another person's."""
    folder, path = segmented
    header = dcmread(path)
    header.PatientID = "anonymous"
    header.save_as(path)
    layer = open_one(viewer, folder / "first")
    mask = open_one(viewer, path)
    assert mask.visible
    (told,) = capture_warnings
    assert told.startswith("By its header “seg” names another PatientID than “first”, though images of it.")
    hand_masks = HandMasks(viewer, dock.finder, lambda: layer)
    (one,) = hand_masks.layers(hand_masks.of_scan())
    assert (one.fault, one.over_other) == ("", "images of another PatientID")
    open_one(viewer, folder / "series")
    assert not mask.visible, "it stays that of the series that it names"


def test_a_dicom_segmentation_is_of_the_series_that_it_was_drawn_on(dock, viewer, segmented, capture_infos):
    """It was of the one that was chosen when it was opened, also of another person's."""
    folder, path = segmented
    layers = {name: open_one(viewer, folder / name) for name in ("first", "series", "person")}
    mask = open_one(viewer, path)
    assert capture_infos == ["“seg” is of “first”: choose that scan to see it."]
    for name, layer in layers.items():
        dock.scan.layers.value = layer
        assert mask.visible == (name == "first")
    viewer.layers.remove(layers["first"])
    dock.scan.layers.value = layers["series"]
    mask.visible = True
    dock.scan.layers.value = layers["person"]
    assert not mask.visible, "of no scan that is there, but surely not of this one"


@pytest.mark.parametrize("chosen", ["series", "person"])
def test_in_a_grid_a_segmentation_of_another_scan_that_is_there_is_shown(
    dock, viewer, segmented, capture_warnings, chosen
):
    """Its scan has a cell of its own."""
    folder, path = segmented
    for name in ("first", chosen):
        open_one(viewer, folder / name)
    grid_of(viewer).enabled = True
    assert open_one(viewer, path).visible
    assert not capture_warnings
