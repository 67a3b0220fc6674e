"""A folder of scans with their truth → which scan belongs to which mask, and to which part of the data.

Benchmarks lay their files out differently, so names of folders decide, whatever their order and case: of a split
(``train``, ``valid``, ``test``), of a class (``good``, ``Ungood``), of masks (``label``, ``anomaly_mask``, …).
A scan and its mask have one stem. No pixel is read here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from napari_dinoad.errors import DinoadError, ScanReadError
from napari_dinoad.files import SCAN_SUFFIXES, stem_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from napari_dinoad.settings import DatasetLayout

__all__ = ["EvaluationSet", "LabelledScan", "find_dataset"]

Split = Literal["train", "valid", "test"]

_SPLITS: dict[str, Split] = {
    "train": "train", "training": "train", "valid": "valid", "val": "valid", "validation": "valid",
    "test": "test", "testing": "test",
}  # fmt: skip
_MASKS = {
    "label", "labels", "mask", "masks", "anomaly_mask", "anomaly_masks", "ground_truth", "gt", "truth", "truths",
    "seg", "segmentation", "segmentations",
}  # fmt: skip
_NORMAL = {"good", "normal", "normals", "healthy"}
_ABNORMAL = {
    "ungood",
    "bad",
    "abnormal",
    "anomaly",
    "anomalous",
    "tumour",
    "tumor",
    "lesion",
    "patient",
    "patients",
}
_MASK_ENDINGS = ("_anomaly_mask", "_mask", "_label", "_seg", "_truth", "_gt")
"""What masks have after the stem of their scan, beside nothing."""


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
    """

    path: Path
    mask: Path | None
    is_abnormal: bool | None


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
        Masks without a scan.
    """

    layout: Literal["bmad", "folder"]
    validation: tuple[LabelledScan, ...]
    test: tuple[LabelledScan, ...]
    unmatched: tuple[Path, ...] = ()


@dataclass(frozen=True)
class _Item:
    path: Path
    split: Split | None
    is_abnormal: bool | None
    is_mask: bool

    @property
    def stem(self) -> str:
        return stem_of(self.path).lower()


def find_dataset(folder: Path, layout: DatasetLayout = "auto") -> EvaluationSet:
    """Find the scans of a benchmark with their masks.

    Parameters
    ----------
    folder : Path
    layout : {"auto", "bmad", "folder"}
        ``bmad``: split folders, as in ``test/{good,Ungood}/{img,label}``, ``test/{img,label}/{good,Ungood}`` or
        ``Test/{test,test_label}``; ``folder``: none, all scans are test scans. ``auto`` looks for split folders.

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
    items = [_item(path, folder) for path in _scan_files(folder)]
    has_splits = any(item.split == "test" for item in items)
    if layout == "bmad" and not has_splits:
        raise DinoadError(
            f"{folder}: expected split folders (train, valid, test) of a benchmark, found none. "
            "Use --layout folder for scans beside their masks."
        )
    if layout == "folder" or not has_splits:
        test, unmatched = _pair(items)
        found = EvaluationSet("folder", (), test, unmatched)
    else:
        validation, unmatched_validation = _pair(item for item in items if item.split == "valid")
        test, unmatched = _pair(item for item in items if item.split == "test")
        normal = tuple(scan for scan in validation if scan.is_abnormal is not True)
        found = EvaluationSet("bmad", normal, test, (*unmatched_validation, *unmatched))
    if not any(scan.mask is not None for scan in found.test):
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


def _item(path: Path, folder: Path) -> _Item:
    """Read the folders between ``folder`` and the file: the innermost that says something counts."""
    split: Split | None = None
    is_abnormal: bool | None = None
    is_mask = False
    for part in path.relative_to(folder).parts[:-1]:
        name = part.lower()
        first, _, last = name.rpartition("_")
        if name in _MASKS or last in _MASKS:
            is_mask = True
        split = _SPLITS.get(name) or _SPLITS.get(first) or split
        if name in _NORMAL | _ABNORMAL:
            is_abnormal = name in _ABNORMAL
    return _Item(path, split, is_abnormal, is_mask)


def _pair(items: Iterable[_Item]) -> tuple[tuple[LabelledScan, ...], tuple[Path, ...]]:
    """Return scans with their masks, and masks without a scan."""
    items = list(items)
    stems = {item.stem for item in items}
    masks: dict[tuple[str, bool | None], Path] = {}
    scans = []
    for item in items:
        bare = _without_ending(item.stem)
        # In one folder with its scan, a mask is told by its ending.
        if item.is_mask or (bare != item.stem and bare in stems):
            masks[item.stem, item.is_abnormal] = item.path
            masks.setdefault((bare, item.is_abnormal), item.path)
        else:
            scans.append(item)
    pairs = [LabelledScan(scan.path, _mask_of(scan, masks), scan.is_abnormal) for scan in scans]
    used = {pair.mask for pair in pairs}
    return tuple(pairs), tuple(dict.fromkeys(path for path in masks.values() if path not in used))


def _mask_of(scan: _Item, masks: dict[tuple[str, bool | None], Path]) -> Path | None:
    """Return the mask of the scan's stem: of its class, or of a folder that says no class."""
    own = masks.get((scan.stem, scan.is_abnormal))
    return own if own is not None or scan.is_abnormal is None else masks.get((scan.stem, None))


def _without_ending(stem: str) -> str:
    for ending in _MASK_ENDINGS:
        if stem.endswith(ending):
            return stem.removesuffix(ending)
    return stem
