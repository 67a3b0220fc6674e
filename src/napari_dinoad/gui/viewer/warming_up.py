"""What a first labels layer makes napari load, while nobody waits for it."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image, Labels
from qtpy.QtCore import QObject, QTimer

from napari_dinoad.gui.viewer.looks import mask_look

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["WarmUp", "steps_of_warm_up"]

_MODULES = ("numpy.f2py", "scipy.linalg", "scipy.ndimage", "skimage.color", "pandas")
"""Loaded by a first labels layer, for its default colours and its table of features; what is loaded first, first."""

_BETWEEN_MS = 50
"""From the end of a step to the next, for what the user does meanwhile."""


def steps_of_warm_up() -> tuple[Callable[[], None], ...]:
    """Return what makes a first labels layer quick: together most of a second, each step a third of it at most."""
    return (*(partial(_load, name) for name in _MODULES), _make_image, _make_labels)


def _load(name: str) -> None:
    # Not ours but napari's: where another version of it does without, so do we.
    with suppress(ImportError):
        import_module(name)


def _make_image() -> None:
    """Have the units of layers read from their text, as for a first layer of any kind."""
    Image(np.zeros((1, 1), np.uint8))


def _make_labels() -> None:
    Labels(np.zeros((1, 1), np.uint8), **mask_look())


class WarmUp(QObject):
    """Does steps one by one, and lets the window have its turn before each of them.

    They are no work for a thread: imports would hold Python's lock, and keep the window as long.

    Parameters
    ----------
    parent : QObject
    steps : sequence of callable
    """

    def __init__(self, parent: QObject, steps: Sequence[Callable[[], None]]) -> None:
        super().__init__(parent)
        self._left = list(steps)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._do_next)

    def start(self, after_ms: int) -> None:
        """Begin after a while."""
        self._timer.start(after_ms)

    def stop(self) -> None:
        """Leave what is not done yet."""
        self._left.clear()
        self._timer.stop()

    def _do_next(self) -> None:
        if self._left:
            self._left.pop(0)()
            self._timer.start(_BETWEEN_MS)
