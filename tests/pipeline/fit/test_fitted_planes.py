"""No scan is scored by a model that has seen it; the released one has seen all that it may."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from napari_dinoad import read_volume
from napari_dinoad.pipeline import Detector, fit_folder
from napari_dinoad.pipeline.fit import fitted_planes
from napari_dinoad.settings import (
    ArCnnSettings,
    CalibrationSettings,
    DpmmSettings,
    FitSettings,
    MemoryBankSettings,
    preset,
)
from small_heads import save_head

N_SCANS = 12
SEEN = 1e-4
"""A patch that lies in the bank scores less, by rounding and float16; one that does not scores more."""

SETTINGS = FitSettings(
    scorer="memory-bank",
    preprocessing=replace(preset("mr-brain"), resolution_px=64),
    # The bank holds every patch that it is fitted on.
    memory_bank=MemoryBankSettings(n_patches=100_000),
    dpmm=DpmmSettings(n_components=10, epochs=3),
    ar_cnn=ArCnnSettings(bottleneck_channels=4, hidden_channels=4, epochs=2),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("normals")
    for seed in range(N_SCANS):
        save_head(folder / f"normal_{seed:02d}.nii.gz", seed)
    return folder


def with_calibration(method, **changes):
    return replace(SETTINGS, calibration=CalibrationSettings(method, folds=3, smoothing_mm=0.0), **changes)


def own_scores(model, folder):
    """Return the own score of each normal scan, as the released model gives it."""
    detector = Detector(model)
    return np.array([detector.detect(read_volume(path)).scan_score for path in sorted(folder.iterdir())])


def n_patches_of(model):
    return model.provenance.n_slices * 4 * 4


def test_folds_are_scored_by_models_that_have_not_seen_them_and_the_released_one_has_seen_all(folder):
    model = fit_folder(folder, with_calibration("cross"))
    assert model.calibration.n_scans == N_SCANS
    assert model.calibration.scan_scores.min() > SEEN
    assert len(model.scorer.bank) == n_patches_of(model)
    assert own_scores(model, folder).max() < SEEN


def test_a_split_is_scored_by_a_model_that_has_not_seen_it(folder):
    model = fit_folder(folder, with_calibration("split"))
    held_out = np.array([scan.score is not None for scan in model.fit_report.scans])
    assert held_out.sum() == model.calibration.n_scans == round(0.2 * N_SCANS)
    assert model.calibration.scan_scores.min() > SEEN
    assert [scan.path for scan in model.fit_report.scans] == sorted(folder.iterdir())
    np.testing.assert_array_equal(own_scores(model, folder) > SEEN, held_out)


@pytest.mark.parametrize("scorer", ["dpmm", "ar-cnn"])
def test_from_ten_scans_on_a_tenth_chooses_the_epoch_and_is_not_fitted_on(folder, scorer):
    model = fit_folder(folder, with_calibration("cross", scorer=scorer))
    assert "validation_loss" in model.fit_report.history
    slices = sorted(scan.n_slices for scan in model.fit_report.scans)
    n_left_out = model.provenance.n_slices - (
        model.scorer.n_patches // 16 if scorer == "dpmm" else model.scorer.state().settings["n_maps"]
    )
    assert slices[0] <= n_left_out <= slices[-1], "one scan of twelve"


def test_fewer_scans_are_all_fitted_on(folder, tmp_path):
    for path in sorted(folder.iterdir())[:9]:
        (tmp_path / path.name).symlink_to(path)
    model = fit_folder(tmp_path, with_calibration("cross", scorer="dpmm"))
    assert "validation_loss" not in model.fit_report.history
    assert model.scorer.n_patches == n_patches_of(model)


@pytest.mark.parametrize(
    ("scorer", "is_elsewhere", "device"),
    [
        ("dpmm", True, "cpu"),
        ("dpmm", False, "cuda"),
        ("memory-bank", True, "cuda"),
        ("ar-cnn", True, "cuda"),
    ],
)
def test_a_mixture_that_is_sent_to_workers_lies_on_no_gpu(monkeypatch, scorer, is_elsewhere, device):
    """Also where it is fused with other scorers."""

    class Elsewhere(list):
        def sum_over(self, function, *arguments): ...
        def patch_counts(self): ...
        def patches_at(self, rows): ...

    class Cache:
        scans = tuple(SimpleNamespace(key=str(i)) for i in range(6))

        def batches(self, scans, device, seed):
            return Elsewhere() if is_elsewhere else []

    made = []
    unfitted = SimpleNamespace(fit=lambda *_, **__: unfitted)
    monkeypatch.setattr(fitted_planes, "make_scorer", lambda _, where: made.append(where.type) or unfitted)
    kept = SimpleNamespace(load=lambda name: None, save=lambda name, state: None)
    every = np.arange(6)
    fit = fitted_planes._PlaneFit("axial", Cache(), every, FitSettings(), torch.device("cuda"), kept, None)
    fit.scorer(scorer, every, None)
    assert made == [device]
