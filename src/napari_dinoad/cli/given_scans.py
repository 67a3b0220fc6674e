"""The scans that a command line names: files, folders, slices of DICOM series; each once, with a name for outputs."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_dinoad.errors import DinoadError
from napari_dinoad.files import short_stem
from napari_dinoad.images.dicom_grouping import group_series
from napari_dinoad.images.discovery import discover_scans
from napari_dinoad.images.readers import is_dicom
from napari_dinoad.images.scan_file import ScanFile, SkippedFile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_dinoad.settings import ReadSettings

__all__ = ["GivenScans", "given_scans", "output_names"]


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
    scans: list[ScanFile] = []
    failed: list[SkippedFile] = []
    for path in _one_of_each_series(given):
        if isinstance(path, ScanFile) or not _is(Path.is_dir, path):
            scans.append(path if isinstance(path, ScanFile) else ScanFile.of_file(path))
            continue
        found = discover_scans(path, reading)
        for item in found.skipped:
            print(f"dinoad: skipped {item.path}: {item.reason}", file=sys.stderr)
        unusable = [item for item in found.skipped if item.is_scan]
        if not found.scans and not unusable:
            raise DinoadError(f"{path}: expected scans in this folder, found none.")
        scans.extend(found.scans)
        failed.extend(unusable)
    once = {(scan.path.resolve(), scan.name): scan for scan in reversed(scans)}
    return GivenScans(tuple(reversed(once.values())), tuple(failed))


def _is(kind: Callable[[Path], bool], path: Path) -> bool:
    """Whether a path is of a kind; False in a folder that may not be looked into, where asking raises."""
    try:
        return kind(path)
    except OSError:
        return False


def _one_of_each_series(given: Sequence[Path]) -> list[Path | ScanFile]:
    """Return what was given; of several files of a DICOM series in one folder the first, named after the folder."""
    places: dict[tuple[Path, str], int] = {}
    kept: list[Path | ScanFile] = []
    for path in given:
        series = group_series([path])[0] if _is(Path.is_file, path) and is_dicom(path) else []
        key = (path.resolve().parent, series[0].uid) if series else None
        if key is None or key not in places:
            if key is not None:
                places[key] = len(kept)
            kept.append(path)
            continue
        first = kept[places[key]]
        if not isinstance(first, ScanFile):
            kept[places[key]] = replace(ScanFile.of_file(first), name=key[0].name)
    return kept


def output_names(scans: Sequence[ScanFile]) -> list[str]:
    """Return one name a scan for its outputs: its own.

    Scans of one name in one folder get their endings (``head_png``), those of several folders as many of these as
    tell them apart, and what is still alike a number.
    """
    names = [short_stem(scan.name) for scan in scans]
    in_folder = Counter((scan.path.parent, name) for scan, name in zip(scans, names, strict=True))
    names = [
        f"{name}_{scan.path.name[len(name) :].strip('.').replace('.', '_')}"
        if in_folder[scan.path.parent, name] > 1 and scan.path.name.startswith(f"{name}.")
        else name
        for scan, name in zip(scans, names, strict=True)
    ]
    depth = 0
    while max(Counter(names).values(), default=0) > 1:
        counts, before = Counter(names), names
        above = [scan.path.resolve().parents for scan in scans]
        names = [
            f"{parents[depth].name}_{name}" if counts[name] > 1 and depth + 1 < len(parents) else name
            for parents, name in zip(above, names, strict=True)
        ]
        if names == before:
            return [f"{name}_{place}" if counts[name] > 1 else name for place, name in enumerate(names, 1)]
        depth += 1
    return names
