"""Backbones with random weights, for speed alone."""

from __future__ import annotations

import platformdirs
import pytest
import torch

from napari_dinoad.backbones import untrained_backbone
from napari_dinoad.errors import BackboneError


def test_the_seed_alone_decides_the_weights(tiny_timm):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, again, other = (untrained_backbone("dinov2_vits14", "cpu", seed) for seed in (0, 0, 1))
    assert torch.equal(torch.rand(3), expected), "the caller's random numbers are others"
    assert one.weights_sha256 == again.weights_sha256 != other.weights_sha256
    assert one(torch.rand(2, 28, 42)).values.shape == (2, 2, 3, 48)
    assert one.weights_file is None and one.runtime == "PyTorch, float32"


def test_the_embedded_one_is_what_it_is():
    assert untrained_backbone("embedded", "cpu").name == "embedded"


def test_an_unknown_name_is_refused():
    with pytest.raises(BackboneError, match="dinov9"):
        untrained_backbone("dinov9", "cpu")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_no_conversion_of_it_is_kept(tiny_timm, tmp_path, monkeypatch):
    pytest.importorskip("openvino", reason="OpenVINO is not installed (extra openvino)")
    monkeypatch.setenv("DINOAD_OPENVINO", "1")
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda *a, **k: tmp_path)
    backbone = untrained_backbone("dinov2_vits14", "cpu")
    for _ in range(2):
        backbone(torch.rand(1, 28, 28))
    assert backbone.runtime == "OpenVINO, float32"
    assert not (tmp_path / "openvino").exists()
