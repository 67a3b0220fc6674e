"""One dock widget a viewer: a later one takes the place of the one before, and what was chosen in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from napari.layers import Layer
    from napari.viewer import Viewer

    from napari_dinoad.gui.dock_widget import DockWidget
    from napari_dinoad.settings import Device

__all__ = ["DockBefore"]


@dataclass(frozen=True, eq=False)
class DockBefore:
    """What was chosen in a dock widget that has left the viewer.

    napari knows its docks by name, and gives one that a script opens another name than its menu does. Of two in one
    viewer each would take the other's results away.
    """

    layer: Layer | None
    model_path: Path | None
    rate: float
    device: Device
    has_planes: bool

    @classmethod
    def take_from(cls, viewer: Viewer, kind: type[DockWidget]) -> DockBefore | None:
        """Take the dock widget out of a viewer's window, as closing it does; None where there is none."""
        docks = [widget for widget in viewer.window.dock_widgets.values() if isinstance(widget, kind)]
        if not docks:
            return None
        dock = docks[-1]
        model = dock.normal.model
        before = cls(
            dock.scan.layer,
            None if model is None else model.path,
            dock.result.new_rate,
            dock.find.device,
            dock.planes.is_on,
        )
        for one in docks:
            viewer.window.remove_dock_widget(one)
        return before

    def give_to(self, dock: DockWidget) -> None:
        """Choose the same in another dock widget."""
        if self.model_path is not None:
            dock.normal.choose(self.model_path)
        if self.layer is not None:
            dock.scan.choose(self.layer)
        dock.find.set_device(self.device)
        if dock.finder.result is None:
            dock.result.set_new_rate(self.rate)
        dock.masks.planes_box.setChecked(self.has_planes)
