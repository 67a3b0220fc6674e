"""Masks and maps of this program's first versions, whose NIfTI headers do not say what they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["EARLIER_TYPES", "earlier_result"]

_ENDINGS: dict[Literal["mask", "map"], str] = {"mask": "_mask.nii.gz", "map": "_anomaly.nii.gz"}
"""How these files are called, behind the name of their scan."""

_REPORT_ENDING = "_report.json"

EARLIER_TYPES: dict[Literal["mask", "map"], str] = {"mask": "uint8", "map": "float32"}
"""Types of the voxels that they were written with."""


def earlier_result(path: Path) -> Literal["scan", "mask", "map"]:
    """Return what a file holds by its name, if the scan's map, mask or report lies beside it; else a scan."""
    for holding, ending in _ENDINGS.items():
        scan = path.name.removesuffix(ending)
        if scan in ("", path.name):
            continue
        beside = {*_ENDINGS.values(), _REPORT_ENDING} - {ending}
        if any(path.with_name(f"{scan}{other}").is_file() for other in beside):
            return holding
    return "scan"
