"""Each slice of a scan is embedded once: none without body, none twice."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_dinoad import NormativeModel, read_volume
from napari_dinoad.backbones.embeddings import PatchEmbeddings
from napari_dinoad.images.slices import PreparedScan
from napari_dinoad.pipeline import Detector, fit_folder
from napari_dinoad.pipeline.slices.slice_embedding import SliceEmbedder
from napari_dinoad.settings import DetectSettings, FitSettings, MemoryBankSettings, preset
from patience import wait_until

SLICES = np.random.default_rng(0).random((6, 8, 8), dtype=np.float32)


class CountingBackbone:
    """Embeds a slice as the mean of each of its rows; counts the slices it is given."""

    def __init__(self):
        self.embedded = 0

    def __call__(self, images):
        self.embedded += len(images)
        return PatchEmbeddings(images.mean(2)[:, None, :, None], 8)


def contents(images):
    return [image.tobytes() for image in images]


def expected(images):
    return torch.from_numpy(images.mean(2)[:, None, :, None])


@pytest.mark.parametrize(
    ("order", "embedded"),
    [
        ([[0, 1, 2], [3, 4, 5]], 6),
        ([[0, 0, 0], [0, 0]], 1),
        ([[0, 1, 1], [1, 2, 2], [2]], 3),
        ([[0, 1, 0, 1], [2, 0]], 3),
        ([[0], [1], [0]], 3),
    ],
)
def test_neighbouring_duplicates_are_embedded_once(order, embedded):
    """Only the batch before is remembered, so memory does not grow."""
    backbone = CountingBackbone()
    embed = SliceEmbedder(backbone)
    for batch in order:
        torch.testing.assert_close(embed(SLICES[batch], contents(SLICES[batch])), expected(SLICES[batch]))
    assert backbone.embedded == embedded


def test_the_smallest_difference_counts():
    backbone = CountingBackbone()
    other = SLICES[:1].copy()
    other[0, 3, 3] = np.nextafter(other[0, 3, 3], 1, dtype=np.float32)
    both = np.concatenate([SLICES[:1], other])
    SliceEmbedder(backbone)(both, contents(both))
    assert backbone.embedded == 2


@pytest.fixture(scope="module")
def model(normal_folder) -> NormativeModel:
    settings = FitSettings(
        scorer="memory-bank",
        preprocessing=replace(preset("mr-brain"), resolution_px=64),
        memory_bank=MemoryBankSettings(n_patches=200),
    )
    return fit_folder(normal_folder, settings)


@pytest.mark.parametrize("batch_slices", [None, 1, 5])
def test_only_slices_with_body_are_embedded_each_once(model, patient_path, monkeypatch, batch_slices):
    detector = Detector(model, DetectSettings(batch_slices=batch_slices))
    volume = read_volume(patient_path)
    wanted = detector.prepare(volume)[0].indices
    assert len(wanted) < volume.values.shape[detector.slice_axis(volume)]
    backbone, given = detector.backbone, []
    monkeypatch.setattr(detector, "backbone", _Spy(backbone, given))
    result = detector.detect(volume)
    assert sum(given) == len(wanted)
    assert result.slices == tuple(wanted)
    if batch_slices is not None:
        assert max(given) == batch_slices


class _Spy:
    """A backbone that notes how many slices each call has."""

    def __init__(self, backbone, given):
        self._backbone, self._given = backbone, given
        self.device = backbone.device

    def __call__(self, images):
        self._given.append(len(images))
        return self._backbone(images)

    def __getattr__(self, name):
        return getattr(self._backbone, name)


def test_placing_a_batch_after_the_next_was_begun_changes_nothing(model, patient_path, monkeypatch):
    """The order of a GPU: it works on a batch while the one before is placed."""
    detector = Detector(model, DetectSettings(batch_slices=3))
    volume = read_volume(patient_path)

    def run(device):
        spy = _Spy(detector.backbone, [])
        spy.device = torch.device(device)  # what the order is chosen by; it computes where it did
        arrived = []
        with monkeypatch.context() as patch:
            patch.setattr(detector, "backbone", spy)
            result = detector.detect(
                volume,
                start_slice=8,
                on_slices=lambda axis, batch, values: arrived.append((batch, values.copy())),
            )
        return result, arrived

    runs = [run("cpu"), run("mps")]
    (one, one_arrived), (other, other_arrived) = runs
    np.testing.assert_array_equal(one.anomaly_map.values, other.anomaly_map.values)
    assert one.scan_score == other.scan_score
    assert [batch for batch, _ in one_arrived] == [batch for batch, _ in other_arrived]
    for (_, values), (_, others) in zip(one_arrived, other_arrived, strict=True):
        np.testing.assert_array_equal(values, others)


@pytest.mark.parametrize("start_slice", [8, None])
def test_nothing_is_prepared_beside_the_slice_that_somebody_waits_for(
    model, patient_path, monkeypatch, start_slice
):
    """With a start, the second batch is resampled once the first is placed; without, while the first is embedded."""
    detector = Detector(model, DetectSettings(batch_slices=3))
    prepared = []
    images = PreparedScan.images

    def noted(self, indices):
        prepared.append(list(indices))
        return images(self, indices)

    monkeypatch.setattr(PreparedScan, "images", noted)
    at_first, wanted = [], 1 if start_slice else 2

    def collect(axis, batch, values):
        if not at_first:
            wait_until(lambda: len(prepared) >= wanted)
            time.sleep(0.2)
            at_first.append(len(prepared))

    detector.detect(read_volume(patient_path), start_slice=start_slice, on_slices=collect)
    assert at_first == [wanted]
    assert len(prepared) > 2
