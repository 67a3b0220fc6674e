"""Scoring a folder of scans from the dock."""

from __future__ import annotations

import csv
import errno
import os
import shutil
import subprocess
import sys
import threading
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from napari.settings import get_settings

from dock_driver import TIMEOUT_MS, click
from napari_dinoad.cli.main import main
from napari_dinoad.errors import DinoadError
from napari_dinoad.gui.find import folder_job, folder_scoring
from napari_dinoad.gui.find.folder_job import FolderOutcome, ScoreFolderJob
from napari_dinoad.gui.find.folder_scoring import FolderScoringDialog
from napari_dinoad.gui.models.meant_images import MeantImages
from napari_dinoad.gui.parts.last_folder import LastFolder
from napari_dinoad.gui.work.worker import JobChannel
from napari_dinoad.settings import DetectSettings
from patience import PATIENCE_S
from refused_files import forbid_removing_open_files


@pytest.fixture
def patients(cohort, tmp_path):
    """Return a folder with two scans, one of them normal, and a file that is damaged."""
    folder = tmp_path / "patients"
    folder.mkdir()
    shutil.copy(cohort.patients["bright"], folder / "patient.nii.gz")
    shutil.copy(next(cohort.normal_folder.iterdir()), folder / "normal.nii.gz")
    (folder / "damaged.nii.gz").write_bytes(b"no scan")
    return folder


@pytest.fixture
def dialog(dock, model_path, patients, tmp_path):
    """Return the window, opened from the dock, with all chosen."""
    dock.normal.choose(model_path)
    dock.windows.open_folder()
    dialog = dock.windows.folder
    dialog.folder.value, dialog.out.value = patients, tmp_path / "results"
    yield dialog
    dialog.runner.cancel()


def finish(qtbot, dialog):
    with qtbot.waitSignal(dialog.runner.finished, timeout=TIMEOUT_MS):
        click(qtbot, dialog.start_button)


def test_all_scans_of_a_folder_are_scored_and_listed(qtbot, dialog, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(
        folder_scoring.QDesktopServices, "openUrl", lambda url: opened.append(url.toLocalFile())
    )
    finish(qtbot, dialog)
    out = tmp_path / "results"
    assert dialog.note.text().startswith("2 scans scored. Not scored: damaged.nii.gz (")
    with (out / "worklist.csv").open() as stream:
        assert {row["results"] for row in csv.DictReader(stream)} == {"patient", "normal"}
    for name in ("patient", "normal"):
        assert (out / f"{name}_report.html").is_file() and (out / f"{name}_mask.nii.gz").is_file()
    click(qtbot, dialog.page_button)
    click(qtbot, dialog.folder_button)
    assert opened == [str(out / "worklist.html"), str(out)]


def test_scans_of_one_series_are_scored(qtbot, dialog, patients, tmp_path):
    (patients / "damaged.nii.gz").unlink()
    for name, sequence in (("patient", "T1w"), ("normal", "T2w")):
        (patients / f"{name}.nii.gz").rename(patients / f"{name}_{sequence}.nii.gz")

    def enter(text):
        dialog.series.lineEdit().setText(text)
        dialog.series.lineEdit().editingFinished.emit()

    enter("flair")
    finish(qtbot, dialog)
    assert dialog.note.text().endswith("found none. Series to choose from: T2w (1), T1w (1).")
    enter("*t1*")
    finish(qtbot, dialog)
    assert dialog.note.text() == "1 scan scored."
    assert (tmp_path / "results" / "patient_T1w_report.html").is_file()
    enter("")
    finish(qtbot, dialog)
    assert dialog.note.text() == "2 scans scored."


def test_what_to_do_with_a_series_of_frames_is_told(qtbot, dialog, patients):
    """In the words of `dinoad score`, without its option."""
    (patients / "damaged.nii.gz").unlink()
    frames = np.random.default_rng(0).random((8, 9, 7, 3))
    nib.save(nib.Nifti1Image(frames, np.eye(4)), patients / "perfusion.nii.gz")
    finish(qtbot, dialog)
    assert dialog.note.text() == (
        "2 scans scored. Not scored: perfusion.nii.gz (a series of 3 frames; expected one volume. Split the "
        "series into volumes)."
    )


def test_a_second_run_takes_over_what_is_there(qtbot, dialog, patients, tmp_path):
    finish(qtbot, dialog)
    assert "Taken over" not in dialog.note.text()
    shutil.copy(patients / "patient.nii.gz", patients / "third.nii.gz")
    finish(qtbot, dialog)
    assert dialog.note.text().startswith(
        "3 scans scored. Taken over from an earlier run: 2 of them. Not scored:"
    )
    with (tmp_path / "results" / "worklist.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == 3


def test_files_of_earlier_results_are_told(qtbot, dialog, patients, model_path, tmp_path):
    (patients / "damaged.nii.gz").unlink()
    out = tmp_path / "results"
    earlier = ["score", str(patients), "--model", str(model_path), "--out", str(out), "--fpr", "0.1"]
    assert main([*earlier, "--save", "map,picture"]) == 0
    (out / "normal_seg.dcm").touch()
    finish(qtbot, dialog)
    assert dialog.note.text() == (
        "2 scans scored. Removed, of earlier results: 2 files. Named so too, perhaps of other results: 1 file."
    )
    assert not list(out.glob("*_picture.png"))


def test_results_that_another_run_would_replace_are_told(dialog, patients, tmp_path):
    assert "replaced" not in dialog.about.text()
    (tmp_path / "monday").mkdir()
    (tmp_path / "monday" / "worklist.html").touch()
    dialog.out.value = tmp_path / "monday"
    assert "its worklist, and files of the same names, will be replaced" in dialog.about.text()
    assert dialog.start_button.isEnabled()
    for odd in ("x" * 300, "a\0b"):
        dialog.out.line_edit.value = odd
        assert "replaced" not in dialog.about.text()
    dialog.out.value = tmp_path / "monday"
    dialog.runner.start = lambda job, title: True
    dialog.start()
    assert "replaced" not in dialog.about.text(), "what is scored once more may be"
    dialog.folder.value = tmp_path
    assert "replaced" in dialog.about.text()


def test_results_of_another_rate_or_model_are_told_to_be_replaced(dock, dialog, tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "worklist.html").touch()
    dialog.runner.start = lambda job, title: True
    dialog.start()
    assert "replaced" not in dialog.about.text()
    model = dock.normal.model.path
    other = shutil.copy(model, tmp_path / "other.dinoad")
    dock.result.rate.rate_changed.emit(0.05)
    assert "masks at 5 %. Results of an earlier run are there" in dialog.about.text()
    dialog.start()
    assert "replaced" not in dialog.about.text()
    dock.normal.choose(other)
    assert "Results of an earlier run are there" in dialog.about.text()


def test_what_is_missing_is_told(qtbot, dock, model_path, tmp_path):
    dock.windows.open_folder()
    dialog = dock.windows.folder
    assert not dialog.start_button.isEnabled()
    assert "a model of normal in the dock" in dialog.about.text()
    dock.normal.choose(model_path)
    assert "Model “phantom”, masks at 1 %." in dialog.about.text()
    assert "a model" not in dialog.about.text()
    dialog.folder.value = tmp_path
    assert dialog.about.text().endswith("Choose a folder for the results.")
    dialog.out.value = tmp_path / "new"
    assert dialog.start_button.isEnabled()
    assert dialog.page_button.isHidden() and dialog.folder_button.isHidden()


def test_a_folder_without_scans_is_told_and_nothing_written(qtbot, dialog, tmp_path):
    (tmp_path / "empty").mkdir()
    dialog.folder.value = tmp_path / "empty"
    finish(qtbot, dialog)
    assert "expected scans in this folder, found none" in dialog.note.text()
    assert not (tmp_path / "results").exists()
    assert dialog.page_button.isHidden()


def test_cancelling_keeps_what_is_done(qtbot, dialog, patients, tmp_path):
    shutil.copy(patients / "patient.nii.gz", patients / "third.nii.gz")
    stages = []

    def cancel_in_the_third(progress):
        stages.append(progress.event.stage)
        if progress.event.stage.startswith("Scan 3 of 3"):
            dialog.runner.cancel()

    dialog.runner.progressed.connect(cancel_in_the_third)
    finish(qtbot, dialog)
    assert dialog.note.text() == "Stopped; the results of the scans scored so far are kept."
    assert any(stage.startswith("Scan 1 of 3: ") for stage in stages)
    with (tmp_path / "results" / "worklist.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == 2
    assert not dialog.page_button.isHidden()


def test_cancelling_before_the_first_scan_leads_to_no_worklist_of_before(qtbot, dialog, tmp_path):
    out = tmp_path / "results"
    out.mkdir()
    (out / "worklist.html").write_text("of another folder")
    dialog.runner.progressed.connect(lambda progress: dialog.runner.cancel())
    finish(qtbot, dialog)
    assert dialog.note.text() == "Stopped before any scan was scored."
    assert dialog.page_button.isHidden()


def test_a_worklist_that_a_spreadsheet_has_open_is_told(dialog, patients, model_path, tmp_path, monkeypatch):
    out = tmp_path / "out"
    job = ScoreFolderJob(patients, out, model_path, DetectSettings(device="cpu"))
    desk = SimpleNamespace(progress=lambda event: None, deliver=lambda outcome: None)
    assert job.work(desk).not_renewed == ()
    forbid_removing_open_files(monkeypatch)
    with (out / "worklist.csv").open():
        outcome = job.work(desk)
    assert (outcome.n_scored, outcome.not_renewed) == (2, ("worklist.csv",))
    dialog.runner.succeeded.emit(outcome)
    assert "Not renewed: worklist.csv, which another program has open." in dialog.note.text()


def test_what_cannot_be_written_leaves_no_empty_folder(patients, model_path, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    job = ScoreFolderJob(patients, tmp_path / "out" / "today", model_path, DetectSettings(device="cpu"))
    with pytest.raises(DinoadError, match="No space left"):
        job.work(SimpleNamespace(progress=lambda event: None, deliver=lambda outcome: None))
    assert not (tmp_path / "out").exists()


def test_the_rate_of_the_dock_is_used(dock, model_path):
    dock.normal.choose(model_path)
    dock.result.set_new_rate(0.001)
    dock.windows.open_folder()
    assert "masks at 0.1 %" in dock.windows.folder.about.text()
    assert dock._chosen()[1].fpr == 0.001
    # It is moved while the window is open, too.
    dock.result.rate.rate_changed.emit(0.05)
    assert "masks at 5 %" in dock.windows.folder.about.text()
    assert dock._chosen()[1].fpr == 0.05


def test_no_step_names_a_scan(patients, model_path, tmp_path):
    """Steps are shown in napari's activity dock, which others may see; names of files may be those of patients."""
    events, delivered = [], []
    job = ScoreFolderJob(patients, tmp_path / "out", model_path, DetectSettings(device="cpu"))
    outcome = job.work(SimpleNamespace(progress=events.append, deliver=delivered.append))
    assert outcome.n_scored == 2 and [name for name, _ in outcome.failed] == ["damaged.nii.gz"]
    assert [so_far.n_scored for so_far in delivered] == [0, 1]
    told = " ".join(event.stage + event.detail for event in events)
    assert "Scan 2 of 2: " in told
    assert not any(name in told for name in ("patient", "normal.", "damaged"))


def test_what_is_waited_for_is_told_from_the_start(patients, model_path, tmp_path, monkeypatch):
    """Before the worker process is there, and before it loads torch, which takes seconds."""
    events = []
    job = ScoreFolderJob(patients, tmp_path / "out", model_path, DetectSettings(device="cpu"))
    with monkeypatch.context() as patch:
        patch.setattr(folder_job, "run_in_process", lambda job, channel: events.append(None))
        job(JobChannel(events.append, lambda item: None))
    assert [event and event.stage for event in events] == ["Looking for scans", None]
    events.clear()
    job.work(SimpleNamespace(progress=events.append, deliver=lambda outcome: None))
    stages = list(dict.fromkeys(event.stage for event in events))
    assert stages[:3] == ["Looking for scans", "Loading the model", "Scan 1 of 2: reading"]


def test_scans_are_looked_for_before_torch_is_loaded_and_without_napari(tmp_path):
    code = """
import sys
from pathlib import Path
from types import SimpleNamespace
from napari_dinoad.errors import DinoadError
from napari_dinoad.gui.find.folder_job import ScoreFolderJob
from napari_dinoad.settings import DetectSettings
here = Path()
try:
    ScoreFolderJob(here, here, here, DetectSettings()).work(SimpleNamespace(progress=print))
except DinoadError as error:
    assert "found none" in str(error)
assert not {"torch", "napari"} & set(sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_window_without_a_model_starts_nothing(qtbot):
    dialog = FolderScoringDialog(lambda: (None, DetectSettings()), LastFolder(), MeantImages(), None)
    qtbot.addWidget(dialog)
    dialog.start()
    assert not dialog.runner.is_running


def test_what_is_being_scored_is_shown_until_it_is_done(qtbot, dock, dialog, monkeypatch):
    gate = threading.Event()

    def wait(self, channel):
        assert gate.wait(PATIENCE_S)
        return FolderOutcome(2, (), None)

    monkeypatch.setattr(ScoreFolderJob, "__call__", wait)
    click(qtbot, dialog.start_button)
    dock.result.set_new_rate(0.001)
    assert dialog.about.text() == "Model “phantom”, masks at 1 %."
    assert not dialog.folder.native.isEnabled()
    assert not dialog.out.native.isEnabled()
    with qtbot.waitSignal(dialog.runner.finished, timeout=TIMEOUT_MS):
        gate.set()
    assert dialog.about.text() == "Model “phantom”, masks at 0.1 %."
    assert dialog.folder.native.isEnabled()
    assert dialog.out.native.isEnabled()


@pytest.mark.parametrize("points", [9, 14])
def test_there_is_room_for_paths_whatever_the_size_of_letters(qtbot, dock, viewer, monkeypatch, points):
    """With letters of 13 points the end of a path was all that could be seen: “w/data/cp”."""
    viewer.show()
    monkeypatch.setattr(get_settings().appearance, "font_size", points)
    dock.windows.open_folder()
    line = dock.windows.folder.folder.line_edit.native
    qtbot.waitUntil(lambda: line.fontInfo().pointSize() == points)
    assert line.width() >= line.fontMetrics().averageCharWidth() * 24
