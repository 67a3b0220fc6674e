"""The question which series of a folder are meant."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["SeriesField"]

_ALL = "all"


class SeriesField(QComboBox):
    """A list of the series that a folder holds, in which others, and patterns, can be typed."""

    chosen = Signal()
    """The user means another series than before."""

    def __init__(self) -> None:
        super().__init__()
        self.setEditable(True)
        self.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setAccessibleName("Series")
        self.setToolTip(
            "Which of several scans of a person are meant: by the description of a DICOM series, or the end of the "
            "file's name. A pattern can be typed, as *mprage*."
        )
        self._wanted: str | None = None
        self._is_typing = False
        self.show_series(())
        self.activated.connect(self.take_typed)
        line = self.lineEdit()
        if line is not None:
            line.setAccessibleName(self.accessibleName())
            line.textEdited.connect(self._on_typing)
            line.editingFinished.connect(self.take_typed)

    @property
    def wanted(self) -> str | None:
        """What is meant, as `ReadSettings.series`; None: all."""
        return self._wanted

    @property
    def has_choice(self) -> bool:
        """Whether there are several series, or one of them was chosen."""
        return self.count() > 2 or self._wanted is not None

    def show_series(self, names: Sequence[tuple[str, int]]) -> None:
        """List series, by name and number of scans; what is meant, and what is being typed, stays."""
        with self._typing_kept():
            self.clear()
            self.addItem(_ALL)
            for name, n_scans in names:
                self.addItem(f"{name} ({n_scans})", name)
            self.show_wanted(self._wanted)

    def show_wanted(self, wanted: str | None) -> None:
        """Show what is meant, without `chosen`; what is being typed stays."""
        self._wanted = wanted
        with self._typing_kept():
            listed = 0 if wanted is None else self.findData(wanted)
            self.setCurrentIndex(listed)
            if listed < 0:
                self.setEditText(wanted or "")

    def take_typed(self, *_: object) -> None:
        """Take what is shown for what is meant, also where it was typed and the field was not left yet."""
        text = self.currentText().strip()
        listed = self.findText(text)
        wanted = self.itemData(listed) if listed >= 0 else text or None
        is_other = wanted != self._wanted
        self._is_typing = False
        self.show_wanted(wanted)
        if is_other:
            self.chosen.emit()

    @contextmanager
    def _typing_kept(self) -> Iterator[None]:
        """Leave what was typed and not taken yet as it is, with its cursor, whatever the block shows instead."""
        line = self.lineEdit()
        if line is None or not self._is_typing:
            yield
            return
        text, cursor = line.text(), line.cursorPosition()
        # The end of the selection where the cursor is not: what Qt completes is selected behind it.
        ends = (line.selectionStart(), line.selectionEnd()) if line.hasSelectedText() else (cursor, cursor)
        other = sum(ends) - cursor
        yield
        line.setText(text)
        line.setSelection(other, cursor - other)

    def _on_typing(self) -> None:
        self._is_typing = True
