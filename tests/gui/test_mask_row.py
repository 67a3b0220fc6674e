"""Masks by hand of scans in which nothing was found: drawn in step 1, and exported from there."""

from __future__ import annotations

import json

import dask.array as da
import highdicom
import nibabel as nib
import numpy as np
import pydicom
import pytest
from napari.components import ViewerModel
from napari.layers import Labels
from PIL import Image

from dock_driver import TIMEOUT_MS, click, find, find_planted, save_in_dialog
from napari_dinoad.gui.results.hand_masks import HandMasks
from napari_dinoad.gui.viewer.labels_on_scan import LabelsOnScan
from napari_dinoad.gui.viewer.layers import scan_of_layer
from small_heads import save_dicom_head


def export(qtbot, dock, folder, outputs, segments=0):
    """Export through the dialog of step 1 as it opens; return how it says that the mask was made."""
    dialog = open_dialog(qtbot, dock)
    assert dialog.masks.findText("found regions") == -1
    making = dialog.making
    save_in_dialog(qtbot, dialog, dock.masks.exporter, folder, outputs, segments)
    assert dock.masks.note.text().startswith("Written into")
    return making


def open_dialog(qtbot, dock):
    dock.window().show()
    if dock.masks.export_dialog is not None:
        return dock.masks.export_dialog
    # The last window may have opened just before its job told that it has ended; a click is lost until then.
    qtbot.waitUntil(dock.masks.export_button.isEnabled, timeout=TIMEOUT_MS)
    click(qtbot, dock.masks.export_button)
    qtbot.waitUntil(lambda: dock.masks.export_dialog is not None, timeout=TIMEOUT_MS)
    return dock.masks.export_dialog


def drawn_layer(qtbot, dock, viewer):
    click(qtbot, dock.masks.draw_button)
    layer = viewer.layers.selection.active
    assert isinstance(layer, Labels)
    return layer


def test_a_mask_is_drawn_and_exported_before_any_model_is_chosen(qtbot, dock, viewer, patient, tmp_path):
    (scan,) = viewer.open(str(patient), plugin="napari-dinoad")
    assert dock.finder.found is None
    layer = drawn_layer(qtbot, dock, viewer)
    assert layer.mode == "paint"
    assert layer.name == "patient_bright · drawn"
    np.testing.assert_array_equal(layer.extent.world, scan.extent.world)
    layer.brush_size = 6
    layer.paint((10, 24, 24), 1)
    assert export(qtbot, dock, tmp_path, ("mask", "regions", "report")) == "drawn"
    image = nib.load(tmp_path / "patient_bright_by_hand_mask.nii.gz")
    assert image.affine.tobytes() == nib.load(patient).affine.tobytes()
    geometry = scan_of_layer(scan, viewer.dims.point).source.geometry
    np.testing.assert_array_equal(geometry.to_canonical(np.asarray(image.dataobj)), layer.data)
    document = json.loads((tmp_path / "patient_bright_by_hand_report.json").read_text())
    assert document["mask"] == "Drawn by hand"
    assert "corrected_model" not in document
    (again,) = viewer.open(str(tmp_path / "patient_bright_by_hand_mask.nii.gz"), plugin="napari-dinoad")
    np.testing.assert_array_equal(again.data, layer.data)
    np.testing.assert_allclose(again.extent.world, layer.extent.world, atol=1e-4)


def test_a_dicom_study_gets_a_manual_segmentation(qtbot, dock, viewer, tmp_path):
    save_dicom_head(tmp_path / "study", 3, lesion=True)
    viewer.open(str(tmp_path / "study"), plugin="napari-dinoad")
    layer = drawn_layer(qtbot, dock, viewer)
    layer.data[4, 6:9, 3:5] = 1
    layer.data[7, 2, 3] = 2
    export(qtbot, dock, tmp_path / "out", ("seg",), segments=1)
    (path,) = (tmp_path / "out").glob("*_by_hand_seg.dcm")
    kinds = {segment.SegmentAlgorithmType for segment in pydicom.dcmread(path).SegmentSequence}
    assert kinds == {"MANUAL"}
    assert highdicom.seg.segread(path).number_of_segments == 2
    (again,) = viewer.open(str(path), plugin="napari-dinoad")
    np.testing.assert_array_equal(again.data, layer.data)


def test_a_picture_gets_a_png(qtbot, dock, viewer, tmp_path):
    Image.fromarray(np.arange(30, dtype=np.uint8).reshape(5, 6)).save(tmp_path / "scan.png")
    with qtbot.waitSignal(dock.opener.runner.finished, timeout=TIMEOUT_MS):
        dock.open_files((tmp_path / "scan.png",))
    qtbot.waitUntil(lambda: len(viewer.layers) == 1, timeout=TIMEOUT_MS)
    assert dock.masks.planes_box.isHidden()
    layer = drawn_layer(qtbot, dock, viewer)
    layer.data[1, 2] = 1
    dialog = open_dialog(qtbot, dock)
    assert {key for key, box in dialog.choices.items() if not box.isHidden()} == {
        "mask", "regions", "report", "png",
    }  # fmt: skip
    assert "png" in dialog.outputs
    dialog.reject()
    export(qtbot, dock, tmp_path / "out", ("png",))
    pixels = np.asarray(Image.open(tmp_path / "out" / "scan_by_hand_mask.png"))
    assert np.argwhere(pixels).tolist() == [[1, 2]]


def test_without_a_mask_it_is_said_how_to_make_one_and_why_another_is_none(qtbot, dock, viewer):
    assert dock.masks.isHidden()
    viewer.add_image(np.random.default_rng(0).random((4, 5, 6)), name="scan")
    assert not dock.masks.isHidden()
    click(qtbot, dock.masks.export_button)
    assert "press “Draw mask”" in dock.masks.note.text()
    viewer.add_labels(np.zeros((4, 5, 6), int), name="beside", translate=(0, 0, 0.5))
    click(qtbot, dock.masks.export_button)
    assert "'beside': its voxels are not those of the scan 'scan'" in dock.masks.note.text()
    assert dock.masks.export_dialog is None
    viewer.add_image(np.random.default_rng(1).random((4, 5, 6)), name="other")
    assert dock.masks.note.isHidden()


def test_a_mask_of_another_scan_is_not_named_where_this_one_has_none(qtbot, dock, viewer):
    rng = np.random.default_rng(0)
    viewer.add_image(rng.random((4, 5, 6)), name="one")
    drawn_layer(qtbot, dock, viewer)
    viewer.add_image(rng.random((4, 5, 6)), name="two", translate=(0, 0, 0.5))
    assert dock.scan.layer.name == "two"
    click(qtbot, dock.masks.export_button)
    assert dock.masks.note.text().startswith("No mask by hand to export")


def test_where_something_was_found_it_is_said_what_exports_that(qtbot, ready):
    click(qtbot, ready.masks.export_button)
    assert ready.result.export_button.text() not in ready.masks.note.text()
    find(qtbot, ready)
    assert ready.masks.note.isHidden(), "it takes the room of the regions"
    click(qtbot, ready.masks.export_button)
    assert f"“{ready.result.export_button.text()}”" in ready.masks.note.text()


def test_a_mask_that_was_drawn_over_another_scan_is_not_proposed(qtbot, dock, viewer, tmp_path):
    values = np.random.default_rng(0).random((4, 5, 6)).astype(np.float32)
    viewer.add_image(values, name="anna")
    layer = drawn_layer(qtbot, dock, viewer)
    layer.data[1, 2, 3] = 1
    viewer.add_image(values[::-1], name="berta")
    assert dock.scan.layer.name == "berta"
    dialog = open_dialog(qtbot, dock)
    dialog.folder.value = tmp_path
    save = dialog.buttons.button(dialog.buttons.StandardButton.Save)
    assert dialog.by_hand is None and dialog.note.text() == "Choose which mask to export."
    assert not save.isEnabled()
    dialog.masks.setCurrentIndex(0)
    assert dialog.masks.currentText() == "“anna · drawn” (made over “anna”)"
    dialog.makings.setCurrentIndex(dialog.makings.findData("drawn"))
    assert dialog.note.text().startswith("This mask was made over “anna”: export it only if")
    assert save.isEnabled(), "another sequence of the same person, on the same voxels"
    dialog.reject()
    own = drawn_layer(qtbot, dock, viewer)
    viewer.layers.selection.active = dock.scan.layer
    dialog = open_dialog(qtbot, dock)
    assert dialog.by_hand.layer is own
    dialog.reject()


def test_a_layer_on_disk_is_read_in_the_background(qtbot, dock, viewer, tmp_path):
    values = np.random.default_rng(0).random((4, 5, 6)).astype(np.float32)
    viewer.add_image(da.from_array(values, chunks=(1, 5, 6)), scale=(3, 1, 1), name="lazy")
    layer = viewer.add_labels(np.zeros((4, 5, 6), np.uint8), scale=(3, 1, 1), name="mine")
    layer.data[1, 2, 3] = 4
    assert export(qtbot, dock, tmp_path, ("mask",)) == "drawn"
    stored = np.asarray(nib.load(tmp_path / "lazy_by_hand_mask.nii.gz").dataobj)
    assert np.argwhere(stored).tolist() == [[1, 2, 3]] and stored.max() == 4


def test_a_mask_of_a_series_is_of_the_frame_on_which_it_was_drawn(qtbot, dock, viewer, tmp_path):
    values = np.random.default_rng(0).random((3, 4, 5, 6)).astype(np.float32)
    viewer.add_image(values, scale=(1, 3, 1, 1), name="series")
    viewer.dims.set_current_step(0, 1)
    dock.scan.describe()
    layer = drawn_layer(qtbot, dock, viewer)
    assert layer.name == "series · frame 1 · drawn"
    layer.data[1, 2, 3] = 1
    viewer.dims.set_current_step(0, 2)
    click(qtbot, dock.masks.export_button)
    assert "it is of frame 1, not of 2. Show frame 1 first." in dock.masks.note.text()
    viewer.dims.set_current_step(0, 1)
    export(qtbot, dock, tmp_path, ("mask",))
    assert (tmp_path / "series_frame1_by_hand_mask.nii.gz").is_file()


def test_what_was_drawn_stays_with_its_scan(qtbot, dock, viewer):
    rng = np.random.default_rng(0)
    first = viewer.add_image(rng.random((4, 5, 6)), name="first")
    layer = drawn_layer(qtbot, dock, viewer)
    second = viewer.add_image(rng.random((4, 5, 6)), name="second")
    assert not layer.visible
    dock.scan.layers.value = first
    assert layer.visible
    dock.scan.layers.value = second
    assert not layer.visible
    with pytest.raises(ValueError, match="must be in"):
        dock.scan.layers.value = layer


def test_a_corrected_mask_is_exported_from_step_1_with_its_model(qtbot, ready, viewer, tmp_path):
    find_planted(qtbot, ready)
    click(qtbot, ready.result.edit_button)
    named = open_dialog(qtbot, ready)._author
    assert named.isVisible()
    qtbot.keyClicks(named, "Dr. Example")
    assert export(qtbot, ready, tmp_path, ("report",)) == "corrected"
    document = json.loads((tmp_path / "patient_bright_by_hand_report.json").read_text())
    assert document["corrected_model"]["scorer"] == "memory-bank"
    assert document["author"] == "Dr. Example"
    page = (tmp_path / "patient_bright_by_hand_report.html").read_text(encoding="utf-8")
    assert "Corrected by hand by Dr. Example." in page


def test_who_made_the_last_mask_is_proposed(qtbot, ready, viewer, tmp_path):
    find_planted(qtbot, ready)
    click(qtbot, ready.result.edit_button)
    named = open_dialog(qtbot, ready)._author
    assert named.text() == ""
    named.setText("Dr. Example")
    export(qtbot, ready, tmp_path, ("report",))
    named = open_dialog(qtbot, ready)._author
    assert named.text() == "Dr. Example"
    named.clear()
    ready.masks.export_dialog.reject()
    click(qtbot, ready.result.export_button)
    assert ready.result.export_dialog._author.text() == "Dr. Example", "as was exported last"
    ready.result.export_dialog.reject()
    named = open_dialog(qtbot, ready)._author
    named.clear()
    export(qtbot, ready, tmp_path, ("report",))
    assert open_dialog(qtbot, ready)._author.text() == ""


def test_all_windows_propose_the_folder_that_was_written_into_last(qtbot, ready, viewer, tmp_path):
    drawn_layer(qtbot, ready, viewer).paint((10, 24, 24), 1)
    export(qtbot, ready, tmp_path / "one", ("mask",))
    ready.windows.open_folder()
    assert ready.windows.folder.out.value == tmp_path / "one"
    find(qtbot, ready)
    click(qtbot, ready.result.export_button)
    dialog = ready.result.export_dialog
    assert dialog.path == tmp_path / "one"
    save_in_dialog(qtbot, dialog, ready.result.exporter, tmp_path / "two", ("mask",))
    dialog = open_dialog(qtbot, ready)
    assert dialog.path == tmp_path / "two"
    dialog.reject()
    ready.windows.folder.close()
    ready.windows.open_folder()
    assert ready.windows.folder.out.value == tmp_path / "one", "what is named stays"


class NoResult:
    """Stands for a controller that has found nothing."""

    found = None


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, -1)])
@pytest.mark.parametrize("cut", [0, 2])
def test_a_slice_of_labels_is_that_of_the_whole(order, flips, cut):
    viewer = ViewerModel()
    scan_layer = viewer.add_image(
        np.random.default_rng(0).random((4, 5, 6)), scale=(3, -2, 1), units=("mm",) * 3
    )
    drawn = np.random.default_rng(1).integers(0, 4, (4, 5, 6))
    drawn[:, :cut] = 0
    affine = np.eye(4)
    matrix = np.diag(np.asarray(scan_layer.scale))
    for axis, source in enumerate(order):
        affine[:3, axis] = matrix[:, source] * flips[source]
    first = np.array([n - 1 if flip < 0 else 0 for n, flip in zip(drawn.shape, flips, strict=True)])
    if flips[1] > 0:
        first[1] = cut
    affine[:3, 3] = matrix @ first
    part = drawn[:, cut:][tuple(slice(None, None, flip) for flip in flips)].transpose(order)
    layer = viewer.add_layer(Labels(np.pad(part, [(0, 3), (0, 0), (0, 0)]), affine=affine))
    scan = scan_of_layer(scan_layer, viewer.dims.point)
    labels = LabelsOnScan.of(viewer, layer, scan_layer, scan)
    whole = labels.whole()
    np.testing.assert_array_equal(scan.to_layer(whole), drawn)
    for axis, n in enumerate(whole.shape):
        for index in range(n):
            np.testing.assert_array_equal(labels.plane(axis, index), np.take(whole, index, axis=axis))
    assert HandMasks(viewer, NoResult(), lambda: scan_layer).of_scan().volume is None
