"""Lesions drawn into normal slices: bright, dark, smoothed, and ring-shaped. A second opinion beside real tumours."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

__all__ = ["KINDS", "plant"]

KINDS = ("bright", "dark", "smooth", "ring")


def plant(image: np.ndarray, kind: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return a copy of a model input (H, W) in [0, 1] with a lesion in it, and the lesion's mask (H, W) bool.

    Its centre lies within tissue, its radius is 5 to 12 % of the side, its edge is soft and its outline uneven.
    """
    side = image.shape[0]
    inner = ndimage.binary_erosion(ndimage.gaussian_filter(image, side / 40) > 0.1, iterations=side // 10)
    where = np.argwhere(inner if inner.any() else image > 0.1)
    row, column = where[rng.integers(len(where))]
    radius = rng.uniform(0.05, 0.12) * side
    rows, columns = np.indices(image.shape)
    angle = np.arctan2(rows - row, columns - column)
    wobble = sum(rng.normal(0, 0.08) * np.cos(k * angle + rng.uniform(0, 2 * np.pi)) for k in (2, 3, 5))
    distance = np.hypot(rows - row, columns - column) / (radius * (1 + wobble))
    inside = 1 / (1 + np.exp((distance - 1) * radius / 1.5))
    grain = ndimage.gaussian_filter(rng.normal(size=image.shape), 1.5)
    grain *= 0.05 / grain.std()
    if kind == "ring":
        change = np.exp(-(((distance - 0.85) / 0.2) ** 2)) * 0.45 - 0.15 * inside
        lesion = image + change + grain * inside
    elif kind == "smooth":
        lesion = image + inside * (ndimage.gaussian_filter(image, side / 30) - image)
    else:
        strength = rng.uniform(0.2, 0.5) * (1 if kind == "bright" else -1)
        lesion = image + inside * (strength + grain)
    return np.clip(lesion, 0, 1).astype(np.float32), distance < 1
