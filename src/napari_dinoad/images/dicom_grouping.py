"""DICOM files → series: which belong together, and which of their neighbours could not be read."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from napari_dinoad.errors import ScanReadError
from napari_dinoad.images.dicom_headers import EXPORT_AGAIN, UnreadableDicomError, series_of_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from napari_dinoad.images.dicom_series import DicomSeries

__all__ = ["group_series"]


def group_series(paths: Iterable[Path]) -> tuple[list[DicomSeries], dict[Path, str], set[Path]]:
    """Read the headers of DICOM files and put together what belongs together.

    Parameters
    ----------
    paths : iterable of Path
        DICOM files, in any order, and such as may be damaged ones.

    Returns
    -------
    series : list of DicomSeries
        By number; a multi-frame file, or an image without a place (an X-ray), is a series of its own.
    skipped : dict
        File → reason, for those that are no images or cannot be read, and for copies of the same image.
    lost : set of Path
        Those of the skipped files that could not be read, and beside which no series lies that tells of them.
    """
    parts: dict[str, list[DicomSeries]] = {}
    copies: dict[str, list[Path]] = {}
    seen: set[tuple[str, str]] = set()
    skipped: dict[Path, str] = {}
    unreadable: dict[Path, str] = {}
    for path in paths:
        try:
            one = series_of_file(path)
        except ScanReadError as error:
            skipped[path] = str(error).removeprefix(f"{path}: ")
            if isinstance(error, UnreadableDicomError):
                unreadable[path] = skipped[path].removesuffix(f" {EXPORT_AGAIN}").removesuffix(".")
            continue
        instance = (one.uid, one.frames[0].instance_uid)
        if instance in seen:
            copies.setdefault(one.uid, []).append(path)
            skipped[path] = "a copy of another file of its series"
            continue
        seen.add(instance)
        parts.setdefault(one.uid, []).append(one)
    placeless = [group[0] for group in parts.values() if not _is_placed(group[0])]
    series = [
        replace(
            group[0],
            frames=tuple(frame for one in group for frame in one.frames),
            copies=tuple(copies.get(uid, ())),
            unreadable=_missing_from(group, unreadable, placeless),
        )
        for uid, group in parts.items()
    ]
    series.sort(key=lambda one: (one.number is None, one.number or 0, one.uid))
    telling = {path.parent for one in series if one.unreadable for path in one.files}
    return series, skipped, {path for path in unreadable if path.parent not in telling}


def _missing_from(
    group: list[DicomSeries], unreadable: Mapping[Path, str], placeless: Iterable[DicomSeries]
) -> tuple[str, ...]:
    """Return why files could not be read that may be slices of a series: those beside its files.

    Which series such a file is of, its header often no longer says. An image without a place is of the series that it
    names; one whose header was cut short has lost its place.
    """
    first = group[0]
    if first.is_multi_frame or not _is_placed(first):
        return ()
    folders = {one.frames[0].path.parent for one in group}
    reasons = [reason for path, reason in unreadable.items() if path.parent in folders]
    reasons += [
        "an image without position, orientation or pixel spacing"
        for one in placeless
        if one.uid.startswith(f"{first.uid}/")
    ]
    return tuple(reasons)


def _is_placed(one: DicomSeries) -> bool:
    return one.frames[0].is_placed
