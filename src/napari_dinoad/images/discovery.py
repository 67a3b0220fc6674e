"""A folder → the scans in it, with a reason for each file that is not one. Headers only; no pixel is read."""

from __future__ import annotations

import os
import re
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_dinoad.errors import ScanReadError
from napari_dinoad.images.earlier_results import earlier_result, is_drawn_result
from napari_dinoad.images.itk.headers import voxels_apart
from napari_dinoad.images.mask_names import is_called_mask, is_of_tissue, mask_naming, masked_names
from napari_dinoad.images.readers import may_be_dicom
from napari_dinoad.images.scan_file import ScanFile, SkippedFile, inspect_file, without_path
from napari_dinoad.images.series_choice import NOT_CHOSEN, counted, meant_by, series_in_words
from napari_dinoad.machine.file_names import (
    MAP_ENDING,
    MASK_FOLDERS,
    PICTURE_ENDINGS,
    SCAN_SUFFIXES,
    format_of,
    without_channel,
    without_sequence,
)
from napari_dinoad.machine.files import is_special
from napari_dinoad.progress import report
from napari_dinoad.settings import ReadSettings
from napari_dinoad.settings.checks import require_kind

if TYPE_CHECKING:
    from collections.abc import Container

    from napari_dinoad.images.nifti_files import Holding
    from napari_dinoad.images.persons import Persons
    from napari_dinoad.progress import Progress

_RESULT_ENDINGS = (MAP_ENDING, *PICTURE_ENDINGS)
"""What names of maps and pictures have behind the name of their scan."""

_FRAME = re.compile(r"_frame\d+(-\d+)*$")
"""Of results of one of a scan's frames."""

BELONGING_FOLDERS = {
    "sourcedata": "source data of the scans beside it",
    "derivatives": "derivatives of the scans beside it",
}
"""Folders that belong to a data set by BIDS, and what they hold, in the order in which they stand in for raw scans.

The same persons' scans lie there once more: before they were converted, and preprocessed.
"""

HELD = {"mask": "a mask", "map": "a map of −log10 p"}

_DEEPEST = 200
"""Folders within folders; Python's calls end at 1,000."""

_SYSTEM_FOLDERS = (Path("/proc"), Path("/sys"))
"""What a system shows as files there lies on no disk; links in the first lead to every process, and to all disks."""

__all__ = ["BELONGING_FOLDERS", "HELD", "Discovery", "discover_scans"]


@dataclass(frozen=True)
class Discovery:
    """What a folder holds.

    Attributes
    ----------
    folder : Path
    scans : tuple of ScanFile
        In the order of their paths.
    skipped : tuple of SkippedFile
    results : tuple of ScanFile
        Those of the skipped files that are masks and maps by their header, or masks by their BIDS name or folder.
    series : tuple of (str, int)
        The names of series to choose from (`ScanFile.series_name`) and how many scans have each, wanted or not, most
        first. Scans without such a name are in none.
    persons : Persons, optional
        Whose the scans are, where that was asked (see `find_persons`).
    """

    folder: Path
    scans: tuple[ScanFile, ...]
    skipped: tuple[SkippedFile, ...]
    results: tuple[ScanFile, ...] = ()
    series: tuple[tuple[str, int], ...] = ()
    persons: Persons | None = None

    @property
    def is_mostly_2d(self) -> bool:
        """Whether most of the scans are 2D images."""
        return 2 * sum(scan.kind == "image" for scan in self.scans) > len(self.scans)

    @property
    def modality(self) -> str:
        """The modality that most scans name (``"CT"``, ``"MR"``, …); empty when most name none."""
        named = Counter(scan.modality for scan in self.scans)
        return named.most_common(1)[0][0] if named else ""

    @property
    def series_in_words(self) -> str:
        """The series to choose from, where none of them was chosen: a sentence to follow on what is missing."""
        return "" if self.scans else series_in_words(self.series)


@dataclass
class _Found:
    """What a walk through the folders takes and has come across; how many files and folders it has looked at."""

    all_frames: bool = False
    n_seen: int = 0
    scans: list[ScanFile] = field(default_factory=list)
    skipped: list[SkippedFile] = field(default_factory=list)
    results: list[ScanFile] = field(default_factory=list)
    dicom: list[Path] = field(default_factory=list)
    folders: set[Path] = field(default_factory=set)
    belonging: list[Path] = field(default_factory=list)
    series: list[str] = field(default_factory=list)


def discover_scans(
    folder: str | Path,
    reading: ReadSettings | None = None,
    progress: Progress | None = None,
    *,
    all_frames: bool = False,
) -> Discovery:
    """Find the scans in a folder and its subfolders.

    DICOM files are known by content and put together by series, wherever in the folder they lie.

    Parameters
    ----------
    folder : str or Path
        Symbolic links are followed; hidden files and folders, and ``/proc`` and ``/sys``, are not looked into.
    reading : ReadSettings, optional
        Which series and frame are meant, and whether the 2D images of a folder are one scan.
    progress : callable, optional
        Called before each file and folder is looked at; may raise `Cancelled`.
    all_frames : bool
        Whether series of frames are scans also where ``reading`` names no frame of theirs.

    Returns
    -------
    Discovery
        Every file appears once: in a scan, or as skipped with its reason. Folders called ``derivatives`` and
        ``sourcedata`` are not looked into where scans lie beside them: they are skipped as a whole.

    Raises
    ------
    ScanReadError
        If ``folder`` is not a folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ScanReadError(
            f"{folder}: expected a folder of scans, found {'a file' if folder.exists() else 'nothing'}."
        )
    reading = reading or ReadSettings()
    require_kind("reading", reading, ReadSettings)
    found = _Found(all_frames)
    _walk(folder, reading, found, progress)
    _add_series(reading, found, progress)
    _look_into_belonging(reading, found, progress)
    _take_voxels_to_headers(found)
    _set_results_aside(found)
    _choose_series(reading.series, found)
    found.scans.sort(key=lambda scan: (scan.path, scan.name))
    series = counted(found.series)
    return Discovery(folder, tuple(found.scans), tuple(found.skipped), tuple(found.results), series)


def _walk(
    folder: Path, reading: ReadSettings, found: _Found, progress: Progress | None, depth: int = 0
) -> None:
    if depth > _DEEPEST:
        found.skipped.append(SkippedFile(folder, f"more than {_DEEPEST} folders deep"))
        return
    real = folder.resolve()
    if real in found.folders:
        found.skipped.append(SkippedFile(folder, "a link to a folder that was looked into"))
        return
    found.folders.add(real)
    if any(real.is_relative_to(system) for system in _SYSTEM_FOLDERS):
        found.skipped.append(SkippedFile(folder, "a folder of the system, whose files lie on no disk"))
        return
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        found.skipped.append(SkippedFile(folder, f"folder cannot be opened ({error.strerror})"))
        return
    if not entries:
        found.skipped.append(SkippedFile(folder, "empty folder"))
    images: list[ScanFile] = []
    n_unreadable = 0
    for path in entries:
        report(progress, "Looking for scans", found.n_seen, 0, f"{found.n_seen} files")
        found.n_seen += 1
        is_named_so = path.name.lower().endswith(SCAN_SUFFIXES)
        try:
            is_folder = path.is_dir()
        except OSError as error:
            found.skipped.append(SkippedFile(path, f"cannot be looked at ({error.strerror})", is_named_so))
            continue
        if path.name.startswith("."):
            found.skipped.append(SkippedFile(path, "hidden"))
        elif is_folder:
            if path.name.lower() in BELONGING_FOLDERS:
                found.belonging.append(path)
            else:
                _walk(path, reading, found, progress, depth + 1)
        elif is_special(path):
            found.skipped.append(SkippedFile(path, "a pipe, a socket or a device", is_named_so))
        elif may_be_dicom(path):
            found.dicom.append(path)
        else:
            try:
                scan = inspect_file(path, reading, all_frames=found.all_frames)
            except ScanReadError as error:
                found.skipped.append(SkippedFile(path, without_path(error, path), is_named_so))
                n_unreadable += format_of(path) == "picture"
                continue
            (images if scan.kind == "image" else found.scans).append(scan)
    if reading.stack_folders:
        from napari_dinoad.images.image_stacks import may_be_slice, stacked

        slices: list[ScanFile] = []
        for image in images:
            (slices if may_be_slice(image) else found.scans).append(image)
        images = stacked(slices, folder, n_unreadable)
    found.scans.extend(images)


def _look_into_belonging(reading: ReadSettings, found: _Found, progress: Progress | None) -> None:
    """Skip derivatives and source data of scans that were found; where there are no other scans, look into them."""
    order = list(BELONGING_FOLDERS)
    while found.belonging:
        folder = min(found.belonging, key=lambda path: order.index(path.name.lower()))
        found.belonging.remove(folder)
        if any(scan.path.is_relative_to(folder.parent) for scan in found.scans if _is_scan(scan)):
            kind = BELONGING_FOLDERS[folder.name.lower()]
            reason = f"{kind}, of the same persons; to use them instead, name this folder itself"
            found.skipped.append(SkippedFile(folder, reason))
        else:
            _walk(folder, reading, found, progress)
            _add_series(reading, found, progress)


def _take_voxels_to_headers(found: _Found) -> None:
    """Skip no file that the header of a scan names for its voxels: it is part of that scan."""
    if not found.skipped:
        return
    named: set[str] = set()
    for scan in found.scans:
        with suppress(OSError, ValueError):  # changed since it was looked at: told when it is read
            named.update(map(_place_of, voxels_apart(scan.path)))
    found.skipped = [item for item in found.skipped if _place_of(item.path) not in named]


def _place_of(path: Path) -> str:
    """Return a path as it can be compared with another one, of whatever way there."""
    return os.path.normcase(os.path.abspath(path))  # noqa: PTH100 (Path keeps "..")


_OF_A_SCAN = "a mask or result of another scan"
"""Kind of what lies in a folder beside the scan that it is of."""


def _is_scan(scan: ScanFile) -> bool:
    return _what_it_holds(scan)[0] == "scan"


def _set_results_aside(found: _Found) -> None:
    """Skip masks of scans that were found, results of them, and what is no scan by its header, name or folder."""
    known = [(scan, *_what_it_holds(scan)) for scan in found.scans]
    # Masks of scans that cannot be used, as those of several frames, are none, either.
    unusable = [ScanFile.of_file(item.path) for item in found.skipped if item.is_scan]
    masked = [*unusable, *(scan for scan, holding, _ in known if holding == "scan")]
    names = {scan.name for scan in masked}
    places = {
        (scan.path.parent.parent, name)
        for scan in masked
        if not _in_mask_folder(scan)
        for name in _names_of_masks(scan.name)
    }
    names = {name.casefold() for name in names | set(map(without_sequence, names))}
    # Also where they lie in a folder beside the mask, or are a series that fills the mask's folder.
    with_scans = {
        folder
        for scan in masked
        if not _is_named_mask(scan)
        for folder in (scan.path, scan.path.parent, scan.path.parent.parent)
    }
    scans = []
    for scan, holding, known_by in known:
        if holding != "scan":
            found.results.append(replace(scan, holding=holding))
        of = _scan_of_result(scan.name, names)
        if of:
            found.skipped.append(SkippedFile(scan.path, f"a mask or result of {of}", kind=_OF_A_SCAN))
        elif holding != "scan":
            found.skipped.append(SkippedFile(scan.path, f"{HELD[holding]} by its {known_by}, not a scan"))
        elif _in_mask_folder(scan) and (scan.path.parent.parent, scan.name) in places:
            found.results.append(replace(scan, holding="mask"))
            found.skipped.append(SkippedFile(scan.path, f"a mask by its folder, {scan.path.parent.name}"))
        elif _is_file(scan) and _is_named_mask(scan) and scan.path.parent in with_scans:
            found.results.append(replace(scan, holding="mask"))
            found.skipped.append(SkippedFile(scan.path, "a mask by its name, beside scans"))
        elif _is_file(scan) and is_drawn_result(scan.path):
            found.skipped.append(SkippedFile(scan.path, "a picture of a result, not a scan"))
        else:
            scans.append(scan)
    found.scans = scans


def _scan_of_result(name: str, names: Container[str]) -> str:
    """Return of which of the scans (in small letters) a mask or result is by its name; nothing where of none."""
    plain = name.lower()
    results = (name[: -len(ending)] for ending in _RESULT_ENDINGS if plain.endswith(ending))
    for of in (*masked_names(name), *results):
        if of.casefold() in names or _FRAME.sub("", of).casefold() in names:
            return of
    return ""


def _is_named_mask(scan: ScanFile) -> bool:
    return is_called_mask(scan.name) or is_of_tissue(scan.path, scan.name)


def _choose_series(wanted: str | None, found: _Found) -> None:
    """Take what the series of files are called; skip those that are not wanted, as was done with DICOM before."""
    files = [scan for scan in found.scans if scan.series is None]
    found.series += [scan.series_name for scan in files]
    if wanted is None:
        return
    meant = {id(scan) for scan in meant_by(wanted, files)}
    found.scans = [scan for scan in found.scans if scan.series is not None or id(scan) in meant]
    found.skipped += [SkippedFile(scan.path, NOT_CHOSEN) for scan in files if id(scan) not in meant]


def _is_file(scan: ScanFile) -> bool:
    """Whether a scan is a single file, other than DICOM, that is named by what it holds."""
    return scan.series is None and not scan.images


def _in_mask_folder(scan: ScanFile) -> bool:
    return _is_file(scan) and scan.path.parent.name.lower() in MASK_FOLDERS


def _names_of_masks(name: str) -> tuple[str, ...]:
    """Return what a scan's mask may be called in a folder beside its own: as it, without sequence, or channel."""
    return name, without_sequence(name), without_channel(name)


def _what_it_holds(scan: ScanFile) -> tuple[Holding, str]:
    """Return what a file holds, and by what that is known."""
    naming = mask_naming(scan.path, scan.name) if _is_file(scan) else ""
    if scan.holding == "scan" and naming:
        return "mask", f"{naming} name"
    return scan.holding, "header" if earlier_result(scan.path) == "scan" else "header or name"


def _add_series(reading: ReadSettings, found: _Found, progress: Progress | None) -> None:
    """Put the DICOM files together, and take the series that are meant and can be scans."""
    if not found.dicom:
        return
    from napari_dinoad.images.found_series import find_series

    dicom = find_series(found.dicom, reading.series, progress)
    found.skipped.extend(dicom.skipped)
    found.results.extend(replace(ScanFile.of_file(path), holding="mask") for path in dicom.segmentations)
    found.scans.extend(dicom.scans)
    found.series.extend(dicom.names)
    found.dicom.clear()
