"""Scans whose slices lie so far apart that they can be looked at in one plane only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["thick_axis"]

_MUCH_THICKER = 2.5
"""Slices this many times as far apart as their pixels make other planes coarse."""


def thick_axis(spacing: Sequence[float]) -> int | None:
    """Return the axis across which slices (z, y, x in millimetres) make other planes coarse, if there is one."""
    thick = int(np.argmax(spacing))
    others = [step for axis, step in enumerate(spacing) if axis != thick]
    return thick if spacing[thick] > _MUCH_THICKER * max(others) else None
