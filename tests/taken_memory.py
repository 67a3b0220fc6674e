"""How much memory NumPy takes meanwhile."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["most_taken"]

T = TypeVar("T")


def most_taken(work: Callable[[], T]) -> tuple[T, int]:
    """Return what a call returns, and how many bytes it had taken at most beside what was there before."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        done = work()
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return done, most - before
