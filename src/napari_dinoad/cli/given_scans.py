"""The scans that a command line names: files, folders, slices of DICOM series; each once."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_dinoad.cli.output import ProgressBars, skipped_lines
from napari_dinoad.cli.wildcards import matching
from napari_dinoad.errors import DinoadError, ScanReadError
from napari_dinoad.images.dicom.grouping import group_series
from napari_dinoad.images.discovery import HELD, discover_scans
from napari_dinoad.images.earlier_results import is_drawn_result
from napari_dinoad.images.readers import is_dicom
from napari_dinoad.images.scan_file import ScanFile, SkippedFile, inspect_file
from napari_dinoad.images.series_mix import several_series
from napari_dinoad.machine.file_names import format_of
from napari_dinoad.machine.files import resolved
from napari_dinoad.settings import ReadSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["GivenScans", "given_scans"]


@dataclass(frozen=True)
class GivenScans:
    """The scans to work on, and what is skipped in folders: scans that cannot be used, and other files."""

    scans: tuple[ScanFile, ...]
    skipped: tuple[SkippedFile, ...]

    @property
    def failed(self) -> tuple[SkippedFile, ...]:
        """The scans that cannot be used."""
        return tuple(item for item in self.skipped if item.is_scan)


def given_scans(given: Sequence[Path], reading: ReadSettings) -> GivenScans:
    """Return the scans that files and folders stand for, or names with wildcards.

    Files are taken as they are, but for results (masks and maps by their header, pictures of them), as wildcards find
    them beside scans; slices of one DICOM series stand for it together, as one of them alone does. What is skipped is
    named on stderr.

    Raises
    ------
    DinoadError
        If a folder holds no scan at all, or files are results alone.
    """
    scans: dict[tuple[Path, str], ScanFile] = {}
    skipped: list[SkippedFile] = []
    results: list[SkippedFile] = []
    for key, paths in _by_series(matching(given)).items():
        first = paths[0]
        found: tuple[ScanFile, ...] = (ScanFile.of_file(first),)
        if isinstance(key, tuple) and len(paths) > 1:
            folder, _ = key
            found = (replace(ScanFile.of_file(first), name=folder.name),)
        elif _is(Path.is_dir, first):
            found, passed_over = _in_folder(first, reading)
            skipped.extend(passed_over)
        elif what := _result_in(first):
            results.append(SkippedFile(first, f"{what}, not a scan"))
            found = ()
        for scan in found:
            scans.setdefault((resolved(scan.path), scan.name), scan)
    _tell(results)
    if results and not scans and not any(item.is_scan for item in skipped):
        raise DinoadError("Expected scans, got results alone. Give the scans that they are of.")
    return GivenScans(tuple(scans.values()), (*skipped, *results))


def _tell(skipped: Sequence[SkippedFile]) -> None:
    for line in skipped_lines(skipped):
        print(f"dinoad: {line}", file=sys.stderr)


def _in_folder(folder: Path, reading: ReadSettings) -> tuple[tuple[ScanFile, ...], tuple[SkippedFile, ...]]:
    """Return the scans of a folder and what is skipped; tell of it on stderr."""
    with ProgressBars() as progress:
        found = discover_scans(folder, reading, progress)
    _tell(found.skipped)
    if not found.scans and not any(item.is_scan for item in found.skipped):
        raise DinoadError(f"{folder}: expected scans in this folder, found none.{found.series_in_words}")
    several = several_series(found.scans)
    if several:
        print(f"dinoad: {folder}: {several}: choose those of the model's kind with --series", file=sys.stderr)
    return found.scans, found.skipped


def _result_in(path: Path) -> str:
    """Return what a file holds that is a result; nothing of scans, and of what cannot be opened."""
    if is_drawn_result(path):
        return "a picture of a result"
    if format_of(path) != "nifti":
        return ""
    try:
        holding = inspect_file(path, ReadSettings(), all_frames=True).holding
    except (OSError, ScanReadError):
        return ""
    return "" if holding == "scan" else f"{HELD[holding]} by its header"


def _is(kind: Callable[[Path], bool], path: Path) -> bool:
    """Whether a path is of a kind; False in a folder that may not be looked into, where asking raises."""
    try:
        return kind(path)
    except OSError:
        return False


def _by_series(given: Sequence[Path]) -> dict[Path | tuple[Path, int], list[Path]]:
    """Return what was given, files of one DICOM series in one folder together under (folder, number of series)."""
    dicom = [path for path in given if _is(Path.is_file, path) and is_dicom(path)]
    found = group_series(dicom)[0] if dicom else []
    series = {path: number for number, one in enumerate(found) for path in (*one.files, *one.copies)}
    groups: dict[Path | tuple[Path, int], list[Path]] = {}
    for path in given:
        key = (path.resolve().parent, series[path]) if path in series else path
        groups.setdefault(key, []).append(path)
    return groups
