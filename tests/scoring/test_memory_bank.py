from __future__ import annotations

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from napari_dinoad.errors import ScorerError
from napari_dinoad.scoring import memory_bank
from napari_dinoad.scoring.memory_bank import MemoryBankScorer, nearest_similarities
from napari_dinoad.settings import MemoryBankSettings


@settings(max_examples=30)
@given(
    n_queries=st.integers(1, 30),
    n_bank=st.integers(1, 2500),
    n_neighbours=st.integers(1, 8),
    seed=st.integers(0, 1000),
)
@example(n_queries=9, n_bank=3, n_neighbours=8, seed=0)
@example(n_queries=9, n_bank=2003, n_neighbours=8, seed=0)
@example(n_queries=9, n_bank=2500, n_neighbours=1, seed=0)  # in several blocks, as a bank of default size
def test_blockwise_search_is_exact(n_queries, n_bank, n_neighbours, seed):
    generator = torch.Generator().manual_seed(seed)
    queries, bank = (
        torch.randn(n_queries, 6, generator=generator),
        torch.randn(n_bank, 6, generator=generator),
    )
    found = nearest_similarities(queries, bank, n_neighbours)
    wanted = (queries @ bank.T).topk(min(n_neighbours, n_bank), dim=1).values
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_a_bank_without_patches_is_refused():
    with pytest.raises(ScorerError, match="at least one stored patch"):
        nearest_similarities(torch.ones(1, 6), torch.ones(0, 6), 1)


def test_score_is_the_mean_cosine_distance_to_the_nearest(make_clustered):
    maps = make_clustered(3, (4, 4), 8, 5, 0.7, seed=1)
    scorer = MemoryBankScorer(MemoryBankSettings(n_patches=100, n_neighbours=3)).fit([maps[:2]])
    query, stored = (torch.nn.functional.normalize(m.reshape(-1, 8), dim=1) for m in (maps[2], maps[:2]))
    wanted = 1 - torch.cosine_similarity(query[:, None], stored[None], dim=-1).topk(3).values.mean(-1)
    torch.testing.assert_close(scorer.score(maps[2:]), wanted.reshape(1, 4, 4), rtol=0, atol=1e-6)


@pytest.mark.parametrize("reduction", ["coreset", "k-means", "random"])
def test_the_bank_keeps_to_its_budget(reduction, make_clustered):
    maps = make_clustered(20, (6, 6), 8, 5, 0.7, seed=2)
    chosen = MemoryBankSettings(n_patches=50, reduction=reduction)
    bank = MemoryBankScorer(chosen).fit(list(maps.split(3))).bank
    assert bank.shape == (50, 8)
    torch.testing.assert_close(torch.linalg.vector_norm(bank, dim=1), torch.ones(50))
    stored = torch.nn.functional.normalize(maps.reshape(-1, 8), dim=1)
    is_a_patch = (bank @ stored.T).amax(1) > 1 - 1e-6
    # Means of clusters are none, unless of a patch alone.
    assert bool(is_a_patch.all()) is (reduction != "k-means")


def test_a_coreset_covers_the_sample_better_than_chance(make_clustered):
    maps = make_clustered(20, (6, 6), 4, 30, 0.3, seed=3)

    def radius(reduction):
        chosen = MemoryBankSettings(n_patches=60, reduction=reduction, sample_factor=20)
        return float(MemoryBankScorer(chosen).fit([maps]).score(maps).max())

    assert radius("coreset") < 0.7 * radius("random")


def test_the_means_of_clusters_are_nearer_to_the_sample_than_as_many_of_its_patches(make_clustered):
    maps = make_clustered(20, (6, 6), 8, 40, 0.6, seed=3)

    def distance(reduction):
        chosen = MemoryBankSettings(n_patches=60, reduction=reduction, sample_factor=12)
        return float(MemoryBankScorer(chosen).fit([maps]).score(maps).mean())

    assert distance("k-means") < 0.8 * distance("random")


def test_stored_patches_score_zero(make_clustered):
    maps = make_clustered(2, (5, 5), 8, 5, 0.7, seed=4)
    scorer = MemoryBankScorer(MemoryBankSettings(n_patches=50)).fit([maps])
    assert float(scorer.score(maps).abs().max()) < 1e-6


def test_the_block_size_changes_nothing(make_clustered, monkeypatch):
    maps = make_clustered(4, (6, 6), 8, 5, 0.7, seed=5)
    scorer = MemoryBankScorer(MemoryBankSettings(n_patches=144, n_neighbours=4)).fit([maps])
    whole = scorer.score(maps)
    monkeypatch.setattr(memory_bank, "BLOCK_PATCHES", 7)
    torch.testing.assert_close(scorer.score(maps), whole, rtol=0, atol=1e-6)
