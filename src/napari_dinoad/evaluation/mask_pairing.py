"""Scans and masks of a benchmark → which mask belongs to which scan, by names and places. No pixel is read here."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Sequence

    from napari_dinoad.evaluation.dataset_files import DatasetFile, Place
    from napari_dinoad.images.dicom.series import DicomSeries

__all__ = ["Pairing", "pair_masks", "segmentations_of"]


@dataclass(frozen=True)
class Pairing:
    """Which mask belongs to which scan.

    Attributes
    ----------
    mask_of : dict
        Scan → its mask. No mask is there twice.
    rivals_of : dict
        Scan without a mask → masks that may be its own, where names and places cannot tell.
    unmatched : tuple of DatasetFile
        Masks that belong to no scan, or not to one alone.
    """

    mask_of: dict[DatasetFile, DatasetFile]
    rivals_of: dict[DatasetFile, tuple[DatasetFile, ...]]
    unmatched: tuple[DatasetFile, ...]


def pair_masks(scans: Iterable[DatasetFile], masks: Iterable[DatasetFile]) -> Pairing:
    """Pair scans and masks of one stem that are closest to each other.

    A scan none of whose stem is a mask may have that of its case (``p1_flair`` and ``p1_seg``; ``flair`` and ``seg``
    in a folder of the case), if no other sequence of the case is there.

    Closest are those of the same place. Then come places of which one holds all folders of the other
    (``sub-01/anat`` and ``lesions/sub-01/anat``), the fewer more the closer. Where places contradict each other, a
    scan and a mask belong together only when there is no other of their stem, and the mask is in no folder that is
    called like another scan (``truth/005/001.png`` is of scan 005). Files of two classes never do. When two are as
    close, neither is taken: a guess could be another patient's mask.
    """
    scans_of: dict[str, _Namesakes] = defaultdict(_Namesakes)
    masks_of: dict[str, _Namesakes] = defaultdict(_Namesakes)
    scans = list(scans)
    stems = {scan.stem for scan in scans}
    known = stems.union(scan.case_stem for scan in scans)
    for mask in masks:
        of = (stem for stem in mask.scan_stems if stem in known)
        masks_of[mask.stem if mask.stem in stems else next(of, mask.scan_stems[0])].add(mask)
    for scan in scans:
        scans_of[scan.stem if scan.stem in masks_of else scan.case_stem].add(scan)
    mask_of: dict[DatasetFile, DatasetFile] = {}
    rivals_of: dict[DatasetFile, tuple[DatasetFile, ...]] = {}
    for stem, alike in scans_of.items():
        for scan in alike.files:
            closest = masks_of[stem].closest_to(scan)
            if (
                closest is None
                or _lies_in_folder_of_another(closest, scan, stems)
                or _is_far(stem, closest, scan)
            ):
                continue
            if alike.closest_to(closest) is scan:
                mask_of[scan] = closest
    paired = set(mask_of.values())
    left = {stem: [mask for mask in alike.files if mask not in paired] for stem, alike in masks_of.items()}
    for stem, alike in scans_of.items():
        for scan in alike.files:
            rivals = tuple(
                mask
                for mask in left[stem]
                if _distance(scan, mask) is not None and not _is_far(stem, mask, scan)
            )
            if scan not in mask_of and rivals:
                rivals_of[scan] = rivals
    return Pairing(mask_of, rivals_of, tuple(mask for masks in left.values() for mask in masks))


def segmentations_of(
    scans: Iterable[DatasetFile], masks: Iterable[DatasetFile]
) -> dict[DatasetFile, list[DatasetFile]]:
    """Return for each DICOM series the segmentations that name it as what they were drawn on."""
    of: dict[DatasetFile, list[DatasetFile]] = defaultdict(list)
    series_of: dict[str, list[tuple[DatasetFile, DicomSeries]]] = defaultdict(list)
    for scan in scans:
        if scan.series is not None and scan.series.series is not None:
            one = scan.series.series
            series_of[one.uid.partition("/")[0]].append((scan, one))
    for mask in masks:
        if mask.segmented is None or not mask.segmented.are_named:
            continue
        uids = mask.segmented.series_uids or series_of
        for scan, one in [pair for uid in uids for pair in series_of.get(uid, ())]:
            if mask.segmented.are_of(one):
                of[scan].append(mask)
    return of


class _Namesakes:
    """Scans, or masks, that could belong together by their stem."""

    def __init__(self) -> None:
        self.files: list[DatasetFile] = []
        self._of_place: dict[Place, list[DatasetFile]] = defaultdict(list)
        self._of_folder: dict[str, list[DatasetFile]] = defaultdict(list)

    def add(self, file: DatasetFile) -> None:
        self.files.append(file)
        self._of_place[file.places[0]].append(file)
        for folder in _folders_of(file):
            self._of_folder[folder].append(file)

    def closest_to(self, other: DatasetFile) -> DatasetFile | None:
        """Return the one file that is closest; None when none can belong to ``other``, or several are as close."""
        for candidates in self._likely_first(other):
            distances = [(distance, file) for file in candidates if (distance := _distance(file, other))]
            least = min((distance for distance, _ in distances), default=(math.inf, True))
            if math.isfinite(least[0]) or (distances and candidates is self.files):
                closest = [file for distance, file in distances if distance == least]
                return closest[0] if len(closest) == 1 else None
        return None

    def _likely_first(self, other: DatasetFile) -> Iterator[Sequence[DatasetFile]]:
        """Yield files among which the closest may be, at last all: not all are compared in a large tree of one name.

        Nothing is closer than the same place, and what is not far shares a folder at least.
        """
        yield self._of_place.get(other.places[0], ())
        sharing = (file for folder in _folders_of(other) for file in self._of_folder.get(folder, ()))
        yield list(dict.fromkeys(sharing))
        yield self.files


def _folders_of(file: DatasetFile) -> set[str]:
    """Return the folders of all its places; of a place without any, empty text."""
    return {folder for place in file.places for folder in place or ("",)}


def _distance(one: DatasetFile, other: DatasetFile) -> tuple[float, bool] | None:
    """Return how far apart two files lie, by place and then by class; None when they are of two classes."""
    is_other_class = one.is_abnormal != other.is_abnormal
    if is_other_class and None not in (one.is_abnormal, other.is_abnormal):
        return None
    apart = min(
        _folders_apart(a, b) + i + j for i, a in enumerate(one.places) for j, b in enumerate(other.places)
    )
    return apart, is_other_class


def _lies_in_folder_of_another(mask: DatasetFile, scan: DatasetFile, stems: Container[str]) -> bool:
    distance = _distance(mask, scan)
    if distance is None or math.isfinite(distance[0]):
        return False
    return any(place[-1] in stems and place[-1] != scan.stem for place in mask.places if place)


def _is_far(stem: str, mask: DatasetFile, scan: DatasetFile) -> bool:
    """Whether a mask cannot be of a scan since both have no stem, and folders alone say whose they are."""
    distance = _distance(mask, scan)
    return not stem and distance is not None and math.isinf(distance[0])


def _folders_apart(one: Place, other: Place) -> float:
    """Return how many folders one place has more; infinity when neither holds all folders of the other in order.

    A place without any folder tells nothing of whose a file is: it is held by another like it alone.
    """
    shorter, longer = sorted((one, other), key=len)
    if longer and not shorter:
        return math.inf
    rest = iter(longer)
    return len(longer) - len(shorter) if all(name in rest for name in shorter) else math.inf
