"""The viewer that `make demo` ends with."""

from __future__ import annotations

import shutil
import sys

import napari
import pytest
from qtpy.QtWidgets import QApplication

from napari_dinoad.errors import ScanReadError
from napari_dinoad.gui import open_demo
from patience import TIMEOUT_MS


def test_demo_opens_and_finds(
    qtbot, make_napari_viewer, own_folders, monkeypatch, cohort, model_path, tmp_path
):
    monkeypatch.setattr(napari, "Viewer", make_napari_viewer)
    (tmp_path / "patients").mkdir()
    shutil.copy(cohort.patients["bright"], tmp_path / "patients")
    shutil.copy(model_path, tmp_path / "normal.dinoad")
    viewer = open_demo.open_demo(tmp_path)
    _, dock = viewer.window.add_plugin_dock_widget("napari-dinoad", "Find anomalies")
    assert dock.finder.runner.is_running
    qtbot.waitUntil(lambda: not dock.finder.runner.is_running, timeout=TIMEOUT_MS)
    assert dock.finder.result.scored.any()
    assert dock.find.note.text() == ""
    qtbot.waitUntil(lambda: dock.finder.result.is_measured, timeout=TIMEOUT_MS)
    assert QApplication.instance() is not None


def test_folder_without_a_demo_is_one_clear_line(tmp_path, monkeypatch, capsys):
    with pytest.raises(ScanReadError, match="dinoad demo"):
        open_demo.open_demo(tmp_path)
    monkeypatch.setattr(sys, "argv", ["open_demo", str(tmp_path)])
    with pytest.raises(SystemExit, match="2"):
        open_demo.main()
    [line] = capsys.readouterr().err.splitlines()
    assert "dinoad demo" in line


def test_without_qt_one_line_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["open_demo", str(tmp_path)])
    monkeypatch.setitem(sys.modules, "qtpy.QtWidgets", None)
    with pytest.raises(SystemExit, match="2"):
        open_demo.main()
    [line] = capsys.readouterr().err.splitlines()
    assert 'pip install "napari-dinoad[all]"' in line
