"""The pointer while napari's own window waits for a reader."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["busy_pointer"]


@contextmanager
def busy_pointer() -> Iterator[None]:
    """Show by the pointer that the window waits while the body runs.

    Without a window, or on another thread than the window's, nothing is shown.
    """
    # Readers serve viewers without a window too, where Qt may not be installed.
    if "qtpy.QtWidgets" not in sys.modules:
        yield
        return
    from qtpy.QtCore import Qt, QThread
    from qtpy.QtWidgets import QApplication

    application = QApplication.instance()
    if application is None or QThread.currentThread() is not application.thread():
        yield
        return
    QApplication.setOverrideCursor(Qt.CursorShape.WaitCursor)
    try:
        yield
    finally:
        QApplication.restoreOverrideCursor()
