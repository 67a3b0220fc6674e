"""Fitting and scoring on Apple's MPS, pretended: what it lacks is not asked of it, and results are the CPU's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from napari_dinoad import NormativeModel, read_volume
from napari_dinoad.backbones.loading import untrained_backbone
from napari_dinoad.pipeline import Detector, fit_folder
from napari_dinoad.pipeline.fit import held_out_scans
from napari_dinoad.scoring.ar_cnn.scorer import ArCnnScorer
from napari_dinoad.settings import (
    ArCnnSettings,
    CalibrationSettings,
    DetectSettings,
    DpmmSettings,
    FitSettings,
    MemoryBankSettings,
    preset,
)
from pretended_mps import MpsTensor, kernels, pretended_mps

SMALL = FitSettings(
    preprocessing=replace(preset("mr-brain"), resolution_px=80),
    calibration=CalibrationSettings(folds=3),
    memory_bank=MemoryBankSettings(n_patches=300),
    dpmm=DpmmSettings(n_components=10, epochs=2),
    ar_cnn=ArCnnSettings(epochs=2),
    device="cpu",
)
"""Of 5 × 5 patches, which the 4 × 4 parts of a slice's look do not divide."""


@pytest.fixture(autouse=True)
def levels_of_few_persons(monkeypatch):
    monkeypatch.setattr(held_out_scans, "MIN_PERSONS", 2)


@pytest.mark.parametrize("scorer", ["memory-bank", "dpmm", "ar-cnn"])
def test_a_scan_is_scored_there_as_on_the_cpu(scorer, normal_folder, patient_path, tmp_path):
    path = fit_folder(normal_folder, replace(SMALL, scorer=scorer)).save(tmp_path / "normal.dinoad")
    model, patient = NormativeModel.load(path), read_volume(patient_path)
    assert model.planes[0].levels is not None
    expected = Detector(model, DetectSettings(device="cpu")).detect(patient)
    with pretended_mps() as seen:
        detector = Detector(model, DetectSettings(device="mps"))
        found = detector.detect(patient)
    assert detector.backbone.device.type == "mps"
    assert "_fft_c2c" in seen
    np.testing.assert_allclose(found.anomaly_map.values, expected.anomaly_map.values, atol=5e-3)
    assert found.scan_score == pytest.approx(expected.scan_score, rel=1e-4)


@pytest.mark.parametrize("scorer", ["memory-bank", "dpmm"])
def test_a_model_is_fitted_there_as_on_the_cpu(scorer, normal_folder):
    settings = replace(SMALL, scorer=scorer)
    expected = fit_folder(normal_folder, settings)
    with pretended_mps() as seen:
        model = fit_folder(normal_folder, replace(settings, device="mps"))
    assert "_fft_c2c" in seen
    np.testing.assert_allclose(model.calibration.scan_scores, expected.calibration.scan_scores, rtol=1e-3)


@pytest.mark.parametrize(("name", "size_px"), [("dinov2_vits14_reg", 70), ("dinov3_vits16", 80)])
def test_a_network_embeds_there_as_on_the_cpu(name, size_px):
    images = torch.rand(1, size_px, size_px, generator=torch.Generator().manual_seed(0))
    expected = untrained_backbone(name, "cpu")(images).values
    with pretended_mps() as seen:
        tokens = untrained_backbone(name, "mps")(images).values
    assert isinstance(tokens, MpsTensor)
    assert "native_layer_norm" in seen
    torch.testing.assert_close(tokens.inner, expected, atol=1e-5, rtol=0)


def test_all_that_training_does_is_there():
    """Gradients cannot be pretended: what a training on the CPU does is looked up."""
    seen = set()

    class Noted(TorchDispatchMode):
        def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
            seen.add(str(operation).removeprefix("aten.").removesuffix(".default"))
            return operation(*args, **(kwargs or {}))

    maps = torch.randn(12, 5, 5, 8, generator=torch.Generator().manual_seed(0))
    with Noted():
        ArCnnScorer(replace(SMALL.ar_cnn, mirrored=True)).fit([maps])
    assert "convolution_backward" in seen
    assert {name for name in seen if not kernels()[name]} == set()
