from __future__ import annotations

from pathlib import Path

import pytest

from napari_dinoad.machine.file_names import SCAN_SUFFIXES, format_of, safe_stem, stem_of


@pytest.mark.parametrize(
    ("name", "stem"),
    [("a.nii.gz", "a"), ("a.b.NII", "a.b"), ("x.JPG", "x"), ("plain", "plain"), (".nii", ".nii")],
)
def test_stem(name, stem):
    assert stem_of(Path(name)) == stem


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("sub-01_T1w", "sub-01_T1w"),
        ("_a b.c [1] é µ 脳", "_a b.c [1] é µ 脳"),
        ("../up", "_up"),
        ("..\\..\\up", "_.._up"),
        ("/abs", "_abs"),
        ("C:\\x", "C__x"),
        ("T1/FLAIR", "T1_FLAIR"),
        ("**?", "___"),
        ("a\nb\x00\u2028", "a_b__"),
        (" .hidden", "hidden"),
        ("..", "scan"),
        ("", "scan"),
        ("head. .", "head"),
        ("head .nii", "head .nii"),
        ("CON", "CON_"),
        ("nul.x.y", "nul_.x.y"),
        ("Com1 .x", "Com1_ .x"),
        ("LPT³", "LPT³_"),
        ("aux .", "aux_"),
        ("conout$", "conout$_"),
        ("COM10", "COM10"),
        ("console", "console"),
        ("NUL_mask", "NUL_mask"),
    ],
)
def test_safe_stem_is_one_name_in_the_folder_and_stays_the_same(tmp_path, name, stem):
    assert safe_stem(name) == stem
    assert safe_stem(stem) == stem
    path = tmp_path / f"{stem}_anomaly.nii.gz"
    path.touch()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("letter", ["n", "脳"])
def test_long_stems_are_cut_and_stay_apart(tmp_path, letter):
    stems = {safe_stem(letter * 300 + end) for end in ("a", "b")}
    assert len(stems) == 2
    for stem in stems:
        (tmp_path / f"{stem}_anomaly.nii.gz").touch()


def test_the_format_is_said_by_the_ending_alone():
    formats = {suffix: format_of(Path(f"a{suffix.upper()}")) for suffix in SCAN_SUFFIXES}
    assert (
        formats.pop(".dcm")
        is formats.pop(".ima")
        is format_of(Path("nii"))
        is format_of(Path("a.nii.bz2"))
        is None
    )
    assert formats[".mgz"] == formats[".nii"] == formats[".nii.gz"] == "nifti"
    assert set(formats.values()) == {"nifti", "itk", "picture"}
