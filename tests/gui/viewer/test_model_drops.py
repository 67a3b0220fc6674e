"""Models that are dropped on the canvas."""

from __future__ import annotations

from qtpy.QtCore import QCoreApplication, QEvent
from qtpy.QtWidgets import QMainWindow, QWidget

from napari_dinoad.gui.viewer.model_drops import ModelDrops


def test_a_window_that_is_gone_is_not_watched(qapp, qtbot):
    """Where a viewer is closed at once; PyQt6 forgot such calls, PySide6 made them."""
    window = QMainWindow()
    drops = ModelDrops(QWidget(window), print)
    drops.watch_soon()
    window.deleteLater()
    QCoreApplication.sendPostedEvents(window, QEvent.Type.DeferredDelete)
    qapp.processEvents()
