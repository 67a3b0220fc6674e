"""What a fit is said to cost."""

from __future__ import annotations

import pytest

from napari_dinoad.backbones import find_backbone
from napari_dinoad.gui.fit import fit_costs
from napari_dinoad.gui.fit.fit_costs import backbone_line, fit_duration_in_words


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


def test_colour_takes_longer_where_the_backbone_sees_it_apart(monkeypatch):
    """Three scatterings, and embeddings of 73 values for 51."""
    for scorer in ("dpmm", "ar-cnn", "memory-bank"):
        grey, colour = (
            seconds(500, 1000, scorer, find_backbone("embedded"), None, in_colour, monkeypatch=monkeypatch)
            for in_colour in (False, True)
        )
        few, _ = fit_costs._FIT_MS_A_SLICE[scorer]
        assert 40 + few < colour < 40 + few * 73 / 51
        assert grey == pytest.approx(25 + few)
    lines = [backbone_line(find_backbone("embedded"), in_colour) for in_colour in (False, True)]
    assert "25 ms a slice" in lines[0] and "40 ms a slice" in lines[1]
    vit = find_backbone("dinov2_vits14")
    assert "Licence" not in lines[0], "it has no weights"
    assert "Licence of the weights: Apache-2.0." in backbone_line(vit)
    same = [seconds(500, 1000, "dpmm", vit, 448, is_, monkeypatch=monkeypatch) for is_ in (False, True)]
    assert same[0] == same[1]


def test_large_pictures_take_longer_to_read(monkeypatch):
    """Of a hundred photographs of 12 megapixels most of the time goes there."""
    arguments = (100, 100, "memory-bank", find_backbone("embedded"), None, True)
    small, large = (seconds(*arguments, n, monkeypatch=monkeypatch) for n in (100 * 300**2, 100 * 12_000_000))
    assert large - small > max(30, small)


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
