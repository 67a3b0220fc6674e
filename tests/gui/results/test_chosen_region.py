"""The region that is chosen in the table is told from the others on the canvas."""

from __future__ import annotations

import nibabel as nib
import numpy as np
from napari.layers import Labels

from dock_driver import find_planted, overlays
from napari_dinoad.gui.find.result import CHOSEN


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
