"""Held-out normal scans → the calibration of each scorer, and of what is fused from several.

Patch scores of scans that a scorer has not seen are kept on disk (they are small) and read back scan by scan, once
for each level: scorers, then planes. Memory does not grow with the number of scans.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from napari_dinoad.calibration import Calibration, fused_scores
from napari_dinoad.calibration.scan_scores import OwnScores
from napari_dinoad.calibration.score_histogram import RunningSum, ScoreHistogram
from napari_dinoad.machine.atomic_files import telling_of_writing
from napari_dinoad.normative_model.plane_model import Member, PlaneModel
from napari_dinoad.pipeline.fit.drawn_patches import draw_patches
from napari_dinoad.pipeline.fit.held_out_levels import MIN_PERSONS, HeldOutLevels
from napari_dinoad.pipeline.fit.left_out_rates import LeftOutRates
from napari_dinoad.pipeline.slices.plane_fusion import PlaneMean
from napari_dinoad.pipeline.slices.slice_smoothing import SliceSmoothing, averaging_like
from napari_dinoad.progress import report

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from napari_dinoad.normative_model.held_out_patches import HeldOutPatches
    from napari_dinoad.pipeline.cohort.embedding_cache import EmbeddingCache
    from napari_dinoad.progress import Progress
    from napari_dinoad.scoring.protocol import Scorer
    from napari_dinoad.settings import Plane, ScorerName

__all__ = ["HeldOutPlane", "HeldOutScans", "HeldOutScores", "Level", "fuse_planes"]

BodyScores = Callable[[int], np.ndarray]
"""A held-out scan's place in the cache → the raw scores (n,) of its body voxels."""


class HeldOutScores:
    """Patch scores (n, gh, gw) float32 of held-out normal scans, one file for each scan and scorer.

    A fit that goes on writes them anew before it reads them: what a killed one has left may be half-written, and
    nothing waits until a file is on the disk.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, plane: Plane, scorer: str, scan: int, patch_scores: np.ndarray) -> None:
        """Keep what a scorer gave to the slices of a scan that it has not seen."""
        path = self._path(plane, scorer, scan)
        with telling_of_writing(path, path, 4 * patch_scores.size), path.open("wb") as stream:
            np.save(stream, patch_scores.astype(np.float32, copy=False), allow_pickle=False)

    def get(self, plane: Plane, scorer: str, scan: int) -> np.ndarray:
        """Return what was kept."""
        kept: np.ndarray = np.load(self._path(plane, scorer, scan), allow_pickle=False)
        return kept

    def _path(self, plane: Plane, scorer: str, scan: int) -> Path:
        return self._folder / f"{plane}-{scorer}-{scan:06d}.npy"


@dataclass(frozen=True)
class HeldOutScans:
    """The scans to calibrate on, and how.

    Attributes
    ----------
    scans : tuple of int
        Their places in the cache.
    top_fraction : float
        See `CalibrationSettings.scan_top_fraction`.
    method : str
        ``"split"`` or ``"cross"``.
    progress : callable, optional
        Called after each scan of each level; may raise `Cancelled`.
    smoothing_mm : float
        See `CalibrationSettings.smoothing_mm`.
    persons : tuple of int
        The person of every scan of the cache, by its place; empty: each is of a person of its own. In ``scans`` those
        of one person should follow each other: `Level.without` keeps the calibration without one person at a time.
    levelled : tuple of str
        Scorers whose averaged scores are divided by what is usual of slices that look alike; see `SliceLevels`.
    n_kept_patches : int
        About so many patches are kept where the model can be merged; see `HeldOutPatches`.
    """

    scans: tuple[int, ...]
    top_fraction: float
    method: str
    progress: Progress | None = None
    smoothing_mm: float = 0.0
    persons: tuple[int, ...] = ()
    levelled: tuple[ScorerName, ...] = ()
    n_kept_patches: int = 0

    def person_of(self, scan: int) -> int:
        """Return the person that a scan is of."""
        return self.persons[scan] if self.persons else scan


@dataclass(frozen=True, eq=False)
class Level:
    """A calibration, and what it was made of.

    Attributes
    ----------
    calibration : Calibration
    pooled : ScoreHistogram
        Raw scores of the body voxels of all held-out scans.
    of_scans : dict of OwnScores
        Each held-out scan's, by its place in the cache.
    held_out : HeldOutScans
    body_scores : callable
        Gives the raw scores (n,) of a scan's body voxels.
    """

    calibration: Calibration
    pooled: ScoreHistogram
    of_scans: dict[int, OwnScores]
    held_out: HeldOutScans
    body_scores: BodyScores
    _without: dict[int, Calibration] = field(default_factory=dict)
    """The person that `without` was last asked for, with what it returned."""

    @classmethod
    def of(cls, held_out: HeldOutScans, body_scores: BodyScores) -> Level:
        """Calibrate on the raw scores of held-out scans.

        Parameters
        ----------
        held_out : HeldOutScans
        body_scores : callable
            Gives the raw scores (n,) of a scan's body voxels.
        """
        running = RunningSum(ScoreHistogram.empty())
        of_scans = {}
        for done, scan in enumerate(held_out.scans):
            report(held_out.progress, "Calibrating", done, len(held_out.scans))
            scores = body_scores(scan)
            running.add(ScoreHistogram.of(scores))
            of_scans[scan] = OwnScores.of(scores, held_out.top_fraction)
        pooled = running.total()
        persons = [held_out.person_of(scan) for scan in of_scans]
        calibration = Calibration.from_histogram(pooled, list(of_scans.values()), held_out.method, persons)
        return cls(calibration, pooled, of_scans, held_out, body_scores)

    @property
    def scan_scores(self) -> dict[int, float]:
        """Each held-out scan's own score, by its place in the cache."""
        return {scan: own.score for scan, own in self.of_scans.items()}

    def for_new_persons(self) -> Calibration:
        """Return the calibration by which each rate is, on average, that of a person who is not behind it.

        Each held-out person is left out in turn; see `LeftOutRates`. A single person's is returned as it is.
        """
        scans_of: dict[int, list[int]] = {}
        for scan in self.of_scans:
            scans_of.setdefault(self.held_out.person_of(scan), []).append(scan)
        if len(scans_of) == 1:
            return self.calibration
        rates = LeftOutRates()
        for done, scans in enumerate(scans_of.values()):
            report(self.held_out.progress, "Measuring the rates", done, len(scans_of))
            own = ScoreHistogram.empty()
            for scan in scans:
                own = own + ScoreHistogram.of(self.body_scores(scan))
            rest = self.pooled.without(own)
            if rest.total:
                rates.add(own, Calibration.from_histogram(rest, [OwnScores(0.0, 0.0)]))
        return rates.corrected(self.calibration)

    def without(self, scan: int, scores: np.ndarray) -> Calibration:
        """Return the calibration on the held-out scans of all persons but the one that a scan is of.

        With it a held-out scan is fused as the scan of a new person will be, who is in no calibration either. With a
        single held-out person there is no other to calibrate on, and the calibration on that person is returned.

        Parameters
        ----------
        scan : int
            Its place in the cache.
        scores : numpy.ndarray
            (n,) raw scores of its body voxels.
        """
        person = self.held_out.person_of(scan)
        if person not in self._without:
            calibration = self._without_person(person, scan, scores)
            self._without.clear()
            self._without[person] = calibration
        return self._without[person]

    def _without_person(self, person: int, scan: int, scores: np.ndarray) -> Calibration:
        others, persons = [], []
        rest = self.pooled.without(ScoreHistogram.of(scores))
        for other, own in self.of_scans.items():
            if self.held_out.person_of(other) != person:
                others.append(own)
                persons.append(self.held_out.person_of(other))
            elif other != scan:
                rest = rest.without(ScoreHistogram.of(self.body_scores(other)))
        if rest.total == 0:
            return self.calibration
        return Calibration.from_histogram(rest, others, self.calibration.method, persons)


def fuse_planes(planes: Sequence[HeldOutPlane], held_out: HeldOutScans) -> Level:
    """Calibrate what is fused from several planes of held-out scans, one scan at a time."""

    def body_scores(scan: int) -> np.ndarray:
        mean = PlaneMean(planes[0].shape_of(scan))
        for plane in planes:
            plane.add_to(mean, scan)
        return mean.raw_scores()

    return Level.of(held_out, body_scores)


class HeldOutPlane:
    """The scorers of one plane on held-out normal scans, calibrated each alone and fused.

    Parameters
    ----------
    plane : str
    scorers : sequence of str
        Their names.
    cache : EmbeddingCache
        Of this plane.
    scores : HeldOutScores
        With the patch scores of each of ``scorers`` on each of the scans.
    held_out : HeldOutScans

    Attributes
    ----------
    members : dict of Level
        Of each scorer alone, by its name.
    level : Level
        Of their fused score; with one scorer its own. Where slices are averaged, it is calibrated on the scans in
        which averaging leaves as little noise as in most. The scores of others (single images, volumes whose slices
        lie farther apart) vary more: scans like these are scored by ``alone``.
    alone : HeldOutPlane, optional
        The same of slices scored each for itself; None where no slice is averaged with another.
    noise_share : float
        See `PlaneModel.noise_share`.
    """

    def __init__(
        self,
        plane: Plane,
        scorers: Sequence[ScorerName],
        cache: EmbeddingCache,
        scores: HeldOutScores,
        held_out: HeldOutScans,
    ) -> None:
        self.plane = plane
        self._cache = cache
        self._scores = scores
        self._smoothing_mm = held_out.smoothing_mm
        self.noise_share = self._usual_noise_share(held_out.scans)
        self.alone: HeldOutPlane | None = None
        averaged = tuple(scan for scan in held_out.scans if self._averaging(scan) is not None)
        if averaged:
            single = replace(held_out, smoothing_mm=0.0, levelled=())
            self.alone = HeldOutPlane(plane, scorers, cache, scores, single)
            held_out = replace(held_out, scans=averaged)
        self._levels: HeldOutLevels | None = None
        if averaged:
            self._levels = self._measured_levels(scorers, held_out)
        self.members = {name: Level.of(held_out, partial(self._own_scores, name)) for name in scorers}
        self.level = next(iter(self.members.values()))
        if len(self.members) > 1:
            self.level = Level.of(held_out, self.body_scores)
        self._held_out = held_out

    @property
    def scan_scores(self) -> dict[int, float]:
        """Each held-out scan's own score, by its place in the cache: of averaged slices where all scans have them.

        Averaging lowers the highest scores. Where some scans are not averaged (single images), none is here, so that
        all are on one scale.
        """
        if self.alone is None or len(self.level.of_scans) == len(self.alone.level.of_scans):
            return self.level.scan_scores
        return self.alone.scan_scores

    def body_scores(self, scan: int) -> np.ndarray:
        """Return the plane's raw scores (n,) float32 at the body voxels of a held-out scan's slices."""
        own = [self._own_scores(name, scan) for name in self.members]
        if len(own) == 1:
            return own[0]
        levels = zip(self.members.values(), own, strict=True)
        return fused_scores(own, [level.without(scan, scores) for level, scores in levels])

    def shape_of(self, scan: int) -> tuple[int, int, int]:
        """Return the shape (z, y, x) of a scan's canonical array."""
        return self._cache.scans[scan].stack.shape

    def add_to(self, mean: PlaneMean, scan: int) -> None:
        """Add the plane's −log10 p of a held-out scan, by the calibration on the others, to the mean over planes."""
        own = self if self.alone is None or scan in self.level.of_scans else self.alone
        raw = own.body_scores(scan)
        cached = self._cache.scans[scan]
        levels = own.level.without(scan, raw).neg_log10_p(raw)
        mean.add(cached.stack, cached.stack.indices, cached.body(), levels)

    def model(self, scorers: Mapping[ScorerName, Scorer], *, is_whole: bool = True) -> PlaneModel:
        """Return the plane's model with these fitted scorers.

        Parameters
        ----------
        scorers : mapping of Scorer
        is_whole : bool
            Whether it is the only plane. Then its calibration is corrected to hold for new persons. With several
            planes that is done once, after they are fused: the parts keep the calibrations by which held-out scans
            were fused. For the same reason several scorers keep theirs.
        """
        calibration = self.level.for_new_persons() if is_whole else self.level.calibration
        members = [Member(scorers[name], level.calibration) for name, level in self.members.items()]
        if len(members) == 1:
            members = [replace(members[0], calibration=calibration)]
        alone = None if self.alone is None else self.alone.model(scorers, is_whole=is_whole)
        levels = () if self._levels is None else (self._levels.levels,)
        return PlaneModel(self.plane, tuple(members), calibration, alone, self.noise_share, levels)

    def patches(self, scorer: ScorerName) -> HeldOutPatches | None:
        """Return what is kept of the held-out scans' patches, with the scores of this scorer."""
        if not self._held_out.n_kept_patches:
            return None
        scans = {scan: self._cache.scans[scan] for scan in self._held_out.scans}
        own, calibrated = partial(self._scores.get, self.plane, scorer), partial(self._patch_scores, scorer)
        return draw_patches(scans, own, calibrated, self._held_out.n_kept_patches, self._held_out.progress)

    def _own_scores(self, scorer: ScorerName, scan: int) -> np.ndarray:
        return self._cache.scans[scan].body_scores(self._patch_scores(scorer, scan))

    def _patch_scores(self, scorer: ScorerName, scan: int) -> np.ndarray:
        """Return the patch scores (n, gh, gw) float32 that are calibrated."""
        patch_scores = self._scores.get(self.plane, scorer, scan)
        averaging = self._averaging(scan)
        if averaging is not None:
            patch_scores = averaging.smoothed(patch_scores)
            if self._levels is not None:
                patch_scores /= self._levels.of(scorer, scan)[:, None, None]
        return patch_scores

    def _measured_levels(self, scorers: Sequence[ScorerName], held_out: HeldOutScans) -> HeldOutLevels | None:
        """Return what is usual of slices by their looks; None where that is not asked for, or persons are few."""
        persons = {scan: held_out.person_of(scan) for scan in held_out.scans}
        if not held_out.levelled or len(set(persons.values())) < MIN_PERSONS:
            return None
        scans = {scan: self._cache.scans[scan] for scan in held_out.scans}
        scores = {
            name: partial(self._own_scores, name) if name in held_out.levelled else None for name in scorers
        }
        return HeldOutLevels(scans, persons, scores, held_out.progress)

    def _usual_noise_share(self, scans: Sequence[int]) -> float:
        """Return what averaging as far as it goes leaves of the noise in most scans that have neighbouring slices."""
        full = [
            SliceSmoothing(*self._slices(scan), self._smoothing_mm) for scan in scans if self._smoothing_mm
        ]
        shares = sorted(averaging.noise_share for averaging in full if averaging.has_neighbours)
        return shares[(len(shares) - 1) // 2] if shares else 1.0

    def _averaging(self, scan: int) -> SliceSmoothing | None:
        """Return how the slices of a scan are averaged; None: each is for itself, as single images are."""
        if not self._smoothing_mm:
            return None
        return averaging_like(*self._slices(scan), self._smoothing_mm, self.noise_share)

    def _slices(self, scan: int) -> tuple[tuple[int, ...], float | None]:
        stack = self._cache.scans[scan].stack
        return stack.indices, stack.spacing_mm
