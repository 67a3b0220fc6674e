"""Progress and cancelling: one plain callable that the caller hands down.

Long functions take ``progress: Progress | None`` and call it after each unit of work (a scan, a batch, an
epoch). To cancel, the callable raises `napari_dinoad.errors.Cancelled`; the function lets it pass
after cleaning up. Only `napari_dinoad.gui.work.worker` knows about threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from napari_dinoad.errors import SettingError

__all__ = ["LastTold", "Progress", "ProgressEvent", "report"]

_REST_S = 0.1
"""What was told last is not told again sooner."""


@dataclass(frozen=True)
class ProgressEvent:
    """One step of a long job.

    Attributes
    ----------
    stage : str
        What is being done, for people: ``"Reading and embedding"``.
    done, total : int
        Units finished and units in all in this stage; ``total`` is 0 when it is not known.
    detail : str
        What the unit was (an epoch's loss, for instance). Never a patient's name or a path.
    metrics : Mapping[str, float]
        Figures of this step by name (``"loss"``), for curves.
    """

    stage: str
    done: int
    total: int
    detail: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)


Progress = Callable[[ProgressEvent], None]


def report(
    progress: Progress | None,
    stage: str,
    done: int,
    total: int,
    detail: str = "",
    metrics: Mapping[str, float] | None = None,
) -> None:
    """Tell ``progress``, when there is one, that ``done`` of ``total`` units are finished.

    Raises
    ------
    SettingError
        If it cannot be called.
    """
    if progress is not None:
        if not callable(progress):
            raise SettingError(f"progress: expected a function that takes a ProgressEvent, got {progress!r}.")
        progress(ProgressEvent(stage, done, total, detail, metrics or {}))


class LastTold:
    """Progress that can tell its last event again, for units of work that take long: so they can be cancelled within.

    Parameters
    ----------
    progress : callable, optional
    """

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._last: ProgressEvent | None = None
        self._told_s = 0.0

    def __call__(self, event: ProgressEvent) -> None:
        """Tell an event."""
        self._last, self._told_s = replace(event, metrics={}), time.monotonic()
        if self._progress is not None:
            self._progress(event)

    def again(self) -> None:
        """Tell the last event without its figures, where that was a while ago; may raise `Cancelled`."""
        if self._last is not None and time.monotonic() - self._told_s >= _REST_S:
            self(self._last)
