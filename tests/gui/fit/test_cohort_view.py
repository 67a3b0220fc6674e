"""What is said of a folder's persons before and after a fit, and of those behind a model."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from napari_dinoad import NormativeModel
from napari_dinoad.backbones.registry import find_backbone
from napari_dinoad.gui.find.result import scan_level_words
from napari_dinoad.gui.fit.cohort_view import _spacings, discovery_in_words, outcome_in_words
from napari_dinoad.gui.fit.fit_costs import fit_duration_in_words
from napari_dinoad.gui.models.model_library import read_model_summary
from napari_dinoad.gui.parts.parts import without_options
from napari_dinoad.gui.work.jobs import DetectOutcome, DiscoverJob, FitOutcome
from napari_dinoad.images.discovery import discover_scans
from napari_dinoad.images.scan_file import ScanFile
from napari_dinoad.settings import ReadSettings


def listed(folder, names):
    for number, name in enumerate(names):
        pixels = np.full((40, 40), number, np.uint8)
        pixels[5:30, 5:30] = 200
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return discovery_in_words(DiscoverJob(folder)(SimpleNamespace(progress=None)))


def test_a_size_is_the_most_frequent_only_where_some_scans_share_it(tmp_path):
    for name, length in (("a", 40), ("b", 50), ("c", 60)):
        Image.fromarray(np.eye(length, dtype=np.uint8)).save(tmp_path / f"{name}.png")
    found = DiscoverJob(tmp_path)(SimpleNamespace(progress=None))
    assert re.search(r", 3 sizes \(one is \d0 × \d0\)\.", discovery_in_words(found))
    Image.fromarray(np.eye(50, dtype=np.uint8)[::-1]).save(tmp_path / "d.png")
    found = DiscoverJob(tmp_path)(SimpleNamespace(progress=None))
    assert ", 3 sizes (most often 50 × 50)." in discovery_in_words(found)


def test_why_no_scan_of_a_folder_can_be_used(tmp_path):
    """All was "no scan was found": a folder of 4D images, and a word of the series where its whole name is meant."""
    assert discovery_in_words(discover_scans(tmp_path)) == "No scan was found in this folder."
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 6, 2), np.float32), np.eye(4)), tmp_path / "bold.nii.gz")
    words = discovery_in_words(discover_scans(tmp_path))
    assert words.startswith(
        "No scan in this folder can be used. The first: a series of 2 frames; expected one volume."
    )
    assert "--" not in words
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 6), np.float32), np.eye(4)), tmp_path / "a_mprage_T1w.nii.gz")
    words = discovery_in_words(discover_scans(tmp_path, ReadSettings(series="mprage")))
    assert words == "No scan of this series was found in this folder. A part of a name is meant by *part*."


def test_persons_are_counted_in_the_listing(tmp_path):
    words = listed(tmp_path, [f"sub-{person}_ses-{session}" for person in range(3) for session in range(2)])
    assert words == (
        "Found 6 2D images, all 40 × 40. 6 scans of 3 persons: those of a person are held out together."
    )


def test_single_scans_are_no_persons_to_speak_of(tmp_path):
    assert listed(tmp_path, "abc") == "Found 3 2D images, all 40 × 40."


def test_a_grouping_that_makes_no_sense_is_told_before_the_fit(tmp_path):
    words = listed(tmp_path, ["sub-1_a", "sub-1_b", "sub-1_c"])
    assert "the 3 normal scans are of a single person" in words


@pytest.mark.parametrize(("n_persons", "words"), [(12, "24 scans of 12 persons, 240"), (24, "24 scans, 240")])
def test_the_end_of_a_fit(n_persons, words):
    outcome = FitOutcome(Path("m.dinoad"), 24, 240, (), (), 60.0, n_persons)
    assert words in outcome_in_words(outcome)


def test_a_model_of_several_scans_a_person(model_path):
    summary = read_model_summary(model_path)
    assert summary.n_persons == summary.n_scans == 4
    assert "4 normal scans ·" in summary.describe()
    assert "24 normal scans of 12 persons" in replace(summary, n_scans=24, n_persons=12).describe()


def test_a_model_says_how_many_scans_the_sentence_about_the_whole_scan_is_about(model_path):
    summary = read_model_summary(model_path)
    assert summary.n_compared == NormativeModel.load(model_path).calibration.n_scans == 4
    assert "compar" not in summary.describe()
    assert (
        "24 normal scans, 7 to compare with ·"
        in replace(summary, n_scans=24, n_persons=24, n_compared=7).describe()
    )


def test_voxel_sizes_beyond_the_third_are_counted():
    scans = [
        ScanFile(Path(f"{i}.nii"), "volume", (9, 9, 9), (size,) * 3) for i, size in enumerate((1, 2, 3, 4, 5))
    ]
    assert _spacings(scans[:4]).endswith("; 1 other size")
    assert _spacings(scans).endswith("; 2 other sizes")


def test_the_sentence_about_the_whole_scan():
    words = scan_level_words(DetectOutcome(0.2, 12, 12, 1.0, n_calibration_persons=4))
    assert "More unusual than all 12 normal scans of 4 persons" in words
    assert "the smallest that 4 persons allow" in words


def test_a_fit_on_few_persons_takes_folds():
    few, many = (
        fit_duration_in_words(n, 20_000, "dpmm", find_backbone("dinov2_vits14"), 448) for n in (50, 200)
    )
    assert few != many


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        (
            "a series of 10 frames; expected one volume. Choose one with --frame",
            "a series of 10 frames; expected one volume.",
        ),
        (
            "2 series; expected one. Choose with --series (number). Or split it.",
            "2 series; expected one. Or split it.",
        ),
        (
            "not a scan (neither DICOM nor one of .nii.gz, .nii)",
            "not a scan (neither DICOM nor one of .nii.gz, .nii)",
        ),
    ],
)
def test_windows_give_no_advice_on_options_of_the_command_line(reason, shown):
    assert without_options(reason) == shown
