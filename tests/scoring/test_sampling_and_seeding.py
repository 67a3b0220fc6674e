from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from torch.utils._python_dispatch import TorchDispatchMode

from napari_dinoad.scoring.dpmm import merging
from napari_dinoad.scoring.dpmm.merging import alike_groups, merge_alike
from napari_dinoad.scoring.dpmm.statistics import hard_statistics
from napari_dinoad.scoring.patch_sample import sample_patches
from napari_dinoad.scoring.patches import in_chunks, seeded_generator, unit_length
from napari_dinoad.scoring.seeding import (
    greedy_k_centre,
    k_means,
    k_means_plus_plus,
    nearest_centres,
    principal_splits,
)


@given(sizes=st.lists(st.integers(0, 6), min_size=1, max_size=8).filter(any), wanted=st.integers(1, 60))
def test_a_sample_is_without_replacement_and_in_bounds(sizes, wanted):
    total = 4 * sum(sizes)
    every = torch.arange(float(total)).reshape(-1, 2, 2, 1)
    batches = list(every.split(sizes))
    sample = sample_patches(batches, wanted, seeded_generator(0))
    values = sample.patches.flatten().tolist()
    assert len(values) == len(set(values)) == min(wanted, total)
    assert sample.n_patches == total
    assert sample.largest_batch == 4 * max(sizes)


@pytest.mark.parametrize("n_channels", [1, 16, 37])
def test_a_sample_is_whole_patches_in_the_order_of_the_batches(n_channels):
    every = torch.arange(60.0)[:, None] + torch.arange(n_channels) / 100
    sample = sample_patches(list(every.reshape(15, 2, 2, -1).split(4)), 25, seeded_generator(1)).patches
    places = sample[:, 0].long()
    assert len(places) == 25 and bool((places.diff() > 0).all())
    assert torch.equal(sample, every[places])


def test_a_sample_is_uniform_over_all_batches():
    every = torch.arange(400.0).reshape(-1, 2, 2, 1)
    hits = torch.zeros(400)
    for seed in range(300):
        hits[sample_patches(list(every.split(7)), 40, seeded_generator(seed)).patches.flatten().long()] += 1
    # 300 draws of a tenth: mean 30, standard deviation 5.2.
    assert float(hits.mean()) == 30
    assert 4.5 < float(hits.std()) < 6
    assert abs(float(hits[:200].mean()) - 30) < 1.2


def test_generators_of_different_seeds_differ_and_of_the_same_agree():
    draws = {
        (a, b): float(torch.rand(1, generator=seeded_generator(a, b))) for a in range(20) for b in range(20)
    }
    assert len(set(draws.values())) == len(draws)
    assert float(torch.rand(1, generator=seeded_generator(3, 4))) == draws[3, 4]


def test_chunks_cover_all_rows_in_order():
    rows = torch.arange(10)
    assert [c.tolist() for c in in_chunks(rows, 10, 30)] == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]
    assert [len(c) for c in in_chunks(rows, 1e12)] == [1] * 10
    assert [len(c) for c in in_chunks(rows[:0], 1)] == [0]


def test_unit_length_of_extreme_and_zero_patches():
    patches = torch.tensor([[3.0, 4.0], [3e-30, 4e-30], [0.0, 0.0], [3e30, -4e30]])
    wanted = torch.tensor([[0.6, 0.8], [0.6, 0.8], [0.0, 0.0], [0.6, -0.8]])
    torch.testing.assert_close(unit_length(patches), wanted)
    torch.testing.assert_close(unit_length(patches[:1]), wanted[:1])


def test_the_nearest_centre_is_the_first_of_several_as_near():
    patches = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    centres = torch.tensor([[3.0, 3.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    labels, distances = nearest_centres(patches, centres)
    assert labels.tolist() == [1, 2, 2]
    torch.testing.assert_close(distances, torch.tensor([0.0, 0.0, 0.4]))


def test_nearest_centres_are_the_same_however_many_patches_are_compared_at_a_time(monkeypatch):
    generator = torch.Generator().manual_seed(3)
    patches, centres = torch.randn(50, 6, generator=generator), torch.randn(9, 6, generator=generator)
    apart = (patches[:, None] - centres).square().sum(-1)
    for at_once in (1, 7, 50):
        monkeypatch.setattr("napari_dinoad.scoring.patches.CACHE_BYTES", 8 * len(centres) * at_once)
        labels, distances = nearest_centres(patches, centres)
        assert torch.equal(labels, apart.argmin(1))
        torch.testing.assert_close(distances, apart.amin(1), rtol=1e-5, atol=1e-5)


def test_k_means_is_as_good_as_scikit_learns(make_clustered):
    patches = make_clustered(10, (10, 10), 6, 12, 0.5, seed=1).reshape(-1, 6)
    centres = patches[k_means_plus_plus(patches, 12, seeded_generator(0))]
    ours = float(nearest_centres(patches, k_means(patches, centres, 50))[1].sum())
    theirs = KMeans(12, n_init=1, random_state=0).fit(patches.numpy()).inertia_
    assert ours < 1.1 * theirs


def test_principal_splits_are_as_good_a_start_as_any_and_need_no_chance(make_clustered):
    patches = make_clustered(10, (10, 10), 6, 12, 0.5, seed=1).reshape(-1, 6)
    centres = principal_splits(patches, 12)
    assert torch.equal(centres, principal_splits(patches, 12))
    ours = float(nearest_centres(patches, k_means(patches, centres, 50))[1].sum())
    theirs = KMeans(12, n_init=1, random_state=0).fit(patches.numpy()).inertia_
    assert ours < 1.1 * theirs
    distinct = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.6, 0.8]])
    assert len(principal_splits(distinct, 5)) == 3
    assert len(principal_splits(torch.full((7, 3), 0.3), 5)) == 1
    assert len(principal_splits(torch.zeros(7, 3), 5)) == 1


def test_centres_are_distinct_and_no_more_than_distinct_rows():
    patches = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.6, 0.8]])
    for choose in (k_means_plus_plus, greedy_k_centre):
        rows = choose(patches, 5, seeded_generator(1))
        assert len(rows) == 3
        assert len(patches[rows].unique(dim=0)) == 3


def test_greedy_k_centre_is_within_twice_the_best():
    generator = torch.Generator().manual_seed(3)
    patches = torch.rand(200, 2, generator=generator)
    rows = greedy_k_centre(patches, 10, seeded_generator(3))
    radius = nearest_centres(patches, patches[rows])[1].max().sqrt()
    # k + 1 patches that far apart: no ten centres have half that radius.
    farthest = torch.cat([rows, nearest_centres(patches, patches[rows])[1].argmax()[None]])
    apart = torch.cdist(patches[farthest], patches[farthest]).fill_diagonal_(9)
    assert float(apart.min()) >= float(radius) - 1e-6


def test_merging_joins_a_gaussian_cut_into_pieces_and_nothing_else(make_clustered):
    patches = make_clustered(20, (10, 10), 8, 4, 0.3, seed=4).reshape(-1, 8)
    centres = k_means(patches, patches[k_means_plus_plus(patches, 40, seeded_generator(0))], 10)
    labels, _ = nearest_centres(patches, centres)
    for covariance in ("diag", "spherical", "full"):
        cut = hard_statistics(patches, labels, 40, covariance)
        merged = merge_alike(cut, covariance, 1e-6)
        assert len(merged.responsibilities) == 4
        for name in ("responsibilities", "first", "second"):
            before, after = getattr(cut, name).sum(0), getattr(merged, name).sum(0)
            torch.testing.assert_close(after, before, rtol=1e-10, atol=1e-8)
        again = merge_alike(merged, covariance, 1e-6)
        assert len(again.responsibilities) == 4


def test_what_differs_by_chance_in_a_sample_is_merged_as_in_the_whole(make_clustered):
    """Small groups in many channels differ by chance; as if all patches did, that would count for a difference."""
    patches = make_clustered(100, (8, 8), 64, 1, 1.0, seed=4).reshape(-1, 64)
    labels = torch.randint(8, (len(patches),), generator=seeded_generator(0))
    n_sampled = 160
    few = hard_statistics(patches[:n_sampled], labels[:n_sampled], 8, "diag")
    assert len(merge_alike(hard_statistics(patches, labels, 8, "diag"), "diag", 1e-6).responsibilities) == 1
    assert len(merge_alike(few, "diag", 1e-6, n_patches=len(patches)).responsibilities) == 1
    as_if_all = few.scaled(len(patches) / n_sampled)
    assert len(merge_alike(as_if_all, "diag", 1e-6).responsibilities) == 8


def test_merging_drops_empty_components():
    patches = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    statistics = hard_statistics(patches, torch.full((50,), 2), 5, "diag")
    assert len(merge_alike(statistics, "diag", 1e-6).responsibilities) == 1
    np.testing.assert_allclose(merge_alike(statistics, "diag", 1e-6).first[0], patches.double().sum(0))


class _CountedLogarithms(TorchDispatchMode):
    """Counts the numbers that PyTorch takes a logarithm of."""

    n = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        if operation.overloadpacket in (torch.ops.aten.log, torch.ops.aten.log_):
            self.n += args[0].numel()
        return operation(*args, **(kwargs or {}))


def classification_likelihood(s, first, second, regularisation):
    _, spread = merging._means_and_spread(s, first, second)
    return merging._likelihood(s, spread, first.shape[1], regularisation)


@pytest.mark.parametrize("n_channels", [1, 15, 16, 17, 51, 384])
def test_a_classification_likelihood_is_that_of_its_formula_and_takes_few_logarithms(n_channels):
    """Variances from the least regularisation up to those of unit patches; a logarithm takes long."""
    generator = torch.Generator().manual_seed(n_channels)
    k, regularisation = 7, 1e-12
    s = 1 + 100 * torch.rand(k, generator=generator, dtype=torch.float64)
    means = torch.randn(k, n_channels, generator=generator, dtype=torch.float64)
    spread = 10 ** (-14 + 14 * torch.rand(k, n_channels, generator=generator, dtype=torch.float64))
    spread[0] = 0
    means[:2] = 0  # their spread is not rounded away
    first, second = s[:, None] * means, s[:, None] * (spread + means.square())

    with _CountedLogarithms() as counted:
        got = classification_likelihood(s, first, second, regularisation)

    spread = (second / s[:, None] - (first / s[:, None]).square()).clamp_min(0)
    variances = spread + regularisation
    expected = s * s.log() - 0.5 * s * (variances.log() + spread / variances).sum(-1)
    torch.testing.assert_close(got, expected, rtol=1e-13, atol=1e-9)
    assert counted.n <= k * (n_channels // 16 + n_channels % 16)


def greedy_path(statistics, penalty):
    """The components after each merge, with every pair evaluated anew each time, and the value of one."""
    s, first, second = statistics.responsibilities, statistics.first, statistics.second
    parts = [(s[i : i + 1], first[i : i + 1], second[i : i + 1], {i}) for i in range(len(s))]

    def value(part):
        return float(classification_likelihood(*part[:3], 1e-6)) - penalty

    def joined(one, other):
        return (*(a + b for a, b in zip(one[:3], other[:3], strict=True)), one[3] | other[3])

    path = [parts]
    while len(parts) > 1:
        pairs = [(i, j) for i in range(len(parts)) for j in range(i + 1, len(parts))]
        gain = {p: value(joined(*(parts[i] for i in p))) - sum(value(parts[i]) for i in p) for p in pairs}
        best = max(gain, key=gain.get)
        parts = [part for i, part in enumerate(parts) if i not in best] + [joined(*(parts[i] for i in best))]
        path.append(parts)
    return path, value


def groups_of(statistics, at_most):
    group = alike_groups(statistics, "diag", 1e-6, at_most)
    return {frozenset(torch.nonzero(group == g).flatten().tolist()) for g in group.tolist()}


@given(seed=st.integers(0, 50), k=st.integers(2, 14), at_most=st.integers(1, 14))
@settings(max_examples=40)
def test_groups_are_the_best_mixture_on_the_greedy_path(seed, k, at_most):
    """Against the path taken one merge at a time, with every pair evaluated anew each time."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(3, 4, generator=generator)
    patches = (centres.repeat_interleave(60, 0) + 0.3 * torch.randn(180, 4, generator=generator)).double()
    labels = nearest_centres(patches, patches[:: 180 // k][:k])[0]
    labels = torch.unique(labels, return_inverse=True)[1]
    statistics = hard_statistics(patches, labels, int(labels.max()) + 1, "diag")
    path, value = greedy_path(statistics, 0.5 * (1 + 2 * 4) * np.log(180))
    allowed = [parts for parts in path if len(parts) <= at_most] or path
    expected = max(allowed, key=lambda parts: sum(map(value, parts)))
    assert groups_of(statistics, at_most) == {frozenset(part[3]) for part in expected}


@pytest.mark.parametrize("seed", range(3))
def test_the_whole_greedy_path_is_taken_as_if_each_pair_were_weighed_anew(seed):
    """Of many pieces of any size without order, what was the best pair of most is gone after each merge."""
    generator = torch.Generator().manual_seed(seed)
    patches = torch.randn(400, 3, generator=generator).double() * torch.tensor([1.0, 0.5, 0.1])
    labels = (torch.rand(400, generator=generator).square() * 22).long()
    labels = torch.unique(labels, return_inverse=True)[1]
    patches += torch.randn(22, 3, generator=generator).double()[labels]
    statistics = hard_statistics(patches, labels, int(labels.max()) + 1, "diag")
    path, value = greedy_path(statistics, 0.5 * (1 + 2 * 3) * np.log(400))
    for at_most in range(1, len(path) + 1):
        allowed = [parts for parts in path if len(parts) <= at_most]
        expected = max(allowed, key=lambda parts: sum(map(value, parts)))
        assert groups_of(statistics, at_most) == {frozenset(part[3]) for part in expected}
