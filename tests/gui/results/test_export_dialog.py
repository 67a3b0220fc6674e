"""What the export dialog says before anything is written."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from qtpy.QtCore import QPoint, QSize

from napari_dinoad.gui.parts.folding import ScrolledColumn
from napari_dinoad.gui.results.export_dialog import ExportDialog
from napari_dinoad.images.volume import Geometry, Volume
from napari_dinoad.machine.file_names import safe_stem
from napari_dinoad.maps.export import save_on_grid


@pytest.fixture
def open_dialog(qtbot):
    """Return what opens the dialog for a scan of some name."""

    def make(name):
        volume = Volume(np.ones((3, 4, 5), np.float32), Geometry((5, 4, 3), np.eye(4)), name)
        dialog = ExportDialog(volume, None, None)
        qtbot.addWidget(dialog)
        return dialog

    return make


def test_the_found_regions_are_chosen_at_first(open_dialog):
    assert open_dialog("t1").masks.currentText() == "found regions"


def can_save(dialog):
    return dialog.buttons.button(dialog.buttons.StandardButton.Save).isEnabled()


@pytest.mark.parametrize("name", ["scan", "../up", "/abs", "T1/FLAIR", "**", "sub [1]", "a*b?", "n" * 300])
def test_files_that_would_be_replaced_are_counted_whatever_the_name(open_dialog, tmp_path, name):
    for other in ("scans_mask.nii.gz", "sub 1_mask.nii.gz", "aXbY_mask.nii.gz"):
        (tmp_path / other).touch()
    dialog = open_dialog(name)
    dialog.folder.value = tmp_path
    assert dialog.note.text() == ""
    assert can_save(dialog)
    (tmp_path / f"{safe_stem(name)}_mask.nii.gz").touch()
    dialog = open_dialog(name)
    dialog.folder.value = tmp_path
    assert dialog.note.text().startswith(f"1 file named “{safe_stem(name)}_…” is there already")
    assert can_save(dialog)
    dialog.choices["mask"].setChecked(False)
    assert dialog.note.text() == (
        f"1 file named “{safe_stem(name)}_…” is there already and stays: it may be of another result."
    ), "nothing of it is replaced"
    assert can_save(dialog)


def test_what_stays_beside_an_export_is_told(open_dialog, tmp_path):
    """A report of one rate lay beside the mask of another, and a worklist led to it."""
    for name in (
        "scan_mask.nii.gz",
        "scan_picture.png",
        "scan_seg.dcm",
        "scan_note.txt",
        "scan_by_hand_mask.nii.gz",
    ):
        (tmp_path / name).touch()
    dialog = open_dialog("scan")
    dialog.folder.value = tmp_path
    told = dialog.note.text()
    assert "1 file named “scan_…” is there already and will be replaced." in told
    assert "2 files named “scan_…” are there already and stay: they may be of another result." in told
    assert "worklist" not in told
    (tmp_path / "worklist.html").touch()
    dialog.choices["picture"].setChecked(True)
    assert "2 files named “scan_…” are there already and will be replaced." in dialog.note.text()
    assert "The worklist there stays as it is." in dialog.note.text()
    for box in dialog.choices.values():
        box.setChecked(False)
    dialog.choices["regions"].setChecked(True)
    assert "worklist" not in dialog.note.text(), "nothing that it leads to is replaced"


@pytest.mark.parametrize(
    ("moved", "is_other"), [((0, 0, 0), False), ((0, 0, 0.00001), False), ((0, 3, 0), True), (None, True)]
)
def test_files_of_another_scan_of_the_same_name_are_not_replaced(open_dialog, tmp_path, moved, is_other):
    affine = np.eye(4)
    affine[:3, 3] = moved or 0
    other = Volume(
        np.ones((3, 4, 5 if moved else 6), np.float32), Geometry((5 if moved else 6, 4, 3), affine), "t1"
    )
    save_on_grid(tmp_path / "t1_anomaly.nii.gz", other.values, other, "map")
    dialog = open_dialog("t1")
    dialog.folder.value = tmp_path
    assert ("of another scan" in dialog.note.text()) == is_other
    assert can_save(dialog) != is_other
    dialog.folder.value = tmp_path / "elsewhere"
    assert dialog.note.text() == "" and can_save(dialog)


def test_the_choices_stay_where_they_are_when_a_folder_is_chosen(qtbot, open_dialog, tmp_path):
    dialog = open_dialog("scan")
    with qtbot.waitExposed(dialog):
        dialog.show()
    assert dialog.note.isVisible()
    widgets = [*dialog.choices.values(), dialog.folder.native]
    before = [widget.mapTo(dialog, QPoint()) for widget in widgets]
    dialog.folder.value = tmp_path
    assert not dialog.note.isVisible()
    dialog.layout().activate()
    assert [widget.mapTo(dialog, QPoint()) for widget in widgets] == before


def test_a_window_that_was_made_smaller_stays_so(qtbot, open_dialog, tmp_path):
    """It grew again with each choice, to where a person had just taken it from."""
    dialog = open_dialog("scan")
    with qtbot.waitExposed(dialog):
        dialog.show()
    wanted = dialog.size()
    dialog.resize(wanted.width() + 60, wanted.height() - 80)
    qtbot.waitUntil(lambda: dialog.height() == wanted.height() - 80)
    for box in dialog.choices.values():
        box.toggle()
    (tmp_path / "scan_mask.nii.gz").touch()
    dialog.folder.value = tmp_path
    assert dialog.note.text()
    assert dialog.size() == QSize(wanted.width() + 60, wanted.height() - 80)


def test_a_window_that_was_made_smaller_stays_so_when_a_note_comes_and_goes(qtbot, open_dialog, tmp_path):
    dialog = open_dialog("scan")
    for name in ("scan_mask.nii.gz", "scan_picture.png", "worklist.html"):
        (tmp_path / name).touch()
    dialog.folder.value = tmp_path
    with qtbot.waitExposed(dialog):
        dialog.show()
    assert dialog.note.text()
    wanted = dialog.height() - 5
    dialog.resize(dialog.width(), wanted)
    qtbot.waitUntil(lambda: dialog.height() == wanted)
    for folder in (tmp_path / "none", tmp_path):
        dialog.folder.value = folder
    assert dialog.note.text()
    assert dialog.height() == wanted


def test_a_longer_note_takes_no_room_from_the_choices(qtbot, open_dialog, tmp_path):
    dialog = open_dialog("scan")
    dialog.folder.value = tmp_path
    with qtbot.waitExposed(dialog):
        dialog.show()
    before = dialog.height()
    for name in ("scan_mask.nii.gz", "scan_picture.png", "worklist.html"):
        (tmp_path / name).touch()
    dialog.choices["mask"].toggle()
    dialog.choices["mask"].toggle()
    assert dialog.note.text()
    assert dialog.height() > before


@pytest.mark.parametrize("text", ["/" + "x" * 300, "~no-such-user-here/out", "/no/such/folder"])
def test_a_folder_is_typed_without_errors(qtbot, open_dialog, text):
    dialog = open_dialog("scan")
    qtbot.keyClicks(dialog.folder.line_edit.native, text)
    assert "already" not in dialog.note.text()


@pytest.mark.parametrize("points", [9, 20])
def test_no_choice_is_cut_off_whatever_the_size_of_letters(qtbot, open_dialog, points):
    dialog = open_dialog("scan")
    dialog.setStyleSheet(f"* {{font-size: {points}pt}}")
    dialog.show()
    dialog.resize(10, 10)
    qtbot.waitUntil(lambda: all(box.width() >= box.sizeHint().width() for box in dialog.choices.values()))
    assert dialog.width() >= 420


def test_the_buttons_are_on_a_low_screen(qtbot, open_dialog, monkeypatch):
    """The window needed more than the 384 px of a laptop at a scale of 200 %: its buttons were below the screen."""
    dialog = open_dialog("scan")
    monkeypatch.setattr(dialog, "screen", lambda: SimpleNamespace(availableSize=lambda: QSize(683, 240)))
    dialog.show()
    qtbot.waitExposed(dialog)
    assert dialog.height() <= 240
    save = dialog.buttons.button(dialog.buttons.StandardButton.Save)
    assert dialog.rect().contains(save.mapTo(dialog, save.rect().bottomRight()))
    last = dialog.folder.native
    dialog.folder.line_edit.native.setFocus()
    qtbot.waitUntil(lambda: dialog.rect().contains(last.mapTo(dialog, last.rect().center())))
    assert all(box.width() >= box.sizeHint().width() for box in dialog.choices.values()), (
        "scrolled down alone"
    )


def test_nothing_scrolls_where_there_is_room(qtbot, open_dialog, tmp_path):
    for name in ("scan_mask.nii.gz", "scan_picture.png"):
        (tmp_path / name).touch()
    dialog = open_dialog("scan")
    dialog.show_regions(3, 4, is_measured=True, is_scoring=False)
    dialog.show()
    qtbot.waitExposed(dialog)
    bar = dialog.findChild(ScrolledColumn).verticalScrollBar()
    qtbot.waitUntil(lambda: bar.maximum() == 0)
    dialog.folder.value = tmp_path
    assert dialog.note.text().count("there already") == 2, "in several lines"
    qtbot.waitUntil(lambda: bar.maximum() == 0)


def test_regions_are_told_as_far_as_they_are_known(open_dialog):
    dialog = open_dialog("scan")
    dialog.show_regions(0, 0, is_measured=False, is_scoring=True)
    assert "0" not in dialog.regions.text()
    assert "not scored yet" in dialog.regions.text()
    dialog.show_regions(0, 0, is_measured=False, is_scoring=False)
    assert "not scored yet" not in dialog.regions.text()
    dialog.show_regions(2, 3, is_measured=True, is_scoring=False)
    assert "2 of 3 regions" in dialog.regions.text()
    dialog.show_regions(1, 1, is_measured=True, is_scoring=False)
    assert dialog.regions.text().endswith(": 1 region.")
