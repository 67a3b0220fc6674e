"""Which components are merged, beside all pairs looked through by the formula, and how much work that makes."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch

from napari_dinoad.scoring.dpmm.merging import alike_groups, merge_alike
from napari_dinoad.scoring.dpmm.statistics import SufficientStatistics, hard_statistics

REGULARISATION = 0.05
N_CHANNELS = 53  # three groups of factors and a rest


def some_statistics(covariance, seed):
    """Return statistics of components of uneven sizes and widths, of which some are hardly told apart."""
    generator = torch.Generator().manual_seed(seed)
    counts = torch.randint(6, 60, (14,), generator=generator)
    apart = torch.tensor([0.0, 0.3, 0.6])[torch.randint(3, (14, 1), generator=generator)]
    means = apart * torch.randn(14, N_CHANNELS, generator=generator)
    widths = 0.3 + 0.4 * torch.rand(14, N_CHANNELS, generator=generator)
    labels = torch.arange(14).repeat_interleave(counts)
    noise = torch.randn(len(labels), N_CHANNELS, generator=generator)
    return hard_statistics(means[labels] + widths[labels] * noise, labels, 14, covariance)


def likelihood(s, first, second):
    """Return s log s − ½ s Σ_d (log σ²_d + V_d / σ²_d)."""
    squared = (first / s) ** 2
    spread = np.maximum(second / s - (squared if second.size > 1 else squared.mean()), 0)
    terms = np.log(spread + REGULARISATION) + spread / (spread + REGULARISATION)
    return s * np.log(s) - 0.5 * s * terms.mean() * len(first)


def best_groups(statistics, cost, at_most):
    """Return the best mixture on the greedy path: the components of each group."""
    tensors = statistics.responsibilities, statistics.first, statistics.second.reshape(14, -1)
    components = list(zip(*(tensor.numpy() for tensor in tensors), strict=True))
    penalty = cost * (1 + N_CHANNELS + components[0][2].size)
    groups = {frozenset([k]): component for k, component in enumerate(components)}
    total, best = 0.0, (0.0, set(groups)) if len(groups) <= at_most else (-np.inf, set())
    while len(groups) > 1:
        merged = {
            (a, b): tuple(x + y for x, y in zip(groups[a], groups[b], strict=True))
            for a, b in combinations(groups, 2)
        }
        gains = {
            (a, b): likelihood(*both) - likelihood(*groups[a]) - likelihood(*groups[b]) + penalty
            for (a, b), both in merged.items()
        }
        a, b = max(gains, key=gains.get)
        total += gains[a, b]
        groups = {g: own for g, own in groups.items() if g not in (a, b)} | {a | b: merged[a, b]}
        if len(groups) <= at_most and total > best[0]:
            best = total, set(groups)
    return best[1]


def groups_of(numbers):
    return {frozenset(np.flatnonzero(numbers == number).tolist()) for number in numbers.unique().tolist()}


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("covariance", ["diag", "spherical"])
@pytest.mark.parametrize(
    ("options", "cost"),
    [
        ({}, lambda m: 0.5 * np.log(m)),
        ({"n_patches": 900}, lambda m: 0.5 * (1 + m / 900 * (np.log(900) - 1))),
        ({"criterion": "akaike"}, lambda m: 1.0),
        ({"criterion": "akaike", "at_most": 3}, lambda m: 1.0),
    ],
    ids=["all", "sample", "akaike", "few"],
)
def test_the_best_mixture_on_the_path_of_the_best_pairs_is_taken(covariance, seed, options, cost):
    statistics = some_statistics(covariance, seed)
    per_parameter = cost(float(statistics.responsibilities.sum()))
    expected = best_groups(statistics, per_parameter, options.get("at_most", 14))
    assert groups_of(alike_groups(statistics, covariance, REGULARISATION, **options)) == expected


def test_full_covariances_are_judged_by_their_diagonal():
    diagonal, full = (some_statistics(covariance, 0) for covariance in ("diag", "full"))
    expected = alike_groups(diagonal, "diag", REGULARISATION)
    assert torch.equal(alike_groups(full, "full", REGULARISATION), expected)


def test_empty_components_are_dropped_and_groups_are_summed():
    statistics = some_statistics("diag", 1)
    order = torch.tensor([3, 0, 7, 1])
    few = statistics.reordered(order)
    with_empty = few.changed(lambda tensor: torch.cat([tensor[:2], torch.zeros_like(tensor[:1]), tensor[2:]]))
    for n_patches in (None, 1e9):
        groups = alike_groups(few, "diag", REGULARISATION, n_patches=n_patches)
        merged = merge_alike(with_empty, "diag", REGULARISATION, n_patches)
        assert len(merged.responsibilities) == int(groups.max()) + 1
        for number in range(len(merged.responsibilities)):
            torch.testing.assert_close(merged.first[number], few.first[groups == number].sum(0))


def test_work_of_choosing_what_to_merge_grows_as_the_square_of_the_components(monkeypatch):
    """Five models of 750 components are merged; all pairs were looked through for each merge."""
    looked_through = []
    as_numpy = torch.Tensor.numpy

    def counted(tensor):
        looked_through.append(tensor.numel())
        return as_numpy(tensor)

    monkeypatch.setattr(torch.Tensor, "numpy", counted)
    work = []
    for k in (50, 100):
        del looked_through[:]
        generator = torch.Generator().manual_seed(0)
        s = torch.full((k,), 10.0, dtype=torch.float64)
        means = torch.randn(k, 4, generator=generator, dtype=torch.float64)
        statistics = SufficientStatistics(10.0 * k, s, s[:, None] * means, s[:, None] * (means**2 + 1))
        alike_groups(statistics, "diag", 1e-3)
        work.append(sum(looked_through))
    assert 0 < work[1] < 5 * work[0]  # all pairs for each merge: 8 times
