"""The whole flow on small heads: fit, save, load, detect."""

from __future__ import annotations

import re
import shutil
import weakref
from collections import Counter
from dataclasses import replace
from functools import cache

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from napari_dinoad import NormativeModel, read_volume
from napari_dinoad.backbones import PatchEmbeddings, load_backbone
from napari_dinoad.errors import (
    BackboneError,
    Cancelled,
    DinoadError,
    ModelFileError,
    ScanReadError,
    SettingError,
)
from napari_dinoad.images.discovery import discover_scans
from napari_dinoad.images.volume import Geometry, Volume
from napari_dinoad.normative_model.cohort_norms import CohortNorms, FigureNorm
from napari_dinoad.pipeline import Detector, detect, fit_folder
from napari_dinoad.pipeline.cohort.cohort_notes import coarse_plane_note, uneven_brightness_note
from napari_dinoad.pipeline.detection import detector as detection
from napari_dinoad.pipeline.fit import fitting
from napari_dinoad.pipeline.fit.cohort_report import fit_notes
from napari_dinoad.pipeline.fit.fitting import guessed_preset
from napari_dinoad.settings import (
    ArCnnSettings,
    CalibrationSettings,
    ClusterSettings,
    DetectSettings,
    DpmmSettings,
    FitSettings,
    MemoryBankSettings,
    preset,
)
from small_heads import BAD_SCANS, lesion_of_head, make_head, save_dicom_head, save_head

SMALL = FitSettings(
    scorer="memory-bank",
    preprocessing=replace(preset("mr-brain"), resolution_px=160),
    memory_bank=MemoryBankSettings(n_patches=1500),
    dpmm=DpmmSettings(n_components=60, epochs=8),
    ar_cnn=ArCnnSettings(hidden_channels=64, epochs=20, batch_maps=8),
)


@pytest.fixture(scope="module")
def fitted(normal_folder):
    """A function (plane, smoothing_mm) that returns their model, which is fitted once."""

    @cache
    def fitted_once(plane, smoothing_mm):
        preprocessing = replace(SMALL.preprocessing, plane=plane)
        calibration = CalibrationSettings(smoothing_mm=smoothing_mm)
        return fit_folder(normal_folder, replace(SMALL, preprocessing=preprocessing, calibration=calibration))

    return fitted_once


@pytest.fixture(scope="module")
def model(fitted):
    return fitted("axial", CalibrationSettings.smoothing_mm)


@pytest.fixture(scope="module")
def patient(patient_path):
    return read_volume(patient_path)


def lesion_canonical(patient):
    return patient.geometry.to_canonical(lesion_of_head())


@pytest.mark.parametrize("scorer", ["dpmm", "ar-cnn", "memory-bank"])
def test_each_scorer_finds_the_lesion(normal_folder, patient, scorer):
    settings = replace(SMALL, scorer=scorer, calibration=CalibrationSettings(folds=2))
    fitted = fit_folder(normal_folder, settings)
    result = detect(patient, fitted)
    lesion = lesion_canonical(patient)
    values = result.anomaly_map.values
    assert values.shape == patient.values.shape
    assert values.dtype == np.float32
    assert values[lesion].mean() > values[~lesion].mean() + 0.5
    assert fitted.scorer.name == scorer
    assert result.n_calibration_scans == 6


def test_files_in_place_of_a_scan_and_a_model_are_told_with_what_to_do(model, patient):
    with pytest.raises(SettingError, match=r"scan: expected a Volume, got str.* read_volume\("):
        detect("patient.nii.gz", model)
    with pytest.raises(
        SettingError, match=r"model: expected a NormativeModel, got str.* NormativeModel\.load\("
    ):
        detect(patient, "t1.dinoad")


def test_a_loaded_model_detects_the_same(model, patient, tmp_path):
    model.save(tmp_path / "m.dinoad")
    again = NormativeModel.load(tmp_path / "m.dinoad")
    one, other = detect(patient, model), detect(patient, again)
    np.testing.assert_array_equal(one.anomaly_map.values, other.anomaly_map.values)
    assert one.p_value == other.p_value
    assert again.fit_report is None
    assert again.card() == model.card()


def test_shares_of_normal_scans_count_the_scan_itself(model):
    """The most unusual of six is one of six; of scans on one grid all are as unusual as each."""
    scans = model.fit_report.scans
    assert sorted(scan.unlike_share for scan in scans) == pytest.approx(np.arange(1, 7) / 6)
    assert sorted(scan.p_value for scan in scans) == pytest.approx(np.arange(1, 7) / 6)
    assert [scan.grid_share for scan in scans] == [1.0] * 6


def test_regions_are_compared_with_the_highest_voxels_of_held_out_scans(normal_folder, patient):
    settings = replace(SMALL, calibration=CalibrationSettings(method="split", holdout=0.4))
    detector = Detector(fit_folder(normal_folder, settings))
    detection = detector.detect(patient)
    levels = detection.normal_peaks.levels
    assert len(levels) == detection.n_calibration_scans
    # They are among the highest voxels that the normal scans have when they are scored themselves.
    scans = map(read_volume, sorted(normal_folder.iterdir()))
    highest = np.array([detector.detect(scan).anomaly_map.values.max() for scan in scans])
    # Embeddings of a fit are kept in float16.
    assert np.abs(levels[:, None] - highest).min(axis=1) == pytest.approx(0, abs=0.05)
    (first, *_) = detection.findings(detection.mask(), "p").region_dicts()
    assert first["n_normal_reaching"] == np.count_nonzero(levels >= first["peak_neg_log10_p"])


def test_normal_scans_just_as_extreme_count_against_the_scan(model, patient):
    """In p, and not among those that are more normal."""
    score = detect(patient, model).scan_score
    (plane,) = model.planes
    tied = replace(
        plane.calibration, scan_scores=np.array([score - 1, score - 1, score, score, score, score + 1])
    )
    result = detect(patient, model.with_scorer(model.scorer, tied, tied, plane.noise_share))
    assert (result.n_more_normal, result.n_calibration_scans) == (2, 6)
    assert result.p_value == (1 + 4) / (1 + 6)


def test_a_scan_is_let_go_before_the_next_one_is_prepared(model, patient, monkeypatch):
    """Of a large one that is most of what there is."""
    detector, before = Detector(model), []
    prepare = detection.prepare_planes

    def noted(volume, *rest):
        assert all(body() is None for body in before), "the scan of before takes memory still"
        prepared = prepare(volume, *rest)
        before.append(weakref.ref(prepared[0].body))
        return prepared

    monkeypatch.setattr(detection, "prepare_planes", noted)
    for _ in range(2):
        detector.detect(replace(patient))
    assert len(before) == 2


def test_a_slice_asked_for_twice_is_scored_once(model, patient):
    detector = Detector(model)
    once, twice = (detector.detect(patient, slices=slices) for slices in ([5, 9], np.array([9, 5, 9, 9, 9])))
    assert twice.slices == (5, 9)
    assert all(type(index) is int for index in twice.slices)
    assert twice.scan_score == once.scan_score
    np.testing.assert_array_equal(twice.anomaly_map.values, once.anomaly_map.values)


def test_the_mask_is_drawn_as_the_settings_say(model, patient):
    result = detect(patient, model, DetectSettings(fpr=0.1, min_volume_mm3=10_000))
    volumes = [region.volume_mm3 for region in result.mask(min_volume_mm3=0).regions()]
    assert min(volumes) < 10_000 < max(volumes)
    assert result.mask().fpr == 0.1
    kept = [region.volume_mm3 for region in result.mask().regions()]
    assert kept == [volume for volume in volumes if volume >= 10_000]
    assert result.mask(fpr=0.01).fpr == 0.01


def test_a_scan_unlike_the_normal_ones_is_told_so(model, patient, tmp_path):
    """A patient of the same protocol is not; the same head in larger voxels and inverted contrast is."""
    assert detect(patient, model).unlike == ()
    affine = np.diag([10.0, 5.0, 8.0, 1.0])
    values = np.where(make_head(50) > 60, 200 - make_head(50), 0)
    nib.save(nib.Nifti1Image(np.abs(values).astype(np.float32), affine), tmp_path / "other.nii.gz")
    model.save(tmp_path / "m.dinoad")
    other = detect(read_volume(tmp_path / "other.nii.gz"), NormativeModel.load(tmp_path / "m.dinoad"))
    assert any("voxels are 10 mm side to side, in the normal scans 5 mm" in words for words in other.unlike)
    assert any("contrast" in words for words in other.unlike)
    notes = other.findings(other.mask(), "other.nii.gz").all_notes()
    assert set(other.unlike) <= set(notes)


@pytest.mark.parametrize(
    ("preset_name", "lowest", "words"),
    [
        ("mr-brain", -1000, "The model is of MR, this scan looks like CT (air at −1000)."),
        ("mr-brain", 0, ""),
        ("ct-head", 0, "The model is of CT, this scan has no values of air (−1000)."),
        ("ct-head", -1000, ""),
        ("mr-slices", -1000, ""),
    ],
)
def test_a_scan_of_another_kind_than_the_model_is_told_so(model, preset_name, lowest, words):
    of_kind = replace(model, preprocessing=replace(preset(preset_name), resolution_px=64), cohorts=())
    values = make_head(0).T
    values = np.where(values > 20, values, lowest).astype(np.float32)
    head = Volume(values, Geometry(values.shape[::-1], np.diag([5.0, 5.0, 8.0, 1.0])))
    told = [note for note in Detector(of_kind).unlike(head) if "The model is of" in note]
    assert told == [words] * bool(words)


def test_heads_in_ct_without_skull_are_told_to_have_no_air_only_where_the_normal_ones_have(tmp_path):
    for seed in range(6):
        nib.save(nib.Nifti1Image(make_head(seed), np.diag([5.0, 5.0, 8.0, 1.0])), tmp_path / f"{seed}.nii")
    settings = replace(
        SMALL, scorer="memory-bank", preprocessing=replace(preset("ct-head"), resolution_px=64)
    )
    detector = Detector(fit_folder(tmp_path, settings))
    nib.save(nib.Nifti1Image(make_head(6), np.diag([5.0, 5.0, 8.0, 1.0])), tmp_path / "new.nii")
    stripped = read_volume(tmp_path / "new.nii")
    assert detector.unlike(stripped) == ()
    fitted_with_air = replace(
        detector.model, cohorts=(CohortNorms({"reaches_air": FigureNorm(6, 1, 0, 1, 1)}),)
    )
    assert "no values of air" in Detector(fitted_with_air).unlike(stripped)[0]


def test_scans_that_are_nearly_black_to_the_model_are_told(tmp_path):
    for seed in range(5):
        head = nib.Nifti1Image(make_head(seed).astype(np.uint16), np.diag([5.0, 5.0, 8.0, 1.0]))
        nib.save(head, tmp_path / f"{seed}.nii")
    pictures = replace(preset("image-2d"), body_mask="off", resolution_px=64)
    fitted = fit_folder(tmp_path, replace(SMALL, scorer="memory-bank", preprocessing=pictures))
    for scan in fitted.fit_report.scans:
        assert any("nearly black" in note for note in scan.facts["notes"])
    detection = detect(read_volume(tmp_path / "0.nii"), fitted)
    assert sum("nearly black" in words for words in detection.unlike) == 1


def test_the_same_seed_gives_the_same_model(normal_folder, tmp_path):
    contents = []
    for name in ("a", "b"):
        fit_folder(normal_folder, SMALL).save(tmp_path / name)
        contents.append(re.sub(rb"created[^,]*,", b"", (tmp_path / name).read_bytes()))
    assert contents[0] == contents[1]


def test_no_name_or_path_is_stored(model, normal_folder, tmp_path):
    model.save(tmp_path / "m.dinoad")
    stored = (tmp_path / "m.dinoad").read_bytes()
    for scan in normal_folder.iterdir():
        assert scan.name.split(".")[0].encode() not in stored
    assert str(normal_folder).encode() not in stored


def test_normal_voxels_are_marked_at_about_the_rate(normal_folder, model):
    """Every normal scan calibrated by a fold that had not seen it; seen ones are marked no more than the rate."""
    marked = [detect(read_volume(p), model).mask(0.05).values.mean() for p in normal_folder.iterdir()]
    assert np.mean(marked) <= 0.05


def test_every_normal_scan_gets_a_held_out_score(model):
    report = model.fit_report
    assert len(report.scans) == 6
    assert all(scan.score is not None and scan.p_value > 0 for scan in report.scans)
    by_score = sorted(report.scans, key=lambda scan: scan.score, reverse=True)
    shares = [scan.p_value for scan in by_score]
    assert shares == sorted(shares)
    order = [-scan.unusual for scan in report.most_abnormal(6)]
    assert order == sorted(order)


def test_split_calibration_holds_scans_out(normal_folder):
    settings = replace(SMALL, calibration=CalibrationSettings(method="split", holdout=0.3))
    fitted = fit_folder(normal_folder, settings)
    assert fitted.calibration.n_scans == 2
    assert fitted.calibration.method == "split"
    assert sum(scan.score is not None for scan in fitted.fit_report.scans) == 2


@pytest.fixture(scope="module")
def model_of_single_slices(fitted):
    return fitted("axial", 0)


def test_a_slice_asked_for_is_scored_for_itself(model, model_of_single_slices, patient):
    """Its calibration is that of normal slices scored for themselves, whatever the whole is averaged over."""
    assert model.smoothing_mm == CalibrationSettings.smoothing_mm > 0
    assert model_of_single_slices.planes[0].alone is None
    averaged, single = Detector(model), Detector(model_of_single_slices)
    whole = single.detect(patient)
    index = whole.slices[len(whole.slices) // 2]
    expected = single.detect(patient, slices=[index]).anomaly_map.values
    np.testing.assert_array_equal(averaged.detect(patient, slices=[index]).anomaly_map.values, expected)
    assert not np.array_equal(averaged.detect(patient).anomaly_map.values, whole.anomaly_map.values)
    # All slices by name are still each for itself, and compared with normal scans that were scored so.
    named = averaged.detect(patient, slices=whole.slices)
    np.testing.assert_allclose(named.anomaly_map.values, whole.anomaly_map.values, atol=2e-3)
    assert named.p_value == whole.p_value


def test_single_slices_agree_with_the_whole(model_of_single_slices, patient):
    detector = Detector(model_of_single_slices)
    whole = detector.detect(patient)
    axis = detector.slice_axis(patient)
    index = whole.slices[len(whole.slices) // 2]
    one = detector.detect(patient, slices=[index])
    np.testing.assert_allclose(
        one.anomaly_map.values.take(index, axis), whole.anomaly_map.values.take(index, axis), atol=2e-3
    )
    assert one.p_value is None, "one slice has no scan-level p-value"
    assert one.normal_peaks is None, "nor are its regions compared with whole scans"
    assert not np.delete(one.anomaly_map.values, index, axis).any()


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("smoothing_mm", [0, 5])
def test_slices_arrive_outwards_and_make_up_the_map(fitted, patient, plane, smoothing_mm):
    detector = Detector(fitted(plane, smoothing_mm), DetectSettings(batch_slices=4))
    collected = np.zeros_like(patient.values)
    order = []

    def collect(axis, indices, values):
        order.extend(indices)
        np.moveaxis(collected, axis, 0)[indices] = values

    start = patient.values.shape[detector.slice_axis(patient)] // 2
    result = detector.detect(patient, start_slice=start, on_slices=collect)
    np.testing.assert_array_equal(collected, result.anomaly_map.values)
    assert order[0] == start
    if smoothing_mm:
        # The first slice came at once, and again with its neighbours.
        assert sorted(order[1:]) == list(result.slices)
        assert order[1:].index(start) <= len(order) // 2
    else:
        assert sorted(order) == list(result.slices)
        distances = [abs(index - start) for index in order]
        assert distances == sorted(distances)


@pytest.mark.parametrize("smoothing_mm", [0, 5])
def test_a_slice_that_will_be_others_is_told_apart(fitted, patient, smoothing_mm):
    detector = Detector(fitted("axial", smoothing_mm), DetectSettings(batch_slices=4))
    start, final, preliminary = patient.values.shape[0] // 2, [], []
    result = detector.detect(
        patient,
        start_slice=start,
        on_slices=lambda axis, indices, values: final.extend(indices),
        on_preliminary=lambda axis, indices, values: preliminary.extend(indices),
    )
    assert sorted(final) == list(result.slices)
    assert preliminary == ([start] if smoothing_mm else [])


def test_slices_outside_the_scan_are_refused(model, patient):
    with pytest.raises(SettingError, match=r"expected 0 to 15, got \[99\]"):
        Detector(model).detect(patient, slices=[99])


def test_bad_scans_are_named_and_good_ones_used(messy_folder):
    fitted = fit_folder(messy_folder, SMALL)
    assert fitted.provenance.n_scans == 3
    reasons = {item.path.name: item.reason for item in fitted.fit_report.skipped}
    assert set(reasons) == set(BAD_SCANS)
    for name, part in BAD_SCANS.items():
        assert part in reasons[name]


def test_too_few_scans_are_told_with_reasons(tmp_path):
    with pytest.raises(ScanReadError, match="empty folder"):
        fit_folder(tmp_path, SMALL)
    (tmp_path / "text.nii").write_text("no scan")
    with pytest.raises(ScanReadError, match=r"at least 2 usable.*text\.nii.*[^.]\.$"):
        fit_folder(tmp_path, SMALL)
    (tmp_path / "text.nii").unlink()
    save_head(tmp_path / "only.nii.gz", 0)
    with pytest.raises(ScanReadError, match=r"got 1\.$"):
        fit_folder(tmp_path, SMALL)


def test_where_the_model_cannot_be_written_nothing_is_fitted(normal_folder, tmp_path):
    with pytest.raises(DinoadError, match="Cannot write"):
        fit_folder(normal_folder, SMALL, lambda _: pytest.fail("began"), out=tmp_path / "none" / "m.dinoad")


@pytest.mark.parametrize("stage", ["Reading and embedding", "Scoring held-out normal scans"])
def test_cancelling_leaves_nothing_behind(normal_folder, tmp_path, monkeypatch, stage):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def cancel(event):
        if event.stage == stage and event.done == 1:
            raise Cancelled("stop")

    with pytest.raises(Cancelled):
        fit_folder(normal_folder, SMALL, cancel)
    assert list(tmp_path.iterdir()) == []


def test_a_fit_can_be_cancelled_within_a_scan_and_within_an_epoch(normal_folder, tmp_path, monkeypatch):
    """Either may take minutes."""
    monkeypatch.setattr("napari_dinoad.progress._REST_S", 0.0)
    monkeypatch.setattr("napari_dinoad.pipeline.cohort.embedding_cache.MAPS_PER_BATCH", 8)
    told = Counter()
    split = replace(SMALL, scorer="dpmm", calibration=CalibrationSettings(method="split"))
    fitted = fit_folder(normal_folder, split, lambda event: told.update([(event.stage, event.done)]))
    n_slices = fitted.fit_report.scans[0].n_slices
    assert told["Reading and embedding", 0] > n_slices // load_backbone("embedded").batch_slices
    n_batches = sum(scan.n_slices for scan in fitted.fit_report.scans) // 8 // 2
    assert told["Fitting DPMM", 1] > n_batches
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for stage, done in (("Reading and embedding", 0), ("Fitting DPMM", 1)):
        told.clear()

        def cancel(event, step=(stage, done)):
            told.update([(event.stage, event.done)])
            if told[step] == 2:
                raise Cancelled("stop")

        with pytest.raises(Cancelled):
            fit_folder(normal_folder, split, cancel)
        assert list(tmp_path.iterdir()) == []


def test_other_weights_are_refused(model, tmp_path):
    other = replace(model, backbone=replace(model.backbone, weights_sha256="0" * 64))
    with pytest.raises(ModelFileError, match="fitted with other weights"):
        Detector(other)
    path = other.save(tmp_path / "of_others.dinoad")
    with pytest.raises(ModelFileError, match=f"^{path}: .* fitted with other weights"):
        Detector(NormativeModel.load(path))


@pytest.mark.parametrize(
    ("modality", "name", "warned"), [("MR", "mr-brain", 0), ("CT", "ct-head", 1), ("OPT", "oct", 0)]
)
def test_the_default_preset_follows_the_modality_of_dicom(tmp_path, modality, name, warned, caplog):
    save_dicom_head(tmp_path / "head", 1, Modality=modality)
    assert guessed_preset(discover_scans(tmp_path)).name == name
    assert len(caplog.records) == warned
    assert warned == ("guessed from the scans: CT with a field of view of" in caplog.text)


def test_a_fit_of_several_modalities_says_so(tmp_path, caplog):
    for number, modality in enumerate(("MR", "MR", "CT")):
        save_dicom_head(tmp_path / f"{number}", number, Modality=modality, SeriesInstanceUID=f"1.2.{number}")
    told = "By their headers the scans are 2 × MR, 1 × CT: fit a model of each kind."
    for settings in (SMALL, replace(SMALL, preprocessing=None, resolution_px=160)):
        caplog.clear()
        model = fit_folder(tmp_path, settings, out=tmp_path / "m.dinoad")
        assert [record.getMessage() for record in caplog.records].count(told) == 1
        assert told in (tmp_path / "m.report.html").read_text(encoding="utf-8")
        assert told in fit_notes(model, model.fit_report), "the window tells it when the fit has ended"


def test_a_mix_told_by_values_alone_is_told_with_a_preset_too(normal_folder, tmp_path, caplog):
    """napari's window always names one."""
    mixed = shutil.copytree(normal_folder, tmp_path / "mixed")
    path = sorted(mixed.glob("*.nii.gz"))[0]
    image = nib.load(path)
    values = np.where(np.asarray(image.dataobj) > 0, 40, -1000).astype(np.int16)
    nib.save(nib.Nifti1Image(values, image.affine), path)
    n_looked_at = min(len(list(mixed.glob("*.nii.gz"))), 5)
    told = f"1 of the {n_looked_at} scans looked at is CT, the others are not: fit a model of each kind."
    for settings in (SMALL, replace(SMALL, preprocessing=None, resolution_px=160)):
        caplog.clear()
        assert fit_folder(mixed, settings).fit_report.mixed == told
        assert [record.getMessage() for record in caplog.records].count(told) == 1


def test_a_backbone_that_is_loaded_already_is_used(normal_folder, patient_path, monkeypatch):
    settings = FitSettings(scorer="memory-bank", device="cpu", resolution_px=96)
    expected = fit_folder(normal_folder, settings)
    backbone = load_backbone("embedded", device="cpu")
    for module in (detection, fitting):
        monkeypatch.setattr(module, "load_backbone", lambda *a, **k: pytest.fail("loaded again"))
    model = fit_folder(normal_folder, settings, backbone=backbone)
    volume = read_volume(patient_path)
    found = Detector(model, backbone=backbone).detect(volume).anomaly_map.values
    assert np.array_equal(found, Detector(expected, backbone=backbone).detect(volume).anomaly_map.values)


class MeansAndSpreads:
    """A backbone of the user's own: mean and spread of each patch."""

    name, weights_sha256, runtime = "means-and-spreads", "0" * 64, "PyTorch, float32"
    embedding_dim, patch_size_px, default_resolution_px, batch_slices = 2, 8, 96, 8
    is_dino, weights_file, device = False, None, torch.device("cpu")

    def patch_grid(self, height, width):
        return height // 8, width // 8

    def __call__(self, images):
        patches = torch.as_tensor(images).unfold(1, 8, 8).unfold(2, 8, 8).flatten(3)
        return PatchEmbeddings(torch.stack([patches.mean(-1), patches.std(-1)], -1), 8)


def test_a_backbone_of_ones_own_needs_no_registered_name(normal_folder, patient_path, tmp_path):
    backbone = MeansAndSpreads()
    settings = FitSettings(scorer="memory-bank", backbone=backbone.name, preprocessing=preset("mr-brain"))
    path = fit_folder(normal_folder, settings, backbone=backbone).save(tmp_path / "m.dinoad")
    model = NormativeModel.load(path)
    assert model.backbone.embedding_dim == 2
    found = Detector(model, backbone=backbone).detect(read_volume(patient_path))
    assert found.anomaly_map.values.max() > 0
    with pytest.raises(BackboneError, match="'means-and-spreads' is not known"):
        fit_folder(normal_folder, settings)


def test_a_backbone_must_be_that_of_the_settings_and_not_of_a_cluster(normal_folder):
    backbone = load_backbone("embedded", device="cpu")
    with pytest.raises(
        SettingError, match="expected 'dinov2_vits14', which the settings name, got 'embedded'"
    ):
        fit_folder(normal_folder, FitSettings(backbone="dinov2_vits14"), backbone=backbone)
    with pytest.raises(SettingError, match="cluster"):
        fit_folder(normal_folder, FitSettings(), backbone=backbone, cluster=ClusterSettings())


@pytest.mark.parametrize(("plane", "is_told"), [("axial", True), ("acquired", False)])
def test_thick_slices_that_are_cut_across_are_told(tmp_path, plane, is_told, caplog):
    """Sagittal slices of a knee, with the preset that volumes get: cut in axial ones, without a word."""
    rng = np.random.default_rng(0)
    for number in range(4):
        values = np.zeros((8, 32, 32), np.float32)
        values[1:-1, 4:-4, 4:-4] = 100 + 20 * rng.random((6, 24, 24))
        nib.save(nib.Nifti1Image(values, np.diag([4.0, 1.0, 1.0, 1.0])), tmp_path / f"{number}.nii.gz")
    small = replace(SMALL.preprocessing, plane=plane, resolution_px=64)
    fit_folder(tmp_path, replace(SMALL, preprocessing=small))
    told = "4 of 4 scans have thick sagittal slices and are cut in axial ones"
    assert (told in caplog.text) == is_told


@pytest.mark.parametrize(
    ("whites", "name", "is_told"),
    [
        ((90, 120, 150, 180, 200, 255), "image-2d", True), ((230, 240, 250, 255, 255, 255), "image-2d", False),
        ((90, 120, 150, 180, 200, 255), "bmad", False), ((90, 120, 150, 180, 200, 255), "mr-brain", False),
        ((90, 255, 90, 255), "image-2d", False), ((0, 0, 0, 0, 0, 0), "image-2d", False),
    ],
)  # fmt: skip
def test_uneven_brightness_of_images_as_stored_is_told(whites, name, is_told):
    facts = [{"intensity": [0, 1, 2, 3, white], "white": 255.0} for white in whites]
    note = uneven_brightness_note(facts, preset(name))
    assert ("or less in a tenth of the images" in note) == is_told
    assert note == "" or "--preset mr-slices" in note


def test_images_of_8_12_and_16_bits_are_not_unevenly_bright(tmp_path, caplog):
    """Their stored numbers were compared, and mr-slices advised to all who mix depths."""
    rng = np.random.default_rng(0)
    for index, white in enumerate((255, 255, 4095, 4095, 65535, 65535)):
        image = np.zeros((48, 48), np.uint8 if white == 255 else np.uint16)
        image[8:40, 8:40] = rng.integers(white // 2, white, (32, 32))
        Image.fromarray(image).save(tmp_path / f"{index}.png")
    fit_folder(tmp_path, replace(SMALL, preprocessing=replace(preset("image-2d"), resolution_px=64)))
    assert "Brightness is uneven" not in caplog.text
    facts = [
        {"intensity": [0.0, 0.1, 0.2, 0.3, bright], "white": None} for bright in (0.2, 0.3, 0.5, 0.9, 1.0)
    ]
    assert "24 % of white or less" in uneven_brightness_note(facts, preset("image-2d"))


def test_a_fit_of_unevenly_bright_images_says_so(tmp_path, caplog):
    rng = np.random.default_rng(0)
    for index, white in enumerate((80, 80, 160, 160, 255, 255)):
        image = np.zeros((48, 48), np.uint8)
        image[8:40, 8:40] = rng.integers(white // 2, white, (32, 32))
        Image.fromarray(image).save(tmp_path / f"{index}.png")
    fit_folder(tmp_path, replace(SMALL, preprocessing=replace(preset("image-2d"), resolution_px=64)))
    assert "Brightness is uneven" in caplog.text
    caplog.clear()
    model = fit_folder(tmp_path, replace(SMALL, preprocessing=None, resolution_px=64))
    assert model.preprocessing.preset == "mr-slices"
    assert "Brightness is uneven" not in caplog.text
    assert "Preset mr-slices, guessed from the scans" in caplog.text


def thick(axis, step=4.0):
    return {
        "spacing": [step if a == axis else 1.0 for a in range(3)],
        "is_physical": True,
        "shape": [9, 9, 9],
    }


@pytest.mark.parametrize(
    ("facts", "plane", "other"),
    [
        ([thick(2)] * 3, "axial", "sagittal"), ([thick(1)] * 2 + [thick(0)], "axial", "coronal"),
        ([thick(0)] * 3, "sagittal", "axial"), ([thick(2)] * 3, "sagittal", ""), ([thick(2)] * 3, "all", ""),
        ([thick(2), thick(0)], "axial", ""), ([thick(2, step=2.0)] * 3, "axial", ""),
        ([thick(2) | {"is_physical": False}] * 3, "axial", ""), ([thick(2) | {"shape": [1, 9, 9]}] * 3, "axial", ""),
        ([], "axial", ""),
    ],
)  # fmt: skip
def test_most_scans_tell_in_which_plane_the_slices_lie(facts, plane, other):
    note = coarse_plane_note(facts, plane)
    assert (f"thick {other} slices" in note) if other else note == ""


def test_nothing_is_said_of_a_volume_as_a_whole_by_a_model_of_single_images(tmp_path):
    rng = np.random.default_rng(0)
    for index in range(4):
        image = np.zeros((48, 48), np.uint8)
        image[8:40, 8:40] = rng.integers(100, 255, (32, 32))
        Image.fromarray(image).save(tmp_path / f"{index}.png")
    model = fit_folder(tmp_path, replace(SMALL, preprocessing=replace(preset("mr-slices"), resolution_px=64)))
    detector = Detector(model)
    values = np.repeat(image[None].astype(np.float32), 3, axis=0)
    volume = Volume(values, Geometry.of_pixels(values.shape), full_scale=255.0)
    found = detector.detect(volume)
    assert found.is_whole
    assert found.p_value is None and found.normal_peaks is None
    assert "It is a volume and the normal scans are single images" in " ".join(found.unlike)
    words = found.findings(found.mask(), "volume").scan_words()
    assert words == "Nothing can be said about the whole scan: single slices and volumes cannot be compared."
    single = detector.detect(read_volume(tmp_path / "0.png"))
    assert single.p_value is not None
