"""Mixtures joined, and brought up to date, without the patches that they were fitted on."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from napari_dinoad.errors import ScorerError
from napari_dinoad.scoring.dpmm.merging import alike_groups
from napari_dinoad.scoring.dpmm.mixture import ComponentDensities
from napari_dinoad.scoring.dpmm.pooling import expected_log_joint, pooled, statistics_of
from napari_dinoad.scoring.dpmm.scorer import DpmmScorer
from napari_dinoad.scoring.dpmm.statistics import SufficientStatistics, expectation, gaussians
from napari_dinoad.scoring.patches import unit_patches
from napari_dinoad.settings import DpmmSettings
from pretended_gpu import pretended_gpu

COVARIANCES = ("diag", "spherical", "full")


def settings_for(covariance, **changes):
    return replace(DpmmSettings(n_components=30, covariance=covariance, epochs=4), **changes)


@pytest.fixture(scope="module")
def fitted(make_clustered):
    """Scorers of a first half, a second half, and the whole, and all maps; made once for each covariance."""
    maps = make_clustered(16, (6, 6), 10, 9, 0.4, seed=1)
    made = {}
    for covariance in COVARIANCES:
        halves = (maps[:8], maps[8:], maps)
        made[covariance] = [DpmmScorer(settings_for(covariance)).fit(list(m.split(4))) for m in halves]
    return made, maps


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_a_mixture_is_its_own_statistics(covariance, fitted):
    whole = fitted[0][covariance][2]
    mixture, regularisation = whole.parameters.mixture, whole.settings.effective_regularisation
    statistics = whole._statistics()
    means, covariances = gaussians(statistics, covariance, regularisation)
    torch.testing.assert_close(means, mixture.means, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(covariances, mixture.covariances, rtol=1e-9, atol=1e-12)
    assert float(statistics.responsibilities.sum()) == pytest.approx(16 * 36, rel=1e-9)


def two_components(apart):
    """The statistics of two components of 1,000 patches each, of variance 1 in four channels, apart in the first."""
    means = torch.zeros(2, 4, dtype=torch.float64)
    means[:, 0] = torch.tensor([-apart / 2, apart / 2])
    s = torch.full((2,), 1000.0, dtype=torch.float64)
    return SufficientStatistics(2000.0, s, s[:, None] * means, s[:, None] * (1 + means.square()))


def test_what_predicts_new_patches_better_stays_when_hospitals_are_pooled():
    """Akaike's criterion; by Schwarz's, which counts kinds of patch, components this near are one."""

    def n_groups(apart, criterion):
        return int(alike_groups(two_components(apart), "diag", 1e-6, None, criterion).max()) + 1

    distances = torch.linspace(3.3, 3.7, 41).tolist()
    between = [a for a in distances if (n_groups(a, "akaike"), n_groups(a, "schwarz")) == (2, 1)]
    assert between
    for apart in between:
        whole = two_components(apart)
        parts = [whole.reordered(torch.tensor([k])) for k in (0, 1)]
        parts = [replace(part, n_patches=1000.0) for part in parts]
        assert len(pooled(parts, "diag", 1e-6, 10).responsibilities) == 2
        assert len(pooled(parts, "diag", 1e-6, 1).responsibilities) == 1
    assert all(n_groups(a, "akaike") >= n_groups(a, "schwarz") for a in distances)


def test_a_sample_of_a_tenth_tells_apart_what_a_third_of_all_patches_would():
    """Its patches count for as many as there are; taken for all that there are, they would tell less."""

    def n_groups(statistics, n_patches=None):
        return int(alike_groups(statistics, "diag", 1e-6, n_patches=n_patches).max()) + 1

    distances = torch.linspace(1, 8, 141).tolist()
    apart = next(a for a in distances if n_groups(two_components(a).scaled(0.35)) == 2)
    sample = two_components(apart).scaled(0.1)
    assert n_groups(sample, 2000) == 2
    assert n_groups(sample) == 1
    assert n_groups(two_components(apart)) == 2


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_empty_components_are_not_carried_on(covariance, fitted):
    parameters = fitted[0][covariance][2].parameters
    shares = parameters.mean_responsibilities.clone()
    shares[1] = 0.0
    statistics = statistics_of(parameters.mixture, shares, 100.0, 1e-3)
    assert len(statistics.responsibilities) == len(shares) - 1
    assert float(statistics.responsibilities.min()) > 0
    np.testing.assert_allclose(
        statistics.first[1] / statistics.responsibilities[1], parameters.mixture.means[2]
    )


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_statistics_alone_give_the_expected_log_likelihood(covariance, fitted):
    made, maps = fitted
    first = made[covariance][0]
    patches = unit_patches(maps).double()
    densities = ComponentDensities(first.parameters.mixture)
    statistics = expectation(densities, patches)
    # Any other mixture of as many components will do: its means are moved a little.
    other = replace(first.parameters.mixture, means=first.parameters.mixture.means * 1.1)
    responsibilities = densities.log_joint(patches).softmax(-1)
    wanted = float((responsibilities * ComponentDensities(other).log_joint(patches)).sum())
    assert expected_log_joint(statistics, other) == pytest.approx(wanted, rel=1e-9)


def assert_same_but_for_strays(one, other, maps):
    """A single patch far from all others may have a component of its own in one of two fits."""
    assert abs(one.parameters.mixture.n_components - other.parameters.mixture.n_components) <= 1
    assert float((one.score(maps) - other.score(maps)).abs().quantile(0.99)) < 0.01


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_two_halves_merged_score_as_the_whole(covariance, fitted):
    made, maps = fitted
    first, second, whole = made[covariance]
    merged = DpmmScorer.merged([first, second])
    assert merged.n_patches == whole.n_patches == first.n_patches + second.n_patches
    assert_same_but_for_strays(merged, whole, maps)
    assert float(merged.parameters.mixture.log_weights.exp().sum()) == pytest.approx(1, rel=1e-9)


def test_a_merged_mixture_is_a_finished_fit(fitted, make_clustered):
    """No further epoch would know the patches behind it; fitted on others it starts anew."""
    first, second, _ = fitted[0]["diag"]
    merged = DpmmScorer.merged([first, second])
    assert merged.state().tensors.keys() == first.state().tensors.keys()
    others = [make_clustered(2, (4, 4), 10, 3, 0.3, seed=2)]
    again = DpmmScorer(merged.settings).fit(others)
    assert torch.equal(merged.fit(others).score(others[0]), again.score(others[0]))


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_the_order_of_hospitals_has_no_influence(covariance, fitted):
    first, second, whole = fitted[0][covariance]
    one = DpmmScorer.merged([first, second, whole]).state()
    for order in ([second, whole, first], [whole, second, first]):
        other = DpmmScorer.merged(order).state()
        for name, tensor in one.tensors.items():
            torch.testing.assert_close(other.tensors[name], tensor, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_mixtures_on_a_gpu_are_merged_there(covariance, make_clustered):
    maps = [make_clustered(4, (8, 8), 10, 6, 0.2, seed=seed) for seed in range(2)]
    small = settings_for(covariance, n_components=6)
    expected = DpmmScorer.merged([DpmmScorer(small).fit([own]) for own in maps]).score(maps[0])
    with pretended_gpu():
        merged = DpmmScorer.merged([DpmmScorer(small, device="cuda").fit([own]) for own in maps])
        assert merged.parameters.mixture.means.device.type == "cuda"
        got = merged.score(maps[0].to("cuda")).cpu()
    torch.testing.assert_close(got, expected)


def test_merging_keeps_first_and_second_moments(fitted):
    first, second, _ = fitted[0]["diag"]
    parts = [scorer._statistics() for scorer in (first, second)]
    merged = DpmmScorer.merged([first, second])
    both = merged._statistics()
    for name in ("responsibilities", "first", "second"):
        wanted = sum(getattr(part, name).sum(0) for part in parts)
        torch.testing.assert_close(getattr(both, name).sum(0), wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("update", ["exact", "ema"])
def test_a_component_stands_for_the_patches_that_it_explains(make_smooth, update):
    """The weight that the prior leaves over is the last component's, but no patches are."""
    maps = make_smooth(8, (6, 6), 10, seed=3)
    chosen = settings_for("diag", n_components=80, epochs=1, merge=False, update=update, alpha0=40.0)
    scorer = DpmmScorer(chosen).fit([maps])
    shares = scorer.parameters.mean_responsibilities
    assert float(shares.sum()) == pytest.approx(1, rel=1e-9)
    assert float(scorer.parameters.mixture.log_weights[-1].exp()) > 3 * float(shares[-1])
    explained = scorer._statistics()
    torch.testing.assert_close(explained.responsibilities, scorer.n_patches * shares[shares > 0])
    if update == "exact":
        torch.testing.assert_close(
            explained.first.sum(0), unit_patches(maps).double().sum(0), rtol=1e-5, atol=1e-5
        )
    told = [float(name.split("(")[1].split(" %")[0]) for name in scorer.component_names]
    assert told == pytest.approx((100 * shares).tolist(), rel=0.06)


def test_no_more_components_than_allowed(make_clustered, monkeypatch):
    small = settings_for("diag", n_components=6)
    scorers = [DpmmScorer(small).fit([make_clustered(6, (8, 8), 10, 6, 0.2, seed=seed)]) for seed in range(4)]
    together = DpmmScorer.merged(scorers)
    assert together.settings.n_components == 24
    assert 6 < together.parameters.mixture.n_components <= 24
    monkeypatch.setattr("napari_dinoad.scoring.dpmm.pooling.MOST_COMPONENTS", 10)
    fewer = DpmmScorer.merged(scorers)
    assert fewer.parameters.mixture.n_components == fewer.settings.n_components == 10
    again = DpmmScorer.merged([fewer, *scorers])
    assert again.settings.n_components == 10
    wider = DpmmScorer(replace(small, n_components=20))
    wider.fit([make_clustered(6, (8, 8), 10, 6, 0.2, seed=9)])
    assert 10 < DpmmScorer.merged([*scorers, wider]).parameters.mixture.n_components <= 20


def test_many_models_are_reduced_in_turns(fitted, monkeypatch):
    made, maps = fitted
    first, second, whole = made["diag"]
    monkeypatch.setattr("napari_dinoad.scoring.dpmm.pooling.POOLED_AT_ONCE", 20)
    merged = DpmmScorer.merged([first, second, whole])
    assert merged.parameters.mixture.n_components == whole.parameters.mixture.n_components
    torch.testing.assert_close(merged.score(maps), whole.score(maps), rtol=0, atol=0.01)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"covariance": "full"}, "covariance"),
        ({"score": "mahalanobis"}, "score"),
        ({"min_weight": 0.01}, "min weight"),
        ({"regularisation": 0.1}, "regularisation"),
    ],
)
def test_mixtures_of_another_kind_are_not_merged(change, message, fitted, make_clustered):
    other = DpmmScorer(replace(settings_for("diag"), **change))
    other.fit([make_clustered(2, (4, 4), 10, 3, 0.3, seed=2)])
    with pytest.raises(ScorerError, match=f"DPMM {message}: expected the same"):
        DpmmScorer.merged([fitted[0]["diag"][0], other])


def test_mixtures_of_other_channels_are_not_merged(fitted, make_clustered):
    other = DpmmScorer(settings_for("diag")).fit([make_clustered(2, (4, 4), 12, 3, 0.3, seed=2)])
    with pytest.raises(ScorerError, match="expected the same in all, got 10, 12"):
        DpmmScorer.merged([fitted[0]["diag"][0], other])


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_an_update_scores_as_a_fit_on_all(covariance, fitted):
    made, maps = fitted
    first, _, whole = made[covariance]
    before = first.score(maps)
    updated = first.updated(list(maps[8:].split(4)))
    assert updated.n_patches == whole.n_patches
    assert_same_but_for_strays(updated, whole, maps)
    assert torch.equal(first.score(maps), before), "the earlier scorer stays as it was"


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_the_bound_of_an_update_never_falls(covariance, make_smooth):
    maps = make_smooth(8, (6, 6), 10, seed=2)
    chosen = settings_for(covariance, epochs=25, tolerance=0, merge=False, start_iterations=0)
    earlier = DpmmScorer(chosen).fit([maps[:4]])
    curve = np.array(earlier.updated([maps[4:]]).state().history["penalised_log_likelihood"])
    assert len(curve) >= 4
    assert (np.diff(curve) >= -1e-9 * np.abs(curve[:-1])).all()


def test_the_loss_of_an_update_is_that_of_the_new_patches(make_smooth):
    maps = make_smooth(8, (6, 6), 10, seed=2)
    chosen = settings_for("diag", epochs=3, tolerance=0, merge=False)
    states = []
    DpmmScorer(chosen).fit([maps[:4]]).updated([maps[4:]], checkpoint=states.append)
    patches = unit_patches(maps[4:])
    for before, after in pairwise(states):
        mixture = DpmmScorer.from_state(before).parameters.mixture
        wanted = -float(ComponentDensities(mixture).log_density(patches).mean())
        assert after.history["train_loss"][-1] == pytest.approx(wanted, rel=1e-9)


def test_what_the_earlier_mixture_does_not_explain_gets_components(make_clustered):
    known = make_clustered(6, (8, 8), 16, 4, 0.3, seed=10)
    new = make_clustered(6, (8, 8), 16, 4, 0.3, seed=77)
    earlier = DpmmScorer(settings_for("diag")).fit([known])
    updated = earlier.updated([new])
    assert updated.parameters.mixture.n_components == 8
    assert float(earlier.score(new).mean()) > 5 * float(updated.score(new).mean())
    torch.testing.assert_close(updated.score(known), earlier.score(known), rtol=0, atol=0.01)


def test_an_update_has_room_for_kinds_of_patch_that_filled_the_earlier_mixture(make_clustered, monkeypatch):
    known, new = (make_clustered(6, (8, 8), 16, 6, 0.3, seed=seed) for seed in (10, 77))
    earlier = DpmmScorer(settings_for("diag", n_components=6)).fit([known])
    updated = earlier.updated([new])
    assert updated.settings.n_components == 12
    assert 8 < updated.parameters.mixture.n_components <= 12
    assert float(updated.score(new).mean()) < 0.3 * float(earlier.score(new).mean())
    torch.testing.assert_close(updated.score(known), earlier.score(known), rtol=0, atol=0.01)
    monkeypatch.setattr("napari_dinoad.scoring.dpmm.pooling.MOST_COMPONENTS", 8)
    assert earlier.updated([new]).parameters.mixture.n_components == 8


def test_an_interrupted_update_ends_the_same(make_smooth):
    maps = make_smooth(8, (6, 6), 10, seed=3)
    chosen = settings_for("diag", epochs=6, tolerance=0, merge=False)
    earlier = DpmmScorer(chosen).fit([maps[:4]])
    states = []
    whole = earlier.updated([maps[4:]], checkpoint=states.append)
    resumed = DpmmScorer.from_state(states[1]).fit([maps[4:]])
    wanted, got = whole.state(), resumed.state()
    assert got.settings == wanted.settings
    for name, tensor in wanted.tensors.items():
        assert torch.equal(got.tensors[name], tensor)
