"""Texts and fields that the steps are made of."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtGui import QPalette
from qtpy.QtWidgets import QFrame, QHBoxLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget

from napari_dinoad.gui.parts.folding import row_of

if TYPE_CHECKING:
    from magicgui.widgets import FileEdit
    from qtpy.QtGui import QShowEvent


__all__ = [
    "NoteLabel",
    "Step",
    "WrappedLabel",
    "folder_of",
    "letter_scale",
    "name_field",
    "take_letter_size",
    "without_options",
]

_USUAL_POINTS = 9.0
"""Of letters in napari's windows, if the user does not want another size."""

_Kind = Literal["plain", "warning", "error"]

_ON_DARK: dict[_Kind, str] = {"plain": "#9aa5b1", "warning": "#ff9d3b", "error": "#ff6b5e"}
_ON_LIGHT: dict[_Kind, str] = {"plain": "#55606b", "warning": "#8f4a00", "error": "#a8201a"}
"""Colours of notes on the grounds of napari's themes, from which they stand out by 4.5 or more (WCAG 2, level AA)."""


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
        self._take_colour()
        self.setText(text)
        self.setVisible(bool(text))

    def tell_error(self, text: str) -> None:
        """Show what has gone wrong."""
        self.tell(text, error=True)

    def showEvent(self, event: QShowEvent | None) -> None:
        """Take the colour for the ground, which in a new window was not known before."""
        super().showEvent(event)
        self._take_colour()

    def changeEvent(self, event: QEvent | None) -> None:
        """Take the colour for another theme."""
        super().changeEvent(event)
        if event is not None and event.type() == QEvent.Type.StyleChange:
            self._take_colour()

    @property
    def colour(self) -> str:
        """The colour that suits the ground."""
        ground = self.palette().color(QPalette.ColorRole.Window)
        return (_ON_DARK if ground.lightnessF() < 0.5 else _ON_LIGHT)[self._kind]

    def _take_colour(self) -> None:
        sheet = f"color: {self.colour};"
        if sheet != self.styleSheet():
            self.setStyleSheet(sheet)


class Step(QWidget):
    """A numbered step with its title; subclasses add rows to ``self.rows``."""

    def __init__(self, title: str) -> None:
        super().__init__()
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


def letter_scale(label: QWidget) -> float:
    """Return how many times as large as usual the letters of a label are that is not shown yet; 1 of smaller ones."""
    label.ensurePolished()
    return max(1.0, float(label.fontInfo().pointSizeF()) / _USUAL_POINTS)


def without_options(reason: str) -> str:
    """Return why a scan cannot be used without sentences on options of the command line, which no window has."""
    sentences = re.split(r"(?<=\.)\s+", reason)
    return " ".join(sentence for sentence in sentences if not re.search(r"(?<!\S)--\w", sentence))


def name_field(field: FileEdit, name: str) -> None:
    """Name a field for a path, and its button, for screen readers; give it letters of the preferred size."""
    line = field.line_edit.native
    line.setAccessibleName(name)
    field.choose_btn.native.setAccessibleName(f"{field.choose_btn.text}: {name}")
    line.installEventFilter(_LetterSize(line))


class _LetterSize(QObject):
    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        if event is not None and event.type() == QEvent.Type.StyleChange and isinstance(watched, QWidget):
            take_letter_size(watched)
        return False


def folder_of(edit: FileEdit) -> Path | None:
    """Return the folder that a field names; it need not be there. None where nothing is named."""
    text = str(edit.line_edit.value).strip()
    try:
        return None if text in ("", ".") else Path(text).expanduser()
    except RuntimeError:
        # The home of a user who is not known.
        return None
