"""Commands that menus of napari call, and what it does with a model that is opened as if it were an image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari import current_viewer
from napari.viewer import Viewer  # noqa: TC002 - napari resolves the annotation when it calls the command
from qtpy.QtWidgets import QDockWidget

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_dinoad.gui.dock_widget import DockWidget

__all__ = ["get_model_reader", "open_study"]

_DOCK_NAME = "Find anomalies (DINOAD)"
"""As napari names the dock that its Plugins menu opens, so that the menu hides and shows this one."""


def open_study(viewer: Viewer) -> None:
    """Show the dock widget and ask for files to open."""
    _dock_of(viewer).scan.ask_for_files()


def get_model_reader(path: str | list[str]) -> Callable[[str | list[str]], list[tuple[None]]]:
    """Return a reader that chooses the model in the dock widget, and opens no layer (npe2 reader contribution)."""
    return _choose_model


def _choose_model(path: str | list[str]) -> list[tuple[None]]:
    viewer = current_viewer()
    if viewer is not None:
        for one in [path] if isinstance(path, str) else path:
            _dock_of(viewer).normal.choose(Path(one))
    return [(None,)]


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
