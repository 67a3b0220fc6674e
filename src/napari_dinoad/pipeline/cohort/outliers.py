"""Scans of a cohort whose size, voxels or intensities are unlike those of the others.

Each figure is compared with the cohort's median in units of its robust spread (1.4826 × the median absolute
deviation): the median and the spread hardly move when some scans are wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dinoad.normative_model.cohort_norms import AXES, contrast_quartiles, robust_z

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["OUTLYING_Z", "Outlier", "find_outliers", "grid_unlikeness"]

OUTLYING_Z = 5.0
"""Robust z-scores above this are listed. Of normally distributed figures one in a million is so far off."""

_MIN_SCANS = 5
"""With fewer there is no telling who is unlike the others."""

_MIN_RELATIVE_SPREAD = 0.02
"""A spread of less than this share of the median is taken for it: scans of one protocol differ by rounding alone."""


_OF_THE_GRID = ("voxels, ", "voxel size, ")
"""What the names of figures that do not depend on the voxels' values begin with."""


@dataclass(frozen=True)
class Outlier:
    """A figure of a scan that is unlike the cohort's.

    Attributes
    ----------
    scan : int
        Its place in the cohort.
    figure : str
        In words.
    value, median : float
        The scan's, and the cohort's.
    z : float
        Difference in robust standard deviations; negative: smaller than usual.
    """

    scan: int
    figure: str
    value: float
    median: float
    z: float


def find_outliers(facts: Sequence[Mapping[str, Any]]) -> tuple[Outlier, ...]:
    """Return the figures that stand out, the farthest first.

    Parameters
    ----------
    facts : sequence of mapping
        Of each scan; see `scan_facts`.
    """
    outliers: list[Outlier] = []
    for name, scans, values, z in _compared([_figures(item) for item in facts]):
        median = float(np.median(values))
        outliers += [
            Outlier(scans[i], name, float(values[i]), median, float(z[i]))
            for i in np.flatnonzero(np.abs(z) > OUTLYING_Z)
        ]
    return tuple(sorted(outliers, key=lambda outlier: -abs(outlier.z)))


def grid_unlikeness(facts: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Return how unlike the others' each scan's grid is, (n,) float64: the largest |z| of its sizes and voxel sizes.

    0 of scans that are as the others are, and of all where there are too few to compare.

    Parameters
    ----------
    facts : sequence of mapping
        Of each scan; see `scan_facts`. Empty ones count as like the others.
    """
    unlike = np.zeros(len(facts))
    for name, scans, _, z in _compared([_figures(item) if item else {} for item in facts]):
        if name.startswith(_OF_THE_GRID):
            unlike[scans] = np.maximum(unlike[scans], np.abs(z))
    return unlike


def _compared(
    figures: Sequence[Mapping[str, float]],
) -> Iterator[tuple[str, list[int], np.ndarray, np.ndarray]]:
    """Yield each figure that enough scans have: its name, these scans, and their values and robust z-scores."""
    for name in dict.fromkeys(name for item in figures for name in item):
        scans = [i for i, item in enumerate(figures) if name in item]
        if len(scans) >= _MIN_SCANS:
            values = np.array([figures[i][name] for i in scans])
            least = _MIN_RELATIVE_SPREAD * abs(float(np.median(values)))
            yield name, scans, values, robust_z(values, least)


def _figures(facts: Mapping[str, Any]) -> dict[str, float]:
    """Return comparable figures of a scan, by name in words."""
    unit = "mm" if facts["is_physical"] else "px"
    axes = AXES if facts["is_physical"] else ("", "rows", "columns")
    figures: dict[str, float] = {}
    for axis, name in enumerate(axes):
        if facts["shape"][axis] > 1:
            figures[f"voxels, {name}"] = float(facts["shape"][axis])
            figures[f"body size, {name} ({unit})"] = float(facts["body_size"][axis])
        if facts["is_physical"]:
            figures[f"voxel size, {name} (mm)"] = float(facts["spacing"][axis])
    figures["share of the scan that is body"] = float(facts["body_fraction"])
    white = None if facts["is_physical"] else facts["white"]
    unit = " (99th percentile)" if white is None else " (99th percentile, share of white)"
    figures["brightest tissue" + unit] = float(facts["intensity"][-1]) / (white or 1.0)
    return figures | {f"contrast: {name}": value for name, value in contrast_quartiles(facts).items()}
