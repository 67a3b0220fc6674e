"""Settings of other kinds than they are declared with: turned into these, or refused by name."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_dinoad.errors import SettingError
from napari_dinoad.settings import (
    ArCnnSettings,
    CacheSettings,
    CalibrationSettings,
    ClusterSettings,
    DetectSettings,
    DpmmSettings,
    EvaluationSettings,
    FitSettings,
    MemoryBankSettings,
    PreprocessingSettings,
    ReadSettings,
)

ALL = (
    ArCnnSettings,
    CacheSettings,
    CalibrationSettings,
    ClusterSettings,
    DetectSettings,
    DpmmSettings,
    EvaluationSettings,
    FitSettings,
    MemoryBankSettings,
    PreprocessingSettings,
    ReadSettings,
)

FIELDS = [(kind, item.name) for kind in ALL for item in fields(kind)]


@pytest.mark.parametrize(
    "settings",
    [
        FitSettings(seed=np.int64(3), epochs=np.int32(2), resolution_px=np.uint16(96), weights=Path("w.pth")),
        DpmmSettings(
            n_components=np.int64(8), alpha0=np.int64(2), tolerance=np.float32(0.25), merge=np.bool_(0)
        ),
        DpmmSettings(n_components=torch.tensor(8), regularisation=np.array(1e-3), seed=8.0),
        ArCnnSettings(dilations=np.array([1, 2])),
        ArCnnSettings(dilations=[np.int64(1), torch.tensor(2)], learning_rate=Fraction(1, 4)),
        MemoryBankSettings(n_patches=np.int64(100), n_neighbours=1.0),
        CalibrationSettings(smoothing_mm=np.float32(5), folds=np.int8(3), slice_levels=np.bool_(1)),
        PreprocessingSettings(window=np.array([0, 80]), percentiles=[1, 99]),
        DetectSettings(fpr=np.float64(0.01), min_volume_mm3=np.float32(20)),
        EvaluationSettings(false_positive_rates=np.array([0.01, 0.05])),
        CacheSettings(folder=Path("cache"), limit_bytes=np.float64(1e9)),
    ],
)
def test_numbers_of_other_libraries_and_paths_become_what_a_model_file_holds(settings):
    """NumPy's were taken, and a fit ended in a fault of JSON when all was computed."""
    values = asdict(settings)
    assert json.loads(json.dumps(values)) == json.loads(json.dumps(values, default=repr))
    again = type(settings)(**{item.name: getattr(settings, item.name) for item in fields(settings)})
    assert again == settings


def test_values_are_those_that_were_given():
    assert DpmmSettings(n_components=np.int64(8), merge=np.bool_(0)) == DpmmSettings(
        n_components=8, merge=False
    )
    assert ArCnnSettings(dilations=np.array([1, 2])).dilations == (1, 2)
    assert FitSettings(weights=Path("a/w.pth")).weights == str(Path("a/w.pth"))
    assert type(DpmmSettings(alpha0=2).alpha0) is float


OTHERS = (object(), {"a": 1}, b"1", 1j, Decimal(1), np.zeros((2, 3)), torch.zeros(2, 2), [[1]], {1})


@pytest.mark.parametrize(("kind", "name"), FIELDS)
def test_other_kinds_are_refused_by_the_name_of_the_field(kind, name):
    for wrong in OTHERS:
        with pytest.raises(SettingError, match=name):
            kind(**{name: wrong})


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (DpmmSettings, {"n_components": 8.5}, "DpmmSettings.n_components: expected a whole number, got 8.5"),
        (DpmmSettings, {"n_components": "8"}, "expected a whole number, got '8'"),
        (DpmmSettings, {"n_components": True}, "expected a whole number, got True"),
        (DpmmSettings, {"merge": "false"}, "DpmmSettings.merge: expected bool, got 'false'"),
        (DpmmSettings, {"alpha0": "2"}, "DpmmSettings.alpha0: expected a number, got '2'"),
        (DpmmSettings, {"alpha0": 10**400}, "DpmmSettings.alpha0: expected a number, got 1000"),
        (DetectSettings, {"batch_slices": float("inf")}, "expected a whole number, got inf"),
        (FitSettings, {"scorer": None}, "FitSettings.scorer: expected a text, got None"),
        (FitSettings, {"plane": ""}, "plane: expected one of axial"),
        (ArCnnSettings, {"dilations": "12"}, "dilations: expected a tuple of several numbers, got '12'"),
        (PreprocessingSettings, {"window": (0, 1, 2)}, "window: expected a tuple of 2 numbers"),
        (PreprocessingSettings, {"percentiles": 99}, "percentiles: expected a tuple of 2 numbers, got 99"),
        (PreprocessingSettings, {"intensity": ["window"]}, "intensity: expected one of robust-percentiles"),
        (
            PreprocessingSettings,
            {"intensity": "window", "window": (-float("inf"), 80)},
            "window: expected a finite number",
        ),
    ],
)
def test_what_is_told(kind, values, message):
    with pytest.raises(SettingError, match=message):
        kind(**values)
