"""Which scans a command line names, and what their outputs are called."""

from __future__ import annotations

import errno
import gzip
import json
import os
import sys
import unicodedata
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import generate_uid

from dicom_files import ct_values, save_all, series_datasets
from napari_dinoad.cli.given_scans import given_scans
from napari_dinoad.cli.main import main
from napari_dinoad.cli.output import ProgressBars
from napari_dinoad.cli.wildcards import matching
from napari_dinoad.errors import ScanReadError
from napari_dinoad.images.scan_file import ScanFile, inspect_file
from napari_dinoad.pipeline.detection.batch import output_names
from napari_dinoad.settings import ReadSettings
from small_heads import AFFINE, BAD_SCANS, add_bad_scans, make_head, save_dicom_head, save_head


def names_of(paths):
    return output_names(given_scans(paths, ReadSettings()).scans)


def save_picture(path, seed=0):
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (40, 40), np.uint8)).save(path)
    return path


def test_scans_of_one_name_do_not_overwrite_each_other(tmp_path):
    paths = []
    for patient in ("a", "b"):
        (tmp_path / patient).mkdir()
        paths.append(save_head(tmp_path / patient / "t1.nii.gz", 1))
    scans = [ScanFile.of_file(path) for path in paths]
    assert output_names(scans) == ["a_t1", "b_t1"]
    assert output_names([scans[0]]) == ["t1"]


def test_scans_of_one_name_in_one_folder_are_told_apart_by_their_endings(tmp_path):
    volume, picture = save_head(tmp_path / "head.nii.gz", 1), save_picture(tmp_path / "head.png")
    assert names_of([volume, picture]) == ["head_nii_gz", "head_png"]
    assert sorted(names_of([tmp_path])) == ["head_nii_gz", "head_png"]


def test_several_series_in_a_folder_are_told(tmp_path, capsys):
    """All were scored by a model of one kind, without a word."""
    for number in range(2):
        for sequence in ("t1", "flair"):
            save_head(tmp_path / f"p{number}_{sequence}.nii.gz", number)
    assert len(given_scans([tmp_path], ReadSettings()).scans) == 4
    assert capsys.readouterr().err == (
        f"dinoad: {tmp_path}: By their names the scans are 2 × FLAIR, 2 × T1: choose those of the model's kind with "
        "--series\n"
    )
    assert len(given_scans([tmp_path], ReadSettings(series="t1")).scans) == 2
    assert "By their names" not in capsys.readouterr().err


def test_results_that_wildcards_find_beside_scans_are_no_scans(model_path, tmp_path, capsys):
    """Maps and masks of an earlier run into the same folder were scored."""
    save_head(tmp_path / "head.nii.gz", 1)
    save_picture(tmp_path / "slice.png")
    arguments = ["score", str(tmp_path / "*.nii.gz"), str(tmp_path / "*.png"), "--model", str(model_path)]
    arguments += ["--out", str(tmp_path), "--save", "map,mask,picture,report", "--json"]
    for has_results in (False, True):
        assert main(arguments) == 0
        told = capsys.readouterr()
        scored = [Path(scan["scan"]).name for scan in json.loads(told.out)["scans"]]
        assert sorted(scored) == ["head.nii.gz", "slice.png"]
        assert ("not a scan" in told.err) is has_results
    assert "head_mask.nii.gz: a mask by its header, not a scan" in told.err
    assert "head_anomaly.nii.gz: a map of −log10 p by its header, not a scan" in told.err
    assert "head_picture.png: a picture of a result, not a scan" in told.err
    results = [str(tmp_path / f"head_{end}.nii.gz") for end in ("mask", "anomaly")]
    assert main(["score", *results, "--model", str(model_path), "--out", str(tmp_path / "out")]) == 2
    assert "Expected scans, got results alone." in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def save_frames(path, n=3):
    nib.save(nib.Nifti1Image(np.stack([make_head(seed) for seed in range(n)], -1), AFFINE), path)
    return path


def test_results_of_a_frame_are_named_by_it(tmp_path):
    """Those of one replaced those of another."""
    frames = save_frames(tmp_path / "perfusion.nii.gz")
    save_head(tmp_path / "head.nii.gz", 1)
    alike = save_head(tmp_path / "perfusion_frame1.nii.gz", 2)
    one = ReadSettings(frame=1)
    for given in ([frames], [tmp_path]):
        scans = given_scans(given, one).scans
        names = dict(zip((scan.path.name for scan in scans), output_names(scans, one), strict=True))
        if len(names) == 1:
            assert names == {"perfusion.nii.gz": "perfusion_frame1"}
        else:
            assert names["head.nii.gz"] == "head"
            assert len(set(names.values())) == 3
            assert names[frames.name].startswith("perfusion_frame1")
            assert names[alike.name].startswith("perfusion_frame1")
    assert names_of([frames]) == ["perfusion"]
    damaged = tmp_path / "damaged.nii.gz"
    damaged.write_bytes(b"no scan")
    for path in (damaged, tmp_path / "none.nii.gz"):
        assert output_names([ScanFile.of_file(path)], one)[0].startswith(path.name.split(".")[0])


def test_frames_and_pictures_of_one_name_are_told_apart(tmp_path):
    frames, picture = save_frames(tmp_path / "head.nii.gz"), save_picture(tmp_path / "head.png")
    one = ReadSettings(frame=2)
    scans = given_scans([frames, picture], one).scans
    assert output_names(scans, one) == ["head_nii_gz_frame2", "head_png"]


def test_a_stack_of_pictures_has_no_frames(tmp_path):
    (tmp_path / "stack").mkdir()
    for i in range(3):
        save_picture(tmp_path / "stack" / f"{i}.png", i)
    one = ReadSettings(frame=1, stack_folders=True)
    scans = given_scans([tmp_path / "stack"], one).scans
    assert output_names(scans, one) == ["stack"]


def test_wildcards_that_a_shell_left_in_are_matched(tmp_path):
    """Those of Windows hand them on as they are."""
    heads = [save_head(tmp_path / f"head_{seed}.nii.gz", seed) for seed in range(2)]
    named_so = save_head(tmp_path / "head_[0].nii.gz", 2)
    assert names_of([tmp_path / "head_?.nii*"]) == ["head_0", "head_1"]
    assert matching([heads[1], tmp_path / "*_?.nii.gz", named_so]) == [heads[1], *heads, named_so]
    assert matching([tmp_path / "none_*.nii.gz"]) == [tmp_path / "none_*.nii.gz"]


def test_names_that_are_one_file_on_other_disks_are_told_apart(tmp_path):
    """Windows and macOS take T1 for t1, and macOS ü for u with a diaeresis: results would overwrite each other."""
    accents = [unicodedata.normalize(form, "Müller") for form in ("NFC", "NFD")]
    for one, other in (("T1", "t1"), accents):
        scans = [
            ScanFile.of_file(tmp_path / folder / f"{name}.png") for folder, name in (("a", one), ("b", other))
        ]
        assert output_names(scans) == [f"a_{one}", f"b_{other}"]
    scans = [ScanFile.of_file(tmp_path / f"{name}.png") for name in ("T1", "t1", "t2")]
    assert output_names(scans) == ["T1_png_1", "t1_png_2", "t2"]


def test_slices_of_two_patients_with_the_same_uids_are_two_scans(tmp_path):
    """Named one by one, from folders of their own, or from one folder with the studies told apart."""
    first, second = (series_datasets(ct_values(seed=seed)) for seed in range(2))
    for one, other in zip(second, first, strict=True):
        one.SeriesInstanceUID = other.SeriesInstanceUID
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = other.SOPInstanceUID
    paths = [*save_all(first, tmp_path / "a"), *save_all(second, tmp_path / "b")]
    scans = given_scans(paths, ReadSettings()).scans
    assert [scan.path.parent.name for scan in scans] == ["a", "b"]
    together = save_all([*first, *second], tmp_path / "both")
    assert len({scan.read().values.tobytes() for scan in given_scans(together, ReadSettings()).scans}) == 2


def test_links_that_lead_in_a_circle_are_left_to_the_reader(tmp_path):
    (tmp_path / "a.nii.gz").symlink_to(tmp_path / "b.nii.gz")
    (tmp_path / "b.nii.gz").symlink_to(tmp_path / "a.nii.gz")
    (scan,) = given_scans([tmp_path / "a.nii.gz"], ReadSettings()).scans
    with pytest.raises(ScanReadError, match=r"a\.nii\.gz: "):
        scan.read()
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "a.nii.gz").symlink_to("a.nii.gz")
    assert len(set(names_of([tmp_path / "a.nii.gz", tmp_path / "c" / "a.nii.gz"]))) == 2


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".png"])
def test_a_pipe_named_as_a_scan_is_not_waited_for(tmp_path, suffix, monkeypatch):
    path = tmp_path / f"pipe{suffix}"
    os.mkfifo(path)
    monkeypatch.setattr("builtins.open", lambda *_: pytest.fail("it waits here"))
    monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("it waits here"))
    with pytest.raises(ScanReadError, match="found a pipe"):
        inspect_file(path, ReadSettings())


def test_a_scan_that_is_named_twice_is_one(tmp_path, monkeypatch):
    path = save_head(tmp_path / "head.nii.gz", 1)
    (tmp_path / "link.nii.gz").symlink_to(path)
    monkeypatch.chdir(tmp_path)
    assert names_of([path, path.relative_to(tmp_path), tmp_path / "head.nii.gz"]) == ["head"]


def test_a_folder_that_links_to_itself_is_looked_into_once(tmp_path):
    save_head(tmp_path / "head.nii.gz", 1)
    (tmp_path / "loop").symlink_to(tmp_path)
    given = given_scans([tmp_path], ReadSettings())
    assert [scan.name for scan in given.scans] == ["head"]


def test_how_many_files_were_looked_at_is_told(tmp_path, monkeypatch):
    save_head(tmp_path / "head.nii.gz", 1)
    (tmp_path / "notes.txt").write_text("none")
    events = []
    monkeypatch.setattr(ProgressBars, "__call__", lambda self, event: events.append(event))
    given_scans([tmp_path], ReadSettings())
    assert [(event.stage, event.done) for event in events] == [("Looking for scans", n) for n in (0, 1)]


def test_slices_of_one_series_are_one_scan(tmp_path):
    slices = save_dicom_head(tmp_path / "study", 3)
    other = save_dicom_head(tmp_path / "second", 4)
    given = given_scans([*slices[:5], save_head(tmp_path / "head.nii.gz", 1), other[0]], ReadSettings())
    assert output_names(given.scans) == ["study", "head", other[0].name]
    assert given.scans[0].read().values.shape[0] == len(slices)


def test_long_names_leave_room_for_endings(tmp_path):
    scans = [ScanFile.of_file(tmp_path / f"{'ü' * 120}{end}.nii.gz") for end in "ab"]
    names = output_names(scans)
    assert len(set(names)) == 2
    assert all(len(os.fsencode(f"{name}_anomaly.nii.gz")) < 200 for name in names)


def test_masks_and_results_of_scans_are_no_scans(tmp_path):
    save_head(tmp_path / "head.nii.gz", 1)
    save_head(tmp_path / "alone_mask.nii.gz", 3)
    (tmp_path / "results").mkdir()
    for ending in ("mask", "anomaly"):
        save_head(tmp_path / "results" / f"head_{ending}.nii.gz", 2)
    given = given_scans([tmp_path], ReadSettings())
    assert sorted(scan.name for scan in given.scans) == ["alone_mask", "head"]
    assert not given.failed


def test_scans_of_a_folder_that_cannot_be_used_have_failed(model_path, tmp_path, capsys):
    folder = tmp_path / "scans"
    folder.mkdir()
    save_head(folder / "good.nii.gz", 1)
    add_bad_scans(folder)
    (folder / "notes.txt").write_text("no scan")
    assert main(["score", str(folder), "--model", str(model_path), "--out", str(tmp_path), "--json"]) == 2
    document = json.loads(capsys.readouterr().out)
    assert [scan["scan"] for scan in document["scans"]] == [str(folder / "good.nii.gz")]
    failed = {Path(item["scan"]).name for item in document["failed"]}
    assert failed == {name for name in BAD_SCANS if "." in name}
    page = Path(document["worklist"]).read_text(encoding="utf-8")
    assert all(name in page for name in ("good.nii.gz", *failed))
    assert str(folder) not in page, "a folder may name a patient"


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux alone")
def test_names_that_are_not_utf8(tmp_path, capsys):
    folder = tmp_path / "old media"
    folder.mkdir()
    for seed in range(4):
        name = os.fsdecode(b"M\xfcller_%d.nii.gz" % seed)
        save_head(folder / "plain.nii.gz", seed).rename(folder / name)
    model, out = tmp_path / "m.dinoad", tmp_path / "out"
    options = "--scorer memory-bank --resolution 64 --json"
    assert main(["fit", str(folder), "--out", str(model), *options.split()]) == 0
    assert "M\\udcfcller_0" in model.with_name("m.report.html").read_text(encoding="utf-8")
    capsys.readouterr()
    assert main(["score", str(folder), "--model", str(model), "--out", str(out), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert len(document["scans"]) == 4
    assert 'href="M%FCller_0_report.html"' in Path(document["worklist"]).read_text(encoding="utf-8")


def test_a_slice_is_not_compared_with_volumes(model_path, tmp_path, capsys):
    stored = make_head(3)[:, :, 8:9]
    nib.save(nib.Nifti1Image(stored, AFFINE), tmp_path / "slice.nii.gz")
    arguments = [str(tmp_path / "slice.nii.gz"), "--model", str(model_path), "--out", str(tmp_path)]
    assert main(["score", *arguments, "--json"]) == 0
    (scan,) = json.loads(capsys.readouterr().out)["scans"]
    assert scan["p_value"] is None
    assert "single slice" in " ".join(scan["notes"])
    assert main(["score", *arguments]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[1] == "-"


def test_copies_in_another_format_are_one_scan(normal_folder, tmp_path, capsys):
    for seed in (0, 1):
        (tmp_path / f"{seed}.nii.gz").write_bytes((normal_folder / f"normal_{seed}.nii.gz").read_bytes())
    unpacked = gzip.decompress((tmp_path / "0.nii.gz").read_bytes())
    (tmp_path / "copy.nii").write_bytes(unpacked)
    (tmp_path / "again.nii.gz").write_bytes(gzip.compress(unpacked, 1))
    image = nib.load(tmp_path / "1.nii.gz")
    flipped = image.as_reoriented([[0, -1], [2, 1], [1, 1]])
    nib.save(nib.MGHImage(np.asarray(flipped.dataobj, np.float32), flipped.affine), tmp_path / "one.mgz")
    options = "--scorer memory-bank --resolution 64 --json"
    assert main(["fit", str(tmp_path), "--out", str(tmp_path / "m.dinoad"), *options.split()]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["n_scans"] == 2
    reasons = {Path(item["path"]).name: item["reason"] for item in summary["skipped"]}
    assert reasons == {
        "again.nii.gz": "the same content as 0.nii.gz",
        "copy.nii": "the same content as 0.nii.gz",
        "one.mgz": "the same content as 1.nii.gz",
    }


def test_volumes_and_images_in_one_cohort_are_told(normal_folder, tmp_path, caplog):
    for seed in range(3):
        (tmp_path / f"{seed}.nii.gz").write_bytes((normal_folder / f"normal_{seed}.nii.gz").read_bytes())
    save_picture(tmp_path / "picture.png")
    options = "--scorer memory-bank --resolution 64"
    assert main(["fit", str(tmp_path), "--out", str(tmp_path / "m.dinoad"), *options.split()]) == 0
    assert "1 of the 4 normal scans are single images" in caplog.text
    assert "1 of the 4 normal scans are single images" in (tmp_path / "m.report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--out", "scan.nii.gz"], "names a scan"),
        (["--out", "m.dinoad", "--seed", "-1"], "seed"),
        (["--out", "m.dinoad", "--cache-limit", "nan"], "--cache-limit"),
        (["--out", "m.dinoad", "--resolution", "0"], "esolution"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    normal_folder, tmp_path, monkeypatch, capsys, arguments, told
):
    monkeypatch.chdir(tmp_path)
    assert main(["fit", str(normal_folder), *arguments]) == 2
    assert told in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_models_whose_names_end_alike_have_reports_of_their_own(tmp_path):
    from napari_dinoad.pipeline.fit.cohort_report import report_path

    names = [report_path(tmp_path / name).name for name in ("site.v1", "site.v2", "t1.dinoad")]
    assert names == ["site.v1.report.html", "site.v2.report.html", "t1.report.html"]


def test_places_that_may_not_be_looked_into(model_path, tmp_path, monkeypatch, capsys):
    """As `pathlib` tells them; a test that runs as root may look everywhere."""
    locked = tmp_path / "locked"
    asked = Path.stat

    def stat(path, **options):
        if locked in path.parents:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return asked(path, **options)

    monkeypatch.setattr(Path, "stat", stat)
    good = save_head(tmp_path / "good.nii.gz", 1)
    arguments = ["--out", str(tmp_path / "out"), "--json"]
    assert main(["score", str(locked / "x.nii.gz"), str(good), "--model", str(model_path), *arguments]) == 2
    document = json.loads(capsys.readouterr().out)
    assert [len(document[key]) for key in ("scans", "failed")] == [1, 1]
    assert "Permission denied" in document["failed"][0]["reason"]
    assert main(["score", str(good), "--model", str(locked / "m.dinoad"), *arguments]) == 2
    assert "Permission denied" in capsys.readouterr().err


def test_what_one_scan_has_no_output_of_is_told_with_its_name(model_path, tmp_path, capsys):
    scans = [
        save_head(tmp_path / f"{name}.nii.gz", number) for number, name in enumerate(("first", "second"), 1)
    ]
    arguments = ["--model", str(model_path), "--out", str(tmp_path / "out")]
    assert main(["score", *map(str, scans), *arguments, "--save", "mask,seg"]) == 2
    told = [
        line for line in capsys.readouterr().err.splitlines() if "expected a scan read from DICOM" in line
    ]
    assert [line.split(":")[1].strip() for line in told] == ["first", "second"]
    assert {"first_mask.nii.gz", "second_mask.nii.gz"} <= names_in(tmp_path / "out")


def names_in(folder):
    return {path.name for path in folder.iterdir()}


def test_scans_of_a_mixed_folder_have_what_each_allows(model_path, tmp_path, capsys):
    save_dicom_head(tmp_path / "study" / "ct", 1)
    save_head(tmp_path / "study" / "head.nii.gz", 2)
    arguments = ["score", str(tmp_path / "study"), "--model", str(model_path), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--save", "mask,report,seg", "--json"]) == 2, "not all of it could be written"
    told = capsys.readouterr().err
    report = json.loads((tmp_path / "out" / "head_report.json").read_text())
    assert any("Not written: seg: expected a scan read from DICOM" in note for note in report["notes"])
    assert "dinoad: head: Not written: seg: expected a scan read from DICOM" in told
    assert "Not written: seg" in (tmp_path / "out" / "worklist.csv").read_text()
    written = names_in(tmp_path / "out")
    assert {"head_mask.nii.gz", "ct_mask.nii.gz", "ct_seg.dcm"} <= written
    assert "head_seg.dcm" not in written

    assert main([*arguments, "--save", "seg", "--json"]) == 2
    document = json.loads(capsys.readouterr().out)
    assert [Path(scan["scan"]).name for scan in document["scans"]] == ["ct"]
    assert [Path(one["scan"]).name for one in document["failed"]] == ["head.nii.gz"]


def test_a_seg_that_only_writing_shows_to_be_impossible_takes_nothing_else_along(
    model_path, tmp_path, capsys
):
    """Images that claim to be of several studies."""
    for path in save_dicom_head(tmp_path / "study" / "odd", 1):
        dataset = pydicom.dcmread(path)
        dataset.StudyInstanceUID = generate_uid()
        dataset.save_as(path)
    save_dicom_head(tmp_path / "study" / "sound", 2)
    arguments = ["score", str(tmp_path / "study"), "--model", str(model_path), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--save", "seg,mask", "--json"]) == 2
    document = json.loads(capsys.readouterr().out)
    scans = {Path(scan["scan"]).name: scan for scan in document["scans"]}
    assert list(scans["odd"]["not_written"]) == ["seg"]
    assert "DICOM-SEG" in scans["odd"]["notes"][-1]
    assert scans["sound"]["not_written"] == {}
    assert {"odd_mask.nii.gz", "sound_mask.nii.gz", "sound_seg.dcm"} <= names_in(tmp_path / "out")


def test_a_single_scan_must_allow_all_that_was_asked_for(model_path, tmp_path, capsys):
    scan = save_head(tmp_path / "head.nii.gz", 2)
    out = tmp_path / "out"
    arguments = ["--model", str(model_path), "--out", str(out), "--save", "mask,seg"]
    assert main(["score", str(scan), *arguments]) == 2
    assert "expected a scan read from DICOM" in capsys.readouterr().err
    assert not out.exists()


def test_json_lists_all_that_is_skipped_of_a_folder(patient_path, model_path, tmp_path, capsys):
    folder = tmp_path / "scans"
    folder.mkdir()
    (folder / "patient.nii.gz").write_bytes(patient_path.read_bytes())
    for number in range(30):
        (folder / f"note_{number}.txt").write_text("a note")
    arguments = ["--model", str(model_path), "--out", str(tmp_path / "out"), "--save", "mask", "--json"]
    assert main(["score", str(folder), *arguments]) == 0
    told = capsys.readouterr()
    document = json.loads(told.out)
    assert sorted(Path(item["path"]).name for item in document["skipped"]) == sorted(
        f"note_{number}.txt" for number in range(30)
    )
    assert document["failed"] == []
    assert told.err.count("dinoad: skipped") == 4
    assert "dinoad: skipped 27 more: " in told.err
