"""What callers give in place of arrays, numbers, models and backbones: taken as it is, or refused by name."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from napari_dinoad import (
    ArCnnScorer,
    Detector,
    DpmmScorer,
    Geometry,
    MemoryBankScorer,
    Volume,
    fit_folder,
    load_backbone,
    merge_models,
    update_model,
)
from napari_dinoad.calibration import Calibration, ScanScores, scan_score
from napari_dinoad.errors import BackboneError, DinoadError, GeometryError, ScorerError, SettingError
from napari_dinoad.evaluation import (
    aupro,
    auroc,
    average_precision,
    best_dice,
    dice,
    image_auroc,
    image_score,
)
from napari_dinoad.maps import AnomalyMap, AnomalyMask
from napari_dinoad.settings import FitSettings

rng = np.random.default_rng(0)
SCORES = rng.random((4, 10, 10)).astype(np.float32)
TRUTH = SCORES > 0.8
HOLED = np.ma.masked_less(SCORES, 0.3)
NAN = np.where(np.arange(SCORES.size).reshape(SCORES.shape) == 5, np.nan, SCORES)

METRICS = {
    "auroc": auroc,
    "average_precision": average_precision,
    "best_dice": best_dice,
    "dice": dice,
    "aupro": lambda scores, truth: aupro([scores], [truth]),
}
NO_NUMBERS = [
    HOLED,
    SCORES + 1j,
    SCORES.astype(str),
    SCORES.astype(object),
    None,
    torch.ones(4, 10, 10).bfloat16(),
]


@pytest.mark.parametrize("metric", METRICS)
def test_metrics_take_lists_and_tensors(metric):
    expected = METRICS[metric](SCORES, TRUTH)
    assert METRICS[metric](SCORES.tolist(), TRUTH.tolist()) == expected
    assert METRICS[metric](torch.from_numpy(SCORES), torch.from_numpy(TRUTH)) == expected
    assert METRICS[metric](SCORES.astype(">f4"), TRUTH[::-1].copy()[::-1]) == expected


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("wrong", NO_NUMBERS)
def test_metrics_refuse_what_they_would_take_for_other_numbers(metric, wrong):
    """Masks and imaginary parts were dropped in silence, and text was read as numbers."""
    with pytest.raises(SettingError, match=r"Scores|Mask|Truth|truths"):
        METRICS[metric](wrong, TRUTH)
    with pytest.raises(SettingError, match=r"Truth|truths"):
        METRICS[metric](SCORES, wrong)


@pytest.mark.parametrize("metric", METRICS)
def test_what_is_not_known_of_a_truth_is_not_normal(metric):
    with pytest.raises(SettingError, match="Truth: expected numbers, got 1 NaN"):
        METRICS[metric](SCORES, NAN)


def test_maps_of_other_axes_are_refused():
    with pytest.raises(SettingError, match=r"two or three axes, got the shape \(400,\)"):
        aupro([SCORES.ravel()], [TRUTH.ravel()])


@pytest.mark.parametrize("wrong", NO_NUMBERS)
def test_whole_images_and_calibrations_refuse_them_too(wrong):
    for of_array in (image_score, lambda x: image_auroc([x], [1]), lambda x: scan_score(x, 0.1)):
        with pytest.raises(SettingError, match="Scor"):
            of_array(wrong)
    with pytest.raises(SettingError, match="Scores"):
        ScanScores.of(wrong, 0.1)
    with pytest.raises(SettingError, match="Scores"):
        _calibration().neg_log10_p(wrong)


def _calibration():
    return Calibration.from_scans([ScanScores.of(rng.random(100), 0.01) for _ in range(5)])


def test_a_score_that_is_none_is_no_abnormal_one():
    """NaN was as abnormal as can be: no normal score is at least as high."""
    with pytest.raises(ScorerError, match="NaN"):
        image_score(NAN)
    with pytest.raises(ScorerError, match="Scan score: expected a number, got NaN"):
        _calibration().scan_p_value(float("nan"))
    with pytest.raises(SettingError, match="Scan score: expected a number, got None"):
        _calibration().scan_p_value(None)
    assert _calibration().scan_p_value(np.float32(2)) == pytest.approx(1 / 6)


@pytest.mark.parametrize("values", [*NO_NUMBERS, SCORES.tolist(), SCORES > 0.5])
def test_volumes_and_maps_are_arrays_without_a_mask(values):
    geometry = Geometry((10, 10, 4), np.eye(4))
    scan = Volume(SCORES, geometry)
    with pytest.raises(GeometryError, match=r"Volume: expected an? .*array"):
        Volume(values, geometry)
    with pytest.raises(GeometryError, match=r"Anomaly map: expected an? .*array"):
        AnomalyMap(values, scan)
    if values is not None:
        with pytest.raises(GeometryError, match=r"Volume's colours: expected an? .*array"):
            Volume(SCORES, geometry, colours=values)


@pytest.mark.parametrize("shape", [(1.5, 2, 3), ("2", "3"), 5, None, b"ab"[:0] or (2, None)])
def test_grids_have_whole_numbers_of_voxels(shape):
    """1.5 was taken for 1."""
    with pytest.raises(GeometryError, match="Grid: expected a shape of whole numbers"):
        Geometry(shape, np.eye(4))


@pytest.mark.parametrize("affine", ["abc", None, [[1, 2], [3]], {"a": 1}, np.eye(4) * 1j])
def test_affines_are_matrices_of_numbers(affine):
    with pytest.raises(GeometryError, match="Affine: expected a finite"):
        Geometry((2, 3, 4), affine)


@pytest.mark.parametrize(
    ("fpr", "smallest", "message"),
    [
        ("0.01", 0, "False-positive rate: expected a number, got '0.01'"),
        (None, 0, "False-positive rate: expected a number, got None"),
        (0.01, -1, "Minimum volume: expected 0 or more, got -1"),
        (0.01, float("nan"), "Minimum volume: expected 0 or more, got nan"),
        (0.01, "20", "Minimum volume: expected a number, got '20'"),
    ],
)
def test_masks_are_of_numbers(fpr, smallest, message):
    """A smallest volume of NaN left out every region."""
    found = AnomalyMap(SCORES, Volume(SCORES, Geometry((10, 10, 4), np.eye(4))))
    with pytest.raises(SettingError, match=message):
        AnomalyMask.of(found, fpr, smallest)


def test_models_are_not_given_as_paths():
    with pytest.raises(
        SettingError, match=r"model: expected a NormativeModel, got str.*NormativeModel\.load"
    ):
        update_model("t1.dinoad", "normals")
    with pytest.raises(SettingError, match="Models to merge, number 1: expected a NormativeModel, got str"):
        merge_models(["a.dinoad", "b.dinoad"])


def test_backbones_are_not_given_by_name(tmp_path):
    with pytest.raises(
        SettingError, match=r"backbone: expected one that is loaded, got str.*load_backbone\(name\)"
    ):
        fit_folder(tmp_path, FitSettings(), backbone="embedded")
    with pytest.raises(
        SettingError, match=r"got SimpleNamespace, which has no default_resolution_px, .*, __call__"
    ):
        fit_folder(tmp_path, FitSettings(), backbone=SimpleNamespace(name="embedded", embedding_dim=3))
    for name in (None, 3, tmp_path):
        with pytest.raises(BackboneError, match="Backbone: expected a name"):
            load_backbone(name)


def test_a_detector_is_not_made_of_a_path():
    with pytest.raises(DinoadError, match="model: expected a NormativeModel, got str"):
        Detector("t1.dinoad")


@pytest.mark.parametrize("scorer", [DpmmScorer, ArCnnScorer, MemoryBankScorer])
@pytest.mark.parametrize("wrong", [20, {}, FitSettings(), np.zeros(2)])
def test_scorers_have_settings_of_their_own(scorer, wrong):
    with pytest.raises(SettingError, match=r"settings: expected (Dpmm|ArCnn|MemoryBank)Settings, got "):
        scorer(wrong)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (
            np.full((1, 32, 32), 255.0),
            r"expected values in \[0, 1\], got 255 to 255. Divide them by what is white",
        ),
        (np.full((1, 32, 32), -1.0), r"expected values in \[0, 1\], got -1 to -1"),
        (torch.full((1, 3, 32, 32), 255.0), r"expected values in \[0, 1\]"),
        (np.ma.masked_less(np.ones((1, 32, 32)), 2), "Images: expected an array without a mask"),
        (np.ones((1, 32, 32), dtype=object), "Images: expected grey slices .* got ndarray .* object"),
    ],
)
def test_slices_of_other_values_are_not_embedded(images, message):
    """Those of 0 to 255 were, and embeddings were other ones."""
    with pytest.raises(BackboneError, match=message):
        load_backbone("embedded")(images)


def test_slices_may_overshoot_a_little():
    load_backbone("embedded")(np.full((1, 32, 32), 1.1))
    assert len(load_backbone("embedded")(np.ones((0, 32, 32)))) == 0
