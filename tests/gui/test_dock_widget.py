"""The dock widget in a real viewer, driven through its widgets."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from copy import deepcopy
from dataclasses import replace

import highdicom
import nibabel as nib
import numpy as np
import pytest
from napari.layers import Labels, Layer
from napari.settings import get_settings
from napari.utils.progress import progress
from qtpy.QtCore import QEvent, QMimeData, QPointF, Qt, QThreadPool, QUrl
from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtWidgets import QApplication, QPushButton, QScrollArea, QWidget

from dock_driver import TIMEOUT_MS, click, find, find_planted, overlays, show_again
from napari_dinoad import NormativeModel
from napari_dinoad.gui.find.result import Measurement
from napari_dinoad.gui.viewer.layers import same_layer
from napari_dinoad.gui.work import processes
from napari_dinoad.gui.work.jobs import SlicesScored
from napari_dinoad.normative_model.cohort_norms import CohortNorms, FigureNorm
from napari_dinoad.settings import HEATMAP_LIMITS, DetectSettings
from patience import at_rest
from small_heads import save_dicom_head


def test_says_what_is_missing(dock, viewer, patient, model_path):
    assert not dock.find.scan_button.isEnabled()
    assert "a scan and a model" in dock.find.note.text()
    assert dock.result.isHidden()
    viewer.open(str(patient), plugin="napari-dinoad")
    assert dock.scan.layer is not None
    assert "a model of normal first" in dock.find.note.text()
    dock.normal.choose(model_path)
    assert dock.find.scan_button.isEnabled()
    assert dock.find.note.text() == ""
    assert "mr-brain" in dock.normal.about.text()
    assert "4 normal scans" in dock.normal.about.text()


def test_finding_adds_heatmap_and_mask_that_line_up(qtbot, ready, viewer):
    find(qtbot, ready)
    scan = ready.scan.layer
    heatmap, mask = overlays(viewer)
    for overlay in (heatmap, mask):
        assert np.array_equal(overlay.affine.affine_matrix, scan.affine.affine_matrix)
        assert overlay.units == scan.units
        assert overlay.axis_labels == scan.axis_labels
        assert overlay.data.shape == scan.data.shape
    assert tuple(heatmap.contrast_limits) == HEATMAP_LIMITS
    assert heatmap.colorbar.visible
    assert mask.contour == 1
    result = ready.finder.result
    assert np.array_equal(mask.data > 0, heatmap.data >= np.float32(2))
    assert result.scored.any()
    assert len(result.regions) == ready.result.table.topLevelItemCount()
    assert "normal scans" in ready.result.scan_words.text()
    assert "p\u00a0=\u00a0" in ready.result.scan_words.text()
    assert [layer for layer in ready.scan.layers.choices if layer is not None] == [scan]


def test_the_colour_bar_is_titled_while_there_is_a_heatmap(qtbot, ready, viewer):
    if not hasattr(viewer, "canvas"):
        pytest.skip("napari before 0.9 shows no text of plugins on its canvas")
    find(qtbot, ready, ready.find.slice_button)
    title = viewer.canvas.overlays["dinoad_colour_bar"]
    assert title.visible
    assert title.text == "how rare\n(−log10 p)"
    heatmap = overlays(viewer)[0]
    heatmap.visible = False
    assert not title.visible
    heatmap.visible = True
    assert title.visible
    viewer.layers.remove(overlays(viewer)[0])
    assert not title.visible


def test_same_as_the_command_line_would_find(qtbot, ready, patient, model_path):
    from napari_dinoad.images.readers import read_volume
    from napari_dinoad.normative_model.model import NormativeModel
    from napari_dinoad.pipeline import detect

    find(qtbot, ready)
    expected = detect(read_volume(patient), NormativeModel.load(model_path))
    np.testing.assert_allclose(ready.finder.result.values, expected.anomaly_map.values, atol=1e-4)
    assert ready.finder.result.outcome.p_value == expected.p_value


def test_finding_takes_the_process_that_gets_ready(qtbot, ready, model_path, monkeypatch):
    qtbot.waitUntil(lambda: not ready.finder.preparation.runner.is_running, timeout=TIMEOUT_MS)
    used = []
    borrow = processes.pool.borrow

    def noted():
        used.append(borrow())
        return used[-1]

    monkeypatch.setattr(processes.pool, "borrow", noted)
    ready.finder.preparation.start(ready.scan.layer, model_path, DetectSettings(device="cpu"))
    qtbot.waitUntil(lambda: len(used) == 1, timeout=TIMEOUT_MS)
    find(qtbot, ready)
    assert len(used) >= 2
    assert used[1] is used[0]


def test_the_scan_that_was_got_ready_is_that_of_the_result(qtbot, ready, monkeypatch):
    """A large one would be in the window's memory twice, beside its layer."""
    qtbot.waitUntil(lambda: not ready.finder.preparation.runner.is_running, timeout=TIMEOUT_MS)
    kept = []
    give_back = processes.pool.give_back
    monkeypatch.setattr(processes.pool, "give_back", lambda one: (kept.append(one), give_back(one)))
    find(qtbot, ready)
    values = ready.finder.result.volume.values
    assert kept[0].notes["volume"].values is values
    assert not np.shares_memory(values, ready.scan.layer.data)


def test_nothing_is_got_ready_beside_finding_nor_again_what_was_found(qtbot, ready, gate):
    """A second process would load everything again, and take the place of the one that holds the scan."""
    is_preparing = lambda: ready.finder.preparation.runner.is_running  # noqa: E731
    with qtbot.waitSignal(ready.finder.map_changed, timeout=TIMEOUT_MS):
        click(qtbot, ready.find.scan_button)
    qtbot.waitUntil(lambda: not is_preparing(), timeout=TIMEOUT_MS)
    # As when layers change places: what is ready is looked at anew.
    ready.readiness._prepare.timeout.emit()
    assert not is_preparing()
    with qtbot.waitSignal(ready.finder.runner.finished, timeout=TIMEOUT_MS):
        gate.set()
    ready.readiness._prepare.timeout.emit()
    assert not is_preparing()


def test_slice_alone(qtbot, ready, viewer):
    z = 9
    viewer.dims.point = tuple(ready.scan.layer.data_to_world((z, 0, 0)))
    find(qtbot, ready, ready.find.slice_button)
    result = ready.finder.result
    assert np.flatnonzero(result.scored).tolist() == [z]
    assert "no statement about the whole scan" in ready.result.scan_words.text()
    find(qtbot, ready)
    assert result is ready.finder.result
    assert result.scored.sum() > 1
    assert "p\u00a0=\u00a0" in ready.result.scan_words.text()


def test_slice_outside_the_body_is_no_error(qtbot, ready, viewer, notifications):
    layer = ready.scan.layer
    data = np.array(layer.data)
    data[0] = 0
    layer.data = data
    viewer.dims.point = tuple(layer.data_to_world((0, 0, 0)))
    find(qtbot, ready, ready.find.slice_button)
    assert notifications == []
    assert ready.find.note.text() == ""
    assert ready.finder.result.scored[0]
    assert not ready.finder.result.values.any()


def test_shown_slice_comes_first_then_outwards(qtbot, ready, viewer):
    order = []
    z = 12
    viewer.dims.point = tuple(ready.scan.layer.data_to_world((z, 0, 0)))
    ready.finder.runner.delivered.connect(lambda item: order.extend(getattr(item, "indices", ())))
    find(qtbot, ready)
    assert order[0] == z
    distances = [abs(index - z) for index in order]
    assert distances == sorted(distances)


def test_slider_moves_the_mask_at_once_and_the_regions_follow(qtbot, ready, viewer):
    find_planted(qtbot, ready)
    heatmap, mask = overlays(viewer)
    before = len(ready.finder.result.regions)
    with qtbot.waitSignal(ready.finder.regions_changed, timeout=TIMEOUT_MS):
        ready.result.rate.slider.setValue(3.0)
        assert np.array_equal(mask.data > 0, heatmap.data >= np.float32(3))
        assert ready.result.rate.value_label.text() == "0.1 %"
    qtbot.waitUntil(lambda: ready.finder.result.is_measured, timeout=TIMEOUT_MS)
    assert before == 3
    assert [round(region.peak_neg_log10_p, 1) for region in ready.finder.result.regions] == [4.2, 3.6]


def test_region_click_jumps_to_its_peak(qtbot, ready, viewer):
    find_planted(qtbot, ready)
    table = ready.result.table
    for row in (0, table.topLevelItemCount() - 1):
        item = table.topLevelItem(row)
        table.scrollToItem(item)
        table.setCurrentItem(item)
        region = ready.finder.result.regions[row]
        index = ready.scan.layer.world_to_data(viewer.dims.point)
        assert round(index[0]) == region.peak_zyx[0]


def test_what_is_said_of_the_regions_is_seen_whole(qtbot, ready, viewer):
    viewer.window._qt_window.show()
    find_planted(qtbot, ready)
    ready.result.table.topLevelItem(0).setCheckState(0, Qt.CheckState.Unchecked)
    summary = ready.result.summary
    assert summary.text() == "2 of 3 regions ticked; 3 beyond all 4 normal scans."
    qtbot.waitUntil(lambda: summary.height() >= summary.heightForWidth(summary.width()))
    for part in summary.text().split("; "):
        assert summary.fontMetrics().horizontalAdvance(part) <= summary.width()


def test_unticked_region_leaves_the_mask_and_the_export(qtbot, ready, viewer, tmp_path, patient):
    find_planted(qtbot, ready)
    result, table = ready.finder.result, ready.result.table
    _, mask = overlays(viewer)
    gone, kept = result.regions[0], result.regions[1]
    table.topLevelItem(0).setCheckState(0, Qt.CheckState.Unchecked)
    assert mask.data[gone.peak_zyx] == 0
    assert mask.data[kept.peak_zyx] == 1
    assert f"{len(result.regions) - 1} of {len(result.regions)}" in ready.result.summary.text()
    with qtbot.waitSignal(ready.result.exporter.finished, timeout=TIMEOUT_MS):
        ready.result.export(tmp_path / "out", ("map", "mask", "regions", "report"))
    names = {path.name for path in (tmp_path / "out").iterdir()}
    stem = "patient_bright"
    assert names == {
        f"{stem}_{what}"
        for what in ("mask.nii.gz", "anomaly.nii.gz", "regions.csv", "report.json", "report.html")
    }
    exported = nib.load(tmp_path / "out" / f"{stem}_mask.nii.gz")
    source = nib.load(patient)
    assert np.array_equal(exported.affine, source.affine)
    assert exported.shape == source.shape
    geometry = result.volume.geometry
    stored = np.asarray(exported.dataobj)
    np.testing.assert_array_equal(geometry.to_canonical(stored), mask.data)
    lines = (tmp_path / "out" / f"{stem}_regions.csv").read_text().splitlines()
    assert len(lines) == len(result.regions)  # a header and all regions but one
    table.topLevelItem(0).setCheckState(0, Qt.CheckState.Checked)
    assert mask.data[gone.peak_zyx] == 1


def test_what_was_written_is_in_sight_on_a_small_screen(qtbot, ready, viewer, tmp_path):
    find_planted(qtbot, ready)
    viewer.show()
    viewer.window.resize(1280, 520)
    with qtbot.waitSignal(ready.result.exporter.finished, timeout=TIMEOUT_MS):
        ready.result.export(tmp_path, ("mask",))
    note, shown = ready.result.export_note, ready.findChild(QScrollArea).viewport()
    assert "Written into" in note.text()
    qtbot.waitUntil(lambda: shown.rect().contains(note.mapTo(shown, note.rect().bottomLeft())))


def test_a_file_that_is_no_model_leaves_the_chosen_one(ready, tmp_path, model_path):
    told = ready.normal.about.text()
    (tmp_path / "letter.dinoad").write_text("Dear colleague")
    ready.normal.choose(tmp_path / "letter.dinoad")
    assert "not a model" in ready.normal.fault.text()
    assert ready.normal.model.path == model_path
    assert ready.normal.about.text() == told
    ready.normal.choose(model_path)
    assert ready.normal.fault.text() == ""


def test_unticked_region_stays_unticked_when_the_mask_moves(qtbot, ready, viewer):
    find_planted(qtbot, ready)
    peak = ready.finder.result.regions[0].peak_zyx
    ready.result.table.topLevelItem(0).setCheckState(0, Qt.CheckState.Unchecked)
    with qtbot.waitSignal(ready.finder.regions_changed, timeout=TIMEOUT_MS):
        ready.result.rate.slider.setValue(2.5)
    qtbot.waitUntil(lambda: ready.finder.result.is_measured, timeout=TIMEOUT_MS)
    item = ready.result.table.topLevelItem(0)
    assert ready.finder.result.regions[0].peak_zyx == peak
    assert item.checkState(0) == Qt.CheckState.Unchecked
    _, mask = overlays(viewer)
    assert mask.data[peak] == 0


def test_save_selected_layers_writes_the_mask_on_the_scans_grid(qtbot, ready, viewer, tmp_path, patient):
    find_planted(qtbot, ready)
    _, mask = overlays(viewer)
    out = tmp_path / "mask.nii.gz"
    viewer.layers.selection = {mask}
    assert viewer.layers.save(str(out), selected=True, plugin="napari-dinoad") == [str(out)]
    image = nib.load(out)
    assert np.array_equal(image.affine, nib.load(patient).affine)
    np.testing.assert_array_equal(
        ready.finder.result.volume.geometry.to_canonical(np.asarray(image.dataobj)), mask.data
    )


@pytest.mark.filterwarnings("ignore:Contours are not displayed")
@pytest.mark.parametrize("stored", [True, False])
def test_the_mask_is_not_painted_in_but_copies_of_it_are(qtbot, ready, viewer, tmp_path, stored):
    """What is painted in the mask itself would be drawn over, and not be exported."""
    if not stored:
        viewer.add_image(np.asfortranarray(ready.scan.layer.data).astype(np.float64), units="mm")
    find_planted(qtbot, ready)
    _, mask = overlays(viewer)
    before = mask.data.copy()
    viewer.layers.selection.active = mask
    mask.mode = "paint"
    assert mask.mode == "pan_zoom"
    viewer.dims.ndisplay = 3
    viewer.dims.ndisplay = 2
    ready.finder.set_rate(0.02)
    ready.finder.set_rate(0.01)
    assert not mask.editable
    np.testing.assert_array_equal(mask.data, before)

    data, arguments, kind = mask.as_layer_data_tuple()
    copy = viewer.add_layer(Layer.create(deepcopy(data), arguments, kind))
    copy.mode = "paint"
    copy.paint((1, 2, 3), 1)
    (out,) = viewer.layers.save(str(tmp_path / "copy.nii.gz"), selected=True, plugin="napari-dinoad")
    (again,) = viewer.open(out, plugin="napari-dinoad")
    places = [
        np.sort([layer.data_to_world(index) for index in np.argwhere(layer.data)], axis=0)
        for layer in (again, copy)
    ]
    np.testing.assert_allclose(*places, atol=1e-4)
    np.testing.assert_array_equal(mask.data, before)


def test_results_opened_from_files_are_no_scans_to_choose(qtbot, ready, viewer, tmp_path):
    find_planted(qtbot, ready)
    with qtbot.waitSignal(ready.result.exporter.finished, timeout=TIMEOUT_MS):
        ready.result.export(tmp_path, ("map", "mask"))
    scan = ready.scan.layer
    for path in sorted(tmp_path.glob("*.nii.gz")):
        viewer.open(str(path), plugin="napari-dinoad")
    assert ready.scan.layer is scan
    heatmap, mask = viewer.layers[-2:]
    assert isinstance(mask, Labels)
    np.testing.assert_array_equal(mask.data, ready.finder.result.mask)
    np.testing.assert_array_equal(mask.extent.world, scan.extent.world)
    assert heatmap.colorbar.visible
    assert mask.contour == 1


def test_cancel_keeps_what_is_done_and_the_next_run_gives_the_same(qtbot, ready, gate):
    runner = ready.finder.runner
    gate.set()
    find(qtbot, ready, ready.find.slice_button)
    shown = ready.finder.result.scored.copy()
    assert shown.sum() == 1
    alone = np.moveaxis(ready.finder.result.values, ready.finder.result.axis, 0)[shown].copy()
    gate.clear()
    cancelled = []
    runner.cancelled.connect(lambda: cancelled.append(True))

    def cancel():
        click(qtbot, ready.find.job.cancel_button)
        gate.set()

    ready.finder.map_changed.connect(cancel)
    find(qtbot, ready)
    assert cancelled
    partly = ready.finder.result.scored.copy()
    assert 0 < partly.sum() < len(partly)
    values = ready.finder.result.values.copy()
    assert "kept" in ready.find.note.text()
    assert ready.find.scan_button.isEnabled()
    assert ready.find.job.isHidden()
    ready.finder.map_changed.disconnect(cancel)
    find(qtbot, ready)
    whole = ready.finder.result.values
    assert ready.finder.result.scored.sum() > partly.sum()
    # What was in view is there before its neighbours: at first what it is for itself.
    assert partly[shown].all()
    before, after = (np.moveaxis(kept, ready.finder.result.axis, 0) for kept in (values, whole))
    np.testing.assert_array_equal(before[shown], alone)
    np.testing.assert_array_equal(before[partly & ~shown], after[partly & ~shown])


def test_removing_the_scan_stops_its_run(qtbot, ready, viewer, notifications, gate):
    layer = ready.scan.layer

    def remove():
        if layer in viewer.layers:
            viewer.layers.remove(layer)
        gate.set()

    ready.finder.map_changed.connect(remove)
    find(qtbot, ready)
    assert ready.finder.result is None
    assert ready.result.isHidden()
    assert ready.scan.layer is None
    assert notifications == []


def test_removing_an_overlay_forgets_the_result_and_finding_again_works(qtbot, ready, viewer):
    find(qtbot, ready)
    heatmap, _ = overlays(viewer)
    viewer.layers.remove(heatmap)
    assert ready.finder.result is None
    find(qtbot, ready)
    assert ready.finder.result is not None


def test_each_scan_keeps_its_own_result(qtbot, ready, viewer, cohort):
    find(qtbot, ready)
    first, first_result = ready.scan.layer, ready.finder.result
    (other,) = viewer.open(str(cohort.normal[0]), plugin="napari-dinoad")
    assert same_layer(ready.scan.layer, other)
    assert ready.finder.result is None
    find(qtbot, ready)
    assert ready.finder.result is not first_result
    ready.scan.choose(first)
    assert ready.finder.result is first_result


@pytest.mark.parametrize("kind", ["rgb", "grey2d", "dask", "zarr", "pyramid", "series", "foreign", "oblique"])
def test_layers_of_all_kinds(qtbot, dock, viewer, model_path, patient, kind):
    from napari_dinoad.phantom import make_patient, make_patient_slice

    values = nib.load(patient).get_fdata(dtype=np.float32).transpose(2, 1, 0)[::-1, ::-1, ::-1]
    picture = make_patient_slice(3, "bright").volume.values[0, ::4, ::4].astype(np.uint8)
    if kind == "rgb":
        layer = viewer.add_image(np.stack([picture] * 3, axis=-1), rgb=True)
    elif kind == "grey2d":
        layer = viewer.add_image(picture)
    elif kind == "dask":
        layer = viewer.add_image(
            pytest.importorskip("dask.array").from_array(values), scale=(9, 3, 3), units="mm"
        )
    elif kind == "zarr":
        zarr = pytest.importorskip("zarr")
        layer = viewer.add_image(zarr.array(values), scale=(9, 3, 3), contrast_limits=(0, 300))
    elif kind == "pyramid":
        levels = [values, values[:, ::2, ::2]]
        layer = viewer.add_image(levels, multiscale=True, scale=(9, 3, 3), contrast_limits=(0, 300))
    elif kind == "series":
        layer = viewer.add_image(np.stack([values * 0 + 1, values]), scale=(1, 9, 3, 3))
        viewer.dims.set_current_step(0, 1)
    elif kind == "oblique":
        from napari_dinoad.gui.viewer.layers import layer_of_volume

        volume = make_patient(3, "bright", (20, 64, 56), oblique_deg=15, orientation="PIR").volume
        array, arguments, _ = layer_of_volume(volume)
        layer = viewer.add_image(array, **arguments)
    else:
        layer = viewer.add_image(values, scale=(9, 3, 3))
    dock.scan.choose(layer)
    dock.normal.choose(model_path)
    find(qtbot, dock)
    assert dock.find.note.text() == ""
    assert dock.finder.result.values.max() > 0
    assert dock.finder.standing.departures == ()
    heatmap, mask = overlays(viewer)
    scan_shape = (layer.data[0] if kind == "pyramid" else layer.data).shape
    spatial = scan_shape[-3:] if kind not in ("rgb", "grey2d") else scan_shape[:2]
    assert heatmap.data.shape == tuple(spatial)
    assert mask.data.shape == tuple(spatial)
    index = tuple(n // 2 for n in heatmap.data.shape)
    own = (1, *index) if kind == "series" else index
    np.testing.assert_allclose(heatmap.data_to_world(index), layer.data_to_world(own)[-len(index) :])
    if kind != "oblique":
        assert dock.scan.assumed.text() or kind == "dask"
    if dock.finder.result.regions:
        ready_region = dock.finder.result.regions[0]
        dock.finder.jump_to_region(ready_region)
        shown = dock.finder.shown_slice()
        assert shown == ready_region.peak_zyx[dock.finder.result.axis]


def test_scan_without_signal_is_told_in_one_line(qtbot, dock, viewer, model_path, notifications):
    viewer.add_image(np.zeros((8, 32, 32)))
    dock.normal.choose(model_path)
    find(qtbot, dock)
    assert "no signal" in dock.find.note.text()
    assert notifications == []
    assert dock.find.scan_button.isEnabled()


def test_model_that_has_gone_is_told_in_one_line(qtbot, ready, notifications, tmp_path, model_path):
    copy = tmp_path / "gone.dinoad"
    copy.write_bytes(model_path.read_bytes())
    ready.normal.choose(copy)
    copy.unlink()
    find(qtbot, ready)
    assert "gone.dinoad" in ready.find.note.text()
    assert notifications == []


def test_file_that_is_no_model_is_told_in_one_line(dock, tmp_path):
    path = tmp_path / "no.dinoad"
    path.write_text("hello")
    dock.normal.choose(path)
    assert "not a model" in dock.normal.fault.text()
    assert dock.normal.model is None


def open_files(qtbot, dock, *paths):
    """Let files be chosen and wait until they are layers, or a choice is to be made."""
    n = len(dock._viewer.layers)
    dock.scan.files_chosen.emit(paths)
    qtbot.waitUntil(
        lambda: (
            (len(dock._viewer.layers) > n or dock.windows.chooser is not None) and not dock.opener.is_busy
        ),
        timeout=TIMEOUT_MS,
    )


def test_open_study_reads_in_the_background(qtbot, dock, viewer, patient, tmp_path):
    from PIL import Image as Picture

    picture = tmp_path / "photo.png"
    Picture.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(picture)
    open_files(qtbot, dock, patient, picture)
    assert [layer.name for layer in viewer.layers] == ["patient_bright", "photo"]
    assert same_layer(dock.scan.layer, viewer.layers[-1])
    dock.scan.files_chosen.emit((tmp_path / "none.nii",))
    qtbot.waitUntil(lambda: "none.nii" in dock.scan.fault.text(), timeout=TIMEOUT_MS)
    assert "none.nii" in dock.scan.fault.text()


def test_the_dock_can_be_as_narrow_as_what_is_in_it(qtbot, ready):
    """It wanted 300 px; napari's own docks and canvas take 590 of the 911 that a laptop has at a scale of 150 %."""
    find_planted(qtbot, ready)
    assert ready.minimumSizeHint().width() <= 250
    ready.window().show()
    ready.resize(ready.minimumSizeHint().width(), 500)
    content = ready._scroll.content
    qtbot.waitUntil(lambda: content.minimumSizeHint().width() <= ready._scroll.viewport().width())


def test_misfit_is_warned_of_before_finding(dock, viewer, model_path):
    rng = np.random.default_rng(0)
    ct = rng.normal(40, 10, (8, 32, 32))
    ct[:, :4] = -1000
    viewer.add_image(ct, scale=(9, 3, 3))
    dock.normal.choose(model_path)
    assert "looks like CT" in dock.normal.misfit.text()


def test_fits_a_screen_of_900_px(qtbot, ready, viewer):
    find(qtbot, ready)
    assert (
        viewer.window.add_plugin_dock_widget("napari-dinoad", "Find anomalies")[0].minimumSizeHint().height()
        < 500
    )
    ready.resize(330, 780)
    ready.show()
    assert ready.findChild(QScrollArea).widget().heightForWidth(330) < 780


@pytest.mark.parametrize("points", [9, 14, 20])
def test_nothing_is_cut_off_whatever_the_size_of_the_font(qtbot, ready, viewer, points):
    find(qtbot, ready)
    viewer.window.resize(1280, 720)
    viewer.show()
    appearance = get_settings().appearance
    before = appearance.font_size
    appearance.font_size = points
    try:
        shown = ready.findChild(QScrollArea).viewport()
        qtbot.waitUntil(lambda: ready.find.slice_button.fontInfo().pointSize() == points + 1)
        for button in (button for button in ready.findChildren(QPushButton) if button.isVisible()):
            qtbot.waitUntil(
                lambda button=button: (
                    button.mapTo(shown, button.rect().topRight()).x() < shown.width()
                    and button.width() >= button.sizeHint().width()
                )
            )
        assert ready.result.table.font().pointSize() >= points
    finally:
        appearance.font_size = before


def test_the_foot_of_the_dock_stays_in_sight_while_finding_on_a_small_laptop(qtbot, ready, viewer, gate):
    viewer.window.resize(1366, 768)
    viewer.show()
    click(qtbot, ready.find.scan_button)
    try:
        qtbot.waitUntil(lambda: ready.finder.result is not None, timeout=TIMEOUT_MS)
        qtbot.waitUntil(ready.find.job.isVisible)
        bar = ready.findChild(QScrollArea).verticalScrollBar()
        assert at_rest(qtbot, bar.maximum) == 0
    finally:
        gate.set()


def test_profile_click_goes_to_the_slice(qtbot, ready):
    find(qtbot, ready)
    plot = ready.result.profile
    plot.resize(200, 56)
    for x in (20, 100, 180):
        wanted = plot.slice_at(x)
        plot.slice_chosen.emit(wanted)
        assert ready.finder.shown_slice() == wanted


# napari says once that it has no outlines in 3D, before the plugin hears of the change.
@pytest.mark.filterwarnings("ignore:Contours are not displayed")
def test_dims_in_3d_have_no_outlines(qtbot, ready, viewer):
    find(qtbot, ready)
    _, mask = overlays(viewer)
    assert mask.contour == 1
    viewer.dims.ndisplay = 3
    assert mask.contour == 0
    viewer.dims.ndisplay = 2
    assert mask.contour == 1


def wait_for_workers(qtbot):
    qtbot.waitUntil(lambda: QThreadPool.globalInstance().waitForDone(20), timeout=TIMEOUT_MS)
    qtbot.wait(50)


def test_closing_the_viewer_in_a_run_ends_cleanly(
    qtbot, make_napari_viewer, own_folders, patient, model_path, gate, notifications
):
    bars = set(progress._all_instances)
    viewer = make_napari_viewer()
    _, dock = viewer.window.add_plugin_dock_widget("napari-dinoad", "Find anomalies")
    viewer.open(str(patient), plugin="napari-dinoad")
    dock.normal.choose(model_path)
    dock.find.scan_button.click()
    qtbot.waitUntil(lambda: dock.finder.result is not None, timeout=TIMEOUT_MS)
    viewer.close()
    dock = None
    gate.set()
    wait_for_workers(qtbot)
    assert set(progress._all_instances) == bars
    assert notifications == []


def test_closing_the_dock_stops_its_run_and_closes_its_windows_at_once(qtbot, ready, viewer, gate):
    """Whenever Python comes to deleting it: this test holds it all the time."""
    ready.windows.open_fit()
    ready.windows.open_help()
    click(qtbot, ready.find.scan_button)
    qtbot.waitUntil(lambda: ready.finder.result is not None, timeout=TIMEOUT_MS)
    ready.result.open_export()
    windows = (ready.windows.fit, ready.windows.help, ready.result.export_dialog)
    assert not any(window.isHidden() for window in windows)
    viewer.window.remove_dock_widget(ready.parent())
    assert all(window.isHidden() for window in windows[:2])
    assert ready.result.export_dialog is None
    gate.set()
    qtbot.waitUntil(lambda: not ready.finder.runner.is_running, timeout=TIMEOUT_MS)
    assert ready.finder.result is None


def test_closing_the_dock_in_a_run_ends_cleanly(
    qtbot, viewer, own_folders, patient, model_path, gate, notifications
):
    bars = set(progress._all_instances)
    window_dock, dock = viewer.window.add_plugin_dock_widget("napari-dinoad", "Find anomalies")
    viewer.open(str(patient), plugin="napari-dinoad")
    dock.normal.choose(model_path)
    dock.find.scan_button.click()
    qtbot.waitUntil(lambda: dock.finder.result is not None, timeout=TIMEOUT_MS)
    viewer.window.remove_dock_widget(window_dock)
    dock = window_dock = None
    gate.set()
    wait_for_workers(qtbot)
    assert set(progress._all_instances) == bars
    assert notifications == []


def test_layers_are_touched_on_the_main_thread_only(
    qtbot, make_napari_viewer_proxy, own_folders, patient, model_path, notifications
):
    from napari_dinoad.gui.dock_widget import DockWidget

    viewer = make_napari_viewer_proxy()
    dock = DockWidget(viewer)
    viewer.window.add_dock_widget(dock, name="DINOAD")
    viewer.open(str(patient), plugin="napari-dinoad")
    dock.normal.choose(model_path)
    dock.reset_choices()
    find(qtbot, dock)
    assert notifications == []
    assert dock.find.note.text() == ""
    assert dock.finder.result.scored.any()
    assert dock.finder.standing.departures == ()
    dock.finder.jump_to_slice(3)
    assert dock.finder.shown_slice() == 3
    viewer.window.remove_dock_widget(dock)


def test_no_widget_outlives_its_viewer(qtbot, make_napari_viewer, own_folders, patient, model_path):
    viewer = make_napari_viewer(strict_qt="raise")
    before = set(QApplication.topLevelWidgets())
    window_dock, dock = viewer.window.add_plugin_dock_widget("napari-dinoad", "Find anomalies")
    viewer.open(str(patient), plugin="napari-dinoad")
    dock.normal.choose(model_path)
    find(qtbot, dock)
    dock.windows.open_fit()
    click(qtbot, dock.help_button)
    assert dock.windows.help.isVisible()
    viewer.window.remove_dock_widget(window_dock)
    gone = weakref.ref(dock)
    dock = window_dock = None

    def is_gone():
        gc.collect()
        return gone() is None

    qtbot.waitUntil(is_gone, timeout=TIMEOUT_MS)
    left = {widget for widget in QApplication.topLevelWidgets() if widget not in before}
    assert not [widget for widget in left if type(widget).__module__.startswith("napari_dinoad")]


# PySide6 6.12 would have a QPointF, which PyQt6 does not take.
@pytest.mark.filterwarnings("ignore:Function. 'QDragEnterEvent:DeprecationWarning")
@pytest.mark.parametrize("part", ["scan", "normal", "help_button"])
def test_scans_and_models_can_be_dropped_anywhere_on_the_dock(qtbot, dock, viewer, patient, model_path, part):
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(path)) for path in (patient, model_path)])
    arguments = (Qt.DropAction.CopyAction, mime, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier)
    for event in (
        QDragEnterEvent(QPointF(5, 5).toPoint(), *arguments),
        QDropEvent(QPointF(5, 5), *arguments),
    ):
        QApplication.sendEvent(taker_of_drops(getattr(dock, part)), event)
        assert event.isAccepted()
    assert dock.normal.model.path == model_path
    qtbot.waitUntil(lambda: dock.scan.layer is not None, timeout=TIMEOUT_MS)
    assert dock.scan.layer.name == "patient_bright"
    assert not dock.scan.fault.text()


@pytest.mark.filterwarnings("ignore:Function. 'QDragEnterEvent:DeprecationWarning")
def test_a_model_that_is_dropped_on_a_canvas_is_chosen_in_that_window(
    qtbot, dock, make_napari_viewer, model_path
):
    """It was chosen in the window that was active last, which a drop from a file manager does not change."""
    _, other = make_napari_viewer().window.add_plugin_dock_widget("napari-dinoad", "Find anomalies")
    canvas = next(
        widget for widget in dock.window().centralWidget().findChildren(QWidget) if widget.acceptDrops()
    )
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(model_path))])
    arguments = (Qt.DropAction.CopyAction, mime, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier)
    QApplication.processEvents()
    # Without the first one Qt passes on no other.
    QApplication.sendEvent(canvas, QDragEnterEvent(QPointF(5, 5).toPoint(), *arguments))
    QApplication.sendEvent(canvas, QDropEvent(QPointF(5, 5), *arguments))
    assert dock.normal.model.path == model_path
    assert other.normal.model is None


def test_a_model_that_is_opened_as_a_study_is_chosen(dock, model_path):
    dock.open_files((model_path,))
    assert dock.normal.model.path == model_path
    assert not dock.opener.is_busy
    assert not dock.scan.fault.text()


def taker_of_drops(widget):
    """Return the widget that gets what is dropped on another: the innermost around it that takes drops, as in Qt."""
    while not widget.acceptDrops():
        widget = widget.parent()
    return widget


def test_the_windows_process_needs_no_torch(patient, model_path, tmp_path):
    """Finding is the worker process's work: importing torch would freeze the window for seconds."""
    code = f"""
import sys
from pathlib import Path
from napari_dinoad.gui.viewer.layers import scan_of_layer, layer_of_volume
from napari_dinoad.gui.find.scan_jobs import DetectJob
from napari_dinoad.gui.work.worker import JobChannel
from napari_dinoad.images.readers import read_volume
from napari_dinoad.settings import DetectSettings
import napari.layers
array, arguments, kind = layer_of_volume(read_volume({str(patient)!r}))
layer = napari.layers.Image(array, **arguments)
items = []
scan, settings = scan_of_layer(layer, (0, 0, 0)), DetectSettings(device="cpu")
job = DetectJob(scan, Path({str(model_path)!r}), settings, (9, 9, 9), True)
job(JobChannel(lambda event: None, items.append))
assert [type(item).__name__ for item in items] == ["ScanRead", "SlicesScored"], items
assert "torch" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_folder_with_several_scans_lets_choose(qtbot, dock, viewer, cohort):
    open_files(qtbot, dock, cohort.normal_folder)
    chooser = dock.windows.chooser
    assert chooser.list.topLevelItemCount() == 4
    assert chooser.list.topLevelItem(0).text(2) == "56 × 64 × 20"
    chooser.list.clearSelection()
    chooser.list.topLevelItem(2).setSelected(True)
    click(qtbot, chooser.buttons.button(chooser.buttons.StandardButton.Open))
    qtbot.waitUntil(lambda: len(viewer.layers) == 1, timeout=TIMEOUT_MS)
    assert viewer.layers[0].name == cohort.normal[2].name.removesuffix(".nii.gz")


@pytest.mark.parametrize("scan_first", [True, False])
def test_a_part_of_an_oblique_scan_is_shown_on_it(dock, viewer, scan_first):
    """Masks of other programs leave out empty slices, and oblique scans are shown de-obliqued."""
    from napari_dinoad.gui.viewer.layers import layer_of_volume
    from napari_dinoad.gui.viewer.looks import as_saved_result
    from napari_dinoad.images.volume import Geometry, Volume

    affine = np.array([[0.96, -0.28, 0, -5.0], [0.28, 0.96, 0, 3.0], [0, 0, 2.0, 1.0], [0, 0, 0, 1]])
    values = np.random.default_rng(0).random((7, 6, 5)).astype(np.float32)
    scan = layer_of_volume(Volume(values, Geometry((5, 6, 7), affine)))
    part = affine.copy()
    part[:3, 3] = affine[:3] @ [1, 2, 3, 1]
    mask = Volume(np.ones((4, 3, 2), np.float32), Geometry((2, 3, 4), part), "mask")
    values, arguments, _ = layer_of_volume(mask)
    result = as_saved_result(values, arguments, "mask")
    for layer in (scan, result) if scan_first else (result, scan):
        viewer.add_layer(Layer.create(*layer))
    shown = viewer.layers["scan"].world_to_data(viewer.layers["mask"].data_to_world((0, 0, 0)))
    np.testing.assert_allclose(shown, (3, 2, 1), atol=1e-6)


def test_uneven_series_offers_to_be_resampled(qtbot, dock, monkeypatch):
    from pathlib import Path

    from napari_dinoad.errors import ScanReadError
    from napari_dinoad.gui import reader
    from napari_dinoad.gui.viewer.layers import layer_of_volume
    from napari_dinoad.images.dicom.reader import RESAMPLE_HINT
    from napari_dinoad.images.scan_file import ScanFile
    from napari_dinoad.phantom import make_normal

    def read(scan, *, resample):
        if not resample:
            raise ScanReadError(f"series 3: uneven gaps. {RESAMPLE_HINT}, or export the series again.")
        return [layer_of_volume(make_normal(5, (8, 32, 28)))]

    monkeypatch.setattr(reader, "read_layers", read)
    monkeypatch.setattr(reader, "scans_at", lambda path, progress: (ScanFile.of_file(path),))
    dock.scan.files_chosen.emit((Path("series"),))
    qtbot.waitUntil(lambda: not dock.scan.resample_button.isHidden(), timeout=TIMEOUT_MS)
    assert "uneven gaps" in dock.scan.fault.text()
    assert "--" not in dock.scan.fault.text()
    click(qtbot, dock.scan.resample_button)
    qtbot.waitUntil(lambda: dock.scan.layer is not None, timeout=TIMEOUT_MS)
    assert dock.scan.resample_button.isHidden()


@pytest.mark.parametrize("shape", [(24, 32), (1, 24, 32)])
def test_a_slice_alone_is_offered_of_volumes_only(dock, viewer, shape):
    button, whole = dock.find.scan_button, "Find in whole scan"
    assert not dock.find.slice_button.isHidden()
    assert button.text() == whole and "slice in view first" in button.toolTip()
    rng = np.random.default_rng(0)
    image = viewer.add_image(rng.random(shape))
    dock.scan.choose(image)
    assert dock.find.slice_button.isHidden()
    assert button.text() == "Find in image" and "slice" not in button.toolTip()
    assert button.shortcut().toString() == "Ctrl+Return"
    volume = viewer.add_image(rng.random((4, 24, 32)))
    dock.scan.choose(volume)
    assert not dock.find.slice_button.isHidden()
    assert button.text() == whole and button.shortcut().toString() == "Ctrl+Return"
    dock.scan.choose(image)
    assert dock.find.slice_button.isHidden()


def test_explaining_follows_the_slice_and_goes_when_it_ends(qtbot, ready, viewer):
    find(qtbot, ready)
    n = len(viewer.layers)
    ready.finder.jump_to_slice(9)
    ready.result.explain_box.click()
    qtbot.waitUntil(lambda: len(viewer.layers) == n + 1, timeout=TIMEOUT_MS)
    layer = next(layer for layer in viewer.layers if "nearest normal patch" in layer.name)

    def show_slice(index):
        ready.finder.jump_to_slice(index)
        qtbot.waitUntil(lambda: layer.data[index].any(), timeout=TIMEOUT_MS)

    assert np.flatnonzero(layer.data.any(axis=(1, 2))).tolist() == [9]
    assert np.array_equal(layer.affine.affine_matrix, ready.scan.layer.affine.affine_matrix)
    assert ready.result.explain_note.text() == (
        "From blue to yellow: how unlike the nearest normal patch a place is."
    )
    assert layer.contrast_limits[1] == layer.data.max()
    show_slice(18)
    assert layer.data[18].max() > layer.data[9].max()
    assert layer.contrast_limits[1] == layer.data.max(), "what is higher than before is told from it"
    narrow = (0, layer.data[2:10].max() / 4)
    layer.contrast_limits = narrow
    show_slice(2)
    assert layer.data[2].max() > narrow[1]
    assert tuple(layer.contrast_limits) == narrow, "a person has set them"
    assert [known for known in ready.scan.layers.choices if known is not None] == [ready.scan.layer]
    ready.result.explain_box.click()
    qtbot.waitUntil(lambda: layer not in viewer.layers, timeout=TIMEOUT_MS)
    assert ready.result.explain_note.isHidden()


def test_export_dialog_writes_what_is_ticked_in_it(qtbot, ready, viewer, tmp_path):
    find(qtbot, ready)
    click(qtbot, ready.result.export_button)
    dialog = ready.result.export_dialog
    save = dialog.buttons.button(dialog.buttons.StandardButton.Save)
    assert not save.isEnabled()
    dialog.folder.value = tmp_path / "out"
    for key, box in dialog.choices.items():
        box.setChecked(key == "mask")
    with qtbot.waitSignal(ready.result.exporter.finished, timeout=TIMEOUT_MS):
        click(qtbot, save)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["patient_bright_mask.nii.gz"]
    assert "patient_bright_mask.nii.gz" in ready.result.export_note.text()


def test_export_while_scoring_measures_elsewhere_and_says_what_it_holds(
    qtbot, ready, gate, tmp_path, monkeypatch
):
    """Regions are known when all is scored; the window does not wait for those of a part."""
    monkeypatch.setattr(Measurement, "work", lambda self, desk=None: pytest.fail("measured in the window"))
    with qtbot.waitSignal(ready.finder.map_changed, timeout=TIMEOUT_MS):
        click(qtbot, ready.find.scan_button)
    click(qtbot, ready.result.export_button)
    dialog = ready.result.export_dialog
    assert "not scored yet" in dialog.regions.text()
    dialog.folder.value = tmp_path / "out"
    for key, box in dialog.choices.items():
        box.setChecked(key == "map")
    with qtbot.waitSignal(ready.result.exporter.finished, timeout=TIMEOUT_MS):
        click(qtbot, dialog.buttons.button(dialog.buttons.StandardButton.Save))
    assert "patient_bright_anomaly.nii.gz" in ready.result.export_note.text()
    click(qtbot, ready.result.export_button)
    dialog = ready.result.export_dialog
    gate.set()
    qtbot.waitUntil(lambda: ready.finder.result.is_measured, timeout=TIMEOUT_MS)
    assert f"{len(ready.finder.result.regions)} regions" in dialog.regions.text()
    dialog.reject()


def test_dicom_study_from_folder_to_segmentation(qtbot, dock, viewer, model_path, tmp_path):
    """A study opened, scored, and exported with a segment for each ticked region, on the series' own grid."""
    files = save_dicom_head(tmp_path / "study", 3, lesion=True)
    open_files(qtbot, dock, tmp_path / "study")
    qtbot.waitUntil(lambda: dock.scan.layer is not None, timeout=TIMEOUT_MS)
    dock.normal.choose(model_path)
    find(qtbot, dock)
    result = dock.finder.result
    values = np.zeros_like(result.values)
    for z, peak in ((3, 4.2), (7, 3.6), (11, 2.4)):
        values[z, 10:20, 10:18] = 2.2
        values[z, 14, 14] = peak
    result.put(SlicesScored(0, tuple(range(len(values))), values))
    with qtbot.waitSignal(dock.finder.regions_changed, timeout=TIMEOUT_MS):
        show_again(dock)
    dock.finder.set_ticked([result.regions[1]], False)
    click(qtbot, dock.result.export_button)
    dialog = dock.result.export_dialog
    assert dialog.segments.isEnabled()
    for key, box in dialog.choices.items():
        box.setChecked(key in ("seg", "mask"))
    dialog.choices["seg"].setChecked(False)
    assert not dialog.segments.isEnabled()
    dialog.choices["seg"].setChecked(True)
    dialog.segments.setCurrentIndex(1)
    dialog.folder.value = tmp_path / "out"
    with qtbot.waitSignal(dock.result.exporter.finished, timeout=TIMEOUT_MS):
        click(qtbot, dialog.buttons.button(dialog.buttons.StandardButton.Save))
    (seg_path,) = (tmp_path / "out").glob("*_seg.dcm")
    seg = highdicom.seg.segread(seg_path)
    assert seg.number_of_segments == 2
    (mask_path,) = (tmp_path / "out").glob("*_mask.nii.gz")
    n_marked = sum(int(np.count_nonzero(frame)) for frame in seg.pixel_array)
    assert n_marked == np.count_nonzero(nib.load(mask_path).get_fdata()) == 2 * 10 * 8
    assert len(files) == len(values)


def test_what_is_unlike_the_normal_scans_is_told_before_finding(qtbot, ready, model_path, tmp_path):
    """The model knows the voxels of its normal scans; those of this scan are others."""
    assert ready.finder.preparation.unlike(ready.scan.layer, model_path) == ()
    norms = CohortNorms({"voxel_mm_top to bottom": FigureNorm(9, 1.0, 0.0, 0.9, 1.1)})
    other = replace(NormativeModel.load(model_path), cohorts=(norms,)).save(tmp_path / "thin.dinoad")
    ready.normal.choose(other)
    words = "in the normal scans 0.9 to 1.1 mm"
    qtbot.waitUntil(lambda: words in ready.normal.misfit.text(), timeout=TIMEOUT_MS)
    assert ready.finder.result is None
    find(qtbot, ready)
    assert words in ready.normal.misfit.text()
    assert any(words in note for note in ready.finder.result.outcome.unlike)
    ready.normal.choose(model_path)
    assert words not in ready.normal.misfit.text()


def test_layers_are_there_before_the_button_is_pressed_and_go_when_it_is_not(qtbot, ready, viewer):
    n = len(viewer.layers)
    button = ready.find.scan_button
    QApplication.sendEvent(button, QEvent(QEvent.Type.Enter))
    assert len(viewer.layers) == n + 2
    QApplication.sendEvent(button, QEvent(QEvent.Type.Leave))
    qtbot.waitUntil(lambda: len(viewer.layers) == n, timeout=TIMEOUT_MS)
    QApplication.sendEvent(button, QEvent(QEvent.Type.Enter))
    heatmap, mask = overlays(viewer)
    find(qtbot, ready)
    assert overlays(viewer) == (heatmap, mask)
    assert heatmap.data.any()


@pytest.mark.parametrize("name", ["image-colour", "image-2d"])
def test_a_lesion_of_hue_is_found_in_the_colours_of_a_layer(qtbot, dock, viewer, tmp_path, name):
    from PIL import Image

    from coloured_pictures import eight_bits, picture, with_lesion
    from napari_dinoad import fit_folder, preset
    from napari_dinoad.evaluation import auroc
    from napari_dinoad.gui.reader import read_layers
    from napari_dinoad.images.values.grey import COLOUR_AS_GREY
    from napari_dinoad.settings import FitSettings, MemoryBankSettings

    (tmp_path / "normals").mkdir()
    rng = np.random.default_rng(0)
    for number in range(5):
        normal = eight_bits(picture("skin", rng, 128))
        Image.fromarray(normal).save(tmp_path / "normals" / f"{number}.png")
    settings = FitSettings(
        scorer="memory-bank",
        preprocessing=replace(preset(name), resolution_px=128, body_mask="off"),
        memory_bank=MemoryBankSettings(n_patches=300, reduction="random"),
    )
    fit_folder(tmp_path / "normals", settings, out=tmp_path / "model.dinoad")
    pixels, where = with_lesion(picture("skin", rng, 128), "hue", rng)
    Image.fromarray(eight_bits(pixels)).save(tmp_path / "patient.png")
    [(array, arguments, _)] = read_layers(tmp_path / "patient.png")
    layer = viewer.add_image(array, **arguments)
    assert layer.rgb
    dock.scan.choose(layer)
    dock.normal.choose(tmp_path / "model.dinoad")
    find(qtbot, dock)
    heatmap, _ = overlays(viewer)
    assert heatmap.data.shape == where.shape
    notes = dock.finder.result.volume.notes
    if name == "image-colour":
        assert auroc(heatmap.data.ravel(), where.ravel()) > 0.9
        assert COLOUR_AS_GREY not in notes
        assert "colour" not in dock.normal.misfit.text()
    else:
        assert auroc(heatmap.data.ravel(), where.ravel()) < 0.8
        assert COLOUR_AS_GREY in notes
        assert "in colour, which the model sees as grey" in dock.normal.misfit.text()
