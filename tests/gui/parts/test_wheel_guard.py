"""The wheel scrolls the dock and changes nothing that it passes over."""

from __future__ import annotations

import pytest
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import QAbstractSpinBox, QApplication, QComboBox

from napari_dinoad.gui.fit.fit_panel import FitPanel
from napari_dinoad.gui.parts.folding import Folded, ScrolledColumn
from napari_dinoad.gui.results.rate_slider import RateSlider


def turn(widget):
    """Turn the wheel towards the user over a widget, as the window system tells of it."""
    middle = QPointF(widget.rect().center())
    event = QWheelEvent(
        middle,
        QPointF(widget.mapToGlobal(middle.toPoint())),
        QPoint(),
        QPoint(0, -120),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(widget, event)


@pytest.fixture
def panel(qtbot, viewer):
    shown = FitPanel(viewer)
    qtbot.addWidget(shown)
    shown.resize(400, 250)
    with qtbot.waitExposed(shown):
        shown.show()
    return shown


@pytest.mark.parametrize("kind", [QComboBox, QAbstractSpinBox])
def test_the_wheel_over_a_field_of_the_fit_scrolls_and_changes_nothing(qtbot, panel, kind):
    bar = panel.findChild(ScrolledColumn).verticalScrollBar()
    qtbot.waitUntil(lambda: bar.maximum() > 0)
    for folded in panel.findChildren(Folded):
        folded.expand()
    fields = [field for field in panel.findChildren(kind) if field.isVisible()]
    assert len(fields) > 2
    for field in fields:
        value = field.currentIndex() if kind is QComboBox else field.value()
        bar.setValue(0)
        turn(field)
        assert (field.currentIndex() if kind is QComboBox else field.value()) == value
        assert bar.value() > 0


def test_the_wheel_over_the_dock_changes_neither_model_nor_device_nor_rate(qtbot, dock, viewer):
    viewer.show()
    qtbot.waitUntil(dock.isVisible)
    dock.normal.models.addItem("another")
    rate = dock.findChild(RateSlider)
    for box in (dock.normal.models, dock.scan.layers.native, dock.find.devices):
        before = box.currentIndex()
        turn(box)
        assert box.currentIndex() == before
    before = rate.slider.value()
    turn(rate.slider)
    assert rate.slider.value() == before
