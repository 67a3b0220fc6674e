"""Drives the dock widget through its own buttons, for the tests of the napari side."""

from __future__ import annotations

import numpy as np
from napari.layers import Image, Labels
from qtpy.QtCore import Qt

from napari_dinoad.gui.viewer.layer_marks import is_overlay
from napari_dinoad.gui.work.jobs import SlicesScored
from patience import TIMEOUT_MS


def click(qtbot, button):
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def save_in_dialog(qtbot, dialog, exporter, folder, outputs, segments=0):
    """Choose outputs and folder in an export dialog, press Save, and wait until all is written."""
    for key, box in dialog.choices.items():
        box.setChecked(key in outputs)
    dialog.segments.setCurrentIndex(segments)
    dialog.folder.value = folder
    with qtbot.waitSignal(exporter.finished, timeout=TIMEOUT_MS):
        click(qtbot, dialog.buttons.button(dialog.buttons.StandardButton.Save))


def find(qtbot, dock, button=None):
    with qtbot.waitSignal(dock.finder.runner.finished, timeout=TIMEOUT_MS):
        click(qtbot, button or dock.find.scan_button)
    qtbot.waitUntil(lambda: dock.finder.result is None or dock.finder.result.is_measured, timeout=TIMEOUT_MS)


def show_again(dock):
    """Draw the result anew, and have its regions measured, for values that were put in here."""
    dock.finder.found.overlay.refresh_map()
    dock.finder.map_changed.emit()
    dock.finder.set_rate(dock.finder.result.fpr)


def find_planted(qtbot, dock):
    """Score the scan, then put three regions of known values in place of what was found.

    What is found depends on the backbone; what the interface does with regions does not.
    """
    find(qtbot, dock)
    result = dock.finder.result
    values = np.zeros_like(result.values)
    for z, peak in ((5, 4.2), (10, 3.6), (14, 2.4)):
        values[z : z + 2, 20:30, 20:28] = 2.2
        values[z, 24, 24] = peak
    every = tuple(range(values.shape[0]))
    result.put(SlicesScored(0, every, values))
    with qtbot.waitSignal(dock.finder.regions_changed, timeout=TIMEOUT_MS):
        show_again(dock)
    assert [round(region.peak_neg_log10_p, 1) for region in result.regions] == [4.2, 3.6, 2.4]


def overlays(viewer):
    heatmap = next(layer for layer in viewer.layers if is_overlay(layer) and isinstance(layer, Image))
    mask = next(layer for layer in viewer.layers if is_overlay(layer) and isinstance(layer, Labels))
    return heatmap, mask
