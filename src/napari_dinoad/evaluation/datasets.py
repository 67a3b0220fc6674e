"""A folder of scans with their truth → which scan belongs to which mask, and to which part of the data.

No pixel is read here: the names of files and folders decide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from napari_dinoad.errors import DinoadError, ScanReadError
from napari_dinoad.evaluation.dataset_files import DatasetFile
from napari_dinoad.evaluation.mask_pairing import pair_masks
from napari_dinoad.files import SCAN_SUFFIXES
from napari_dinoad.images.scan_file import SkippedFile

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_dinoad.settings import DatasetLayout

__all__ = ["ABNORMAL_VALIDATION", "EvaluationSet", "LabelledScan", "find_dataset"]

ABNORMAL_VALIDATION = "abnormal; only normal validation scans set thresholds"
"""Why a validation scan is not used."""

_MOST_RIVALS_TOLD = 3
"""Masks named in the message about a scan whose own mask cannot be told."""


@dataclass(frozen=True)
class LabelledScan:
    """A scan of a benchmark.

    Attributes
    ----------
    path : Path
    mask : Path, optional
        Where the truth is; None when there is none (a normal scan, usually).
    is_abnormal : bool, optional
        As its folder says; None when only the mask tells.
    fault : str
        Why it cannot be used: masks of its name lie there, but which is its own cannot be told. Empty otherwise.
    """

    path: Path
    mask: Path | None
    is_abnormal: bool | None
    fault: str = ""


@dataclass(frozen=True)
class EvaluationSet:
    """What a folder holds for evaluation.

    Attributes
    ----------
    layout : {"bmad", "folder"}
        With split folders, or without.
    validation : tuple of LabelledScan
        Scans of the validation split that may be normal: thresholds come from those that are.
    test : tuple of LabelledScan
    unmatched : tuple of Path
        Masks that belong to no scan, or not to one alone.
    unused : tuple of SkippedFile
        Scans that the layout leaves out.
    """

    layout: Literal["bmad", "folder"]
    validation: tuple[LabelledScan, ...]
    test: tuple[LabelledScan, ...]
    unmatched: tuple[Path, ...] = ()
    unused: tuple[SkippedFile, ...] = ()


def find_dataset(folder: Path, layout: DatasetLayout = "auto") -> EvaluationSet:
    """Find the scans of a benchmark with their masks.

    Parameters
    ----------
    folder : Path
    layout : {"auto", "bmad", "folder"}
        ``bmad``: split folders, as in ``test/{good,Ungood}/{img,label}``, ``test/{img,label}/{good,Ungood}`` or
        ``Test/{test,test_label}``; ``folder``: none, all scans are test scans. ``auto`` takes ``bmad`` where there
        is a test folder, and one of another split or nothing beside it: a patient's folder may be called test too.

    Raises
    ------
    ScanReadError
        If ``folder`` is no folder.
    DinoadError
        If there is nothing to test on: no scan with a mask, or no split where the layout asks for it.
    """
    if not folder.is_dir():
        raise ScanReadError(
            f"{folder}: expected a folder with a benchmark, found {'a file' if folder.exists() else 'nothing'}."
        )
    files = [DatasetFile.of(path, folder) for path in _scan_files(folder)]
    found_splits = {file.split for file in files}
    if layout == "bmad" and "test" not in found_splits:
        raise DinoadError(
            f"{folder}: expected split folders (train, valid, test) of a benchmark, found none. "
            "Use --layout folder for scans beside their masks."
        )
    is_split = "test" in found_splits and (found_splits != {"test", None} or layout == "bmad")
    found = _by_split(files) if is_split and layout != "folder" else _as_one(files)
    if not any(scan.mask is not None for scan in found.test):
        faults = [scan.fault for scan in found.test if scan.fault]
        if faults:
            raise DinoadError(f"No mask could be told to be a scan's own; the first reason: {faults[0]}")
        raise DinoadError(
            f"{folder}: expected scans with masks of the same name in a folder called label, mask or the like, found "
            f"{len(found.test)} scans and no mask that belongs to one."
        )
    return found


def _scan_files(folder: Path) -> list[Path]:
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.name.lower().endswith(SCAN_SUFFIXES)
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]


def _as_one(files: Sequence[DatasetFile]) -> EvaluationSet:
    test, unmatched = _pair(*_scans_and_masks(files))
    return EvaluationSet("folder", (), test, unmatched)


def _by_split(files: Sequence[DatasetFile]) -> EvaluationSet:
    parts = {
        split: _scans_and_masks([file for file in files if file.split == split])
        for split in ("train", "valid", "test", None)
    }
    validation, unmatched_validation = _pair(*parts["valid"])
    test, unmatched = _pair(*parts["test"])
    unused = [SkippedFile(scan.path, "in the training split") for scan in parts["train"][0]]
    unused += [SkippedFile(scan.path, ABNORMAL_VALIDATION) for scan in validation if scan.is_abnormal]
    unused += [SkippedFile(scan.path, "outside the folders train, valid and test") for scan in parts[None][0]]
    return EvaluationSet(
        "bmad",
        tuple(scan for scan in validation if not scan.is_abnormal),
        test,
        (*unmatched_validation, *unmatched, *(mask.path for mask in parts[None][1])),
        tuple(unused),
    )


def _scans_and_masks(files: Sequence[DatasetFile]) -> tuple[list[DatasetFile], list[DatasetFile]]:
    stems = {file.stem for file in files}
    scans: list[DatasetFile] = []
    masks: list[DatasetFile] = []
    for file in files:
        # In one folder with its scan, a mask is told by its ending.
        is_mask = file.in_mask_folder or (file.scan_stem != file.stem and file.scan_stem in stems)
        (masks if is_mask else scans).append(file)
    return scans, masks


def _pair(
    scans: Sequence[DatasetFile], masks: Sequence[DatasetFile]
) -> tuple[tuple[LabelledScan, ...], tuple[Path, ...]]:
    """Return scans with their masks, and masks that are left."""
    pairing = pair_masks(scans, masks)
    labelled = []
    for scan in scans:
        mask = pairing.mask_of.get(scan)
        # A scan that its folder calls normal needs none.
        rivals = () if scan.is_abnormal is False else pairing.rivals_of.get(scan, ())
        fault = _fault(scan, rivals) if rivals else ""
        labelled.append(LabelledScan(scan.path, None if mask is None else mask.path, scan.is_abnormal, fault))
    return tuple(labelled), tuple(mask.path for mask in pairing.unmatched)


def _fault(scan: DatasetFile, rivals: tuple[DatasetFile, ...]) -> str:
    told = ", ".join(str(mask.path) for mask in rivals[:_MOST_RIVALS_TOLD])
    more = f" and {len(rivals) - _MOST_RIVALS_TOLD} more" if len(rivals) > _MOST_RIVALS_TOLD else ""
    return (
        f"{scan.path}: expected one mask that is its own by name and folder, found {told}{more}. "
        "Put each mask beside its scan, or into a folder called mask there."
    )
