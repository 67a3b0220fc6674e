"""The planes that the canvas does not show, through the point that is looked at, in a dock of their own."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QEvent, QObject, Qt, QTimer, Signal
from qtpy.QtWidgets import QMainWindow, QWidget

from napari_dinoad.errors import DinoadError
from napari_dinoad.gui.results.hand_masks import Ground
from napari_dinoad.gui.viewer.mask_values import CHOSEN, CHOSEN_UNTICKED
from napari_dinoad.gui.viewer.viewer_parts import axis_in_view, moves_of, point_in_layer, show_index

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari.layers import Labels, Layer
    from napari.viewer import Viewer
    from qtpy.QtWidgets import QDockWidget

    from napari_dinoad.gui.find.find_controller import FindController
    from napari_dinoad.gui.find.found import Found
    from napari_dinoad.gui.planes.planes_view import PlanesView, Scene
    from napari_dinoad.gui.results.hand_masks import HandMasks
    from napari_dinoad.gui.viewer.labels_on_scan import LabelsOnScan
    from napari_dinoad.gui.viewer.layer_scan import LayerScan

__all__ = ["OtherPlanes", "has_planes"]

_DOCK_NAME = "Other planes (napari-dinoad)"

_NOT_A_VOLUME = "Shown here: the other planes of the volume that is chosen as scan."
_NOT_READ = (
    "The other planes of this scan are shown once something was found in it: until then its values are not in "
    "memory."
)

_DRAW_MS = 30
"""Changes of what is shown that come closer to each other than this are drawn together."""

_STILL_PX = 3
"""A press that moves less than this on the canvas is a click."""

_MOVES = "pan_zoom"
"""The mode of a layer in which a press on the canvas neither paints nor picks."""


@dataclass(frozen=True, eq=False)
class _Looked:
    """What there is to be seen: a volume, and what was found and drawn in it.

    Attributes
    ----------
    layer : Layer
    scan : LayerScan
    values : numpy.ndarray
        (z, y, x) in canonical orientation, or (z, y, x, 3) of a scan in colour.
    found : Found, optional
        Where it is what was found in these values.
    drawn : tuple of LabelsOnScan
        Those of layers on the scan's voxels, the lowest first.
    """

    layer: Layer
    scan: LayerScan
    values: np.ndarray
    found: Found | None
    drawn: tuple[LabelsOnScan, ...]


class OtherPlanes(QObject):
    """While it is on, shows the scan's other planes with the result and what is drawn by hand.

    A click there or on the canvas goes there. While a scan is chosen that has no other planes, the dock is hidden.

    `closed` comes when the user closes the dock; hiding it closes it too, as nothing would bring it back.
    """

    closed = Signal()

    def __init__(
        self,
        viewer: Viewer,
        finder: FindController,
        hand_masks: HandMasks,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._finder = finder
        self._hand_masks = hand_masks
        self._version = 0
        self._sliced: tuple[Labels, ...] = ()
        self._place: tuple[Any, ...] = ()
        self._followed: tuple[Any, ...] = ()
        self._corners: Callable[[], None] = _nothing
        self.view: PlanesView | None = None
        self._dock: QDockWidget | None = None
        self._has_planes = True
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_DRAW_MS)
        self._timer.timeout.connect(self._draw)
        for signal in (
            finder.result_changed,
            finder.map_changed,
            finder.regions_changed,
            finder.standing_changed,
            finder.region_marked,
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
            from napari_dinoad.gui.planes.planes_view import PlanesView

            self.view = PlanesView()
            self.view.point_chosen.connect(self._go_to)
            self.view.woken.connect(self.look)
            self.view.left.connect(self._on_left)
            dock = self._viewer.window.add_dock_widget(self.view, name=_DOCK_NAME, area="bottom")
            dock.installEventFilter(self)
            self._dock = dock
            self._corners = give_corners_to_sides(self.view.window())
            self._viewer.dims.events.connect(self._draw)
            for event in self._changes_of_list():
                event.connect(self.look)
            self._viewer.mouse_drag_callbacks.append(self._on_press)
            self.look()
        elif self.view is not None:
            self._viewer.window.remove_dock_widget(self.view)

    def follow(self, scan: LayerScan | None) -> None:
        """Show the dock only where the scan that is chosen has other planes; one that is closed stays closed."""
        before, self._has_planes = self._has_planes, has_planes(scan)
        if self._dock is not None and self._has_planes != before:
            self._dock.setVisible(self._has_planes)
        self.look()

    def _chosen(self) -> Layer | None:
        try:
            ground = self._hand_masks.of_scan()
        except DinoadError:
            return None
        return None if ground is None or ground.layer not in self._viewer.layers else ground.layer

    def _changes_of_list(self) -> tuple[Any, ...]:
        events = self._viewer.layers.events
        return events.inserted, events.removed, events.reordered

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Close the planes with their dock, which napari merely hides by one of its buttons."""
        if event is not None and event.type() == QEvent.Type.Close:
            self.set_on(False)
        return False

    def look(self, event: object = None) -> None:
        """Draw soon what there is to be seen, all of it anew."""
        self._version += 1
        if self.is_on and not self._timer.isActive():
            self._timer.start()

    def _on_left(self) -> None:
        """Let go of all that was followed for the view."""
        view, self.view, self._dock = self.view, None, None
        if view is None:
            return
        self._timer.stop()
        self._viewer.dims.events.disconnect(self._draw)
        for event in self._changes_of_list():
            event.disconnect(self.look)
        if self._on_press in self._viewer.mouse_drag_callbacks:
            self._viewer.mouse_drag_callbacks.remove(self._on_press)
        self._follow(None)
        self._corners()
        view.deleteLater()
        self.closed.emit()

    def _follow(self, looked: _Looked | None) -> None:
        """Draw anew when the grey limits of the scan's layer change, or what lies over it."""
        events = () if looked is None else _events_of(looked)
        if events == self._followed:
            return
        for event in self._followed:
            event.disconnect(self.look)
        for event in events:
            event.connect(self.look)
        self._followed = events
        before, self._sliced = (
            self._sliced,
            () if looked is None else tuple(one.layer for one in looked.drawn),
        )
        for layer in before:
            layer.events.set_data.disconnect(self._on_sliced)
            for event in _strokes_of(layer):
                event.disconnect(self._on_painted)
        for layer in self._sliced:
            layer.events.set_data.connect(self._on_sliced)
            for event in _strokes_of(layer):
                event.connect(self._on_painted)
        self._place = self._place_of_slice()

    def _place_of_slice(self) -> tuple[Any, ...]:
        dims = self._viewer.dims
        return tuple(dims.point), tuple(dims.order), dims.ndisplay

    def _on_sliced(self, event: object = None) -> None:
        """Draw anew what was undone or filled: the layer is cut anew though the slice is the same as before."""
        before, self._place = self._place, self._place_of_slice()
        if self._place == before:
            self.look()

    def _on_painted(self, event: object = None) -> None:
        self._version += 1
        self._draw()

    def _draw(self, event: object = None) -> None:
        """Show what there is to be seen; steps and strokes come here at once.

        Pictures are made when Qt asks for them, together with the canvas: where a window's frames are put together
        by the processor, one for the planes alone would cost more than the pictures do.
        """
        if self.view is None:
            return
        looked = self._looked()
        self._follow(looked)
        # Pictures behind another dock are not drawn, and keep nothing alive.
        if looked is None or not self.view.isVisible():
            self.view.show_scene(None, _NOT_READ if self._has_planes else _NOT_A_VOLUME)
        else:
            self.view.show_scene(self._scene(looked))

    def _looked(self) -> _Looked | None:
        """Return what there is to be seen: the chosen volume, with its result where that is of what is shown."""
        found = self._finder.found if self._finder.standing.is_of_picture else None
        try:
            ground = self._hand_masks.of_scan() if found is None else Ground.of_found(found)
        except DinoadError:
            return None
        if ground is None or ground.layer not in self._viewer.layers:
            return None
        scan = ground.scan
        if not has_planes(scan):
            return None
        if ground.volume is not None and not scan.is_rgb:
            values = ground.volume.values
        elif isinstance(scan.data, np.ndarray):
            shown = scan.data[scan.frame]
            values = scan.colours_to_canonical(shown[..., :3]) if scan.is_rgb else scan.to_canonical(shown)
        elif ground.volume is not None:
            values = ground.volume.values if ground.volume.colours is None else ground.volume.colours
        else:
            # What is read lazily may lie on a slow disk: Find reads it, in the background.
            return None
        places = [one.place for one in self._hand_masks.layers(ground) if one.place and not one.fault]
        return _Looked(ground.layer, scan, values, found, tuple(reversed(places)))

    def _scene(self, looked: _Looked) -> Scene:
        from napari_dinoad.gui.planes.planes_view import DrawnLabels, Scene

        found = looked.found
        limits = None if looked.scan.is_rgb else getattr(looked.layer, "contrast_limits", None)
        low, high = _range_of(looked.values) if limits is None else limits
        shown = axis_in_view(self._viewer, looked.layer, looked.scan)
        overlay = None if found is None else found.overlay
        has_heatmap, has_mask = (
            (True, True) if overlay is None else (overlay.heatmap.visible, overlay.mask.visible)
        )
        by_hand = [
            DrawnLabels(one.plane, partial(_colour_of, one.layer))
            for one in looked.drawn
            if one.layer.visible
        ]
        chosen = (
            []
            if found is None or overlay is None or not has_mask
            else [DrawnLabels(partial(_chosen_in, found.result.mask), partial(_colour_of, overlay.mask))]
        )
        return Scene(
            values=looked.values,
            neg_log10_p=found.result.values if found is not None and has_heatmap else None,
            mask=found.result.mask if found is not None and has_mask else None,
            geometry=looked.scan.source.geometry,
            window=(float(low), float(high)),
            point=self._point(looked),
            axes=tuple(axis for axis in range(3) if axis != shown),
            drawn=(*chosen, *by_hand),
            version=self._version,
        )

    def _point(self, looked: _Looked) -> tuple[int, int, int]:
        return looked.scan.canonical_index(point_in_layer(self._viewer, looked.layer))

    def _go_to(self, zyx: tuple[int, int, int]) -> None:
        looked = self._looked()
        if looked is not None:
            show_index(self._viewer, looked.layer, looked.scan.data_index(zyx))

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
        looked = self._looked()
        if looked is None or viewer.dims.ndisplay != 2:
            return
        self._go_to(looked.scan.canonical_index(point_in_layer(viewer, looked.layer, event.position)))


def has_planes(scan: LayerScan | None) -> bool:
    """Whether there is a scan, and it is a volume."""
    return scan is not None and min(scan.source.geometry.canonical_shape) > 1


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


def _events_of(looked: _Looked) -> tuple[Any, ...]:
    """Return the events of layers by which pictures change."""
    limits = getattr(looked.layer.events, "contrast_limits", None)
    overlay = None if looked.found is None else looked.found.overlay
    shown = () if overlay is None else (overlay.heatmap, overlay.mask)
    events = [] if limits is None else [limits]
    events += [layer.events.visible for layer in shown]
    for layer in (one.layer for one in looked.drawn):
        events += [layer.events.visible, layer.events.colormap, *moves_of(layer)]
    return tuple(events)


def _strokes_of(layer: Labels) -> tuple[Any, ...]:
    """Return the events of strokes, while they are made (where napari tells of that) and when they have ended."""
    made = getattr(layer.events, "labels_update", None)
    return (layer.events.paint,) if made is None else (made, layer.events.paint)


def _chosen_in(mask: np.ndarray, axis: int, index: int) -> np.ndarray:
    """Return a plane of the mask that was found in which there is the chosen region alone."""
    plane = np.take(mask, index, axis=axis)
    return np.where((plane == CHOSEN) | (plane == CHOSEN_UNTICKED), plane, 0)


def _colour_of(layer: Labels, label: int) -> tuple[int, int, int] | None:
    """Return the colour in which a layer shows a label; None where it hides it."""
    colour = layer.get_color(label)
    if colour is None or colour[3] == 0:
        return None
    red, green, blue = (round(255 * float(part)) for part in colour[:3])
    return red, green, blue


def _nothing() -> None:
    """Take nothing back."""


def _range_of(values: np.ndarray) -> tuple[float, float]:
    """Return the values shown black and white; of colours those that napari takes, so that hues stay."""
    if values.ndim == 4:
        return 0.0, float(np.iinfo(values.dtype).max) if values.dtype.kind in "iu" else 1.0
    return float(values.min()), float(values.max())
