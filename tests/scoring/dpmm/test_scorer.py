"""What a fit of the Dirichlet-process mixture must hold, whatever the data."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.mixture import BayesianGaussianMixture

from napari_dinoad.errors import SettingError
from napari_dinoad.scoring.dpmm import fit as dpmm_fit
from napari_dinoad.scoring.dpmm import start as dpmm_start
from napari_dinoad.scoring.dpmm.mixture import ComponentDensities, Mixture
from napari_dinoad.scoring.dpmm.scorer import DpmmScorer
from napari_dinoad.scoring.dpmm.statistics import gaussians, hard_statistics
from napari_dinoad.scoring.dpmm.stick_breaking import log_prior, stick_weights
from napari_dinoad.scoring.patches import unit_patches
from napari_dinoad.settings import DpmmSettings


def heavy_tailed_maps(make_clustered):
    """Patches of no Gaussian shape: products of normals, much skewed."""
    maps = make_clustered(6, (6, 6), 10, 4, 1.0, seed=3)
    return maps * maps.abs().mean(-1, keepdim=True) + 0.2


DATA_SETS = {
    "clusters": lambda clustered, smooth: clustered(6, (6, 6), 12, 7, 0.4, seed=1),
    "smooth fields": lambda clustered, smooth: smooth(6, (6, 6), 12, seed=2),
    "heavy tails": lambda clustered, smooth: heavy_tailed_maps(clustered),
}


@pytest.mark.parametrize("covariance", ["diag", "spherical", "full"])
@pytest.mark.parametrize("data_set", DATA_SETS)
def test_penalised_likelihood_never_falls(data_set, covariance, make_clustered, make_smooth):
    maps = DATA_SETS[data_set](make_clustered, make_smooth)
    chosen = DpmmSettings(
        n_components=20, covariance=covariance, epochs=40, tolerance=0, merge=False, start_iterations=0
    )
    batches = list(maps.split(2))
    point = dpmm_start.start(batches, chosen)
    while not point.finished:
        point = dpmm_fit.next_epoch(point, batches, None, chosen)
    curve = np.array(point.history["penalised_log_likelihood"])
    assert len(curve) >= 5
    assert (np.diff(curve) >= -1e-9 * np.abs(curve[:-1])).all()
    # What is kept is as good as the last epoch that was weighed.
    kept = float(ComponentDensities(point.best.mixture).log_density(unit_patches(maps)).sum())
    kept += log_prior(point.best.sticks, point.best.alpha)
    assert kept >= curve[-1] - 1e-6 * abs(curve[-1])
    # An epoch that lowered it is taken back, and so is its number.
    is_taken_back = kept == pytest.approx(curve[-1], rel=1e-13)
    assert point.best_epoch == len(curve) - is_taken_back


@pytest.mark.parametrize("covariance", ["diag", "spherical", "full"])
def test_responsibilities_sum_to_one_and_agree_with_the_components(covariance, make_clustered):
    maps = make_clustered(4, (5, 7), 8, 5, 0.5, seed=4)
    scorer = DpmmScorer(DpmmSettings(n_components=12, covariance=covariance, epochs=3)).fit([maps])
    r = scorer.responsibilities(maps)
    assert r.shape[:3] == (4, 5, 7)
    torch.testing.assert_close(r.sum(-1), torch.ones(4, 5, 7, dtype=torch.float64), rtol=0, atol=1e-12)
    assert torch.equal(scorer.components(maps), r.argmax(-1))


def test_components_show_what_is_seen_where_and_have_names(make_clustered):
    maps = make_clustered(6, (6, 6), 16, 3, 0.1, seed=13)
    scorer = DpmmScorer(DpmmSettings(n_components=3, epochs=3)).fit([maps])
    components = scorer.components(maps)
    alike = torch.nn.functional.normalize(maps, dim=-1)
    centres = torch.stack([alike[components == k].mean(0) for k in range(3)])
    assert float((alike - centres[components]).norm(dim=-1).max()) < 0.3
    shares = [float((components == k).double().mean()) for k in range(3)]
    assert shares == sorted(shares, reverse=True)
    named = [
        float(re.fullmatch(rf"component {k} \((.+) % of normal\)", name)[1])
        for k, name in enumerate(scorer.component_names, start=1)
    ]
    assert named == pytest.approx([100 * share for share in shares], abs=2)


@pytest.mark.parametrize("n_clusters", [5, 20, 80])
@pytest.mark.parametrize("n_components", [100, 500])
def test_recovers_the_number_of_well_separated_clusters(n_clusters, n_components, make_clustered):
    maps = make_clustered(10, (20, 20), 32, n_clusters, 0.25, seed=n_clusters)
    scorer = DpmmScorer(DpmmSettings(n_components=n_components, epochs=5)).fit(list(maps.split(3)))
    in_use = int((scorer.parameters.mixture.log_weights.exp() > 1e-3).sum())
    assert abs(in_use - n_clusters) <= 0.1 * n_clusters
    assert len(scorer.components(maps).unique()) == in_use


def test_agrees_with_scikit_learn_on_held_out_data(make_clustered):
    maps = make_clustered(60, (8, 8), 12, 6, 0.3, seed=5)
    train, held_out = maps[:40], maps[40:]
    chosen = DpmmSettings(n_components=12, epochs=100, tolerance=1e-6, score="negative-log-likelihood")
    ours = -float(DpmmScorer(chosen).fit([train]).score(held_out).double().mean())
    oracle = BayesianGaussianMixture(
        n_components=12, covariance_type="diag", max_iter=1000, n_init=3, random_state=0
    ).fit(unit_patches(train).numpy())
    # Both as plain mixtures: scikit-learn's own score integrates over its posterior.
    theirs = Mixture(
        *(torch.from_numpy(t) for t in (np.log(oracle.weights_), oracle.means_, oracle.covariances_)), "diag"
    )
    wanted = float(ComponentDensities(theirs).log_density(unit_patches(held_out)).mean())
    assert ours == pytest.approx(wanted, rel=0.01)


def test_the_epoch_that_explains_held_out_scans_best_is_kept(make_clustered):
    train = make_clustered(2, (5, 5), 30, 3, 1.5, seed=6)
    held_out = make_clustered(6, (5, 5), 30, 3, 1.5, seed=6)[2:]
    chosen = DpmmSettings(n_components=8, epochs=30, patience=4, merge=False, tolerance=0)
    states = []
    scorer = DpmmScorer(chosen).fit([train], validation=[held_out], checkpoint=states.append)
    losses = scorer.state().history["validation_loss"]
    best = int(np.argmin(losses)) + 1
    assert scorer.state().settings["best_epoch"] == best
    assert len(losses) <= best + chosen.patience
    kept = -ComponentDensities(scorer.parameters.mixture).log_density(unit_patches(held_out)).mean()
    assert float(kept) == pytest.approx(min(losses), rel=1e-12)
    assert len(states) >= len(losses)


@pytest.mark.parametrize("update", ["ema", "decay"])
def test_online_fit_learns_and_weights_batches_by_size(update, make_clustered):
    maps = make_clustered(20, (6, 6), 12, 5, 0.4, seed=7)
    chosen = DpmmSettings(n_components=10, update=update, epochs=6, merge=False)
    whole = DpmmScorer(chosen).fit(list(maps.split(8)))  # a last batch of four
    losses = whole.state().history["train_loss"]
    assert losses[-1] < losses[0]
    assert torch.isfinite(whole.score(maps)).all()


def test_a_batch_counts_in_an_online_fit_as_much_as_its_halves(make_clustered):
    """1 − γ = ((1 − γ)^½)²; the clusters are so far apart that no step changes what the next one finds."""
    maps = make_clustered(20, (6, 6), 12, 5, 0.01, seed=7)
    chosen = DpmmSettings(n_components=5, update="ema", epochs=1, merge=False)
    start = dpmm_start.start([maps], chosen)
    half = maps[:10]
    whole = torch.cat([half, half])
    one = dpmm_fit.next_epoch(start, [whole], None, chosen).online
    two = dpmm_fit.next_epoch(start, [half, half], None, chosen).online
    moved = (one.responsibilities - start.online.responsibilities).abs().max()
    assert float(moved) > 1e-3
    for name in ("responsibilities", "first", "second"):
        torch.testing.assert_close(getattr(two, name), getattr(one, name), rtol=1e-6, atol=1e-9)


def test_the_rate_of_a_decaying_fit_falls_with_the_batches_met(make_clustered):
    """γ = t^−ρ; the start is step 1. All responsibilities of a patch sum to 1, whatever the mixture."""
    maps = make_clustered(9, (6, 6), 12, 5, 0.4, seed=7) + torch.linspace(0, 1, 9)[:, None, None, None]
    chosen = DpmmSettings(n_components=5, update="decay", decay_exponent=0.7, epochs=3, merge=False)
    batches = list(maps.split(3))
    point = dpmm_start.start(batches, chosen)
    means = [unit_patches(batch).double().mean(0) for batch in batches]
    wanted = point.online.first.sum(0)
    for epoch in range(2):
        point = dpmm_fit.next_epoch(point, batches, None, chosen)
        for number, mean in enumerate(means, start=2 + 3 * epoch):
            wanted = (1 - number**-0.7) * wanted + number**-0.7 * mean
        torch.testing.assert_close(point.online.first.sum(0), wanted, rtol=1e-9, atol=1e-12)


def test_each_patch_of_the_sample_that_a_fit_starts_from_counts_for_as_many_as_there_are(make_clustered):
    """The prior weighs against 900 patches, not against the 60 that were drawn."""
    maps = make_clustered(25, (6, 6), 8, 3, 0.3, seed=5)
    chosen = DpmmSettings(n_components=3, start_patches_per_component=20, merge=False, alpha0=30.0)
    parameters = dpmm_start.start([maps], chosen).parameters
    shares = parameters.mean_responsibilities
    torch.testing.assert_close(60 * shares, (60 * shares).round(), rtol=0, atol=1e-9)
    torch.testing.assert_close(parameters.sticks, stick_weights(shares, 30.0, 900))


class CountedBatches(list):
    """Batches that count how often they are read."""

    n_passes = 0

    def __iter__(self):
        self.n_passes += 1
        return super().__iter__()


@pytest.mark.parametrize(
    ("spread", "tolerance", "regularisation", "told_by"),
    [
        (0.4, 5e-3, None, "the maximisation"),
        (2.0, 5e-3, None, "the maximisation"),
        (0.4, 1e-3, None, "two gains"),
        (1.0, 1e-3, None, "two gains"),
        (0.4, 1e-3, 0.1, "a pass"),  # so large a λ leaves the M-step short of optimal, and it expects nothing
    ],
)
def test_an_exact_fit_ends_where_an_epoch_gains_too_little(
    spread, tolerance, regularisation, told_by, make_clustered
):
    """An epoch whose gain is foreseen, from the two before it or what the maximisation expects, is not waited for."""
    batches = CountedBatches(make_clustered(10, (8, 8), 12, 7, spread, seed=1).split(3))
    chosen = DpmmSettings(
        n_components=20, epochs=40, tolerance=tolerance, merge=False, regularisation=regularisation
    )
    point = dpmm_start.start(batches, chosen)
    while not point.finished:
        point = dpmm_fit.next_epoch(point, batches, None, chosen)
    gains = np.diff(point.history["penalised_log_likelihood"])
    least = tolerance * point.n_patches * 12
    assert (gains >= least).all()
    # Two passes for the start, one an epoch, and one to see the end.
    assert batches.n_passes == 1 + point.epoch + (told_by == "a pass")
    if told_by == "a pass":
        return
    if told_by == "two gains":
        assert gains[-1] ** 2 < least * gains[-2]

    on = dpmm_fit.next_epoch(replace(point, finished=False), batches, None, replace(chosen, tolerance=0))
    next_gain = np.diff(on.history["penalised_log_likelihood"])[-1]
    assert 0 < next_gain < 2 * least


def test_a_small_last_batch_hardly_moves_an_online_fit(make_clustered):
    maps = make_clustered(17, (6, 6), 12, 5, 0.4, seed=8)
    odd = 5 * torch.ones(1, 6, 6, 12)
    chosen = DpmmSettings(n_components=6, update="ema", epochs=1, merge=False)
    start = dpmm_start.start([maps[:16], odd], chosen)

    def movement(*batches):
        after = dpmm_fit.next_epoch(start, batches, None, chosen).online
        return float((after.responsibilities - start.online.responsibilities).abs().sum())

    assert movement(odd) < 0.15 * movement(odd.expand(16, -1, -1, -1))


def test_scores_need_no_more_than_the_direction(make_clustered):
    maps = make_clustered(3, (5, 5), 16, 4, 0.3, seed=9)
    scorer = DpmmScorer(DpmmSettings(n_components=8, epochs=3)).fit([maps])
    torch.testing.assert_close(scorer.score(maps * 7.5), scorer.score(maps), rtol=0, atol=1e-6)
    cosine = scorer.score(maps)
    assert bool(((cosine >= -1e-6) & (cosine <= 2 + 1e-6)).all())


@pytest.mark.parametrize("covariance", ["diag", "spherical", "full"])
def test_scores_are_those_of_their_definitions(covariance, make_clustered):
    maps = make_clustered(5, (5, 5), 6, 5, 0.6, seed=14)
    chosen = DpmmSettings(n_components=8, covariance=covariance, epochs=3, merge=False, min_weight=0.1)
    scorer = DpmmScorer(chosen).fit([maps[:4]])
    mixture = scorer.parameters.mixture
    log_weights, means = mixture.log_weights.numpy(), mixture.means.numpy()
    own = mixture.covariances.numpy()
    covariances = {
        "diag": lambda: [np.diag(c) for c in own],
        "spherical": lambda: [c * np.eye(6) for c in own],
        "full": lambda: own,
    }[covariance]()
    counted = np.exp(log_weights) > 0.1
    assert 0 < counted.sum() < len(counted)

    x = maps[4].double().numpy().reshape(25, 6)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    apart = [x - mean for mean in means]
    squares = [(z * np.linalg.solve(c, z.T).T).sum(1) for z, c in zip(apart, covariances, strict=True)]
    log_joint = log_weights + np.stack(
        [multivariate_normal(m, c).logpdf(x) for m, c in zip(means, covariances, strict=True)], axis=1
    )
    cosines = x @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T
    wanted = {
        "cosine": 1 - cosines[:, counted].max(1),
        "mahalanobis": np.sqrt(np.min(np.array(squares)[counted], axis=0)),
        "negative-log-likelihood": -logsumexp(log_joint, axis=1),
    }
    for score, values in wanted.items():
        scorer.settings = replace(chosen, score=score)
        got = scorer.score(maps[4:]).numpy().reshape(25)
        np.testing.assert_allclose(got, values, rtol=2e-5, atol=1e-5, err_msg=score)


@pytest.mark.parametrize("score", ["cosine", "negative-log-likelihood", "mahalanobis"])
@pytest.mark.parametrize("covariance", ["diag", "spherical", "full"])
def test_foreign_patches_score_higher(score, covariance, make_clustered):
    maps = make_clustered(6, (6, 6), 16, 4, 0.3, seed=10)
    chosen = DpmmSettings(n_components=8, epochs=5, covariance=covariance, score=score)
    scorer = DpmmScorer(chosen).fit([maps])
    foreign = torch.randn(2, 6, 6, 16, generator=torch.Generator().manual_seed(0))
    assert float(scorer.score(foreign).min()) > float(scorer.score(maps).quantile(0.95))


def test_light_components_do_not_count_as_normal(make_clustered):
    """One stray patch gets a component of its own; its kind must not pass for normal."""
    maps = make_clustered(40, (6, 6), 16, 3, 0.1, seed=11)
    stray = torch.nn.functional.normalize(torch.ones(16), dim=0)
    maps[0, 0, 0] = stray
    chosen = DpmmSettings(n_components=40, epochs=5, merge=False, min_weight=0.01)
    scorer = DpmmScorer(chosen).fit([maps])
    alike = stray.expand(1, 1, 1, 16)
    assert float(scorer.score(alike)) > float(scorer.score(maps).quantile(0.99))


def test_the_heaviest_component_counts_though_all_are_light(make_clustered):
    maps = make_clustered(6, (6, 6), 16, 6, 0.1, seed=11)
    scorer = DpmmScorer(DpmmSettings(n_components=6, epochs=3, min_weight=0.9)).fit([maps])
    assert float(scorer.parameters.mixture.log_weights.exp().max()) < 0.9
    heaviest = torch.nn.functional.normalize(scorer.parameters.mixture.means[0], dim=0)
    wanted = 1 - torch.nn.functional.normalize(maps, dim=-1).double() @ heaviest
    torch.testing.assert_close(scorer.score(maps).double(), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("covariance", ["diag", "spherical"])
def test_variances_of_constant_patches_are_never_below_the_regularisation(covariance):
    """C/s − μ² of patches that are all alike is rounding, of either sign."""
    patches = torch.nn.functional.normalize(torch.arange(1.0, 12.0), dim=0).expand(196, 11)
    statistics = hard_statistics(patches, torch.zeros(196, dtype=torch.int64), 1, covariance)
    _, covariances = gaussians(statistics, covariance, 1e-25)
    assert bool((covariances >= 1e-25).all())


@pytest.mark.parametrize("covariance", ["diag", "spherical", "full"])
@pytest.mark.parametrize("score", ["cosine", "negative-log-likelihood", "mahalanobis"])
def test_the_least_regularisation_is_enough_for_fewer_patches_than_channels(covariance, score):
    maps = torch.randn(2, 4, 4, 64, generator=torch.Generator().manual_seed(0))
    chosen = DpmmSettings(n_components=3, covariance=covariance, regularisation=1e-12, epochs=4, score=score)
    for batch in (maps, torch.ones(2, 4, 4, 64)):
        scorer = DpmmScorer(chosen).fit([batch])
        assert bool(torch.isfinite(scorer.score(maps)).all())
    with pytest.raises(SettingError, match="at least 1e-12"):
        replace(chosen, regularisation=1e-13)


def test_an_empty_component_keeps_its_mean_and_covariance():
    patches = torch.nn.functional.normalize(torch.arange(12.0).reshape(4, 3) + 1, dim=1)
    statistics = hard_statistics(patches, torch.tensor([0, 0, 2, 2]), 3, "diag")
    fallback = torch.full((3, 3), 7.0, dtype=torch.float64), torch.full((3, 3), 5.0, dtype=torch.float64)
    means, covariances = gaussians(statistics, "diag", 1e-6, fallback)
    assert means[1].tolist() == [7, 7, 7]
    assert covariances[1].tolist() == [5, 5, 5]
    torch.testing.assert_close(means[0], patches[:2].double().mean(0))
    torch.testing.assert_close(covariances[2], patches[2:].double().var(0, correction=0) + 1e-6)


def test_data_that_change_during_a_fit_are_refused(make_clustered):
    from napari_dinoad.errors import ScorerError

    maps = make_clustered(4, (4, 4), 8, 3, 0.3, seed=12)
    point = dpmm_start.start([maps], DpmmSettings(n_components=4))
    with pytest.raises(ScorerError, match="same 64 patches in every pass, got 48"):
        dpmm_fit.next_epoch(point, [maps[:3]], None, DpmmSettings(n_components=4))
