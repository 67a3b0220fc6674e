"""What is timed: the bare backbone and the whole, on as many slices, and nothing that is done once."""

from __future__ import annotations

import math
import time
from threading import Barrier

import pytest

from napari_dinoad.backbones.embedded.backbone import EmbeddedBackbone
from napari_dinoad.errors import BackboneError, SettingError
from napari_dinoad.pipeline.detection import speed as detection_speed
from napari_dinoad.pipeline.detection.detector import Detector
from napari_dinoad.pipeline.detection.speed import SpeedTrial
from napari_dinoad.scoring.memory_bank import MemoryBankScorer
from patience import PATIENCE_S


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Small volumes, a small model, one round."""
    monkeypatch.setattr(detection_speed, "SLICE_SHAPE", (40, 32))
    monkeypatch.setattr(detection_speed, "MODEL_PATCHES", 400)
    monkeypatch.setattr(detection_speed, "LEAST_SECONDS", 1e-9)


@pytest.fixture
def embedded_slices(monkeypatch):
    """How many slices the backbone embeds, by call."""
    counts = []
    embed = EmbeddedBackbone.__call__

    def counted(self, images):
        counts.append(len(images))
        return embed(self, images)

    monkeypatch.setattr(EmbeddedBackbone, "__call__", counted)
    return counts


@pytest.mark.parametrize("n_slices", [1, 7])
def test_all_go_through_as_many_slices(n_slices, embedded_slices, monkeypatch):
    in_round = []
    measure = SpeedTrial._round

    def watched(self, *arguments):
        embedded_slices.clear()
        measured = measure(self, *arguments)
        in_round.append(sum(embedded_slices))
        return measured

    monkeypatch.setattr(SpeedTrial, "_round", watched)
    trial = SpeedTrial("embedded", "cpu", 64, n_slices)
    assert trial.volume_shape == (n_slices, 40, 32)
    (speed,) = trial.speeds(["memory-bank"])
    assert in_round == [3 * n_slices]
    assert speed.n_rounds == 1


def test_of_many_the_next_one_is_prepared_while_one_is_scored(monkeypatch):
    prepare, score = Detector.prepare_apart, MemoryBankScorer.score
    of_many = detection_speed._detect_and_load
    both = []

    def followed(*arguments):
        both.append(Barrier(2))
        of_many(*arguments)
        both.clear()

    def prepared(self, volume):
        for barrier in both:
            barrier.wait(PATIENCE_S)
        return prepare(self, volume)

    def scored(self, embeddings):
        for barrier in both:
            barrier.wait(PATIENCE_S)
        return score(self, embeddings)

    monkeypatch.setattr(detection_speed, "_detect_and_load", followed)
    monkeypatch.setattr(Detector, "prepare_apart", prepared)
    monkeypatch.setattr(MemoryBankScorer, "score", scored)
    (speed,) = SpeedTrial("embedded", "cpu", 64, 4).speeds(["memory-bank"])
    assert speed.share_of_many == speed.bare_ms / speed.of_many_ms


def test_what_is_slow_beside_the_backbone_is_in_the_whole_alone(monkeypatch):
    score = MemoryBankScorer.score

    def slow(self, embeddings):
        time.sleep(0.05 * len(embeddings))
        return score(self, embeddings)

    monkeypatch.setattr(MemoryBankScorer, "score", slow)
    (speed,) = SpeedTrial("embedded", "cpu", 64, 6).speeds(["memory-bank"])
    assert speed.detect_ms > speed.stages_ms["score"] >= 50
    assert speed.share == speed.bare_ms / speed.detect_ms
    # Sleeping takes no processor time.
    assert speed.detect_cpu_ms < speed.detect_ms


def test_scorers_share_one_backbone_and_their_embeddings(embedded_slices):
    trial = SpeedTrial("embedded", "cpu", 64, 3)
    speeds, counts = [], []
    for speed in trial.speeds(["dpmm", "memory-bank+dpmm"]):
        speeds.append(speed)
        counts.append(sum(embedded_slices))
        embedded_slices.clear()
    assert [speed.scorer for speed in speeds] == ["dpmm", "dpmm+memory-bank"]
    assert all(math.isfinite(speed.detect_ms) and speed.bare_ms > 0 for speed in speeds)
    # The first warm-up, and one round; what the model is fitted on is embedded once.
    assert counts[1] == 4 * 3


def test_more_rounds_until_there_is_enough_to_go_by(monkeypatch):
    monkeypatch.setattr(detection_speed, "LEAST_SECONDS", 0.5)
    monkeypatch.setattr(detection_speed._Round, "wall_seconds", 0.2)
    (speed,) = SpeedTrial("embedded", "cpu", 64, 2).speeds(["memory-bank"])
    assert speed.n_rounds == 3


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("no-such-backbone",), BackboneError),
        (("embedded", "cpu", 65), BackboneError),
        (("embedded", "cpu", 64, 0), SettingError),
    ],
)
def test_what_cannot_be_measured_is_refused(arguments, error):
    with pytest.raises(error):
        SpeedTrial(*arguments)


def test_an_unknown_scorer_is_refused_before_anything_is_measured(embedded_slices):
    with pytest.raises(SettingError, match="scorer"):
        next(SpeedTrial("embedded", "cpu", 64, 3).speeds(["memory-bank", "magic"]))
    assert not embedded_slices
