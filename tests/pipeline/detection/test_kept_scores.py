"""Scoring goes on where an earlier run has ended: what is taken over, and what is scored again."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from contextlib import closing
from dataclasses import asdict, replace

import pydicom
import pytest
from pydicom.uid import generate_uid

from napari_dinoad.images.discovery import discover_scans
from napari_dinoad.images.scan_file import ScanFile
from napari_dinoad.machine.atomic_files import require_folder
from napari_dinoad.maps.pages.worklist import Worklist
from napari_dinoad.pipeline import Detector
from napari_dinoad.pipeline.detection import kept_scores, scan_steps
from napari_dinoad.pipeline.detection.batch import score_scans
from napari_dinoad.pipeline.detection.kept_scores import model_sha256_of
from napari_dinoad.settings import ReadSettings
from refused_files import hold_as_on_windows
from small_heads import save_dicom_head, save_head


@pytest.fixture
def folder(normal_folder, tmp_path):
    """Return a folder of three scans."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for path in sorted(normal_folder.iterdir())[:3]:
        shutil.copy(path, folder)
    return folder


@pytest.fixture
def score(detector, folder, tmp_path):
    """Return what scores the folder and returns the items and the worklist's entries."""

    def run(outputs=("map", "mask", "regions", "report"), *, model="m" * 64, own=detector, **more):
        out = require_folder(tmp_path / "out")
        scans = discover_scans(folder).scans
        with Worklist(out, "m", 0.01) as worklist:
            scored = score_scans(
                own, scans, ReadSettings(), out, worklist, outputs, model_sha256=model, **more
            )
            with closing(scored):
                return list(scored), worklist._entries

    return run


def taken_over(items):
    assert all(item.error is None for item in items), [item.error for item in items]
    return [item.is_taken_over for item in items]


def test_what_is_there_is_taken_over_as_if_it_were_scored(score, tmp_path, monkeypatch):
    first, listed = score()
    assert taken_over(first) == [False] * 3
    table = (tmp_path / "out" / "worklist.csv").read_bytes()
    page = (tmp_path / "out" / "worklist.html").read_bytes()
    monkeypatch.setattr(Detector, "detect", lambda *_, **__: pytest.fail("scored again"))
    again, listed_again = score()
    assert taken_over(again) == [True] * 3
    assert [item.result for item in again] == [item.result for item in first]
    assert [list(item.result) for item in again] == [list(item.result) for item in first]
    assert [asdict(entry) for entry in listed_again] == [asdict(entry) for entry in listed]
    assert (tmp_path / "out" / "worklist.csv").read_bytes() == table
    assert (tmp_path / "out" / "worklist.html").read_bytes() == page


def test_what_is_new_is_scored_and_all_are_listed(score, folder, normal_folder):
    score()
    shutil.copy(sorted(normal_folder.iterdir())[3], folder / "another.nii.gz")
    items, listed = score()
    assert taken_over(items) == [False, True, True, True]
    assert len(listed) == 4


def touch(path):
    os.utime(path, ns=(0, 0))


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("normal_1_anomaly.nii.gz", touch),
        ("normal_1_mask.nii.gz", cut),
        ("normal_1_regions.csv", os.unlink),
        ("normal_1_report.html", os.unlink),
        ("scored/normal_1.json", os.unlink),
        ("scored/normal_1.json", cut),
        ("scored/normal_1.json", lambda path: path.write_text("[]")),
        ("scored/normal_1.json", lambda path: path.write_bytes(b"\0" * 100)),
    ],
)
def test_what_is_missing_or_was_touched_is_written_again(score, tmp_path, name, change):
    score()
    change(tmp_path / "out" / name)
    assert taken_over(score()[0]) == [True, False, True]
    assert taken_over(score()[0]) == [True] * 3


def test_a_scan_that_holds_something_else_is_scored_again(score, folder, normal_folder):
    score()
    before = (folder / "normal_1.nii.gz").stat()
    shutil.copy(sorted(normal_folder.iterdir())[4], folder / "normal_1.nii.gz")
    os.utime(folder / "normal_1.nii.gz", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert taken_over(score()[0]) == [True, False, True]


def test_a_scan_that_was_only_copied_is_the_same(score, folder):
    score()
    touch(folder / "normal_1.nii.gz")
    assert taken_over(score()[0]) == [True] * 3


@pytest.mark.parametrize(
    "way",
    [
        {"model": "n" * 64},
        {"outputs": ("map", "mask")},
        {"outputs": None},
        {"seg_segments": "regions"},
        {"resume": False},
    ],
)
def test_in_another_way_all_are_scored_again(score, way):
    score()
    assert taken_over(score(**way)[0]) == [False] * 3


def test_another_rate_size_or_version_is_another_way(score, detector, monkeypatch):
    score()
    for changed in ({"fpr": 0.02}, {"min_volume_mm3": 9.0}):
        settings = replace(detector.settings, **changed)
        other = Detector(detector.model, settings, backbone=detector.backbone)
        assert taken_over(score(own=other)[0]) == [False] * 3
    score()
    monkeypatch.setattr(kept_scores, "VERSION", "another")
    assert taken_over(score()[0]) == [False] * 3


def test_openvino_in_place_of_pytorch_is_another_way(score, detector, tmp_path, monkeypatch):
    is_there = False
    monkeypatch.setattr(kept_scores, "has_openvino", lambda: is_there, raising=False)
    score()
    is_there = True
    assert taken_over(score()[0]) == [True] * 3, "the embedded backbone never uses it"
    monkeypatch.setattr(type(detector.backbone), "weights_file", tmp_path / "vit.pth")
    assert taken_over(score()[0]) == [False] * 3
    assert taken_over(score()[0]) == [True] * 3
    is_there = False
    assert taken_over(score()[0]) == [False] * 3


def test_a_single_scan_that_lacks_an_output_is_refused_as_before(score, folder):
    items, _ = score(("map", "seg"))
    assert all(item.result["not_written"] for item in items)
    assert taken_over(score(("map", "seg"))[0]) == [True] * 3
    for path in sorted(folder.iterdir())[1:]:
        path.unlink()
    (item,), _ = score(("map", "seg"))
    assert not item.is_taken_over
    assert "seg: expected a scan read from DICOM" in str(item.error)


def test_what_lacks_an_output_because_its_images_were_away_is_scored_again(
    score, folder, tmp_path, monkeypatch
):
    """As where a network disk is gone for a while: nothing wrote the DICOM-SEG when it was there again."""
    save_dicom_head(require_folder(folder / "series"), 7)
    detect = Detector.detect

    def detect_and_lose(self, volume, **more):
        detection = detect(self, volume, **more)
        if volume.dicom_files:
            (folder / "series").rename(tmp_path / "away")
        return detection

    monkeypatch.setattr(Detector, "detect", detect_and_lose)
    items, _ = score(None)
    assert sum("seg" in item.result["files"] for item in items) == 0
    (tmp_path / "away").rename(folder / "series")
    monkeypatch.setattr(Detector, "detect", detect)
    items, _ = score(None)
    assert taken_over(items) == [item.name != "series" for item in items]
    assert sum("seg" in item.result["files"] for item in items) == 1
    assert taken_over(score(None)[0]) == [True] * 4


def test_without_a_model_file_nothing_is_taken_over(score, tmp_path):
    score(model=None)
    assert taken_over(score(model=None)[0]) == [False] * 3
    assert taken_over(score()[0]) == [False] * 3
    two = [ScanFile.of_file(tmp_path / name) for name in ("a.nii", "b.nii")]
    assert model_sha256_of(tmp_path / "none.dinoad", two) is None
    assert model_sha256_of(tmp_path, two) is None


def test_no_folder_is_in_what_is_kept(score, tmp_path):
    score()
    for path in (tmp_path / "out" / "scored").iterdir():
        assert str(tmp_path) not in path.read_text()


def test_by_which_series_a_scan_was_chosen_does_not_matter(detector, tmp_path):
    """Of a folder that was scored as a whole all were scored again where a series was chosen, or a pattern of it."""
    folder = tmp_path / "scans"
    for name, seed in (("a_t1.nii.gz", 1), ("a_t2.nii.gz", 2), ("b_t1.nii.gz", 3)):
        save_head(require_folder(folder) / name, seed)
    save_dicom_head(require_folder(folder / "series"), 7, SeriesDescription="t1")

    def score(series):
        reading = ReadSettings(series)
        scans = discover_scans(folder, reading).scans
        out = require_folder(tmp_path / "out")
        with Worklist(out, "m", 0.01) as worklist:
            scored = score_scans(detector, scans, reading, out, worklist, ("map",), model_sha256="m" * 64)
            with closing(scored):
                return {item.name: item.is_taken_over for item in scored}

    assert score("t1") == {"a_t1": False, "b_t1": False, "series": False}
    assert score(None) == {"a_t1": True, "a_t2": False, "b_t1": True, "series": True}
    assert score("*t?") == {"a_t1": True, "a_t2": True, "b_t1": True, "series": True}


def test_a_series_that_is_named_by_a_file_is_read_each_time(detector, tmp_path, monkeypatch):
    kept = kept_scores.KeptScores(tmp_path, "m" * 64, detector, ReadSettings())
    for name in ("slice.dcm", "none.nii.gz"):
        assert kept.find(ScanFile.of_file(tmp_path / name), "scan") is None
    assert kept._keys == {}


def test_what_was_only_logged_of_a_scan_is_told_again(score, folder, tmp_path, caplog, monkeypatch):
    """As that images allow no DICOM-SEG; what others log may hold what a header says."""
    for path in save_dicom_head(require_folder(folder / "series"), 7):
        dataset = pydicom.dcmread(path)
        dataset.StudyInstanceUID = generate_uid()
        dataset.save_as(path)
    save = scan_steps.save_outputs

    def save_and_log(findings, *where, **more):
        logging.getLogger("pydicom").warning("the birth date of somebody")
        logging.getLogger("napari_dinoad.maps").info("no warning")
        return save(findings, *where, **more)

    monkeypatch.setattr(scan_steps, "save_outputs", save_and_log)
    score(None)
    first = [record.getMessage() for record in caplog.records if record.name.startswith("napari_dinoad.maps")]
    assert len(first) == 1 and "DICOM-SEG" in first[0]
    for _ in range(2):
        caplog.clear()
        items, _ = score(None)
        assert taken_over(items) == [True] * 4
        assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
            ("WARNING", first[0])
        ]
    for path in (tmp_path / "out" / "scored").iterdir():
        assert "birth" not in path.read_text() and str(tmp_path) not in path.read_text()


def outputs_of(out, name="normal_1"):
    return sorted(path.name.removeprefix(name) for path in out.glob(f"{name}_*"))


ALL = ["_anomaly.nii.gz", "_mask.nii.gz", "_regions.csv", "_report.html", "_report.json"]


def with_rate(detector, fpr):
    settings = replace(detector.settings, fpr=fpr)
    return Detector(detector.model, settings, backbone=detector.backbone)


@pytest.mark.parametrize("model", ["m" * 64, None])
def test_what_was_found_otherwise_does_not_stay_beside_what_is_found_now(score, detector, tmp_path, model):
    out = tmp_path / "out"
    score(model=model)
    (out / "normal_1_note.txt").write_text("a note of somebody")
    (out / "normal_1_by_hand_mask.nii.gz").write_text("a mask by hand")
    items, _ = score(("map",), model=model, own=with_rate(detector, 0.1))
    assert outputs_of(out) == ["_anomaly.nii.gz", "_by_hand_mask.nii.gz", "_note.txt"]
    assert [sorted(item.result["removed"]) for item in items] == [
        [f"normal_{i}{ending}" for ending in ALL[1:]] for i in range(3)
    ]
    again, _ = score(("map",), model=model, own=with_rate(detector, 0.1))
    assert [item.result["removed"] for item in again] == [[]] * 3


def test_what_was_found_so_too_stays_until_it_is_found_otherwise(score, detector, tmp_path):
    """As where a DICOM-SEG is wanted later, with the same model and rate."""
    out = tmp_path / "out"
    score()
    for outputs in (("map",), ("picture",), ("mask",)):
        items, _ = score(outputs)
        assert taken_over(items) == [False] * 3
        assert [item.result["removed"] for item in items] == [[]] * 3
    assert outputs_of(out) == sorted([*ALL, "_picture.png"])
    items, _ = score(("regions",), own=with_rate(detector, 0.1))
    assert outputs_of(out) == ["_regions.csv"]


@pytest.mark.parametrize("change", [touch, cut])
def test_what_was_touched_is_not_removed(score, detector, tmp_path, change):
    out = tmp_path / "out"
    score()
    change(out / "normal_1_mask.nii.gz")
    score(("map",), own=with_rate(detector, 0.1))
    assert outputs_of(out) == ["_anomaly.nii.gz", "_mask.nii.gz"]


def test_files_that_may_be_of_another_result_are_told(score, detector, tmp_path):
    """As where a folder was copied, where napari has exported into it, or what is kept was removed."""
    out = tmp_path / "out"
    score()
    touch(out / "normal_1_mask.nii.gz")
    for name in (
        "normal_1_seg.dcm",
        "normal_1_by_hand_mask.nii.gz",
        "normal_10_mask.nii.gz",
        "normal_1_note.txt",
    ):
        (out / name).touch()
    (out / "normal_2_slices").mkdir()
    for _ in range(2):
        items, _ = score(("map",), own=with_rate(detector, 0.1))
        assert [item.result["others"] for item in items] == [
            [],
            ["normal_1_mask.nii.gz", "normal_1_seg.dcm"],
            ["normal_2_slices"],
        ]
    assert taken_over(items) == [True] * 3
    items, _ = score(("map", "report"), own=with_rate(detector, 0.1))
    items, _ = score(("map",), own=with_rate(detector, 0.1))
    assert items[0].result["others"] == [], "what was found so too is known"
    shutil.rmtree(out / "scored")
    items, _ = score(("map",), own=with_rate(detector, 0.1))
    assert items[0].result["others"] == ["normal_0_report.json", "normal_0_report.html"]


def test_a_scan_of_the_same_name_takes_the_place_of_the_other(score, folder, normal_folder, tmp_path):
    score()
    shutil.copy(sorted(normal_folder.iterdir())[4], folder / "normal_1.nii.gz")
    score(("mask",))
    assert outputs_of(tmp_path / "out") == ["_mask.nii.gz"]
    assert outputs_of(tmp_path / "out", "normal_2") == ALL


def test_slices_are_removed_with_their_folder(score, detector, folder, tmp_path):
    save_dicom_head(require_folder(folder / "series"), 7)
    out, outputs = tmp_path / "out", ("map", "dicom-slices")
    score(outputs)
    assert outputs_of(out, "series") == ["_anomaly.nii.gz", "_slices"]
    items, _ = score(("map",), own=with_rate(detector, 0.1))
    assert outputs_of(out, "series") == ["_anomaly.nii.gz"]
    (removed,) = (item.result["removed"] for item in items if item.name == "series")
    assert removed == ["series_slices"]
    score(outputs)
    (out / "series_slices" / "mine.txt").write_text("a note of somebody")
    score(("map",), own=with_rate(detector, 0.1))
    assert [path.name for path in (out / "series_slices").iterdir()] == ["mine.txt"]


def test_what_cannot_be_removed_is_told(score, detector, tmp_path, monkeypatch):
    score()
    unlink = type(tmp_path).unlink

    def refuse(path, **more):
        if path.name == "normal_0_mask.nii.gz":
            raise PermissionError(13, "Permission denied")
        unlink(path, **more)

    monkeypatch.setattr(type(tmp_path), "unlink", refuse)
    items, _ = score(("map",), own=with_rate(detector, 0.1))
    ((name, reason),) = ((item.name, item.reason) for item in items if item.error is not None)
    assert name == "normal_0"
    assert re.search(r"Cannot remove .*normal_0_mask.nii.gz, which is of an earlier", reason)
    left = outputs_of(tmp_path / "out", "normal_0")
    assert left == ["_anomaly.nii.gz", "_mask.nii.gz"], "a report of before lay beside the new map, too"
    monkeypatch.undo()
    score(("map",), own=with_rate(detector, 0.1))
    assert outputs_of(tmp_path / "out", "normal_0") == ["_anomaly.nii.gz"]


def test_a_record_that_is_open_elsewhere_fails_no_scan(score, detector, tmp_path, monkeypatch, caplog):
    out, held = tmp_path / "out", tmp_path / "out" / "scored" / "normal_0.json"
    score()
    of_before = held.read_bytes()
    with monkeypatch.context() as patch:
        hold_as_on_windows(held, patch)
        items, _ = score(("map",), own=with_rate(detector, 0.1))
    assert [item.error for item in items] == [None] * len(items)
    of_held = next(item.result for item in items if item.name == "normal_0")
    assert "normal_0_mask.nii.gz" in of_held["others"], "what it names cannot be read, and is told"
    assert held.read_bytes() == of_before
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [
        line
        for line in told
        if line.startswith("scored/normal_0.json in the folder of the results could not")
    ]
    items, _ = score(("map",), own=with_rate(detector, 0.1))
    assert {item.name: item.is_taken_over for item in items}["normal_0"] is False
    assert outputs_of(out, "normal_0") == ["_anomaly.nii.gz"]
    items, _ = score(("map",), own=with_rate(detector, 0.1))
    assert all(item.is_taken_over for item in items)


@pytest.mark.parametrize(
    "name",
    [
        "../precious.txt",
        "precious.txt",
        "normal_1_slices/../../precious.txt",
        "normal_1_slices/..\\..\\precious.txt",
    ],
)
def test_a_record_that_names_other_files_removes_none(score, detector, tmp_path, name):
    """What lies in a folder of results may come from anybody."""
    out = tmp_path / "out"
    score()
    (out / "normal_1_slices").mkdir()
    path = out / name
    path.write_text("precious")
    found = path.stat()
    record = out / "scored" / "normal_1.json"
    kept = json.loads(record.read_text())
    kept["written"].append([name, found.st_size, found.st_mtime_ns])
    record.write_text(json.dumps(kept))
    score(("map",), own=with_rate(detector, 0.1))
    assert path.is_file()
    assert outputs_of(out) == ["_anomaly.nii.gz", "_slices"]


def test_slices_that_were_moved_elsewhere_are_not_removed(score, detector, folder, tmp_path):
    """As to an archive, with a link in their place."""
    save_dicom_head(require_folder(folder / "series"), 7)
    out, outputs = tmp_path / "out", ("map", "dicom-slices")
    score(outputs)
    shutil.move(out / "series_slices", tmp_path / "archive")
    (out / "series_slices").symlink_to(tmp_path / "archive")
    n_moved = len(list((tmp_path / "archive").iterdir()))
    items, _ = score(("map",), own=with_rate(detector, 0.1))
    assert len(list((tmp_path / "archive").iterdir())) == n_moved > 0
    (others,) = (item.result["others"] for item in items if item.name == "series")
    assert others == ["series_slices"]


@pytest.mark.parametrize("written", [3, [3], [[3, 3, 3]], [["a"]], None])
def test_a_damaged_record_removes_nothing(score, detector, tmp_path, written):
    score()
    record = tmp_path / "out" / "scored" / "normal_1.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"written": written}))
    score(("map",), own=with_rate(detector, 0.1))
    assert outputs_of(tmp_path / "out") == ALL
