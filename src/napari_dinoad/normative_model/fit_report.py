"""What happened in a fit: the normal scans as the fit saw them, what was skipped, curves and times."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from napari_dinoad.machine.file_names import short_paths

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari_dinoad.images.persons import Persons
    from napari_dinoad.images.scan_file import SkippedFile

__all__ = ["FitReport", "NormalScan"]


@dataclass(frozen=True)
class NormalScan:
    """A normal scan of the cohort, scored by a model that had not seen it.

    Attributes
    ----------
    path : Path
    n_slices : int
    score : float, optional
        Its own raw score; None if no held-out score was made.
    p_value : float, optional
        The share of the normal scans whose score is at least as high.
    unlike_share : float, optional
        The share of the normal scans that are at least as unlike the others as a whole (turned, flipped, another
        plane); see `napari_dinoad.pipeline.cohort.layout`.
    grid_share : float, optional
        The share of the normal scans whose numbers of voxels and voxel sizes are at least as far from the usual.
    unusual : float
        All of it as one figure; see `napari_dinoad.pipeline.cohort.order`.
    facts : mapping
        Its size, voxels, body and intensities; see `napari_dinoad.pipeline.slices.scan_facts`.
    name : str
        Tells it from other scans of one path: series of one folder.
    """

    path: Path
    n_slices: int
    score: float | None = None
    p_value: float | None = None
    unlike_share: float | None = None
    grid_share: float | None = None
    unusual: float = 0.0
    facts: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""


@dataclass(frozen=True)
class FitReport:
    """What happened in a fit. It names files, so it is never stored in the model.

    Attributes
    ----------
    scans : tuple of NormalScan
    skipped : tuple of SkippedFile
    history : dict
        Curves by name.
    seconds : dict of float
        By stage.
    persons : Persons, optional
        Whose the scans are; None: each is of a person of its own.
    mixed : str
        A sentence where the folder mixes kinds of scans, of which it was told before the fit; else empty.
    """

    scans: tuple[NormalScan, ...]
    skipped: tuple[SkippedFile, ...]
    history: dict[str, list[float]]
    seconds: dict[str, float]
    persons: Persons | None = None
    mixed: str = ""

    @property
    def n_persons(self) -> int:
        """Persons that the scans are of."""
        return len(self.scans) if self.persons is None else self.persons.n

    @cached_property
    def names(self) -> tuple[str, ...]:
        """What to call each scan: its path below the folder that holds them all, and its name if that is shared."""
        short = short_paths([scan.path for scan in self.scans])
        shared = Counter(short)
        return tuple(
            f"{path} ({scan.name})" if shared[path] > 1 and scan.name else path
            for path, scan in zip(short, self.scans, strict=True)
        )

    def skipped_names(self) -> list[str]:
        """Return what to call each skipped file: its path below the folder that holds them all, and the scans."""
        return short_paths([scan.path for scan in self.scans] + [item.path for item in self.skipped])[
            len(self.scans) :
        ]

    def name_of(self, scan: NormalScan) -> str:
        """Return what to call one of the scans (see `names`)."""
        return next(name for name, other in zip(self.names, self.scans, strict=True) if other is scan)

    def most_abnormal(self, n: int = 5) -> tuple[NormalScan, ...]:
        """Return the ``n`` normal scans that look least normal, for review, the most unusual first."""
        return tuple(sorted(self.scans, key=lambda scan: -scan.unusual)[:n])
