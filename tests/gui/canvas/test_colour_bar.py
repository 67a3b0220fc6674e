"""What lies uppermost after finding or opening, and whose colour bar is on the canvas."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Image, Labels

from dock_driver import TIMEOUT_MS, click, find, overlays
from napari_dinoad import read_volume
from napari_dinoad.gui.viewer.layer_marks import is_from_file, is_overlay
from napari_dinoad.gui.viewer.viewer_parts import grid_of, set_colour_bar
from napari_dinoad.maps import AnomalyMap


@pytest.fixture
def saved(tmp_path, patient):
    """Return map and mask of an earlier result for the patient's scan, as files."""
    volume = read_volume(patient)
    values = np.zeros_like(volume.values)
    values[5:15, 20:40, 20:40] = 4.5
    earlier = AnomalyMap(values, volume)
    return earlier.save(tmp_path / "earlier_anomaly.nii.gz"), earlier.mask().save(
        tmp_path / "earlier_mask.nii.gz"
    )


def open_files(viewer, paths):
    return [viewer.open(str(path), plugin="napari-dinoad")[0] for path in paths]


def bars(viewer):
    """Return the layers whose colour bar is on the canvas."""
    return [
        layer
        for layer in viewer.layers
        if isinstance(layer, Image) and layer.visible and layer.colorbar.visible
    ]


def found_layers(viewer):
    return [layer for layer in viewer.layers if is_overlay(layer) and not is_from_file(layer)]


@pytest.mark.parametrize("button", ["scan_button", "slice_button"])
def test_a_new_result_lies_above_what_was_opened_before(qtbot, ready, viewer, saved, button):
    opened_map, opened_mask = open_files(viewer, saved)
    assert bars(viewer) == [opened_map]
    find(qtbot, ready, getattr(ready.find, button))
    heatmap, mask = found_layers(viewer)
    assert list(viewer.layers) == [ready.scan.layer, opened_map, opened_mask, heatmap, mask]
    assert heatmap.visible
    assert mask.visible
    assert not opened_map.visible
    assert opened_mask.visible
    assert not np.array_equal(opened_mask.get_color(1), mask.get_color(1))
    assert bars(viewer) == [heatmap]


def test_finding_again_lays_the_result_above_what_was_opened_since(qtbot, ready, viewer, saved):
    find(qtbot, ready)
    heatmap, mask = found_layers(viewer)
    opened_map, opened_mask = open_files(viewer, saved)
    assert viewer.layers[-2:] == [opened_map, opened_mask]
    assert bars(viewer) == [opened_map]
    assert not heatmap.visible
    viewer.layers.move(viewer.layers.index(mask), 1)
    find(qtbot, ready)
    assert list(viewer.layers) == [ready.scan.layer, opened_map, opened_mask, heatmap, mask]
    assert heatmap.visible
    assert bars(viewer) == [heatmap]


def test_a_map_comes_again_when_the_one_that_was_opened_over_it_is_removed(
    qtbot, ready, viewer, saved, cohort
):
    scan = ready.scan.layer
    find(qtbot, ready)
    heatmap, _ = found_layers(viewer)
    first, _ = open_files(viewer, saved)
    (second,) = open_files(viewer, saved[:1])
    assert [layer.visible for layer in (heatmap, first, second)] == [False, False, True]
    viewer.layers.remove(first)
    assert not heatmap.visible, "the other map is still seen in its place"
    viewer.layers.remove(second)
    assert heatmap.visible
    assert bars(viewer) == [heatmap]
    (third,) = open_files(viewer, saved[:1])
    (other,) = open_files(viewer, [cohort.normal[0]])
    viewer.layers.remove(third)
    assert not heatmap.visible, "another scan is looked at"
    ready.scan.layers.value = scan
    assert heatmap.visible
    assert other in viewer.layers


def test_a_map_from_a_file_comes_again_when_what_was_found_is_removed(qtbot, ready, viewer, saved):
    opened_map, _ = open_files(viewer, saved)
    find(qtbot, ready)
    find(qtbot, ready, ready.find.slice_button)
    shown = []
    opened_map.events.visible.connect(lambda event: shown.append(opened_map.visible))
    # Another scan file behind the same layer: the result is made anew, in layers of its own.
    ready.scan.layer.data = ready.scan.layer.data + 1
    find(qtbot, ready)
    assert not any(shown), "not meanwhile"
    heatmap, mask = found_layers(viewer)
    viewer.layers.remove(mask)
    qtbot.waitUntil(lambda: heatmap not in viewer.layers)
    assert opened_map.visible


def test_a_slice_that_was_scored_with_the_whole_scan_is_shown_again(qtbot, ready, viewer, saved):
    find(qtbot, ready)
    heatmap, mask = found_layers(viewer)
    opened_map, _ = open_files(viewer, saved)
    find(qtbot, ready, ready.find.slice_button)
    assert "that result stands" in ready.find.note.text()
    assert viewer.layers[-2:] == [heatmap, mask]
    assert heatmap.visible
    assert not opened_map.visible


def test_other_layers_stay_above_the_result(qtbot, ready, viewer, saved):
    """What a user has drawn or laid over the scan is no result: it stays in its place."""
    points = viewer.add_points(np.zeros((1, 3)))
    find(qtbot, ready)
    open_files(viewer, saved)
    find(qtbot, ready)
    more = viewer.add_points(np.zeros((1, 3)))
    find(qtbot, ready)
    assert viewer.layers[1] is points
    assert viewer.layers[-1] is more


def test_only_what_is_found_hides_a_map(qtbot, ready, viewer, saved):
    """A hand that comes near the button, or a run that ends at once, takes nothing away."""
    opened_map, _ = open_files(viewer, saved)
    ready.finder.scoring.get_ready(ready.scan.layer)
    assert opened_map.visible
    # As while the process gets ready: finding waits for it.
    ready.finder.preparation._is_free.clear()
    ready.finder.runner.started.connect(ready.finder.runner.cancel)
    with qtbot.waitSignal(ready.finder.runner.finished, timeout=TIMEOUT_MS):
        click(qtbot, ready.find.scan_button)
    ready.finder.preparation._is_free.set()
    assert ready.finder.result is None
    assert opened_map.visible
    assert bars(viewer) == [opened_map]


def test_maps_that_lie_elsewhere_stay(qtbot, ready, viewer, saved):
    (elsewhere,) = open_files(viewer, saved[:1])
    elsewhere.translate = (0, 0, 10_000)
    find(qtbot, ready)
    assert elsewhere.visible


def test_maps_in_the_grid_stay(qtbot, ready, viewer, saved):
    (beside,) = open_files(viewer, saved[:1])
    grid_of(viewer).enabled = True
    find(qtbot, ready)
    assert beside.visible


def test_a_result_found_while_another_scan_is_looked_at_stays_hidden(qtbot, ready, viewer, cohort, saved):
    first = ready.scan.layer
    opened_map, normal = open_files(viewer, [saved[0], cohort.normal[0]])
    ready.scan.choose(first)
    ready.finder.runner.started.connect(lambda: ready.scan.choose(normal))
    find(qtbot, ready)
    heatmap, mask = found_layers(viewer)
    assert not heatmap.visible
    assert not mask.visible
    ready.scan.choose(first)
    assert heatmap.visible
    assert mask.visible
    assert opened_map.visible


def test_the_bar_is_of_the_uppermost_map_and_titled_as_what_it_is(qtbot, ready, viewer):
    find(qtbot, ready)
    heatmap, mask = overlays(viewer)
    title = viewer.canvas.overlays["dinoad_colour_bar"] if hasattr(viewer, "canvas") else None
    assert bars(viewer) == [heatmap]
    with qtbot.waitSignal(ready.explainer.runner.succeeded, timeout=TIMEOUT_MS):
        ready.result.explain_box.click()
    (explained,) = set(found_layers(viewer)) - {heatmap, mask}
    assert bars(viewer) == [heatmap]
    assert title is None or title.visible
    heatmap.visible = False
    assert bars(viewer) == [explained]
    assert title is None or not title.visible
    heatmap.visible = True
    assert bars(viewer) == [heatmap]
    heatmap.colorbar.visible = False
    mask.visible = False
    mask.visible = True
    assert bars(viewer) == []
    assert isinstance(mask, Labels)


def test_the_title_of_the_bar_is_out_of_its_way_in_the_grid(ready, viewer, saved):
    if not hasattr(viewer, "canvas"):
        pytest.skip("napari before 0.9 shows no text of plugins on its canvas")
    open_files(viewer, saved[:1])
    title = viewer.canvas.overlays["dinoad_colour_bar"]
    assert title.visible
    grid_of(viewer).enabled = True
    assert not title.visible, "the bar is in its layer's cell"
    grid_of(viewer).enabled = False
    assert title.visible


def test_the_bar_lies_on_black_in_every_theme(ready, viewer, saved):
    viewer.theme = "light"
    (opened_map,) = open_files(viewer, saved[:1])
    bar = opened_map.colorbar
    assert bar.visible and bar.box
    np.testing.assert_array_equal(bar.box_color, (0, 0, 0, 1))
    np.testing.assert_array_equal(bar.color, (1, 1, 1, 1))


def test_the_title_leaves_room_for_the_letter_on_a_narrow_canvas(ready, viewer, saved):
    if not hasattr(viewer, "canvas"):
        pytest.skip("napari before 0.9 has no more texts on its canvas")
    open_files(viewer, saved[:1])
    title = viewer.canvas.overlays["dinoad_colour_bar"]
    for width, is_shown in ((700, True), (300, False), (700, True)):
        viewer.canvas.size = (500, width)
        assert title.visible == is_shown


def test_a_bar_appears_again_in_a_grid_that_has_become_smaller(viewer):
    """napari draws it in the cell where it was last, which may be gone."""
    lower, *others = (viewer.add_image(np.eye(20), name=name) for name in "abcd")
    grid_of(viewer).enabled = True
    set_colour_bar(lower, True)
    set_colour_bar(lower, False)
    for other in others:
        viewer.layers.remove(other)
    set_colour_bar(lower, True)
    assert lower.colorbar.visible
