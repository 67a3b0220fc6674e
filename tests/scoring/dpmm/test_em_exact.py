"""The EM step against plain loops over the formulas, and its float32 screening against float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import em_oracle
from napari_dinoad.scoring.dpmm import fit as dpmm_fit
from napari_dinoad.scoring.dpmm.fit import DpmmParameters, FitPoint
from napari_dinoad.scoring.dpmm.mixture import NEGLIGIBLE_NATS, ComponentDensities, Mixture
from napari_dinoad.scoring.dpmm.pooling import MOST_COMPONENTS
from napari_dinoad.scoring.dpmm.statistics import expectation
from napari_dinoad.scoring.dpmm.stick_breaking import log_weights
from napari_dinoad.scoring.patches import unit_patches
from napari_dinoad.settings import DpmmSettings

KINDS = ("diag", "spherical", "full")


def random_mixture(k, d, kind, seed, log10_variance=(-3.0, -1.0)):
    """A mixture around the unit sphere, its variances spread over orders of magnitude."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape):
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    means = torch.nn.functional.normalize(uniform(k, d) - 0.5, dim=1) * (0.5 + 0.5 * uniform(k, 1))
    low, high = log10_variance
    variances = 10 ** (low + (high - low) * uniform(k, d))
    if kind == "spherical":
        covariances = variances[:, 0]
    elif kind == "diag":
        covariances = variances
    else:
        factors = (uniform(k, d, d) - 0.5) * variances.sqrt()[:, None, :]
        covariances = factors @ factors.mT / d + torch.diag_embed(variances)
    sticks = 0.05 + 0.5 * uniform(k)
    sticks[-1] = 1
    return Mixture(log_weights(sticks), means, covariances, kind), sticks


def patches_near(mixture, n, seed, dtype=torch.float64):
    """Unit patches, near the means."""
    generator = torch.Generator().manual_seed(seed)
    own = torch.randint(0, mixture.n_components, (n,), generator=generator)
    noise = torch.randn(n, mixture.means.shape[1], generator=generator, dtype=torch.float64)
    x = mixture.means[own] + 0.1 * noise / mixture.means.shape[1] ** 0.5
    return torch.nn.functional.normalize(x, dim=1).to(dtype)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_one_exact_epoch_is_that_of_the_plain_formulas(kind, dtype):
    k, d = 4, 6
    mixture, sticks = random_mixture(k, d, kind, seed=1)
    chosen = DpmmSettings(n_components=k, covariance=kind, regularisation=1e-3)
    maps = patches_near(mixture, 48, seed=2, dtype=dtype).reshape(3, 4, 4, d)
    parameters = DpmmParameters(mixture, sticks, 2.0, mixture.log_weights.exp())
    point = FitPoint.first(parameters, 48, 32)

    # Two batches of unequal size.
    after = dpmm_fit.next_epoch(point, [maps[:2], maps[2:]], None, chosen).parameters

    x = unit_patches(maps).double().numpy()
    v, means, covariances, alpha, log_likelihood = em_oracle.epoch(
        x, mixture.log_weights.tolist(), mixture.means.numpy(), mixture.covariances.numpy(), 2.0, kind, 1e-3
    )
    np.testing.assert_allclose(after.sticks.numpy(), v, rtol=0, atol=1e-8)
    np.testing.assert_allclose(after.mixture.means.numpy(), means, rtol=0, atol=1e-8)
    np.testing.assert_allclose(after.mixture.covariances.numpy(), covariances, rtol=0, atol=1e-8)
    np.testing.assert_allclose(
        after.mixture.log_weights.numpy(), em_oracle.stick_weights_to_log_pi(v), rtol=0, atol=1e-8
    )
    assert after.alpha == pytest.approx(alpha, abs=1e-8)
    statistics = expectation(ComponentDensities(mixture), unit_patches(maps))
    assert statistics.log_likelihood == pytest.approx(log_likelihood, rel=1e-10)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15)
@given(seed=st.integers(0, 10_000), width=st.floats(0.0, 4.0))
def test_screening_loses_no_component_that_matters(kind, seed, width):
    """Whatever float32 rounds away: every pair within the cutoff is there, with its float64 value."""
    k, d, n = 30, 24, 64
    mixture, _ = random_mixture(k, d, kind, seed, log10_variance=(-6.0, -6.0 + width))
    densities = ComponentDensities(mixture)
    # Every patch also for the pairs: far more candidates than usual would fall back to the dense form.
    densities._forms.pair_cost = 0.0
    x = patches_near(mixture, n, seed + 1, dtype=torch.float32)
    dense = densities.log_joint(x).numpy()
    sparse = densities.sparse_log_joint(x)
    found = np.full((n, k), -np.inf)
    found[sparse.rows, sparse.components] = sparse.values
    needed = dense > dense.max(1, keepdims=True) - NEGLIGIBLE_NATS + 0.1
    assert np.isfinite(found[needed]).all()
    kept = np.isfinite(found)
    np.testing.assert_allclose(found[kept], dense[kept], rtol=1e-8, atol=1e-5)
    np.testing.assert_allclose(
        sparse.log_sum_exp(), torch.from_numpy(dense).logsumexp(-1).numpy(), rtol=1e-8, atol=1e-5
    )


def test_what_is_left_out_is_below_the_rounding_of_float64():
    assert MOST_COMPONENTS * np.exp(-NEGLIGIBLE_NATS) < np.finfo(np.float64).eps


@pytest.mark.parametrize("kind", KINDS)
def test_sparse_and_dense_statistics_agree(kind):
    mixture, _ = random_mixture(40, 32, kind, seed=5, log10_variance=(-3.5, -2.5))
    x = patches_near(mixture, 500, seed=6, dtype=torch.float32)
    screened, dense = ComponentDensities(mixture), ComponentDensities(mixture)
    screened._forms.pair_cost = 0.0
    dense._crowded = True
    a, b = expectation(screened, x), expectation(dense, x)
    assert not screened._crowded
    for name in ("responsibilities", "first", "second"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=1e-9, atol=1e-9)
    assert a.log_likelihood == pytest.approx(b.log_likelihood, rel=1e-11)
    assert float(a.responsibilities.sum()) == pytest.approx(500, rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_how_many_patches_fit_into_the_cache_changes_nothing(kind, monkeypatch):
    mixture, _ = random_mixture(40, 32, kind, seed=5, log10_variance=(-3.5, -2.5))
    x = patches_near(mixture, 61, seed=6, dtype=torch.float32)

    def found():
        densities = ComponentDensities(mixture)
        densities._forms.pair_cost = 0.0
        s = expectation(densities, x)
        sums = s.responsibilities, s.first, s.second, torch.tensor(s.log_likelihood)
        return *sums, densities.log_density(x), densities.nearest_mahalanobis(x)

    whole = found()
    monkeypatch.setattr("napari_dinoad.scoring.patches.CACHE_BYTES", 8 * (40 + 32) * 7)
    monkeypatch.setattr("napari_dinoad.scoring.dpmm.quadratic_forms.PAIR_BYTES", 8 * 32 * 3)
    for some, wanted in zip(found(), whole, strict=True):
        torch.testing.assert_close(some, wanted, rtol=1e-9, atol=1e-12)


def test_statistics_of_parts_add_up():
    mixture, _ = random_mixture(10, 8, "diag", seed=7)
    x = patches_near(mixture, 300, seed=8)
    densities = ComponentDensities(mixture)
    whole = expectation(densities, x)
    parts = expectation(densities, x[:7]) + expectation(densities, x[7:200]) + expectation(densities, x[200:])
    for name in ("responsibilities", "first", "second"):
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name), rtol=1e-12, atol=1e-12)
    assert parts.n_patches == whole.n_patches == 300


def test_a_component_of_no_weight_takes_no_part():
    mixture, _ = random_mixture(5, 8, "diag", seed=9)
    weights = mixture.log_weights.clone()
    weights[2] = -torch.inf
    densities = ComponentDensities(Mixture(weights, mixture.means, mixture.covariances, "diag"))
    statistics = expectation(densities, patches_near(mixture, 50, seed=10))
    assert densities.alive.tolist() == [0, 1, 3, 4]
    assert statistics.responsibilities[2] == 0
    assert torch.isfinite(statistics.second).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_crowded", [False, True])
def test_nearest_mahalanobis_is_the_least_of_all(kind, is_crowded):
    mixture, _ = random_mixture(30, 16, kind, seed=11)
    x = patches_near(mixture, 200, seed=12, dtype=torch.float32)
    full = {
        "diag": lambda c: torch.diag_embed(c),
        "spherical": lambda c: c[:, None, None] * torch.eye(16, dtype=c.dtype),
        "full": lambda c: c,
    }[kind](mixture.covariances)
    difference = (x.double()[:, None] - mixture.means)[..., None]
    wanted = (difference.mT @ torch.linalg.solve(full, difference)).squeeze((-1, -2)).amin(-1).sqrt()
    densities = ComponentDensities(mixture)
    densities._crowded = is_crowded
    torch.testing.assert_close(densities.nearest_mahalanobis(x), wanted, rtol=1e-9, atol=0)
