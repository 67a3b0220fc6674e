"""The chosen scan is what the canvas shows, or the dock says that it is not."""

from __future__ import annotations

import numpy as np
import pytest

from dock_driver import find
from napari_dinoad.gui.scan.covering import layers_over
from napari_dinoad.gui.viewer.viewer_parts import grid_of


@pytest.fixture
def two_scans(ready, viewer, cohort):
    """Return the layers of a patient and of a normal scan that lies over it; the normal one is chosen."""
    patient = ready.scan.layer
    (normal,) = viewer.open(str(cohort.normal[0]), plugin="napari-dinoad")
    return patient, normal


def test_a_scan_beneath_another_is_told_of_and_can_be_shown(ready, two_scans):
    patient, normal = two_scans
    cover = ready.scan.cover
    assert cover.isHidden()
    ready.scan.choose(patient)
    assert f"“{normal.name}” lies over this scan" in cover.note.text()
    assert not cover.isHidden()
    cover.button.click()
    assert patient.visible
    assert not normal.visible
    assert cover.isHidden()
    ready.scan.choose(normal)
    assert "hidden" in cover.note.text()
    cover.button.click()
    assert cover.isHidden()


def test_what_covers_the_scan_later_is_told_of_too(ready, viewer, two_scans):
    patient, normal = two_scans
    cover = ready.scan.cover
    ready.scan.choose(patient)
    for change, is_over in (
        (lambda: setattr(normal, "opacity", 0.5), False),
        (lambda: setattr(normal, "opacity", 1.0), True),
        (lambda: setattr(normal, "blending", "additive"), False),
        (lambda: setattr(normal, "blending", "translucent"), True),
        (lambda: viewer.layers.move(1, 0), False),
        (lambda: viewer.layers.move(0, 2), True),
        (lambda: setattr(grid_of(viewer), "enabled", True), False),
        (lambda: setattr(grid_of(viewer), "enabled", False), True),
        (lambda: viewer.layers.remove(normal), False),
    ):
        change()
        assert cover.isHidden() is not is_over


def test_scans_that_are_drawn_together_in_3d_are_told_of(ready, viewer, two_scans):
    """A head in CT far below the patient's is not seen in 2D; in 3D its skull was drawn into the patient's."""
    patient, normal = two_scans
    cover = ready.scan.cover
    ready.scan.choose(patient)
    normal.translate = np.add(normal.translate, (900, 0, 0))
    viewer.layers.move(1, 0)
    assert cover.isHidden()
    viewer.dims.ndisplay = 3
    assert f"“{normal.name}” is drawn in 3D together with this scan" in cover.note.text()
    cover.button.click()
    assert patient.visible and not normal.visible
    assert cover.isHidden()
    normal.visible = True
    assert not cover.isHidden()
    grid_of(viewer).enabled = True
    assert cover.isHidden(), "each has a cell of its own"
    grid_of(viewer).enabled = False
    assert not cover.isHidden()
    viewer.dims.ndisplay = 2
    assert cover.isHidden()


def test_a_scan_chosen_in_the_box_is_shown_at_once(ready, two_scans):
    patient, normal = two_scans
    box = ready.scan.layers.native
    box.setCurrentIndex(box.findText(patient.name))
    assert ready.scan.layer is patient
    assert not normal.visible
    box.setCurrentIndex(box.findText(normal.name))
    assert normal.visible
    assert ready.scan.cover.isHidden()


def test_a_scan_that_is_dragged_over_its_heatmap_is_told_of_and_goes_beneath_again(qtbot, ready, viewer):
    find(qtbot, ready)
    scan, cover = ready.scan.layer, ready.scan.cover
    overlay = ready.finder.found.overlay
    assert cover.isHidden()
    viewer.layers.move(viewer.layers.index(scan), len(viewer.layers))
    assert f"“{overlay.mask.name}” and 1 more lie under this scan and cannot be seen" in cover.note.text()
    assert not cover.isHidden()
    overlay.mask.visible = False
    assert f"“{overlay.heatmap.name}” lies under this scan" in cover.note.text()
    scan.opacity = 0.5
    assert cover.isHidden(), "what shines through can be seen"
    scan.opacity = 1.0
    overlay.mask.visible = True
    cover.button.click()
    assert cover.isHidden()
    assert list(viewer.layers) == [scan, overlay.heatmap, overlay.mask]
    assert scan.visible and overlay.heatmap.visible and overlay.mask.visible


def test_a_map_that_was_opened_before_its_scan_is_told_of(qtbot, ready, viewer, tmp_path):
    find(qtbot, ready)
    path = tmp_path / "anomaly.nii.gz"
    ready.finder.found.overlay.heatmap.save(str(path), plugin="napari-dinoad")
    scan = viewer.layers[0].source.path
    viewer.layers.clear()
    (heatmap,) = viewer.open(str(path), plugin="napari-dinoad")
    (layer,) = viewer.open(scan, plugin="napari-dinoad")
    assert f"“{heatmap.name}” lies under this scan" in ready.scan.cover.note.text()
    ready.scan.cover.button.click()
    assert list(viewer.layers) == [layer, heatmap]


def test_scans_beside_each_other_do_not_cover_each_other(make_napari_viewer):
    viewer = make_napari_viewer()
    first = viewer.add_image(np.ones((4, 8, 8)))
    second = viewer.add_image(np.ones((4, 8, 8)), translate=(0, 0, 20))
    assert layers_over(viewer, first) == []
    second.translate = (0, 0, 4)
    assert layers_over(viewer, first) == [second]


def test_heatmap_and_mask_are_hidden_while_another_scan_is_chosen(qtbot, ready, two_scans):
    patient, normal = two_scans
    ready.scan.choose(patient)
    find(qtbot, ready)
    overlay = ready.finder.found.overlay
    overlay.mask.visible = False
    ready.scan.choose(normal)
    assert not overlay.heatmap.visible
    ready.scan.choose(patient)
    assert overlay.heatmap.visible
    assert not overlay.mask.visible
