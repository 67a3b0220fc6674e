"""The command line as a user meets it: a process, its output, its exit code."""

from __future__ import annotations

import ast
import csv
import errno
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

from dicom_files import PATIENT_TAGS
from napari_dinoad.cli import score
from napari_dinoad.cli.fit import settings_from
from napari_dinoad.cli.main import main
from napari_dinoad.cli.output import ProgressBars
from napari_dinoad.cli.verbs import build_parser
from napari_dinoad.errors import Cancelled
from napari_dinoad.machine import file_lock
from napari_dinoad.machine.files import sha256_of_file
from napari_dinoad.pipeline.detection.lone_run import lone_run
from refused_files import forbid_removing_open_files
from small_heads import BAD_SCANS, add_bad_scans, save_dicom_head


def fit_arguments(folder, path):
    options = "--scorer memory-bank --preset mr-brain --resolution 160"
    return ["fit", str(folder), "--out", str(path), *options.split()]


def test_help_loads_neither_torch_nor_napari():
    verbs = ([], ["fit"], ["score"], ["evaluate"], ["merge"], ["info"], ["demo"], ["weights"], ["bench"])
    code = (
        "import sys; from napari_dinoad.cli.main import main\n"
        f"for verb in {verbs}:\n"
        "    try: main([*verb, '--help'])\n"
        "    except SystemExit as end: assert end.code == 0\n"
        "    loaded = {'torch', 'timm', 'napari', 'qtpy', 'distributed'} & set(sys.modules)\n"
        "    assert not loaded, (verb, loaded)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\nexample:\n") == len(verbs)


def test_importing_the_package_loads_neither_torch_nor_napari():
    code = (
        "import sys, napari_dinoad; from napari_dinoad import read_volume, FitSettings, discover_scans\n"
        "loaded = {'torch', 'timm', 'napari', 'qtpy'} & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_public_name_exists():
    import napari_dinoad

    for name in napari_dinoad.__all__:
        assert getattr(napari_dinoad, name) is not None
    with pytest.raises(AttributeError, match="no attribute"):
        _ = napari_dinoad.no_such_name


def test_type_checkers_know_every_public_name_and_where_it_comes_from():
    import napari_dinoad

    stub = ast.parse(Path(napari_dinoad.__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    typed = {alias.asname: node.module for node in imports for alias in node.names}
    assert typed == {name: f"napari_dinoad.{module}" for name, module in napari_dinoad._EXPORTS.items()}


@pytest.mark.parametrize(
    ("options", "method", "folds"),
    [("--folds 3", "cross", 3), ("--holdout 0.1", "split", 5), ("", "auto", 5)],
)
def test_how_persons_are_held_out_can_be_chosen(options, method, folds):
    parsed = build_parser().parse_args(["fit", "normals", "--out", "m.dinoad", *options.split()])
    calibration = settings_from(parsed).calibration
    assert (calibration.method, calibration.folds) == (method, folds)


def test_planes_and_scorers_together(normal_folder, patient_path, tmp_path, capsys):
    """No preset is named: the one that suits volumes is taken, in all planes."""
    model, out = tmp_path / "m.dinoad", tmp_path / "out"
    options = "--scorer memory-bank+dpmm --plane all --resolution 64 --holdout 0.2 --epochs 2 --json"
    assert main(["fit", str(normal_folder), "--out", str(model), *options.split()]) == 0
    card = json.loads(capsys.readouterr().out)["card"]
    assert card["scorer"] == "dpmm+memory-bank"
    assert card["planes"] == ["axial", "coronal", "sagittal"]
    assert card["preprocessing"]["preset"] == "mr-brain"
    assert main(["score", str(patient_path), "--model", str(model), "--out", str(out), "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)["scans"]
    assert result["p_value"] in (0.5, 1.0)
    source, written = nib.load(patient_path), nib.load(result["map"])
    assert written.shape == source.shape
    np.testing.assert_array_equal(written.affine, source.affine)


def test_score_writes_what_the_design_says(model_path, patient_path, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["score", str(patient_path), "--model", str(model_path), "--out", str(out), "--json"]
    assert main(arguments) == 0
    document = json.loads(capsys.readouterr().out)
    (scan,) = document["scans"]
    assert {path.name for path in out.iterdir()} == {
        "patient_anomaly.nii.gz",
        "patient_mask.nii.gz",
        "patient_regions.csv",
        "patient_report.html",
        "patient_report.json",
        "scored",
    }
    source, anomaly, mask = (nib.load(p) for p in (patient_path, scan["map"], scan["mask"]))
    for written in (anomaly, mask):
        assert written.shape == source.shape
        assert written.affine.tobytes() == source.affine.tobytes()
    assert anomaly.get_data_dtype() == np.float32
    assert mask.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(np.asarray(mask.dataobj) > 0, np.asarray(anomaly.dataobj) >= np.float32(2))
    assert scan["threshold_fpr"] == 0.01
    assert scan["n_regions"] == len(scan["regions"]) > 0
    assert set(scan["seconds"]) == {"prepare", "embed", "score", "map", "total"}
    first = scan["regions"][0]
    needed = {"label", "volume_mm3", "peak_neg_log10_p", "peak_ijk", "peak_mm", "centroid_mm"}
    assert needed <= set(first)
    np.testing.assert_allclose(first["peak_mm"], source.affine[:3] @ [*first["peak_ijk"], 1], atol=1e-3)
    with (out / "patient_regions.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == scan["n_regions"]
    report = (out / "patient_report.json").read_text()
    assert str(patient_path.parent) not in report
    assert "Research use only" in report


def test_save_chooses_the_outputs(model_path, patient_path, tmp_path):
    arguments = ["score", str(patient_path), "--model", str(model_path), "--out", str(tmp_path)]
    assert main([*arguments, "--save", "mask,picture"]) == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"patient_mask.nii.gz", "patient_picture.png", "scored"}


def test_the_model_file_is_hashed_only_where_scans_can_be_taken_over(
    model_path, patient_path, normal_folder, tmp_path, monkeypatch
):
    hashed = []

    def note(path):
        hashed.append(path)
        return sha256_of_file(path)

    monkeypatch.setattr("napari_dinoad.pipeline.detection.kept_scores.sha256_of_file", note)
    arguments = ["--model", str(model_path), "--out", str(tmp_path), "--save", "mask"]
    assert main(["score", str(patient_path), *arguments]) == 0
    assert hashed == []
    assert main(["score", str(patient_path), str(next(normal_folder.iterdir())), *arguments]) == 0
    assert hashed == [model_path]


def test_what_an_earlier_run_found_otherwise_does_not_stay_beside(model_path, patient_path, tmp_path, capsys):
    arguments = ["score", str(patient_path), "--model", str(model_path), "--out", str(tmp_path)]
    assert main([*arguments, "--fpr", "0.1", "--save", "map,mask,regions,report,picture"]) == 0
    (tmp_path / "patient_regions.csv").write_text("by hand")
    (tmp_path / "patient_slices").mkdir()
    capsys.readouterr()
    assert main([*arguments, "--save", "map", "--json"]) == 0
    told = capsys.readouterr()
    others = "patient_regions.csv, patient_slices"
    assert f"dinoad: patient: named so too, perhaps of another result: {others}" in told.err
    assert json.loads(told.out)["scans"][0]["others"] == others.split(", ")
    removed = ["patient_mask.nii.gz", "patient_report.json", "patient_report.html", "patient_picture.png"]
    assert f"dinoad: patient: removed, of an earlier result: {', '.join(removed)}" in told.err
    assert json.loads(told.out)["scans"][0]["removed"] == removed
    assert {path.name for path in tmp_path.iterdir()} == {
        "patient_anomaly.nii.gz",
        "patient_regions.csv",
        "patient_slices",
        "scored",
    }


def test_a_smaller_rate_marks_less(model_path, patient_path, tmp_path):
    sizes = []
    arguments = ["score", str(patient_path), "--model", str(model_path), "--out", str(tmp_path)]
    for fpr in ("0.1", "0.01", "0.001"):
        assert main([*arguments, "--fpr", fpr, "--save", "mask"]) == 0
        sizes.append(np.asarray(nib.load(tmp_path / "patient_mask.nii.gz").dataobj).sum())
    assert sizes[0] > sizes[1] > sizes[2]


def test_good_scans_are_used_and_bad_ones_named(messy_folder, tmp_path, capsys):
    assert main([*fit_arguments(messy_folder, tmp_path / "m.dinoad"), "--json"]) == 0
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert document["n_scans"] == 3
    reasons = {Path(item["path"]).name: item["reason"] for item in document["skipped"]}
    assert set(reasons) == set(BAD_SCANS)
    for name, part in BAD_SCANS.items():
        assert part in reasons[name]
    assert "Traceback" not in captured.err


def test_only_bad_scans_is_exit_code_2_and_one_line(tmp_path):
    folder = tmp_path / "bad"
    folder.mkdir()
    add_bad_scans(folder)
    command = [sys.executable, "-m", "napari_dinoad", *fit_arguments(folder, tmp_path / "m.dinoad")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
    assert "expected at least 2 usable normal scans, got 0" in done.stderr
    assert not (tmp_path / "m.dinoad").exists()


def test_where_no_scan_can_be_used_the_reasons_of_scans_come_first(tmp_path, capsys):
    """Hidden files came first, and took the place of why the scans beside them were skipped."""
    for name in "abcd":
        series = nib.Nifti1Image(np.zeros((4, 5, 6, 2), np.float32), np.eye(4))
        nib.save(series, tmp_path / f"{name}.nii.gz")
        (tmp_path / f"._{name}.nii.gz").write_bytes(b"of macOS")
    assert main(fit_arguments(tmp_path, tmp_path / "m.dinoad")) == 2
    told = capsys.readouterr().err
    assert "got 0. Skipped: a.nii.gz: a series of 2 frames" in told
    assert told.endswith(" --frame 0 to 1 (and 3 like it); ._a.nii.gz: hidden (and 3 like it).\n")


def test_score_tells_sizes_with_their_unit_and_where_the_results_are(
    model_path, patient_path, tmp_path, capsys
):
    out = tmp_path / "out"
    assert main(["score", str(patient_path), "--model", str(model_path), "--out", str(out)]) == 0
    header, row, last = capsys.readouterr().out.splitlines()
    assert "mm" not in header
    assert re.search(r" \d[\d.]* mm3 ", row)
    (report,) = (json.loads(path.read_text()) for path in out.glob("*_report.json"))
    assert header.split()[3:6] == ["regions", "beyond", "normal"]
    assert row.split()[2:4] == [str(report["n_regions"]), str(report["n_regions_beyond_normal"])]
    assert last == f"results: {out}"


def test_several_scans_get_a_worklist_and_a_single_one_does_not(model_path, patient_path, tmp_path, capsys):
    again = tmp_path / "again.nii.gz"
    again.write_bytes(patient_path.read_bytes())
    arguments = ["--model", str(model_path), "--out", str(tmp_path / "out"), "--save", "mask,report"]
    assert main(["score", str(patient_path), *arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["worklist"] is None
    assert not list((tmp_path / "out").glob("worklist*"))
    assert main(["score", str(patient_path), str(again), *arguments]) == 0
    assert f"worklist: {tmp_path / 'out' / 'worklist.html'}" in capsys.readouterr().out
    page = (tmp_path / "out" / "worklist.html").read_text()
    linked = re.findall(r'href="([^"]+)"', page)
    assert len(linked) == 2 and all((tmp_path / "out" / name).is_file() for name in linked)
    assert len((tmp_path / "out" / "worklist.csv").read_text().splitlines()) == 3


def test_two_runs_of_several_scans_into_one_folder_are_told(model_path, normal_folder, tmp_path, capsys):
    """The list of the one told of files that the other had replaced."""
    heads = [str(path) for path in sorted(normal_folder.iterdir())[:2]]
    arguments = ["--model", str(model_path), "--out", str(tmp_path), "--save", "mask"]
    with lone_run(tmp_path):
        assert main(["score", *heads, *arguments]) == 2
        assert capsys.readouterr().err == (
            f"dinoad: {tmp_path}: another run is scoring scans into this folder. Wait for it, end it, or choose "
            "another folder.\n"
        )
        assert main(["score", heads[0], *arguments]) == 0, "as each of many jobs does"
        assert not (tmp_path / "worklist.csv").exists()
    assert main(["score", *heads, *arguments]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {
        *("normal_0_mask.nii.gz", "normal_1_mask.nii.gz"),
        *("scored", "worklist.csv", "worklist.html"),
    }


def no_locks(*_):
    raise OSError(errno.ENOLCK, "No locks available")


def test_a_run_of_another_person_is_not_overridden(model_path, normal_folder, tmp_path, monkeypatch):
    """In a folder of a group its lock can be removed, but not written."""
    heads = [str(path) for path in sorted(normal_folder.iterdir())[:2]]
    arguments = ["--model", str(model_path), "--out", str(tmp_path), "--save", "mask"]
    opened, may = os.open, os.access

    def own(path):
        return not str(path).endswith("-worklist.lock")

    def open_own(path, flags, *more, **named):
        if flags & os.O_RDWR and not own(path):
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(path, flags, *more, **named)

    with lone_run(tmp_path):
        (lock,) = tmp_path.iterdir()
        monkeypatch.setattr(os, "open", open_own)
        monkeypatch.setattr(os, "access", lambda path, mode: own(path) and may(path, mode))
        assert main(["score", *heads, *arguments]) == 2
        assert lock.exists()
        monkeypatch.setattr("napari_dinoad.machine.file_lock._lock", no_locks)
        assert main(["score", *heads, *arguments]) == 0, "as on a network disk"
        assert lock.exists()


def test_who_looks_for_what_killed_runs_left_is_not_taken_for_a_run(tmp_path, monkeypatch):
    """It holds the lock for a moment, and a run that began just then was refused."""
    answers = iter([False])
    real = file_lock._lock
    monkeypatch.setattr(file_lock, "_lock", lambda *how: next(answers, None) is None and real(*how))
    with lone_run(tmp_path):
        assert len(list(tmp_path.iterdir())) == 1


def test_a_run_that_was_killed_and_a_disk_without_locks_hold_up_none(
    model_path, normal_folder, tmp_path, monkeypatch
):
    heads = [str(path) for path in sorted(normal_folder.iterdir())[:2]]
    arguments = ["--model", str(model_path), "--out", str(tmp_path), "--save", "mask"]
    with lone_run(tmp_path):
        (left,) = tmp_path.iterdir()
    left.touch()
    assert main(["score", *heads, *arguments]) == 0
    assert not left.exists()

    monkeypatch.setattr("napari_dinoad.machine.file_lock._lock", no_locks)
    assert main(["score", *heads, *arguments, "--no-resume"]) == 0
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_worklist_that_a_spreadsheet_has_open_ends_no_run(
    model_path, patient_path, normal_folder, tmp_path, capsys, caplog, monkeypatch
):
    heads = [str(patient_path), str(next(normal_folder.iterdir()))]
    arguments = ["--model", str(model_path), "--out", str(tmp_path), "--save", "mask", "--json"]
    assert main(["score", *heads, *arguments]) == 0
    assert json.loads(capsys.readouterr().out)["not_renewed"] == []
    forbid_removing_open_files(monkeypatch)
    told = "worklist.csv in the folder of the results could not be renewed"
    with (tmp_path / "worklist.csv").open():
        assert main(["score", heads[0], *arguments, "--fpr", "0.1"]) == 0, "all that was asked for is there"
        assert told in caplog.text
        capsys.readouterr()
        caplog.clear()
        assert main(["score", *heads, *arguments, "--fpr", "0.1"]) == 2
        document = json.loads(capsys.readouterr().out)
        assert (document["not_renewed"], len(document["scans"])) == (["worklist.csv"], 2)
        assert told in caplog.text
    assert main(["score", *heads, *arguments, "--fpr", "0.1"]) == 0
    assert json.loads(capsys.readouterr().out)["n_taken_over"] == 2


def test_pixels_that_cannot_be_decoded_are_one_line_and_no_traceback(model_path, tmp_path):
    """pydicom logs the traceback of every decoder that fails."""
    dataset = pydicom.dcmread(get_testdata_file("JPEG2000.dcm", download=False))
    dataset.PixelData = dataset.PixelData[:200]
    path = tmp_path / "cut.dcm"
    dataset.save_as(path)
    command = [sys.executable, "-m", "napari_dinoad", "score", str(path), "--model", str(model_path)]
    done = subprocess.run([*command, "--out", str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "damaged or cut short" in done.stderr


def test_one_bad_scan_among_good_ones(model_path, patient_path, tmp_path, capsys):
    bad = tmp_path / "bad.nii.gz"
    bad.write_text("no scan")
    arguments = ["--model", str(model_path), "--out", str(tmp_path), "--json"]
    assert main(["score", str(bad), str(patient_path), *arguments]) == 2
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert len(document["scans"]) == 1
    assert document["failed"][0]["scan"] == str(bad)
    assert "bad.nii.gz" in captured.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["score", "x.nii", "--model", "none.dinoad", "--out", "o"], "no such file"),
        (["score", "x.nii", "--model", "none.dinoad", "--out", "o", "--fpr", "2"], "0.01 is 1 %"),
        (["score", "x.nii", "--model", "none.dinoad", "--out", "o", "--save", "hologram"], "--save"),
        (
            ["score", "x.nii", "--model", "none.dinoad", "--out", "o", "--fpr=--"],
            "--fpr: expected a value, got '--'",
        ),
        (["score", "x.nii", "--model", "none.dinoad", "--out", "o", "--seg-segments=--"], "got '--'"),
        (
            ["score", "x.nii", "--model", "none.dinoad", "--out", "o", "--min-volume-mm3", "inf"],
            "minimum volume",
        ),
        (["info", "none.dinoad"], "no such file"),
        # Windows has no word of its own for it.
        (["info", "m" * 300], "no such file" if sys.platform == "win32" else "Choose a shorter name."),
        (["fit", "none", "--out", "m.dinoad"], "expected a folder"),
        (["fit", ".", "--out", "no/such/folder/m.dinoad"], "--out: Cannot write"),
        (["fit", "none", "--out", "/sys/m.dinoad"], "--out: Cannot write"),
        (["merge", "none.dinoad", "none.dinoad", "--out", "/sys/m.dinoad"], "--out: Cannot write"),
        (["fit", ".", "--out", "m.dinoad", "--epochs", "0"], "epochs"),
        (["fit", ".", "--out", "m.dinoad", "--holdout", "1"], "holdout"),
        (["fit", ".", "--out", "m.dinoad", "--folds", "1"], "calibration folds: expected at least 2"),
        (["fit", ".", "--out", "m.dinoad", "--folds", "3", "--holdout", "0.1"], "not allowed with"),
        (["fit", ".", "--out", "m.dinoad", "--resolution", "5"], "resolution: expected 32 to 4096 pixels"),
        (["fit", ".", "--out", "m.dinoad", "--scorer", "dpmm+knn"], "several of them joined by '+'"),
        (["fit", ".", "--plane", "diagonal"], "'diagonal'"),
        (["fit", ".", "--epochs", "many"], "'dinoad fit --help' explains."),
        (["weights"], "'dinoad weights --help' explains."),
        (["fitt"], "'dinoad --help' explains."),
        ([], "VERB"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.strip().splitlines()) == 1
    assert message in captured.err
    assert main([*arguments, "--json"]) == 2
    captured = capsys.readouterr()
    failure = json.loads(captured.out)
    assert failure["exit_code"] == 2
    assert f"dinoad: {failure['error']}" == captured.err.strip()


@pytest.mark.skipif(
    not Path("/sys").is_dir(), reason="a folder that takes no file from anyone, root included"
)
def test_where_results_cannot_be_written_nothing_is_scored(model_path, patient_path, monkeypatch, capsys):
    monkeypatch.setattr("napari_dinoad.pipeline.Detector.detect", lambda *_: pytest.fail("scored"))
    assert main(["score", str(patient_path), "--model", str(model_path), "--out", "/sys"]) == 2
    assert "Cannot write into /sys" in capsys.readouterr().err


def test_a_scan_that_is_refused_leaves_no_empty_folder(model_path, patient_path, tmp_path, capsys):
    out = tmp_path / "results"
    assert (
        main(["score", str(patient_path), "--model", str(model_path), "--out", str(out), "--save", "seg"])
        == 2
    )
    assert "expected a scan read from DICOM" in capsys.readouterr().err
    assert not out.exists()


def test_results_that_cannot_be_written_leave_no_empty_folder(
    model_path, patient_path, tmp_path, monkeypatch, capsys
):
    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    out = tmp_path / "of_today" / "results"
    assert main(["score", str(patient_path), "--model", str(model_path), "--out", str(out)]) == 2
    assert "No space left on device. Free disk space" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_fault_of_ours_shows_its_traceback(monkeypatch, capsys, model_path):
    def fail(*_):
        raise RuntimeError("boom")

    monkeypatch.setattr("napari_dinoad.normative_model.card.stored_card", fail)
    assert main(["info", str(model_path)]) == 1
    assert "Traceback" in capsys.readouterr().err
    assert main(["info", str(model_path), "--json"]) == 1
    failure = json.loads(capsys.readouterr().out)
    assert failure == {"error": "A fault of dinoad itself: RuntimeError: boom", "exit_code": 1}


def test_cancelling_is_exit_code_130(monkeypatch, normal_folder, tmp_path, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("napari_dinoad.pipeline.cohort.scan_embedding.prepare_planes", interrupt)
    assert main(fit_arguments(normal_folder, tmp_path / "m.dinoad")) == 130
    assert list(tmp_path.iterdir()) == []
    capsys.readouterr()
    assert main([*fit_arguments(normal_folder, tmp_path / "m.dinoad"), "--json"]) == 130
    assert json.loads(capsys.readouterr().out)["exit_code"] == 130


@pytest.mark.parametrize(
    ("n_scans", "stops_at", "more", "goes_on"),
    [(4, 3, [], True), (4, 1, [], False), (4, 3, ["--no-resume"], False), (1, 1, [], False)],
)
def test_scoring_that_is_cancelled_says_whether_it_goes_on(
    model_path, normal_folder, tmp_path, monkeypatch, capsys, n_scans, stops_at, more, goes_on
):
    heads = [str(path) for path in sorted(normal_folder.iterdir())[:n_scans]]

    def stop(bars, event):
        if bars._prefix.startswith(f"normal_{stops_at - 1}") and event.done:
            raise Cancelled("stop")

    arguments = ["score", *heads, "--model", str(model_path), "--out", str(tmp_path), "--json", *more]
    monkeypatch.setattr(ProgressBars, "__call__", stop)
    assert main(arguments) == 130
    told = capsys.readouterr()
    words = "cancelled; nothing half-done was left behind."
    words += " The same command goes on where it stopped." if goes_on else ""
    assert json.loads(told.out) == {"error": words, "exit_code": 130}
    assert told.err.splitlines()[-1] == f"dinoad: {words}"
    monkeypatch.undo()
    assert main(arguments) == 0
    assert (json.loads(capsys.readouterr().out)["n_taken_over"] > 0) == goes_on


def test_scans_that_no_run_takes_over_are_not_said_to_go_on(model_path, tmp_path, monkeypatch, capsys):
    heads = []
    for seed in range(3):
        save_dicom_head(tmp_path / str(seed), seed)
        heads += [str(next((tmp_path / str(seed)).iterdir()))]

    begun = set()

    def stop(bars, event):
        begun.add(bars._prefix)
        if len(begun) == 3 and event.done:
            raise Cancelled("stop")

    monkeypatch.setattr(ProgressBars, "__call__", stop)
    assert main(["score", *heads, "--model", str(model_path), "--out", str(tmp_path / "out")]) == 130
    assert len(list((tmp_path / "out").glob("*_mask.nii.gz"))) == 2
    assert capsys.readouterr().err.splitlines()[-1] == "dinoad: cancelled; nothing half-done was left behind."


def test_cancelling_while_the_command_is_loaded_is_told_as_an_object_too(monkeypatch, capsys):
    def interrupt():
        raise KeyboardInterrupt

    monkeypatch.setattr("napari_dinoad.machine.streams.prepare_streams", interrupt)
    assert main(["weights", "path", "--json"]) == 130
    captured = capsys.readouterr()
    assert json.loads(captured.out)["exit_code"] == 130
    assert "cancelled" in captured.err


def test_info(model_path, capsys):
    assert main(["info", str(model_path), "--json"]) == 0
    card = json.loads(capsys.readouterr().out)
    assert card["scorer"] == "memory-bank"
    assert card["n_scans"] == 6
    assert main(["info", str(model_path)]) == 0
    said = capsys.readouterr().out
    assert "planes: axial\n" in said
    assert "window: -\n" in said
    assert "None" not in said
    # What there is nothing of needs no line.
    assert "reading" not in said


@pytest.mark.parametrize(
    ("region", "words"),
    [
        ({"volume_mm3": 1_736_080.0}, "1736080 mm3"),
        ({"volume_mm3": 3558.625}, "3559 mm3"),
        ({"volume_mm3": 0.0312}, "0.031 mm3"),
        ({"area_px": 123_575}, "123575 px"),
        ({}, "-"),
    ],
)
def test_sizes_are_told_without_powers_of_ten(region, words):
    assert score._size_in_words(region) == words


def test_2d_images_end_to_end(tmp_path, capsys):
    rng = np.random.default_rng(0)
    folder = tmp_path / "slices"
    folder.mkdir()
    for number in range(6):
        rows, columns = np.mgrid[:80, :64]
        distance = np.hypot((rows - 40) / 36, (columns - 32) / 28)
        pixels = np.where(distance < 1, 120 + 20 * np.sin(rows / 3 + number), 0) + rng.normal(0, 3, (80, 64))
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f"{number}.png")
    model, out = tmp_path / "m.dinoad", tmp_path / "out"
    assert main(["fit", str(folder), "--out", str(model), "--scorer", "memory-bank"]) == 0
    capsys.readouterr()
    assert main(["score", str(folder / "0.png"), "--model", str(model), "--out", str(out), "--json"]) == 0
    (scan,) = json.loads(capsys.readouterr().out)["scans"]
    written = nib.load(scan["map"])
    assert written.shape == (80, 64)
    np.testing.assert_array_equal(written.affine, np.eye(4))
    assert all("area_px" in region and "volume_mm3" not in region for region in scan["regions"])


def test_a_dicom_folder_is_scored_like_the_nifti_of_the_same_scan(model_path, patient_path, tmp_path, capsys):
    """The same head as NIfTI and as DICOM under random names: the same anomaly values at the same places."""
    save_dicom_head(tmp_path / "study", 100, lesion=True)
    arguments = ["--model", str(model_path), "--out", str(tmp_path / "out"), "--json"]
    assert main(["score", str(tmp_path / "study"), *arguments]) == 0
    (scan,) = json.loads(capsys.readouterr().out)["scans"]
    assert main(["score", str(patient_path), *arguments]) == 0
    (expected,) = json.loads(capsys.readouterr().out)["scans"]
    maps = [nib.as_closest_canonical(nib.load(result["map"])) for result in (scan, expected)]
    np.testing.assert_allclose(maps[0].affine, maps[1].affine, atol=1e-4)
    # DICOM holds whole numbers, hence the tolerance.
    difference = np.abs(maps[0].get_fdata() - maps[1].get_fdata())
    assert np.quantile(difference, 0.99) < 0.3
    assert scan["notes"] == []
    every = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    written = [path for path in every if not path.name.endswith("_seg.dcm")]
    assert tmp_path / "out" / "scored" / "study.json" in written
    told = " ".join(path.read_text(errors="ignore") for path in written)
    assert not [value for value in PATIENT_TAGS.values() if len(value) > 1 and value in told]


def test_headers_that_allow_no_dicom_seg_lose_nothing_else(model_path, tmp_path, capsys, caplog):
    """Images that claim to be of several studies: a DICOM-SEG is made only when asked for, and then refused."""
    for path in save_dicom_head(tmp_path / "study", 100, lesion=True):
        dataset = pydicom.dcmread(path)
        dataset.StudyInstanceUID = generate_uid()
        dataset.save_as(path)
    arguments = ["score", str(tmp_path / "study"), "--model", str(model_path), "--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    assert "DICOM-SEG" in caplog.text
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert "study_mask.nii.gz" in names
    assert "study_seg.dcm" not in names
    assert main([*arguments, "--save", "seg"]) == 2
    assert "DICOM-SEG" in capsys.readouterr().err


def test_an_uneven_series_needs_resample_and_the_report_says_so(model_path, tmp_path, capsys):
    save_dicom_head(tmp_path / "study", 100, lesion=True, leave_out=7)
    arguments = ["score", str(tmp_path / "study"), "--model", str(model_path), "--out", str(tmp_path / "out")]
    assert main(arguments) == 2
    assert "1 missing slices" in capsys.readouterr().err
    assert main([*arguments, "--resample"]) == 0
    assert "dinoad: study: Resampled from 15 slices to 16" in capsys.readouterr().err
    report = json.loads((tmp_path / "out" / "study_report.json").read_text())
    assert "Resampled from 15 slices to 16 even ones, 8.00 mm apart" in report["notes"][0]


def test_a_folder_of_series_and_a_chosen_one(model_path, tmp_path, capsys):
    for seed, number in ((1, 3), (2, 4)):
        save_dicom_head(tmp_path / "study", seed, SeriesNumber=number, SeriesDescription=f"HEAD {number}")
    arguments = ["score", str(tmp_path / "study"), "--model", str(model_path), "--save", "mask"]
    assert main([*arguments, "--out", str(tmp_path / "all")]) == 0
    names = {path.name for path in (tmp_path / "all").iterdir()}
    assert names == {
        "study_series3_mask.nii.gz",
        "study_series4_mask.nii.gz",
        "scored",
        "worklist.csv",
        "worklist.html",
    }
    assert main([*arguments, "--out", str(tmp_path / "one"), "--series", "head 4"]) == 0
    assert {path.name for path in (tmp_path / "one").iterdir()} == {"study_mask.nii.gz", "scored"}
    assert "series 3: not the series chosen" in capsys.readouterr().err


def test_the_least_normal_scans_and_results_of_one_name_are_told_apart(tmp_path, capsys):
    folder = tmp_path / "normals"
    for seed in range(2):
        save_dicom_head(folder / f"p{seed}" / "t1", seed)
    for seed in range(2, 4):
        save_dicom_head(folder / "p2" / "t1", seed, SeriesNumber=seed)
    path = tmp_path / "m.dinoad"
    assert main(fit_arguments(folder, path)) == 0
    least = next(line for line in capsys.readouterr().out.splitlines() if "least normal" in line)
    apart = {str(Path("p0/t1")), str(Path("p1/t1")), *(f"{Path('p2/t1')} (t1_series{n})" for n in (2, 3))}
    told = least.partition("look: ")[2].split(", ")
    assert len(set(told)) == 3
    assert set(told) <= apart
    assert main(["score", str(folder), "--model", str(path), "--out", str(tmp_path / "out")]) == 0
    *lines, last = capsys.readouterr().out.splitlines()[1:]
    assert last.startswith("worklist: ")
    scans = [line.split()[0] for line in lines]
    assert scans == ["p0_t1", "p1_t1", "t1_series2", "t1_series3"]


def test_a_model_says_how_its_scans_were_read(tmp_path, capsys):
    folder = tmp_path / "normals"
    for seed in range(3):
        save_dicom_head(folder / f"n{seed}", seed, leave_out=seed + 5)
    path = tmp_path / "m.dinoad"
    assert main([*fit_arguments(folder, path), "--resample", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n_scans"] == 3
    assert main(["info", str(path), "--json"]) == 0
    card = json.loads(capsys.readouterr().out)
    assert card["reading"] == ["Uneven or tilted DICOM series were made even by interpolation."]
    told = path.read_bytes().decode("latin-1")
    assert not [value for value in PATIENT_TAGS.values() if len(value) > 1 and value in told]


def test_demo_finds_the_lesions(tmp_path, capsys):
    out = tmp_path / "demo"
    assert main(["demo", "--out", str(out), "--normals", "3", "--scorer", "memory-bank", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert json.loads((out / "figures.json").read_text()) == document
    for patient in document["patients"]:
        kind = patient["truth"]["kind"]
        assert (out / f"patient_{kind}_picture.png").stat().st_size > 10_000
        assert patient["truth"]["auroc"] > 0.75, kind


def run_in_shell(command, model_path, **environment):
    """Run a shell's command, ``{dinoad}`` in it being `dinoad info`; its output is buffered."""
    if sys.platform == "win32":
        pytest.skip("written for a POSIX shell")
    dinoad = f"'{sys.executable}' -m napari_dinoad info '{model_path}'"
    variables = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    return subprocess.run(
        ["sh", "-c", command.format(dinoad=dinoad)],
        capture_output=True,
        text=True,
        check=False,
        env={**variables, **environment},
    )


@pytest.mark.parametrize("environment", [{}, {"PYTHONUNBUFFERED": "1"}], ids=["buffered", "unbuffered"])
def test_a_reader_that_goes_away_is_no_fault(model_path, environment):
    # The pipe's end is closed before anything is written to it.
    done = run_in_shell("{{ sleep 0.1; {dinoad}; echo $? >&2; }} | true", model_path, **environment)
    assert done.stderr == "0\n"


@pytest.mark.parametrize("environment", [{}, {"PYTHONUNBUFFERED": "1"}], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("more", ["2>&1", "--json", "--json 2>&1"])
def test_all_is_done_and_told_by_the_exit_code_when_the_reader_goes_away(
    model_path, patient_path, tmp_path, environment, more
):
    """``dinoad score … 2>&1 | head``: what is said of the first scan must not leave the others out."""
    (tmp_path / "bad.nii.gz").write_text("no scan")
    shutil.copy(patient_path, tmp_path / "good.nii.gz")
    score = f"score '{tmp_path}' --model '{model_path}' --out '{tmp_path / 'out'}' --save mask,report {more}"
    command = f"'{sys.executable}' -m napari_dinoad {score}"
    # The pipe's end is closed before anything is written to it.
    run_in_shell(
        f"{{{{ sleep 0.1; {command}; echo $? > '{tmp_path}/code'; }}}} | true", model_path, **environment
    )
    assert (tmp_path / "code").read_text() == "2\n"
    assert (tmp_path / "out" / "good_mask.nii.gz").is_file()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full")
@pytest.mark.parametrize("environment", [{}, {"PYTHONUNBUFFERED": "1"}], ids=["buffered", "unbuffered"])
def test_an_output_that_cannot_be_written_is_told(model_path, environment):
    done = run_in_shell("{dinoad} > /dev/full", model_path, **environment)
    assert done.returncode == 2
    assert done.stderr == "dinoad: Cannot write the output: No space left on device.\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full")
def test_what_is_wrong_is_told_by_the_exit_code_where_no_message_can_be_written(tmp_path):
    """``2> log`` on a full disk."""
    done = run_in_shell("{dinoad} --json 2> /dev/full", tmp_path / "none.dinoad")
    assert done.returncode == 2
    assert "found no such file" in json.loads(done.stdout)["error"]


def test_a_working_folder_that_was_removed_is_told(tmp_path, model_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    done = run_in_shell(f"cd '{gone}' && rmdir '{gone}' && {{dinoad}}", model_path)
    assert done.returncode == 2
    assert done.stderr.startswith("dinoad: The folder that this command was started in is not there any more")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("where", ["> '{out}'", "2> '{out}'", ""])
def test_a_disk_that_fails_while_a_fit_reads_is_not_taken_for_that_of_the_output(tmp_path, where):
    """What the system says names no file where a file is open already."""
    program = tmp_path / "fails.py"
    program.write_text(
        "import errno, sys\n"
        "from napari_dinoad.cli import fit\n"
        "from napari_dinoad.cli.main import main\n"
        "def run(options):\n"
        "    raise OSError(errno.EIO, 'Input/output error')\n"
        "fit.run = run\n"
        f"sys.exit(main(['fit', {str(tmp_path)!r}, '--out', {str(tmp_path / 'm.dinoad')!r}]))\n"
    )
    out = tmp_path / "output"
    command = f"'{sys.executable}' '{program}' {where.format(out=out)}"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    told = out.read_text() if where.startswith("2>") else done.stderr
    assert done.returncode == 2
    assert told.startswith("dinoad: Input/output error. See whether the disk or the network drive is there")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_end_no_run(model_path, patient_path, tmp_path, closed):
    score = "score '{scan}' --model '{model}' --out '{out}'"
    score = score.format(scan=patient_path, model=model_path, out=tmp_path)
    command = f"'{sys.executable}' -m napari_dinoad {score} --save mask {closed}"
    assert run_in_shell(command.replace("{", "{{").replace("}", "}}"), model_path).returncode == 0
    assert {path.name for path in tmp_path.iterdir()} == {"patient_mask.nii.gz", "scored"}


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux alone")
def test_no_name_ends_a_run_whose_output_is_closed(model_path, patient_path, tmp_path):
    odd = tmp_path / os.fsdecode(b"M\xfcller.nii.gz")
    shutil.copy(patient_path, odd)
    score = f"score '{odd}' --model '{model_path}' --out '{tmp_path}' --save mask"
    done = run_in_shell(f"'{sys.executable}' -m napari_dinoad {score} >&-", model_path)
    assert done.returncode == 0, done.stderr
