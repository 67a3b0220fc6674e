"""`dinoad bench`: a line for each scorer, or one JSON object."""

from __future__ import annotations

import json

import pytest

from napari_dinoad.cli.main import main
from napari_dinoad.pipeline.detection import speed as detection_speed


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(detection_speed, "SLICE_SHAPE", (40, 32))
    monkeypatch.setattr(detection_speed, "MODEL_PATCHES", 400)
    monkeypatch.setattr(detection_speed, "LEAST_SECONDS", 1e-9)


def test_figures_of_each_scorer(capsys, caplog):
    options = "--resolution 64 --slices 3 --device cpu --scorer dpmm memory-bank"
    assert main(["bench", *options.split(), "--json"]) == 0
    assert "normal persons" not in caplog.text, "how few its made-up scans are is nobody's concern"
    document = json.loads(capsys.readouterr().out)
    assert document["backbone"] == "embedded" and document["runtime"] == "PyTorch, float32"
    assert document["shape"] == [3, 40, 32] and document["resolution_px"] == 64
    assert [figures["scorer"] for figures in document["scorers"]] == ["dpmm", "memory-bank"]
    for figures in document["scorers"]:
        assert figures["slices_per_second"] == pytest.approx(1000 / figures["detect_ms"])
        assert figures["share"] == pytest.approx(figures["bare_ms"] / figures["detect_ms"])
        assert figures["share_of_many"] == pytest.approx(figures["bare_ms"] / figures["of_many_ms"])
    assert main(["bench", *options.split()]) == 0
    title, header, *lines = capsys.readouterr().out.splitlines()
    assert title.startswith("embedded at 64 px on cpu") and title.endswith("a volume of 3 × 40 × 32")
    assert (
        header.split()
        == "scorer backbone alone volume to map its share one of many its share a volume".split()
    )
    assert [line.split()[0] for line in lines] == ["dpmm", "memory-bank"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--backbone dinov9", "dinov9"),
        ("--slices 0", "slices: expected at least 1, got 0"),
        ("--scorer magic", "scorer"),
        ("--resolution 65", "multiples of its patch size"),
    ],
)
def test_what_cannot_be_measured_is_one_line(options, message, capsys):
    assert main(["bench", *options.split()]) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1 and not captured.out
