"""The cohort on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import pytest

from napari_dinoad.errors import Cancelled, SettingError
from napari_dinoad.images.discovery import discover_scans
from napari_dinoad.images.readers import read_volume
from napari_dinoad.phantom import KINDS, make_normal, write_cohort

if TYPE_CHECKING:
    from pathlib import Path

    from napari_dinoad.progress import ProgressEvent

SHAPE = (26, 32, 28)


def test_files_hold_what_their_names_say(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path / "cohort", 2, ("dark", "mass"), seed=4, shape=SHAPE)
    assert [path.name for path in cohort.normal] == ["normal_01.nii.gz", "normal_02.nii.gz"]
    assert cohort.patients["mass"].name == "patient_mass.nii.gz"
    assert cohort.truths["mass"] == tmp_path / "cohort" / "truth" / "patient_mass_mask.nii.gz"
    found = discover_scans(cohort.normal_folder)
    assert [scan.path for scan in found.scans] == list(cohort.normal)
    assert not found.skipped
    assert len(list((tmp_path / "cohort").rglob("*.nii.gz"))) == 6
    for kind in ("dark", "mass"):
        patient, truth = nib.load(cohort.patients[kind]), nib.load(cohort.truths[kind])
        assert patient.get_data_dtype() == np.int16
        assert truth.get_data_dtype() == np.uint8
        assert patient.shape == truth.shape
        assert np.array_equal(patient.affine, truth.affine)
        assert set(np.unique(np.asarray(truth.dataobj))) == {0, 1}
        assert patient.header.get_xyzt_units()[0] == "mm"


def test_scans_of_a_larger_cohort_of_before_are_not_left_among_the_normal_ones(tmp_path: Path) -> None:
    write_cohort(tmp_path, 3, (), shape=SHAPE)
    before = (tmp_path / "normal" / "normal_01.nii.gz").read_bytes()
    with pytest.raises(SettingError, match=r"those of 2 normal scans, found 1 others \(normal_03.nii.gz"):
        write_cohort(tmp_path, 2, (), seed=1, shape=SHAPE)
    assert (tmp_path / "normal" / "normal_01.nii.gz").read_bytes() == before
    assert len(write_cohort(tmp_path, 4, (), shape=SHAPE).normal) == 4


def test_reading_back_gives_the_phantom(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path, 1, (), seed=2, shape=SHAPE)
    read, made = read_volume(cohort.normal[0]), make_normal(2000, SHAPE)
    assert np.array_equal(read.values, made.values)
    np.testing.assert_allclose(read.geometry.affine, made.geometry.affine, atol=1e-4)


def test_seeds_and_kinds_give_different_subjects(tmp_path: Path) -> None:
    first = write_cohort(tmp_path / "a", 2, ("dark", "bright"), seed=0, shape=SHAPE)
    again = write_cohort(tmp_path / "b", 1, ("bright",), seed=0, shape=SHAPE)
    other = write_cohort(tmp_path / "c", 1, ("bright",), seed=1, shape=SHAPE)

    def values(path: Path) -> np.ndarray:
        return read_volume(path).values

    assert not np.array_equal(values(first.normal[0]), values(first.normal[1]))
    assert np.array_equal(values(first.normal[0]), values(again.normal[0]))
    assert np.array_equal(values(first.patients["bright"]), values(again.patients["bright"]))
    assert not np.array_equal(values(again.normal[0]), values(other.normal[0]))


def test_progress_is_told_and_may_cancel(tmp_path: Path) -> None:
    events: list[ProgressEvent] = []
    write_cohort(tmp_path / "a", 2, ("dark",), shape=SHAPE, progress=events.append)
    assert [(event.done, event.total) for event in events] == [(1, 3), (2, 3), (3, 3)]

    def cancel(event: ProgressEvent) -> None:
        raise Cancelled("Stopped.")

    with pytest.raises(Cancelled):
        write_cohort(tmp_path / "b", 2, ("dark",), shape=SHAPE, progress=cancel)
    assert sorted(path.name for path in (tmp_path / "b").rglob("*") if path.is_file()) == ["normal_01.nii.gz"]


def test_wrong_parameters_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    for n_normal, kinds in ((0, KINDS), (1000, KINDS), (1, ("green",))):
        with pytest.raises(SettingError):
            write_cohort(tmp_path / "none", n_normal, kinds, shape=SHAPE)
    assert not (tmp_path / "none").exists()
