"""Commands that menus of napari call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.viewer import Viewer  # noqa: TC002 - napari resolves the annotation when it calls the command
from qtpy.QtWidgets import QDockWidget

if TYPE_CHECKING:
    from napari_dinoad.gui.dock_widget import DockWidget

__all__ = ["open_study"]

_DOCK_NAME = "Find anomalies (DINOAD)"
"""As napari names the dock that its Plugins menu opens, so that the menu hides and shows this one."""


def open_study(viewer: Viewer) -> None:
    """Show the dock widget and ask for files to open."""
    _dock_of(viewer).scan.ask_for_files()


def _dock_of(viewer: Viewer) -> DockWidget:
    """Return the viewer's dock widget, by whatever name it was opened, or a new one."""
    from napari_dinoad.gui.dock_widget import DockWidget

    for widget in viewer.window.dock_widgets.values():
        if isinstance(widget, DockWidget):
            around = widget.parent()
            if isinstance(around, QDockWidget):
                around.show()
            return widget
    dock = DockWidget(viewer)
    viewer.window.add_dock_widget(dock, name=_DOCK_NAME)
    return dock
