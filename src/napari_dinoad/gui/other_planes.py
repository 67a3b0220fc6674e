"""The planes that the canvas does not show, through the point that is looked at, in a dock of their own."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QEvent, QObject, Qt, QTimer, Signal
from qtpy.QtWidgets import QMainWindow

from napari_dinoad.gui.viewer_parts import point_in_layer, show_index

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari.viewer import Viewer
    from qtpy.QtWidgets import QWidget

    from napari_dinoad.gui.find_controller import FindController, Found
    from napari_dinoad.gui.planes_view import PlanesView, Scene

__all__ = ["OtherPlanes"]

_DOCK_NAME = "Other planes (napari-dinoad)"

_DRAW_MS = 30
"""Changes that come closer to each other than this are drawn together."""

_STILL_PX = 3
"""A press that moves less than this on the canvas is a click."""

_MOVES = "pan_zoom"
"""The mode of a layer in which a press on the canvas neither paints nor picks."""


class OtherPlanes(QObject):
    """While it is on, shows the scan's other planes with the result; a click there or on the canvas goes there.

    `closed` comes when the user closes the dock; hiding it closes it too, as nothing would bring it back.
    """

    closed = Signal()

    def __init__(self, viewer: Viewer, finder: FindController, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._finder = finder
        self._followed: tuple[Any, ...] = ()
        self._corners: Callable[[], None] = _nothing
        self.view: PlanesView | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_DRAW_MS)
        self._timer.timeout.connect(self._draw)
        for signal in (
            finder.result_changed,
            finder.map_changed,
            finder.regions_changed,
            finder.standing_changed,
        ):
            signal.connect(self.look)

    @property
    def is_on(self) -> bool:
        """Whether the planes are there."""
        return self.view is not None

    def set_on(self, is_on: bool) -> None:
        """Open or close the dock."""
        if is_on == self.is_on:
            return
        if is_on:
            # Loaded when it is asked for: the dock opens without what draws pictures.
            from napari_dinoad.gui.planes_view import PlanesView

            self.view = PlanesView()
            self.view.point_chosen.connect(self._go_to)
            self.view.woken.connect(self.look)
            self.view.left.connect(self._on_left)
            dock = self._viewer.window.add_dock_widget(self.view, name=_DOCK_NAME, area="bottom")
            dock.installEventFilter(self)
            self._corners = give_corners_to_sides(self.view.window())
            self._viewer.dims.events.connect(self.look)
            self._viewer.mouse_drag_callbacks.append(self._on_press)
            self.look()
        elif self.view is not None:
            self._viewer.window.remove_dock_widget(self.view)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Close the planes with their dock, which napari merely hides by one of its buttons."""
        if event is not None and event.type() == QEvent.Type.Close:
            self.set_on(False)
        return False

    def look(self, event: object = None) -> None:
        """Draw soon what there is to be seen."""
        if self.is_on and not self._timer.isActive():
            self._timer.start()

    def _on_left(self) -> None:
        """Let go of all that was followed for the view."""
        view, self.view = self.view, None
        if view is None:
            return
        self._timer.stop()
        self._viewer.dims.events.disconnect(self.look)
        if self._on_press in self._viewer.mouse_drag_callbacks:
            self._viewer.mouse_drag_callbacks.remove(self._on_press)
        self._follow(None)
        self._corners()
        view.deleteLater()
        self.closed.emit()

    def _follow(self, found: Found | None) -> None:
        """Draw anew when the grey limits of the scan's layer change, or heatmap or mask are shown or hidden."""
        events = () if found is None else _events_of(found)
        if events == self._followed:
            return
        for event in self._followed:
            event.disconnect(self.look)
        for event in events:
            event.connect(self.look)
        self._followed = events

    def _draw(self) -> None:
        if self.view is None:
            return
        found = self._found()
        self._follow(found)
        # Pictures behind another dock are not drawn, and keep nothing alive.
        if found is None or not self.view.isVisible():
            self.view.show_scene(None)
        else:
            self.view.show_scene(self._scene(found))

    def _found(self) -> Found | None:
        """Return what there is to be seen: the result of the volume that is shown."""
        found = self._finder.found
        if found is None or found.layer not in self._viewer.layers or not self._finder.standing.is_of_picture:
            return None
        return found if min(found.result.values.shape) > 1 else None

    def _scene(self, found: Found) -> Scene:
        from napari_dinoad.gui.planes_view import Scene

        result = found.result
        limits = getattr(found.layer, "contrast_limits", None)
        low, high = (
            limits if limits is not None and not found.scan.is_rgb else _range_of(result.volume.values)
        )
        shown = self._shown_axis(found)
        overlay = found.overlay
        has_heatmap, has_mask = (
            (True, True) if overlay is None else (overlay.heatmap.visible, overlay.mask.visible)
        )
        return Scene(
            values=result.volume.values,
            neg_log10_p=result.values if has_heatmap else None,
            mask=result.mask if has_mask else None,
            geometry=result.volume.geometry,
            window=(float(low), float(high)),
            point=found.shown_index(self._viewer),
            axes=tuple(axis for axis in range(3) if axis != shown),
        )

    def _shown_axis(self, found: Found) -> int | None:
        """Return the canonical axis across which the canvas shows the scan; None in 3D."""
        dims, layer = self._viewer.dims, found.layer
        n_before = dims.ndim - layer.ndim
        hidden = [axis - n_before for axis in dims.not_displayed if axis - n_before >= layer.ndim - 3]
        if len(hidden) != 1:
            return None
        here = point_in_layer(self._viewer, layer)
        far = np.array(here)
        here[hidden[0]], far[hidden[0]] = 0, found.scan.data.shape[hidden[0]] - 1
        apart = np.subtract(found.scan.canonical_index(far), found.scan.canonical_index(here))
        return int(np.argmax(np.abs(apart)))

    def _go_to(self, zyx: tuple[int, int, int]) -> None:
        found = self._found()
        if found is not None:
            show_index(self._viewer, found.layer, found.scan.data_index(zyx))

    def _on_press(self, viewer: Viewer, event: Any) -> Iterator[None]:
        """Go to the point of the canvas that is clicked, unless it is dragged or a tool is in hand."""
        active = viewer.layers.selection.active
        if event.button != 1 or event.modifiers or getattr(active, "mode", _MOVES) != _MOVES:
            return
        start = np.asarray(event.pos, dtype=float)
        yield
        while event.type == "mouse_move":
            if np.abs(np.asarray(event.pos, dtype=float) - start).max() >= _STILL_PX:
                return
            yield
        found = self._found()
        if found is None or viewer.dims.ndisplay != 2:
            return
        self._go_to(found.scan.canonical_index(point_in_layer(viewer, found.layer, event.position)))


def give_corners_to_sides(window: QWidget) -> Callable[[], None]:
    """Let a main window's docks at the sides reach down to its lower edge; return what takes that back.

    A dock below is as wide as the canvas then, and takes no height from the docks beside it.
    """
    if not isinstance(window, QMainWindow):
        return _nothing
    corners, areas = Qt.Corner, Qt.DockWidgetArea
    sides = {
        corners.BottomLeftCorner: areas.LeftDockWidgetArea,
        corners.BottomRightCorner: areas.RightDockWidgetArea,
    }
    before = {corner: window.corner(corner) for corner in sides}
    for corner, area in sides.items():
        window.setCorner(corner, area)
    known = weakref.ref(window)

    def take_back() -> None:
        alive = known()
        if alive is not None:
            for corner, area in before.items():
                alive.setCorner(corner, area)

    return take_back


def _events_of(found: Found) -> tuple[Any, ...]:
    """Return the events of layers by which pictures change."""
    limits = getattr(found.layer.events, "contrast_limits", None)
    shown = () if found.overlay is None else (found.overlay.heatmap, found.overlay.mask)
    return (*([] if limits is None else [limits]), *(layer.events.visible for layer in shown))


def _nothing() -> None:
    """Take nothing back."""


def _range_of(values: np.ndarray) -> tuple[float, float]:
    return float(values.min()), float(values.max())
