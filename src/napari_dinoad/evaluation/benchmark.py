"""Maps of many scans against their truth → the figures of a benchmark; few scans are in memory at a time."""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dinoad.calibration.score_histogram import RunningSum, ScoreHistogram
from napari_dinoad.errors import DinoadError, GeometryError, ScanReadError, ScorerError, SettingError
from napari_dinoad.evaluation.datasets import ABNORMAL_VALIDATION
from napari_dinoad.evaluation.labelled_histogram import LabelledHistogram, threshold_at_fpr
from napari_dinoad.evaluation.metrics import auroc, image_score
from napari_dinoad.evaluation.region_overlap import RegionOverlap
from napari_dinoad.evaluation.truths import at_protocol, read_truth, require_protocol, truth_notes
from napari_dinoad.images.scan_file import SkippedFile
from napari_dinoad.images.scans_ahead import scans_ahead
from napari_dinoad.machine.file_names import stem_of
from napari_dinoad.machine.read_ahead import ReadAhead
from napari_dinoad.progress import report
from napari_dinoad.settings import ReadSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from napari_dinoad.evaluation.labelled_scans import EvaluationSet, LabelledScan
    from napari_dinoad.images.volume import Volume
    from napari_dinoad.progress import Progress
    from napari_dinoad.settings import EvaluationSettings

    _Read = Callable[[], tuple[Volume, np.ndarray]]

__all__ = ["BenchmarkFigures", "evaluate_dataset"]


_EMPTY_MASK = (
    "Abnormal by its folder, with nothing marked in its mask (at this protocol): abnormal as an image, normal in all "
    "pixels."
)
_OF_ONE_SCAN = (ScanReadError, SettingError, ScorerError, GeometryError)
"""Errors of one scan, which hold up none of the others."""

_UNMARKED = "Without a mask, and no folder says of which class it is: counted as normal."

_MARKED_NORMAL = (
    "Normal by its folder, with something marked in its mask: normal as an image, abnormal in these pixels."
)


@dataclass
class _Sums:
    """What is summed over the scans of one split."""

    pixels: RunningSum[LabelledHistogram] = field(
        default_factory=lambda: RunningSum(LabelledHistogram.empty())
    )
    overlap: RunningSum[RegionOverlap] = field(default_factory=lambda: RunningSum(RegionOverlap.empty()))
    maxima: list[float] = field(default_factory=list)
    top_means: list[float] = field(default_factory=list)
    is_abnormal: list[bool] = field(default_factory=list)
    scans: list[dict[str, Any]] = field(default_factory=list)

    def add(
        self,
        scan: LabelledScan,
        scores: np.ndarray,
        truth: np.ndarray | None,
        is_abnormal: bool,
        thresholds: Mapping[float, float],
        top_fraction: float,
    ) -> None:
        """Add a scan; ``truth`` is None where it is abnormal and nothing tells where."""
        pixels = None
        if truth is not None:
            # Both before either is added: a map that is refused leaves no trace.
            pixels, overlap = LabelledHistogram.of(scores, truth), RegionOverlap.of(scores, truth)
            self.pixels.add(pixels)
            self.overlap.add(overlap)
        self.maxima.append(image_score(scores))
        self.top_means.append(image_score(scores, top_fraction))
        self.is_abnormal.append(is_abnormal)
        self.scans.append(
            {
                "scan": str(scan.path),
                "name": scan.as_file().name,
                "is_abnormal": is_abnormal,
                "score_max": self.maxima[-1],
                "score_top": self.top_means[-1],
                **_pixel_figures(pixels, thresholds),
            }
        )


def _pixel_figures(pixels: LabelledHistogram | None, thresholds: Mapping[float, float]) -> dict[str, Any]:
    """Return figures of one scan's pixels; None where nothing is marked, all of them where nothing tells what is."""
    is_known = pixels is not None
    if pixels is None:
        pixels = LabelledHistogram.empty()
    has_both = bool(pixels.abnormal.total and pixels.normal.total)
    has_truth = bool(pixels.abnormal.total)
    return {
        "n_pixels": pixels.normal.total + pixels.abnormal.total if is_known else None,
        "n_abnormal_pixels": pixels.abnormal.total if is_known else None,
        "pixel_auroc": _defined(pixels.auroc()) if has_both else None,
        "pixel_aupr": _defined(pixels.average_precision()) if has_both else None,
        "best_dice": _defined(pixels.best_dice().dice) if has_truth else None,
        **{
            f"dice_at_{rate:g}": _defined(pixels.dice_at(threshold)) if has_truth else None
            for rate, threshold in thresholds.items()
        },
    }


@dataclass(frozen=True)
class BenchmarkFigures:
    """The figures of a benchmark.

    Attributes
    ----------
    values : dict
        JSON values; None where a figure is not defined (no abnormal image, no normal one; of pixels, where folders
        alone tell what is abnormal).
    failed : tuple of (Path, str)
        Scans that could not be used, and why.
    unused : tuple of SkippedFile
        Scans that are not evaluated by the layout, or no normal ones in the validation split.
    notes : tuple of (Path, str)
        Scans that were evaluated, and what is to be known of their masks.
    scans : tuple of dict
        Of each test scan, JSON values that make a line of a table: ``"scan"`` (its path), ``"name"`` (which tells
        DICOM series of one folder apart), ``"is_abnormal"``, ``"score_max"`` and ``"score_top"`` of its map,
        ``"n_pixels"``, ``"n_abnormal_pixels"`` (None of an abnormal scan without a mask) and, where some are,
        ``"pixel_auroc"``, ``"pixel_aupr"``, ``"best_dice"`` and ``"dice_at_0.01"``, … at the thresholds of all scans.
    """

    values: dict[str, Any]
    failed: tuple[tuple[Path, str], ...]
    unused: tuple[SkippedFile, ...] = ()
    notes: tuple[tuple[Path, str], ...] = ()
    scans: tuple[dict[str, Any], ...] = ()


def evaluate_dataset(
    dataset: EvaluationSet,
    score: Callable[[Volume], np.ndarray],
    settings: EvaluationSettings,
    progress: Progress | None = None,
) -> BenchmarkFigures:
    """Score every scan and compare with the truth; the next one is read meanwhile, unless it is large.

    Parameters
    ----------
    dataset : EvaluationSet
    score : callable
        Volume → (z, y, x) float32 scores on its canonical grid, −log10 p.
    settings : EvaluationSettings
    progress : callable, optional
        Called before each scan and at the end; may raise `Cancelled`.

    Raises
    ------
    DinoadError
        If no test scan could be used.
    """
    failed: list[tuple[Path, str]] = []
    unused = list(dataset.unused)
    notes: list[tuple[Path, str]] = []
    normal = RunningSum(ScoreHistogram.empty())
    n_normal = 0
    sums = _Sums()
    # Then nothing says where in an abnormal scan.
    by_folders = dataset.is_told_by_folders
    with ReadAhead() as reader:
        reads = _reads(reader, dataset.validation, settings)
        for i, scan in enumerate(dataset.validation):
            report(progress, "Scoring normal validation scans", i, len(dataset.validation))
            with _failing_alone(scan, failed):
                of_scan = _normal_scores(next(reads), score, settings)
                if of_scan is None:
                    unused.append(SkippedFile(scan.path, ABNORMAL_VALIDATION))
                    continue
                normal.add(of_scan)
                n_normal += 1
                notes += [(scan.path, note) for note in _notes_on_class(scan, has_marks=False)]
        thresholds = _thresholds(normal.total() if n_normal else None, settings)
        reads = _reads(reader, dataset.test, settings, needs_no_mask=by_folders)
        for i, scan in enumerate(dataset.test):
            report(progress, "Scoring test scans", i, len(dataset.test))
            with _failing_alone(scan, failed):
                told = _count(scan, next(reads), score, sums, thresholds, settings, by_folders=by_folders)
                notes += [(scan.path, note) for note in told]
    report(progress, "Scoring test scans", len(dataset.test), len(dataset.test))
    if not sums.is_abnormal:
        raise DinoadError(
            f"No test scan could be used; the first reason: {failed[0][1]}" if failed else "No test scan."
        )
    values = _figures(dataset, sums, thresholds, n_normal, settings)
    return BenchmarkFigures(values, tuple(failed), tuple(unused), tuple(notes), tuple(sums.scans))


def _reads(
    reader: ReadAhead,
    scans: Iterable[LabelledScan],
    settings: EvaluationSettings,
    *,
    needs_no_mask: bool = False,
) -> Iterator[_Read]:
    """Yield what gives each scan with its truth, or raises what is wrong with it."""
    reads = [partial(_read, scan, settings, needs_no_mask) for scan in scans]
    loads = ((scan.as_file(), partial(_read_apart, read)) for scan, read in zip(scans, reads, strict=True))
    apart = scans_ahead(reader, loads, ReadSettings(frame=settings.frame))
    return (partial(_taken, apart, read) for read in reads)


def _read_apart(read: _Read) -> tuple[Volume, np.ndarray] | Exception:
    try:
        return read()
    except _OF_ONE_SCAN as error:
        return error


def _taken(
    apart: Iterator[tuple[Volume, np.ndarray] | Exception | None], read: _Read
) -> tuple[Volume, np.ndarray]:
    taken = next(apart)
    if taken is None:
        return read()
    if isinstance(taken, Exception):
        raise taken
    return taken


# What a scan takes ends with these two, before the one after the next is read.


def _normal_scores(
    read: _Read, score: Callable[[Volume], np.ndarray], settings: EvaluationSettings
) -> ScoreHistogram | None:
    """Return the scores of a normal scan; None where something is marked in it."""
    volume, truth = read()
    if truth.any():
        return None
    scores, _ = at_protocol(score(volume), truth, settings.protocol)
    return ScoreHistogram.of(scores)


def _count(
    scan: LabelledScan,
    read: _Read,
    score: Callable[[Volume], np.ndarray],
    sums: _Sums,
    thresholds: Mapping[float, float],
    settings: EvaluationSettings,
    *,
    by_folders: bool,
) -> tuple[str, ...]:
    """Add the scores of a test scan to ``sums``; return what is to be told of its mask."""
    volume, truth = read()
    is_abnormal = bool(truth.any()) if scan.is_abnormal is None else scan.is_abnormal
    scores, truth = at_protocol(score(volume), truth, settings.protocol)
    is_known = not (is_abnormal and by_folders)
    sums.add(scan, scores, truth if is_known else None, is_abnormal, thresholds, settings.top_fraction)
    return (*truth_notes(scan.mask, truth, volume), *_notes_on_class(scan, has_marks=bool(truth.any())))


@contextmanager
def _failing_alone(scan: LabelledScan, failed: list[tuple[Path, str]]) -> Iterator[None]:
    """Add a scan that cannot be used to ``failed``, with its reason, so that the others are evaluated."""
    try:
        yield
    except ScanReadError as error:
        failed.append((scan.path, str(error)))
    except (SettingError, ScorerError, GeometryError) as error:
        # These name the scan by its stem, which others may have too, or not at all.
        reason = str(error).removeprefix(f"{stem_of(scan.path)}: ")
        failed.append((scan.path, f"{scan.path}: {reason}"))


def _read(
    scan: LabelledScan, settings: EvaluationSettings, needs_no_mask: bool = False
) -> tuple[Volume, np.ndarray]:
    """Return the scan and its truth; what does not suit is refused here, before the scan is scored."""
    if scan.fault:
        raise ScanReadError(scan.fault)
    if scan.mask is None and scan.is_abnormal and not needs_no_mask:
        raise ScanReadError(f"{scan.path}: abnormal by its folder, but without a mask.")
    volume = scan.as_file().read(ReadSettings(frame=settings.frame))
    require_protocol(volume.values.shape, settings.protocol)
    return volume, read_truth(scan.mask, volume)


def _notes_on_class(scan: LabelledScan, *, has_marks: bool) -> tuple[str, ...]:
    """Return what is to be known where folder and mask (at the protocol's resolution) disagree, or both lack."""
    if scan.mask is None:
        return (_UNMARKED,) if scan.is_abnormal is None else ()
    if scan.is_abnormal is None or scan.is_abnormal == has_marks:
        return ()
    return (_EMPTY_MASK,) if scan.is_abnormal else (_MARKED_NORMAL,)


def _figures(
    dataset: EvaluationSet,
    sums: _Sums,
    thresholds: Mapping[float, float],
    n_normal: int,
    settings: EvaluationSettings,
) -> dict[str, Any]:
    pixels, overlap = sums.pixels.total(), sums.overlap.total()
    best = pixels.best_dice()
    is_abnormal = np.array(sums.is_abnormal)
    n_pixels = pixels.normal.total + pixels.abnormal.total
    return {
        "layout": dataset.layout,
        "protocol": settings.protocol,
        "n_test": len(is_abnormal),
        "n_test_abnormal": int(is_abnormal.sum()),
        "n_validation_normal": n_normal,
        "truth": "folders" if dataset.is_told_by_folders else "masks",
        "n_pixels": n_pixels,
        "abnormal_share": None if dataset.is_told_by_folders else pixels.abnormal.total / n_pixels,
        "pixel_auroc": _defined(pixels.auroc()),
        "pixel_aupr": _defined(pixels.average_precision()),
        "aupro": _defined(overlap.aupro(settings.aupro_limit)),
        "aupro_limit": settings.aupro_limit,
        "best_dice": _defined(best.dice),
        "best_dice_threshold": _defined(best.threshold),
        "thresholds_from": "normal validation scans" if n_normal else "the model's calibration",
        "dice_at_fpr": {f"{rate:g}": _dice_at(pixels, threshold) for rate, threshold in thresholds.items()},
        "image_auroc_max": _defined(auroc(np.array(sums.maxima), is_abnormal)),
        "image_auroc_top": _defined(auroc(np.array(sums.top_means), is_abnormal)),
        "top_fraction": settings.top_fraction,
    }


def _thresholds(normal: ScoreHistogram | None, settings: EvaluationSettings) -> dict[float, float]:
    """Return what marks each false-positive rate: of normal validation scans, without any by calibration."""
    return {
        rate: -math.log10(rate) if normal is None else threshold_at_fpr(normal, rate)
        for rate in settings.false_positive_rates
    }


def _dice_at(pixels: LabelledHistogram, threshold: float) -> dict[str, float | None]:
    """Return Dice at a threshold, and the rate of normal pixels that it marks in the test."""
    return {
        "dice": _defined(pixels.dice_at(threshold)) if pixels.abnormal.total else None,
        "threshold_neg_log10_p": _defined(threshold),
        "test_fpr": pixels.fpr_at(threshold) if pixels.normal.total else None,
    }


def _defined(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
