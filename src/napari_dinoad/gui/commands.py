"""Commands that menus of napari call."""

from __future__ import annotations

from napari.viewer import Viewer  # noqa: TC002 - napari resolves the annotation when it calls the command

from napari_dinoad.gui.configuration import PLUGIN_NAME

__all__ = ["open_study"]


def open_study(viewer: Viewer) -> None:
    """Show the dock widget and ask for files to open."""
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN_NAME, "Find anomalies")
    widget.scan.ask_for_files()
