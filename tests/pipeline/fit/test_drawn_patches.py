"""A mixture keeps patches of its held-out scans, and models that it is merged into are calibrated on them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_dinoad import Detector, NormativeModel, merge_models, read_volume, update_model
from napari_dinoad.cli.main import main
from napari_dinoad.errors import SettingError
from napari_dinoad.normative_model.card import stored_card
from napari_dinoad.normative_model.held_out_patches import HeldOutPatches
from napari_dinoad.pipeline import fit_folder
from napari_dinoad.pipeline.cohort.embedded_scans import EmbeddedScan
from napari_dinoad.pipeline.fit.drawn_patches import draw_patches
from napari_dinoad.pipeline.fit.patch_scores import scores_in_joint
from napari_dinoad.scoring.dpmm.scorer import DpmmScorer
from napari_dinoad.settings import CalibrationSettings, DpmmSettings, FitSettings, preset
from small_heads import save_head

N_PERSONS = 6
N_KEPT = 1_000
SETTINGS = FitSettings(
    preprocessing=replace(preset("mr-brain"), resolution_px=96),
    dpmm=DpmmSettings(n_components=60, epochs=5),
    calibration=CalibrationSettings(folds=3, n_kept_patches=N_KEPT),
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = []
    for number in range(3):
        made.append(tmp_path_factory.mktemp(f"hospital_{number}"))
        for seed in range(100 * number, 100 * number + N_PERSONS):
            save_head(made[-1] / f"head_{seed}.nii.gz", seed)
    return made


@pytest.fixture(scope="module")
def hospitals(folders):
    """Three models of heads of one kind."""
    return [fit_folder(folder, SETTINGS) for folder in folders]


def without_patches(model):
    return replace(model, planes=(replace(model.planes[0], patches=None),))


@pytest.fixture(scope="module")
def new_heads(tmp_path_factory):
    folder = tmp_path_factory.mktemp("new")
    return [read_volume(save_head(folder / f"new_{seed}.nii.gz", seed)) for seed in range(900, 908)]


def share_marked(model, heads, rate=0.05):
    maps = [Detector(model).detect(head).anomaly_map.values for head in heads]
    return np.mean([(values >= -np.log10(rate)).sum() / (values > 0).sum() for values in maps])


@pytest.fixture(scope="module")
def merged(hospitals):
    """With what is kept, and without."""
    return merge_models(hospitals), merge_models([without_patches(model) for model in hospitals])


def test_merged_models_mark_about_what_the_rate_says(merged, new_heads):
    """Without what is kept they mark next to nothing: to them all normal patches are near."""
    kept, bound = (share_marked(model, new_heads) for model in merged)
    assert bound < 0.005
    assert 0.02 < kept < 0.1


def test_scans_as_a_whole_are_calibrated_too(merged, new_heads):
    kept, bound = (np.mean([Detector(model).detect(head).p_value for head in new_heads]) for model in merged)
    assert bound > 0.7
    assert 0.3 < kept < 0.7


def test_updated_models_are_calibrated_too(hospitals, folders, new_heads):
    """The earlier persons' patches are scored by clusters of the new ones."""
    p_values = []
    for earlier in (hospitals[0], without_patches(hospitals[0])):
        updated = update_model(earlier, folders[1], SETTINGS)
        p_values.append(np.mean([Detector(updated).detect(head).p_value for head in new_heads]))
    assert 0.3 < p_values[0] < 0.95 * p_values[1]


def test_single_slices_are_calibrated_too(merged):
    kept, bound = (model.planes[0].alone.calibration.threshold(0.01) for model in merged)
    assert kept < 0.9 * bound


def test_a_model_that_was_read_is_merged_like_one_that_was_fitted(hospitals, tmp_path):
    read = [NormativeModel.load(model.save(tmp_path / f"{n}.dinoad")) for n, model in enumerate(hospitals)]
    ours, theirs = (merge_models(models).calibration for models in (read, hospitals))
    assert np.array_equal(ours.table_scores, theirs.table_scores)
    assert np.array_equal(ours.scan_scores, theirs.scan_scores)


def test_merged_models_are_merged_on(hospitals):
    first = merge_models(hospitals[:2])
    assert len(first.planes[0].patches) == sum(len(model.planes[0].patches) for model in hospitals[:2])
    ours, theirs = (
        merge_models(models).calibration.threshold(0.01) for models in ([first, hospitals[2]], hospitals)
    )
    assert ours == pytest.approx(theirs, rel=0.1)


def test_they_are_those_of_held_out_scans(hospitals):
    patches = hospitals[0].planes[0].patches
    assert 0.8 * N_KEPT < len(patches) <= N_KEPT
    torch.testing.assert_close(
        patches.embeddings.float().norm(dim=1), torch.ones(len(patches)), atol=1e-3, rtol=0
    )
    by_all = hospitals[0].scorer.score(patches.as_map).reshape(-1)
    assert by_all.mean() < 0.9 * patches.scores.mean()


class Scan(EmbeddedScan):
    """A scan of one slice and 1,000 patches, each with its number as embedding."""

    shape = (1, 1000, 1, 2)

    def outline(self, cells):
        return np.ones((1, cells, 1), dtype=np.float32)

    def copy_rows(self, rows, target):
        numbers = np.arange(1000)
        target[:] = np.stack([np.cos(numbers / 1000), np.sin(numbers / 1000)], -1)[None, :, None]


def scores(scan):
    return np.random.default_rng(scan).permutation(1000).astype(np.float32).reshape(1, 1000, 1) / 1000


def test_most_of_them_score_high_and_each_keeps_its_own_score():
    patches = draw_patches({0: Scan(), 1: Scan()}, lambda scan: scores(scan) / 2, scores, 200)
    ranks = torch.sort(1000 * patches.averaged).values
    assert ranks[-1] == 999
    assert ranks[0] < 50
    as_high = 1000 - ranks.numpy().round()
    decades = np.histogram(as_high, [0, 10, 100, 1001])[0]
    # The highest of each scan are all there, and ten times as many lower ones have no more than the next.
    assert (as_high <= 5).sum() == 10
    assert 0.5 * decades[1] < decades[2] < decades[1]
    # They stand for about all, but for the highest that were not drawn.
    assert float(patches.weights.sum()) == pytest.approx(2000, abs=2)
    assert torch.equal(patches.scores, patches.averaged / 2)
    numbers = torch.atan2(patches.embeddings[:, 1].float(), patches.embeddings[:, 0].float()) * 1000
    told = torch.cat([torch.from_numpy(scores(scan)).reshape(-1) for scan in (0, 1)])
    n_first = len(patches) // 2
    torch.testing.assert_close(
        told[numbers[:n_first].round().long()], patches.averaged[:n_first], atol=0.0, rtol=0.0
    )


def test_of_many_scans_some_are_drawn_from():
    asked = []

    def of(scan):
        asked.append(scan)
        return scores(scan)

    patches = draw_patches({number: Scan() for number in range(100)}, of, scores, 80)
    assert asked == list(range(0, 100, 10))
    assert 40 < len(patches) <= 80


def test_scans_without_body_give_none():
    class Empty(Scan):
        def outline(self, cells):
            return np.zeros((1, cells, 1), dtype=np.float32)

    assert draw_patches({0: Empty()}, scores, scores, 80) is None


def test_so_few_that_chance_would_decide_are_not_kept():
    """Of a cohort of one small picture, for example."""

    class Small(Scan):
        def __init__(self, n):
            self.n = n

        def outline(self, cells):
            inside = np.zeros((1, cells, 1), dtype=np.float32)
            inside[:, : self.n] = 1.0
            return inside

    assert draw_patches({0: Small(49)}, scores, scores, 80) is None
    assert len(draw_patches({0: Small(50)}, scores, scores, 80)) == 50


def mixture(centre, n_components=4):
    """Fitted on patches around a direction."""
    rng = torch.Generator().manual_seed(1)
    maps = torch.nn.functional.normalize(centre + 0.05 * torch.randn(4, 8, 8, 3, generator=rng), dim=-1)
    return DpmmScorer(DpmmSettings(n_components=n_components, epochs=3, min_weight=0.0)).fit([maps])


def test_what_another_part_knows_is_near_to_the_whole_and_own_persons_are_left_out():
    x, y = torch.tensor([1.0, 0, 0]), torch.tensor([0.0, 1, 0])
    parts = [mixture(x), mixture(y)]
    whole = DpmmScorer.merged(parts)
    directions = torch.stack([x, y, torch.tensor([0.0, 0, 1])]).half()
    held_out = torch.tensor([0.4, 0.5, 0.3])
    found = scores_in_joint(0, parts, whole, HeldOutPatches(directions, held_out, held_out, held_out))
    # The first is known to its own part alone, which is not asked; the second to the other; the third to none.
    np.testing.assert_allclose(found, [0.4, 0.0, 0.3], atol=0.03)


def test_what_the_whole_lost_is_added():
    x, y = torch.tensor([1.0, 0, 0]), torch.tensor([0.0, 1, 0])
    parts, whole = [mixture(x), mixture(y)], mixture(x)
    one = torch.tensor([0.4])
    found = scores_in_joint(0, parts, whole, HeldOutPatches(y[None].half(), one, one, one))
    np.testing.assert_allclose(found, [1.0], atol=0.03)


def test_none_are_kept_of_likelihoods_other_scorers_or_where_none_are_wanted(hospitals, tmp_path):
    for seed in range(3):
        save_head(tmp_path / f"head_{seed}.nii.gz", seed)
    wanted_not = replace(SETTINGS.calibration, n_kept_patches=0)
    likelihood = replace(SETTINGS.dpmm, score="negative-log-likelihood")
    for settings in (
        replace(SETTINGS, calibration=wanted_not),
        replace(SETTINGS, dpmm=likelihood),
        replace(SETTINGS, scorer="memory-bank"),
        replace(SETTINGS, preprocessing=replace(SETTINGS.preprocessing, plane="all")),
    ):
        model = fit_folder(tmp_path, settings)
        assert all(plane.patches is None for plane in model.planes)
        assert model.card()["calibration"]["n_kept_patches"] == 0


@pytest.mark.parametrize("n", [-1, 1, 49, 20_001, 10**9])
def test_so_few_that_chance_would_decide_and_files_of_any_size_are_refused(n):
    with pytest.raises(SettingError, match=f"kept patches: expected 0 or 50 to 20000, got {n}"):
        CalibrationSettings(n_kept_patches=n)


def test_from_the_command_line(tmp_path, capsys):
    for seed in range(3):
        save_head(tmp_path / f"head_{seed}.nii.gz", seed)
    out = tmp_path / "m.dinoad"
    settings = ["--preset", "mr-brain", "--resolution", "64", "--set", "n_components=20"]
    assert main(["fit", str(tmp_path), "--out", str(out), *settings, "--kept-patches", "60"]) == 0
    model = NormativeModel.load(out)
    n_kept = len(model.planes[0].patches)
    assert 30 < n_kept <= 60
    assert model.card()["calibration"]["n_kept_patches"] == n_kept
    assert stored_card(out) == model.card()
    assert main(["fit", str(tmp_path), "--out", str(out), *settings, "--kept-patches", "-1"]) == 2
    assert "kept patches" in capsys.readouterr().err
