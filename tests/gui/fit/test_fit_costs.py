"""What a fit is said to cost."""

from __future__ import annotations

import pytest

from napari_dinoad.backbones import find_backbone
from napari_dinoad.gui.fit import fit_costs
from napari_dinoad.gui.fit.fit_costs import fit_duration_in_words


def seconds(*arguments, monkeypatch):
    said = []
    monkeypatch.setattr(fit_costs, "duration_in_words", lambda value: said.append(value) or "")
    monkeypatch.setattr(fit_costs.os, "cpu_count", lambda: 2)
    fit_duration_in_words(*arguments)
    return said[0] - fit_costs._START_S


@pytest.mark.parametrize("scorer", ["dpmm", "ar-cnn", "memory-bank"])
def test_at_the_measured_places_the_estimate_is_what_was_measured(scorer, monkeypatch):
    embedded, vit = find_backbone("embedded"), find_backbone("dinov2_vits14")
    few, many = fit_costs._FIT_MS_A_SLICE[scorer]
    got = seconds(500, 1000, scorer, embedded, None, monkeypatch=monkeypatch)
    assert got == pytest.approx(25 + few)
    got = seconds(500, 1000, scorer, vit, 448, monkeypatch=monkeypatch)
    assert got == pytest.approx(19 * vit.parameters / 1e6 + many)


def test_folds_and_several_scorers_add(monkeypatch):
    embedded = find_backbone("embedded")
    once = seconds(500, 1000, "dpmm", embedded, None, monkeypatch=monkeypatch)
    folded = seconds(50, 1000, "dpmm", embedded, None, monkeypatch=monkeypatch)
    assert folded - 25 == pytest.approx(5 * (once - 25))
    both = seconds(500, 1000, "dpmm+memory-bank", embedded, None, monkeypatch=monkeypatch)
    assert both > once


def test_a_few_pictures_take_as_long_as_the_start(monkeypatch):
    assert fit_duration_in_words(26, 26, "dpmm", find_backbone("embedded"), None) in ("7 s", "8 s")


def test_networks_of_unknown_size_get_an_estimate(monkeypatch):
    unknown = find_backbone("timm:vit_tiny_patch16_224")
    assert seconds(50, 100, "ar-cnn", unknown, None, monkeypatch=monkeypatch) > 0
