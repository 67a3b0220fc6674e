"""Which scans are of one person: by BIDS names, by DICOM's PatientID, by folders."""

from __future__ import annotations

import logging
from itertools import product
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from dicom_files import PATIENT_TAGS, ct_values, save_all, series_datasets
from napari_dinoad.images.dicom import patient as dicom_patient
from napari_dinoad.images.dicom.patient import patient_mark
from napari_dinoad.images.discovery import discover_scans
from napari_dinoad.images.persons import Persons, find_persons, of_persons
from napari_dinoad.images.scan_file import ScanFile


def persons_of(names, how="auto", folder=Path("/data/sub-7/normals")):
    return find_persons([ScanFile.of_file(folder / name) for name in names], folder, how)


def save_series(folder, patient, seed=0, **tags):
    values = ct_values(3, seed=seed)
    return save_all(series_datasets(values, PatientID=patient, **tags), folder, np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("names", "of_scan"),
    [
        (["a.nii.gz", "b.nii.gz", "c.nii.gz"], (0, 1, 2)),
        (
            ["sub-01_ses-1_T1w.nii.gz", "sub-02_T1w.nii.gz", "sub-01_ses-2_T1w.nii.gz", "sub-03.nii"],
            (0, 1, 0, 2),
        ),
        (
            ["sub-01/ses-1/anat/T1w.nii.gz", "sub-01/ses-2/anat/T1w.nii.gz", "sub-02/x.nii", "y.nii"],
            (0, 0, 1, 2),
        ),
        (["sub-1/sub-1_T1w.nii", "sub-10/sub-10_T1w.nii", "sub-2/a.nii", "flat/sub-1_T2w.nii"], (0, 1, 2, 0)),
        (
            ["first/sub-1_a.nii", "second/sub-1_a.nii", "first/sub-2_a.nii", "x/sub-3_ses-1/a.nii"],
            (0, 0, 1, 2),
        ),
        (["no_sub-1_a.nii", "no_sub-1_b.nii", "sub-/a.nii", "sub-/b.nii", "asub-1.nii"], (0, 1, 2, 3, 4)),
    ],
)
def test_bids_names(names, of_scan):
    persons = persons_of(names)
    assert persons.of_scan == of_scan
    assert persons.n == max(of_scan) + 1
    assert persons.note == ""


@pytest.mark.parametrize(
    "layout",
    [
        "{1}/{0}.nii.gz",
        "{0}_{1}.nii.gz",
        "{0}/{0}-{1}.nii.gz",
        "{0}/{1}.nii.gz",
        "X-{1}/{0}-{1}.nii.gz",
        "{1}/{0}_{1}.nii.gz",
    ],
)
def test_sequences_of_a_case_are_of_one_person(layout):
    """They were held out from one another's model, and the fit asked whether they are of one person."""
    names = [layout.format(case, sequence) for case in "abc" for sequence in ("t1", "flair")]
    assert persons_of(names) == Persons((0, 0, 1, 1, 2, 2))
    assert persons_of(
        [f"imagesTr/{name}" for name in ("a_0000.nii", "a_0001.nii", "b_0000.nii", "c_0000.nii")]
    ) == (Persons((0, 0, 1, 2)))
    assert persons_of(names, "each-scan").n == 6


def test_scans_that_freesurfer_was_given_are_of_the_person_that_it_made_others_of():
    """Each was a person of its own."""
    names = [
        f"{person}/mri/{name}.mgz" for person in "abc" for name in ("T1", "brain", "orig/001", "orig/002")
    ]
    assert persons_of(names) == Persons((0,) * 4 + (1,) * 4 + (2,) * 4)
    alone = persons_of([f"{person}/mri/orig/{name}.mgz" for person in "abc" for name in ("001", "002")])
    assert alone == Persons((0, 0, 1, 1, 2, 2))


def test_one_sequence_of_each_case_may_be_of_persons_with_several_cases():
    """As time points in folders."""
    persons = persons_of([f"{case}/visit_{n}_t1.nii.gz" for case in "abc" for n in (1, 2)])
    assert persons.of_scan == (0, 1, 2, 3, 4, 5)
    assert "6 normal scans lie in 3 folders" in persons.note


def test_the_chosen_folder_says_nothing(tmp_path, monkeypatch):
    """Also when it was named in another way than its files are."""
    folder = tmp_path / "sub-7"
    folder.mkdir()
    for name in ("a", "b", "c"):
        Image.fromarray(np.eye(40, dtype=np.uint8)).save(folder / f"{name}.png")
    monkeypatch.chdir(folder)
    for named in (folder, Path(), folder / ".." / "sub-7"):
        found = discover_scans(named)
        assert find_persons(found.scans, found.folder).of_scan == (0, 1, 2)


def test_the_first_folder_is_the_person_when_asked():
    names = ["p1/a.nii", "p1/x/b.nii", "p2/a.nii", "p3/sub-1_a.nii", "sub-1_b.nii", "c.nii"]
    assert persons_of(names, "folder").of_scan == (0, 0, 1, 2, 3, 4)
    assert persons_of(names, "each-scan").of_scan == (0, 1, 2, 3, 4, 5)


@pytest.mark.parametrize(
    ("folder", "names"),
    [
        ("study", ["rawdata/{}/a.nii", "rawdata/{}/ses-1/b.nii"]),
        ("study", ["sourcedata/{}/a.nii", "derivatives/prep/{}/b.nii"]),
        ("derivatives", ["prep/{}/a.nii", "other/{}/b.nii"]),
    ],
)
def test_folders_of_kinds_of_data_are_no_persons(folder, names):
    persons = ("p1", "p2", "p3")
    found = persons_of(
        [name.format(person) for name in names for person in persons], "folder", Path("/data") / folder
    )
    assert found.of_scan == (0, 1, 2, 0, 1, 2)
    lying_there = ["rawdata/a.nii", "rawdata/b.nii", "derivatives/prep/c.nii", "derivatives/d.nii"]
    assert persons_of(lying_there, "folder").of_scan == (0, 1, 2, 3)


@pytest.mark.parametrize(
    ("names", "how", "told"),
    [
        (["sub-1_a.nii", "sub-1_b.nii", "sub-1_c.nii", "sub-1_d.nii"], "auto", "of a single person"),
        (["sub-1_a.nii", "sub-1_b.nii", "sub-2_c.nii"], "auto", "of only 2 persons"),
        (["north/a.nii", "north/b.nii", "south/a.nii"], "folder", "By their folders the 3 normal scans"),
    ],
)
def test_too_few_persons_are_told_and_each_scan_counts(names, how, told):
    persons = persons_of(names, how)
    assert persons.of_scan == tuple(range(len(names)))
    assert told in persons.note
    assert "each scan counts as a person of its own" in persons.note


def test_two_scans_of_two_persons_are_nothing_to_tell():
    assert persons_of(["sub-1.nii", "sub-2.nii"]) == Persons((0, 1))


def test_folders_that_may_be_persons_are_asked_for():
    """72 B-scans in six folders counted as 72 persons, unsaid: a p-value of 1/73 was claimed of six eyes."""
    names = [f"eye_{eye}/{slice_}.png" for eye in range(6) for slice_ in range(12)]
    persons = persons_of(names)
    assert persons.of_scan == tuple(range(72))
    assert "72 normal scans lie in 6 folders" in persons.note
    assert "--persons folder" in persons.note and "--stack-folders" in persons.note
    assert persons_of(names, "folder") == Persons.of(name.split("/")[0] for name in names)
    assert persons_of(names, "each-scan").note == "", "that is what was asked for"


def test_folders_of_persons_in_a_folder_that_holds_all_are_asked_for(tmp_path):
    """As ADNI comes: two visits of three persons counted as six persons, unsaid."""
    names = [f"ADNI/{person}/MPRAGE/{visit}/a.nii" for person in "abc" for visit in (1, 2)]
    persons = persons_of(names, folder=tmp_path)
    assert "6 normal scans lie in 3 folders" in persons.note
    assert "fit ADNI with 'dinoad fit --persons folder'" in persons.note
    below = [name.removeprefix("ADNI/") for name in names]
    assert persons_of(below, "folder", tmp_path / "ADNI") == Persons((0, 0, 1, 1, 2, 2))
    assert "too low: fit with 'dinoad" in persons_of(below, folder=tmp_path / "ADNI").note
    apart = [*names, "other/x.nii"]
    assert persons_of(apart, folder=tmp_path).note == "", "then its subfolders are no persons of one data set"


@pytest.mark.parametrize(
    "names",
    [
        [f"eye_{eye}/a.png" for eye in range(6)], [f"good/{n}.png" for n in range(9)], [f"{n}.png" for n in range(9)],
        ["north/a.png", "north/b.png", "south/a.png", "south/b.png"],
        [f"site_{site}/sub-{site}{n}_T1w.nii.gz" for site in range(4) for n in range(5)],
    ],
)  # fmt: skip
def test_folders_that_are_hardly_persons_are_nothing_to_tell(names):
    assert persons_of(names).note == ""


NUMBERED = [f"{name}_{number:02}.png" for name in ("anna", "ben", "p1") for number in (1, 2, 3)]


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("{0}/{2}/{1}.png", "lie in 3 folders"),
        ("{0}/{0}_{1}_{2}.png", "lie in 3 folders"),
        ("{2}/{0}_{1}.png", "have 3 names that are numbered at their end (as a_0)"),
        ("{0}_{1}_{2}.png", "have 3 names that are numbered at their end (as a_0_T1)"),
    ],
)
def test_whose_cases_of_several_sequences_are_is_asked_for(name, what):
    """Slices of three persons in two sequences counted as twelve persons, unsaid."""
    persons = persons_of([name.format(*one) for one in product("abc", range(4), ("T1", "T2"))])
    assert persons.n == 12
    assert persons.note.startswith(f"12 cases of normal scans {what}")
    how = "name" if "numbered" in what else "folder"
    assert persons_of([name.format(*one) for one in product("abc", range(4), ("T1", "T2"))], how).n == 3
    one_each = persons_of([name.format(person, 0, kind) for person in "abc" for kind in ("T1", "T2")])
    assert one_each == Persons((0, 0, 1, 1, 2, 2))


@pytest.mark.parametrize("name", ["{}_T1{}", "{0}/T1{1}", "p{}{}"])
def test_scans_that_are_there_once_more_are_asked_about(name):
    """With their skull and without, as FSL and HD-BET leave them: each was two persons, unsaid."""
    names = [f"{name.format(n, end)}.nii.gz" for n in range(4) for end in ("", "_brain")]
    note = persons_of(names).note
    assert note.startswith("4 normal scans have the name of another one and more behind it (as ")
    assert "_brain of " in note
    assert persons_of([one for one in names if "_brain" in one]).note == ""
    assert persons_of(names[:4]).note == "", "too few to be a way of naming"


def test_numbered_names_that_may_be_persons_are_asked_for():
    """`anna_01.png, anna_02.png, ben_01.png` were as many persons, and nothing was said."""
    persons = persons_of(NUMBERED)
    assert persons.n == 9
    assert "9 normal scans have 3 names that are numbered at their end (as anna_01)" in persons.note
    assert "--persons name" in persons.note
    assert persons_of(NUMBERED, "each-scan").note == "", "that is what was asked for"


@pytest.mark.parametrize(
    "names",
    [
        [f"scan_{number}.nii" for number in range(40)],
        [f"{kind}_{number}.nii" for kind in ("left", "right") for number in range(20)],
        ["anna_1.png", "ben_1.png", "carla_1.png", "dora_1.png", "emil_1.png", "anna_2.png"],
        [f"{number}.png" for number in range(9)],
        [f"{letter}.png" for letter in "abcdefghi"],
    ],
    ids=["one name", "two names", "hardly any twice", "numbers alone", "no numbers"],
)
def test_numbers_that_hardly_count_a_persons_scans_are_nothing_to_tell(names):
    assert persons_of(names).note == ""


def test_the_name_before_a_number_is_the_person_when_asked():
    assert persons_of(NUMBERED, "name").of_scan == (0, 0, 0, 1, 1, 1, 2, 2, 2)
    by_windows = [f"{name} ({number}).png" for name in ("anna", "ben", "p1") for number in (1, 2, 3)]
    assert persons_of(by_windows, "name").of_scan == (0, 0, 0, 1, 1, 1, 2, 2, 2)
    names = ["anna01.nii", "anna-2.nii.gz", "b/anna_1.nii", "anna.nii", "7.nii", "8.nii", "sub-1_a.nii"]
    assert persons_of(names, "name").of_scan == (0, 0, 1, 2, 3, 4, 5)
    assert (
        "By their names the 2 normal scans are of a single person"
        in persons_of(["a_1.png", "a_2.png"], "name").note
    )


def test_numbers_before_a_sequence_and_in_folders_of_one_scan_are_of_the_name():
    """As time points of BraTS: a person's first and second scan were held out from one another's model."""
    cases = [f"BraTS-GLI-0000{person}-{visit:03}" for person in range(3) for visit in range(2)]
    names = [f"{case}/{case}-t1n.nii.gz" for case in cases]
    assert persons_of(names, "name").of_scan == (0, 0, 1, 1, 2, 2)
    assert "'dinoad fit --persons name'" in persons_of(names).note
    single = [f"BraTS2021_0000{n}/BraTS2021_0000{n}_t1.nii.gz" for n in range(6)]
    assert persons_of(single) == Persons((0, 1, 2, 3, 4, 5))


def test_folders_of_scans_whose_persons_are_told_otherwise_are_not_asked_for(tmp_path):
    """Sites and years, of patients whose PatientID tells them apart: the fit said that p-values may be too low."""
    for number in range(9):
        save_series(tmp_path / f"site_{number // 3}" / f"scan_{number}", f"P-{number}", number)
    scans = discover_scans(tmp_path).scans
    assert find_persons(scans, tmp_path) == Persons(tuple(range(9)))
    for number in range(9, 15):
        save_series(tmp_path / f"site_{number // 3}" / f"scan_{number}", "", number)
    assert find_persons(discover_scans(tmp_path).scans, tmp_path).note == "", "two folders are hardly persons"
    for number in range(15, 18):
        save_series(tmp_path / f"site_{number // 3}" / f"scan_{number}", "", number)
    told = find_persons(discover_scans(tmp_path).scans, tmp_path).note
    assert "9 normal scans lie in 3 folders" in told, "of those that nothing tells"


def test_dicom_series_of_one_patient(tmp_path):
    for number, patient in enumerate(["A-1", "B-2", "A-1", "", "C-3 ", "C-3", ""]):
        save_series(tmp_path / f"scan_{number}", patient, number)
    found = discover_scans(tmp_path)
    assert len(found.scans) == 7
    assert find_persons(found.scans, tmp_path).of_scan == (0, 1, 0, 2, 3, 3, 4), (
        "padding is no part of a number"
    )


def test_names_say_more_than_headers(tmp_path):
    for label in "123":
        for session in "ab":
            save_series(tmp_path / f"sub-{label}" / session, "ANONYMOUS", ord(session) + int(label))
    assert find_persons(discover_scans(tmp_path).scans, tmp_path).of_scan == (0, 0, 1, 1, 2, 2)


def test_series_in_one_folder(tmp_path):
    for number, patient in enumerate(["A", "B", "C", "A"]):
        save_series(tmp_path / "all", patient, number, SeriesNumber=number)
    persons = find_persons(discover_scans(tmp_path).scans, tmp_path)
    assert sorted(np.bincount(persons.of_scan)) == [1, 1, 2]


def test_one_number_for_all_patients_is_anonymisation(tmp_path):
    for number in range(5):
        save_series(tmp_path / f"scan_{number}", "ANONYMOUS", number)
    persons = find_persons(discover_scans(tmp_path).scans, tmp_path)
    assert persons.of_scan == (0, 1, 2, 3, 4)
    assert "the 5 normal scans are of a single person" in persons.note
    assert "ANONYMOUS" not in persons.note


def test_a_mark_says_nothing_outside_of_its_process(tmp_path, monkeypatch):
    (path, *_) = save_series(tmp_path, "A-1")
    mark = patient_mark(path)
    assert b"A-1" not in mark
    assert patient_mark(path) == mark
    monkeypatch.setattr(dicom_patient, "_SALT", b"another process")
    assert patient_mark(path) != mark


@pytest.mark.parametrize("cut", [0, 100, 140, 400, 700])
def test_a_file_that_cannot_be_read_names_no_patient(tmp_path, cut, caplog, recwarn):
    caplog.set_level(logging.DEBUG)
    (path, *_) = save_series(tmp_path, PATIENT_TAGS["PatientID"])
    path.write_bytes(path.read_bytes()[:cut])
    mark = patient_mark(path)
    assert mark is None or len(mark) == 16
    assert PATIENT_TAGS["PatientID"] not in caplog.text + "".join(str(w.message) for w in recwarn)
    path.unlink()
    assert patient_mark(path) is None


def test_odd_numbers_are_compared_as_they_lie_in_the_file(tmp_path, recwarn):
    odd = "é" * 40
    (one, *_) = save_series(tmp_path / "1", odd, SpecificCharacterSet="ISO_IR 192")
    (other, *_) = save_series(tmp_path / "2", odd, 1, SpecificCharacterSet="ISO_IR 192")
    recwarn.clear()
    assert patient_mark(one) == patient_mark(other) is not None
    assert not [str(w.message) for w in recwarn if "é" in str(w.message)]


def test_files_without_preamble_name_their_patient_too(tmp_path):
    """They are scans like others; two of one patient counted as two persons."""
    marks = []
    for number, dataset in enumerate(series_datasets(ct_values(n=2), PatientID="A-1")):
        path = save_all([dataset], tmp_path / str(number))[0]
        marks.append(patient_mark(path))
        del dataset.file_meta
        pydicom.dcmwrite(path, dataset, implicit_vr=True, little_endian=True)
        assert path.read_bytes()[128:132] != b"DICM"
        marks.append(patient_mark(path))
    assert len(set(marks)) == 1
    assert None not in marks


def test_in_words():
    assert of_persons(24, 12) == " of 12 persons"
    assert of_persons(24, 24) == of_persons(24, None) == ""
