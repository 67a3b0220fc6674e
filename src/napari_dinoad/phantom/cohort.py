"""A phantom cohort on disk: normal scans to fit on, patients to score, and the truth to score against."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_dinoad.errors import SettingError
from napari_dinoad.machine.atomic_files import require_folder
from napari_dinoad.maps.export import save_on_grid
from napari_dinoad.phantom.lesions import KINDS, LesionKind, require_kind
from napari_dinoad.phantom.scanner import SHAPE
from napari_dinoad.phantom.scans import make_normal, make_patient
from napari_dinoad.progress import report

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_dinoad.progress import Progress

__all__ = ["PhantomCohort", "write_cohort"]

_PATIENT_SEEDS = 1_000_000
"""Patients' seeds start here after the cohort's own, so that no patient is one of its normals."""

_COHORT_SEEDS = 1_000
"""Cohorts of different seeds share no subject as long as they have fewer normals than this."""


@dataclass(frozen=True)
class PhantomCohort:
    """Where the scans of a cohort lie.

    Attributes
    ----------
    normal_folder : Path
        Holds ``normal``.
    normal : tuple of Path
        Normal scans.
    patients : Mapping[str, Path]
        One patient of each kind of lesion.
    truths : Mapping[str, Path]
        The lesion mask of each, uint8, on the patient's grid.
    """

    normal_folder: Path
    normal: tuple[Path, ...]
    patients: Mapping[LesionKind, Path]
    truths: Mapping[LesionKind, Path]


def write_cohort(
    folder: str | Path,
    n_normal: int = 12,
    kinds: Sequence[str] = KINDS,
    seed: int = 0,
    *,
    shape: tuple[int, int, int] = SHAPE,
    progress: Progress | None = None,
) -> PhantomCohort:
    """Write a cohort as NIfTI.

    Parameters
    ----------
    folder : str or Path
        Gets ``normal/normal_01.nii.gz`` …, ``patients/patient_bright.nii.gz`` … (int16) and
        ``truth/patient_bright_mask.nii.gz`` … (uint8). Files of these names are replaced.
    n_normal : int
        Normal scans, at least 1 and fewer than 1,000.
    kinds : sequence of str
        Kinds of lesion, one patient each.
    seed : int
        Of the cohort, at least 0.
    shape : tuple of int
        (z, y, x) voxels of each scan.
    progress : callable, optional
        Told after each scan; may raise `Cancelled`.

    Raises
    ------
    SettingError
        If a parameter makes no sense, or ``normal`` holds other files: they would be fitted on, too.
    DinoadError
        If the folder cannot be written.
    """
    if not 1 <= n_normal < _COHORT_SEEDS:
        raise SettingError(f"phantom cohort: expected 1 to {_COHORT_SEEDS - 1} normal scans, got {n_normal}.")
    known = [require_kind(kind) for kind in dict.fromkeys(kinds)]
    root = Path(folder)
    normal_folder, patient_folder, truth_folder = (
        require_folder(root / name) for name in ("normal", "patients", "truth")
    )
    first, total, stage = seed * _COHORT_SEEDS, n_normal + len(known), "Making phantoms"
    paths = [normal_folder / f"normal_{index + 1:02d}.nii.gz" for index in range(n_normal)]
    _require_no_others(normal_folder, paths)
    normal = []
    for index, path in enumerate(paths):
        volume = make_normal(first + index, shape)
        normal.append(save_on_grid(path, volume.values.astype(np.int16), volume))
        report(progress, stage, index + 1, total)
    patients: dict[LesionKind, Path] = {}
    truths: dict[LesionKind, Path] = {}
    for index, kind in enumerate(known):
        # A patient's seed goes with the kind, not with its place in the list.
        patient = make_patient(_PATIENT_SEEDS + first + KINDS.index(kind), kind, shape)
        volume, name = patient.volume, f"patient_{kind}"
        patients[kind] = save_on_grid(
            patient_folder / f"{name}.nii.gz", volume.values.astype(np.int16), volume
        )
        truth = patient.lesion_mask.astype(np.uint8)
        truths[kind] = save_on_grid(truth_folder / f"{name}_mask.nii.gz", truth, volume, "mask")
        report(progress, stage, n_normal + index + 1, total, str(kind))
    return PhantomCohort(normal_folder, tuple(normal), patients, truths)


def _require_no_others(folder: Path, paths: Sequence[Path]) -> None:
    """Refuse a folder with files beside those that are written: of a larger cohort of before, perhaps."""
    others = sorted(path.name for path in folder.iterdir() if path not in paths and path.name[0] != ".")
    if others:
        raise SettingError(
            f"{folder}: expected no files but those of {len(paths)} normal scans, found {len(others)} others "
            f"({others[0]}, …), which would be fitted on, too. Choose another folder, or remove them."
        )
