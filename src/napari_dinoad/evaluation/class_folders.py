"""Classes that neighbours tell: a folder beside normal scans in a split holds abnormal ones, whatever its name."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from napari_dinoad.evaluation.dataset_files import is_of_normals, is_of_split, says_nothing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_dinoad.evaluation.dataset_files import DatasetFile

__all__ = ["with_classes_by_neighbours"]

_Folders = tuple[str, ...]
"""Names of the folders that a file lies in, outermost first."""


def with_classes_by_neighbours(files: Sequence[DatasetFile], folder: Path) -> list[DatasetFile]:
    """Return the files, those abnormal of which the name of no folder says so, but where it lies.

    ``test/crack`` beside ``test/good`` holds abnormal scans, and ``ground_truth/crack`` their masks: a folder in a
    split beside one of normal scans, and folders of its name with masks.

    Parameters
    ----------
    files : sequence of DatasetFile
    folder : Path
        The benchmark's; all files lie in it.
    """
    places = [_folders_of(file, folder) for file in files]
    of_normals = {
        place[:depth]
        for place in set(places)
        for depth, name in enumerate(place)
        if is_of_normals(name) and any(map(is_of_split, place[:depth]))
    }
    named = {
        place: {
            name for depth, name in enumerate(place) if place[:depth] in of_normals and says_nothing(name)
        }
        for place in set(places)
    }
    of_scans = {
        name.lower()
        for file, place in zip(files, places, strict=True)
        if not file.in_mask_folder
        for name in named[place]
    }
    found = []
    for file, place in zip(files, places, strict=True):
        is_told = any(name.lower() in of_scans for name in place) if file.in_mask_folder else named[place]
        found.append(replace(file, is_abnormal=True) if is_told and file.is_abnormal is None else file)
    return found


def _folders_of(file: DatasetFile, folder: Path) -> _Folders:
    parts = file.path.relative_to(folder).parts
    # The folder of a DICOM series is its last one.
    return parts if file.series is not None and file.path.is_dir() else parts[:-1]
