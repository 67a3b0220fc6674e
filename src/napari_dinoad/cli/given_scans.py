"""The scans that a command line names: files, folders, slices of DICOM series; each once."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_dinoad.errors import DinoadError
from napari_dinoad.images.dicom.grouping import group_series
from napari_dinoad.images.discovery import discover_scans
from napari_dinoad.images.readers import is_dicom
from napari_dinoad.images.scan_file import ScanFile, SkippedFile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_dinoad.settings import ReadSettings

__all__ = ["GivenScans", "given_scans"]


@dataclass(frozen=True)
class GivenScans:
    """The scans to work on, and those of the folders that cannot be used."""

    scans: tuple[ScanFile, ...]
    failed: tuple[SkippedFile, ...]


def given_scans(given: Sequence[Path], reading: ReadSettings) -> GivenScans:
    """Return the scans that files and folders stand for.

    Files are taken as they are; slices of one DICOM series stand for it together, as one of them alone does. What is
    skipped in folders is named on stderr.

    Raises
    ------
    DinoadError
        If a folder holds no scan at all.
    """
    scans: dict[tuple[Path, str], ScanFile] = {}
    failed: list[SkippedFile] = []
    for key, paths in _by_series(given).items():
        first = paths[0]
        found: tuple[ScanFile, ...] = (ScanFile.of_file(first),)
        if isinstance(key, tuple) and len(paths) > 1:
            folder, _ = key
            found = (replace(ScanFile.of_file(first), name=folder.name),)
        elif _is(Path.is_dir, first):
            found, unusable = _in_folder(first, reading)
            failed.extend(unusable)
        for scan in found:
            scans.setdefault((scan.path.resolve(), scan.name), scan)
    return GivenScans(tuple(scans.values()), tuple(failed))


def _in_folder(folder: Path, reading: ReadSettings) -> tuple[tuple[ScanFile, ...], list[SkippedFile]]:
    """Return the scans of a folder and those that cannot be used; name on stderr all that is skipped."""
    found = discover_scans(folder, reading)
    for item in found.skipped:
        print(f"dinoad: skipped {item.path}: {item.reason}", file=sys.stderr)
    unusable = [item for item in found.skipped if item.is_scan]
    if not found.scans and not unusable:
        raise DinoadError(f"{folder}: expected scans in this folder, found none.")
    return found.scans, unusable


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
