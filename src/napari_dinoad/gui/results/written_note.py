"""What an export has written, and a way there."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, QUrl

from napari_dinoad.gui.parts.parts import NoteLabel

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from qtpy.QtWidgets import QWidget

__all__ = ["WrittenNote"]

_PAGE_SUFFIX = ".html"
"""Of files that are for people."""


class WrittenNote(NoteLabel):
    """A note that names the files of an export, and opens their folder and the report by a click."""

    _paths: tuple[Path, ...] = ()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setOpenExternalLinks(True)

    def tell(self, text: str, *, warning: bool = False, error: bool = False) -> None:
        """Show a text, or nothing where it is empty, in place of what was written."""
        self._paths = ()
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        super().tell(text, warning=warning, error=error)

    def tell_written(self, paths: Sequence[Path]) -> None:
        """Show where files have been written, all into one folder, and their names."""
        self._paths = tuple(path.absolute() for path in paths)
        self.setTextFormat(Qt.TextFormat.RichText)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextBrowserInteraction)
        super().tell(self._words())

    def _words(self) -> str:
        folder = self._paths[0].parent
        names = (
            self._link(path, path.name) if path.suffix == _PAGE_SUFFIX else escape(path.name)
            for path in self._paths
        )
        return f"Written into {self._link(folder, str(folder))}: {', '.join(names)}"

    def _link(self, path: Path, words: str) -> str:
        """Return a link in the colour of the text: Qt's blue is hard to read on dark ground."""
        address = bytes(QUrl.fromLocalFile(str(path)).toEncoded()).decode()
        return f'<a href="{escape(address)}" style="color: {self.colour}">{escape(words)}</a>'

    def _take_colour(self) -> None:
        super()._take_colour()
        if self._paths:
            self.setText(self._words())
