"""Arguments of the Python API that are of another kind: told by their name, what was expected, and what was got."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_dinoad import (
    Detector,
    FitSettings,
    MemoryBankScorer,
    MemoryBankSettings,
    detect,
    discover_scans,
    fit_folder,
    merge_models,
    preset,
    read_volume,
)
from napari_dinoad.calibration import Calibration, ScanScores, scan_score
from napari_dinoad.errors import DinoadError
from napari_dinoad.evaluation import aupro
from napari_dinoad.maps import AnomalyMap
from napari_dinoad.maps.outputs import save_outputs

SETTINGS = FitSettings(
    "memory-bank",
    preprocessing=preset("mr-brain"),
    memory_bank=MemoryBankSettings(n_patches=500),
    resolution_px=96,
)


@pytest.fixture(scope="module")
def model(normal_folder):
    return fit_folder(normal_folder, SETTINGS)


@pytest.fixture(scope="module")
def detector(model):
    return Detector(model)


@pytest.fixture(scope="module")
def volume(patient_path):
    return read_volume(patient_path)


@pytest.fixture(scope="module")
def detection(detector, volume):
    return detector.detect(volume)


def refused(call, words):
    with pytest.raises(DinoadError, match=words):
        call()


def test_what_is_no_callable_is_refused(normal_folder, detector, volume):
    words = r"progress: expected a function that takes a ProgressEvent, got 5\."
    refused(lambda: fit_folder(normal_folder, SETTINGS, progress=5), words)
    refused(lambda: detector.detect(volume, progress=5), words)
    refused(lambda: discover_scans(normal_folder, progress=5), words)
    refused(lambda: MemoryBankScorer().fit([torch.randn(2, 4, 4, 8)], progress=5), words)
    for name in ("on_slices", "on_preliminary"):
        refused(lambda name=name: detector.detect(volume, **{name: 5}), f"{name}: expected a function, got 5")


@pytest.mark.parametrize("start", ["5", [5]])
def test_a_start_is_a_number(detector, volume, start):
    refused(lambda: detector.detect(volume, start_slice=start), "Start slice: expected a number, got")


def test_one_in_place_of_several(model, detection, tmp_path):
    refused(lambda: merge_models(model), "Models to merge: expected at least 2, got <NormativeModel")
    refused(lambda: merge_models(None), "Models to merge: expected at least 2, got None")
    refused(lambda: MemoryBankScorer().fit(5), "batches: expected a list of tensors .*, got int")
    scores = ScanScores.of(np.random.default_rng(0).random(50), 0.05)
    for given in (scores, 5, [np.zeros(3)]):
        refused(lambda given=given: Calibration.from_scans(given), "Scans: expected several ScanScores, got")
    mask = detection.mask()
    for given in (1, "1"):
        refused(lambda given=given: mask.only(given), "Regions: expected several labels, got")
        findings = detection.findings(mask, "scan")
        keep = {"keep_labels": given}
        refused(
            lambda f=findings, k=keep: save_outputs(f, tmp_path, "a", ("mask",), **k), "Regions: expected"
        )
    assert list(tmp_path.iterdir()) == []


def test_texts_in_place_of_numbers(detection):
    values = np.random.default_rng(0).random(50)
    calibration = Calibration.from_scans([ScanScores.of(values, 0.05)])
    refused(lambda: calibration.threshold("0.01"), "False-positive rate: expected a number, got '0.01'")
    refused(lambda: scan_score(values, "0.05"), "Top fraction: expected a number, got '0.05'")
    refused(lambda: ScanScores.of(values, "0.05"), "Top fraction: expected a number, got '0.05'")
    refused(lambda: aupro([np.eye(4)], [np.eye(4) > 0], "0.3"), "AUPRO limit: expected a number, got '0.3'")
    for rate in ("0.01", 0, 1):
        refused(lambda rate=rate: detection.anomaly_map.n_beyond(rate), "False-positive rate: expected")


def test_paths_in_place_of_what_lies_there(detector, model, volume, patient_path, normal_folder):
    path = str(patient_path)
    for call in (detector.prepare, detector.prepare_apart, detector.unlike, detector.slice_axis):
        refused(
            lambda call=call: call(path), r"scan: expected a Volume, got str\. Read a file with read_volume"
        )
    refused(lambda: detect(path, model), "scan: expected a Volume, got str")
    refused(lambda: AnomalyMap(volume.values, path), "scan: expected a Volume, got str")
    refused(lambda: discover_scans(normal_folder, path), "reading: expected ReadSettings, got")
    refused(lambda: preset(["mr-brain"]), r"preset: expected one of .*, got \['mr-brain'\]")


def test_a_folder_may_be_a_text(detection, tmp_path):
    written = save_outputs(
        detection.findings(detection.mask(), "scan"), str(tmp_path / "out"), "a", ("mask",)
    )
    assert written == {"mask": tmp_path / "out" / "a_mask.nii.gz"}
