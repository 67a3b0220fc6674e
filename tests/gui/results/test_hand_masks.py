"""Masks that are corrected or drawn in a Labels layer, from the layer to the files."""

from __future__ import annotations

import json

import highdicom
import nibabel as nib
import numpy as np
import pydicom
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer

from dock_driver import TIMEOUT_MS, click, find, find_planted, overlays, save_in_dialog
from napari_dinoad import read_volume
from napari_dinoad.errors import GeometryError
from napari_dinoad.gui.find.found import Found, ModelFile
from napari_dinoad.gui.find.result import ScanResult
from napari_dinoad.gui.parts.folding import ScrolledColumn
from napari_dinoad.gui.results.export_dialog import ExportDialog
from napari_dinoad.gui.results.hand_masks import Ground, HandLayer, HandMasks, hand_mask_of
from napari_dinoad.gui.viewer.layer_marks import is_kept_by_plugin
from napari_dinoad.gui.viewer.layers import layer_of_volume, scan_of_layer
from napari_dinoad.images.volume import Geometry, Volume
from napari_dinoad.settings import DetectSettings
from patience import at_rest
from small_heads import save_dicom_head


class Finder:
    """Stands for the controller: what it looks at."""

    def __init__(self, found):
        self.found = found


def found_in(viewer, layer, tmp_path):
    """Return a result for a layer, as after finding, without its layers."""
    scan = scan_of_layer(layer, viewer.dims.point)
    result = ScanResult(scan.volume(), 0, 0.01)
    return Found(layer, scan, ModelFile(tmp_path / "m.dinoad", None), DetectSettings(), result)


def scan_volume(shape=(4, 5, 6), affine=None):
    affine = np.diag([2.0, 3.0, 4.0, 1.0]) if affine is None else affine
    geometry = Geometry(shape, affine)
    return Volume(
        np.random.default_rng(0).random(geometry.canonical_shape).astype(np.float32), geometry, "scan"
    )


@pytest.fixture
def shown(tmp_path):
    """Return a viewer without window, a scan's layer and its result."""
    viewer = ViewerModel()
    layer = viewer.add_layer(Layer.create(*layer_of_volume(scan_volume())))
    return viewer, layer, found_in(viewer, layer, tmp_path)


def labels_like(layer, **changed):
    data = np.zeros(layer.data.shape, np.uint8)
    data[1, 2, 3] = 5
    return Labels(data, affine=layer.affine, units=layer.units, axis_labels=layer.axis_labels, **changed)


def test_a_layer_on_the_scans_voxels_is_taken_as_it_is(shown):
    viewer, scan, found = shown
    layer = viewer.add_layer(labels_like(scan))
    mask = hand_mask_of(viewer, layer, Ground.of_found(found), "drawn")
    assert mask.source is found.result.volume
    assert mask.making == "drawn"
    np.testing.assert_array_equal(mask.labels, layer.data)
    layer.data[0, 0, 0] = 9
    assert mask.labels.max() == 5, "it is as it was when asked for"


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, -1), (-1, -1, -1)])
def test_axes_that_run_otherwise_are_turned(shown, order, flips):
    viewer, scan, found = shown
    drawn = np.random.default_rng(1).integers(0, 4, scan.data.shape)
    turned = drawn[tuple(slice(None, None, flip) for flip in flips)].transpose(order)
    affine = np.eye(4)
    for axis, source in enumerate(order):
        affine[:3, axis] = np.asarray(scan.affine.linear_matrix)[:, source] * flips[source]
    last = [n - 1 if flip < 0 else 0 for n, flip in zip(scan.data.shape, flips, strict=True)]
    affine[:3, 3] = scan.data_to_world(last)
    layer = viewer.add_layer(Labels(turned, affine=affine))
    np.testing.assert_array_equal(hand_mask_of(viewer, layer, Ground.of_found(found), "drawn").labels, drawn)


def test_a_layer_that_covers_more_or_less_is_cut_and_filled(shown):
    viewer, scan, found = shown
    more = np.zeros(tuple(n + 4 for n in scan.data.shape), int)
    more[3, 4, 5] = 1
    layer = viewer.add_layer(Labels(more, affine=scan.affine, translate=(-2, -2, -2)))
    layer.affine = np.asarray(scan.affine.affine_matrix)
    mask = hand_mask_of(viewer, layer, Ground.of_found(found), "drawn")
    assert np.argwhere(mask.labels).tolist() == [[1, 2, 3]]
    layer.data[0, 0, 0] = 1
    with pytest.raises(GeometryError, match="drawn outside the scan 'scan'"):
        hand_mask_of(viewer, layer, Ground.of_found(found), "drawn")
    less = viewer.add_layer(Labels(np.ones((1, 1, 2), int), affine=scan.affine, translate=(1, 2, 2)))
    mask = hand_mask_of(viewer, less, Ground.of_found(found), "drawn")
    assert np.argwhere(mask.labels).tolist() == [[1, 2, 2], [1, 2, 3]]
    away = viewer.add_layer(Labels(np.zeros((2, 2, 2), int), affine=scan.affine, translate=(50, 0, -50)))
    assert not hand_mask_of(viewer, away, Ground.of_found(found), "drawn").labels.any()


@pytest.mark.parametrize(
    "change", [{"scale": (1, 1, 0.5)}, {"translate": (0, 0.5, 0)}, {"rotate": 10}, {"scale": (1, 1, 1.05)}]
)
def test_other_voxels_than_the_scans_are_refused_with_a_reason(shown, change):
    viewer, scan, found = shown
    viewer.add_layer(labels_like(scan, name="other", **change))
    masks = HandMasks(viewer, Finder(found))
    (one,) = masks.layers(masks.of_result())
    assert "its voxels are not those of the scan 'scan'" in one.fault
    with pytest.raises(GeometryError, match="its voxels are not those"):
        hand_mask_of(viewer, one.layer, Ground.of_found(found), "drawn")
    viewer.add_layer(Labels(np.zeros((5, 6), int), name="flat"))
    flat = masks.layers(masks.of_result())[0]
    assert flat.name == "flat"
    assert flat.fault


def test_an_oblique_scan_gets_the_labels_in_its_own_order(tmp_path):
    affine = np.array([[0.98, -0.17, 0, 1], [0.17, 0.98, 0, 2], [0, 0, 3.0, 3], [0, 0, 0, 1]])
    viewer = ViewerModel()
    scan = viewer.add_layer(Layer.create(*layer_of_volume(scan_volume(affine=affine))))
    layer = viewer.add_layer(labels_like(scan))
    mask = hand_mask_of(viewer, layer, Ground.of_found(found_in(viewer, scan, tmp_path)), "drawn")
    np.testing.assert_array_equal(mask.labels, layer.data)


@pytest.mark.parametrize("kind", ["picture", "rgb", "foreign", "series", "pyramid"])
def test_layers_of_all_kinds(tmp_path, kind):
    viewer = ViewerModel()
    values = np.random.default_rng(0).random((2, 4, 5, 6)).astype(np.float32)
    if kind == "picture":
        scan = viewer.add_image(values[0, 0])
    elif kind == "rgb":
        scan = viewer.add_image((values[0, :, :, :3] * 255).astype(np.uint8), rgb=True)
    elif kind == "foreign":
        scan = viewer.add_image(values[0], scale=(3, 2, 2))
    elif kind == "pyramid":
        scan = viewer.add_image(
            [values[0], values[0, ::2, ::2, ::2]], multiscale=True, contrast_limits=(0, 1)
        )
    else:
        scan = viewer.add_image(values, scale=(1, 3, 2, 2))
        viewer.dims.set_current_step(0, 1)
    found = found_in(viewer, scan, tmp_path)
    if kind == "series":
        assert found.scan.frame == (1,)
        viewer.dims.set_current_step(0, 0)
    drawn = np.zeros((scan.data[0] if kind == "pyramid" else scan.data).shape[: scan.ndim], int)
    place = (1, *[2] * (drawn.ndim - 1))
    drawn[place] = 1
    layer = viewer.add_layer(Labels(drawn, scale=scan.scale))
    labels = found.scan.to_layer(hand_mask_of(viewer, layer, Ground.of_found(found), "drawn").labels)
    np.testing.assert_array_equal(labels, drawn[1] if kind == "series" else drawn)
    if kind == "series":
        of_frame = viewer.add_layer(Labels(drawn[1], scale=scan.scale[1:]))
        np.testing.assert_array_equal(
            found.scan.to_layer(hand_mask_of(viewer, of_frame, Ground.of_found(found), "drawn").labels),
            drawn[1],
        )


def test_correct_makes_a_copy_to_paint_in(qtbot, ready, viewer):
    find_planted(qtbot, ready)
    _, mask = overlays(viewer)
    ready.finder.set_ticked([ready.finder.result.regions[0]], False)
    click(qtbot, ready.result.edit_button)
    layer = viewer.layers.selection.active
    assert isinstance(layer, Labels)
    assert layer.name.endswith("· corrected")
    assert layer.mode == "paint"
    assert not mask.visible
    assert mask.data.any()
    np.testing.assert_array_equal(layer.data, mask.data)
    np.testing.assert_array_equal(layer.extent.world, ready.scan.layer.extent.world)
    before = mask.data.copy()
    layer.paint((10, 24, 24), 0)
    layer.paint((3, 5, 5), 2)
    np.testing.assert_array_equal(mask.data, before)
    assert not np.array_equal(layer.get_color(1), layer.get_color(2))
    ready.finder.set_rate(0.02)
    assert layer.data[3, 5, 5] == 2
    assert ready.scan.layer is not layer


def test_the_mask_that_is_corrected_stays_hidden_when_something_is_found(qtbot, ready, viewer):
    find(qtbot, ready)
    heatmap, mask = overlays(viewer)
    click(qtbot, ready.result.edit_button)
    corrected = viewer.layers.selection.active
    for button in (ready.find.slice_button, ready.find.scan_button):
        heatmap.visible = False
        find(qtbot, ready, button)
        assert heatmap in viewer.layers and mask in viewer.layers
        assert heatmap.visible
        assert not mask.visible
    corrected.visible = False
    find(qtbot, ready, ready.find.slice_button)
    assert mask.visible, "no copy is seen in its place"


def test_what_is_painted_stays_above_what_is_found(qtbot, ready, viewer):
    click(qtbot, ready.masks.draw_button)
    drawn = viewer.layers.selection.active
    find(qtbot, ready, ready.find.slice_button)
    heatmap, mask = (layer for layer in viewer.layers if is_kept_by_plugin(layer))
    assert list(viewer.layers) == [ready.scan.layer, heatmap, mask, drawn]
    click(qtbot, ready.result.edit_button)
    corrected = viewer.layers.selection.active
    find(qtbot, ready, ready.find.slice_button)
    assert list(viewer.layers) == [ready.scan.layer, heatmap, mask, drawn, corrected]


def assert_nothing_scrolls(qtbot, dialog):
    """In the style of the viewer parts are higher, and what scrolls has a frame."""
    qtbot.waitExposed(dialog)
    column = dialog.findChild(ScrolledColumn)
    at_rest(qtbot, lambda: (dialog.size(), column.verticalScrollBar().maximum()))
    assert column.verticalScrollBar().maximum() == 0
    assert column.viewport().height() == column.content.sizeHint().height(), "nor is there room for nothing"


def test_the_dialog_offers_the_selected_layer_and_what_can_be_written_of_it(qtbot, ready, viewer, tmp_path):
    find(qtbot, ready)
    click(qtbot, ready.result.export_button)
    dialog = ready.result.export_dialog
    assert [dialog.masks.itemText(i) for i in range(dialog.masks.count())] == ["found regions"]
    assert dialog.by_hand is None
    assert dialog.makings.isHidden()
    assert_nothing_scrolls(qtbot, dialog)
    dialog.reject()

    viewer.layers.selection.active = ready.scan.layer
    viewer.add_labels(np.zeros((3, 3, 3), np.uint8), name="elsewhere", translate=(0.3, 0.3, 0.3))
    click(qtbot, ready.result.edit_button)
    click(qtbot, ready.result.export_button)
    dialog = ready.result.export_dialog
    assert dialog.by_hand.layer is viewer.layers.selection.active
    assert dialog.making == "corrected"
    assert not dialog.makings.isHidden()
    assert_nothing_scrolls(qtbot, dialog)
    assert "map" not in dialog.outputs
    assert dialog.choices["map"].isHidden()
    assert "without probabilities" in dialog.regions.text()
    row = dialog.masks.findText("“elsewhere” (not on the scan’s voxels)")
    assert not dialog.masks.model().item(row).isEnabled()
    ready.result._show_export()
    assert "without probabilities" in dialog.regions.text()
    dialog.masks.setCurrentIndex(0)
    assert "map" in dialog.outputs
    assert "without" not in dialog.regions.text()
    dialog.reject()


def test_what_was_drawn_before_is_not_taken_for_the_result(qtbot, ready, viewer, tmp_path):
    """It stays selected when something was found, and is exported by “Export mask…”."""
    click(qtbot, ready.masks.draw_button)
    drawn = viewer.layers.selection.active
    find(qtbot, ready)
    assert viewer.layers.selection.active is drawn
    click(qtbot, ready.result.export_button)
    dialog = ready.result.export_dialog
    assert dialog.windowTitle() == "Export result"
    assert dialog.by_hand is None
    assert "map" in dialog.outputs
    dialog.reject()
    click(qtbot, ready.masks.export_button)
    dialog = ready.masks.export_dialog
    assert dialog.windowTitle() == "Export mask"
    assert dialog.by_hand.layer is drawn
    dialog.reject()


def test_how_a_mask_from_a_file_was_made_must_be_said(qtbot, ready, viewer, tmp_path):
    """It may be of a person or of any program: the files must not claim what nobody has said."""
    find_planted(qtbot, ready)
    with qtbot.waitSignal(ready.result.exporter.finished, timeout=TIMEOUT_MS):
        ready.result.export(tmp_path, ("mask",))
    (opened,) = viewer.open(str(tmp_path / "patient_bright_mask.nii.gz"), plugin="napari-dinoad")
    drawn = viewer.add_layer(labels_like(ready.scan.layer, name="mine"))
    viewer.layers.selection.active = opened
    click(qtbot, ready.result.export_button)
    dialog = ready.result.export_dialog
    save = dialog.buttons.button(dialog.buttons.StandardButton.Save)
    dialog.folder.value = tmp_path / "out"
    assert dialog.by_hand is None, "it is selected because it was opened"
    dialog.masks.setCurrentIndex(dialog.masks.findText("“patient_bright_mask”"))
    assert dialog.by_hand.layer is opened
    assert dialog.making is None
    assert not save.isEnabled()
    assert "Choose how this mask was made" in dialog.note.text()
    dialog.makings.setCurrentIndex(1)
    assert dialog.making == "drawn"
    assert save.isEnabled()
    dialog.masks.setCurrentIndex(0)
    assert save.isEnabled()
    dialog.masks.setCurrentIndex(dialog.masks.findText("“mine”"))
    assert dialog.by_hand.layer is drawn
    assert dialog.making == "drawn"
    dialog.masks.setCurrentIndex(dialog.masks.findText("“patient_bright_mask”"))
    assert not save.isEnabled()
    with qtbot.waitSignal(dialog.finished):
        dialog.reject()


def test_the_outputs_of_a_mask_by_hand_alone_count(qtbot):
    """Where only the map was ticked there is nothing to write of it."""
    one = HandLayer(Labels(np.zeros((2, 2), np.uint8), name="drawn"), "drawn")
    dialog = ExportDialog(scan_volume(), None, None, [one], one)
    qtbot.addWidget(dialog)
    dialog.folder.value = "/somewhere"
    for key, box in dialog.choices.items():
        box.setChecked(key == "map")
    assert dialog.outputs == ()
    assert "Choose what to export" in dialog.note.text()
    assert not dialog.buttons.button(dialog.buttons.StandardButton.Save).isEnabled()
    dialog.masks.setCurrentIndex(0)
    assert dialog.outputs == ("map",)
    assert dialog.buttons.button(dialog.buttons.StandardButton.Save).isEnabled()
    dialog.masks.setCurrentIndex(1)
    assert dialog.making == "drawn"


def test_a_nifti_scan_and_its_corrected_mask_have_one_grid(qtbot, ready, viewer, tmp_path, patient):
    find_planted(qtbot, ready)
    with qtbot.waitSignal(ready.result.exporter.finished, timeout=TIMEOUT_MS):
        ready.result.export(tmp_path, ("mask",))
    click(qtbot, ready.result.edit_button)
    layer = viewer.layers.selection.active
    layer.paint((3, 5, 5), 1)
    export_in_dialog(qtbot, ready, tmp_path, ("mask", "report"), viewer.layers.selection.active)
    image = nib.load(tmp_path / "patient_bright_by_hand_mask.nii.gz")
    assert np.array_equal(image.affine, nib.load(patient).affine)
    np.testing.assert_array_equal(
        ready.finder.result.volume.geometry.to_canonical(np.asarray(image.dataobj)), layer.data
    )
    found = nib.load(tmp_path / "patient_bright_mask.nii.gz")
    assert np.count_nonzero(found.get_fdata()) < np.count_nonzero(image.get_fdata())
    document = json.loads((tmp_path / "patient_bright_by_hand_report.json").read_text())
    assert document["mask"] == "Corrected by hand"
    assert document["corrected_model"]["scorer"] == "memory-bank"
    assert "p_value" not in document


@pytest.mark.parametrize(("making", "kind"), [("corrected", "SEMIAUTOMATIC"), ("drawn", "MANUAL")])
def test_a_dicom_study_gets_a_segmentation_by_hand(qtbot, dock, viewer, model_path, tmp_path, making, kind):
    save_dicom_head(tmp_path / "study", 3, lesion=True)
    (scan,) = viewer.open(str(tmp_path / "study"), plugin="napari-dinoad")
    dock.normal.choose(model_path)
    find(qtbot, dock)
    if making == "corrected":
        click(qtbot, dock.result.edit_button)
        layer = viewer.layers.selection.active
    else:
        layer = viewer.add_layer(labels_like(scan, name="mine"))
    layer.data[...] = 0
    layer.data[4, 6:9, 3:5] = 1
    layer.data[7, 2, 3] = 2
    assert export_in_dialog(qtbot, dock, tmp_path / "out", ("seg", "mask"), layer, segments=1) == making
    (path,) = (tmp_path / "out").glob("*_by_hand_seg.dcm")
    seg = highdicom.seg.segread(path)
    assert {segment.SegmentAlgorithmType for segment in pydicom.dcmread(path).SegmentSequence} == {kind}
    assert seg.number_of_segments == 2
    volume = read_volume(tmp_path / "study")
    for number in (1, 2):
        theirs = seg.get_volume(segment_numbers=[number])
        places = nib.affines.apply_affine(theirs.get_affine("RAS"), np.argwhere(theirs.array)[:, :3])
        ours = [volume.geometry.canonical_to_world(index) for index in np.argwhere(layer.data == number)]
        np.testing.assert_allclose(np.sort(places, axis=0), np.sort(ours, axis=0), atol=1e-3)
    (again,) = viewer.open(str(path), plugin="napari-dinoad")
    np.testing.assert_array_equal(again.data, layer.data)
    np.testing.assert_allclose(again.extent.world, layer.extent.world, atol=1e-4)


def export_in_dialog(qtbot, dock, folder, outputs, layer, segments=0):
    """Export a layer through the dialog, which opens with it where it is a correction; return how it was made."""
    click(qtbot, dock.result.export_button)
    dialog = dock.result.export_dialog
    is_correction = layer.name.endswith("· corrected")
    assert (dialog.by_hand is not None and dialog.by_hand.layer is layer) == is_correction
    dialog.masks.setCurrentIndex(dialog.masks.findText(f"“{layer.name}”"))
    making = dialog.making
    save_in_dialog(qtbot, dialog, dock.result.exporter, folder, outputs, segments)
    assert dock.result.export_note.text().startswith("Written into")
    return making


def test_a_fault_of_the_layer_is_told_in_one_line(qtbot, ready, viewer, tmp_path):
    find(qtbot, ready)
    layer = viewer.add_layer(labels_like(ready.scan.layer))
    click(qtbot, ready.result.export_button)
    dialog = ready.result.export_dialog
    dialog.masks.setCurrentIndex(1)
    layer.translate = (0, 0, 0.4)
    dialog.folder.value = tmp_path / "out"
    click(qtbot, dialog.buttons.button(dialog.buttons.StandardButton.Save))
    assert "its voxels are not those of the scan" in ready.result.export_note.text()
    assert not (tmp_path / "out").exists()
    assert isinstance(ready.scan.layer, Image)


def test_the_copy_of_a_series_names_its_frame(qtbot, dock, viewer, model_path, patient):
    values = nib.load(patient).get_fdata(dtype=np.float32).transpose(2, 1, 0)[::-1, ::-1, ::-1]
    viewer.add_image(np.stack([values * 0 + 1, values]), scale=(1, 9, 3, 3), name="series")
    viewer.dims.set_current_step(0, 1)
    dock.normal.choose(model_path)
    find(qtbot, dock, dock.find.slice_button)
    click(qtbot, dock.result.edit_button)
    assert viewer.layers.selection.active.name == "series · frame 1 · corrected"


def test_a_mask_by_hand_is_seen_over_its_own_frame_only(qtbot, dock, viewer, model_path, patient):
    values = read_volume(patient).values
    scan = viewer.add_image(np.stack([values, values[::-1]]), name="series", scale=(1, 2.5, 2.5, 2.5))
    dock.normal.choose(model_path)
    viewer.dims.set_point(0, 1)
    click(qtbot, dock.masks.draw_button)
    drawn = viewer.layers.selection.active
    find(qtbot, dock, dock.find.slice_button)
    click(qtbot, dock.result.edit_button)
    corrected = viewer.layers.selection.active
    viewer.dims.set_point(0, 0)
    qtbot.waitUntil(lambda: not drawn.visible and not corrected.visible)
    click(qtbot, dock.masks.draw_button)
    of_first = viewer.layers.selection.active
    of_first.visible = False
    viewer.dims.set_point(0, 1)
    qtbot.waitUntil(lambda: drawn.visible and corrected.visible)
    viewer.dims.set_point(0, 0)
    qtbot.waitUntil(lambda: not drawn.visible)
    assert not of_first.visible, "what the user hid stays hidden"
    viewer.dims.set_point(1, 20.0)
    assert scan.visible
