"""A volume scored in three planes, fused in p-space."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from napari_dinoad import NormativeModel, read_volume
from napari_dinoad.errors import ScanReadError, SettingError
from napari_dinoad.images.slices import SliceStack, prepare_planes, prepare_scan
from napari_dinoad.images.volume import Geometry, Volume
from napari_dinoad.pipeline import Detector, detect, fit_folder
from napari_dinoad.pipeline.detection import scan_run
from napari_dinoad.pipeline.slices.plane_fusion import PlaneMean
from napari_dinoad.pipeline.slices.slice_embedding import SliceEmbedder
from napari_dinoad.settings import (
    ANATOMICAL_PLANES,
    CacheSettings,
    CalibrationSettings,
    DetectSettings,
    MemoryBankSettings,
    preset,
)
from small_fits import SMALL_FIT
from small_heads import lesion_of_head

SETTINGS = replace(
    SMALL_FIT,
    scorer="memory-bank",
    preprocessing=replace(SMALL_FIT.preprocessing, plane="all"),
    memory_bank=MemoryBankSettings(n_patches=500, reduction="random"),
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return CacheSettings(str(tmp_path_factory.mktemp("cache")), keep=True)


@pytest.fixture(scope="module")
def model(normal_folder, cache):
    return fit_folder(normal_folder, SETTINGS, cache=cache)


@pytest.fixture(scope="module")
def patient(patient_path):
    return read_volume(patient_path)


def test_each_plane_is_the_model_of_this_plane_alone(model, normal_folder, cache):
    assert [plane.plane for plane in model.planes] == list(ANATOMICAL_PLANES)
    coronal = replace(SETTINGS, preprocessing=replace(SETTINGS.preprocessing, plane="coronal"))
    alone = fit_folder(normal_folder, coronal, cache=cache)
    part = model.in_plane("coronal")
    arrays = part.calibration.arrays()
    levels = arrays.pop("table_neg_log10_p")
    for name, array in arrays.items():
        np.testing.assert_array_equal(alone.calibration.arrays()[name], array)
    # The rates of new scans are measured where all planes are fused, and before that only of a plane alone.
    assert (alone.calibration.table_neg_log10_p <= levels).all()
    assert (alone.calibration.table_neg_log10_p < levels).any()
    of_each = ("created", "n_slices", "calibration")
    assert part.card() == {**alone.card(), **{name: part.card()[name] for name in of_each}}
    with pytest.raises(SettingError, match="expected one of axial, coronal, sagittal, got 'acquired'"):
        model.in_plane("acquired")


def test_the_map_is_fused_from_those_of_the_planes(model, patient):
    fused = detect(patient, model)
    total = np.zeros(patient.values.shape)
    n_planes = np.zeros(patient.values.shape)
    prepared = prepare_planes(patient, model.preprocessing, 64)
    for plane, scan in zip(model.planes, prepared, strict=True):
        total += detect(patient, model.in_plane(plane.plane)).anomaly_map.values
        where = scan.stack.where(scan.indices)
        n_planes[where] += scan.body[where]
    scored = n_planes > 0
    raw = (total[scored] / n_planes[scored]).astype(np.float32)
    np.testing.assert_allclose(
        fused.anomaly_map.values[scored], model.calibration.neg_log10_p(raw), atol=1e-3
    )
    assert not fused.anomaly_map.values[~scored].any()
    assert fused.planes == ANATOMICAL_PLANES
    assert fused.p_value == model.calibration.scan_p_value(fused.scan_score)
    assert fused.n_calibration_scans == 6


def test_the_lesion_stands_out(model, patient):
    values = detect(patient, model).anomaly_map.values
    lesion = patient.geometry.to_canonical(lesion_of_head())
    assert values[lesion].mean() > values[~lesion].mean() + 1


class _RoundingEmbedder(SliceEmbedder):
    """Rounds embeddings to float16, as they are kept in a fit."""

    def __call__(self, images, contents):
        return super().__call__(images, contents).half().float()


def test_a_scan_is_fused_as_in_the_fit(normal_folder, cache, monkeypatch):
    """The one scan that calibrates is marked at exactly the rate, voxel for voxel the same as in the fit."""
    monkeypatch.setattr(scan_run, "SliceEmbedder", _RoundingEmbedder)
    split = CalibrationSettings(method="split", holdout=0.1)
    settings = replace(SETTINGS, scorer="dpmm+memory-bank", calibration=split)
    fitted = fit_folder(normal_folder, settings, cache=cache)
    (held_out,) = [scan for scan in fitted.fit_report.scans if scan.score is not None]
    result = detect(read_volume(held_out.path), fitted)
    levels = fitted.calibration.table_neg_log10_p
    for fpr in (0.3, 0.1, 0.01):
        # At a point of the table, between which the calibration interpolates.
        level = levels[np.abs(levels + np.log10(fpr)).argmin()]
        n_marked = np.count_nonzero(result.anomaly_map.values >= level - 1e-6)
        expected = 10**-level * (fitted.calibration.n_voxels + 1) - 1
        assert n_marked == pytest.approx(expected, abs=2)
    assert result.scan_score == pytest.approx(held_out.score, rel=1e-3)


def test_slices_come_from_the_first_plane_and_then_fused(model, patient):
    detector = Detector(model, DetectSettings(batch_slices=4))
    shown = np.zeros_like(patient.values)
    order, events = [], []

    def collect(axis, indices, values):
        assert axis == 0
        order.append(list(indices))
        shown[indices] = values

    start = patient.values.shape[0] // 2
    result = detector.detect(patient, start_slice=start, on_slices=collect, progress=events.append)
    np.testing.assert_array_equal(shown, result.anomaly_map.values)
    assert order[0] == [start]
    given = [index for batch in order for index in batch]
    # By the first plane, then fused; what somebody waited for at once as well, for itself.
    for index in detector.prepare(patient)[0].indices:
        assert given.count(index) == (3 if index == start else 2)
    assert tuple(sorted(set(given))) == result.slices
    totals = {event.total for event in events}
    assert totals == {sum(len(scan.indices) for scan in detector.prepare(patient))}
    assert [event.done for event in events] == sorted(event.done for event in events)
    assert {event.detail for event in events if event.done} == set(ANATOMICAL_PLANES)


def test_what_the_first_plane_says_is_preliminary(model, patient):
    detector = Detector(model)
    final, preliminary = [], []
    result = detector.detect(
        patient,
        on_slices=lambda axis, indices, values: final.extend(indices),
        on_preliminary=lambda axis, indices, values: preliminary.extend(indices),
    )
    assert tuple(final) == result.slices
    assert sorted(preliminary) == list(detector.prepare(patient)[0].indices)


def test_a_single_slice_is_scored_by_the_first_plane(model, patient):
    detector = Detector(model)
    index = patient.values.shape[0] // 2
    one = detector.detect(patient, slices=[index])
    assert one.planes == ("axial",)
    assert one.p_value is None and one.normal_peaks is None
    assert one.slices == (index,)
    assert one.anomaly_map.values[index].any()
    assert not np.delete(one.anomaly_map.values, index, 0).any()


def test_saved_and_loaded(model, patient, tmp_path):
    model.save(tmp_path / "m.dinoad")
    again = NormativeModel.load(tmp_path / "m.dinoad")
    assert again.card() == model.card()
    assert again.card()["planes"] == list(ANATOMICAL_PLANES)
    one, other = detect(patient, again), detect(patient, model)
    np.testing.assert_array_equal(one.anomaly_map.values, other.anomaly_map.values)
    assert one.p_value == other.p_value


def test_all_scorers_share_the_embeddings_of_a_plane(normal_folder, cache):
    calls = []

    def count(event):
        if event.stage == "Reading and embedding":
            calls.append(event.done)

    split = CalibrationSettings(method="split")
    settings = replace(SETTINGS, scorer="dpmm+memory-bank", calibration=split)
    fitted = fit_folder(normal_folder, settings, count, cache)
    assert sorted(set(calls)) == list(range(7)), "each scan is read once"
    assert [[member.scorer.name for member in plane.members] for plane in fitted.planes] == [
        ["dpmm", "memory-bank"]
    ] * 3
    assert {name.split()[0] for name in fitted.fit_report.history} <= set(ANATOMICAL_PLANES)


def test_images_have_one_plane(tmp_path):
    picture = Volume(np.ones((1, 40, 40), np.float32), Geometry.of_pixels((40, 40)), "picture", None, 255.0)
    with pytest.raises(SettingError, match="expected a volume, got a single slice"):
        prepare_planes(picture, replace(preset("image-2d"), plane="all"), 64)
    assert prepare_scan(picture, preset("image-2d"), 64).axis == 0
    with pytest.raises(ScanReadError, match="at least 2 usable"):
        for seed in range(2):
            pixels = np.random.default_rng(seed).integers(0, 255, (40, 40), np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"{seed}.png")
        fit_folder(tmp_path, replace(SETTINGS, preprocessing=replace(preset("image-2d"), plane="all")))


@pytest.mark.parametrize("is_turned", [False, True])
def test_planes_meet_in_the_same_voxels(patient, is_turned):
    """A map that is a function of position alone is the same from each plane, so the mean is that map."""
    volume = patient if is_turned else replace(patient, geometry=patient.geometry)
    truth = np.random.default_rng(0).uniform(0, 3, volume.values.shape).astype(np.float32)
    prepared = prepare_planes(volume, SETTINGS.preprocessing, 64)
    mean = PlaneMean(volume.values.shape)
    for scan in prepared:
        stack = replace(scan.stack, is_turned=is_turned)
        for index in scan.indices:
            block = np.take(truth, [index], axis=stack.axis)
            body = stack.to_display(np.take(scan.body, [index], axis=stack.axis))
            mean.add(stack, [index], body, stack.to_display(block)[body])
    scored = mean.scored()
    np.testing.assert_allclose(mean.raw_scores(), truth[scored], rtol=1e-6)
    assert scored.sum() >= 0.95 * prepared[0].body.sum()
    assert not scored[~prepared[0].body].any()


@pytest.mark.parametrize("at_once", [1, 7, 2**22])
def test_a_voxel_is_fused_of_those_planes_that_score_it(at_once, monkeypatch):
    """At the ends of the body one plane has no slice; there the other decides alone."""
    monkeypatch.setattr("napari_dinoad.pipeline.slices.plane_fusion._VOXELS_AT_ONCE", at_once)
    shape = (4, 3, 2)
    axial = SliceStack(shape, 0, (1, 2), is_turned=True, spacing_mm=1.0)
    coronal = SliceStack(shape, 1, (0, 2), is_turned=True, spacing_mm=1.0)
    levels = np.arange(1, 25, dtype=np.float32).reshape(shape)
    body = np.ones(shape, bool)
    body[2, 0, 1] = False
    mean = PlaneMean(shape)
    for stack, factor in ((axial, 1), (coronal, 3)):
        where = stack.where(stack.indices)
        shown = stack.to_display(body[where])
        mean.add(stack, stack.indices, shown, factor * stack.to_display(levels[where])[shown])
    by_axial, by_coronal = np.zeros(shape), np.zeros(shape)
    by_axial[[1, 2]], by_coronal[:, [0, 2]] = 1, 1
    n_planes = (by_axial + by_coronal) * body
    np.testing.assert_array_equal(mean.scored(), n_planes > 0)
    expected = levels * (by_axial + 3 * by_coronal) / np.maximum(n_planes, 1)
    np.testing.assert_allclose(mean.raw_scores(), expected[n_planes > 0], rtol=1e-6)
    assert set(n_planes.ravel()) == {0, 1, 2}
    assert mean.n_scored == (n_planes > 0).sum()
    for where, scored, raw in mean.parts():
        np.testing.assert_array_equal(scored, n_planes[where] > 0)
        np.testing.assert_allclose(raw, expected[where][scored], rtol=1e-6)
