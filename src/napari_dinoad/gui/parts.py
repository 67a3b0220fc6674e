"""Small widgets that the steps are made of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from qtpy.QtCore import QEvent, QObject, QPointF, QSize, Qt, QTimer, Signal
from qtpy.QtGui import QColor, QIcon, QPainter, QPalette, QPixmap, QPolygonF
from qtpy.QtWidgets import (
    QBoxLayout,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLayoutItem,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from napari_dinoad.gui.remaining_time import duration_in_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from magicgui.widgets import FileEdit
    from qtpy.QtGui import QResizeEvent, QShowEvent

    from napari_dinoad.gui.worker import JobProgress, JobRunner

__all__ = [
    "Folded",
    "FoldingRow",
    "JobRow",
    "NoteLabel",
    "ScrolledContent",
    "Step",
    "WrappedLabel",
    "folder_of",
    "name_field",
    "row_of",
    "take_letter_size",
]

_Kind = Literal["plain", "warning", "error"]

_ON_DARK: dict[_Kind, str] = {"plain": "#9aa5b1", "warning": "#ff9d3b", "error": "#ff6b5e"}
_ON_LIGHT: dict[_Kind, str] = {"plain": "#55606b", "warning": "#8f4a00", "error": "#a8201a"}
"""Colours of notes on the grounds of napari's themes, from which they stand out by 4.5 or more (WCAG 2, level AA)."""

_ARROW_COLOUR = "#788290"
"""Stands out from dark and light grounds by 3 or more, as WCAG asks of signs."""

_ARROW_PX = 16

_ROW_SPACING_PX = 4

_WRAPPING_PX = 20
"""What a text in two lines is wider than half of it, for its words do not end in the middle."""


class WrappedLabel(QLabel):
    """A text that wraps, as high as the lines that it has.

    Where a style gives labels a frame, as napari's do, Qt draws the text half an x from it, and takes a whole one
    when it computes the height: a text that nearly fills its line got room for one more. So the indent is set.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWordWrap(True)

    def changeEvent(self, event: QEvent | None) -> None:
        """Set the indent for another font or frame."""
        super().changeEvent(event)
        if event is not None and event.type() in (QEvent.Type.StyleChange, QEvent.Type.FontChange):
            indent = self.fontMetrics().horizontalAdvance("x") // 2 if self.frameWidth() else -1
            if indent != self.indent():
                self.setIndent(indent)


class NoteLabel(WrappedLabel):
    """A line of small text that wraps, takes no room while it is empty, and can be copied.

    Its colour suits the ground that it lies on, whichever theme napari has or gets.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._kind: _Kind = "plain"
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self.hide()

    def tell(self, text: str, *, warning: bool = False, error: bool = False) -> None:
        """Show a text, or nothing where it is empty."""
        self._kind = "error" if error else "warning" if warning else "plain"
        self._colour()
        self.setText(text)
        self.setVisible(bool(text))

    def tell_error(self, text: str) -> None:
        """Show what has gone wrong."""
        self.tell(text, error=True)

    def showEvent(self, event: QShowEvent | None) -> None:
        """Take the colour for the ground, which in a new window was not known before."""
        super().showEvent(event)
        self._colour()

    def changeEvent(self, event: QEvent | None) -> None:
        """Take the colour for another theme."""
        super().changeEvent(event)
        if event is not None and event.type() == QEvent.Type.StyleChange:
            self._colour()

    def _colour(self) -> None:
        ground = self.palette().color(QPalette.ColorRole.Window)
        colours = _ON_DARK if ground.lightnessF() < 0.5 else _ON_LIGHT
        sheet = f"color: {colours[self._kind]};"
        if sheet != self.styleSheet():
            self.setStyleSheet(sheet)


class Step(QWidget):
    """A numbered step with its title; subclasses add rows to ``self.rows``."""

    def __init__(self, title: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.rows = QVBoxLayout(self)
        self.rows.setContentsMargins(0, 0, 0, 0)
        self.rows.setSpacing(4)
        heading = QLabel(title)
        font = heading.font()
        font.setBold(True)
        font.setPointSizeF(font.pointSizeF() * 1.15)
        heading.setFont(font)
        line = QFrame()
        line.setFrameShape(QFrame.Shape.HLine)
        row = QHBoxLayout()
        row.setContentsMargins(0, 2, 0, 0)
        row.addWidget(heading)
        row.addWidget(line, 1)
        self.rows.addLayout(row)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)

    def add_row(self, *widgets: QWidget) -> None:
        """Add widgets side by side; those that want room share it."""
        self.rows.addLayout(row_of(*widgets))


def take_letter_size(widget: QWidget) -> None:
    """Give a widget letters a point smaller than labels have.

    napari's style sets the size that the user prefers for labels and buttons, and leaves that of tables and of what
    is painted as the system has it.
    """
    label = QLabel(widget)
    label.ensurePolished()
    font = widget.font()
    font.setPointSizeF(label.font().pointSizeF() - 1)
    label.deleteLater()
    if font != widget.font():
        widget.setFont(font)


def name_field(field: FileEdit, name: str) -> None:
    """Give a field for a path its name for screen readers, and letters of the size that the user prefers."""
    line = field.line_edit.native
    line.setAccessibleName(name)
    line.installEventFilter(_LetterSize(line))


class _LetterSize(QObject):
    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        if event is not None and event.type() == QEvent.Type.StyleChange and isinstance(watched, QWidget):
            take_letter_size(watched)
        return False


class FoldingRow(QWidget):
    """Widgets side by side, or below each other where there is not room for that: large fonts, a narrow dock.

    A text that wraps may take two lines beside others.

    Parameters
    ----------
    parts : sequence of (QWidget or sequence of QWidget)
        Those of one part stay side by side.
    stretch : sequence of int, optional
        How parts side by side share what is left; by default as they want it.
    """

    def __init__(
        self,
        parts: Sequence[QWidget | Sequence[QWidget]],
        stretch: Sequence[int] = (),
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._row = QBoxLayout(QBoxLayout.Direction.LeftToRight, self)
        self._row.setContentsMargins(0, 0, 0, 0)
        self._row.setSpacing(_ROW_SPACING_PX)
        self._stretch = tuple(stretch) or (0,) * len(parts)
        for share, part in zip(self._stretch, parts, strict=True):
            if isinstance(part, QWidget):
                self._row.addWidget(part, share)
            else:
                self._row.addLayout(row_of(*part), share)

    def minimumSizeHint(self) -> QSize:
        """Return the width of the widest part: the others may go below it."""
        return QSize(max(self._widths(), default=0), super().minimumSizeHint().height())

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Put the parts side by side, or below each other."""
        super().resizeEvent(event)
        self._fold()

    def event(self, event: QEvent | None) -> bool:
        """Notice that the parts have become wider or narrower, as by another font."""
        if event is not None and event.type() == QEvent.Type.LayoutRequest:
            self._fold()
        return bool(super().event(event))

    def _fold(self) -> None:
        widths = self._widths()
        needed = sum(widths) + _ROW_SPACING_PX * (len(widths) - 1)
        fits, directions = needed <= self.width(), QBoxLayout.Direction
        self._row.setDirection(directions.LeftToRight if fits else directions.TopToBottom)
        for place, share in enumerate(self._stretch):
            self._row.setStretch(place, share if fits else 0)

    def _widths(self) -> list[int]:
        items = (self._row.itemAt(place) for place in range(self._row.count()))
        return [_least_width(item) for item in items if item is not None]


def _least_width(item: QLayoutItem) -> int:
    widget = item.widget()
    if isinstance(widget, QLabel) and widget.wordWrap():
        return int(widget.fontMetrics().horizontalAdvance(widget.text()) / 2 + _WRAPPING_PX)
    return int(item.minimumSize().width())


class ScrolledContent(QWidget):
    """What scrolls: as high as its texts are at the width that there is, not at the least that they could have."""

    def minimumSizeHint(self) -> QSize:
        """Return the least width; the height follows from the width that there is."""
        return QSize(super().minimumSizeHint().width(), 0)


def row_of(*widgets: QWidget) -> QHBoxLayout:
    """Return widgets side by side; those that want room share it."""
    row = QHBoxLayout()
    row.setContentsMargins(0, 0, 0, 0)
    row.setSpacing(_ROW_SPACING_PX)
    for widget in widgets:
        row.addWidget(widget)
    return row


class Folded(QCollapsible):
    """Content under a title that opens with a click, at once and with arrows that show on dark and light themes."""

    def __init__(self, title: str, parent: QWidget | None = None) -> None:
        super().__init__(title, parent, expandedIcon=_arrow(down=True), collapsedIcon=_arrow(down=False))
        self.setDuration(0)


def _arrow(*, down: bool) -> QIcon:
    pixmap = QPixmap(_ARROW_PX, _ARROW_PX)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QColor(_ARROW_COLOUR))
    corners = [(3, 5), (13, 5), (8, 12)] if down else [(5, 3), (12, 8), (5, 13)]
    painter.drawPolygon(QPolygonF([QPointF(x, y) for x, y in corners]))
    painter.end()
    return QIcon(pixmap)


_PROGRESS_INTERVAL_MS = 300
"""Steps are shown at most this often: without a graphics card each change redraws the whole window, which takes the
processor from the slice that somebody waits for."""


class JobRow(QWidget):
    """Shows how a job goes: stage, bar, remaining time, cancel. Hidden while none is under way.

    Parameters
    ----------
    delay_ms : int
        Jobs that end sooner are not shown.
    """

    cancel_asked = Signal()

    def __init__(self, parent: QWidget | None = None, *, delay_ms: int = 0) -> None:
        super().__init__(parent)
        self._appear = QTimer(self)
        self._appear.setSingleShot(True)
        self._appear.setInterval(delay_ms)
        self._appear.timeout.connect(self.show)
        self.stage = QLabel()
        self.stage.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.cancel_button = QPushButton("Cancel")
        self.cancel_button.setToolTip("Stop after the piece of work in hand. What is done so far is kept.")
        self.cancel_button.clicked.connect(self._ask_to_cancel)
        row = QHBoxLayout()
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.bar, 1)
        row.addWidget(self.cancel_button)
        rows = QVBoxLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setSpacing(2)
        rows.addWidget(self.stage)
        rows.addLayout(row)
        self._runner: JobRunner | None = None
        self._waiting: JobProgress | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_PROGRESS_INTERVAL_MS)
        self._timer.timeout.connect(self._draw)
        self.hide()

    def _ask_to_cancel(self) -> None:
        self.cancel_asked.emit()

    def follow(self, runner: JobRunner) -> None:
        """Show the jobs of a runner, also the one already under way, and let the button cancel them."""
        self._runner = runner
        runner.started.connect(self._on_started)
        runner.stopping.connect(self._on_stopping)
        runner.progressed.connect(self.show_progress)
        runner.finished.connect(self._on_finished)
        self.cancel_asked.connect(runner.cancel)
        if runner.is_running:
            self._on_started(runner.title)
            self._waiting = runner.last_progress
            self._draw()
        if runner.is_stopping:
            self._on_stopping()

    def show_progress(self, progress: JobProgress) -> None:
        """Show a step soon; of several, the last."""
        self._waiting = progress
        if not self._timer.isActive():
            self._timer.start()

    def _draw(self) -> None:
        progress, self._waiting = self._waiting, None
        if progress is None:
            return
        event = progress.event
        text = event.stage
        if event.total:
            text += f"  {min(event.done, event.total)} of {event.total}"
        if event.detail:
            text += f"  ({event.detail})"
        if progress.remaining_s is not None and event.done < event.total:
            text += f"  ·  {duration_in_words(progress.remaining_s)} left in this step"
        if self.cancel_button.isEnabled():
            self.stage.setText(text)
            self.stage.setToolTip(text)
        self.bar.setRange(0, event.total)
        self.bar.setValue(min(event.done, event.total))

    def _on_started(self, title: str) -> None:
        self.stage.setText(title)
        # Not yet the moving bar of unknown length: it redraws the window all the time.
        self.bar.setRange(0, 1)
        self.bar.setValue(0)
        self.cancel_button.setEnabled(True)
        if self._appear.interval():
            self._appear.start()
        else:
            self.show()

    def _on_finished(self) -> None:
        if self._runner is not None and self._runner.is_running:
            # What waited its turn was started first.
            return
        self._timer.stop()
        self._appear.stop()
        self._waiting = None
        self.hide()

    def _on_stopping(self) -> None:
        """Say so, whoever asked for it: the piece of work in hand may take a while."""
        self.cancel_button.setEnabled(False)
        self.stage.setText("Stopping…")


def folder_of(edit: FileEdit) -> Path | None:
    """Return the folder that a field names; it need not be there. None where nothing is named."""
    text = str(edit.line_edit.value).strip()
    try:
        return None if text in ("", ".") else Path(text).expanduser()
    except RuntimeError:
        # The home of a user who is not known.
        return None
