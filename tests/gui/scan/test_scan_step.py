"""Step 1 in a real viewer: which scan is chosen, and what is said of it."""

from __future__ import annotations

import numpy as np
import pytest

from dock_driver import TIMEOUT_MS, find
from napari_dinoad.gui.scan.scan_step import scan_in_words
from napari_dinoad.gui.viewer.layer_scan import LayerScan, ScanSource
from napari_dinoad.gui.viewer.layers import same_layer
from napari_dinoad.images.volume import Geometry


@pytest.fixture
def two_scans(ready, viewer, cohort):
    """Return the layers of a patient and of a normal scan on top; the patient is chosen."""
    patient = ready.scan.layer
    (normal,) = viewer.open(str(cohort.normal[0]), plugin="napari-dinoad")
    ready.scan.choose(patient)
    return patient, normal


def test_a_renamed_scan_stays_chosen_with_its_result(qtbot, ready, two_scans, tmp_path):
    patient, _ = two_scans
    find(qtbot, ready)
    result = ready.finder.result
    changes = []
    ready.scan.layer_changed.connect(lambda: changes.append(ready.scan.layer))
    patient.name = "renamed"
    assert same_layer(ready.scan.layer, patient)
    assert ready.scan.layers.native.currentText() == "renamed"
    assert ready.finder.result is result
    assert changes == []
    with qtbot.waitSignal(ready.result.exporter.finished, timeout=TIMEOUT_MS):
        ready.result.export(tmp_path, ("mask",))
    assert [path.name for path in tmp_path.glob("*.nii.gz")] == ["patient_bright_mask.nii.gz"]


def test_the_topmost_scan_is_chosen_when_the_chosen_one_is_removed(ready, viewer, two_scans, cohort):
    patient, normal = two_scans
    (top,) = viewer.open(str(cohort.normal[1]), plugin="napari-dinoad")
    ready.scan.choose(patient)
    viewer.layers.remove(patient)
    assert same_layer(ready.scan.layer, top)
    viewer.layers.clear()
    assert ready.scan.layer is None
    assert normal not in ready.scan.layers.choices


@pytest.mark.parametrize(
    ("geometry", "told"),
    [
        (Geometry.of_pixels((1, 1)), "1 × 1 pixels"),
        (Geometry.of_pixels((1, 5)), "5 × 1 pixels"),
        (Geometry.of_pixels((4, 5)), "5 × 4 pixels"),
        (Geometry((3, 1), np.diag([2.0, 2.0, 1.0, 1.0])), "3 × 1 pixels of 2 × 2 mm"),
        (Geometry((5, 6, 7), np.diag([1.0, 2.0, 3.0, 1.0])), "5 × 6 × 7 voxels of 1 × 2 × 3 mm"),
        (Geometry((5, 6, 1), np.diag([1.0, 2.0, 3.0, 1.0])), "5 × 6 pixels of 1 × 2 mm"),
        (Geometry((5, 1, 7), np.diag([1.0, 2.0, 3.0, 1.0])), "5 × 7 pixels of 1 × 3 mm"),
    ],
)
def test_the_size_of_a_scan_is_told_however_small(geometry, told):
    assert scan_in_words(LayerScan(None, ScanSource(geometry, "scan"))) == told


def test_what_the_numbers_of_a_size_are_is_told_of_volumes_only(dock, viewer, two_scans):
    """Of a picture it said across (right–left), deep, high; and so it did where there was no scan."""
    assert "right–left" in dock.scan.about.toolTip()
    viewer.add_image(np.zeros((40, 50), np.float32), name="picture")
    dock.scan.choose(viewer.layers["picture"])
    assert "40 pixels" in dock.scan.about.text()
    assert dock.scan.about.toolTip() == ""
    viewer.layers.clear()
    assert dock.scan.about.toolTip() == ""
