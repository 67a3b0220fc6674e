"""Trying again what somebody else holds for a moment."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["patiently"]

T = TypeVar("T")


def patiently(act: Callable[[], T], refused: type[Exception], waits_s: Sequence[float]) -> T:
    """Return what ``act`` does; where it is refused it is tried again after each of these seconds, and then told."""
    for wait_s in waits_s:
        with suppress(refused):
            return act()
        time.sleep(wait_s)
    return act()
