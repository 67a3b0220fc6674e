"""DICOM files → series: which belong together, and which of their neighbours could not be read."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from napari_dinoad.errors import ScanReadError
from napari_dinoad.images.dicom.headers import (
    EXPORT_AGAIN,
    UnreadableDicomError,
    have_same_pixels,
    series_and_patient,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from napari_dinoad.images.dicom.series import DicomSeries

__all__ = ["captures_among", "group_series"]


def group_series(paths: Iterable[Path]) -> tuple[list[DicomSeries], dict[Path, str], set[Path]]:
    """Read the headers of DICOM files and put together what belongs together.

    Parameters
    ----------
    paths : iterable of Path
        DICOM files, in any order, and such as may be damaged ones.

    Returns
    -------
    series : list of DicomSeries
        By number; a multi-frame file, or an image without a place (an X-ray), is a series of its own. Images that
        name no series are one where they are of one folder, study, series number and description.
    skipped : dict
        File → reason, for those that are no images or cannot be read, and for copies of the same image. Different
        images with the same UIDs are no copies: in one folder they are images of one series, unless they are of
        several patients (PatientID), else several series.
    lost : set of Path
        Those of the skipped files that could not be read, and beside which no series lies that tells of them.
    """
    parts: dict[_Key, list[DicomSeries]] = {}
    copies: dict[_Key, list[Path]] = {}
    seen: dict[tuple[_Key, str], list[DicomSeries]] = {}
    split: set[_Key] = set()
    skipped: dict[Path, str] = {}
    unreadable: dict[Path, str] = {}
    patients: dict[Path, bytes | None] = {}
    for path in paths:
        try:
            one, patients[path] = series_and_patient(path)
        except ScanReadError as error:
            skipped[path] = str(error).removeprefix(f"{path}: ")
            if isinstance(error, UnreadableDicomError):
                unreadable[path] = skipped[path].removesuffix(f" {EXPORT_AGAIN}").removesuffix(".")
            continue
        key: _Key = (one.study_uid, one.uid or _stand_in(one), None)
        alike = seen.setdefault((key, one.frames[0].instance_uid), [])
        if any(_is_copy(one, other) for other in alike):
            copies.setdefault(key, []).append(path)
            skipped[path] = "a copy of another file of its series"
            continue
        if any(other.frames[0].path.parent != path.parent for other in alike):
            split.add(key)
        alike.append(one)
        if alike[1:] and _is_by_itself(one):
            key = (*key[:2], path)
        parts.setdefault(key, []).append(one)
    _set_nameless_aside(parts, skipped, unreadable)
    _regroup(parts, copies, split)
    _part_patients(parts, copies, patients)
    placeless = [group[0] for group in parts.values() if not _is_placed(group[0])]
    series = [
        replace(
            group[0],
            frames=tuple(frame for one in group for frame in one.frames),
            copies=tuple(copies.get(key, ())),
            unreadable=_missing_from(group, unreadable, placeless),
        )
        for key, group in parts.items()
    ]
    series.sort(key=lambda one: (one.number is None, one.number or 0, one.uid))
    telling = {path.parent for one in series if one.unreadable for path in one.files}
    return series, skipped, {path for path in unreadable if path.parent not in telling}


_Key = tuple[str, str, "Path | None"]
"""Study, series, and a folder or (first) file where the same UIDs name images of several patients."""


def _stand_in(one: DicomSeries) -> str:
    """Return what stands for the UID of a series that has none."""
    return "\0".join((str(one.frames[0].path.parent), str(one.number), one.description))


def _set_nameless_aside(
    parts: dict[_Key, list[DicomSeries]], skipped: dict[Path, str], unreadable: dict[Path, str]
) -> None:
    """Skip images that name no series where they lie beside some that do, and may be of theirs; in place."""
    # An image by itself has its own UID behind that of the series.
    homes = {
        one.frames[0].path.parent for group in parts.values() for one in group if one.uid.partition("/")[0]
    }
    for key, group in list(parts.items()):
        path = group[0].frames[0].path
        if group[0].uid or path.parent not in homes:
            continue
        for one in parts.pop(key):
            path = one.frames[0].path
            unreadable[path] = "a DICOM image that names no series (SeriesInstanceUID)"
            skipped[path] = (
                f"{unreadable[path]}, beside some that do. Put it into a folder of its own to read it by itself, or "
                f"{EXPORT_AGAIN[0].lower()}{EXPORT_AGAIN[1:]}"
            )


def _regroup(parts: dict[_Key, list[DicomSeries]], copies: dict[_Key, list[Path]], split: set[_Key]) -> None:
    """Put torn series together, and split those that hold several patients by folder; in place."""
    for keys in _torn(parts):
        parts[keys[0]] = [one for key in keys for one in parts.pop(key)]
        copies[keys[0]] = [path for key in keys for path in copies.pop(key, ())]
    for key in [key for key in parts if key in split]:
        for one in parts.pop(key):
            parts.setdefault((*key[:2], one.frames[0].path.parent), []).append(one)
        for path in copies.pop(key, ()):
            copies.setdefault((*key[:2], path.parent), []).append(path)


def _part_patients(
    parts: dict[_Key, list[DicomSeries]],
    copies: dict[_Key, list[Path]],
    patients: Mapping[Path, bytes | None],
) -> None:
    """Split series that hold images of several patients, whose UIDs are the same or missing; in place.

    Where no patient has two of the images that name a series, a de-identifier drew a new PatientID for each file.
    """
    for key, group in list(parts.items()):
        counts = Counter(patients[one.frames[0].path] for one in group)
        is_drawn_anew = bool(group[0].uid) and max(counts.values()) == 1
        if len(counts.keys() - {None}) < 2 or is_drawn_anew:
            continue
        homes: dict[bytes | None, _Key] = {}
        for one in parts.pop(key):
            path = one.frames[0].path
            parts.setdefault(homes.setdefault(patients[path], (*key[:2], path)), []).append(one)
        for path in copies.pop(key, ()):
            copies.setdefault(homes.get(patients[path], key), []).append(path)


def _torn(parts: Mapping[_Key, Sequence[DicomSeries]]) -> list[list[_Key]]:
    """Return the keys of series of which every image claims to be of another study: by a de-identifier's fault."""
    by_series: dict[str, list[_Key]] = {}
    for key, group in parts.items():
        # Of images that name no series either, nothing says that they are of one.
        if group[0].uid and not _is_by_itself(group[0]):
            by_series.setdefault(key[1], []).append(key)
    return [
        keys for keys in by_series.values() if len(keys) > 1 and all(len(parts[key]) == 1 for key in keys)
    ]


def _is_copy(one: DicomSeries, other: DicomSeries) -> bool:
    """Whether a file holds the images of another with the same UIDs, and not those of another patient.

    De-identifiers that replace UIDs by a fixed one are no rarity. Pixels are looked at when nothing else differs.
    """
    ours, theirs = one.frames, other.frames
    here = ours[0].path
    if len(ours) != len(theirs) or any(a != replace(b, path=here) for a, b in zip(ours, theirs, strict=True)):
        return False
    return have_same_pixels(here, theirs[0].path)


def _is_by_itself(one: DicomSeries) -> bool:
    return one.is_multi_frame or not _is_placed(one)


def captures_among(series: Sequence[DicomSeries]) -> list[DicomSeries]:
    """Return the screenshots and report pages that lie beside the scans of their study, and are no scans."""
    studies = {one.study_uid for one in series if _is_placed(one)}
    return [one for one in series if one.is_capture and one.study_uid in studies]


def _missing_from(
    group: list[DicomSeries], unreadable: Mapping[Path, str], placeless: Iterable[DicomSeries]
) -> tuple[str, ...]:
    """Return why files could not be read that may be slices of a series: those beside its files.

    Which series such a file is of, its header often no longer says. An image without a place is of the series that it
    names; one whose header was cut short has lost its place.
    """
    first = group[0]
    if _is_by_itself(first):
        return ()
    folders = {one.frames[0].path.parent for one in group}
    reasons = [reason for path, reason in unreadable.items() if path.parent in folders]
    reasons += [
        "an image without position, orientation or pixel spacing"
        for one in placeless
        if first.uid and one.uid.startswith(f"{first.uid}/")
    ]
    return tuple(reasons)


def _is_placed(one: DicomSeries) -> bool:
    return one.frames[0].is_placed
