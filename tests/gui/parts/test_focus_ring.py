"""The line around the widget that the keyboard is at."""

from pathlib import Path

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QApplication, QPushButton

from napari_dinoad.errors import WeightsNotFoundError
from napari_dinoad.gui.models.weights_dialog import WeightsDialog
from napari_dinoad.gui.parts.focus_ring import FocusRing
from napari_dinoad.gui.results.export_dialog import ExportDialog
from napari_dinoad.gui.scan.scan_chooser import ScanChooser
from napari_dinoad.images.scan_file import ScanFile
from napari_dinoad.images.volume import Geometry, Volume


@pytest.fixture
def shown(dock, viewer, qtbot):
    """Return the dock in a window that is seen."""
    viewer.show()
    qtbot.waitUntil(dock.isVisible)
    yield dock
    dock.window().setAttribute(Qt.WidgetAttribute.WA_KeyboardFocusChange, False)


def go_to(widget, *, by_keys):
    widget.window().setAttribute(Qt.WidgetAttribute.WA_KeyboardFocusChange, by_keys)
    QApplication.instance().focusChanged.emit(None, widget)


def test_the_focus_is_seen_when_it_was_moved_by_keys(shown):
    ring = shown.findChild(FocusRing)
    for widget in (shown.normal.fit_button, shown.normal.models, shown.scan.layers.native, shown.help_button):
        go_to(widget, by_keys=True)
        assert ring.isVisible()
        around = ring.geometry()
        assert around.contains(widget.mapTo(ring.parentWidget(), QPoint()))
        assert around.contains(widget.mapTo(ring.parentWidget(), widget.rect().bottomRight()))
        colours = {ring.grab().toImage().pixelColor(x, 0).name() for x in range(4, ring.width() - 4)}
        assert colours == {ring.palette().windowText().color().name()}


def test_a_click_shows_no_line_and_other_widgets_take_it_away(shown, qtbot):
    ring = shown.findChild(FocusRing)
    go_to(shown.normal.fit_button, by_keys=False)
    assert not ring.isVisible()
    go_to(shown.normal.fit_button, by_keys=True)
    outside = QPushButton()
    qtbot.addWidget(outside)
    go_to(outside, by_keys=True)
    assert not ring.isVisible()


def test_the_line_goes_with_its_widget(shown, qtbot):
    ring, button = shown.findChild(FocusRing), shown.normal.demo_button
    go_to(button, by_keys=True)
    before = ring.geometry()
    shown.scan.tell_fault("A scan that cannot be read, for a reason that takes\nmore than one line.")
    qtbot.waitUntil(lambda: ring.geometry() != before)
    qtbot.waitUntil(
        lambda: ring.geometry().topLeft() == button.mapTo(ring.parentWidget(), QPoint()) - QPoint(2, 2)
    )
    button.hide()
    assert not ring.isVisible()


WINDOWS = {
    "fit": lambda dock: (dock.windows.open_fit(), dock.windows.fit)[1],
    "folder": lambda dock: (dock.windows.open_folder(), dock.windows.folder)[1],
    "export": lambda dock: ExportDialog(
        Volume(np.ones((3, 4, 5), np.float32), Geometry((5, 4, 3), np.eye(4)), "scan"), None, dock
    ),
    "chooser": lambda dock: ScanChooser(
        [ScanFile(Path(f"{name}.nii.gz"), "volume", (5, 4, 3)) for name in "ab"], dock
    ),
    "weights": lambda dock: WeightsDialog(
        WeightsNotFoundError("dinov2_vits14", "Apache-2.0", ("here",), "no network", ("a", "b", "c")), dock
    ),
}


@pytest.mark.parametrize("name", WINDOWS)
def test_the_windows_of_the_dock_show_where_the_keyboard_is(shown, qtbot, name):
    window = WINDOWS[name](shown)
    window.show()
    qtbot.waitUntil(window.isVisible)
    ring = window.findChild(FocusRing)
    button = next(one for one in window.findChildren(QPushButton) if one.isVisible())
    assert not ring.isVisible()
    go_to(button, by_keys=True)
    assert ring.isVisible()
    assert ring.geometry().contains(button.mapTo(ring.parentWidget(), button.rect().center()))
    window.close()
