from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st
from scipy.special import digamma

from napari_dinoad.scoring.dpmm.stick_breaking import (
    MAX_STICK,
    concentration,
    log_prior,
    log_weights,
    stick_weights,
    update_sticks,
)

sizes = st.lists(st.floats(0.0, 1e4), min_size=1, max_size=40).filter(lambda s: sum(s) > 0)
alphas = st.floats(1.0, 100.0)


def shares(values):
    s = torch.tensor(values, dtype=torch.float64)
    return s / s.sum()


@given(values=sizes, alpha=alphas, n=st.floats(10.0, 1e7))
def test_sticks_are_shares_and_weights_sum_to_one(values, alpha, n):
    v = stick_weights(shares(values), alpha, n)
    assert float(v[-1]) == 1
    assert bool(((v[:-1] >= 0) & (v[:-1] <= MAX_STICK)).all())
    assert float(log_weights(v).exp().sum()) == pytest.approx(1, abs=1e-9)


@given(values=sizes, alpha=alphas)
def test_without_a_prior_the_weights_are_the_mean_responsibilities(values, alpha):
    s = shares(values)
    np.testing.assert_allclose(log_weights(stick_weights(s, 1.0, 1000.0)).exp(), s, atol=1e-9)


@given(values=sizes.filter(lambda s: len(s) > 1), alpha=alphas, n=st.floats(10.0, 1e6))
def test_concentration_follows_its_formula_and_stays_above_one(values, alpha, n):
    s = shares(values).numpy()
    total = 0.0
    for k in range(len(s) - 1):
        rest = s[k + 1 :].sum()
        total += digamma(n * (s[k] + rest) + alpha + 1) - digamma(n * rest + alpha)
    wanted = max(1.0, (len(s) - 1) / total)
    assert concentration(torch.from_numpy(s), alpha, n) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("alpha", [1.0, 2.0])
@pytest.mark.parametrize("values", [[1, 0, 0], [3, 2, 0], [5, 3, 1]])
def test_the_prior_of_sticks_is_a_number_though_nothing_is_left_to_break(values, alpha):
    """A stick of 1 before the last would make it −∞, or no number at all."""
    v = stick_weights(shares(values), alpha, 10.0)
    wanted = np.log(alpha) * 2 + (alpha - 1) * np.log1p(-v[:-1].numpy()).sum()
    assert math.isfinite(wanted)
    assert log_prior(v, alpha) == pytest.approx(wanted)
    assert not bool(log_weights(v).isnan().any())


def test_a_single_component_takes_all_and_keeps_its_concentration():
    update = update_sticks(torch.ones(1, dtype=torch.float64), 10.0, 3.0)
    assert update.sticks.tolist() == [1.0]
    assert update.alpha == 3.0
    assert log_prior(update.sticks, update.alpha) == 0


@given(values=sizes, earlier=sizes, alpha=alphas, n=st.floats(10.0, 1e6))
@example(values=[5e-324, 1.0], earlier=[0.0, 1.0], alpha=11.0, n=10.0)  # a stick too small for a float64
@example(values=[3, 7, 2, 2], earlier=[3.1, 7.1, 2, 2], alpha=2.0, n=10.0)  # sorted, with the α before
@example(values=[0, 2, 4], earlier=[0.2, 2.1, 4.3], alpha=20.0, n=100.0)  # as it was, with a new α
@example(values=[4, 9, 5], earlier=[4.2, 9.3, 5.2], alpha=2.0, n=10.0)  # as it was, with the α before
def test_the_guarded_update_never_lowers_the_expected_penalised_likelihood(values, earlier, alpha, n):
    k = min(len(values), len(earlier))
    assume(sum(values[:k]) > 0)
    s, before = shares(values[:k]), shares([value + 1e-3 for value in earlier[:k]])
    current = stick_weights(before, alpha, n)

    def objective(share, sticks, concentration_):
        log_pi = log_weights(sticks)
        expected = sum(float(a * b) for a, b in zip(share, log_pi, strict=True) if a > 0)
        return n * expected + log_prior(sticks, concentration_)

    update = update_sticks(s, n, alpha, current)
    floor = objective(s, current, alpha)
    reached = objective(s[update.order], update.sticks, update.alpha)
    assert reached >= floor - 1e-9 * (1 + abs(floor))
    assert math.isfinite(update.alpha)

    # Neither sorting nor α is left out where it would have done no harm.
    by_size = torch.argsort(s, descending=True, stable=True)
    sorted_sticks = stick_weights(s[by_size], alpha, n)
    if objective(s[by_size], sorted_sticks, alpha) >= floor + 1e-9 * (1 + abs(floor)):
        assert torch.equal(s[update.order], s[by_size])
    wanted = concentration(s[update.order], alpha, n)
    if objective(s[update.order], update.sticks, wanted) >= floor + 1e-9 * (1 + abs(floor)):
        assert update.alpha == wanted


def test_components_are_sorted_by_size():
    update = update_sticks(shares([1, 5, 3]), 100.0, 2.0)
    assert update.order.tolist() == [1, 2, 0]
    weights = log_weights(update.sticks).exp()
    assert bool((weights[:-1] >= weights[1:]).all())


def test_a_component_has_no_weight_exactly_where_it_holds_nothing():
    s = torch.tensor([0.7, 1e-300, 0.3, 0.0, 0.0], dtype=torch.float64)
    sticks = stick_weights(s, 2.0, 100.0)
    assert (sticks > 0).tolist() == [True, True, True, False, True]
    assert sticks[-1] == 1
    assert torch.isneginf(log_weights(sticks)).tolist() == [False, False, False, True, False]


def test_without_sticks_to_keep_to_the_concentration_is_renewed_too():
    s = torch.tensor([0.1, 0.6, 0.3], dtype=torch.float64)
    update = update_sticks(s, 100.0, 2.0)
    ordered = s[[1, 2, 0]]
    assert update.order.tolist() == [1, 2, 0]
    assert torch.equal(update.sticks, stick_weights(ordered, 2.0, 100.0))
    assert update.alpha == concentration(ordered, 2.0, 100.0) != 2.0
