"""Progress and cancelling: one plain callable that the caller hands down.

Long functions take ``progress: Progress | None`` and call it after each unit of work (a scan, a batch, an
epoch). To cancel, the callable raises `napari_dinoad.errors.Cancelled`; the function lets it pass
after cleaning up. Only `napari_dinoad.gui.work.worker` knows about threads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from napari_dinoad.errors import SettingError

__all__ = ["Progress", "ProgressEvent", "report"]


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
