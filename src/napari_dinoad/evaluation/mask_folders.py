"""Folders with several masks of one scan: ``ground_truth/<defect>/<stem>/000.png``, ``001.png``, as MVTec LOCO."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from napari_dinoad.evaluation.dataset_files import DatasetFile, says_nothing
from napari_dinoad.machine.file_names import format_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["masks_of_folder", "with_mask_folders"]


def with_mask_folders(files: Sequence[DatasetFile], folder: Path) -> list[DatasetFile]:
    """Return the files, with one in place of all pictures of masks in a folder that is called like a scan.

    It stands for the folder, so that it is paired as a mask of the folder's name. A folder called so that scans lie
    in, too, is a patient's or a session's, and names of NIfTI files tell structures apart that need not all be
    abnormal: both stay as they are.

    Parameters
    ----------
    files : sequence of DatasetFile
    folder : Path
        The benchmark's; all files lie in it.
    """
    scans = [file for file in files if not file.in_mask_folder and file.segmented is None]
    stems = {scan.stem for scan in scans}
    taken = {name for scan in scans for place in scan.places for name in place}
    parts_of: dict[Path, list[DatasetFile]] = defaultdict(list)
    others = []
    for file in files:
        own = file.path.parent
        is_part = (
            file.in_mask_folder
            and _is_picture(file.path)
            and own != folder
            and says_nothing(own.name)
            and own.name.lower() in stems
            and own.name.lower().replace("-", "_") not in taken
        )
        if is_part:
            parts_of[own].append(file)
        else:
            others.append(file)
    whole = [
        replace(DatasetFile.of(own, folder), is_abnormal=parts[0].is_abnormal)
        for own, parts in parts_of.items()
    ]
    return sorted([*others, *whole], key=lambda file: (file.path, file.name))


def masks_of_folder(folder: Path) -> list[Path]:
    """Return the pictures of masks in a folder, sorted by name; hidden ones are none."""
    return sorted(path for path in folder.iterdir() if path.is_file() and _is_picture(path))


def _is_picture(path: Path) -> bool:
    return format_of(path) == "picture" and not path.name.startswith(".")
