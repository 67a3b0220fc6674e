"""How well one colour stands out from another."""

from __future__ import annotations

import numpy as np

AA = 4.5
"""What WCAG 2 asks of text at level AA."""


def contrast(one, other):
    """Return the contrast of two sRGB colours (3,), each from 0 to 1, as WCAG 2 defines it: 1 to 21."""
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour):
    colour = np.asarray(colour, dtype=float)
    linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]
