"""Models that are dropped on the canvas go to the dock of that window."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtGui import QDropEvent
from qtpy.QtWidgets import QMainWindow, QWidget

from napari_dinoad.machine.file_names import MODEL_SUFFIX

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ModelDrops"]


class ModelDrops(QObject):
    """Takes what is dropped beside a dock, where all of it is models; all else is napari's.

    napari tells its readers no viewer. The current one is that of the window that was active last, and a drop from a
    file manager activates none.

    Parameters
    ----------
    dock : QWidget
    take : callable
        Given the models' paths.
    """

    def __init__(self, dock: QWidget, take: Callable[[tuple[Path, ...]], object]) -> None:
        super().__init__(dock)
        self._dock = dock
        self._take = take
        # Not QTimer.singleShot: PySide6 calls what it was given also after the dock is gone.
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(0)
        self._soon.timeout.connect(self._watch)

    def watch_soon(self) -> None:
        """Watch the window that the dock is in, once napari has put it there."""
        self._soon.start()

    def _watch(self) -> None:
        owner: QObject | None = self._dock
        while owner is not None and not isinstance(owner, QMainWindow):
            owner = owner.parent()
        centre = None if owner is None else owner.centralWidget()
        if centre is not None:
            for widget in (centre, *centre.findChildren(QWidget)):
                if widget.acceptDrops():
                    widget.installEventFilter(self)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Take models."""
        if (
            not isinstance(event, QDropEvent)
            or event.type() != QEvent.Type.Drop
            or self._dock.parent() is None
        ):
            return False
        urls = event.mimeData().urls()
        paths = tuple(Path(url.toLocalFile()) for url in urls if url.isLocalFile())
        if not paths or len(paths) < len(urls) or any(path.suffix.lower() != MODEL_SUFFIX for path in paths):
            return False
        event.acceptProposedAction()
        self._take(paths)
        return True
