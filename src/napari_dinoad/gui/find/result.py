"""The result for one scan as it grows: map, mask, regions, and which of them are ticked. NumPy only, no napari."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_dinoad.errors import DinoadError
from napari_dinoad.gui.find.marked_values import MarkedValues
from napari_dinoad.gui.viewer.mask_values import CHOSEN, CHOSEN_UNTICKED
from napari_dinoad.maps import AnomalyMap, AnomalyMask, Region, findings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_dinoad.calibration import NormalPeaks
    from napari_dinoad.gui.work.jobs import DetectOutcome, SlicesScored
    from napari_dinoad.images.volume import Geometry, Volume

__all__ = ["Measured", "Measurement", "ScanResult", "ScoresBefore", "scan_level_words"]

_EQUALS = "\u00a0=\u00a0"
"""Between two spaces at which no line breaks."""


@dataclass(frozen=True, eq=False)
class Measured:
    """Regions of a mask, their numbers where it marks, 0 in what is too small, and of which version of the result."""

    labels: MarkedValues
    regions: tuple[Region, ...]
    version: int


@dataclass(frozen=True, eq=False)
class Measurement:
    """Finds the regions of a mask; frozen, because that takes a while on large scans.

    Attributes
    ----------
    marked : MarkedValues
        The −log10 p that lie in the mask.
    geometry : Geometry
        The scan's.
    fpr, min_volume_mm3 : float
        See `ScanResult`.
    version : int
        Of the result.
    """

    marked: MarkedValues
    geometry: Geometry
    fpr: float
    min_volume_mm3: float
    version: int

    def work(self, desk: object = None) -> Measured:
        """Find and measure the regions."""
        from napari_dinoad.images.volume import Volume

        values = self.marked.whole()
        # The scan itself is not needed: the map stands in its place.
        mask = AnomalyMask.of(
            AnomalyMap(values, Volume(values, self.geometry)), self.fpr, self.min_volume_mm3
        )
        labels = mask.labels[self.marked.where()]
        small = labels.astype(np.min_scalar_type(int(labels.max(initial=0))))
        return Measured(self.marked.with_values(small), mask.regions(), self.version)


@dataclass(frozen=True, eq=False)
class ScoresBefore:
    """What was scored at some time; see `ScanResult.kept`."""

    values: np.ndarray
    scored: np.ndarray
    profile: np.ndarray


class ScanResult:
    """Map and mask of one scan with one model.

    Parameters
    ----------
    volume : Volume
    axis : int
        Axis of the canonical array across which slices are scored.
    fpr : float
        False-positive rate at which the mask is drawn.
    min_volume_mm3 : float
        Smaller regions are left out.
    values, mask : numpy.ndarray, optional
        Empty arrays to fill, where layers already show them.

    Attributes
    ----------
    values : numpy.ndarray
        (z, y, x) float32, −log10 p; 0 where nothing was scored. Changed in place.
    mask : numpy.ndarray
        (z, y, x) uint8, 1 in what would be exported, `CHOSEN` or `CHOSEN_UNTICKED` in the chosen region. Changed in
        place.
    scored : numpy.ndarray
        (n_slices,) bool.
    preliminary : set of int
        Slices that will be others once more is scored, if the run comes so far.
    profile : numpy.ndarray
        (n_slices,) float32, the highest −log10 p of each slice.
    outcome : DetectOutcome, optional
        Scan-level figures, once the whole scan was scored.
    """

    def __init__(
        self,
        volume: Volume,
        axis: int,
        fpr: float,
        min_volume_mm3: float = 0.0,
        values: np.ndarray | None = None,
        mask: np.ndarray | None = None,
    ) -> None:
        shape = volume.values.shape
        self.volume = volume
        self.axis = axis
        self.values = np.zeros(shape, dtype=np.float32) if values is None else values
        self.mask = np.zeros(shape, dtype=np.uint8) if mask is None else mask
        self.scored = np.zeros(shape[axis], dtype=bool)
        self.preliminary: set[int] = set()
        self.profile = np.zeros(shape[axis], dtype=np.float32)
        self.outcome: DetectOutcome | None = None
        self._fpr = fpr
        self._min_volume_mm3 = min_volume_mm3
        self._regions: tuple[Region, ...] = ()
        self._labels: MarkedValues | None = None
        self._version = 0
        self._unticked_peaks: set[tuple[int, int, int]] = set()
        self._chosen_peak: tuple[int, int, int] | None = None

    @property
    def fpr(self) -> float:
        """False-positive rate of the mask."""
        return self._fpr

    @property
    def regions(self) -> tuple[Region, ...]:
        """The regions as last measured, the one with the highest peak first."""
        return self._regions

    @property
    def unticked_peaks(self) -> frozenset[tuple[int, int, int]]:
        """Peaks (z, y, x) of the regions that were unticked, at whatever rate."""
        return frozenset(self._unticked_peaks)

    @property
    def is_measured(self) -> bool:
        """Whether `regions` belong to the mask as it is now."""
        return self._labels is not None

    @property
    def version(self) -> int:
        """Counts what has changed the mask; see `Measurement`."""
        return self._version

    @property
    def n_bytes(self) -> int:
        """How much memory the scan takes here, and what was found in it."""
        colours = self.volume.colours
        arrays = [self.volume.values, self.values, self.mask, *([] if colours is None else [colours])]
        return sum(array.nbytes for array in arrays)

    @property
    def normal_peaks(self) -> NormalPeaks | None:
        """The highest −log10 p of each normal scan; None while the whole scan is not scored, or not comparable."""
        return None if self.outcome is None else self.outcome.normal_peaks

    @property
    def is_whole(self) -> bool:
        """Whether the whole scan was scored."""
        return self.outcome is not None and self.outcome.is_whole

    def kept(self) -> ScoresBefore:
        """Return a copy of what is scored now, to go back to."""
        return ScoresBefore(self.values.copy(), self.scored.copy(), self.profile.copy())

    def go_back(self, kept: ScoresBefore) -> None:
        """Take back what was scored since."""
        self.values[...], self.scored[...], self.profile[...] = kept.values, kept.scored, kept.profile
        self._forget()
        np.greater_equal(self.values, self._threshold, out=self.mask.view(bool))

    def put(self, scored: SlicesScored) -> None:
        """Take in newly scored slices."""
        where = self._at(scored.indices)
        block = np.moveaxis(scored.values, 0, self.axis)
        self.values[where] = block
        self.mask[where] = block >= self._threshold
        self.scored[list(scored.indices)] = True
        if scored.is_final:
            self.preliminary.difference_update(scored.indices)
        else:
            self.preliminary.update(scored.indices)
        self.profile[list(scored.indices)] = scored.values.reshape(len(scored.indices), -1).max(axis=1)
        self._forget()

    def set_rate(self, fpr: float) -> None:
        """Draw the mask at another false-positive rate; fast, the regions follow with a `measurement`."""
        if fpr != self._fpr:
            self._fpr = fpr
            self._forget()
            np.greater_equal(self.values, self._threshold, out=self.mask.view(bool))

    def set_min_volume(self, min_volume_mm3: float) -> None:
        """Leave out other sizes of regions; they follow with a `measurement`."""
        if min_volume_mm3 != self._min_volume_mm3:
            self._min_volume_mm3 = min_volume_mm3
            self._forget()

    def measurement(self) -> Measurement:
        """Return what finds the regions of the mask as it is now; it may be sent to a worker process."""
        marked = MarkedValues.of(self.values, self.values >= self._threshold)
        return Measurement(marked, self.volume.geometry, self._fpr, self._min_volume_mm3, self._version)

    def accept(self, measured: Measured) -> bool:
        """Take in measured regions; return False, and do nothing, when the mask has changed since.

        Regions whose peak was unticked before stay unticked.
        """
        if measured.version != self._version:
            return False
        self._labels = measured.labels
        self._regions = measured.regions
        self._draw()
        return True

    def is_ticked(self, region: Region) -> bool:
        """Whether a region is shown and exported."""
        return region.peak_zyx not in self._unticked_peaks

    def set_ticked(self, regions: Iterable[Region], ticked: bool) -> None:
        """Tick or untick regions."""
        peaks = {region.peak_zyx for region in regions}
        if ticked:
            self._unticked_peaks -= peaks
        else:
            self._unticked_peaks |= peaks
        self._draw()

    def choose(self, region: Region | None) -> bool:
        """Mark a region, or none, in the mask; return whether another one was marked before."""
        peak = None if region is None else region.peak_zyx
        is_other = peak != self._chosen_peak
        self._chosen_peak = peak
        if is_other:
            self._draw()
        return is_other

    def labels(self) -> np.ndarray:
        """Return the regions as numbers (z, y, x) int32, ticked or not; zero elsewhere, or while not measured."""
        return np.zeros(self.values.shape, np.int32) if self._labels is None else self._labels.whole(np.int32)

    def anomaly_map(self) -> AnomalyMap:
        """Return the map on the scan's grid."""
        return AnomalyMap(self.values, self.volume)

    def ticked_labels(self) -> MarkedValues:
        """Return the numbers of the ticked regions where they lie, measuring first where needed."""
        if self._labels is None:
            self.accept(self.measurement().work())
        if self._labels is None:
            raise DinoadError("Mask: nothing was scored yet; press Find first.")
        labels = self._labels.values
        return self._labels.with_values(labels * self._is_shown(labels))

    def _forget(self) -> None:
        """Note that regions measured before are not those of the mask any more."""
        self._version += 1
        self._labels = None

    @property
    def _threshold(self) -> np.float32:
        return np.float32(-np.log10(self._fpr))

    def _at(self, indices: tuple[int, ...]) -> tuple[slice | list[int], ...]:
        where: list[slice | list[int]] = [slice(None)] * 3
        where[self.axis] = list(indices)
        return tuple(where)

    def _draw(self) -> None:
        if self._labels is None:
            return
        self.mask[...] = 0
        labels = self._labels.values
        shown = self._is_shown(labels).astype(np.uint8)
        for region in self._regions:
            if region.peak_zyx == self._chosen_peak:
                shown[labels == region.label] = CHOSEN if self.is_ticked(region) else CHOSEN_UNTICKED
        self.mask[self._labels.where()] = shown

    def _is_shown(self, labels: np.ndarray) -> np.ndarray:
        """Return whether the regions of these numbers (n,) are ticked."""
        is_shown = np.zeros(int(labels.max(initial=0)) + 1, dtype=bool)
        is_shown[[region.label for region in self._regions if self.is_ticked(region)]] = True
        return np.asarray(is_shown[labels])


def scan_level_words(outcome: DetectOutcome) -> str:
    """Return what the scan-level p-value says, for people; it claims no more than the normal scans allow.

    No line breaks within "p = 0.05".
    """
    if outcome.is_whole and outcome.p_value is None:
        return findings.NOT_COMPARABLE
    words = findings.scan_level_words(
        outcome.p_value, outcome.n_calibration_scans, outcome.n_more_normal, outcome.n_calibration_persons
    )
    return words.replace(" = ", _EQUALS)
