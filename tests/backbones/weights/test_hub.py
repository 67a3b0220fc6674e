"""Where weights may come from, whether they can be reached, and what is told on the way; nothing is downloaded."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import huggingface_hub.constants
import pytest

from napari_dinoad.backbones.registry import find_backbone
from napari_dinoad.backbones.weights import hub
from napari_dinoad.errors import WeightsError

SPEC = find_backbone("dinov2_vits14")
TIMM = find_backbone("timm:vit_tiny_patch16_224.augreg_in21k")


@pytest.fixture
def connections(monkeypatch):
    """Return what is connected with; nothing is, and no proxy is named."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    made = []

    def connect(address, timeout):
        made.append((*address, timeout))
        return SimpleNamespace(close=lambda: None)

    monkeypatch.setattr(hub.socket, "create_connection", connect)
    return made


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("https://huggingface.co/timm/x", "huggingface.co", 443),
        ("http://mirror/x", "mirror", 80),
        ("https://mirror:8443/x", "mirror", 8443),
    ],
)
def test_a_server_is_reached_at_the_port_of_its_address(connections, url, host, port):
    hub._require_reachable(url)
    assert connections == [(host, port, hub.PROBE_TIMEOUT_S)]


@pytest.mark.parametrize(
    ("environment", "n_connections"),
    [
        ({"https_proxy": "http://proxy:3128"}, 0),
        ({"all_proxy": "http://proxy:3128"}, 0),
        ({"http_proxy": "http://proxy:3128"}, 1),
        ({"https_proxy": "http://proxy:3128", "no_proxy": "mirror"}, 1),
    ],
)
def test_what_a_proxy_reaches_is_not_asked_for(connections, monkeypatch, environment, n_connections):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    hub._require_reachable("https://mirror/x")
    assert len(connections) == n_connections


def test_a_checkpoint_in_several_files_is_whole_with_all_of_them(tmp_path):
    index = tmp_path / "model.safetensors.index.json"
    assert not hub._is_whole(index)
    index.write_text(
        json.dumps({"weight_map": {"a": "1.safetensors", "b": "2.safetensors", "c": "1.safetensors"}})
    )
    assert not hub._is_whole(index)
    (tmp_path / "1.safetensors").touch()
    assert not hub._is_whole(index)
    (tmp_path / "2.safetensors").touch()
    assert hub._is_whole(index)
    for damaged in ("", "[]", "{}", '{"weight_map": 3}'):
        index.write_text(damaged)
        assert not hub._is_whole(index)


def test_a_name_without_weights_has_no_repository_of_timm(monkeypatch, tmp_path):
    assert hub.hub_repositories(TIMM) == (f"timm/{TIMM.timm_name}",)
    plain = replace(TIMM, timm_name="vit_tiny_patch16_224")
    assert hub.hub_repositories(plain) == ()
    assert hub.hub_repositories(replace(SPEC, timm_name=None)) == (SPEC.transformers_repo,)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match="names no repository"):
        hub.download_weights(plain)


def test_the_bar_of_the_hubs_client_tells_mebibytes():
    told = []
    bar = hub._progress_bar(told.append, "Downloading x")(total=5 * hub.MIB, initial=hub.MIB, name="hub")
    bar.update(2.5 * hub.MIB)
    bar.update(None)
    bar.update(0.5 * hub.MIB)
    assert [(event.stage, event.done, event.total) for event in told] == [
        ("Downloading x", 3, 5), ("Downloading x", 3, 5), ("Downloading x", 4, 5),
    ]  # fmt: skip
    hub._progress_bar(told.append, "Downloading x")().update(hub.MIB)
    assert (told[-1].done, told[-1].total) == (1, 0), "of unknown length"
