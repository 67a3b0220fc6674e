"""Several scorers in one model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_dinoad import NormativeModel, read_volume
from napari_dinoad.calibration import fused_scores
from napari_dinoad.errors import ModelFileError, SettingError
from napari_dinoad.pipeline import detect, fit_folder
from napari_dinoad.settings import (
    CacheSettings,
    CalibrationSettings,
    DpmmSettings,
    FitSettings,
    MemoryBankSettings,
    preset,
)
from small_heads import lesion_of_head

SETTINGS = FitSettings(
    scorer="memory-bank+dpmm",
    preprocessing=replace(preset("mr-brain"), resolution_px=96),
    calibration=CalibrationSettings(folds=3),
    memory_bank=MemoryBankSettings(n_patches=800, reduction="random"),
    dpmm=DpmmSettings(n_components=30, epochs=4),
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return CacheSettings(str(tmp_path_factory.mktemp("cache")), keep=True)


@pytest.fixture(scope="module")
def model(normal_folder, cache):
    return fit_folder(normal_folder, SETTINGS, cache=cache)


@pytest.fixture(scope="module")
def alone(normal_folder, cache):
    return {
        name: fit_folder(normal_folder, replace(SETTINGS, scorer=name), cache=cache)
        for name in ("dpmm", "memory-bank")
    }


@pytest.fixture(scope="module")
def patient(patient_path):
    return read_volume(patient_path)


def test_each_member_is_the_scorer_fitted_alone(model, alone):
    (plane,) = model.planes
    assert model.scorer_name == "dpmm+memory-bank"
    assert [member.scorer.name for member in plane.members] == ["dpmm", "memory-bank"]
    for member in plane.members:
        single = alone[member.scorer.name]
        for name, tensor in single.scorer.state().tensors.items():
            assert tensor.equal(member.scorer.state().tensors[name])
        arrays = member.calibration.arrays()
        levels = arrays.pop("table_neg_log10_p")
        for name, array in arrays.items():
            np.testing.assert_array_equal(single.calibration.arrays()[name], array)
        # The rates of new scans are measured where all scorers are fused, and before that only of one alone.
        assert (single.calibration.table_neg_log10_p <= levels).all()
        assert (single.calibration.table_neg_log10_p < levels).any()


def test_a_single_scorer_has_one_calibration(alone):
    for name, single in alone.items():
        (plane,) = single.planes
        assert plane.calibration is single.calibration is plane.members[0].calibration
        assert single.scorer.name == single.scorer_name == name


def test_the_map_is_fused_from_those_of_the_members(model, alone, patient):
    fused = detect(patient, model)
    levels = []
    for member in model.planes[0].members:
        (own,) = alone[member.scorer.name].planes
        plane = replace(own, members=(member,), calibration=member.calibration)
        part = replace(alone[member.scorer.name], planes=(plane,), calibration=member.calibration)
        levels.append(detect(patient, part).anomaly_map.values)
    assert model.calibration is model.planes[0].calibration
    body = fused.anomaly_map.values > 0
    expected = model.calibration.neg_log10_p(np.mean(levels, axis=0, dtype=np.float32))
    np.testing.assert_allclose(fused.anomaly_map.values[body], expected[body], atol=1e-4)
    lesion = patient.geometry.to_canonical(lesion_of_head())
    assert fused.anomaly_map.values[lesion].mean() > fused.anomaly_map.values[~lesion].mean() + 0.5
    assert fused.p_value == model.calibration.scan_p_value(fused.scan_score)
    assert fused.scan_neg_log10_p == model.calibration.neg_log10_p(np.array(fused.scan_score))
    assert fused.n_calibration_scans == 6


def test_saved_and_loaded(model, patient, tmp_path):
    model.save(tmp_path / "m.dinoad")
    again = NormativeModel.load(tmp_path / "m.dinoad")
    assert again.card() == model.card()
    assert again.card()["scorer"] == "dpmm+memory-bank"
    np.testing.assert_array_equal(
        detect(patient, again).anomaly_map.values, detect(patient, model).anomaly_map.values
    )
    one, other = again.planes[0].members, model.planes[0].members
    for loaded, fitted in zip(one, other, strict=True):
        probe = np.linspace(0, 1, 50, dtype=np.float32)
        np.testing.assert_array_equal(
            fused_scores([probe], [loaded.calibration]), fused_scores([probe], [fitted.calibration])
        )
        np.testing.assert_array_equal(
            loaded.calibration.neg_log10_p(probe), fitted.calibration.neg_log10_p(probe)
        )


def test_a_part_that_is_missing_is_noticed(model, tmp_path):
    half = replace(model, planes=(replace(model.planes[0], members=model.planes[0].members[:1]),))
    half.save(tmp_path / "half.dinoad")
    # A model of one member is whole in itself, so the document is made to claim both.
    content = (tmp_path / "half.dinoad").read_bytes()
    claimed = content.replace(b'\\"scorer\\": \\"dpmm\\"', b'\\"scorer\\": \\"dpmn\\"')
    assert claimed != content
    (tmp_path / "half.dinoad").write_bytes(claimed)
    with pytest.raises(ModelFileError, match="planes and scorers: expected"):
        NormativeModel.load(tmp_path / "half.dinoad")


def test_it_is_not_taken_for_a_model_of_one_scorer(model):
    with pytest.raises(SettingError, match=r"single scorer and plane, got dpmm\+memory-bank in axial"):
        _ = model.scorer


def test_the_curves_of_each_scorer_are_told_apart(model, alone):
    assert all(name.startswith(("dpmm ", "memory-bank ")) for name in model.fit_report.history)
    assert {f"dpmm {name}" for name in alone["dpmm"].fit_report.history} <= set(model.fit_report.history)
