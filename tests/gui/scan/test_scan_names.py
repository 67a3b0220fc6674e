"""Scans of the same name: which is which, and none is written over another."""

from __future__ import annotations

import shutil
from pathlib import Path, PureWindowsPath

import pytest

from dock_driver import TIMEOUT_MS, click, find, overlays, save_in_dialog
from napari_dinoad.machine.file_names import short_paths


def open_of(qtbot, dock, folder, patient):
    """Open a copy of the patient's scan, of the same name in every folder."""
    folder.mkdir(parents=True)
    shutil.copy(patient, folder / "t1.nii.gz")
    with qtbot.waitSignal(dock.opener.scan_read, timeout=TIMEOUT_MS):
        dock.open_files((folder / "t1.nii.gz",))
    qtbot.waitUntil(lambda: not dock.opener.is_busy, timeout=TIMEOUT_MS)
    return dock.scan.layer


@pytest.mark.parametrize("is_by_dock", [True, False])
def test_scans_of_the_same_name_have_their_folders_behind_it(
    qtbot, dock, viewer, patient, tmp_path, is_by_dock
):
    first = open_of(qtbot, dock, tmp_path / "anna", patient)
    assert first.name == "t1"
    click(qtbot, dock.masks.draw_button)
    drawn = viewer.layers.selection.active
    if is_by_dock:
        second = open_of(qtbot, dock, tmp_path / "berta" / "late", patient)
    else:
        (tmp_path / "berta" / "late").mkdir(parents=True)
        shutil.copy(patient, tmp_path / "berta" / "late" / "t1.nii.gz")
        (second,) = viewer.open(str(tmp_path / "berta" / "late" / "t1.nii.gz"), plugin="napari-dinoad")
    assert dock.scan.layer is second
    assert [first.name, second.name] == ["t1 (anna)", f"t1 ({Path('berta', 'late')})"]
    assert drawn.name == "t1 (anna) · drawn"
    assert str(tmp_path / "berta" / "late" / "t1.nii.gz") in dock.scan.about.toolTip()
    first.name = "before surgery"
    third = open_of(qtbot, dock, tmp_path / "clara", patient)
    assert [first.name, third.name] == ["before surgery", "t1 (clara)"]


def test_results_of_a_scan_of_the_same_name_are_not_replaced(
    qtbot, dock, viewer, patient, model_path, tmp_path
):
    dock.normal.choose(model_path)
    panel, out = dock.result, tmp_path / "out"

    def can_save():
        click(qtbot, panel.export_button)
        dialog = panel.export_dialog
        is_free = dialog.buttons.button(dialog.buttons.StandardButton.Save).isEnabled()
        assert ("of another scan" in dialog.note.text()) != is_free
        dialog.reject()
        return is_free

    first = open_of(qtbot, dock, tmp_path / "anna", patient)
    find(qtbot, dock)
    click(qtbot, panel.export_button)
    save_in_dialog(qtbot, panel.export_dialog, panel.exporter, out, ("mask", "regions"))
    assert can_save(), "its own files may be replaced"
    open_of(qtbot, dock, tmp_path / "berta", patient)
    find(qtbot, dock)
    assert not can_save()
    assert overlays(viewer)[1].name.startswith("t1 (")
    viewer.layers.remove(first)
    with qtbot.waitSignal(dock.opener.scan_read, timeout=TIMEOUT_MS):
        dock.open_files((tmp_path / "anna" / "t1.nii.gz",))
    find(qtbot, dock)
    assert can_save(), "the same scan, opened again"


def test_paths_on_different_drives_are_told_whole():
    paths = [PureWindowsPath(r"C:\anna\t1.nii"), PureWindowsPath(r"D:\berta\t1.nii")]
    assert short_paths(paths) == [r"C:\anna\t1.nii", r"D:\berta\t1.nii"]
