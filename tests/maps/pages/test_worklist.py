"""The list of several scans: its order, what it says, and that it never says more than the reports."""

from __future__ import annotations

import csv
import errno
import io
import os
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from napari_dinoad.calibration import NormalPeaks
from napari_dinoad.errors import Cancelled, DinoadError
from napari_dinoad.images.volume import Geometry, Volume
from napari_dinoad.machine.atomic_files import write_text
from napari_dinoad.maps import AnomalyMap, Findings
from napari_dinoad.maps.pages.worklist import Worklist
from napari_dinoad.maps.pages.worklist_entry import WORKLIST_COLUMNS, WorklistEntry
from refused_files import forbid_removing_open_files

CARD = {"calibration": {"resolved_neg_log10_p": 4.0}}


def findings_of(scan, p_value=0.25, peak=3.0, geometry=None, **more):
    """Return what was found in a scan with one region of 3 × 4 × 5 voxels; none without a peak."""
    geometry = geometry or Geometry((20, 24, 12), np.diag([-2.0, -2.0, 5.0, 1.0]))
    shape = geometry.canonical_shape
    grey = np.random.default_rng(0).uniform(100, 200, shape).astype(np.float32)
    volume = Volume(grey, geometry, scan)
    values = np.full(shape, 0.2, np.float32)
    if peak:
        where = (slice(4, 7) if shape[0] > 1 else slice(0, 1), slice(6, 10), slice(8, 13))
        values[where] = 2.5
        values[5 if shape[0] > 1 else 0, 7, 9] = peak
    mask = AnomalyMap(values, volume).mask(0.01)
    return Findings(mask, scan, p_value, 3, 2 if p_value else None, card=CARD, **more)


def worklist_of(folder, *scans, failed=()):
    """Write a list of (findings, name, own score) and return its page and its rows."""
    with Worklist(folder, "t1", 0.01) as worklist:
        for scan, reason in failed:
            worklist.add_failed(scan, reason)
        for findings, name, score in scans:
            report = {"report_page": folder / f"{name}_report.html"}
            worklist.add(WorklistEntry.of(findings, name, report, score))
    return worklist.page.read_text(), list(csv.DictReader(io.StringIO(worklist.table.read_text())))


@pytest.mark.parametrize("line_break", ["\r", "\n", "\r\n", "\u2028", "\x0b"])
def test_a_break_of_lines_in_a_name_breaks_no_row(tmp_path, line_break):
    names = (f"p{line_break}1", f"p2{line_break}", "p3")
    with Worklist(tmp_path, "t1", 0.01) as worklist:
        for name in names:
            worklist.add(WorklistEntry.of(findings_of(name), "p", {}, 0.0))
    lines = worklist.table.read_bytes().decode().splitlines()
    assert len(lines) == 4
    spelled = repr(line_break)[1:-1]
    assert {row["scan"] for row in csv.DictReader(lines)} == {f"p{spelled}1", f"p2{spelled}", "p3"}


def test_the_least_normal_comes_first_and_scans_of_one_p_by_their_own_scores(tmp_path):
    scans = [
        (findings_of("a", 0.5), "a", 9.0),
        (findings_of("b", 0.25), "b", 1.0),
        (findings_of("c", None), "c", 99.0),
        (findings_of("d", 0.25), "d", 2.0),
    ]
    page, rows = worklist_of(tmp_path, *scans)
    assert [row["scan"] for row in rows] == ["d", "b", "a", "c"]
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4"]
    assert rows[3]["p_value"] == ""
    assert re.findall(r'href="(\w)_report', page) == ["d", "b", "a", "c"]


def test_figures_are_those_of_the_scan(tmp_path):
    page, rows = worklist_of(
        tmp_path, (findings_of("a.nii.gz", peak=3.5), "a", 1.0), (findings_of("b"), "b", 0.0)
    )
    row = rows[0]
    assert tuple(row) == WORKLIST_COLUMNS
    assert (row["n_regions"], row["n_more_normal"], row["n_calibration_scans"]) == ("1", "2", "3")
    assert float(row["marked_mm3"]) == 60 * 20
    assert (row["marked_mm2"], row["marked_px"]) == ("", "")
    assert float(row["peak_neg_log10_p"]) == 3.5
    # Canonical x and y run from the patient's left and back, and the affine turns both round.
    assert [float(row[f"peak_{axis}_mm"]) for axis in "xyz"] == [-2.0 * (19 - 9), -2.0 * (23 - 7), 25.0]
    assert row["report"] == "a_report.html"
    assert "1 region, 1.2 cm³" in page
    assert "one in 3,200 normal voxels" in page
    assert "More unusual than 2 of 3 normal scans" in page


def test_regions_beyond_all_normal_scans_are_counted(tmp_path):
    peaks = NormalPeaks(np.array([3.0, 3.5, 2.5], np.float32), np.ones(3))
    scans = [("a", 3.4, peaks), ("b", 3.6, peaks), ("c", 3.6, None)]
    page, rows = worklist_of(
        tmp_path,
        *((findings_of(name, peak=peak, normal_peaks=normal), name, 0.0) for name, peak, normal in scans),
    )
    assert {row["scan"]: row["n_regions_beyond_normal"] for row in rows} == {"a": "0", "b": "1", "c": ""}
    assert "1 region, 1.2 cm³; none beyond all 3 normal scans" in page
    assert "1 region, 1.2 cm³; 1 beyond all 3 normal scans" in page


def test_pictures_are_of_the_slice_with_the_peak(tmp_path):
    findings = findings_of("a")
    values = findings.mask.anomaly_map.values.copy()
    values[9, :, :] = 1.9  # a slice with more that is unusual, but nothing marked
    mask = AnomalyMap(values, findings.volume).mask(0.01)
    entry = WorklistEntry.of(replace(findings, mask=mask), "a", {}, 0.0)
    pixels = np.asarray(Image.open(io.BytesIO(entry.picture)).convert("RGB")).astype(int)
    cyan = (pixels[..., 2] - pixels[..., 0] > 100).sum()
    assert cyan > 20, "the outline of the region"


def test_a_scan_without_regions_and_scans_without_physical_size(tmp_path):
    image = findings_of("x.png", geometry=Geometry.of_pixels((24, 20)))
    page, rows = worklist_of(tmp_path, (findings_of("a", peak=None), "a", 0.0), (image, "x", 1.0))
    assert (rows[0]["marked_px"], rows[0]["marked_mm3"], rows[0]["peak_x_mm"]) == ("20", "", "")
    assert "20 px at column 9, row 7" in page
    assert (rows[1]["n_regions"], rows[1]["peak_neg_log10_p"]) == ("0", "")
    assert "nothing" in page


def test_voxels_of_micrometres_have_a_size_in_the_table(tmp_path):
    small = findings_of("a", geometry=Geometry((20, 24, 10), np.diag([0.01, 0.02, 0.05, 1.0])))
    _, rows = worklist_of(tmp_path, (small, "a", 0.0), (small, "b", 0.0))
    assert float(rows[0]["marked_mm3"]) == pytest.approx(1e-5 * int(np.count_nonzero(small.mask.labels)))
    assert float(rows[0]["peak_x_mm"]) == 0.09


def test_names_and_reasons_are_text_and_links_are_quoted(tmp_path):
    scan = (findings_of("<b>.nii", notes=("Resampled & shown.",)), "a b#1", 0.0)
    page, rows = worklist_of(tmp_path, scan, failed=[("bad<i>", "no <signal>")])
    assert "<b>.nii" not in page and "<i>" not in page and "&lt;signal&gt;" in page
    assert 'href="a%20b%231_report.html"' in page
    assert "Resampled &amp; shown." in page and rows[0]["notes"] == "Resampled & shown."
    assert "<script" not in page


def test_names_are_no_formulas_of_spreadsheets(tmp_path):
    names = ("=1+1", "+x", "-x", "@SUM(A1)", "\tx", "a=1")
    page, rows = worklist_of(tmp_path, *((findings_of(f"{name}.nii"), name, 0.0) for name in names))
    assert [row["scan"] for row in rows] == [
        *(f"'{name}.nii" for name in names[:-1]),
        "a=1.nii",
    ]
    assert {row["results"] for row in rows} == {*(f"'{name}" for name in names[:-1]), "a=1"}
    assert {row["report"][:1] for row in rows} == {"'", "a"}
    assert float(rows[0]["peak_x_mm"]) < 0, "numbers stay numbers"
    assert ">=1+1.nii<" in page, "the page shows it as it is"


def test_only_the_first_of_very_many_scans_have_pictures(tmp_path, monkeypatch):
    """A page of thousands of pictures is too large for browsers."""
    monkeypatch.setattr("napari_dinoad.maps.pages.worklist._MOST_PICTURES", 2)
    page, rows = worklist_of(tmp_path, *((findings_of(name), name, 0.0) for name in "abc"))
    assert page.count("<img") == 2 and len(rows) == 3
    assert "The first 2 have pictures." in page
    page, _ = worklist_of(tmp_path, *((findings_of(name), name, 0.0) for name in "ab"))
    assert page.count("<img") == 2 and "have pictures" not in page


def test_only_pictures_that_are_shown_are_held(tmp_path, monkeypatch):
    """Memory must not grow with 20 kB for each of thousands of scans."""
    monkeypatch.setattr("napari_dinoad.maps.pages.worklist._MOST_PICTURES", 3)
    worklist = Worklist(tmp_path, "t1", 0.01)
    first = WorklistEntry.of(findings_of("x"), "x", {}, 0.0)
    scores = [5.0, 2.0, 8.0, 5.0, 1.0, 5.0, 9.0, 2.0]
    for number, score in enumerate(scores):
        findings = {**first.findings, "scan": f"s{number}", "results": f"s{number}"}
        order = (0.0, 0.25, -score)
        worklist.add(replace(first, findings=findings, order=order, picture=b"JPEG of %d" % number))
        assert sum(bool(entry.picture) for entry in worklist._entries) <= 3
    worklist.write()
    rows = re.findall(r"<tr>.*?</tr>", worklist.page.read_text(), re.DOTALL)[1:]
    shown = [re.search(r">(s\d)<", row)[1] for row in rows]
    assert shown == ["s6", "s2", "s0", "s3", "s5", "s1", "s7", "s4"]
    assert ["<img" in row for row in rows] == [True] * 3 + [False] * 5


def test_long_names_are_broken_and_the_table_is_printed_from_the_first_page_on(tmp_path):
    """One name of 100 letters pushed all else out of the window, and a table of several pages began on the second."""
    page, _ = worklist_of(
        tmp_path, (findings_of("a" * 100), "a" * 100, 0.0), failed=[("b" * 100, "no signal")]
    )
    assert re.search(r"strong \{[^}]*overflow-wrap: anywhere", page)
    assert re.findall(r"<strong>(?:<a[^>]*>)?([ab])", page) == ["a", "b"]
    assert not re.search(r"table[^{};]*\{[^}]*break-inside", page)


def test_series_of_one_folder_are_told_apart(tmp_path):
    scans = [(findings_of("study"), f"study_{number}", 0.0) for number in (2, 3)]
    page, _ = worklist_of(tmp_path, *scans, (findings_of("a.nii.gz"), "a", 0.0))
    assert re.findall(r">([^<]+)</a>", page) == ["study (study_2)", "study (study_3)", "a.nii.gz"]


def test_a_single_scan_has_no_list(tmp_path):
    with Worklist(tmp_path, "t1", 0.01) as worklist:
        worklist.add(WorklistEntry.of(findings_of("a"), "a", {}, 0.0))
    assert not worklist.is_due and not list(tmp_path.iterdir())


def test_what_is_done_is_listed_when_it_ends_early(tmp_path):
    with pytest.raises(KeyboardInterrupt), Worklist(tmp_path, "t1", 0.01) as worklist:
        for name in "abc":
            worklist.add(WorklistEntry.of(findings_of(name), name, {}, 0.0))
        raise KeyboardInterrupt
    rows = list(csv.DictReader(io.StringIO(worklist.table.read_text())))
    assert sorted(row["scan"] for row in rows) == ["a", "b", "c"]


def fill_the_disk(monkeypatch):
    """Let nothing be forced to the disk any more."""

    def fail(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)


DONE = "Scoring again goes on with those that are left."


@pytest.mark.parametrize(
    ("n", "words"),
    [
        (0, ""),
        (1, f" 1 scan is done and keeps its results. {DONE}"),
        (3, f" 3 scans are done and keep their results. The worklist is as it was last written. {DONE}"),
    ],
)
def test_a_full_disk_is_told_by_the_file_that_met_it_and_with_what_is_done(tmp_path, monkeypatch, n, words):
    """The worklist, written last, met it too and was named in place of the scan's file."""
    with pytest.raises(DinoadError) as caught, Worklist(tmp_path, "t1", 0.01) as worklist:
        for name in "abc"[:n]:
            worklist.add(WorklistEntry.of(findings_of(name), name, {}, 0.0))
        fill_the_disk(monkeypatch)
        write_text(tmp_path / "d_regions.csv", "region")
    no_space = os.strerror(errno.ENOSPC)
    told = f"Cannot write {tmp_path / 'd_regions.csv'}: {no_space}. Free disk space or choose another folder."
    room = rf" The disk of {re.escape(str(tmp_path))} has [\d.e+]+ [kMG]B free(, and 0\.006 kB are needed)?\."
    assert re.fullmatch(re.escape(told) + room + re.escape(words), str(caught.value))


def test_a_worklist_that_finds_no_room_at_the_end_is_told_with_what_is_done(tmp_path, monkeypatch):
    with pytest.raises(DinoadError) as caught, Worklist(tmp_path, "t1", 0.01) as worklist:
        for name in "ab":
            worklist.add(WorklistEntry.of(findings_of(name), name, {}, 0.0))
        fill_the_disk(monkeypatch)
    assert re.search(r"Cannot write .*worklist\.(csv|html): .*2 scans are done", str(caught.value))


def test_who_cancels_is_told_nothing_of_the_disk(tmp_path, monkeypatch):
    with pytest.raises(Cancelled) as caught, Worklist(tmp_path, "t1", 0.01) as worklist:
        for name in "ab":
            worklist.add(WorklistEntry.of(findings_of(name), name, {}, 0.0))
        fill_the_disk(monkeypatch)
        raise Cancelled("Stopped.")
    assert str(caught.value) == "Stopped."


def test_files_are_not_written_anew_for_each_scan(tmp_path, monkeypatch):
    now, written, write = [0.0], [], Worklist.write

    def counted(worklist):
        write(worklist)
        written.append(len(list(csv.DictReader(io.StringIO(worklist.table.read_text())))))

    monkeypatch.setattr(Worklist, "write", counted)
    monkeypatch.setattr("napari_dinoad.maps.pages.worklist.time.monotonic", lambda: now[0])
    with Worklist(tmp_path, "t1", 0.01) as worklist:
        for number in range(6):
            worklist.add(WorklistEntry.of(findings_of(str(number)), str(number), {}, 0.0))
            now[0] += 4.0
    assert written == [2, 5, 6]


def test_a_scan_without_a_report_has_no_link(tmp_path):
    with Worklist(tmp_path, "t1", 0.01) as worklist:
        for name in "ab":
            worklist.add(WorklistEntry.of(findings_of(name), name, {}, 0.0))
    assert "href" not in worklist.page.read_text()


def test_scans_of_one_p_value_are_ordered_by_levels_that_compare(tmp_path):
    """Averaged slices score lower than others, and are compared with averaged ones."""
    with Worklist(tmp_path, "model", 0.01) as worklist:
        for name, score, level in (("alone", 0.9, 2.0), ("averaged", 0.4, 3.0), ("averaged_too", 0.3, 2.0)):
            worklist.add(WorklistEntry.of(findings_of(name), name, {}, score, level))
    rows = csv.DictReader(io.StringIO(worklist.table.read_text()))
    assert [row["results"] for row in rows] == ["averaged", "alone", "averaged_too"]


def of_one(folder, scan):
    """Take in a scan alone."""
    findings, name, score = scan
    with Worklist(folder, "t1", 0.01) as worklist:
        worklist.add(WorklistEntry.of(findings, name, {}, score))


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


LISTED, OUTDATED = ["worklist.csv", "worklist.html"], ["worklist_outdated.csv", "worklist_outdated.html"]


def test_a_list_whose_scan_was_found_otherwise_since_says_so_by_its_name(tmp_path, caplog):
    a, b = (findings_of("a.nii.gz"), "a", 1.0), (findings_of("=b.nii.gz"), "=b", 0.0)
    worklist_of(tmp_path, a, b)
    page = (tmp_path / "worklist.html").read_bytes()
    of_one(tmp_path, (findings_of("c.nii.gz"), "c", 1.0))
    of_one(tmp_path, a)
    of_one(tmp_path, b)
    assert names_in(tmp_path) == LISTED and not caplog.records
    of_one(tmp_path, (findings_of("=b.nii.gz", p_value=0.5), "=b", 0.0))
    assert names_in(tmp_path) == OUTDATED
    assert (tmp_path / "worklist_outdated.html").read_bytes() == page
    assert "worklist_outdated.html" in caplog.text and "b.nii" not in caplog.text
    caplog.clear()
    worklist_of(tmp_path, a, b)
    assert names_in(tmp_path) == LISTED and not caplog.records


@pytest.mark.parametrize("held", LISTED)
def test_a_file_that_another_program_has_open_is_told_and_ends_nothing(tmp_path, monkeypatch, caplog, held):
    """A spreadsheet on Windows ended a run of hours with an error."""
    a, b = (findings_of("a.nii.gz"), "a", 1.0), (findings_of("b.nii.gz"), "b", 0.0)
    worklist_of(tmp_path, a, a)
    before = {name: (tmp_path / name).read_text() for name in LISTED}
    forbid_removing_open_files(monkeypatch)
    with (tmp_path / held).open():
        with Worklist(tmp_path, "t1", 0.01) as worklist:
            for findings, name, score in (a, b):
                worklist.add(WorklistEntry.of(findings, name, {}, score))
        assert worklist.not_renewed == [held]
        (told,) = caplog.messages
        assert told.startswith(f"{held} in the folder of the results could not be renewed: another program")
        assert str(tmp_path) not in told
        assert [name for name in LISTED if (tmp_path / name).read_text() == before[name]] == [held]
    worklist_of(tmp_path, a, b)
    assert "b.nii.gz" in (tmp_path / held).read_text()


def test_both_files_that_another_program_has_open_are_told_as_two(tmp_path, monkeypatch, caplog):
    a, b = (findings_of("a.nii.gz"), "a", 1.0), (findings_of("b.nii.gz"), "b", 0.0)
    worklist_of(tmp_path, a, a)
    forbid_removing_open_files(monkeypatch)
    with (tmp_path / "worklist.csv").open(), (tmp_path / "worklist.html").open():
        worklist_of(tmp_path, a, b)
    assert "worklist.csv and worklist.html in the folder" in caplog.text
    assert "another program has them open. They say what was found before. Close them there" in caplog.text


def test_a_file_that_is_closed_before_the_end_is_renewed_and_nothing_is_told(tmp_path, monkeypatch, caplog):
    a, b = (findings_of("a.nii.gz"), "a", 1.0), (findings_of("b.nii.gz"), "b", 0.0)
    worklist_of(tmp_path, a, a)
    forbid_removing_open_files(monkeypatch)
    with Worklist(tmp_path, "t1", 0.01) as worklist:
        for findings, name, score in (a, b):
            worklist.add(WorklistEntry.of(findings, name, {}, score))
        with (tmp_path / "worklist.csv").open():
            worklist.write()
            assert worklist.not_renewed == ["worklist.csv"]
    assert worklist.not_renewed == [] and not caplog.messages
    assert "b.nii.gz" in (tmp_path / "worklist.csv").read_text()


def test_a_list_that_another_program_has_open_is_not_called_outdated_and_that_is_told(
    tmp_path, monkeypatch, caplog
):
    a, b = (findings_of("a.nii.gz"), "a", 1.0), (findings_of("b.nii.gz"), "b", 0.0)
    worklist_of(tmp_path, a, b)
    forbid_removing_open_files(monkeypatch)
    with (tmp_path / "worklist.csv").open():
        of_one(tmp_path, (findings_of("b.nii.gz", p_value=0.5), "b", 0.0))
    assert names_in(tmp_path) == ["worklist.csv", "worklist_outdated.html"]
    assert "worklist.csv in the folder of the results could not be renewed" in caplog.text
    assert "score its scans again for a new one" in caplog.text


def test_a_list_that_another_job_calls_outdated_just_now_holds_up_none(tmp_path, monkeypatch):
    """As where many jobs each score one scan."""
    a, b = (findings_of("a.nii.gz"), "a", 1.0), (findings_of("b.nii.gz"), "b", 0.0)
    worklist_of(tmp_path, a, b)
    says_otherwise = Worklist._says_otherwise

    def while_another_job_renames(worklist, entry):
        found = says_otherwise(worklist, entry)
        for path in (worklist.page, worklist.table):
            path.rename(path.with_stem("worklist_outdated"))
        # It was there a moment ago.
        monkeypatch.setattr(type(tmp_path), "exists", lambda _: True)
        return found

    monkeypatch.setattr(Worklist, "_says_otherwise", while_another_job_renames)
    of_one(tmp_path, (findings_of("a.nii.gz", p_value=0.5), "a", 1.0))
    assert names_in(tmp_path) == OUTDATED


def test_a_run_that_ends_after_its_first_scan_leaves_no_list_of_before(tmp_path):
    a, b = (findings_of("a.nii.gz"), "a", 1.0), (findings_of("b.nii.gz"), "b", 0.0)
    worklist_of(tmp_path, a, b)
    worklist = Worklist(tmp_path, "t2", 0.01)
    worklist.add(WorklistEntry.of(findings_of("a.nii.gz", peak=5.0), "a", {}, 1.0))
    # Killed here.
    assert names_in(tmp_path) == OUTDATED
    worklist.add(WorklistEntry.of(*b[:2], {}, 0.0))
    assert names_in(tmp_path) == LISTED


@pytest.mark.parametrize("table", [b"", b"\xff\xfe", b"results;p\na;3\n", b"results\na\n", None])
def test_a_table_that_is_not_ours_stays(tmp_path, table):
    if table is not None:
        (tmp_path / "worklist.csv").write_bytes(table)
    (tmp_path / "worklist.html").write_text("of somebody")
    of_one(tmp_path, (findings_of("a"), "a", 1.0))
    assert (tmp_path / "worklist.html").is_file()
    assert not (tmp_path / "worklist_outdated.html").exists()


def test_a_scan_that_fails_now_says_so_of_the_results_that_an_earlier_run_left(tmp_path):
    """A report of before lay beside a list by which the scan could not be scored."""
    for name in ("b_report.html", "b_mask.nii.gz", "c_by_hand_mask.nii.gz", "a_mask.nii.gz", "x_d_slices"):
        (tmp_path / name).touch()
    with Worklist(tmp_path, "t1", 0.01) as worklist:
        worklist.add(WorklistEntry.of(findings_of("a.nii.gz"), "a", {}, 1.0))
        for name in ("a.png", "b.nii.gz", "c.nii.gz"):
            worklist.add_failed(name, "damaged.")
        worklist.add_failed("d", "damaged", "x_d")
    rows = re.findall(r"<tr><td><strong>(.*?)</strong></td><td>(.*?)</td></tr>", worklist.page.read_text())
    assert rows == [
        ("a.png", "damaged."),
        ("b.nii.gz", "damaged. What is named b_… here is of an earlier run."),
        ("c.nii.gz", "damaged."),
        ("d", "damaged. What is named x_d_… here is of an earlier run."),
    ]


def test_results_of_scans_that_are_not_in_the_list_are_named(tmp_path, monkeypatch):
    """As of scans that were scored in another run, or deleted since: their reports lie beside those of the list."""
    scans = (findings_of("a.nii.gz"), "a", 1.0), (findings_of("b.nii.gz"), "b", 0.0)
    page, _ = worklist_of(tmp_path, *scans)
    assert "Also here" not in page
    (tmp_path / "scored").mkdir()
    for name in ("a", "b", "d&", "gone", "failed", "e"):
        (tmp_path / "scored" / f"{name}.json").touch()
        if name != "gone":
            (tmp_path / f"{name}_mask.nii.gz").touch()
    page, _ = worklist_of(tmp_path, *scans, failed=[("failed.nii.gz", "damaged")])
    assert "Results of scans that are not in this list: d&amp;, e.</p>" in page
    monkeypatch.setattr("napari_dinoad.maps.pages.worklist._MOST_OTHERS", 1)
    page, _ = worklist_of(tmp_path, *scans, failed=[("failed.nii.gz", "damaged")])
    assert "Results of scans that are not in this list: d&amp;, and more.</p>" in page
