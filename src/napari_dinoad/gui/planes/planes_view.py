"""Pictures of planes through one point of a scan, with heatmap, outline and a cross. Knows no viewer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QPointF, QRect, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QImage, QPainter, QPalette, QTextOption
from qtpy.QtWidgets import QBoxLayout, QSizePolicy, QWidget

from napari_dinoad.maps.pictures.panels import MASK_COLOUR, blend, outline, signs
from napari_dinoad.maps.pictures.slice_view import PLANE_NAMES, SliceView
from napari_dinoad.settings import HEATMAP_LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtCore import QEvent
    from qtpy.QtGui import QHideEvent, QMouseEvent, QPaintEvent, QResizeEvent, QShowEvent, QWheelEvent

    from napari_dinoad.images.volume import Geometry

__all__ = ["DrawnLabels", "PlanesView", "Scene"]

_GROUND = QColor("#000000")
_CROSS = QColor(0, 242, 255, 150)
_GAP_PX = 9
"""The cross leaves this much free around its point."""

_LEAST_PX, _USUAL_PX, _SPACING_PX = 120, 280, 2
_WHEEL_STEP = 120
"""Of Qt, for one notch of a wheel."""


_MARGIN_PX = 12


@dataclass(frozen=True, eq=False)
class DrawnLabels:
    """Labels that are outlined: those by hand, and the region that is chosen.

    Attributes
    ----------
    plane : callable
        Takes a canonical axis and an index and returns (rows, columns) of labels.
    colour : callable
        Takes a label and returns (r, g, b), 0 to 255; None: it is not shown.
    """

    plane: Callable[[int, int], np.ndarray]
    colour: Callable[[int], tuple[int, int, int] | None]


@dataclass(frozen=True, eq=False)
class Scene:
    """What is to be seen.

    Attributes
    ----------
    values : numpy.ndarray
        (z, y, x) of the scan, in canonical orientation, or (z, y, x, 3) of its colours.
    neg_log10_p, mask : numpy.ndarray, optional
        Its anomaly map and its mask, alike; None where they are hidden.
    geometry : Geometry
    window : tuple of float
        Values shown black and white.
    point : tuple of int
        Voxel (z, y, x) through which the planes go.
    axes : tuple of int
        Axes across which there is a picture.
    drawn : tuple of DrawnLabels
        The lowest first.
    version : int
        Another one where values, map, mask or labels may have changed, though they are the same arrays.
    """

    values: np.ndarray
    neg_log10_p: np.ndarray | None
    mask: np.ndarray | None
    geometry: Geometry
    window: tuple[float, float]
    point: tuple[int, int, int]
    axes: tuple[int, ...]
    drawn: tuple[DrawnLabels, ...] = ()
    version: int = 0

    def view(self, axis: int) -> SliceView:
        """Return how the plane across an axis is looked at: all planes at one scale."""
        views = {one: SliceView.of_whole(self.geometry, one) for one in {*self.axes, axis}}
        return replace(views[axis], length=max(view.longest for view in views.values()))

    def looks_like(self, other: Scene, axis: int) -> bool:
        """Whether the picture across an axis is the same, but for the cross."""
        return (
            self.version == other.version
            and _is_same(self.values, other.values)
            and _is_same(self.neg_log10_p, other.neg_log10_p)
            and _is_same(self.mask, other.mask)
            and self.window == other.window
            and self.axes == other.axes
            and self.point[axis] == other.point[axis]
        )


class PlanesView(QWidget):
    """A picture for each plane of a `Scene`, side by side; words in place of them where there is none.

    `point_chosen` asks for another voxel (z, y, x): that was clicked, or is a slice farther. `woken` comes when the
    pictures are to be drawn anew, since they can be seen again; `left` when a dock lets go of them.
    """

    point_chosen = Signal(tuple)
    woken = Signal()
    left = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._words = ""
        self.pictures = tuple(PlanePicture(axis, self) for axis in range(3))
        self._layout = QBoxLayout(QBoxLayout.Direction.LeftToRight, self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(_SPACING_PX)
        self._layout.addStretch(1)
        for picture in self.pictures:
            self._layout.addWidget(picture)
            picture.point_chosen.connect(self.point_chosen)
        self._layout.addStretch(1)
        self.setMinimumSize(_LEAST_PX, _LEAST_PX)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.show_scene(None)

    def sizeHint(self) -> QSize:
        """Return room for two pictures."""
        return QSize(2 * _USUAL_PX + _SPACING_PX, _USUAL_PX)

    def show_scene(self, scene: Scene | None, words: str = "") -> None:
        """Draw a scene; None: there is nothing to be seen but words in its place."""
        for picture in self.pictures:
            picture.show_scene(scene)
        self._words = words if scene is None else ""
        self._arrange()
        self.update()

    def _arrange(self) -> None:
        """Give the pictures squares as large as possible, in a row or, where there is more height, in a column."""
        n = sum(not picture.isHidden() for picture in self.pictures)
        is_row = self.width() >= self.height()
        direction = QBoxLayout.Direction.LeftToRight if is_row else QBoxLayout.Direction.TopToBottom
        self._layout.setDirection(direction)
        longer, shorter = (self.width(), self.height()) if is_row else (self.height(), self.width())
        side = max(1, min(shorter, (longer - _SPACING_PX * max(n - 1, 0)) // max(n, 1)))
        for picture in self.pictures:
            picture.setFixedSize(side, side)

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Say what comes here where there is nothing yet."""
        if self._words:
            painter = QPainter(self)
            place = self.rect().adjusted(_MARGIN_PX, _MARGIN_PX, -_MARGIN_PX, -_MARGIN_PX)
            painter.setPen(self.palette().color(QPalette.ColorRole.WindowText))
            painter.drawText(QRectF(place), self._words, QTextOption(Qt.AlignmentFlag.AlignCenter))
            painter.end()

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Arrange the pictures anew."""
        super().resizeEvent(event)
        self._arrange()

    def showEvent(self, event: QShowEvent | None) -> None:
        """Draw what has changed meanwhile."""
        super().showEvent(event)
        self.woken.emit()

    def changeEvent(self, event: QEvent | None) -> None:
        """Tell when the dock is closed."""
        if event is not None and event.type() == event.Type.ParentChange and self.parent() is None:
            self.left.emit()
        super().changeEvent(event)


class PlanePicture(QWidget):
    """One plane through the point of a scene.

    Parameters
    ----------
    axis : int
        Canonical axis across which it lies.
    """

    point_chosen = Signal(tuple)

    def __init__(self, axis: int, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._axis = axis
        self._scene: Scene | None = None
        self._view: SliceView | None = None
        self._image: QImage | None = None
        self._signs: QImage | None = None
        self._turned = 0
        self.setCursor(Qt.CursorShape.CrossCursor)
        self.setToolTip("Click or drag to go there; turn the wheel to go through the slices of this plane.")
        self.setAccessibleName(f"{PLANE_NAMES[axis].capitalize()} plane")

    def show_scene(self, scene: Scene | None) -> None:
        """Draw the plane of a scene; hide where it has none."""
        before = self._scene
        self._scene = now = scene if scene is not None and self._axis in scene.axes else None
        if now is not None and before is not None and now.looks_like(before, self._axis):
            if now.point != before.point:
                self.update()
            return
        self._image = None
        view = None if now is None else now.view(self._axis)
        if view != self._view:
            self._view, self._signs = view, None
        self.setVisible(now is not None)
        self.update()

    def hideEvent(self, event: QHideEvent | None) -> None:
        """Forget the part of a notch that a wheel was turned."""
        self._turned = 0
        super().hideEvent(event)

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Draw anew at the new size."""
        super().resizeEvent(event)
        self._image = self._signs = None

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw the picture and the cross."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), _GROUND)
        if self._scene is not None and self._view is not None:
            size_px = max(1, round(self._side * self.devicePixelRatioF()))
            if self._image is None:
                line_px = max(1, round(self.devicePixelRatioF()))
                self._image = self._as_image(_picture(self._scene, self._view, size_px, line_px))
            if self._signs is None:
                self._signs = self._as_image(signs(self._view, size_px))
            place = self._place()
            painter.drawImage(place.topLeft(), self._image)
            painter.drawImage(place.topLeft(), self._signs)
            for line in self._cross(self._scene, self._view, place):
                painter.fillRect(line, _CROSS)
        painter.end()

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """Ask for the voxel that was clicked."""
        self._choose(event)

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        """Ask for the voxel under the pressed pointer."""
        self._choose(event)

    def wheelEvent(self, event: QWheelEvent | None) -> None:
        """Ask for the slice before or behind."""
        if event is None or self._scene is None:
            return
        self._turned += event.angleDelta().y()
        steps = int(self._turned / _WHEEL_STEP)
        self._turned -= steps * _WHEEL_STEP
        if steps:
            point = list(self._scene.point)
            n = self._scene.values.shape[self._axis]
            point[self._axis] = min(max(point[self._axis] + steps, 0), n - 1)
            self.point_chosen.emit(tuple(point))
        event.accept()

    def _choose(self, event: QMouseEvent | None) -> None:
        if event is None or not event.buttons() & Qt.MouseButton.LeftButton:
            return
        if self._scene is not None and self._view is not None:
            inside = event.position() - QPointF(self._place().topLeft())
            row_column = self._view.from_panel(inside.y(), inside.x(), self._side)
            point = list(row_column)
            point.insert(self._axis, self._scene.point[self._axis])
            self.point_chosen.emit(tuple(point))

    @property
    def _side(self) -> int:
        return max(1, min(int(self.width()), int(self.height())))

    def _place(self) -> QRect:
        """Return the square in the middle that the picture fills."""
        side = self._side
        return QRect((self.width() - side) // 2, (self.height() - side) // 2, side, side)

    def _cross(self, scene: Scene, view: SliceView, place: QRect) -> list[QRect]:
        row, column = (index for axis, index in enumerate(scene.point) if axis != self._axis)
        y, x = (round(px) for px in view.to_panel(row, column, self._side))
        left, top, side = place.left(), place.top(), self._side
        return [
            QRect(left, top + y, x - _GAP_PX, 1),
            QRect(left + x + _GAP_PX, top + y, side - x - _GAP_PX, 1),
            QRect(left + x, top, 1, y - _GAP_PX),
            QRect(left + x, top + y + _GAP_PX, 1, side - y - _GAP_PX),
        ]

    def _as_image(self, pixels: np.ndarray) -> QImage:
        """Return (size, size, 3 or 4) uint8 pixels as an image in the format that Qt draws fastest."""
        size_px, _, n = pixels.shape
        formats = QImage.Format
        given, drawn = (
            (formats.Format_RGB888, formats.Format_RGB32)
            if n == 3
            else (formats.Format_RGBA8888_Premultiplied, formats.Format_ARGB32_Premultiplied)
        )
        # Converting copies, as Qt goes on reading the memory that it is given.
        image = QImage(pixels.data, size_px, size_px, n * size_px, given).convertToFormat(drawn)
        image.setDevicePixelRatio(self.devicePixelRatioF())
        return image


def _is_same(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    """Whether both are the same array, or views of the same memory alike."""
    if one is None or other is None:
        return one is other
    return one is other or one.__array_interface__ == other.__array_interface__


def _picture(scene: Scene, view: SliceView, size_px: int, line_px: int) -> np.ndarray:
    """Return a plane as (size, size, 3) uint8 pixels, without letters and cross."""
    index = scene.point[view.axis]
    low, high = scene.window
    plane = np.take(scene.values, index, axis=view.axis).astype(np.float32)
    # In 8 bits before it is enlarged: there are fewer voxels than pixels.
    share = np.clip(np.nan_to_num((plane - low) / max(high - low, 1e-12)), 0, 1)
    pixels = view.show_plane((share * 255).astype(np.uint8), size_px, smooth=True)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    if scene.neg_log10_p is not None:
        heat = np.take(scene.neg_log10_p, index, axis=view.axis)
        if heat.max() > HEATMAP_LIMITS[0]:
            shown = view.show_plane(heat, size_px, smooth=True)
            is_hot = shown > HEATMAP_LIMITS[0]
            pixels[is_hot] = blend(pixels[is_hot], shown[is_hot])
    if scene.mask is not None:
        _outline(pixels, view, np.take(scene.mask, index, axis=view.axis) > 0, MASK_COLOUR, line_px)
    for one in scene.drawn:
        labels = one.plane(view.axis, index)
        for label in np.unique(labels[labels != 0]).tolist():
            colour = one.colour(label)
            if colour is not None:
                _outline(pixels, view, labels == label, colour, line_px)
    return pixels


def _outline(
    pixels: np.ndarray, view: SliceView, is_inside: np.ndarray, colour: tuple[int, int, int], line_px: int
) -> None:
    if is_inside.any():
        shown = view.show_plane(is_inside.astype(np.uint8), pixels.shape[0], smooth=False)
        outline(pixels, shown > 0, colour, line_px)
