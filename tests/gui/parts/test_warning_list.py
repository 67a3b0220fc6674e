"""Warnings in little room."""

from __future__ import annotations

from qtpy.QtWidgets import QApplication

from napari_dinoad.gui.parts.warning_list import WarningList

LONG = (
    "Another contrast than the normal scans: the median of its tissue lies at 27 %, theirs at 46.3 to 54.2 %."
)


def test_the_first_warning_is_shown_and_the_others_open(qtbot):
    warnings = WarningList()
    qtbot.addWidget(warnings)
    warnings.resize(300, 400)
    assert warnings.isHidden()
    assert warnings.text() == ""
    warnings.tell(["One."])
    assert not warnings.isHidden()
    assert warnings.first.text() == "One."
    assert warnings.more.isHidden()
    warnings.tell(["One.", "Two."])
    assert warnings.more.text() == "1 more warning"
    assert warnings.others.visibleRegion().isEmpty()
    warnings.more.expand()
    qtbot.waitUntil(lambda: not warnings.others.visibleRegion().isEmpty())
    warnings.tell(["One.", "Two.", "Three."])
    assert warnings.more.text() == "2 more warnings"
    assert warnings.others.text() == "• Two.\n• Three."
    assert not warnings.others.visibleRegion().isEmpty()
    assert warnings.text() == "One.\nTwo.\nThree."
    warnings.tell([])
    assert warnings.isHidden()


def test_several_warnings_take_one_row_more_than_one(qtbot):
    warnings = WarningList()
    qtbot.addWidget(warnings)
    width_px = 300

    def needed_px():
        QApplication.processEvents()
        return warnings.layout().totalHeightForWidth(width_px)

    warnings.resize(width_px, 400)
    warnings.tell([LONG])
    one = needed_px()
    warnings.tell([LONG] * 8)
    assert one < needed_px() < 2 * one
    warnings.more.expand()
    assert needed_px() > 6 * one
