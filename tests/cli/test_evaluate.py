"""`dinoad evaluate` from files to figures."""

from __future__ import annotations

import json
import os
import re

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image

from napari_dinoad.cli.main import main
from napari_dinoad.errors import DinoadError
from segmentation_files import needed_tags, save_seg
from small_heads import AFFINE, lesion_of_head, make_head, save_dicom_head, save_head


@pytest.fixture
def dataset(tmp_path):
    """Two heads with a lesion and their masks, and a normal one."""
    folder = tmp_path / "heads"
    for name in ("patients", "truth", "normal"):
        (folder / name).mkdir(parents=True)
    for seed in (100, 101):
        save_head(folder / "patients" / f"p{seed}.nii.gz", seed, lesion=True)
        truth = lesion_of_head().astype(np.uint8)
        nib.save(nib.Nifti1Image(truth, AFFINE), folder / "truth" / f"p{seed}_mask.nii.gz")
    save_head(folder / "normal" / "n.nii.gz", 50)
    return folder


def test_figures_of_a_model(model_path, dataset, tmp_path, capsys):
    out = tmp_path / "figures.json"
    assert main(["evaluate", str(dataset), "--model", str(model_path), "--json", "--out", str(out)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert json.loads(out.read_text()) == document
    assert (document["n_test"], document["n_test_abnormal"], document["layout"]) == (3, 2, "folder")
    assert document["dataset"] == "heads"
    assert document["pixel_auroc"] > 0.9
    assert document["aupro"] > 0.5
    assert document["pixel_aupr"] > 10 * document["abnormal_share"]
    assert document["image_auroc_top"] == 1.0
    assert set(document["dice_at_fpr"]) == {"0.01", "0.05", "0.1"}
    assert [scan["is_abnormal"] for scan in document["scans"]].count(True) == 2
    assert all(scan["pixel_auroc"] > 0.9 for scan in document["scans"] if scan["is_abnormal"])
    assert document["failed"] == document["unmatched_masks"] == document["unused"] == []


def test_scans_that_the_model_has_seen_are_counted_and_told(model_path, dataset, normal_folder, capsys):
    command = ["evaluate", str(dataset), "--model", str(model_path), "--json"]
    assert main(command) == 0
    told = capsys.readouterr()
    document = json.loads(told.out)
    assert (document["n_behind_model"], document["n_unlike"], told.err) == (0, 0, "")
    for path in sorted(normal_folder.glob("*.nii.gz"))[:2]:
        nib.save(nib.load(path), dataset / "normal" / f"again_{path.name.removesuffix('.gz')}")
    assert main(command) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["n_behind_model"] == 2
    assert "dinoad: 2 of 5 scans are behind the model, which has seen them" in told.err


def test_scans_unlike_the_normal_ones_are_counted_and_the_first_is_told(model_path, dataset, capsys):
    """All scans of another contrast had low figures, and nothing said why."""
    for path in sorted(dataset.glob("patients/*.nii.gz")):
        head = nib.load(path)
        values = head.get_fdata()
        nib.save(nib.Nifti1Image(np.where(values > 20, 2000 - values, 0), head.affine), path)
    assert main(["evaluate", str(dataset), "--model", str(model_path), "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["n_unlike"] == 2
    assert "dinoad: 2 of 3 scans are unlike the normal scans behind the model, which can make" in told.err
    assert "the first, p100: Another contrast than the normal scans" in told.err


def test_slices_are_not_unlike_the_volumes_behind_a_model(model_path, tmp_path, capsys):
    """It was said of all that this makes the figures worse, and what did was not."""
    lesion = lesion_of_head()[:, :, 8]
    for name, values in (("img/p", make_head(100)[:, :, 12]), ("mask/p", 255 * lesion)):
        path = tmp_path / f"{name}.png"
        path.parent.mkdir()
        Image.fromarray(values.clip(0, 255).astype(np.uint8).T).save(path)
    assert main(["evaluate", str(tmp_path), "--model", str(model_path), "--json"]) == 0
    told = capsys.readouterr()
    assert (json.loads(told.out)["n_unlike"], told.err) == (0, "")


def test_without_masks_figures_are_of_whole_images(model_path, dataset, capsys):
    for mask in (dataset / "truth").iterdir():
        mask.unlink()
    assert main(["evaluate", str(dataset), "--model", str(model_path)]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    told = dict(re.findall(r"^  (\S.*?)  +(\S+)", captured.out, re.MULTILINE))
    assert "2 abnormal; no masks, figures of whole images alone; protocol native" in captured.out
    assert told["pixel AUROC"] == told["pixel AUPR"] == told["best Dice"] == told["Dice at 1 % FPR"] == "-"
    assert told["image AUROC, max"] == "1.0000"


def test_patients_whose_scans_have_one_name_keep_their_own_masks(model_path, dataset, capsys):
    for scan in (dataset / "patients").iterdir():
        patient = dataset / scan.name.removesuffix(".nii.gz")
        for path in (scan, dataset / "truth" / f"{patient.name}_mask.nii.gz"):
            (patient / path.parent.name).mkdir(parents=True, exist_ok=True)
            path.rename(patient / path.parent.name / "T1w.nii.gz")
    strays = [dataset / f"p{number}" / "truth" / "T1w.nii.gz" for number in range(991, 998)]
    for stray in strays:
        stray.parent.mkdir(parents=True)
        stray.write_bytes((dataset / "p100" / "truth" / "T1w.nii.gz").read_bytes())
    assert main(["evaluate", str(dataset), "--model", str(model_path), "--json"]) == 0
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert (document["n_test"], document["n_test_abnormal"]) == (3, 2)
    assert document["unmatched_masks"] == list(map(str, strays))
    (line,) = [line for line in captured.err.splitlines() if "a mask that belongs to no scan" in line]
    assert line.endswith(f": {', '.join(map(str, strays[:5]))} and 2 more (--json lists all)")


def test_dicom_series_with_their_segmentations_have_the_figures_of_nifti(
    model_path, dataset, tmp_path, capsys
):
    """A hospital's export: the series of all patients, and the segmentations in a folder of their own."""
    export = tmp_path / "export"
    (export / "contours").mkdir(parents=True)
    marks = lesion_of_head().transpose(2, 1, 0)[:, ::-1].astype(np.uint8)
    for number, seed in enumerate((100, 101)):
        paths = save_dicom_head(export / str(seed), seed, lesion=True, **needed_tags())
        save_seg(export / "contours" / f"{number}.dcm", [pydicom.dcmread(path) for path in paths], marks)
    save_dicom_head(export / "normal" / "50", 50)
    figures = {}
    for folder in (dataset, export):
        assert main(["evaluate", str(folder), "--model", str(model_path), "--json"]) == 0
        captured = capsys.readouterr()
        figures[folder] = json.loads(captured.out)
        assert captured.err == ""
    ours, expected = figures[export], figures[dataset]
    for name in ("n_test", "n_test_abnormal", "n_pixels", "abnormal_share", "image_auroc_top"):
        assert ours[name] == expected[name]
    # Values of DICOM are whole numbers.
    for name in ("pixel_auroc", "aupro", "best_dice"):
        assert ours[name] == pytest.approx(expected[name], abs=0.03)


def test_of_dicom_studies_the_series_is_evaluated_that_is_chosen(model_path, tmp_path, capsys):
    """With the segmentations that name it, and those series alone whose study is not of a patient."""
    marks = lesion_of_head().transpose(2, 1, 0)[:, ::-1].astype(np.uint8)
    for seed, place in ((100, "patient"), (50, "normal/control")):
        tags = needed_tags()
        for number, description in ((2, "T1 mprage"), (4, "FLAIR")):
            folder = tmp_path / place / str(number)
            named = {"SeriesNumber": number, "SeriesDescription": description}
            paths = save_dicom_head(folder, seed + number, lesion=place == "patient", **(tags | named))
            if (place, number) == ("patient", 4):
                save_seg(tmp_path / "drawn.dcm", [pydicom.dcmread(path) for path in paths], marks)
    command = ["evaluate", str(tmp_path), "--model", str(model_path), "--json"]
    assert main([*command, "--series", "flair"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [(scan["name"], scan["is_abnormal"]) for scan in document["scans"]] == [("4", False), ("4", True)]
    assert document["pixel_auroc"] > 0.9
    assert {item["reason"] for item in document["unused"]} == {"not the series chosen"}
    assert main([*command, "--series", "T1*"]) == 2
    assert "Masks of series that are not chosen: 1." in capsys.readouterr().err


def test_several_series_are_told(model_path, dataset, capsys):
    """Of patients and normal persons alike: all were scored by a model of one kind, without a word."""
    for number, sequence in enumerate(("t1", "t2")):
        save_head(dataset / "normal" / f"n_{sequence}.nii.gz", 60 + number)
    assert main(["evaluate", str(dataset), "--model", str(model_path), "--series", "t1"]) == 2
    assert "found 1 scans and no mask" in capsys.readouterr().err
    assert main(["evaluate", str(dataset), "--model", str(model_path)]) == 0
    assert capsys.readouterr().err == (
        "dinoad: By their names the scans are 1 × T1, 1 × T2, 3 × without a sequence: choose those of the model's "
        "kind with --series\n"
    )


def test_of_dicom_studies_several_series_are_told(model_path, dataset, capsys):
    tags = needed_tags()
    for number in (1, 2):
        save_dicom_head(dataset / "normal" / "d" / str(number), 70 + number, SeriesNumber=number, **tags)
    assert main(["evaluate", str(dataset), "--model", str(model_path)]) == 0
    assert "dinoad: 1 of the 1 studies holds several series: choose those" in capsys.readouterr().err


def test_scans_outside_the_splits_are_named(model_path, dataset, capsys):
    for name, split in (("patients", "test"), ("truth", "test_label"), ("normal", "train")):
        (dataset / name).rename(dataset / split)
    for number in range(7):
        save_head(dataset / f"{number}.nii.gz", number)
    assert main(["evaluate", str(dataset), "--model", str(model_path), "--json"]) == 0
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert (document["layout"], document["n_test"]) == ("bmad", 2)
    reasons = {item["scan"]: item["reason"] for item in document["unused"]}
    assert len(reasons) == 8
    assert reasons[str(dataset / "train" / "n.nii.gz")] == "in the training split"
    assert reasons[str(dataset / "6.nii.gz")] == "outside the folders train, valid and test"
    train, outside = captured.err.strip().splitlines()
    assert str(dataset / "train" / "n.nii.gz") in train
    assert str(dataset / "4.nii.gz") in outside
    assert outside.endswith("and 2 more (--json lists all)")


def test_what_is_to_be_known_of_masks_is_told_once(model_path, dataset, capsys):
    for path in (dataset / "truth").iterdir():
        mask = nib.load(path)
        nib.save(nib.Nifti1Image(1 - np.asarray(mask.dataobj), mask.affine), path)
    assert main(["evaluate", str(dataset), "--model", str(model_path), "--json"]) == 0
    captured = capsys.readouterr()
    scans = [str(dataset / "patients" / f"p{seed}.nii.gz") for seed in (100, 101)]
    notes = json.loads(captured.out)["notes"]
    assert [item["scan"] for item in notes] == scans
    assert all(item["note"].startswith("More than half of its pixels") for item in notes)
    (line,) = captured.err.strip().splitlines()
    assert line.endswith(": " + ", ".join(scans))


def test_scans_that_count_as_normal_since_they_have_no_mask_are_told(model_path, dataset, capsys):
    """One whose mask is called otherwise was a normal one, silently; those in a folder of normals need no mask."""
    for number in (51, 52):
        save_head(dataset / f"{number}.nii.gz", number)
    assert main(["evaluate", str(dataset), "--model", str(model_path), "--json"]) == 0
    captured = capsys.readouterr()
    told = {item["scan"]: item["note"] for item in json.loads(captured.out)["notes"]}
    paths = [str(dataset / f"{number}.nii.gz") for number in (51, 52)]
    assert told == dict.fromkeys(
        paths, "Without a mask, and no folder says of which class it is: counted as normal."
    )
    assert captured.err == (
        "dinoad: Without a mask, and no folder says of which class it is: counted as normal: "
        f"{', '.join(paths)}\n"
    )


def test_a_scan_that_cannot_be_used_is_exit_code_2_and_the_others_count(model_path, dataset, capsys):
    (dataset / "patients" / "p100.nii.gz").write_text("no scan")
    assert main(["evaluate", str(dataset), "--model", str(model_path)]) == 2
    captured = capsys.readouterr()
    assert "p100.nii.gz" in captured.err
    assert "2 test scans, 1 abnormal" in captured.out
    assert "pixel AUROC" in captured.out


def test_what_a_killed_run_left_of_its_figures_goes(model_path, dataset, tmp_path):
    left = tmp_path / ".dinoad-0123456789abcdef.json"
    left.touch()
    os.utime(left, (0, 0))
    out = ["--out", str(tmp_path / "figures.json")]
    assert main(["evaluate", str(dataset), "--model", str(model_path), *out]) == 0
    assert not left.exists()


@pytest.mark.parametrize("out", ["nowhere/f.json", "/sys/f.json", "."])
def test_where_figures_cannot_be_written_nothing_is_scored(dataset, tmp_path, monkeypatch, capsys, out):
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", str(dataset), "--model", "none.dinoad", "--out", out]) == 2
    captured = capsys.readouterr()
    assert "--out: Cannot write" in captured.err
    assert captured.out == ""


def test_figures_are_printed_though_the_disk_is_full_by_then(
    model_path, dataset, tmp_path, monkeypatch, capsys
):
    def fail(path, document):
        raise DinoadError(f"Cannot write {path}")

    monkeypatch.setattr("napari_dinoad.cli.evaluate.write_json", fail)
    out = tmp_path / "figures.json"
    assert main(["evaluate", str(dataset), "--model", str(model_path), "--out", str(out)]) == 2
    captured = capsys.readouterr()
    assert "Cannot write" in captured.err
    assert "pixel AUROC" in captured.out
    assert main(["evaluate", str(dataset), "--model", str(model_path), "--out", str(out), "--json"]) == 2
    assert "pixel_auroc" in json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--protocol", "ar240"], "expected 2D images"), (["--layout", "bmad"], "expected split folders")],
)
def test_wrong_choices_are_one_line(model_path, dataset, capsys, arguments, message):
    assert main(["evaluate", str(dataset), "--model", str(model_path), *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert len(captured.err.strip().splitlines()) == 1
    assert captured.out == ""
