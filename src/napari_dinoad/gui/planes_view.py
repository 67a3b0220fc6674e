"""Pictures of planes through one point of a scan, with heatmap, outline and a cross. Knows no viewer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QLineF, QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QImage, QPainter, QPalette, QPen, QTextOption
from qtpy.QtWidgets import QBoxLayout, QSizePolicy, QWidget

from napari_dinoad.maps.panels import MASK_COLOUR, annotate, blend, outline
from napari_dinoad.maps.slice_view import PLANE_NAMES, SliceView

if TYPE_CHECKING:
    from qtpy.QtCore import QEvent
    from qtpy.QtGui import QHideEvent, QMouseEvent, QPaintEvent, QResizeEvent, QShowEvent, QWheelEvent

    from napari_dinoad.images.volume import Geometry

__all__ = ["PlanesView", "Scene"]

_GROUND = QColor("#000000")
_CROSS = QColor(0, 242, 255, 150)
_GAP_PX = 9
"""The cross leaves this much free around its point."""

_LEAST_PX, _USUAL_PX, _SPACING_PX = 120, 280, 2
_WHEEL_STEP = 120
"""Of Qt, for one notch of a wheel."""


_NOTHING = "Shown here: the other planes of a volume that Find has a result for."
_MARGIN_PX = 12


@dataclass(frozen=True, eq=False)
class Scene:
    """What is to be seen.

    Attributes
    ----------
    values : numpy.ndarray
        (z, y, x) of the scan, in canonical orientation.
    neg_log10_p, mask : numpy.ndarray, optional
        Its anomaly map and its mask, alike; None where they are hidden.
    geometry : Geometry
    window : tuple of float
        Values shown black and white.
    point : tuple of int
        Voxel (z, y, x) through which the planes go.
    axes : tuple of int
        Axes across which there is a picture.
    """

    values: np.ndarray
    neg_log10_p: np.ndarray | None
    mask: np.ndarray | None
    geometry: Geometry
    window: tuple[float, float]
    point: tuple[int, int, int]
    axes: tuple[int, ...]


class PlanesView(QWidget):
    """A picture for each plane of a `Scene`, side by side; words in place of them where there is none.

    `point_chosen` asks for another voxel (z, y, x): that was clicked, or is a slice farther. `woken` comes when the
    pictures are to be drawn anew, since they can be seen again; `left` when a dock lets go of them.
    """

    point_chosen = Signal(tuple)
    woken = Signal()
    left = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._is_empty = True
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

    def show_scene(self, scene: Scene | None) -> None:
        """Draw a scene; None: there is nothing to be seen."""
        for picture in self.pictures:
            picture.show_scene(scene)
        self._is_empty = scene is None
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
        if self._is_empty:
            painter = QPainter(self)
            place = self.rect().adjusted(_MARGIN_PX, _MARGIN_PX, -_MARGIN_PX, -_MARGIN_PX)
            painter.setPen(self.palette().color(QPalette.ColorRole.WindowText))
            painter.drawText(QRectF(place), _NOTHING, QTextOption(Qt.AlignmentFlag.AlignCenter))
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
        self._turned = 0
        self.setCursor(Qt.CursorShape.CrossCursor)
        self.setToolTip("Click or drag to go there; turn the wheel to go through the slices of this plane.")
        self.setAccessibleName(f"{PLANE_NAMES[axis].capitalize()} plane")

    def show_scene(self, scene: Scene | None) -> None:
        """Draw the plane of a scene; hide where it has none."""
        is_shown = scene is not None and self._axis in scene.axes
        self._scene = scene if is_shown else None
        self._view = (
            SliceView.of_whole(scene.geometry, self._axis) if scene is not None and is_shown else None
        )
        self.setVisible(is_shown)
        self._image = None
        self.update()

    def hideEvent(self, event: QHideEvent | None) -> None:
        """Forget the part of a notch that a wheel was turned."""
        self._turned = 0
        super().hideEvent(event)

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Draw anew at the new size."""
        super().resizeEvent(event)
        self._image = None

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw the picture and the cross."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), _GROUND)
        if self._scene is not None and self._view is not None:
            if self._image is None:
                self._image = self._drawn(self._scene, self._view)
            place = self._place()
            painter.drawImage(place, self._image)
            painter.setPen(QPen(_CROSS, 1))
            painter.drawLines(self._cross(self._scene, self._view, place))
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
            inside = event.position() - self._place().topLeft()
            row_column = self._view.from_panel(inside.y(), inside.x(), self._side)
            point = list(row_column)
            point.insert(self._axis, self._scene.point[self._axis])
            self.point_chosen.emit(tuple(point))

    @property
    def _side(self) -> int:
        return max(1, min(int(self.width()), int(self.height())))

    def _place(self) -> QRectF:
        """Return the square in the middle that the picture fills."""
        side = self._side
        return QRectF((self.width() - side) // 2, (self.height() - side) // 2, side, side)

    def _cross(self, scene: Scene, view: SliceView, place: QRectF) -> list[QLineF]:
        row, column = (index for axis, index in enumerate(scene.point) if axis != self._axis)
        y, x = view.to_panel(row, column, self._side)
        centre = place.topLeft() + QPointF(x, y)
        right, bottom = place.right(), place.bottom()
        return [
            QLineF(place.left(), centre.y(), centre.x() - _GAP_PX, centre.y()),
            QLineF(centre.x() + _GAP_PX, centre.y(), right, centre.y()),
            QLineF(centre.x(), place.top(), centre.x(), centre.y() - _GAP_PX),
            QLineF(centre.x(), centre.y() + _GAP_PX, centre.x(), bottom),
        ]

    def _drawn(self, scene: Scene, view: SliceView) -> QImage:
        """Return the plane as a picture, as many pixels wide as the screen has."""
        size_px = max(1, round(self._side * self.devicePixelRatioF()))
        index = scene.point[self._axis]
        low, high = scene.window
        grey = view.show(scene.values, index, size_px, smooth=True)
        grey = np.clip((grey - low) / max(high - low, 1e-12), 0, 1) * np.float32(255)
        colours = np.repeat(grey[..., None], 3, axis=2)
        if scene.neg_log10_p is not None:
            colours = blend(colours, view.show(scene.neg_log10_p, index, size_px, smooth=True))
        if scene.mask is not None:
            outline(colours, view.show(scene.mask, index, size_px, smooth=False) > 0, MASK_COLOUR)
        pixels = np.ascontiguousarray(annotate(colours, view))
        # A copy, as Qt goes on reading the memory that it is given.
        return QImage(pixels.data, size_px, size_px, 3 * size_px, QImage.Format.Format_RGB888).copy()
