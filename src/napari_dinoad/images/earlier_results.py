"""Results that do not say what they hold: pictures, and the NIfTI files of this program's first versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from napari_dinoad.machine.file_names import PICTURE_ENDINGS, stem_of

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["EARLIER_TYPES", "earlier_result", "is_drawn_result"]

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


def is_drawn_result(path: Path) -> bool:
    """Whether a PNG is drawn of a scan's result, by its name and what else of that lies beside it."""
    if path.suffix.lower() != ".png":
        return False
    name = stem_of(path)
    of = next((name.removesuffix(end) for end in ("_mask", *PICTURE_ENDINGS) if name.endswith(end)), "")
    beside = (f"{of}{_REPORT_ENDING}", f"{of}{_ENDINGS['map']}", f"scored/{of}.json")
    return bool(of) and any((path.parent / other).is_file() for other in beside)
