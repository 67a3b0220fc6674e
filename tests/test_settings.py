"""Names of scorers, and what overrides a preset."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from napari_dinoad.errors import SettingError
from napari_dinoad.settings import (
    N_DEMO_SCANS,
    PRESETS,
    SCORER_NAMES,
    ArCnnSettings,
    DpmmSettings,
    FitSettings,
    MemoryBankSettings,
    PreprocessingSettings,
    demo_settings,
    preset,
    split_scorer_names,
    with_scorer_settings,
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


@pytest.mark.parametrize(
    ("scorer", "texts", "expected"),
    [
        ("dpmm", ["n_components=500", "update=ema"], {"dpmm": DpmmSettings(n_components=500, update="ema")}),
        ("dpmm", ["dpmm.merge=False", "regularisation=none"], {"dpmm": DpmmSettings(merge=False)}),
        (
            "ar-cnn",
            ["dilations=2,4", "clip_norm=1e9"],
            {"ar_cnn": ArCnnSettings(dilations=(2, 4), clip_norm=1e9)},
        ),
        ("ar-cnn", ["dilations=4"], {"ar_cnn": ArCnnSettings(dilations=(4,))}),
        (
            "dpmm+ar-cnn+memory-bank",
            ["ar-cnn.epochs=3", "n_patches=7", "dpmm.regularisation=1e-4"],
            {
                "ar_cnn": ArCnnSettings(epochs=3),
                "memory_bank": MemoryBankSettings(n_patches=7),
                "dpmm": DpmmSettings(regularisation=1e-4),
            },
        ),
    ],
)
def test_settings_of_scorers_as_text(scorer, texts, expected):
    assert with_scorer_settings(FitSettings(scorer), texts) == FitSettings(scorer, **expected)


@pytest.mark.parametrize(
    ("scorer", "text", "message"),
    [
        ("dpmm", "normals/", "expected NAME=VALUE, got 'normals/'. Name the folder before these"),
        ("dpmm", "components=3", r"expected one of dpmm: n_components, .*, got 'components'"),
        ("dpmm", "n_patches=3", "expected one of dpmm: n_components"),
        ("dpmm", "ar-cnn.epochs=3", "expected one of dpmm before the dot"),
        ("dpmm+ar-cnn", "epochs=3", "Write dpmm.epochs or ar-cnn.epochs"),
        ("ar-cnn", "seed=3", "The seed is that of the fit"),
        ("dpmm", "n_components=3.5", "dpmm n_components: expected a whole number, got '3.5'"),
        ("dpmm", "n_components=0", "DPMM components: expected at least 1"),
        ("dpmm", "n_components=none", "expected a whole number"),
        ("dpmm", "merge=yes", "expected true or false"),
        ("dpmm", "alpha0=", "expected a number"),
        ("dpmm", "update=often", "DPMM update: expected one of exact, ema, decay, got 'often'"),
        ("ar-cnn", "dilations=1,", "whole numbers separated by commas"),
        ("ar-cnn", "learning_rate=nan", "AR-CNN learning rate: expected a finite number, got nan"),
        ("ar-cnn", "clip_norm=inf", "AR-CNN clip norm: expected a finite number, got inf"),
        ("dpmm", "tolerance=inf", "DPMM tolerance: expected a finite number, got inf"),
    ],
)
def test_settings_of_scorers_that_make_no_sense(scorer, text, message):
    with pytest.raises(SettingError, match=message):
        with_scorer_settings(FitSettings(scorer), [text])


def test_what_is_stored_of_grey_is_what_it_was_before_there_was_colour():
    assert "colour" not in preset("image-2d").stored()
    assert preset("image-colour").stored() == {**asdict(preset("image-colour")), "colour": True}
    with pytest.raises(SettingError, match="colour: expected bool, got 'yes'"):
        PreprocessingSettings(colour="yes")
