"""Several scans of one person in a folder: held out together, counted as one, and nobody is named anywhere."""

from __future__ import annotations

import json
import logging
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from dicom_files import PATIENT_TAGS
from napari_dinoad import NormativeModel, merge_models, read_volume, update_model
from napari_dinoad.cli.main import main
from napari_dinoad.errors import Cancelled
from napari_dinoad.images.dicom import patient as dicom_patient
from napari_dinoad.pipeline import Detector, fit_folder
from napari_dinoad.pipeline.fit.cohort_report import report_path
from napari_dinoad.settings import (
    ArCnnSettings,
    CacheSettings,
    CalibrationSettings,
    DpmmSettings,
    FitSettings,
    MemoryBankSettings,
    preset,
)
from small_heads import save_dicom_head, save_head

SEEN = 1e-4
"""A patch that lies in the bank scores less; one that does not scores more."""

PICTURES = FitSettings(
    scorer="memory-bank",
    preprocessing=replace(preset("image-2d"), resolution_px=64, body_mask="off"),
    memory_bank=MemoryBankSettings(n_patches=10_000),
    dpmm=DpmmSettings(n_components=5, epochs=2, start_patches_per_component=10),
    ar_cnn=ArCnnSettings(bottleneck_channels=4, hidden_channels=4, epochs=2),
    calibration=CalibrationSettings(folds=4),
)
HEADS = FitSettings(
    scorer="memory-bank",
    preprocessing=replace(preset("mr-brain"), resolution_px=64),
    memory_bank=MemoryBankSettings(n_patches=100),
)


def picture(person, session):
    """Return what a person looks like; sessions differ by noise."""
    rng = np.random.default_rng(person)
    rows, columns = np.mgrid[:64, :64] / 8
    a, b, c, d = rng.uniform(0.5, 2.0, 4)
    values = 128 + 60 * np.sin(a * rows + b * columns + 5 * c) * np.cos(d * rows - a * columns)
    values += np.random.default_rng([person, session]).normal(0, 2, values.shape)
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def save_pictures(folder, persons, sessions):
    folder.mkdir(exist_ok=True)
    for person in persons:
        for session in range(sessions):
            picture(person, session).save(folder / f"sub-{person}_ses-{session}.png")
    return folder


def with_persons(how, settings=PICTURES, **changes):
    return replace(settings, calibration=replace(settings.calibration, persons=how, **changes))


@pytest.fixture(scope="module")
def repeated(tmp_path_factory):
    """Five persons, three pictures each."""
    return save_pictures(tmp_path_factory.mktemp("repeated"), range(5), 3)


@pytest.fixture(scope="module")
def model(repeated):
    return fit_folder(repeated, PICTURES)


def test_no_scan_is_scored_by_a_model_that_has_seen_its_person(tmp_path):
    """Scans of a person that are alike patch by patch would lie in the bank."""
    save_pictures(tmp_path, range(4), 2)
    for person in range(4):
        # The same patches, but another picture: copies are left out.
        values = np.asarray(picture(person, 0)).copy()
        Image.fromarray(np.vstack([values[32:], values[:32]])).save(tmp_path / f"sub-{person}_ses-1.png")
    least = {}
    for how in ("auto", "each-scan"):
        found = fit_folder(tmp_path, with_persons(how, folds=8)).calibration
        least[how] = found.scan_scores.min()
        assert found.n_persons == (4 if how == "auto" else 8)
    assert least["auto"] > 10 * least["each-scan"]


def test_what_a_model_says_of_its_persons(model, repeated, tmp_path):
    assert (model.provenance.n_scans, model.provenance.n_persons) == (15, 5)
    assert model.fit_report.n_persons == 5
    calibration = model.calibration
    assert (calibration.n_scans, calibration.n_persons) == (15, 5)
    again = NormativeModel.load(model.save(tmp_path / "m.dinoad"))
    assert again.provenance == model.provenance
    for score in (*calibration.scan_scores, 0.0, 1e6):
        assert again.calibration.scan_p_value(score) == calibration.scan_p_value(score)
    card = again.card()
    assert (card["n_scans"], card["n_persons"], card["calibration"]["n_persons"]) == (15, 5, 5)
    assert card["calibration"]["smallest_scan_p_value"] == 1 / 6
    patient = tmp_path / "patient.png"
    Image.fromarray((np.indices((64, 64)).sum(axis=0) // 2 % 2 * 255).astype(np.uint8)).save(patient)
    result = Detector(again).detect(read_volume(patient))
    assert result.p_value == 1 / 6
    findings = result.findings(result.mask(), "patient.png", card)
    assert (
        "all 15 normal scans of 5 persons (p = 0.17, the smallest that 5 persons allow"
        in findings.scan_words()
    )
    assert findings.to_dict()["n_calibration_persons"] == 5


def test_the_released_model_has_seen_all(model, repeated):
    detector = Detector(model)
    scores = [detector.detect(read_volume(path)).scan_score for path in sorted(repeated.iterdir())]
    assert max(scores) < SEEN
    assert model.calibration.scan_scores.min() > SEEN


def test_new_persons_are_not_abnormal_because_the_normal_ones_came_often(tmp_path):
    """Over cohorts of four persons with three pictures each, a new person has the least p in one of five."""
    least, by_scans = [], []
    for cohort in range(12):
        folder = save_pictures(tmp_path / str(cohort), range(100 * cohort, 100 * cohort + 4), 3)
        grouped, single = (Detector(fit_folder(folder, with_persons(how))) for how in ("auto", "each-scan"))
        for person in range(100 * cohort + 50, 100 * cohort + 58):
            path = tmp_path / f"new_{person}.png"
            picture(person, 0).save(path)
            volume = read_volume(path)
            least.append(grouped.detect(volume).p_value <= 1 / 5 + 1e-9)
            by_scans.append(single.detect(volume).p_value <= 1 / 13 + 1e-9)
    assert np.mean(by_scans) > 0.5, "what it is about"
    # Of one cohort new persons share the normal ones: an eighth as many count, at worst.
    assert np.mean(least) <= 0.2 + 3 * np.sqrt(0.16 / 12)


@pytest.mark.parametrize("scorer", ["dpmm", "ar-cnn+memory-bank"])
def test_a_fit_that_was_stopped_goes_on_to_the_same_model(repeated, tmp_path, monkeypatch, scorer):
    """Also in another process, where the marks of patients are others."""
    settings = replace(PICTURES, scorer=scorer)
    whole = fit_folder(repeated, settings)
    cache = CacheSettings(str(tmp_path))
    stages = []

    def stop(event):
        stages.append(event.stage)
        if event.stage.startswith("Scoring held-out") and stages.count(event.stage) == 3:
            raise Cancelled("stop")

    with pytest.raises(Cancelled):
        fit_folder(repeated, settings, stop, cache)
    monkeypatch.setattr(dicom_patient, "_SALT", b"another process")
    resumed = fit_folder(repeated, settings, None, cache)
    np.testing.assert_array_equal(resumed.calibration.scan_scores, whole.calibration.scan_scores)
    np.testing.assert_array_equal(resumed.calibration.scan_weights, whole.calibration.scan_weights)
    np.testing.assert_array_equal(resumed.calibration.table_scores, whole.calibration.table_scores)


def test_merged_and_updated_models_add_their_persons(repeated, tmp_path):
    settings = replace(PICTURES, scorer="dpmm")
    other = save_pictures(tmp_path / "other", range(10, 14), 2)
    here, there = fit_folder(repeated, settings), fit_folder(other, settings)
    merged, updated = merge_models([here, there]), update_model(here, other, settings)
    for joint in (merged, NormativeModel.load(merged.save(tmp_path / "m.dinoad")), updated):
        assert (joint.provenance.n_scans, joint.provenance.n_persons) == (23, 9)
        assert (joint.calibration.n_scans, joint.calibration.n_persons) == (23, 9)
        assert sorted(set(joint.calibration.scan_weights)) == [1 / 3, 1 / 2]
    each = update_model(here, other, with_persons("each-scan", settings))
    assert (each.provenance.n_persons, each.calibration.n_persons) == (13, 13)


def test_on_the_command_line(repeated, tmp_path, capsys):
    arguments = ["fit", str(repeated), "--scorer", "memory-bank", "--resolution", "64", "--preset", "bmad"]
    assert main([*arguments, "--out", str(tmp_path / "a.dinoad")]) == 0
    told = capsys.readouterr().out
    assert "fitted on 15 scans of 5 persons, 15 slices" in told
    assert (
        "calibrated on 15 held-out scans of 5 persons (on folds): scan-level p-values go down to 0.167"
        in told
    )
    report = report_path(tmp_path / "a.dinoad").read_text()
    assert "15 of 5 persons (15 slices)" in report
    assert "15 scans of 5 persons that the scorer had not seen" in report
    out = str(tmp_path / "b.dinoad")
    assert main([*arguments, "--out", out, "--persons", "each-scan", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["n_persons"], summary["card"]["n_persons"]) == (15, 15)
    assert "person" not in report_path(tmp_path / "b.dinoad").read_text()


def test_a_grouping_that_makes_no_sense_is_told(repeated, tmp_path, capsys, caplog):
    (tmp_path / "all").mkdir()
    for number, path in enumerate(sorted(repeated.iterdir())[:6]):
        (tmp_path / "all" / f"sub-1_run-{number}.png").write_bytes(path.read_bytes())
    out = tmp_path / "m.dinoad"
    arguments = [
        "fit",
        str(tmp_path / "all"),
        "--scorer",
        "memory-bank",
        "--resolution",
        "64",
        "--out",
        str(out),
    ]
    assert main(arguments) == 0
    assert "the 6 normal scans are of a single person, which is too few" in caplog.text
    assert "the 6 normal scans are of a single person, which is too few" in report_path(out).read_text()
    assert "fitted on 6 scans, 6 slices" in capsys.readouterr().out


def test_patients_are_told_apart_and_named_nowhere(tmp_path, caplog, capsys):
    caplog.set_level(logging.DEBUG)
    ids = [f"{PATIENT_TAGS['PatientID']}-{number}" for number in (0, 1, 2, 0, 1, 3)]
    for number, patient in enumerate(ids):
        save_dicom_head(tmp_path / "normals" / f"scan_{number}", number, PatientID=patient)
    out, cache = tmp_path / "m.dinoad", tmp_path / "cache"
    arguments = ["fit", str(tmp_path / "normals"), "--out", str(out), "--scorer", "memory-bank", "-v"]
    assert main([*arguments, "--resolution", "64", "--cache", str(cache), "--keep-cache"]) == 0
    model = NormativeModel.load(out)
    assert (model.provenance.n_scans, model.provenance.n_persons) == (6, 4)
    captured = capsys.readouterr()
    texts = {"log": caplog.text, "err": captured.err, "out": captured.out}
    written = [out, report_path(out), *(path for path in cache.rglob("*") if path.is_file())]
    assert len(written) > 2
    marks = {
        dicom_patient.patient_mark(next(folder.iterdir())) for folder in (tmp_path / "normals").iterdir()
    }
    assert len(marks) == 4
    for path in written:
        content = path.read_bytes()
        assert b"4711" not in content, path.name
        for mark in marks:
            assert mark not in content, path.name
            assert mark.hex().encode() not in content, path.name
    for name, text in texts.items():
        assert "4711" not in text, name
        assert not [mark for mark in marks if mark.hex() in text or repr(mark) in text], name


def test_one_patient_number_for_all_is_told(tmp_path, caplog):
    for number in range(4):
        save_dicom_head(tmp_path / f"scan_{number}", number, PatientID="ANONYMISED")
    model = fit_folder(tmp_path, HEADS)
    assert model.provenance.n_persons == model.calibration.n_persons == 4
    assert "the 4 normal scans are of a single person" in caplog.text
    assert "ANONYMISED" not in caplog.text


def test_several_planes_and_scorers_leave_a_person_out_of_what_is_fused_of_it(tmp_path):
    for number in range(6):
        save_head(tmp_path / f"sub-{number % 3}_ses-{number}.nii.gz", number)
    settings = replace(HEADS, scorer="dpmm+memory-bank", plane="all", dpmm=PICTURES.dpmm)
    model = fit_folder(tmp_path, settings)
    planes = [plane for own in model.planes for plane in (own, own.for_single_slices)]
    calibrations = [member.calibration for plane in planes for member in plane.members]
    for calibration in (model.calibration, *(plane.calibration for plane in planes), *calibrations):
        assert (calibration.n_scans, calibration.n_persons) == (6, 3)
