"""The line around the widget that the keyboard is at."""

import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QApplication, QPushButton

from napari_dinoad.gui.parts.focus_ring import FocusRing


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
