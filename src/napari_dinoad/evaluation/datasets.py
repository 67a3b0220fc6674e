"""A folder of scans with their truth → which scan belongs to which mask, and to which part of the data.

No pixel is read here: the names of files and folders decide, and of DICOM files their headers.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from napari_dinoad.errors import DinoadError, ScanReadError
from napari_dinoad.evaluation.class_folders import with_classes_by_neighbours
from napari_dinoad.evaluation.dataset_files import DatasetFile
from napari_dinoad.evaluation.labelled_scans import EvaluationSet, LabelledScan
from napari_dinoad.evaluation.left_out import (
    of_known_classes,
    without_derivatives,
    without_other_sequences,
    without_other_series,
    without_test_split,
)
from napari_dinoad.evaluation.mask_folders import with_mask_folders
from napari_dinoad.evaluation.mask_pairing import pair_masks, segmentations_of
from napari_dinoad.evaluation.scoring_outputs import FOUND_MASK, what_scoring_wrote
from napari_dinoad.images.mask_names import is_of_tissue
from napari_dinoad.images.readers import may_be_dicom
from napari_dinoad.images.scan_file import SkippedFile
from napari_dinoad.images.series_choice import NOT_CHOSEN, counted, meant_by, series_in_words
from napari_dinoad.machine.file_names import DICOM_SUFFIXES, SCAN_SUFFIXES, is_sequence, stem_of
from napari_dinoad.machine.files import files_below

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from napari_dinoad.evaluation.dataset_files import Split
    from napari_dinoad.images.scan_file import ScanFile
    from napari_dinoad.progress import Progress
    from napari_dinoad.settings import DatasetLayout

__all__ = ["ABNORMAL_VALIDATION", "find_dataset"]

ABNORMAL_VALIDATION = "abnormal; only normal validation scans set thresholds"
"""Why a validation scan is not used."""

_OF_TISSUE = "the brain or its tissues by its name, no outline of a lesion"
"""Why a mask is not used."""

_OF_OTHER_SERIES = "a mask of a series that is not chosen"
"""Why a mask is not used."""

_OF_TRAINING = "in the training split"
"""Why a scan is not used."""

_SPLITS: tuple[Split, ...] = ("train", "valid", "test")

_MOST_NAMED = 3
"""Files named in a message: the masks of which none can be told to be a scan's, or scans of other series."""


def find_dataset(
    folder: Path,
    layout: DatasetLayout = "auto",
    progress: Progress | None = None,
    *,
    series: str | None = None,
) -> EvaluationSet:
    """Find the scans of a benchmark with their masks.

    Parameters
    ----------
    folder : Path
    layout : {"auto", "bmad", "mvtec", "folder"}
        ``bmad``, ``mvtec``: split folders, as in ``test/{good,Ungood}/{img,label}``,
        ``test/{img,label}/{good,Ungood}``, ``Test/{test,test_label}``, or ``test/{good,<defect>}`` with
        ``ground_truth/<defect>`` (both are read in the same way); ``folder``: none, all scans are test scans.
        ``auto`` looks for split folders where there is a test folder, and one of another split or nothing beside it:
        a patient's folder may be called test too.
    progress : callable, optional
        Called before the header of each DICOM file is read; may raise `Cancelled`.
    series : str, optional
        Which scans are meant; see `ReadSettings.series`. The others are not used.

    Raises
    ------
    ScanReadError
        If ``folder`` is no folder.
    DinoadError
        If there is nothing to test on: no scan with a mask nor both normal and abnormal ones by their folders, no
        split where the layout asks for it, or no scan of the series.
    """
    if not folder.is_dir():
        raise ScanReadError(
            f"{folder}: expected a folder with a benchmark, found {'a file' if folder.exists() else 'nothing'}."
        )
    files, passed_over = _files_in(folder, progress)
    files = with_mask_folders(with_classes_by_neighbours(files, folder), folder)
    segmented: frozenset[str] = frozenset()
    if series is not None:
        segmented = _segmented_studies(files)
        files, others = _of_series(files, series, folder)
        passed_over += others
    found_splits = {file.split for file in files}
    is_split_asked = layout in ("bmad", "mvtec")
    if is_split_asked and "test" not in found_splits:
        raise DinoadError(
            f"{folder}: expected split folders (train, valid, test) of a benchmark, found none. "
            "Use --layout folder for scans beside their masks."
        )
    is_split = "test" in found_splits and (found_splits != {"test", None} or is_split_asked)
    found = (_by_split if is_split and layout != "folder" else _as_one)(files, segmented)
    found = without_other_sequences(without_derivatives(found, folder), folder)
    found = replace(found, unused=(*found.unused, *passed_over))
    if found.is_told_by_folders:
        return of_known_classes(found)
    if not found.has_masks:
        raise _without_masks(found, folder)
    return without_test_split(found)


def _without_masks(found: EvaluationSet, folder: Path) -> DinoadError:
    """Return why no scan has a mask, and what to do."""
    faults = [scan.fault for scan in found.test if scan.fault]
    if faults:
        return DinoadError(f"No mask could be told to be a scan's own; the first reason: {faults[0]}")
    n_of = Counter(item.reason for item in found.unused)
    told = {
        FOUND_MASK: "{} masks that napari-dinoad found itself are no truth.",
        _OF_OTHER_SERIES: "Masks of series that are not chosen: {}.",
        _OF_TRAINING: "{} scans of the training split are not read; name its folder itself to evaluate it.",
    }
    more = "".join(f" {text.format(n_of[reason])}" for reason, text in told.items() if n_of[reason])
    return DinoadError(
        f"{folder}: expected scans with masks of the same name in a folder called label, mask or the like, or DICOM "
        f"series with their segmentations, found {len(found.test)} scans and no mask that belongs to one.{more} For "
        "figures of whole images, without masks, put normal and abnormal ones into folders called good and bad."
    )


def _files_in(folder: Path, progress: Progress | None) -> tuple[list[DatasetFile], list[SkippedFile]]:
    """Return the scans and masks, and what is neither of the DICOM files and of what scoring wrote."""
    files: list[DatasetFile] = []
    results: list[SkippedFile] = []
    dicom: list[Path] = []
    for path in files_below(folder):
        is_named_so = path.name.lower().endswith(SCAN_SUFFIXES)
        written = what_scoring_wrote(path)
        if written:
            results.append(SkippedFile(path, written))
        elif is_named_so and not path.name.lower().endswith(DICOM_SUFFIXES):
            if is_of_tissue(path, stem_of(path)):
                results.append(SkippedFile(path, _OF_TISSUE))
            else:
                files.append(DatasetFile.of(path, folder))
        elif is_named_so or may_be_dicom(path):
            dicom.append(path)
    if not dicom:
        return files, results
    from napari_dinoad.images.dicom.segmentations import is_found_segmentation, segmented_images
    from napari_dinoad.images.found_series import find_series

    found = find_series(dicom, progress=progress)
    segmentations = set(found.segmentations)
    found_masks = {path for path in segmentations if is_found_segmentation(path)}
    results += [SkippedFile(path, FOUND_MASK) for path in sorted(found_masks)]
    files += [DatasetFile.of(scan.path, folder, series=scan) for scan in found.scans]
    files += [
        DatasetFile.of(path, folder, segmented=segmented_images(path)) for path in segmentations - found_masks
    ]
    passed_over = [item for item in found.skipped if item.path not in segmentations]
    files += [
        DatasetFile.of(item.path, folder, fault=f"{item.path}: {item.reason}")
        for item in passed_over
        if item.is_scan
    ]
    files.sort(key=lambda file: (file.path, file.name))
    return files, [*results, *(item for item in passed_over if not item.is_scan)]


def _of_series(
    files: Sequence[DatasetFile], wanted: str, folder: Path
) -> tuple[list[DatasetFile], list[SkippedFile]]:
    """Set aside scans of another series, with masks that are theirs alone.

    That is before masks are told to be those of the others: a case has one for all its sequences.
    """
    scans, masks = _scans_and_masks(files)
    as_files = [scan.as_file() for scan in scans]
    chosen = {id(file) for file in meant_by(wanted, as_files)}
    meant = {id(scan) for scan, file in zip(scans, as_files, strict=True) if id(file) in chosen}
    if scans and not meant:
        there = series_in_words(counted(file.series_name for file in as_files))
        raise DinoadError(f"{folder}: expected scans of the series {wanted!r}, found none.{there}")
    # Of which series a damaged file is, is not known.
    kept = [scan for scan in scans if scan.fault or id(scan) in meant]
    others = [scan for scan in scans if not scan.fault and id(scan) not in meant]
    mask_of = pair_masks(scans, [mask for mask in masks if mask.segmented is None]).mask_of
    theirs = {mask_of[scan]: None for scan in others if scan in mask_of}
    theirs |= {mask: None for masks_of in segmentations_of(others, masks).values() for mask in masks_of}
    unused = [SkippedFile(file.path, NOT_CHOSEN) for file in others]
    unused += [SkippedFile(mask.path, _OF_OTHER_SERIES) for mask in theirs]
    return [*kept, *(replace(mask, is_mask=True) for mask in masks if mask not in theirs)], unused


def _segmented_studies(files: Sequence[DatasetFile]) -> frozenset[str]:
    """Return the UIDs of the DICOM studies of which a segmentation names a series."""
    own = segmentations_of(*_scans_and_masks(files))
    return frozenset(scan.series.series.study_uid for scan in own if scan.series and scan.series.series)


def _as_one(files: Sequence[DatasetFile], segmented: frozenset[str]) -> EvaluationSet:
    scans, masks = _scans_and_masks(files)
    own = segmentations_of(scans, masks)
    test, unmatched = _pair(scans, masks, own)
    test, unused = without_other_series(test, segmented)
    return EvaluationSet("folder", (), test, unmatched, unused)


def _by_split(files: Sequence[DatasetFile], segmented: frozenset[str]) -> EvaluationSet:
    parts: dict[Split | None, tuple[list[DatasetFile], list[DatasetFile]]] = {
        split: _scans_and_masks([file for file in files if file.split == split]) for split in (*_SPLITS, None)
    }
    own = segmentations_of(*_scans_and_masks(files))
    beside = _into_splits(parts)
    validation, unmatched_validation = _pair(*parts["valid"], own)
    test, unmatched = _pair(*parts["test"], own)
    validation, others = without_other_series(validation, segmented)
    test, others_of_test = without_other_series(test, segmented)
    named = {mask for masks in own.values() for mask in masks}
    unused = [SkippedFile(scan.path, _OF_TRAINING) for scan in parts["train"][0]]
    unused += [SkippedFile(scan.path, ABNORMAL_VALIDATION) for scan in validation if scan.is_abnormal]
    unused += [SkippedFile(scan.path, "outside the folders train, valid and test") for scan in parts[None][0]]
    return EvaluationSet(
        "mvtec" if beside else "bmad",
        tuple(scan for scan in validation if not scan.is_abnormal),
        test,
        (*unmatched_validation, *unmatched, *(mask.path for mask in parts[None][1] if mask not in named)),
        (*unused, *others, *others_of_test),
    )


def _into_splits(parts: dict[Split | None, tuple[list[DatasetFile], list[DatasetFile]]]) -> bool:
    """Move masks that lie beside the splits to that of their scan, in place; return whether there are any.

    A scan that has a namesake among the masks of its split needs none of these.
    """
    outside = parts[None][1]
    scans: list[DatasetFile] = []
    for split in parts:
        own = () if split is None else parts[split][1]
        stems = {stem for mask in own for stem in (mask.stem, *mask.scan_stems)}
        scans += [scan for scan in parts[split][0] if stems.isdisjoint((scan.stem, scan.case_stem))]
    pairing = pair_masks(scans, [mask for mask in outside if mask.segmented is None])
    split_of = {mask: scan.split for scan, masks in pairing.rivals_of.items() for mask in masks}
    split_of |= {mask: scan.split for scan, mask in pairing.mask_of.items()}
    split_of = {mask: split for mask, split in split_of.items() if split is not None}
    for mask, split in split_of.items():
        parts[split][1].append(mask)
    outside[:] = [mask for mask in outside if mask not in split_of]
    return bool(split_of)


def _scans_and_masks(files: Sequence[DatasetFile]) -> tuple[list[DatasetFile], list[DatasetFile]]:
    stems = {stem for file in files for stem in (file.stem, file.case_stem)}
    scans: list[DatasetFile] = []
    masks: list[DatasetFile] = []
    for file in files:
        # In one folder with its scan, a mask is told by its ending.
        is_mask = (
            file.is_mask
            or file.segmented is not None
            or file.in_mask_folder
            or file.is_named_mask
            or any(stem != file.stem and stem in stems for stem in file.scan_stems)
        )
        (masks if is_mask else scans).append(file)
    return scans, masks


def _pair(
    scans: Sequence[DatasetFile],
    masks: Sequence[DatasetFile],
    own: Mapping[DatasetFile, Sequence[DatasetFile]],
) -> tuple[tuple[LabelledScan, ...], tuple[Path, ...]]:
    """Return scans with their masks, and masks that are left; ``own`` are those that name a series themselves."""
    named = {mask for masks in own.values() for mask in masks}
    pairing = pair_masks(scans, [mask for mask in masks if mask not in named])
    claiming: dict[DatasetFile, list[ScanFile]] = defaultdict(list)
    for scan, of_several in pairing.rivals_of.items():
        for one in of_several:
            claiming[one].append(scan.as_file())
    labelled = []
    for scan in scans:
        mask = pairing.mask_of.get(scan)
        candidates = (*own.get(scan, ()), *([mask] if mask is not None else pairing.rivals_of.get(scan, ())))
        if mask is None and len(own.get(scan, ())) == len(candidates) == 1:
            (mask,) = candidates
        # A scan that its folder calls normal needs none.
        is_clear = mask is not None and len(candidates) == 1
        rivals = () if is_clear or (scan.is_abnormal is False and mask is None) else candidates
        sequences = _to_choose_from([file for one in rivals for file in claiming[one]])
        fault = scan.fault or (_fault(scan, rivals, sequences) if rivals else "")
        path = None if mask is None or rivals else mask.path
        labelled.append(LabelledScan(scan.path, path, scan.is_abnormal, fault, scan.series))
    return tuple(labelled), tuple(mask.path for mask in pairing.unmatched)


def _to_choose_from(scans: Sequence[ScanFile]) -> list[str]:
    """Return the texts of ``--series`` that tell scans apart, by their series or else folders; perhaps none."""
    for texts in ((scan.series_name for scan in scans), map(_folder_to_choose, scans)):
        different = [text for text, _ in counted(texts)]
        if different[1:]:
            return different
    return []


def _folder_to_choose(scan: ScanFile) -> str:
    """Return what chooses a scan by its folder (``pre/FLAIR``, ``T1/*``); nothing where neither is a sequence."""
    if scan.series is not None:
        return ""
    folder, _, name = scan.series_place.rpartition("/")
    if is_sequence(name):
        return scan.series_place
    # In quotes, or a shell may take it for files.
    return f"'{folder}/*'" if is_sequence(folder) else ""


def _fault(scan: DatasetFile, rivals: tuple[DatasetFile, ...], sequences: Sequence[str]) -> str:
    """Return why a scan has none of the masks that may be its own, and those of these sequences, too."""
    told = ", ".join(str(mask.path) for mask in rivals[:_MOST_NAMED])
    more = f" and {len(rivals) - _MOST_NAMED} more" if len(rivals) > _MOST_NAMED else ""
    if sequences[1:]:
        return (
            f"{scan.path}: expected a mask of its own, found {told}{more} for several sequences of its case; choose "
            f"one with --series: {', '.join(sequences)}."
        )
    return (
        f"{scan.path}: expected one mask that is its own by name and folder, or by the series that a DICOM "
        f"segmentation names, found {told}{more}. Put each mask beside its scan, or into a folder called mask there."
    )
