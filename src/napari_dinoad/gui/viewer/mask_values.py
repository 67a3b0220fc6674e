"""The values of the mask that is shown."""

from __future__ import annotations

import numpy as np

__all__ = ["CHOSEN", "CHOSEN_UNTICKED", "without_choice"]

CHOSEN, CHOSEN_UNTICKED = 2, 3
"""Of the region that was chosen in the table; what is unticked is in no mask that is made of it."""


def without_choice(mask: np.ndarray) -> np.ndarray:
    """Return a copy of the mask in which the chosen region is as the others are, or left out where it is unticked."""
    return np.asarray((mask > 0) & (mask != CHOSEN_UNTICKED)).astype(mask.dtype)
