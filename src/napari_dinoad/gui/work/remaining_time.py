"""How long a stage may still take, and durations in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_dinoad.progress import ProgressEvent

__all__ = ["RemainingTime", "duration_in_words"]

_MIN_ELAPSED_S = 1.0
"""A stage that has run for less tells nothing about its pace."""


class RemainingTime:
    """Estimates the rest of a stage from its own mean pace, each time that more of it is done."""

    def __init__(self) -> None:
        self._last = ("", 0, 0)
        self._since_s = 0.0
        self._done_then = 0
        self._estimate_s: float | None = None

    def update(self, event: ProgressEvent, now_s: float) -> float | None:
        """Take in an event and return the seconds that its stage may still take, or None while unknown.

        Parameters
        ----------
        event : ProgressEvent
        now_s : float
            A clock that only goes forward, in seconds.
        """
        stage, *_ = self._last
        told = (event.stage, event.done, event.total)
        if told != self._last:
            if event.stage != stage or event.done < self._done_then:
                self._since_s, self._done_then = now_s, event.done
            self._last, self._estimate_s = told, self._of(event, now_s)
        return self._estimate_s

    def _of(self, event: ProgressEvent, now_s: float) -> float | None:
        done = event.done - self._done_then
        elapsed = now_s - self._since_s
        if done <= 0 or event.total <= 0 or elapsed < _MIN_ELAPSED_S:
            return None
        return elapsed / done * max(event.total - event.done, 0)


def duration_in_words(seconds: float) -> str:
    """Return a duration as people say it: ``"8 s"``, ``"3 min"``, ``"1 h 20 min"``."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(5 * round(minutes / 5), 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"
