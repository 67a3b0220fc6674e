"""Names of scorers, and what overrides a preset."""

from __future__ import annotations

import pytest

from napari_dinoad.errors import SettingError
from napari_dinoad.settings import (
    N_DEMO_SCANS,
    PRESETS,
    SCORER_NAMES,
    FitSettings,
    demo_settings,
    preset,
    split_scorer_names,
)


@pytest.mark.parametrize("text", ["dpmm+ar-cnn", "ar-cnn+dpmm", " ar-cnn + dpmm "])
def test_the_order_of_names_does_not_matter(text):
    settings = FitSettings(scorer=text)
    assert settings == FitSettings(scorer="dpmm+ar-cnn")
    assert settings.scorer_names == ("dpmm", "ar-cnn")


@pytest.mark.parametrize("name", SCORER_NAMES)
def test_one_name_is_itself(name):
    assert split_scorer_names(name) == (name,)
    assert FitSettings(scorer=name).scorer == name


@pytest.mark.parametrize("text", ["", "+", "dpmm+", "dpmm+dpmm", "dpmm,ar-cnn", "DPMM", "dpmm+patchcore"])
def test_other_names_are_refused(text):
    with pytest.raises(
        SettingError, match=r"scorer: expected one of dpmm, ar-cnn, memory-bank.*joined by '\+'"
    ):
        FitSettings(scorer=text)


def test_each_scorer_gets_its_own_settings():
    settings = FitSettings(scorer="ar-cnn+dpmm+memory-bank", epochs=3, seed=7)
    chosen = [settings.scorer_settings(name) for name in settings.scorer_names]
    assert [type(one) for one in chosen] == [
        type(settings.dpmm),
        type(settings.ar_cnn),
        type(settings.memory_bank),
    ]
    assert [one.seed for one in chosen] == [7, 7, 7]
    assert [chosen[0].epochs, chosen[1].epochs] == [3, 3]


@pytest.mark.parametrize("name", PRESETS)
def test_plane_and_resolution_override_any_preset(name):
    plain = preset(name)
    assert FitSettings(preprocessing=plain).preprocessing_or(preset("mr-brain")) == plain
    assert FitSettings().preprocessing_or(plain) == plain
    changed = FitSettings(plane="all", resolution_px=64).preprocessing_or(plain)
    assert changed.planes == ("axial", "coronal", "sagittal")
    assert changed.resolution_px == 64
    assert (changed.preset, changed.intensity, changed.window) == (name, plain.intensity, plain.window)


@pytest.mark.parametrize("wrong", [{"plane": "oblique"}, {"resolution_px": 5}])
def test_what_overrides_a_preset_is_checked_at_once(wrong):
    with pytest.raises(SettingError, match="expected"):
        FitSettings(**wrong)


def test_the_demo_holds_scans_out_and_leaves_some_to_fit_on():
    settings = demo_settings(scorer="dpmm", device="cpu", seed=3)
    assert (settings.scorer, settings.device, settings.seed) == ("dpmm", "cpu", 3)
    held_out = settings.calibration.holdout * N_DEMO_SCANS
    assert settings.calibration.method == "split"
    assert 2 <= held_out <= N_DEMO_SCANS / 2
