"""What an export has written can be opened from where it is told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from qtpy.QtCore import QObject, Qt, QUrl, Slot
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QWidget

from napari_dinoad.gui.results.written_note import WrittenNote


class Opened(QObject):
    """Takes the place of the programs that open files and folders."""

    def __init__(self):
        super().__init__()
        self.paths = []

    @Slot(QUrl)
    def take(self, address):
        self.paths.append(Path(address.toLocalFile()))


@pytest.fixture
def opened():
    taken = Opened()
    QDesktopServices.setUrlHandler("file", taken, "take")
    yield taken
    QDesktopServices.unsetUrlHandler("file")


@pytest.fixture
def note(qtbot):
    label = WrittenNote()
    qtbot.addWidget(label)
    label.resize(600, 60)
    return label


@pytest.mark.parametrize("name", ["out", "a b & <c> #1 50%", "Befunde für Ä"])
def test_folder_and_report_open_by_keys(qtbot, note, opened, tmp_path, name):
    folder = tmp_path / name
    with qtbot.waitExposed(note):
        note.show()
    # From where the first Tab starts depends on whether the window got the focus.
    for n_links in range(4):
        note.tell_written([folder / "t1_mask.nii.gz", folder / "t1_report.html", folder / "t1_report.json"])
        assert note.text().startswith("Written into ")
        assert note.focusPolicy() & Qt.FocusPolicy.TabFocus, "Tab comes to it"
        for _ in range(n_links):
            qtbot.keyClick(note, Qt.Key.Key_Tab)
        qtbot.keyClick(note, Qt.Key.Key_Return)
    assert set(opened.paths) == {folder, folder / "t1_report.html"}


def test_what_went_wrong_is_plain_text_and_no_stop_of_the_keyboard(note, tmp_path):
    note.tell_written([tmp_path / "a.csv"])
    note.tell_error("No room in <folder>.")
    assert note.textFormat() == Qt.TextFormat.PlainText
    assert note.text() == "No room in <folder>."
    assert not note.focusPolicy() & Qt.FocusPolicy.TabFocus
    assert not note.isHidden()
    note.tell("")
    assert note.isHidden()


def test_links_have_the_colour_of_the_text_in_either_theme(qtbot, tmp_path):
    window = QWidget()
    qtbot.addWidget(window)
    note = WrittenNote(window)
    note.tell_written([tmp_path / "a.csv"])
    seen = set()
    for ground in ("#262930", "#efebe9"):
        window.setStyleSheet(f"QWidget {{ background-color: {ground}; }}")
        window.show()
        (of_link,) = re.findall(r"color: (#\w+)", note.text())
        assert of_link in note.styleSheet()
        seen.add(of_link)
    assert len(seen) == 2
