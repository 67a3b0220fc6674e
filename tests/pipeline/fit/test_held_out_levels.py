"""Averaged scores of volumes are divided by what is usual of other persons' slices that look alike."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import nibabel as nib
import numpy as np
import pytest
import torch

from napari_dinoad import Detector, NormativeModel, merge_models, read_volume
from napari_dinoad.cli.main import main
from napari_dinoad.normative_model.card import stored_card
from napari_dinoad.pipeline import fit_folder
from napari_dinoad.pipeline.fit import held_out_levels
from napari_dinoad.pipeline.fit.held_out_levels import MIN_PERSONS
from napari_dinoad.pipeline.fit.joined_calibrations import in_common_units
from napari_dinoad.settings import (
    CacheSettings,
    DetectSettings,
)
from small_fits import SMALL_FIT
from small_heads import AFFINE, lesion_of_head, make_head, save_head

N_PERSONS = 10
LOUD_SLICES = 4
SETTINGS = replace(SMALL_FIT, scorer="memory-bank")


def save_loud_head(path, seed):
    """Save a head whose lowest slices are unlike those of any other head."""
    values = make_head(seed)
    loud = values[..., :LOUD_SLICES]
    blobs = np.random.default_rng(seed).uniform(0.2, 1.8, (15, 20)).repeat(2, 0).repeat(2, 1)[..., None]
    values[..., :LOUD_SLICES] = np.where(loud > 50, loud * blobs, loud)
    nib.save(nib.Nifti1Image(values, AFFINE), path)
    return path


def looks_at(levels):
    """Return looks (m, k) that have the places of the normal slices."""
    wanted = levels.places + levels.space.origin
    return torch.linalg.lstsq(levels.space.directions.T, wanted.T).solution.T


@pytest.fixture(scope="module")
def loud_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("loud")
    for seed in range(N_PERSONS):
        save_loud_head(folder / f"loud_{seed}.nii.gz", seed)
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return CacheSettings(str(tmp_path_factory.mktemp("cache")), keep=True)


@pytest.fixture(scope="module")
def models(loud_folder, cache):
    """With levels of slices, and without."""
    return [fit_folder(loud_folder, settings, cache=cache) for settings in (SETTINGS, without(SETTINGS))]


def detector(model, batch_slices=4):
    return Detector(model, DetectSettings(device="cpu", batch_slices=batch_slices))


@pytest.fixture(scope="module")
def new_heads(tmp_path_factory):
    folder = tmp_path_factory.mktemp("new")
    return [read_volume(save_loud_head(folder / f"{seed}.nii.gz", seed)) for seed in range(100, 108)]


def marked(model, volumes, rate=0.05):
    """Return which share is marked of the loud slices' body, and of the others'."""
    finds = detector(model)
    shares = []
    for volume in volumes:
        is_marked = finds.detect(volume).anomaly_map.values >= -np.log10(rate)
        body = finds.prepare(volume)[0].body
        shares.append([is_marked[of][body[of]].mean() for of in (np.s_[:LOUD_SLICES], np.s_[LOUD_SLICES:])])
    return np.mean(shares, axis=0)


def test_slices_that_are_loud_in_every_person_are_not_marked_first(models, new_heads):
    (loud, others), (loud_without, others_without) = (marked(model, new_heads) for model in models)
    assert loud_without > 0.15
    assert loud < 0.08
    assert loud / others < 0.5 * loud_without / others_without


def test_what_is_loud_in_one_person_alone_is_marked(models, tmp_path):
    """A lesion does not change the look so much that it hides itself."""
    patient = read_volume(save_head(tmp_path / "patient.nii.gz", 100, lesion=True))
    lesion = patient.geometry.to_canonical(lesion_of_head())
    values = detector(models[0]).detect(patient).anomaly_map.values
    assert values[lesion].mean() > values[~lesion].mean() + 0.5


@pytest.mark.parametrize("how", [{"start_slice": 8}, {}])
def test_in_whatever_order_slices_come_they_are_compared_alike(models, new_heads, how):
    expected = detector(models[0], batch_slices=16).detect(new_heads[0])
    found = detector(models[0], batch_slices=3).detect(new_heads[0], **how)
    np.testing.assert_allclose(found.anomaly_map.values, expected.anomaly_map.values, atol=1e-4)
    assert found.scan_score == pytest.approx(expected.scan_score, rel=1e-5)


def test_slices_by_themselves_are_scored_as_without(models, new_heads):
    one, other = (detector(model).detect(new_heads[0], slices=[2, 8]).anomaly_map.values for model in models)
    assert np.array_equal(one, other)


def test_the_model_keeps_them(models, tmp_path, new_heads):
    path = models[0].save(tmp_path / "m.dinoad")
    kept = NormativeModel.load(path)
    one, other = (detector(model).detect(new_heads[0]).anomaly_map.values for model in (models[0], kept))
    assert np.array_equal(one, other)
    n_slices = models[0].provenance.n_slices
    assert kept.card()["calibration"]["n_level_slices"] == n_slices
    assert stored_card(path) == kept.card()
    assert models[1].card()["calibration"]["n_level_slices"] == 0


def test_of_many_slices_some_are_kept(loud_folder, cache, models, monkeypatch):
    """Evenly drawn of all scans; what they tell is nearly the same."""
    monkeypatch.setattr(held_out_levels, "_KEPT_SLICES", 70)
    monkeypatch.setattr(held_out_levels, "_DIRECTION_SLICES", 40)
    (levels,) = fit_folder(loud_folder, SETTINGS, cache=cache).planes[0].levels
    assert 35 < levels.n_slices <= 70
    (full,) = models[0].planes[0].levels
    looks = looks_at(full)
    assert (levels(looks) - full(looks)).abs().mean() < 0.1


def test_all_that_reads_scans_is_told_and_can_be_stopped(loud_folder, cache):
    """Thousands of volumes are read for minutes to find the directions of their looks."""
    told = []
    fit_folder(loud_folder, SETTINGS, told.append, cache)
    steps = [(event.done, event.total) for event in told if event.stage == "Comparing alike slices"]
    assert steps == [(done, 2 * N_PERSONS) for done in range(2 * N_PERSONS)]


def test_few_persons_have_none(normal_folder, tmp_path):
    for scan in sorted(normal_folder.iterdir())[: MIN_PERSONS - 1]:
        (tmp_path / scan.name).symlink_to(scan)
    assert fit_folder(tmp_path, SETTINGS).planes[0].levels == ()


def test_images_have_none(tmp_path):
    for seed in range(N_PERSONS):
        save_slice(tmp_path / f"{seed}.nii.gz", seed)
    assert fit_folder(tmp_path, SETTINGS).planes[0].levels == ()


def save_slice(path, seed):
    nib.save(nib.Nifti1Image(make_head(seed)[..., 8], AFFINE), path)


def test_likelihoods_are_not_divided(loud_folder, cache):
    """They may be negative, and are moved when models are merged."""
    likelihood = replace(SETTINGS, dpmm=replace(SETTINGS.dpmm, score="negative-log-likelihood"))
    assert fit_folder(loud_folder, replace(likelihood, scorer="dpmm"), cache=cache).planes[0].levels == ()
    both = fit_folder(loud_folder, replace(likelihood, scorer="dpmm+memory-bank"), cache=cache)
    (levels,) = both.planes[0].levels
    told = levels(looks_at(levels))
    assert (told[0] == 1).all()
    assert (told[1] != 1).all()


@pytest.fixture(scope="module")
def hospitals(loud_folder, normal_folder, cache):
    """Mixtures of loud heads, with levels, and of six others, without."""
    settings = replace(SETTINGS, scorer="dpmm")
    return [fit_folder(loud_folder, settings, cache=cache), fit_folder(normal_folder, without(settings))]


def without(settings):
    return replace(settings, calibration=replace(settings.calibration, slice_levels=False))


def test_a_model_without_levels_that_was_merged_lowers_none(hospitals, new_heads):
    """Its calibration is that of undivided scores, and no score gets higher than that."""
    merged = merge_models(hospitals)
    (loud,) = hospitals[0].planes[0].levels
    looks = looks_at(loud)
    told = merged.planes[0].usual_levels(looks)
    assert torch.equal(told, loud(looks).clamp_min(1.0))
    assert (told > 1).any()
    assert marked(merged, new_heads)[0] < 0.08


def test_calibrations_of_merged_models_go_over_to_the_common_unit_of_their_levels(
    hospitals, loud_folder, cache
):
    """One hospital's scores are all half as high: its slices are as usual, and so are its heads."""
    (plane,) = hospitals[0].planes
    (own,) = plane.levels
    half = plane.calibration.scaled(partial(np.full_like, fill_value=0.5))
    other = replace(plane, calibration=half, levels=(replace(own, units=0.5 * own.units),))
    (one, two), levels = in_common_units([plane, other])
    np.testing.assert_allclose(one.calibration.table_scores, 0.75 * plane.calibration.table_scores)
    np.testing.assert_allclose(two.calibration.table_scores, 1.5 * half.table_scores)
    np.testing.assert_allclose(one.patches.averaged, 0.75 * plane.patches.averaged, rtol=1e-6)
    (again, _), same = in_common_units([replace(one, levels=levels), plane])
    (once, _, _), _ = in_common_units([plane, other, plane])
    np.testing.assert_allclose(again.calibration.table_scores, once.calibration.table_scores)
    assert len(same) == 3


def test_merged_models_without_levels_have_none(hospitals, normal_folder, cache):
    other = fit_folder(normal_folder, without(replace(SETTINGS, scorer="dpmm", seed=1)), cache=cache)
    merged = merge_models([replace(hospitals[1], fingerprints=()), other])
    assert merged.planes[0].levels == ()


def test_from_the_command_line(loud_folder, tmp_path, monkeypatch):
    settings = ["--preset", "mr-brain", "--resolution", "64", "--scorer", "memory-bank"]
    out = tmp_path / "m.dinoad"
    assert main(["fit", str(loud_folder), "--out", str(out), *settings, "--no-slice-levels"]) == 0
    assert NormativeModel.load(out).planes[0].levels == ()


def test_planes_are_compared_each_by_its_own_looks(loud_folder, cache, tmp_path):
    settings = replace(SETTINGS, preprocessing=replace(SETTINGS.preprocessing, plane="all"))
    path = fit_folder(loud_folder, settings, cache=cache).save(tmp_path / "m.dinoad")
    model = NormativeModel.load(path)
    sizes = [plane.levels[0].n_slices for plane in model.planes]
    assert len(set(sizes)) == 3
    assert model.card()["calibration"]["n_level_slices"] == sum(sizes)
    assert stored_card(path) == model.card()
