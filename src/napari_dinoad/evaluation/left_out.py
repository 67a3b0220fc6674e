"""Scans of a benchmark that are left out, since they have no mask and are not known to be normal all the same."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from napari_dinoad.images.discovery import BELONGING_FOLDERS
from napari_dinoad.images.persons import case_mark
from napari_dinoad.images.scan_file import SkippedFile
from napari_dinoad.machine.file_names import is_sequence

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence
    from pathlib import Path

    from napari_dinoad.evaluation.labelled_scans import EvaluationSet, LabelledScan

__all__ = [
    "of_known_classes",
    "without_derivatives",
    "without_other_sequences",
    "without_other_series",
    "without_test_split",
]

_OF_NO_CLASS = "neither normal nor abnormal by its folders, where no scan has a mask"
"""Why a scan is not used."""

_OF_SEGMENTED_STUDY = "without a segmentation, of a study another series of which has one"
"""Why a series is not used: it is not known to be normal."""

_OF_MASKED_CASE = "without a mask, of a case another sequence of which has one"
"""Why a scan is not used."""

_BIDS_CASE = re.compile(r"sub-[^_.]+(_ses-[^_.]+)?")

_OF_TEST_SPLIT = "without labels, in imagesTs"
"""Why a scan is not used: what nnU-Net and the Decathlon keep there are patients whose labels are not published."""


def of_known_classes(found: EvaluationSet) -> EvaluationSet:
    """Set aside scans of which neither a mask nor a folder tells the class."""
    return _without(found, [(scan, _OF_NO_CLASS) for scan in found.test if scan.is_abnormal is None])


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


def without_other_sequences(found: EvaluationSet, folder: Path) -> EvaluationSet:
    """Set aside sequences of cases whose masks are of another one, where no scan of that sequence has a mask."""
    scans = [scan for scan in (*found.validation, *found.test) if scan.series is None]
    masked = [scan for scan in scans if scan.mask is not None]
    cases = {_case_of(scan, folder) for scan in masked} - {None}
    sequences = {_sequence_of(scan) for scan in masked}
    others = [
        scan
        for scan in scans
        if _may_be_abnormal(scan) and _case_of(scan, folder) in cases and _sequence_of(scan) not in sequences
    ]
    return _without(found, [(scan, _OF_MASKED_CASE) for scan in others])


def without_test_split(found: EvaluationSet) -> EvaluationSet:
    """Set aside what lies in ``imagesTs`` where no label is there."""
    scans = [scan for scan in found.test if scan.path.parent.name.lower() == "imagests"]
    if any(scan.mask is not None for scan in scans):
        return found
    return _without(found, [(scan, _OF_TEST_SPLIT) for scan in scans if _may_be_abnormal(scan)])


def _may_be_abnormal(scan: LabelledScan) -> bool:
    """Whether a scan has no mask, and neither a folder nor a fault that is told."""
    return scan.mask is None and not scan.fault and scan.is_abnormal is not False


def _case_of(scan: LabelledScan, folder: Path) -> Hashable:
    """Return what the sequences of a case share: by BIDS person and session, else see `case_mark`."""
    bids = _BIDS_CASE.match(scan.path.name)
    if bids is not None and _sequence_of(scan):
        return bids[0]
    return case_mark(scan.as_file(), scan.path.relative_to(folder).parts)


def _sequence_of(scan: LabelledScan) -> str:
    """Return the sequence in a scan's name, or else that its folder is called by; else nothing."""
    folder = scan.path.parent.name
    return (scan.as_file().series_name or (folder if is_sequence(folder) else "")).casefold()


def without_derivatives(found: EvaluationSet, folder: Path) -> EvaluationSet:
    """Set aside what BIDS keeps of the scans once more: without masks there, preprocessed patients are not normal."""
    scans = (*found.validation, *found.test)
    belonging = {scan.path: _belonging_folder(scan.path, folder) for scan in scans}
    own = {parent for path, within in belonging.items() if within is None for parent in path.parents}
    left_out = []
    for scan in scans:
        within = belonging[scan.path]
        if within is not None and within.parent in own and scan.mask is None:
            left_out.append((scan, BELONGING_FOLDERS[within.name.lower()]))
    return _without(found, left_out)


def _without(found: EvaluationSet, left_out: Sequence[tuple[LabelledScan, str]]) -> EvaluationSet:
    """Return the set without these scans, which are told with their reasons."""
    out = {id(scan) for scan, _ in left_out}
    validation, test = (
        tuple(scan for scan in part if id(scan) not in out) for part in (found.validation, found.test)
    )
    unused = [SkippedFile(scan.path, reason) for scan, reason in left_out]
    return replace(found, validation=validation, test=test, unused=(*found.unused, *unused))


def _belonging_folder(path: Path, folder: Path) -> Path | None:
    """Return the innermost folder of derivatives or source data that a scan lies in, below ``folder``."""
    parents = [parent for parent in path.parents if parent != folder and parent.is_relative_to(folder)]
    return next((parent for parent in parents if parent.name.lower() in BELONGING_FOLDERS), None)


def _study_of(scan: LabelledScan) -> str:
    series = None if scan.series is None else scan.series.series
    return "" if series is None else series.study_uid
