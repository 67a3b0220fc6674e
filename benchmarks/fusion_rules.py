"""Ways to make one score of several −log10 p, compared by the two benchmarks of fusion."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["RULES"]


def _stouffer(levels: np.ndarray) -> np.ndarray:
    """Return the mean of the normal deviates."""
    return np.asarray(-ndtri(np.clip(10.0 ** -levels.astype(np.float64), 1e-15, 1 - 1e-7)).mean(axis=0))


def _harmonic(levels: np.ndarray) -> np.ndarray:
    """Return −log10 of the harmonic mean of p."""
    return np.asarray(np.log10(np.mean(10.0 ** levels.astype(np.float64), axis=0)))


RULES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mean (Fisher)": lambda levels: levels.mean(axis=0),
    "max (Tippett)": lambda levels: levels.max(axis=0),
    "normal deviates (Stouffer)": _stouffer,
    "harmonic mean of p": _harmonic,
}
"""Rule by name; each takes −log10 p (parts, …) float32 and gives a score (…), higher is more abnormal."""
