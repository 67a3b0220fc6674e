"""Warnings in little room: what they are about must stay in sight too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_dinoad.gui.parts.folding import Folded
from napari_dinoad.gui.parts.parts import NoteLabel

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["WarningList"]


class WarningList(QWidget):
    """Shows the first warning, and how many more there are, which opens these. Hidden while there is none."""

    def __init__(self) -> None:
        super().__init__()
        self._warnings: tuple[str, ...] = ()
        self.first = NoteLabel()
        self.others = NoteLabel()
        self.more = Folded("")
        self.more.addWidget(self.others)
        self.more.setContentsMargins(0, 0, 0, 0)
        self.more.layout().setContentsMargins(0, 0, 0, 0)
        self.more.content().layout().setContentsMargins(0, 2, 0, 0)
        rows = QVBoxLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setSpacing(0)
        rows.addWidget(self.first)
        rows.addWidget(self.more)
        self.hide()

    def text(self) -> str:
        """Return all warnings, one a line."""
        return "\n".join(self._warnings)

    def tell(self, warnings: Sequence[str]) -> None:
        """Show these warnings, the most important first; what was opened stays open."""
        if tuple(warnings) == self._warnings:
            return
        self._warnings = tuple(warnings)
        n_more = len(self._warnings) - 1
        self.first.tell("".join(self._warnings[:1]), warning=True)
        self.others.tell("\n".join(f"• {warning}" for warning in self._warnings[1:]), warning=True)
        self.more.setText(f"{n_more} more warning{'s' if n_more > 1 else ''}")
        self.more.setToolTip("\n".join(self._warnings[1:]))
        self.more.setVisible(n_more > 0)
        self.setVisible(bool(self._warnings))
