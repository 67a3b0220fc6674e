"""Two docks in one viewer: one opened by a script, one by napari's menu, under another name."""

from __future__ import annotations

import numpy as np
import pytest
from napari._app_model import get_app_model

from dock_driver import find, overlays
from napari_dinoad.gui.dock_widget import DockWidget

MENU, SCRIPT = "Find anomalies (DINOAD)", "Find anomalies (napari-dinoad)"


@pytest.fixture
def by_menu(viewer):
    """Return what opens a dock as napari's menu does."""

    def open_dock():
        get_app_model().commands.execute_command("napari-dinoad.find").result()
        return viewer.window.dock_widgets[MENU]

    return open_dock


def docks(viewer):
    return [widget for widget in viewer.window.dock_widgets.values() if isinstance(widget, DockWidget)]


def test_a_second_dock_takes_the_place_of_the_first_and_goes_on_with_what_was_found(
    qtbot, ready, viewer, by_menu, cohort
):
    scan = ready.scan.layer
    find(qtbot, ready)
    ready.finder.set_rate(0.003)
    found = ready.finder.result
    ready.find.set_device("cpu")
    ready.masks.planes_box.setChecked(True)
    other = viewer.open(str(sorted(cohort.normal_folder.iterdir())[0]), plugin="napari-dinoad")[0]
    ready.scan.layers.value = scan
    second = by_menu()
    assert docks(viewer) == [second]
    assert SCRIPT not in viewer.window.dock_widgets
    assert second.scan.layer is scan
    assert second.normal.model.path == ready.normal.model.path
    assert second.finder.result is found
    assert second.result.new_rate == 0.003
    assert second.find.device == "cpu"
    assert second.planes.is_on
    assert all(layer.visible for layer in overlays(viewer))
    second.scan.layers.value = other
    assert not any(layer.visible for layer in overlays(viewer))
    find(qtbot, second)
    second.scan.layers.value = scan
    assert second.finder.result is found
    assert np.count_nonzero(found.values)


def test_the_dock_of_a_script_takes_the_place_of_that_of_the_menu(viewer, by_menu):
    by_menu()
    _, second = viewer.window.add_plugin_dock_widget("napari-dinoad", "Find anomalies")
    assert docks(viewer) == [second]
    assert MENU not in viewer.window.dock_widgets
    _, again = viewer.window.add_plugin_dock_widget("napari-dinoad", "Find anomalies")
    assert again is second
