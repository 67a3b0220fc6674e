"""Scans of a benchmark that are left out, since they have no mask and are not known to be normal all the same."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from napari_dinoad.images.discovery import BELONGING_FOLDERS
from napari_dinoad.images.scan_file import SkippedFile

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_dinoad.evaluation.labelled_scans import EvaluationSet, LabelledScan

__all__ = ["of_known_classes", "without_derivatives", "without_other_series"]

_OF_NO_CLASS = "neither normal nor abnormal by its folders, where no scan has a mask"
"""Why a scan is not used."""

_OF_SEGMENTED_STUDY = "without a segmentation, of a study another series of which has one"
"""Why a series is not used: it is not known to be normal."""


def of_known_classes(found: EvaluationSet) -> EvaluationSet:
    """Set aside scans of which neither a mask nor a folder tells the class."""
    unused = [SkippedFile(scan.path, _OF_NO_CLASS) for scan in found.test if scan.is_abnormal is None]
    test = tuple(scan for scan in found.test if scan.is_abnormal is not None)
    return replace(found, test=test, unused=(*found.unused, *unused))


def without_other_series(
    scans: Sequence[LabelledScan], segmented: frozenset[str]
) -> tuple[tuple[LabelledScan, ...], tuple[SkippedFile, ...]]:
    """Set aside the other series of a patient whose tumour was drawn on one: without a mask, they are not normal.

    That one need not be among the scans: ``segmented`` are studies (UIDs) with such a series.
    """
    studies = segmented.union(_study_of(scan) for scan in scans if scan.mask is not None) - {""}
    kept: list[LabelledScan] = []
    unused: list[SkippedFile] = []
    for scan in scans:
        may_be_normal = scan.is_abnormal is False or _study_of(scan) not in studies
        if scan.mask is not None or scan.fault or may_be_normal:
            kept.append(scan)
        else:
            unused.append(SkippedFile(scan.path, _OF_SEGMENTED_STUDY))
    return tuple(kept), tuple(unused)


def without_derivatives(found: EvaluationSet, folder: Path) -> EvaluationSet:
    """Set aside what BIDS keeps of the scans once more: without masks there, preprocessed patients are not normal."""
    scans = (*found.validation, *found.test)
    belonging = {scan.path: _belonging_folder(scan.path, folder) for scan in scans}
    own = {parent for path, within in belonging.items() if within is None for parent in path.parents}
    unused = []

    def without(part: Sequence[LabelledScan]) -> tuple[LabelledScan, ...]:
        kept = []
        for scan in part:
            within = belonging[scan.path]
            if within is None or within.parent not in own or scan.mask is not None:
                kept.append(scan)
            else:
                unused.append(SkippedFile(scan.path, BELONGING_FOLDERS[within.name.lower()]))
        return tuple(kept)

    validation, test = without(found.validation), without(found.test)
    return replace(found, validation=validation, test=test, unused=(*found.unused, *unused))


def _belonging_folder(path: Path, folder: Path) -> Path | None:
    """Return the innermost folder of derivatives or source data that a scan lies in, below ``folder``."""
    parents = [parent for parent in path.parents if parent != folder and parent.is_relative_to(folder)]
    return next((parent for parent in parents if parent.name.lower() in BELONGING_FOLDERS), None)


def _study_of(scan: LabelledScan) -> str:
    series = None if scan.series is None else scan.series.series
    return "" if series is None else series.study_uid
