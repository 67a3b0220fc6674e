"""Tiny networks in place of the published sizes, and no weights of this machine."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def nothing_found_on_this_machine(tmp_path, monkeypatch):
    """Search empty places only, and never the network."""
    import huggingface_hub.constants

    monkeypatch.setenv("DINOAD_WEIGHTS", str(tmp_path / "settings"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


@pytest.fixture
def tiny_timm(monkeypatch):
    """Let timm build every network thinner and shallower."""
    import timm

    from tiny_networks import create_tiny_model

    monkeypatch.setattr(timm, "create_model", create_tiny_model)
