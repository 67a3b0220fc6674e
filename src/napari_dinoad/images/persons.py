"""Whose the scans of a folder are: which of them are of one person, by BIDS names, DICOM headers or folders."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from napari_dinoad.machine.file_names import MGH_SUFFIXES, case_of, is_sequence, series_in, without_sequence
from napari_dinoad.progress import report

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

    from napari_dinoad.images.scan_file import ScanFile
    from napari_dinoad.progress import Progress
    from napari_dinoad.settings import PersonGrouping

__all__ = ["MIN_PERSONS", "Persons", "case_mark", "find_persons", "of_persons"]

_Mark: TypeAlias = "tuple[str, Hashable]"
"""What scans of one person share: by what that is known, and its value."""

MIN_PERSONS = 3
"""With fewer, a grouping is taken for a mistake: one number for all after anonymisation, folders of sites."""

_SUBJECT = re.compile(r"sub-([^_.]+)")
"""The BIDS entity at the beginning of a folder's or file's name; the label ends at the next entity or the ending."""

_NUMBERED = re.compile(r"(?P<stem>.+?)[-_. (]*(?<!\d)\d+\)?")
"""A name with a number at its end, on Windows in brackets: what is before it may name the person."""

_SEPARATOR = re.compile(r"[-_. ]")

_KINDS = ("rawdata", "sourcedata", "derivatives")
"""Folders in which BIDS keeps persons; those of derivatives lie in folders of programs there."""


@dataclass(frozen=True)
class Persons:
    """Whose the scans are.

    Attributes
    ----------
    of_scan : tuple of int
        The person of each scan. Persons are counted from 0, in the order of their first scans; so where every scan is
        of a person of its own, these are the places of the scans.
    note : str
        What the user should know of how they were told apart; empty where there is nothing to say.
    """

    of_scan: tuple[int, ...]
    note: str = ""

    @classmethod
    def of(cls, marks: Iterable[Hashable], note: str = "") -> Persons:
        """Return the persons of scans that have these marks: equal ones are of one person."""
        numbers: dict[Hashable, int] = {}
        return cls(tuple(numbers.setdefault(mark, len(numbers)) for mark in marks), note)

    @property
    def n(self) -> int:
        """How many there are."""
        return len(set(self.of_scan))


def find_persons(
    scans: Sequence[ScanFile], folder: Path, how: PersonGrouping = "auto", progress: Progress | None = None
) -> Persons:
    """Tell whose the scans are.

    Parameters
    ----------
    scans : sequence of ScanFile
    folder : Path
        The one that was chosen, in which they lie. Its own name and those above it say nothing.
    how : str
        See `CalibrationSettings.persons`.
    progress : callable, optional
        Called before each header is read; may raise `Cancelled`.

    Returns
    -------
    Persons
        Where scans share a person, but there are fewer than `MIN_PERSONS` persons, each scan counts as one, and the
        note says so. Of scans that nothing tells the person of, but folders or names might, the note asks for that.
    """
    marks: list[_Mark] = []
    untold: list[ScanFile] = []
    for place, scan in enumerate(scans):
        if scan.series is not None:
            report(progress, "Telling persons apart", place, len(scans))
        mark = _mark_of(scan, folder, how)
        if mark is None:
            untold.append(scan)
        marks.append(("scan", place) if mark is None else mark)
    persons = Persons.of(marks)
    if how == "auto":
        # Sequences of a case are of one person; whether other cases are of that one, too, their names do not tell.
        first_of: dict[_Mark, ScanFile] = {}
        for mark, scan in zip(marks, scans, strict=True):
            first_of.setdefault(mark, scan)
        untold += [scan for mark, scan in first_of.items() if mark[0] == "case"]
    if persons.n == len(scans) or persons.n >= MIN_PERSONS:
        home = _home_of(scans, folder)
        what = "normal scans" if persons.n == len(scans) else "cases of normal scans"
        note = ""
        if how == "auto":
            note = (
                _prepared_note(untold)
                or _folders_note(untold, home, folder, what)
                or _names_note(untold, folder, what)
            )
        return replace(persons, note=note)
    return Persons(tuple(range(len(scans))), _too_few(persons.n, len(scans), how))


def of_persons(n_scans: int, n_persons: int | None) -> str:
    """Return " of 12 persons", to stand behind a number of scans; empty where each is of a person of its own."""
    if n_persons is None or n_persons == n_scans:
        return ""
    return f" of {n_persons} person{'' if n_persons == 1 else 's'}"


def case_mark(scan: ScanFile, parts: tuple[str, ...]) -> _Mark | None:
    """Return what sequences of one case share: folders and name without the sequence (``T1/a_T1``, ``T2/a_T2``).

    None where neither name nor a folder is called by a sequence. ``parts`` are those of the path below the chosen
    folder.
    """
    stem, folders = scan.name, parts[:-1]
    sequence = series_in(scan.path, stem)
    if folders[-2:] == ("mri", "orig") and scan.path.name.lower().endswith(MGH_SUFFIXES):
        # FreeSurfer's scans as they were given (001), beside what was made of them.
        sequence, folders = stem, folders[:-1]
    others = _without_sequences(folders)
    if not sequence and len(others) == len(folders):
        return None
    case = "" if stem == sequence else case_of(scan.path, stem)
    return ("case", (*others, case))


def _without_sequences(folders: tuple[str, ...]) -> tuple[str, ...]:
    """Return folders without those that are called by a sequence, and without one behind the name of others."""
    return tuple(without_sequence(part) for part in folders if not is_sequence(part))


def _home_of(scans: Sequence[ScanFile], folder: Path) -> Path:
    """Return the innermost folder that holds all scans, the chosen one or below it (``ADNI/<person>/…``)."""
    parents = [_first_file(scan).parent for scan in scans]
    if not scans or not all(parent.is_relative_to(folder) for parent in parents):
        return folder
    return Path(os.path.commonpath(parents))


def _folders_note(scans: Sequence[ScanFile], home: Path, folder: Path, what: str) -> str:
    """Return that folders of several scans each may be persons; empty where there are no such folders.

    ``home`` is the one that holds them all, in the ``folder`` that was chosen.
    """
    holders = [_folder_of_person(_parts_of(scan, home)[:-1], home) for scan in scans]
    within = [holder for holder in holders if holder is not None]
    n_folders = len(set(within))
    if n_folders < MIN_PERSONS or len(within) < 2 * n_folders:
        return ""
    chosen = "" if home == folder else f" {home.relative_to(folder)}"
    return (
        f"{len(within)} {what} lie in {n_folders} folders, and each counts as a person of its own. If those in "
        f"a folder are of one person, p-values are too low: fit{chosen} with 'dinoad fit --persons folder' or, where "
        "they are the slices of one scan, --stack-folders. In napari's window these are “Persons” and “Images of a "
        "folder” under “More settings”."
    )


def _prepared_note(scans: Sequence[ScanFile]) -> str:
    """Return that scans beside others of their name may be these once more (``a_brain`` of ``a``); else nothing."""
    names = {(scan.path.parent, scan.name) for scan in scans if scan.series is None}
    of = {
        (folder, name): name[: end.start()]
        for folder, name in sorted(names)
        for end in _SEPARATOR.finditer(name)
        if (folder, name[: end.start()]) in names
    }
    if len(of) < MIN_PERSONS or 3 * len(of) < len(scans):
        return ""
    (_, name), first = next(iter(of.items()))
    return (
        f"{len(of)} normal scans have the name of another one and more behind it (as {name} of {first}), and "
        "each counts as a person of its own. If they are the same scans, prepared otherwise, p-values are too low: "
        "fit on one kind, in a folder of its own or chosen by its series."
    )


def _names_note(scans: Sequence[ScanFile], folder: Path, what: str) -> str:
    """Return that numbered scans of one name each may be of one person; empty where there are no such names."""
    stems = [(scan.name, _numbered_stem(scan, folder)) for scan in scans]
    numbered = [(name, stem) for name, stem in stems if stem is not None]
    n_stems = len({stem for _, stem in numbered})
    if n_stems < MIN_PERSONS or len(numbered) < 2 * n_stems:
        return ""
    first = numbered[0][0]
    return (
        f"{len(numbered)} {what} have {n_stems} names that are numbered at their end (as {first}), and each "
        "counts as a person of its own. If those of one name are of one person, p-values are too low: fit with "
        "'dinoad fit --persons name'. In napari's window that is “Persons” under “More settings”."
    )


def _numbered_stem(scan: ScanFile, folder: Path) -> tuple[str, ...] | None:
    """Return a scan's folders and its name before the number at its end; None where there is none.

    Folders called by sequences are left out. A sequence may stand behind the number, and a folder may be called like
    its scan (``a-001/a-001-t1n``).
    """
    case = scan.name if scan.series is not None else case_of(scan.path, scan.name)
    match = _NUMBERED.fullmatch(case)
    if match is None:
        return None
    folders = _without_sequences(_parts_of(scan, folder)[:-1])
    return (*(match["stem"] if part == case else part for part in folders), match["stem"])


def _parts_of(scan: ScanFile, folder: Path) -> tuple[str, ...]:
    """Return the parts of a scan's path below the chosen folder."""
    first = _first_file(scan)
    return first.relative_to(folder).parts if first.is_relative_to(folder) else first.parts[-1:]


def _mark_of(scan: ScanFile, folder: Path, how: PersonGrouping) -> _Mark | None:
    """Return what scans of one person share; None where nothing is known."""
    if how == "each-scan":
        return None
    if how == "name":
        stem = _numbered_stem(scan, folder)
        return None if stem is None else ("name", stem)
    parts = _parts_of(scan, folder)
    if how == "folder":
        person = _folder_of_person(parts[:-1], folder)
        return None if person is None else ("folder", person)
    label = next((match[1] for match in map(_SUBJECT.match, parts) if match), None)
    if label is not None:
        return ("sub", label)
    if scan.series is None:
        return case_mark(scan, parts)
    from napari_dinoad.images.dicom.patient import patient_mark

    mark = patient_mark(_first_file(scan))
    return None if mark is None else ("patient", mark)


def _folder_of_person(folders: tuple[str, ...], chosen: Path) -> str | None:
    """Return the first folder below the chosen one that is none of a kind of data, nor of a program's derivatives."""
    names = (chosen.name, *folders)
    first = next((n for n in range(1, len(names)) if names[n].lower() not in _KINDS), len(names))
    if names[first - 1].lower() == "derivatives":
        first += 1
    return names[first] if first < len(names) else None


def _first_file(scan: ScanFile) -> Path:
    if scan.series is not None:
        return scan.series.files[0]
    return scan.images[0] if scan.images else scan.path


def _too_few(n_persons: int, n_scans: int, how: PersonGrouping) -> str:
    by = {"folder": "folders", "name": "names"}.get(how, "file names or DICOM headers")
    which = "a single person" if n_persons == 1 else f"only {n_persons} persons"
    return (
        f"By their {by} the {n_scans} normal scans are of {which}, which is too few to hold persons out (at least "
        f"{MIN_PERSONS}): each scan counts as a person of its own. If several are really of one person, p-values are "
        "too low: add scans of other persons."
    )
