"""What a GPU does of a scan's run is what the CPU does; where there is no GPU, PyTorch on the CPU stands for it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_dinoad import read_volume
from napari_dinoad.calibration import Calibration, OwnScores
from napari_dinoad.calibration.score_histogram import ScoreHistogram
from napari_dinoad.images.slices import prepare_planes
from napari_dinoad.images.values.grey import to_grey
from napari_dinoad.images.volume import Geometry, Volume
from napari_dinoad.pipeline import Detector, fit_folder
from napari_dinoad.pipeline.detection import scan_run
from napari_dinoad.pipeline.slices import device_slices
from napari_dinoad.pipeline.slices.device_slices import (
    DeviceCalibration,
    DeviceSlices,
    DeviceVolume,
    slices_of_planes,
)
from napari_dinoad.pipeline.slices.placed_slices import HostSlices
from napari_dinoad.settings import (
    DetectSettings,
    preset,
)
from small_fits import SMALL_FIT

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def on_device(prepared, device):
    volume = DeviceVolume.of(prepared[0], torch.from_numpy(prepared[0].volume.values).to(device))
    return [DeviceSlices(scan, volume) for scan in prepared]


@pytest.fixture(scope="module", params=["memory-bank", "dpmm+memory-bank", "memory-bank all"])
def detector(request, normal_folder):
    scorer, *planes = request.param.split()
    preprocessing = replace(SMALL_FIT.preprocessing, plane=planes[0] if planes else "axial")
    model = fit_folder(normal_folder, replace(SMALL_FIT, scorer=scorer, preprocessing=preprocessing))
    assert all(plane.levels for plane in model.planes)
    return Detector(model, DetectSettings(device="cpu", batch_slices=3))


@pytest.fixture(scope="module")
def patient(patient_path):
    return read_volume(patient_path)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("how", [{}, {"start_slice": 8}, {"slices": [5, 9]}])
def test_a_scan_is_scored_alike(detector, patient, monkeypatch, device, how):
    def run():
        arrived = []
        found = detector.detect(patient, on_slices=lambda _, i, values: arrived.append((i, values)), **how)
        return found, arrived

    expected, expected_slices = run()
    monkeypatch.setattr(
        scan_run, "slices_of_planes", lambda prepared, of_backbone, voxels: on_device(prepared, device)
    )
    found, slices = run()
    np.testing.assert_allclose(
        found.anomaly_map.values, expected.anomaly_map.values, atol=2e-4 if device == "cpu" else 5e-3
    )
    assert np.array_equal(found.anomaly_map.values > 0, expected.anomaly_map.values > 0)
    assert found.scan_score == pytest.approx(expected.scan_score, rel=1e-4)
    assert (found.p_value, found.slices) == (expected.p_value, expected.slices)
    assert [indices for indices, _ in slices] == [indices for indices, _ in expected_slices]
    for (_, values), (_, others) in zip(slices, expected_slices, strict=True):
        np.testing.assert_allclose(values, others, atol=5e-3)


@pytest.mark.parametrize("device", DEVICES)
def test_inputs_are_alike_in_every_plane(patient, device):
    prepared = prepare_planes(patient, replace(SMALL_FIT.preprocessing, plane="all"), 64)
    for host, slices in zip(map(HostSlices, prepared), on_device(prepared, device), strict=True):
        indices = [7, 3, 5]
        got = slices.inputs(indices)
        assert got.device.type == device
        np.testing.assert_allclose(got.cpu().numpy(), host.inputs(indices), atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", ["uint8", "uint16", "grey", "not seen"])
def test_inputs_of_colours_are_alike(device, kind):
    rng = np.random.default_rng(0)
    dtype = np.uint16 if kind == "uint16" else np.uint8
    colours = rng.integers(0, np.iinfo(dtype).max, (5, 40, 30, 3), dtype=dtype)
    geometry, white = Geometry.of_pixels((5, 40, 30)), float(np.iinfo(dtype).max)
    volume = Volume(to_grey(colours), geometry, full_scale=white, colours=None if kind == "grey" else colours)
    preprocessing = replace(preset("image-colour"), resolution_px=64, colour=kind != "not seen")
    prepared = prepare_planes(volume, preprocessing, 64)
    [slices] = on_device(prepared, device)
    got = slices.inputs([3, 0])
    assert got.shape == ((2, 64, 64) if kind == "not seen" else (2, 3, 64, 64))
    np.testing.assert_allclose(got.cpu().numpy(), HostSlices(prepared[0]).inputs([3, 0]), atol=1e-5)


@settings(max_examples=60)
@given(st.integers(0, 2**31), st.integers(1, 3000), st.integers(0, 500))
def test_the_table_gives_what_the_calibration_says(seed, n_scores, n_tied):
    rng = np.random.default_rng(seed)
    normal = rng.gamma(2.0, 3.0, n_scores).astype(np.float32)
    normal = np.append(normal, np.full(n_tied, normal[0]))
    calibration = Calibration.from_histogram(ScoreHistogram.of(normal), [OwnScores(1.0, 1.0)])
    table = calibration.table_scores
    between = [np.mean(pair) for pair in pairwise(table[:50])]
    scores = np.concatenate([normal, table, between, [table[0] - 1, table[-1] + 1, 1e6, -1e6]]).astype(
        np.float32
    )
    on_table = DeviceCalibration(calibration, torch.device("cpu"))
    with patch.object(device_slices, "_CHUNK_VOXELS", 1000):
        got = on_table.neg_log10_p(torch.from_numpy(scores.reshape(1, -1)))
    np.testing.assert_allclose(got.numpy()[0], calibration.neg_log10_p(scores), rtol=1e-6, atol=1e-6)


def test_a_scan_without_body_in_its_slices_has_no_score(patient):
    (prepared,) = prepare_planes(patient, SMALL_FIT.preprocessing, 64)
    nothing = replace(prepared, body=np.zeros_like(prepared.body))
    (slices,) = on_device([nothing], "cpu")
    gathered = slices.gather([3])
    assert gathered.scan_score(0.01) == float("-inf")
    gathered.add(torch.full((2, 3, 3), -torch.inf))
    assert gathered.scan_score(0.01) == float("-inf")


def test_the_cpu_and_single_images_stay_with_numpy(patient):
    prepared = prepare_planes(patient, SMALL_FIT.preprocessing, 64)
    assert isinstance(slices_of_planes(prepared, torch.device("cpu"))[0], HostSlices)
    each_its_own = [replace(scan, intensity=None) for scan in prepared]
    assert isinstance(slices_of_planes(each_its_own, torch.device("cuda"))[0], HostSlices)
    with pytest.raises(ValueError, match="one range of intensities"):
        on_device(each_its_own, "cpu")


@pytest.mark.parametrize(("free_mb", "kind"), [(1, HostSlices), (4000, DeviceSlices)])
def test_a_scan_that_the_gpu_has_no_room_for_stays_with_numpy(patient, monkeypatch, free_mb, kind):
    prepared = prepare_planes(patient, SMALL_FIT.preprocessing, 64)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free_mb * 10**6, 10**10))
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, _: tensor)
    (slices,) = slices_of_planes(prepared, torch.device("cuda"))
    assert isinstance(slices, kind)
