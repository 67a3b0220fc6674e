"""A result is of what is shown and chosen, or the dock says that it is not."""

from __future__ import annotations

import os
import threading
from copy import deepcopy

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from dock_driver import TIMEOUT_MS, click, find, find_planted, overlays
from napari_dinoad import NormativeModel
from napari_dinoad.errors import DinoadError
from napari_dinoad.gui.find import explanation, known_results
from napari_dinoad.gui.find.scan_jobs import Explanation
from napari_dinoad.gui.reader import read_layers
from napari_dinoad.gui.viewer.layer_marks import is_overlay
from napari_dinoad.gui.viewer.viewer_parts import grid_of, show_index
from napari_dinoad.images.readers import read_volume
from patience import PATIENCE_S


@pytest.fixture
def other_model(model_path, tmp_path):
    """Return a copy of the model, which is another model for the dock."""
    return NormativeModel.load(model_path).save(tmp_path / "other.dinoad")


@pytest.fixture
def foreign(dock, viewer, patient, model_path):
    """Return the layer of another plugin, in pixels, with a model chosen."""
    values = nib.load(patient).get_fdata(dtype=np.float32).transpose(2, 1, 0)[::-1, ::-1, ::-1]
    layer = viewer.add_image(values.copy(), name="foreign")
    dock.normal.choose(model_path)
    return layer


@pytest.fixture
def series(dock, viewer, patient, cohort, model_path, tmp_path):
    """Return the layer of a 4D scan of a patient and a normal one, the first frame in view."""
    first = nib.load(patient)
    frames = [np.asarray(nib.load(path).dataobj) for path in (patient, cohort.normal[0])]
    path = tmp_path / "series.nii.gz"
    nib.save(nib.Nifti1Image(np.stack(frames, axis=-1), first.affine), path)
    (layer,) = viewer.open(str(path), plugin="napari-dinoad")
    dock.normal.choose(model_path)
    viewer.dims.set_current_step(0, 0)
    return layer


def lie_alike(layer, others, index=(5, 6, 7)):
    """Return whether a voxel lies at the same place in all layers."""
    place = layer.data_to_world(index)
    return all(np.allclose(other.data_to_world(index), place) for other in others)


def test_the_result_of_another_model_is_told_to_be(qtbot, ready, model_path, other_model):
    find(qtbot, ready)
    assert ready.result.standing.text() == ""
    ready.normal.choose(other_model)
    assert "result of the model “phantom”, not of “other”" in ready.result.standing.text()
    ready.normal.choose(model_path)
    assert ready.result.standing.text() == ""


def test_the_result_of_an_earlier_fit_of_the_model_is_told_to_be(qtbot, ready, other_model):
    ready.normal.choose(other_model)
    find(qtbot, ready)
    result = ready.finder.result
    os.utime(other_model, ns=(1, 1))
    ready.normal.choose(other_model)
    assert "has changed since" in ready.result.standing.text()
    for when in (1, 2):
        os.utime(other_model, ns=(when, when))
        find(qtbot, ready)
        assert ready.finder.result is not result
        assert ready.result.standing.text() == ""
        result = ready.finder.result


def test_too_much_that_is_unusual_is_told_of_the_chosen_model_only(qtbot, ready, other_model):
    find(qtbot, ready)
    ready.finder.result.values[ready.finder.result.values > 0] = 3.0
    ready.finder.regions_changed.emit()
    ready.finder.result_changed.emit()
    assert "beyond the rate" in ready.normal.misfit.text()
    ready.normal.choose(other_model)
    assert "beyond the rate" not in ready.normal.misfit.text()


def test_new_values_of_the_layer_make_the_result_an_old_one(qtbot, ready, viewer):
    find(qtbot, ready)
    layer, result = ready.scan.layer, ready.finder.result
    heatmap, mask = overlays(viewer)
    emptied = np.array(layer.data)
    emptied[12:] = 0
    before = layer.data
    layer.data = emptied
    assert "have changed" in ready.result.standing.text()
    assert not heatmap.visible
    assert not mask.visible
    layer.data = before
    assert ready.result.standing.text() == ""
    assert heatmap.visible
    layer.data = emptied
    find(qtbot, ready)
    assert ready.finder.result is not result
    assert ready.result.standing.text() == ""
    assert not ready.finder.result.values[12:].any()
    assert not any(region.peak_zyx[0] >= 12 for region in ready.finder.result.regions)
    assert len([layer for layer in viewer.layers if is_overlay(layer)]) == 2


def test_regions_are_compared_with_the_normal_scans_once_all_of_the_scan_is_scored(qtbot, ready, viewer):
    table, normals = ready.result.table, 3
    find(qtbot, ready, ready.find.slice_button)
    assert table.isColumnHidden(normals) and "normal scans" not in ready.result.summary.text()
    find_planted(qtbot, ready)
    levels = ready.finder.result.outcome.normal_peaks.levels
    assert not table.isColumnHidden(normals)
    counts = [int(np.count_nonzero(levels >= peak)) for peak in np.float32([4.2, 3.6, 2.4])]
    assert [table.topLevelItem(row).text(normals) for row in range(3)] == [
        f"{count} of {len(levels)}" for count in counts
    ]
    told = f"3 regions; {counts.count(0) or 'none'} beyond all {len(levels)} normal scans."
    assert ready.result.summary.text() == told


def test_how_often_chance_makes_a_region_beyond_all_normal_scans_is_told(qtbot, ready):
    find_planted(qtbot, ready)
    summary = ready.result.summary
    n_normal = ready.finder.result.outcome.normal_peaks.n_persons
    assert "beyond all" in summary.text()
    assert summary.toolTip() == f"One in {n_normal + 1} new normal scans has such a region by chance."
    ready.finder.set_rate(1e-6)
    qtbot.waitUntil(lambda: summary.text().startswith("No region"))
    assert summary.toolTip() == ""


def test_a_slice_alone_of_new_values_says_nothing_of_the_whole_scan(qtbot, ready, viewer):
    find(qtbot, ready)
    layer = ready.scan.layer
    layer.data = np.array(layer.data) * 2
    viewer.dims.point = tuple(layer.data_to_world((9, 0, 0)))
    find(qtbot, ready, ready.find.slice_button)
    assert np.flatnonzero(ready.finder.result.scored).tolist() == [9]
    assert "Only 1 of 20 slices" in ready.result.scan_words.text()


def test_overlays_follow_the_scan_wherever_it_is_moved(qtbot, dock, viewer, foreign):
    find(qtbot, dock)
    result = dock.finder.result
    dock.result.explain_box.click()
    qtbot.waitUntil(lambda: len(viewer.layers) == 4, timeout=TIMEOUT_MS)
    others = [layer for layer in viewer.layers if layer is not foreign]
    assert "1 × 1 × 1 mm" in dock.scan.about.text()
    for name, value in (("scale", (4, 3, 3)), ("translate", (10, 20, 30)), ("rotate", 10), ("units", "mm")):
        setattr(foreign, name, value)
        assert lie_alike(foreign, others)
        assert {other.units for other in others} == {foreign.units}
    assert "3 × 3 × 4 mm" in dock.scan.about.text()
    assert "moved or scaled since" in dock.result.standing.text()
    assert overlays(viewer)[0].visible
    find(qtbot, dock)
    assert dock.finder.result is not result
    assert dock.result.standing.text() == ""
    assert lie_alike(foreign, overlays(viewer))


def test_a_scan_that_is_removed_before_its_first_slice_is_there_leaves_nothing(qtbot, ready, viewer):
    scored = []
    ready.finder.runner.delivered.connect(scored.append)
    ready.finder.result_changed.connect(
        lambda: ready.finder.result is None or viewer.layers.remove(ready.finder.found.layer)
    )
    with qtbot.waitSignal(ready.finder.runner.finished, timeout=TIMEOUT_MS):
        click(qtbot, ready.find.scan_button)
    assert len(scored) > 1, "slices that were on their way came still"
    qtbot.waitUntil(lambda: not viewer.layers, timeout=TIMEOUT_MS)
    assert ready.finder.result is None


def test_a_layer_that_is_gone_is_followed_no_more(qtbot, dock, viewer, foreign):
    find(qtbot, dock)
    heatmap, mask = overlays(viewer)
    viewer.layers.remove(mask)
    foreign.scale = (4, 3, 3)
    assert tuple(heatmap.scale) == (1, 1, 1)


def test_the_result_of_a_series_names_its_frame_and_hides_at_others(qtbot, dock, viewer, series, tmp_path):
    find(qtbot, dock)
    heatmap, mask = overlays(viewer)
    assert "frame 0" in heatmap.name
    assert dock.result.standing.text() == "This is the result of frame 0."
    assert "Frame 0 of 2, counted from 0." in dock.finder.result.volume.notes
    viewer.dims.set_current_step(0, 1)
    assert "Frame 1 is shown" in dock.result.standing.text()
    assert not heatmap.visible
    assert not mask.visible
    dock.finder.jump_to_slice(7)
    assert dock.finder.standing.is_of_picture
    assert heatmap.visible
    viewer.dims.set_current_step(0, 1)
    find(qtbot, dock)
    assert dock.result.standing.text() == "This is the result of frame 1."
    assert "frame 1" in dock.finder.found.overlay.heatmap.name
    with qtbot.waitSignal(dock.result.exporter.finished, timeout=TIMEOUT_MS):
        dock.result.export(tmp_path / "out", ("map", "mask"))
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["series_frame1_anomaly.nii.gz", "series_frame1_mask.nii.gz"]


def test_results_of_several_frames_are_kept_with_what_was_unticked(qtbot, dock, viewer, series):
    find_planted(qtbot, dock)
    first = dock.finder.found
    dock.finder.set_ticked([dock.finder.result.regions[1]], False)
    dock.result.rate.slider.setValue(3.0)
    viewer.dims.set_current_step(0, 1)
    assert dock.finder.found is first, "until there is another"
    assert not first.overlay.heatmap.visible
    find(qtbot, dock)
    second = dock.finder.found
    assert second is not first
    assert first.overlay.is_whole
    seen = [layer for layer in viewer.layers if is_overlay(layer) and layer.visible]
    assert set(seen) == {second.overlay.heatmap, second.overlay.mask}
    viewer.dims.set_current_step(0, 0)
    assert dock.finder.found is first
    assert dock.result.standing.text() == "This is the result of frame 0."
    assert dock.result.rate.rate == pytest.approx(0.001)
    assert dock.result.table.topLevelItemCount() == len(first.result.regions)
    assert first.result.unticked_peaks
    assert first.overlay.heatmap.visible
    assert not second.overlay.heatmap.visible
    find(qtbot, dock)
    assert dock.finder.found is first, "filled further"
    viewer.layers.remove(first.overlay.mask)
    assert dock.finder.found is second
    qtbot.waitUntil(lambda: first.overlay.heatmap not in viewer.layers)
    assert "Frame 0 is shown" in dock.result.standing.text()


def test_results_of_many_frames_do_not_fill_the_memory(qtbot, dock, viewer, series, monkeypatch):
    """Each takes 9 bytes a voxel, and what napari keeps of a colour bar."""
    volume = series.data[0]
    series.data = np.stack([volume, volume + 1, volume + 2])

    def find_in(frame):
        viewer.dims.set_current_step(0, frame)
        find(qtbot, dock, dock.find.slice_button)
        return dock.finder.found

    first, second = find_in(0), find_in(1)
    each = first.result.n_bytes + known_results._BAR_BYTES
    assert first.result.n_bytes == 9 * volume.size
    monkeypatch.setattr(known_results, "_MOST_BYTES", 2 * each)
    viewer.dims.set_current_step(0, 0)
    assert dock.finder.found is first
    third = find_in(2)
    assert "To save memory the result of frame 1 was dropped" in dock.find.note.text()
    qtbot.waitUntil(lambda: second.overlay.heatmap not in viewer.layers)
    assert first.overlay.is_whole and third.overlay.is_whole
    viewer.dims.set_current_step(0, 0)
    assert dock.finder.found is first
    monkeypatch.setattr(known_results, "_MOST_BYTES", 0)
    assert find_in(1) in dock.finder._found, "the last one stays, however large it is"
    assert len(list(dock.finder._found)) == 1


def test_results_of_several_frames_outlive_the_dock(qtbot, dock, viewer, series):
    for frame in (0, 1):
        viewer.dims.set_current_step(0, frame)
        find(qtbot, dock, dock.find.slice_button)
    dock.finder.close()
    dock.finder.open_again()
    dock.finder.look_at(series)
    for frame in (0, 1):
        viewer.dims.set_current_step(0, frame)
        assert dock.result.standing.text() == f"This is the result of frame {frame}."
        assert dock.finder.found.overlay.heatmap.visible


def test_frames_have_the_numbers_of_the_slider_and_of_the_command_line(qtbot, dock, viewer, series):
    for number in (1, 0):
        viewer.dims.set_current_step(0, number)
        qtbot.waitUntil(lambda n=number: dock.scan.scan.frame == (n,))
        assert (
            f"Series of 2 frames, counted from 0: the shown one ({number}) is used."
            in dock.scan.assumed.text()
        )
    assert series.axis_labels[0] == "frame"
    if hasattr(viewer, "canvas"):  # napari before 0.9 numbers its sliders
        assert viewer.dims.axis_labels[0] == "frame"
    path = series.source.path
    shown = dock.scan.scan.volume()
    assert read_volume(path, frame=0).notes[0] == shown.notes[-1] == "Frame 0 of 2, counted from 0."
    np.testing.assert_array_equal(read_volume(path, frame=0).values, shown.values)


def test_a_slice_alone_leaves_the_whole_scans_result_as_it_is(qtbot, ready):
    find(qtbot, ready)
    result = ready.finder.result
    values, outcome = result.values.copy(), result.outcome
    find(qtbot, ready, ready.find.slice_button)
    assert ready.finder.result is result
    np.testing.assert_array_equal(result.values, values)
    assert result.outcome is outcome
    assert "with the whole scan already" in ready.find.note.text()


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 0, 1)])
def test_a_slice_that_lies_across_the_view_is_told_to_be_another_plane(qtbot, ready, viewer, order):
    viewer.dims.order = order
    find(qtbot, ready, ready.find.slice_button)
    told = ready.find.note.text()
    assert ("looks at axial slices" in told) is (order[0] != 0)
    viewer.dims.order = (0, 1, 2)
    find(qtbot, ready)
    assert ready.find.note.text() == ""


def test_a_second_run_that_is_cancelled_leaves_the_result_of_the_first(qtbot, ready, viewer, gate):
    gate.set()
    find(qtbot, ready)
    result = ready.finder.result
    values, scored, words = result.values.copy(), result.scored.copy(), ready.result.scan_words.text()
    assert "p\u00a0=" in words
    gate.clear()

    def cancel():
        click(qtbot, ready.find.job.cancel_button)
        gate.set()

    ready.finder.map_changed.connect(cancel)
    find(qtbot, ready)
    np.testing.assert_array_equal(result.values, values)
    np.testing.assert_array_equal(result.scored, scored)
    assert ready.result.scan_words.text() == words
    assert "from before is kept" in ready.find.note.text()
    np.testing.assert_array_equal(overlays(viewer)[0].data, values)


def test_a_slice_that_will_be_scored_again_says_so_meanwhile(qtbot, ready, viewer, gate):
    told = []

    def look():
        if ready.finder.result.scored.sum() == 1:
            told.append(ready.result.summary.text())
            shown = viewer.dims.current_step
            viewer.dims.set_current_step(0, shown[0] + 1)
            ready.result.show_slice_in_view()
            told.append(ready.result.summary.text())
            viewer.dims.current_step = shown
            gate.set()
        elif ready.finder.runner.is_running:
            told.append(ready.result.summary.text())

    ready.finder.map_changed.connect(look)
    find(qtbot, ready)
    first, elsewhere, *later = told
    assert "Preliminary" in first
    assert "Preliminary" not in elsewhere
    assert later
    assert not any("Preliminary" in text for text in (later[-1], ready.result.summary.text()))


def test_it_is_said_while_regions_are_measured(qtbot, ready):
    """Of a picture of 24 megapixels the table was empty for seconds, and nothing was said."""
    told = []
    ready.finder.regions_changed.connect(
        lambda: told.append((ready.finder.result.is_measured, ready.result.summary.text()))
    )
    find_planted(qtbot, ready)
    assert [text for is_measured, text in told if not is_measured] == ["Measuring the regions…"]
    assert told[-1][0] and "region" in told[-1][1] and "Measuring" not in told[-1][1]
    ready.result.rate.slider.setValue(3.0)
    assert not ready.finder.result.is_measured
    assert ready.result.summary.text() == "Measuring the regions…"
    qtbot.waitUntil(lambda: ready.result.summary.text().startswith("2 regions"))


def test_regions_that_cannot_be_measured_are_told_and_not_tried_for_ever(qtbot, ready, monkeypatch):
    find_planted(qtbot, ready)
    tried = []

    def fail(measurement, channel):
        tried.append(measurement.version)
        raise DinoadError("Not enough memory.")

    with monkeypatch.context() as patch:
        patch.setattr("napari_dinoad.gui.find.measuring.run_in_process", fail)
        ready.result.rate.slider.setValue(3.0)
        qtbot.waitUntil(lambda: len(tried) > 0)
        qtbot.wait(300)
        assert len(tried) == 1
        assert ready.result.summary.text() == "Not enough memory."
    ready.result.rate.slider.setValue(2.0)
    qtbot.waitUntil(lambda: ready.result.summary.text().startswith("3 regions"))


def test_a_cancelled_run_says_how_many_slices_were_looked_at(qtbot, ready, gate):
    def cancel():
        click(qtbot, ready.find.job.cancel_button)
        gate.set()

    ready.finder.map_changed.connect(cancel)
    find(qtbot, ready)
    n = int(ready.finder.result.scored.sum())
    assert 0 < n < 20
    assert ready.result.scan_words.isVisibleTo(ready)
    assert f"Only {n} of 20 slices were scored" in ready.result.scan_words.text()
    assert "slices scored so far are kept" in ready.find.note.text()


def test_what_was_told_of_a_run_goes_when_another_scan_is_chosen(qtbot, ready, viewer):
    find(qtbot, ready)
    find(qtbot, ready, ready.find.slice_button)
    assert "that result stands" in ready.find.note.text()
    viewer.add_image(np.asarray(ready.scan.layer.data) + 1, name="another")
    assert ready.scan.layer.name == "another"
    assert ready.find.note.text() == ""


def test_what_was_told_of_a_run_goes_when_another_frame_is_shown(qtbot, ready, viewer):
    values = np.asarray(ready.scan.layer.data)
    viewer.add_image(np.stack([values, values + 1]), name="series")
    viewer.dims.set_current_step(0, 0)
    find(qtbot, ready)
    find(qtbot, ready, ready.find.slice_button)
    assert "that result stands" in ready.find.note.text()
    viewer.dims.set_current_step(0, 1)
    qtbot.waitUntil(lambda: ready.find.note.text() == "", timeout=TIMEOUT_MS)


def test_a_single_slice_is_a_whole_scan_of_which_a_model_of_volumes_says_nothing(
    qtbot, dock, viewer, foreign
):
    viewer.add_image(np.asarray(foreign.data)[9], name="slice")
    for button in (dock.find.slice_button, dock.find.scan_button):
        find(qtbot, dock, button)
        assert dock.finder.result.is_whole
        assert "slices and volumes cannot" in dock.result.scan_words.text()


def test_cancelled_before_anything_was_scored_nothing_is_said_to_be_kept(qtbot, ready):
    # As while the process gets ready: finding waits for it.
    ready.finder.preparation._is_free.clear()
    ready.finder.runner.started.connect(ready.finder.runner.cancel)
    find(qtbot, ready)
    ready.finder.preparation._is_free.set()
    assert ready.finder.result is None
    assert "kept" not in ready.find.note.text()
    assert "before any slice" in ready.find.note.text()


def test_a_scan_chosen_while_another_is_prepared_is_prepared_next(qtbot, ready, viewer, cohort, model_path):
    preparation, is_over = ready.finder.preparation, threading.Event()
    qtbot.waitUntil(lambda: not preparation.runner.is_running, timeout=TIMEOUT_MS)
    preparation.runner.start(lambda channel: is_over.wait(PATIENCE_S), "Preparing")
    (normal,) = viewer.open(str(cohort.normal[0]), plugin="napari-dinoad")
    ready.readiness._prepare.timeout.emit()
    ready.readiness._prepare.stop()
    assert preparation.is_due(normal, model_path)
    is_over.set()
    qtbot.waitUntil(lambda: not preparation.is_due(normal, model_path), timeout=TIMEOUT_MS)


def test_one_of_the_pair_takes_the_other_away(qtbot, ready, viewer):
    for which in (0, 1):
        find(qtbot, ready)
        viewer.layers.remove(overlays(viewer)[which])
        qtbot.waitUntil(lambda: len(viewer.layers) == 1, timeout=TIMEOUT_MS)
    find(qtbot, ready)
    viewer.layers.remove(ready.scan.layer)
    qtbot.waitUntil(lambda: len(viewer.layers) == 0, timeout=TIMEOUT_MS)


@pytest.mark.parametrize("is_whole", [True, False])
def test_finding_in_a_dock_opened_anew_leaves_one_result(qtbot, ready, viewer, model_path, is_whole):
    """It goes on with the layers of the one before; where one of them is gone it replaces the other."""
    find(qtbot, ready)
    heatmap, mask = overlays(viewer)
    painted = viewer.add_labels(mask.data.copy(), name="painted by hand", metadata=dict(mask.metadata))
    viewer.window.remove_dock_widget(ready)
    if not is_whole:
        viewer.layers.remove(mask)
    _, dock = viewer.window.add_plugin_dock_widget("napari-dinoad", "Find anomalies")
    dock.normal.choose(model_path)
    assert (dock.finder.result is not None) is is_whole
    dock.find.ready_asked.emit(True)
    assert heatmap in viewer.layers
    find(qtbot, dock)
    assert (heatmap in viewer.layers) is (mask in viewer.layers) is is_whole
    assert painted in viewer.layers
    assert len(viewer.layers) == 4


def open_anew(qtbot, viewer, old):
    """Close a dock and return another one."""
    viewer.window.remove_dock_widget(old)
    _, dock = viewer.window.add_plugin_dock_widget("napari-dinoad", "Find anomalies")
    return dock


def test_a_dock_opened_anew_has_the_results_of_the_one_before(qtbot, ready, viewer, cohort, model_path):
    patient = ready.scan.layer
    find_planted(qtbot, ready)
    result = ready.finder.result
    ready.result.rate.slider.setValue(2.5)
    qtbot.waitUntil(lambda: result.is_measured and len(result.regions) == 2, timeout=TIMEOUT_MS)
    ready.finder.set_ticked(result.regions[1:], False)
    (other,) = viewer.open(str(cohort.normal[0]), plugin="napari-dinoad")
    dock = open_anew(qtbot, viewer, ready)
    dock.normal.choose(model_path)
    assert dock.scan.layer is other and dock.finder.result is None
    dock.scan.choose(patient)
    assert dock.finder.result is result
    assert dock.finder.standing.departures == ()
    assert dock.result.isVisibleTo(dock) and dock.result.summary.text().startswith("1 of 2 regions ticked; ")
    assert dock.result.new_rate == pytest.approx(10**-2.5)
    heatmap, mask = overlays(viewer)
    assert heatmap.visible and mask.visible
    dock.result.rate.slider.setValue(2.0)
    qtbot.waitUntil(lambda: len(result.regions) == 3, timeout=TIMEOUT_MS)
    assert mask.data.any(axis=(1, 2)).sum() == 4, (
        "the mask follows the new dock; the unticked region stays out"
    )
    patient.translate = (3, 0, 0)
    np.testing.assert_array_equal(mask.translate, (3, 0, 0))
    again = open_anew(qtbot, viewer, dock)
    again.scan.choose(patient)
    assert again.finder.result is result
    viewer.layers.remove(mask)
    assert again.finder.result is None


def test_while_another_scan_is_chosen_the_run_says_whose_it_is(qtbot, ready, viewer, cohort, gate):
    patient = ready.scan.layer
    click(qtbot, ready.find.scan_button)
    qtbot.waitUntil(lambda: ready.finder.result is not None, timeout=TIMEOUT_MS)
    assert ready.find.whose.text() == ""
    viewer.open(str(cohort.normal[0]), plugin="napari-dinoad")
    assert f"“{patient.name}” is being scored, not the scan chosen here" in ready.find.whose.text()
    ready.scan.choose(patient)
    assert ready.find.whose.text() == ""
    ready.scan.choose(viewer.layers[-1])
    with qtbot.waitSignal(ready.finder.runner.finished, timeout=TIMEOUT_MS):
        gate.set()
    assert ready.find.whose.text() == ""


def test_a_dock_opened_anew_lays_no_map_of_another_scan_over_its_own(qtbot, ready, viewer, cohort):
    patient = ready.scan.layer
    (other,) = viewer.open(str(cohort.normal[0]), plugin="napari-dinoad")
    ready.scan.choose(patient)
    find(qtbot, ready)
    heatmap, mask = overlays(viewer)
    dock = open_anew(qtbot, viewer, ready)
    assert dock.scan.layer is other
    assert not heatmap.visible and not mask.visible
    heatmap.visible = mask.visible = True
    assert dock.scan.cover.isHidden(), "what is of another scan is not offered to be laid over this one"
    heatmap.visible = mask.visible = False
    dock.scan.choose(patient)
    assert heatmap.visible and mask.visible


def test_a_result_shown_over_another_scan_is_hidden_when_one_is_chosen_again(qtbot, ready, viewer, cohort):
    scan = ready.scan.layer
    find(qtbot, ready, ready.find.slice_button)
    heatmap, mask = overlays(viewer)
    mask.visible = False
    others = [viewer.open(str(path), plugin="napari-dinoad")[0] for path in cohort.normal[:2]]
    assert not heatmap.visible
    heatmap.visible = mask.visible = True
    viewer.dims.set_current_step(0, 3)
    assert heatmap.visible, "while the same scan is chosen"
    ready.scan.layers.value = others[0]
    assert not heatmap.visible
    assert not mask.visible
    ready.scan.layers.value = scan
    assert heatmap.visible
    assert mask.visible


def test_two_results_are_seen_side_by_side_in_the_grid(qtbot, ready, viewer, cohort):
    patient = ready.scan.layer
    find(qtbot, ready)
    first = ready.finder.found.overlay
    viewer.open(str(cohort.normal[0]), plugin="napari-dinoad")
    find(qtbot, ready)
    second = ready.finder.found.overlay
    assert not first.heatmap.visible and not first.mask.visible
    grid_of(viewer).enabled = True
    shown = (first.heatmap, first.mask, second.heatmap, second.mask)
    assert all(layer.visible for layer in shown)
    ready.scan.choose(patient)
    assert all(layer.visible for layer in shown), "the other scan has cells of its own"
    grid_of(viewer).enabled = False
    assert first.heatmap.visible and first.mask.visible
    assert not second.heatmap.visible and not second.mask.visible


@pytest.mark.parametrize("is_first", [True, False])
def test_a_run_that_begins_leaves_the_result_of_another_scan_as_it_is_shown(
    qtbot, ready, viewer, cohort, is_first
):
    patient = ready.scan.layer
    (other,) = viewer.open(str(cohort.normal[0]), plugin="napari-dinoad")
    find(qtbot, ready)
    ready.scan.choose(patient)
    if not is_first:
        find(qtbot, ready, ready.find.slice_button)
    click(qtbot, ready.find.scan_button)
    ready.scan.choose(other)
    shown = []
    ready.finder.result_changed.connect(lambda: shown.append(ready.finder.found))
    qtbot.waitUntil(lambda: not ready.finder.runner.is_running, timeout=TIMEOUT_MS)
    assert shown == []
    ready.scan.choose(patient)
    assert ready.finder.result.is_whole


def test_of_a_run_that_ends_with_its_dock_the_next_one_says_how_far_it_came(qtbot, ready, viewer, gate):
    click(qtbot, ready.find.scan_button)
    qtbot.waitUntil(
        lambda: ready.finder.result is not None and ready.finder.result.scored.any(), timeout=TIMEOUT_MS
    )
    n = int(ready.finder.result.scored.sum())
    dock = open_anew(qtbot, viewer, ready)
    assert dock.finder.result is not None and not dock.finder.result.is_whole
    gate.set()
    qtbot.waitUntil(lambda: not ready.finder.runner.is_running, timeout=TIMEOUT_MS)
    assert dock.finder.result.scored.sum() == n
    assert f"Only {n} of {len(dock.finder.result.scored)} slices were scored" in dock.result.scan_words.text()


def test_a_second_run_that_ends_with_its_dock_leaves_the_result_of_the_first(qtbot, ready, viewer, gate):
    gate.set()
    find(qtbot, ready)
    values = ready.finder.result.values.copy()
    gate.clear()
    click(qtbot, ready.find.scan_button)
    qtbot.wait(500)
    dock = open_anew(qtbot, viewer, ready)
    assert dock.finder.result.is_whole
    gate.set()
    qtbot.waitUntil(lambda: not ready.finder.runner.is_running, timeout=TIMEOUT_MS)
    np.testing.assert_array_equal(dock.finder.result.values, values)
    np.testing.assert_array_equal(overlays(viewer)[0].data, values)


def test_nothing_is_got_ready_for_a_dock_that_is_gone(qtbot, ready, viewer, gate):
    """When the run that it had stopped was over, the scan was prepared in a process of its own."""
    click(qtbot, ready.find.scan_button)
    qtbot.waitUntil(lambda: ready.finder.result is not None, timeout=TIMEOUT_MS)
    viewer.window.remove_dock_widget(ready)
    with qtbot.assertNotEmitted(ready.finder.preparation.runner.started, wait=1500):
        gate.set()
        qtbot.waitUntil(lambda: not ready.finder.runner.is_running, timeout=TIMEOUT_MS)


def test_explain_ends_with_its_dock(qtbot, ready, viewer):
    find(qtbot, ready, ready.find.slice_button)
    ready.result.explain_box.click()
    qtbot.waitUntil(lambda: len(viewer.layers) == 4, timeout=TIMEOUT_MS)
    dock = open_anew(qtbot, viewer, ready)
    qtbot.waitUntil(lambda: len(viewer.layers) == 3, timeout=TIMEOUT_MS)
    assert set(overlays(viewer)) < set(viewer.layers)
    assert not dock.result.explain_box.isChecked()


def test_what_was_left_of_a_scan_that_is_removed_goes_when_a_dock_is_there_again(qtbot, ready, viewer):
    scan = ready.scan.layer
    find(qtbot, ready, ready.find.slice_button)
    copy = viewer.add_labels(overlays(viewer)[1].data.copy(), name="painted by hand")
    viewer.window.remove_dock_widget(ready)
    viewer.layers.remove(scan)
    assert len(viewer.layers) == 3
    viewer.window.add_plugin_dock_widget("napari-dinoad", "Find anomalies")
    qtbot.waitUntil(lambda: list(viewer.layers) == [copy], timeout=TIMEOUT_MS)


@pytest.mark.parametrize("is_pressed", [True, False])
def test_layers_in_which_nothing_is_yet_end_with_their_dock(qtbot, ready, viewer, monkeypatch, is_pressed):
    if is_pressed:
        monkeypatch.setattr(ready.finder.scoring, "_on_slices", lambda scored: None)
        with qtbot.waitSignal(ready.finder.result_changed, timeout=TIMEOUT_MS):
            click(qtbot, ready.find.scan_button)
        qtbot.waitUntil(lambda: len(viewer.layers) == 3, timeout=TIMEOUT_MS)
    else:
        ready.find.ready_asked.emit(True)
    viewer.window.remove_dock_widget(ready)
    qtbot.waitUntil(lambda: len(viewer.layers) == 1, timeout=TIMEOUT_MS)


def test_a_copy_of_a_heatmap_that_was_left_holds_no_result(qtbot, ready, viewer):
    find(qtbot, ready)
    heatmap, _ = overlays(viewer)
    viewer.window.remove_dock_widget(ready)
    (kept,) = [value for key, value in heatmap.metadata.items() if key == "dinoad_found"]
    assert kept.found is not None
    assert deepcopy(heatmap.metadata)["dinoad_found"].found is None


def test_layers_made_ready_for_values_of_another_shape_are_not_taken(qtbot, ready, viewer, notifications):
    ready.find.ready_asked.emit(True)
    layer = ready.scan.layer
    layer.data = np.array(layer.data)[:, 4:-4]
    find(qtbot, ready)
    assert overlays(viewer)[0].data.shape == layer.data.shape
    assert len(viewer.layers) == 3
    assert notifications == []


@pytest.mark.parametrize("is_found", [False, True])
def test_other_layers_go_once_napari_has_removed_the_scan(qtbot, ready, viewer, is_found):
    """While it removes those that are selected it must find each of them."""
    if is_found:
        find(qtbot, ready)
    else:
        ready.find.ready_asked.emit(True)
    viewer.layers.remove(ready.scan.layer)
    assert len(viewer.layers) == 2
    qtbot.waitUntil(lambda: len(viewer.layers) == 0, timeout=TIMEOUT_MS)


@pytest.mark.parametrize("when", ["ready", "running", "found", "explained"])
def test_all_layers_can_be_deleted_at_any_time(qtbot, ready, viewer, gate, notifications, when):
    if when == "ready":
        ready.find.ready_asked.emit(True)
    elif when == "running":
        ready.find.ready_asked.emit(True)
        click(qtbot, ready.find.scan_button)
    else:
        gate.set()
        find(qtbot, ready)
    if when == "explained":
        ready.result.explain_box.click()
        qtbot.waitUntil(lambda: len(viewer.layers) == 4, timeout=TIMEOUT_MS)
    viewer.layers.select_all()
    viewer.layers.remove_selected()
    gate.set()
    qtbot.waitUntil(lambda: not ready.finder.runner.is_running, timeout=TIMEOUT_MS)
    assert len(viewer.layers) == 0
    assert ready.finder.result is None
    assert notifications == []


def test_components_are_named_also_of_a_layer_that_comes_in_3d(qtbot, ready, viewer, monkeypatch):
    """napari failed, "len() of unsized object", where the pointer rested on the canvas."""
    viewer.dims.ndisplay = 3
    viewer.mouse_over_canvas = True
    find(qtbot, ready, ready.find.slice_button)
    values = np.ones(ready.scan.layer.data.shape[1:], np.int32)
    explained = (Explanation("dpmm", 0, 3, values, ("component 1 (100 % of normal)",)),)
    monkeypatch.setattr(explanation, "ExplainJob", lambda *request: lambda channel: explained)
    ready.result.explain_box.click()
    qtbot.waitUntil(lambda: len(viewer.layers) == 4, timeout=TIMEOUT_MS)
    assert "component" in ready.result.explain_note.text()
    viewer.dims.ndisplay = 2
    ready.finder.jump_to_slice(3)
    layer = next(layer for layer in viewer.layers if "components" in layer.name)
    told = layer.get_status(layer.data_to_world((3, 5, 5)), world=True)["coordinates"]
    assert told.endswith(": 1; explained by: component 1 (100 % of normal)")


def test_explain_layers_are_saved_on_the_scans_own_grid(qtbot, dock, viewer, model_path, tmp_path):
    from napari_dinoad.gui.viewer.layers import layer_of_volume
    from napari_dinoad.phantom import make_patient

    volume = make_patient(3, "bright", (20, 64, 56), oblique_deg=17, orientation="PIR").volume
    array, arguments, _ = layer_of_volume(volume)
    viewer.add_image(array, **arguments)
    dock.normal.choose(model_path)
    find(qtbot, dock)
    dock.result.explain_box.click()
    qtbot.waitUntil(lambda: len(viewer.layers) == 4, timeout=TIMEOUT_MS)
    layer = next(layer for layer in viewer.layers if "nearest normal patch" in layer.name)
    out = tmp_path / "explained.nii.gz"
    layer.save(str(out), plugin="napari-dinoad")
    saved = nib.load(out)
    assert saved.shape == volume.geometry.shape
    np.testing.assert_allclose(saved.affine, volume.geometry.affine, atol=1e-4)
    np.testing.assert_allclose(volume.geometry.to_canonical(np.asarray(saved.dataobj)), layer.data, rtol=1e-6)


def test_what_was_written_is_not_said_of_another_result(qtbot, ready, viewer, cohort, tmp_path):
    find(qtbot, ready, ready.find.slice_button)
    with qtbot.waitSignal(ready.result.exporter.finished, timeout=TIMEOUT_MS):
        ready.result.export(tmp_path, ("mask",))
    assert "Written" in ready.result.export_note.text()
    viewer.open(str(cohort.normal[0]), plugin="napari-dinoad")
    find(qtbot, ready, ready.find.slice_button)
    assert ready.result.export_note.text() == ""


def test_heatmap_and_mask_are_renamed_with_their_scan(qtbot, ready, viewer):
    find(qtbot, ready, ready.find.slice_button)
    heatmap, mask = overlays(viewer)
    ready.scan.layer.name = "renamed"
    assert (heatmap.name, mask.name) == ("renamed · anomaly, −log10 p", "renamed · mask")
    mask.name = "my own"
    ready.scan.layer.name = "again"
    assert (heatmap.name, mask.name) == ("again · anomaly, −log10 p", "my own")


@pytest.fixture
def picture(dock, viewer, patient, model_path, tmp_path):
    """Return the layer of a slice as a picture in colour, with a model chosen."""
    grey = nib.load(patient).get_fdata(dtype=np.float32)[:, :, 12].T
    grey = np.clip(grey / grey.max() * 200, 0, 200).astype(np.uint8)
    Image.fromarray(np.stack([grey, grey // 2, grey // 3], axis=-1)).save(tmp_path / "picture.png")
    [(array, arguments, _)] = read_layers(tmp_path / "picture.png")
    layer = viewer.add_image(array, **arguments)
    assert layer.rgb
    dock.normal.choose(model_path)
    return layer


@pytest.mark.parametrize("kind", ["scan", "foreign", "series", "2d", "picture"])
def test_values_changed_in_place_are_told_once_they_are_seen(request, qtbot, dock, viewer, model_path, kind):
    """An array tells nobody that it was written to; the slice in view is compared with what was scored."""
    if kind == "2d":
        layer = viewer.open_sample("napari-dinoad", "slice")[-1]
        dock.normal.choose(model_path)
    else:
        layer = request.getfixturevalue("ready" if kind == "scan" else kind)
        layer = dock.scan.layer if kind == "scan" else layer
    frame = (0,) * (layer.ndim - 3)
    if layer.ndim > 2:
        show_index(viewer, layer, (*frame, 8, 20, 20))
    find(qtbot, dock, dock.find.slice_button)
    layer.refresh()
    qtbot.wait(100)
    assert dock.finder.standing.departures == (), "nothing was changed"
    if layer.ndim > 2:
        layer.data[(*frame, 12)][20:30, 20:30] += 1
        layer.refresh()
        qtbot.wait(100)
        assert dock.finder.standing.departures == (), "not seen yet"
        show_index(viewer, layer, (*frame, 12, 20, 20))
    else:
        layer.data[20:30, 20:30] += 1
        layer.refresh()
    qtbot.waitUntil(lambda: "have changed" in dock.result.standing.text())
    assert not any(one.visible for one in overlays(viewer))
    find(qtbot, dock, dock.find.slice_button)
    assert dock.finder.standing.departures == ()
    assert all(one.visible for one in overlays(viewer))


def test_a_scan_that_is_removed_before_it_is_read_is_told_as_the_reason(qtbot, ready, viewer, monkeypatch):
    """Another scan may be chosen by then, of which nobody has cancelled anything."""
    told = []
    ready.finder.told.connect(told.append)
    # As while the process gets ready.
    monkeypatch.setattr(ready.finder.preparation, "_is_free", threading.Event())
    click(qtbot, ready.find.scan_button)
    with qtbot.waitSignal(ready.finder.runner.finished):
        viewer.layers.remove(ready.scan.layer)
    assert told == ["Stopped: a layer of the scan or its result was removed."]
