"""Which series of a folder are meant, by choice or typed."""

from __future__ import annotations

import pytest
from qtpy.QtCore import Qt

from napari_dinoad.gui.parts.series_field import SeriesField

SERIES = (("T1w", 3), ("T2 (sag)", 2))


@pytest.fixture
def field(qtbot):
    """Return the field, shown, and what was meant whenever that changed."""
    field = SeriesField()
    qtbot.addWidget(field)
    field.heard = []
    field.chosen.connect(lambda: field.heard.append(field.wanted))
    return field


def enter(qtbot, field, text):
    field.lineEdit().selectAll()
    qtbot.keyClicks(field.lineEdit(), text) if text else field.lineEdit().clear()
    qtbot.keyClick(field.lineEdit(), Qt.Key.Key_Return)


def test_all_are_meant_at_first(qtbot, field):
    assert (field.wanted, field.currentText(), field.has_choice) == (None, "all", False)
    field.show_series(SERIES[:1])
    assert (field.wanted, field.currentText(), field.has_choice) == (None, "all", False)
    field.show_series(SERIES)
    assert (field.wanted, field.currentText(), field.has_choice) == (None, "all", True)
    assert not field.heard


@pytest.mark.parametrize(
    ("typed", "wanted", "shown"),
    [
        ("T1w", "T1w", "T1w (3)"),
        ("T1w (3)", "T1w", "T1w (3)"),
        ("T2 (sag)", "T2 (sag)", "T2 (sag) (2)"),
        (" *t2* ", "*t2*", "*t2*"),
        ("t1w", "t1w", "t1w"),
    ],
)
def test_what_is_typed_is_meant_and_all_again_when_it_is_emptied(qtbot, field, typed, wanted, shown):
    field.show_series(SERIES)
    enter(qtbot, field, typed)
    assert (field.wanted, field.currentText(), field.heard) == (wanted, shown, [wanted])
    enter(qtbot, field, typed)
    assert field.heard == [wanted], "nothing else is meant"
    assert [field.itemText(place) for place in range(field.count())] == ["all", "T1w (3)", "T2 (sag) (2)"]
    enter(qtbot, field, "")
    assert (field.wanted, field.currentText(), field.heard) == (None, "all", [wanted, None])


def test_a_series_that_is_picked_is_meant_whatever_other_folder_is_shown(qtbot, field):
    field.show_series(SERIES)
    field.setFocus()
    qtbot.keyClick(field, Qt.Key.Key_Down)
    assert (field.wanted, field.heard) == ("T1w", ["T1w"])
    field.show_series((("FLAIR", 9), ("T1w", 7)))
    assert (field.wanted, field.currentText()) == ("T1w", "T1w (7)")
    field.show_series((("FLAIR", 9),))
    assert (field.wanted, field.currentText(), field.has_choice) == ("T1w", "T1w", True)
    field.show_wanted(None)
    assert (field.wanted, field.currentText(), field.has_choice) == (None, "all", False)
    assert field.heard == ["T1w"]
