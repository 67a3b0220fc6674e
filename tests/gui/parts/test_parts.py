"""The small widgets: slider, table, profile, letters, windows."""

from __future__ import annotations

import ast
import re
import threading
from dataclasses import replace
from pathlib import Path

import napari.settings
import numpy as np
import pytest
from magicgui.widgets import FileEdit
from napari.layers import Image
from qtpy.QtCore import QPointF, Qt, QTimer
from qtpy.QtGui import QColor, QPalette
from qtpy.QtWidgets import QApplication, QLabel, QLineEdit, QPushButton, QVBoxLayout, QWidget

from contrast import AA, contrast
from napari_dinoad import gui
from napari_dinoad.calibration import NormalPeaks
from napari_dinoad.gui.parts.folding import Folded, FoldingRow, ScrolledColumn
from napari_dinoad.gui.parts.job_row import JobRow
from napari_dinoad.gui.parts.parts import NoteLabel, name_field
from napari_dinoad.gui.parts.profile_plot import CurvePlot, ProfilePlot, trend_in_words
from napari_dinoad.gui.results.rate_slider import RateSlider
from napari_dinoad.gui.results.region_table import (
    MAX_ROWS,
    RegionTable,
    probability_in_words,
    region_size_in_words,
)
from napari_dinoad.gui.viewer.ct_windows import (
    AUTOMATIC,
    CT_WINDOWS_HU,
    apply_window,
    looks_like_ct,
    lowest_value,
)
from napari_dinoad.gui.viewer.grey_limits import display_range
from napari_dinoad.gui.work.worker import JobProgress, JobRunner
from napari_dinoad.maps import Region
from napari_dinoad.maps.finding_words import rate_in_words
from napari_dinoad.progress import ProgressEvent
from patience import PATIENCE_S


def region(label, n_voxels=10, peak=3.0, mm=(12.0, -3.4, 50.0)):
    return Region(
        label, n_voxels, 24.0 * n_voxels, None, None, peak, (1, 2, 3), (3, 2, label), mm, (1, 2, 3), mm
    )


def test_three_regions_are_in_sight_whatever_the_size_of_letters(qtbot):
    table = RegionTable()
    qtbot.addWidget(table)
    table.show_regions([region(label) for label in (1, 2, 3, 4)], lambda _: True)
    for points in (9, 14, 20):
        font = table.font()
        font.setPointSize(points)
        table.setFont(font)
        table.resize(table.minimumSizeHint())
        table.show()
        QApplication.processEvents()
        assert table.viewport().height() >= 3 * table.visualItemRect(table.topLevelItem(0)).height()


def test_the_place_of_a_region_is_whole_however_narrow_the_table(qtbot):
    """“L 100 P 78 S …” was all of it, also where a bar scrolled to its end."""
    table = RegionTable()
    qtbot.addWidget(table)
    table.show_regions(
        [replace(region(label), peak_mm=(-1100.0, -1078.0, 1831.0)) for label in (1, 2)], lambda _: True
    )
    for width in (600, 330, 232):
        table.resize(width, 120)
        table.show()
        QApplication.processEvents()
        assert table.columnWidth(4) >= table.sizeHintForColumn(4)


def test_each_column_of_the_table_says_what_it_is(qtbot):
    table = RegionTable()
    qtbot.addWidget(table)
    words = [table.headerItem().toolTip(column) for column in range(table.columnCount())]
    assert "Ticked" in words[0]
    assert "one in a thousand" in words[2]
    assert all(words)


def test_a_row_folds_where_there_is_no_room_for_it(qtbot):
    parts_of_it = QPushButton("Find in whole scan"), QPushButton("This slice only"), QPushButton("auto")
    window = QWidget()
    row = FoldingRow((parts_of_it[0], parts_of_it[1:]), parent=window)
    qtbot.addWidget(window)
    window.show()
    side_by_side = sum(button.minimumSizeHint().width() for button in parts_of_it) + 8
    assert row.minimumSizeHint().width() < side_by_side
    for width, is_one_line in ((side_by_side, True), (side_by_side - 1, False), (side_by_side, True)):
        row.resize(width, 80)
        qtbot.waitUntil(
            lambda is_one_line=is_one_line: (parts_of_it[0].y() == parts_of_it[1].y()) == is_one_line
        )
        assert parts_of_it[1].y() == parts_of_it[2].y()


def test_a_text_in_a_row_that_folds_takes_two_lines_at_most(qtbot):
    note, button = NoteLabel(), QPushButton("Score a folder…")
    note.tell("Research use only; not a medical device.")
    window = QWidget()
    row = FoldingRow((note, button), (1, 0), window)
    qtbot.addWidget(window)
    window.show()
    row.resize(button.minimumSizeHint().width() + 40, 80)
    qtbot.waitUntil(lambda: button.y() > note.y())


def n_lines_drawn(label):
    """Return how many lines of text a label shows."""
    image = label.grab().toImage()
    lightness = [
        [image.pixelColor(x, y).lightness() for x in range(image.width())] for y in range(image.height())
    ]
    has_ink = np.ptp(lightness, axis=1) > 30
    return int(np.count_nonzero(np.diff(has_ink.astype(int), prepend=0) == 1))


@pytest.mark.parametrize("points", [9, 14])
def test_a_text_that_nearly_fills_its_line_takes_no_more_room(dock, viewer, monkeypatch, points):
    monkeypatch.setattr(napari.settings.get_settings().appearance, "font_size", points)
    viewer.window._qt_window.show()
    dock.find.note.tell("Choose a model now")
    dock.result.scan_words.setText("Choose a model now")
    dock.result.show()
    for label in (dock.find.note, dock.result.scan_words):
        one, heights = label.fontMetrics().lineSpacing(), []
        width = label.fontMetrics().horizontalAdvance(label.text())
        for wide in range(width - 2, width + 20):
            label.resize(wide, 5 * one)
            heights.append((n_lines_drawn(label), label.heightForWidth(wide)))
        assert {n for n, _ in heights} == {1, 2}
        assert all((height >= 2 * one) == (n == 2) for n, height in heights)


def test_parts_below_each_other_do_not_drift_apart(qtbot):
    note, button = NoteLabel(), QPushButton("Score a folder…")
    note.tell("Research use only; not a medical device.")
    window = QWidget()
    rows = QVBoxLayout(window)
    rows.addStretch(0)
    row = FoldingRow((note, button), (1, 0))
    rows.addWidget(row)
    qtbot.addWidget(window)
    window.show()
    for width, is_one_line in ((160, False), (800, True), (160, False)):
        window.resize(width, 800)
        qtbot.waitUntil(
            lambda is_one_line=is_one_line: (button.y() < note.geometry().bottom()) == is_one_line
        )
        QApplication.processEvents()
        assert note.height() <= 3 * note.fontMetrics().lineSpacing()
        assert (note.width() > window.width() / 2) or not is_one_line


@pytest.mark.parametrize("rate", [0.1, 0.05, 0.01, 0.0033, 0.0001])
def test_slider_holds_the_rate(qtbot, rate):
    slider = RateSlider()
    qtbot.addWidget(slider)
    slider.set_rate(rate)
    assert slider.rate == pytest.approx(rate, rel=1e-6)
    assert slider.value_label.text() == rate_in_words(rate)


def test_slider_is_clipped_silent_when_set_and_works_with_keys(qtbot):
    slider = RateSlider(0.01)
    qtbot.addWidget(slider)
    heard = []
    slider.rate_changed.connect(heard.append)
    slider.set_rate(0.5)
    assert slider.rate == pytest.approx(0.1)
    assert heard == []
    for key in ("Right", "PageUp", "End"):
        before = slider.rate
        qtbot.keyClick(slider.slider, getattr(Qt.Key, f"Key_{key}"))
        assert heard[-1] == slider.rate < before
    qtbot.keyClick(slider.slider, Qt.Key.Key_Home)
    assert heard[-1] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("rate", "words"), [(0.1, "10 %"), (0.01, "1 %"), (0.00032, "0.032 %"), (0.0001, "0.01 %")]
)
def test_rates_in_words(rate, words):
    assert rate_in_words(rate) == words


def test_regions_in_words():
    assert region_size_in_words(region(1, 10)) == "240 mm³"
    assert region_size_in_words(region(1, 1000)) == "24.0 cm³"
    assert region_size_in_words(replace(region(1), volume_mm3=0.0123)) == "0.012 mm³"
    assert probability_in_words(2.4) == "0.4 %"
    assert probability_in_words(6.0) == "< 0.001 %"
    pixels = Region(1, 7, None, None, 7, 2.0, (4, 9), (0, 4, 9), None, (4, 9), None)
    assert region_size_in_words(pixels) == "7 px"


def test_table_says_where_peaks_are(qtbot):
    table = RegionTable()
    qtbot.addWidget(table)
    image = Region(4, 7, None, None, 7, 2.0, (4, 9), (0, 4, 9), None, (4, 9), None)
    of_a_stack = Region(5, 7, None, None, 7, 2.0, (3, 4, 9), (3, 4, 9), None, (3, 4, 9), None)
    regions = (region(1), region(2, mm=(-1.0, 2.0, -3.0)), image, of_a_stack)
    table.show_regions(regions, lambda region: True)
    assert [table.topLevelItem(row).text(4) for row in range(4)] == [
        "R 12 P 3 S 50",
        "L 1 A 2 I 3",
        "column 9, row 4",
        "image 4, column 9, row 4",
    ]


def test_table_sorts_by_figures_and_tells_of_clicks_and_ticks(qtbot):
    table = RegionTable()
    qtbot.addWidget(table)
    regions = [region(1, 9, 5.0), region(2, 1000, 4.0), region(3, 50, 3.0)]
    unticked = {2}
    table.show_regions(regions, lambda r: r.label not in unticked)
    table.sortByColumn(1, Qt.SortOrder.DescendingOrder)
    assert [table.topLevelItem(i).text(0) for i in range(3)] == ["2", "3", "1"]
    assert table.topLevelItem(0).checkState(0) == Qt.CheckState.Unchecked
    chosen, ticked = [], []
    table.region_chosen.connect(chosen.append)
    table.ticks_changed.connect(lambda some, on: ticked.extend((r.label, on) for r in some))
    table.setCurrentItem(table.topLevelItem(1))
    assert [r.label for r in chosen] == [3]
    table.topLevelItem(0).setCheckState(0, Qt.CheckState.Checked)
    assert ticked == [(2, True)]
    table.show_regions(regions[::-1], lambda r: True)
    assert table.chosen_region().label == 3
    assert chosen[1:] == []


def table_of(qtbot, n, regions_ticked=lambda r: True):
    """Return a table of n regions, the signals of its ticks, and their regions."""
    table = RegionTable()
    qtbot.addWidget(table)
    regions = [region(k, 9, 5.0 - k / 1000) for k in range(1, n + 1)]
    table.show_regions(regions, regions_ticked)
    heard = []
    table.ticks_changed.connect(lambda some, on: heard.append(([r.label for r in some], on)))
    return table, heard, regions


def act(table, region, words):
    """Choose an entry of the table's menu."""
    (action,) = (action for action in table.menu_for(region).actions() if action.text() == words)
    action.trigger()


def ticked_rows(table):
    items = [table.topLevelItem(row) for row in range(table.topLevelItemCount())]
    return [int(item.text(0)) for item in items if item.checkState(0) == Qt.CheckState.Checked]


def test_many_regions_are_ticked_at_once_also_those_that_are_not_listed(qtbot):
    table, heard, regions = table_of(qtbot, MAX_ROWS + 5)
    act(table, None, "Untick all")
    assert heard == [([r.label for r in regions], False)]
    assert ticked_rows(table) == []
    act(table, None, "Tick all")
    assert heard[1] == ([r.label for r in regions], True)
    assert len(ticked_rows(table)) == MAX_ROWS


def test_a_region_is_kept_alone(qtbot):
    table, heard, regions = table_of(qtbot, 4, lambda r: r.label != 3)
    act(table, regions[2], "Keep only this region")
    assert heard == [([1, 2, 4], False), ([3], True)]
    assert ticked_rows(table) == [3]
    assert "Keep only this region" not in [action.text() for action in table.menu_for(None).actions()]


def test_how_many_normal_scans_reach_each_peak(qtbot):
    table = RegionTable()
    qtbot.addWidget(table)
    regions = [region(1, 9, 5.0), region(2, 1000, 4.0), region(3, 50, 3.0)]
    peaks = NormalPeaks(np.array([4.5, 3.5, 3.2], np.float32), np.ones(3))
    table.show_regions(regions, lambda r: r.label != 1, peaks)
    assert not table.isColumnHidden(3)
    assert [table.topLevelItem(row).text(3) for row in range(3)] == ["0 of 3", "1 of 3", "3 of 3"]
    table.sortByColumn(3, Qt.SortOrder.DescendingOrder)
    assert [table.topLevelItem(row).text(3) for row in range(3)] == ["3 of 3", "1 of 3", "0 of 3"]
    act(table, None, "Keep only what no normal scan reaches")
    assert ticked_rows(table) == [1]
    lower = NormalPeaks(np.array([9.0], np.float32), np.ones(1))
    table.show_regions(regions, lambda r: True, lower)
    words = "Keep only what no normal scan reaches"
    (action,) = (action for action in table.menu_for(None).actions() if action.text() == words)
    assert not action.isEnabled()
    table.show_regions(regions, lambda r: True)
    assert table.isColumnHidden(3)
    assert words not in [action.text() for action in table.menu_for(None).actions()]
    table.copy_ticked()
    assert QApplication.clipboard().text().splitlines()[0].count("\t") == 3


def test_what_was_copied_before_stays_where_no_region_is_ticked(qtbot):
    table, _, _ = table_of(qtbot, 3, lambda r: False)
    QApplication.clipboard().setText("before")
    words = "Copy the ticked regions as text"
    (action,) = (action for action in table.menu_for(None).actions() if action.text() == words)
    assert not action.isEnabled()
    qtbot.keyClick(table, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    assert QApplication.clipboard().text() == "before"


@pytest.mark.parametrize(("ground", "chosen"), [("#262930", "#5f676b"), ("#efebe9", "#aca6a2")])
def test_boxes_that_are_not_ticked_are_seen_in_either_theme_and_in_the_chosen_row(qtbot, ground, chosen):
    window = QWidget()
    qtbot.addWidget(window)
    table, _, _ = table_of(qtbot, 2)
    table.setParent(window)
    window.setStyleSheet(f"QWidget {{ background-color: {ground}; }}")
    window.show()
    (line,) = re.findall(r"solid (#\w+)", table.styleSheet())
    for behind in (ground, chosen):
        one, other = (QColor(name).getRgbF()[:3] for name in (line, behind))
        assert contrast(one, other) > 3, "WCAG 2.1, 1.4.11"


@pytest.mark.parametrize("column", (1, 2, 4))
def test_space_unticks_the_chosen_region_whichever_of_its_cells_was_clicked(qtbot, column):
    table, heard, _ = table_of(qtbot, 3, lambda r: True)
    table.resize(400, 200)
    with qtbot.waitExposed(table):
        table.show()
    chosen = []
    table.region_chosen.connect(chosen.append)
    place = table.visualRect(table.indexFromItem(table.topLevelItem(1), column)).center()
    qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)
    chosen.clear()
    qtbot.keyClick(table, Qt.Key.Key_Space)
    assert heard == [([2], False)]
    assert ticked_rows(table) == [1, 3]
    qtbot.keyClick(table, Qt.Key.Key_Space)
    assert ticked_rows(table) == [1, 2, 3]
    assert chosen == [], "it ticks, and goes nowhere"
    qtbot.keyClick(table, Qt.Key.Key_Down)
    assert [region.label for region in chosen] == [3]


@pytest.mark.parametrize("how", ["menu", "keys"])
def test_ticked_regions_are_copied_as_text_in_the_order_shown(qtbot, how):
    table, _, _ = table_of(qtbot, 3, lambda r: r.label != 2)
    table.sortByColumn(0, Qt.SortOrder.DescendingOrder)
    if how == "menu":
        act(table, None, "Copy the ticked regions as text")
    else:
        qtbot.keyClick(table, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    lines = [line.split("\t") for line in QApplication.clipboard().text().splitlines()]
    assert [line[0] for line in lines] == ["3", "1"]
    assert lines[1][1:] == ["216 mm³", "0.001 %", "R 12 P 3 S 50"]


def test_profile_finds_slices_in_both_directions(qtbot):
    plot = ProfilePlot()
    qtbot.addWidget(plot)
    assert plot.slice_at(10) is None
    plot.resize(104, 56)
    plot.show_profile(np.arange(10, dtype=np.float32), np.arange(10) < 5, 2.0)
    plot.set_shown(3)
    plot.grab()
    assert [plot.slice_at(x) for x in (-5, 3, 51, 103, 500)] == [0, 0, 4, 9, 9]
    plot.set_mirrored(True)
    plot.grab()
    assert [plot.slice_at(x) for x in (3, 103)] == [9, 0]
    with qtbot.waitSignal(plot.slice_chosen) as heard:
        qtbot.mouseClick(plot, Qt.MouseButton.LeftButton, pos=QPointF(3, 5).toPoint())
    assert heard.args == [9]


@pytest.mark.parametrize("is_mirrored", [False, True])
def test_no_arrow_key_on_the_profile_is_lost_before_the_viewer_answers(qtbot, is_mirrored):
    plot = ProfilePlot()
    qtbot.addWidget(plot)
    plot.show_profile(np.arange(10, dtype=np.float32), np.ones(10, bool), 2.0)
    plot.set_mirrored(is_mirrored)
    plot.set_shown(3)
    heard = []
    plot.slice_chosen.connect(heard.append)
    for _ in range(3):
        qtbot.keyClick(plot, Qt.Key.Key_Left if is_mirrored else Qt.Key.Key_Right)
    assert heard == [4, 5, 6]
    qtbot.keyClick(plot, Qt.Key.Key_Home)
    qtbot.keyClick(plot, Qt.Key.Key_Right if is_mirrored else Qt.Key.Key_Left)
    assert heard[3:] == [9, 8]


def test_curves_are_drawn_whatever_they_hold(qtbot):
    plot = CurvePlot()
    qtbot.addWidget(plot)
    for curves in (
        {},
        {"loss": [1.0]},
        {"loss": [2.0, 2.0]},
        {"a": [3.0, float("nan"), 1.0], "b": [1.0, 2.0]},
    ):
        plot.show_curves(curves)
        image = plot.grab().toImage()
        below_names = range(image.height() // 2, image.height())
        colours = {image.pixelColor(x, y).name() for y in below_names for x in range(image.width())}
        assert (len(colours) > 1) == bool(curves), "a fit that is done after one round has a point"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([-90.0], ""),
        ([-90.0, -150.0], "falls"),
        ([-90.0, -161.0, -161.8], "hardly changes any more"),
        ([3.0, 1.0, 1.5], "rises"),
        ([2.0, 2.0], "hardly changes any more"),
    ],
)
def test_where_a_curve_goes_is_told_in_words(values, words):
    assert trend_in_words(values) == words


def colours_of(label):
    """Return the colours (3,) of a label's text and of its ground."""
    roles = (QPalette.ColorRole.WindowText, QPalette.ColorRole.Window)
    return [label.palette().color(role).getRgbF()[:3] for role in roles]


def test_notes_can_be_read_in_every_theme(dock, viewer):
    dock.windows.open_fit()
    note, in_dialog = dock.find.note, dock.windows.fit.panel.notes
    for theme in ("dark", "light", "dark"):
        viewer.theme = theme
        for label in (note, in_dialog):
            for kind in ({}, {"warning": True}, {"error": True}):
                label.tell("Words", **kind)
                assert contrast(*colours_of(label)) >= AA
    note.tell("Words", warning=True)
    before = colours_of(note)
    viewer.theme = "light"
    assert colours_of(note) != before
    assert contrast(*colours_of(note)) >= AA
    dock.windows.fit.close()


def test_notes_can_be_read_in_a_window_that_was_just_opened(qtbot, dock, viewer):
    viewer.theme = "dark"
    viewer.window._qt_window.show()
    dock.windows.open_folder()
    about = dock.windows.folder.about
    qtbot.waitExposed(dock.windows.folder)
    assert about.text() and contrast(*colours_of(about)) >= AA


def test_ct_windows():
    rng = np.random.default_rng(0)
    ct = Image(rng.integers(-1000, 2000, (4, 32, 32)).astype(np.float32))
    mr = Image(rng.random((4, 32, 32)))
    assert looks_like_ct(ct)
    assert not looks_like_ct(mr)
    for name, (centre, width) in CT_WINDOWS_HU.items():
        apply_window(ct, name)
        assert tuple(ct.contrast_limits) == (centre - width / 2, centre + width / 2)
    apply_window(ct, AUTOMATIC)
    low, high = ct.contrast_limits
    assert low < high


def test_a_window_may_reach_beyond_the_values():
    layer = Image(np.random.default_rng(0).integers(-600, 50, (4, 32, 32)).astype(np.float32))
    apply_window(layer, "Bone")
    assert tuple(layer.contrast_limits) == (-800, 2000)
    low, high = layer.contrast_limits_range
    assert low <= -800 and high >= 2000


def test_a_ct_with_voxels_without_a_value_is_one():
    """Resampled scans have NaN around: no windows were offered, and the automatic one was black."""
    values = np.random.default_rng(0).integers(-1000, 2000, (4, 32, 32)).astype(np.float32)
    plain, holed = Image(values), Image(np.where(np.arange(32) < 6, np.nan, values))
    assert looks_like_ct(holed)
    apply_window(plain, AUTOMATIC)
    apply_window(holed, AUTOMATIC)
    np.testing.assert_allclose(holed.contrast_limits, plain.contrast_limits, atol=20)
    empty = np.full((2, 32, 32), np.nan, np.float32)
    assert lowest_value(empty) is None
    assert display_range(empty) == (0.0, 1.0)


def test_values_that_are_not_finite_do_not_make_a_scan_ct():
    values = np.linspace(1, 100, 2 * 16 * 16, dtype=np.float32).reshape(2, 16, 16)
    values[0, 0, 0], values[0, 0, 8] = -np.inf, np.nan
    assert lowest_value(values) == values[0, 8, 0]
    assert not looks_like_ct(Image(values, contrast_limits=(0, 100)))
    assert lowest_value(np.full_like(values, -np.inf)) is None


def test_of_steps_that_come_at_once_the_job_row_draws_the_last(qtbot):
    row, runner = JobRow(), JobRunner(in_activity_dock=False)
    qtbot.addWidget(row)
    row.follow(runner)
    drawn = []
    row.bar.valueChanged.connect(drawn.append)

    def job(channel):
        for i in range(1, 6):
            channel.progress(ProgressEvent("Working", i, 6, metrics={"i": i}))
        assert go_on.wait(PATIENCE_S)

    go_on = threading.Event()
    runner.start(job, "Job")
    assert (row.bar.minimum(), row.bar.maximum()) == (0, 1), "a bar of unknown length moves all the time"
    qtbot.waitUntil(lambda: "5 of 6" in row.stage.text())
    assert drawn == [0, 5] or drawn == [5]
    with qtbot.waitSignal(runner.finished):
        go_on.set()
    assert row.isHidden()


def test_the_job_row_says_as_much_as_it_has_room_for(qtbot):
    row = JobRow()
    qtbot.addWidget(row)
    event = ProgressEvent("Training AR-CNN, fold 1 of 5", 2, 8)
    whole = "Training AR-CNN, fold 1 of 5  2 of 8  ·  24 s left in this step"
    needed = row.stage.fontMetrics().horizontalAdvance(whole)
    row.resize(needed + 20, 60)
    row.show()
    row.show_progress(JobProgress(event, 24.0))
    qtbot.waitUntil(lambda: row.stage.text() == whole)
    row.resize(needed - 5, 60)
    qtbot.waitUntil(lambda: row.stage.text() == whole.removesuffix(" in this step"))
    row.resize(needed // 2, 60)
    qtbot.waitUntil(lambda: row.stage.text().endswith("…"))
    assert row.stage.fontMetrics().horizontalAdvance(row.stage.text()) <= row.stage.width()
    assert row.stage.toolTip() == whole


def test_the_job_row_shows_a_job_that_begins_as_the_one_before_ends(qtbot):
    runner, row, gate = JobRunner(in_activity_dock=False), JobRow(), threading.Event()
    qtbot.addWidget(row)
    waiting = [lambda channel: gate.wait(PATIENCE_S)]
    # Connected first, as where what waits its turn is started: the row hears of the next job before this one ends.
    runner.finished.connect(lambda: waiting and runner.start(waiting.pop(), "Reading"))
    row.follow(runner)
    runner.start(lambda channel: None, "Looking for scans")
    qtbot.waitUntil(lambda: row.stage.text() == "Reading")
    assert row.isVisible()
    with qtbot.waitSignal(runner.finished):
        gate.set()
    assert not row.isVisible()


@pytest.mark.viewer
def test_naparis_spinner_turns_slowly_while_a_job_runs(qtbot, make_napari_viewer):
    make_napari_viewer()
    windows = QApplication.topLevelWidgets()
    movies = [label.movie() for window in windows for label in window.findChildren(QLabel) if label.movie()]
    assert movies
    runner = JobRunner()
    with qtbot.waitSignal(runner.finished):
        runner.start(lambda channel: None, "Job")
    assert {movie.speed() for movie in movies} == {10}


def test_no_slot_keeps_its_widget_alive():
    """PySide6 holds a lambda while its sender lives: with ``self`` in it, neither is ever freed.

    Closed docks stayed so, with all results of their scans. PyQt6 finds such circles; both hold methods weakly.
    """
    holding = []
    for path in sorted(Path(gui.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "connect"):
                continue
            slots = [given for given in node.args if isinstance(given, ast.Lambda)]
            names = {getattr(inner, "id", "") for slot in slots for inner in ast.walk(slot)}
            holding += [f"{path.name}:{node.lineno}"] if "self" in names else []
    assert holding == []


def test_tab_reaches_nothing_that_is_folded(qtbot):
    window = QWidget()
    qtbot.addWidget(window)
    rows = QVBoxLayout(window)
    folded, inside, after = Folded("More settings"), QLineEdit(), QLineEdit()
    folded.addWidget(inside)
    rows.addWidget(folded)
    rows.addWidget(after)
    window.show()
    qtbot.waitExposed(window)
    for reached, change in ((after, None), (inside, folded.expand), (after, folded.collapse)):
        if change is not None:
            change()
        folded.toggleButton().setFocus()
        qtbot.keyClick(folded.toggleButton(), Qt.Key.Key_Tab)
        assert window.focusWidget() is reached
        assert (inside.visibleRegion().isEmpty()) == (reached is after)


def test_a_part_is_scrolled_to_as_large_as_it_gets(qtbot):
    """Its height follows some rounds later, when all that holds it has been laid out."""
    column, above, part = ScrolledColumn(), QWidget(), NoteLabel()
    qtbot.addWidget(column)
    above.setMinimumHeight(150)
    column.rows.addWidget(above)
    column.rows.addWidget(part)
    column.resize(300, 200)
    with qtbot.waitExposed(column):
        column.show()
    column.bring_into_sight(part)
    QTimer.singleShot(10, lambda: part.tell("name_of_a_file.nii.gz " * 12))
    bar = column.verticalScrollBar()
    qtbot.waitUntil(lambda: bar.maximum() > 0 and not column._laid_out.isActive())
    shown = column.viewport().rect()
    assert shown.contains(part.mapTo(column.viewport(), part.rect().bottomLeft()))


def test_of_a_long_step_on_a_narrow_dock_the_time_left_is_what_stays(qtbot):
    row = JobRow()
    qtbot.addWidget(row)
    row.show()
    event = ProgressEvent("Reading and embedding", 3, 24, "scan 4")
    row.show_progress(JobProgress(event, 19.0))
    width = row.fontMetrics().horizontalAdvance("Reading and embedding  3 of 24  ·  19 s left ")
    row.resize(width + 12, row.height())
    qtbot.waitUntil(lambda: row.stage.text() == "Reading and embedding  3 of 24  ·  19 s left")


def test_a_field_for_a_path_and_its_button_say_what_they_are_for(qtbot):
    fields = [FileEdit(mode="d"), FileEdit(mode="d")]
    for field, name in zip(fields, ("Scans", "Results"), strict=True):
        qtbot.addWidget(field.native)
        name_field(field, name)
    names = [field.choose_btn.native.accessibleName() for field in fields]
    assert names == ["Choose directory: Scans", "Choose directory: Results"]
    assert fields[0].line_edit.native.accessibleName() == "Scans"
