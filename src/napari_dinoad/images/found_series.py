"""DICOM files of a folder → the series that are scans, the segmentations, and why others are neither."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from napari_dinoad.images.dicom.grouping import captures_among, group_series
from napari_dinoad.images.readers import is_dicom, is_dicom_mask
from napari_dinoad.images.scan_file import ScanFile, SkippedFile
from napari_dinoad.images.series_choice import NOT_CHOSEN, meant_by
from napari_dinoad.machine.file_names import SCAN_SUFFIXES, stem_of
from napari_dinoad.progress import report

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_dinoad.images.dicom.series import DicomSeries
    from napari_dinoad.progress import Progress

__all__ = ["FoundSeries", "find_series"]


@dataclass(frozen=True)
class FoundSeries:
    """What DICOM files are.

    Attributes
    ----------
    scans : tuple of ScanFile
        One for each series; its path is the file, or the innermost folder that holds all files.
    skipped : tuple of SkippedFile
        Files, and series by their path, that are no scans; segmentations are among them.
    segmentations : tuple of Path
    names : tuple of str
        Of all series that can be scans, wanted or not, the `ScanFile.series_name`.
    """

    scans: tuple[ScanFile, ...]
    skipped: tuple[SkippedFile, ...]
    segmentations: tuple[Path, ...]
    names: tuple[str, ...]


def find_series(
    paths: Sequence[Path], wanted: str | None = None, progress: Progress | None = None
) -> FoundSeries:
    """Put DICOM files together by series and take those that can be scans; headers only.

    Parameters
    ----------
    paths : sequence of Path
        DICOM files, and such as may be damaged ones.
    wanted : str, optional
        Which series is meant; see `ReadSettings.series`. None: all but localisers, and captures beside the scans of
        their study.
    progress : callable, optional
        Called before each file is read; may raise `Cancelled`.
    """
    series, reasons, lost = group_series(_told(paths, progress))
    lost = {path for path in lost if is_dicom(path) or path.name.lower().endswith(SCAN_SUFFIXES)}
    skipped = [SkippedFile(path, reason, path in lost) for path, reason in reasons.items()]
    scans: list[ScanFile] = []
    captures = captures_among(series)
    meant = {id(one) for one in (series if wanted is None else meant_by(wanted, series))}
    for one in series:
        path = _home_of(one)
        if one.is_localiser:
            skipped.append(_skipped(one, path, "a localiser (scout), not a scan"))
        elif id(one) not in meant:
            skipped.append(_skipped(one, path, NOT_CHOSEN))
        elif wanted is None and one in captures:
            kind = "a secondary capture (screenshot, report) beside the scans of its study"
            skipped.append(_skipped(one, path, kind))
        else:
            scans.append(_scan_of(one, path))
    masks = tuple(path for path in reasons if is_dicom_mask(path))
    names = tuple(one.series_name for one in series if not one.is_localiser and one not in captures)
    return FoundSeries(tuple(_with_own_names(scans)), tuple(skipped), masks, names)


def _skipped(series: DicomSeries, path: Path, kind: str) -> SkippedFile:
    return SkippedFile(path, f"{series.label}: {kind}", kind=kind)


def _told(paths: Sequence[Path], progress: Progress | None) -> Iterator[Path]:
    """Give the paths one by one, and tell of each before it is read."""
    for place, path in enumerate(paths):
        report(progress, "Reading headers", place, len(paths))
        yield path


def _scan_of(one: DicomSeries, path: Path) -> ScanFile:
    first = one.frames[0]
    rows, columns = first.shape
    name = stem_of(path) if path.is_file() else path.resolve().name
    n_images, n_frames = len(one.frames), one.n_frames
    if not first.is_placed or first.pixel_spacing is None:
        shape = (rows, columns) if n_images == 1 else (n_images, rows, columns)
        kind: Literal["volume", "image"] = "image" if n_images == 1 else "volume"
        return ScanFile(path, kind, shape, None, name, one, n_frames=n_images)
    row_mm, column_mm = first.pixel_spacing
    shape = (columns, rows, n_images // n_frames)
    return ScanFile(path, "volume", shape, (column_mm, row_mm), name, one, n_frames=n_frames)


def _home_of(one: DicomSeries) -> Path:
    """Return the file of a series, or the innermost folder that holds all its files."""
    files = one.files
    return files[0] if len(files) == 1 else Path(os.path.commonpath([file.parent for file in files]))


def _with_own_names(scans: list[ScanFile]) -> list[ScanFile]:
    """Add the series number, and where that does not do their place in the list, to names that several share."""

    def numbered(scan: ScanFile) -> str:
        number = None if scan.series is None else scan.series.number
        return f"{scan.name}_series{number}" if number is not None else scan.name

    shared = Counter((scan.path, scan.name) for scan in scans)
    scans = [
        replace(scan, name=numbered(scan)) if shared[scan.path, scan.name] > 1 else scan for scan in scans
    ]
    shared = Counter((scan.path, scan.name) for scan in scans)
    return [
        replace(scan, name=f"{scan.name}_{place}") if shared[scan.path, scan.name] > 1 else scan
        for place, scan in enumerate(scans, start=1)
    ]
