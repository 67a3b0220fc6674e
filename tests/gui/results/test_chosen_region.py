"""The region that is chosen in the table is told from the others on the canvas."""

from __future__ import annotations

import nibabel as nib
import numpy as np
from napari.layers import Labels
from qtpy.QtCore import Qt

from dock_driver import find_planted, overlays
from napari_dinoad.gui.viewer.mask_values import CHOSEN, CHOSEN_UNTICKED


def choose_row(dock, row):
    table = dock.result.table
    table.setCurrentItem(table.topLevelItem(row))
    return table.chosen_region()


def test_it_has_a_colour_of_its_own_in_the_mask(qtbot, ready, viewer):
    find_planted(qtbot, ready)
    _, mask = overlays(viewer)
    assert mask.data.max() == 1
    for row in (1, 0):
        region = choose_row(ready, row)
        labels = ready.finder.result.labels()
        np.testing.assert_array_equal(mask.data == CHOSEN, labels == region.label)
        np.testing.assert_array_equal(mask.data > 0, labels > 0)
    assert not np.allclose(mask.get_color(1), mask.get_color(CHOSEN))


def test_it_is_nothing_else_in_what_is_made_of_the_mask(qtbot, ready, viewer, tmp_path):
    find_planted(qtbot, ready)
    choose_row(ready, 0)
    _, mask = overlays(viewer)
    plain = mask.data > 0
    mask.save(str(tmp_path / "mask.nii.gz"), plugin="napari-dinoad")
    assert np.unique(nib.load(tmp_path / "mask.nii.gz").dataobj).tolist() == [0, 1]
    viewer.layers.selection = {mask}
    duplicate = Labels.create(*mask.as_layer_data_tuple())
    viewer.add_layer(duplicate)
    ready.result.edit_button.click()
    corrected = viewer.layers.selection.active
    for copy in (duplicate, corrected):
        assert copy is not mask
        np.testing.assert_array_equal(copy.data, plain)
    corrected.data[0, 0, 0] = CHOSEN
    corrected.save(str(tmp_path / "corrected.nii.gz"), plugin="napari-dinoad")
    assert np.asarray(nib.load(tmp_path / "corrected.nii.gz").dataobj).max() == CHOSEN, "a person's label"
    assert mask.data.max() == CHOSEN


def test_an_unticked_one_is_seen_but_in_nothing_that_is_made_of_the_mask(qtbot, ready, viewer, tmp_path):
    find_planted(qtbot, ready)
    region = choose_row(ready, 0)
    ready.result.table.currentItem().setCheckState(0, Qt.CheckState.Unchecked)
    _, mask = overlays(viewer)
    labels = ready.finder.result.labels()
    np.testing.assert_array_equal(mask.data == CHOSEN_UNTICKED, labels == region.label)
    np.testing.assert_array_equal(mask.get_color(CHOSEN_UNTICKED), mask.get_color(CHOSEN))
    ticked = (labels > 0) & (labels != region.label)
    mask.save(str(tmp_path / "mask.nii.gz"), plugin="napari-dinoad")
    ready.result.edit_button.click()
    volume = ready.finder.result.volume
    saved = volume.geometry.to_canonical(np.asarray(nib.load(tmp_path / "mask.nii.gz").dataobj))
    np.testing.assert_array_equal(saved, ticked)
    np.testing.assert_array_equal(viewer.layers.selection.active.data, ticked)


def test_it_is_no_more_when_another_scan_is_looked_at_or_the_dock_is_closed(qtbot, ready, viewer):
    find_planted(qtbot, ready)
    choose_row(ready, 0)
    _, mask = overlays(viewer)
    layer = ready.scan.layer
    other = viewer.add_image(np.random.default_rng(0).random((4, 16, 16)))
    ready.scan.choose(other)
    ready.scan.choose(layer)
    assert (ready.result.table.chosen_region() is None) == (mask.data.max() == 1)
    choose_row(ready, 1)
    assert mask.data.max() == CHOSEN
    ready.finder.close()
    assert mask.data.max() == 1
