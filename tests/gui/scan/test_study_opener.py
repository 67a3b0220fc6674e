"""Opening studies one after the other: nothing that was asked for is dropped in silence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from qtpy.QtWidgets import QLabel

from dock_driver import TIMEOUT_MS, click
from napari_dinoad.errors import Cancelled, ScanReadError
from napari_dinoad.gui.scan.scan_chooser import ScanChooser
from napari_dinoad.gui.scan.study_jobs import LookJob
from napari_dinoad.gui.work.worker import JobChannel
from napari_dinoad.images.scan_file import ScanFile
from small_heads import save_dicom_head


@pytest.fixture
def broken(tmp_path):
    path = tmp_path / "broken.nii.gz"
    path.write_bytes(b"no scan")
    return path


@pytest.fixture
def uneven(monkeypatch):
    """Let the scan named "uneven" be refused unless it is resampled; return what was read."""
    from napari_dinoad.gui import reader
    from napari_dinoad.images.dicom.reader import RESAMPLE_HINT

    read, done = reader.read_layers, []

    def read_or_refuse(scan, *, resample=False):
        if scan.path.name == "normal_02.nii.gz" and not resample:
            raise ScanReadError(f"uneven: uneven gaps. {RESAMPLE_HINT}.")
        done.append((scan.path.name, resample))
        return read(scan)

    monkeypatch.setattr(reader, "read_layers", read_or_refuse)
    return done


def wait_until_open(qtbot, dock):
    qtbot.waitUntil(lambda: not dock.opener.is_busy, timeout=TIMEOUT_MS)


def names(viewer):
    return [layer.name for layer in viewer.layers]


def test_what_is_opened_while_another_is_read_comes_next(qtbot, dock, viewer, patient, cohort, broken):
    dock.open_files((patient,))
    dock.open_files((broken,))
    dock.open_files((cohort.normal[0],))
    wait_until_open(qtbot, dock)
    assert names(viewer) == ["patient_bright", "normal_01"]
    assert dock.scan.layer is viewer.layers[1]
    assert "broken.nii.gz" in dock.scan.fault.text()


def test_one_that_is_broken_holds_up_none_of_the_others(qtbot, dock, viewer, cohort, broken, tmp_path):
    missing = tmp_path / "no_such_folder"
    dock.open_files((cohort.normal[0], broken, missing, cohort.normal[1]))
    wait_until_open(qtbot, dock)
    assert names(viewer) == ["normal_01", "normal_02"]
    for name in ("broken.nii.gz", "no_such_folder"):
        assert name in dock.scan.fault.text()
    assert "voxels of" in dock.scan.about.text()


def test_a_refusal_and_its_offer_stay_while_slices_are_scrolled(qtbot, dock, viewer, cohort, uneven):
    dock.open_files((cohort.normal[0], cohort.normal[1]))
    wait_until_open(qtbot, dock)
    assert names(viewer) == ["normal_01"]
    viewer.dims.set_current_step(0, 3)
    dock._settle.timeout.emit()
    viewer.layers[0].name = "other"
    assert "uneven gaps" in dock.scan.fault.text()
    assert not dock.scan.resample_button.isHidden()
    click(qtbot, dock.scan.resample_button)
    wait_until_open(qtbot, dock)
    assert names(viewer) == ["other", "normal_02"]
    assert uneven == [("normal_01.nii.gz", False), ("normal_02.nii.gz", True)]
    assert dock.scan.fault.text() == ""
    assert dock.scan.resample_button.isHidden()


@pytest.mark.parametrize("how", ["opening", "napari", "choosing"])
def test_a_refusal_goes_when_another_scan_is_opened_or_chosen(qtbot, dock, viewer, cohort, uneven, how):
    dock.open_files((cohort.normal[0], cohort.normal[2], cohort.normal[1]))
    wait_until_open(qtbot, dock)
    assert dock.scan.fault.text()
    if how == "opening":
        dock.open_files((cohort.normal[3],))
        wait_until_open(qtbot, dock)
    elif how == "napari":
        viewer.open(str(cohort.normal[3]), plugin="napari-dinoad")
    else:
        box = dock.scan.layers.native
        box.setCurrentIndex(box.findText("normal_01"))
    assert dock.scan.fault.text() == ""
    assert dock.scan.resample_button.isHidden()


def test_scans_chosen_from_a_folder_wait_for_what_is_being_read(qtbot, dock, viewer, cohort, patient):
    dock.open_files((cohort.normal_folder,))
    qtbot.waitUntil(lambda: dock.windows.chooser is not None, timeout=TIMEOUT_MS)
    dock.open_files((patient,))
    click(qtbot, dock.windows.chooser.buttons.button(dock.windows.chooser.buttons.StandardButton.Open))
    wait_until_open(qtbot, dock)
    assert len(viewer.layers) == 2


def test_folders_of_one_scan_each_are_opened_without_a_question(qtbot, dock, viewer, cohort, tmp_path):
    """Of two patients' folders that were dropped together the second was not chosen in the list."""
    folders = [save_dicom_head(tmp_path / name, seed)[0].parent for seed, name in enumerate("ab")]
    dock.open_files((*folders, cohort.normal[0]))
    wait_until_open(qtbot, dock)
    assert dock.windows.chooser is None
    assert names(viewer) == ["a", "b", "normal_01"]


def test_of_scans_and_results_the_scan_comes_first_and_is_chosen(qtbot):
    """Results have the scan's number of voxels, or more in a header's words; they may be named before it."""
    found = [
        ScanFile(Path("t1_mask.nii.gz"), "volume", (60, 60, 30), holding="mask"),
        ScanFile(Path("t1_anomaly.nii.gz"), "volume", (60, 60, 30), holding="map"),
        ScanFile(Path("small.nii.gz"), "volume", (30, 30, 15)),
        ScanFile(Path("t1.nii.gz"), "volume", (56, 60, 30)),
    ]
    chooser = ScanChooser(found)
    qtbot.addWidget(chooser)
    rows = [chooser.list.topLevelItem(row).text(0) for row in range(4)]
    assert rows == ["small.nii.gz", "t1.nii.gz", "t1_mask.nii.gz", "t1_anomaly.nii.gz"]
    assert [scan.path.name for scan in chooser.chosen()] == ["t1.nii.gz"]
    assert chooser.findChild(QLabel).text().startswith("2 scans and 2 masks or maps were found.")


def test_a_look_that_is_cancelled_is_no_fault(broken, tmp_path):
    def stop(event):
        raise Cancelled("stop")

    with pytest.raises(Cancelled):
        LookJob((tmp_path,))(JobChannel(stop, stop))


def test_scans_of_the_same_name_are_listed_with_their_folders(qtbot, tmp_path):
    def folders_of(*places):
        chooser = ScanChooser([ScanFile(tmp_path / place, "volume", (4, 5, 6)) for place in places])
        qtbot.addWidget(chooser)
        items = [chooser.list.topLevelItem(row) for row in range(len(places))]
        assert [item.text(0) for item in items] == [Path(place).name for place in places]
        assert [item.toolTip(4) for item in items] == [str(tmp_path / place) for place in places]
        return [] if chooser.list.isColumnHidden(4) else [item.text(4) for item in items]

    assert folders_of("anna/t1.nii.gz", "berta/late/t1.nii.gz") == ["anna", str(Path("berta/late"))]
    assert folders_of("t1.nii.gz", "berta/t1.nii.gz") == [".", "berta"]
    assert folders_of("anna/t1.nii.gz", "anna/t2.nii.gz") == []


def test_a_look_at_pictures_that_were_named_can_be_cancelled(tmp_path):
    """Of a thousand on a network drive all were opened first, twice."""
    paths = [tmp_path / f"b{number}.png" for number in range(4)]
    for path in paths:
        Image.fromarray(np.zeros((4, 5), np.uint8)).save(path)

    def stop(event):
        if event.done == 2:
            raise Cancelled("stop")

    with pytest.raises(Cancelled):
        LookJob(tuple(paths), stacks_files=True)(JobChannel(stop, stop))
