"""What is evaluated: the scans of a benchmark with their masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from napari_dinoad.images.scan_file import ScanFile, SkippedFile

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["EvaluationSet", "LabelledScan"]


@dataclass(frozen=True)
class LabelledScan:
    """A scan of a benchmark.

    Attributes
    ----------
    path : Path
        Of a DICOM series in several files the folder that holds them.
    mask : Path, optional
        Where the truth is; None when there is none (a normal scan, usually). A folder: all masks in it together.
    is_abnormal : bool, optional
        As its folder says; None when only the mask tells.
    fault : str
        Why it cannot be used: which of several masks is its own cannot be told, or it is damaged. Empty otherwise.
    series : ScanFile, optional
        The DICOM series that it is.
    """

    path: Path
    mask: Path | None
    is_abnormal: bool | None
    fault: str = ""
    series: ScanFile | None = None

    def as_file(self) -> ScanFile:
        """Return it as what can be read."""
        return self.series or ScanFile.of_file(self.path)


@dataclass(frozen=True)
class EvaluationSet:
    """What a folder holds for evaluation.

    Attributes
    ----------
    layout : {"bmad", "mvtec", "folder"}
        With split folders, with masks beside these, or without.
    validation : tuple of LabelledScan
        Scans of the validation split that may be normal: thresholds come from those that are.
    test : tuple of LabelledScan
    unmatched : tuple of Path
        Masks that belong to no scan, or not to one alone.
    unused : tuple of SkippedFile
        Scans that the layout leaves out.
    """

    layout: Literal["bmad", "mvtec", "folder"]
    validation: tuple[LabelledScan, ...]
    test: tuple[LabelledScan, ...]
    unmatched: tuple[Path, ...] = ()
    unused: tuple[SkippedFile, ...] = ()

    @property
    def has_masks(self) -> bool:
        """Whether a test scan has a mask."""
        return any(scan.mask is not None for scan in self.test)

    @property
    def is_told_by_folders(self) -> bool:
        """Whether folders alone tell which test scans are abnormal: there is no mask that could belong to one."""
        classes = {scan.is_abnormal for scan in self.test if not scan.fault}
        return not self.has_masks and not self.unmatched and {True, False} <= classes
