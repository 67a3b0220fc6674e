"""Patches that a model keeps of held-out persons tell how much lower another model scores."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_dinoad.errors import ModelFileError
from napari_dinoad.normative_model.held_out_patches import MOST_PATCHES, HeldOutPatches, ScoreRatio


def patches(n=300, seed=0):
    rng = torch.Generator().manual_seed(seed)
    embeddings = torch.nn.functional.normalize(torch.randn(n, 5, generator=rng), dim=-1).half()
    scores = torch.rand(n, generator=rng)
    return HeldOutPatches(embeddings, scores, scores * 0.5, torch.rand(n, generator=rng) + 0.1)


def test_a_ratio_that_grows_with_the_score_is_measured():
    before = np.random.default_rng(0).uniform(0.01, 1, 20_000)
    after = before * (0.5 + 0.4 * before)
    ratio = ScoreRatio.measured(before, after, np.ones(20_000))
    probes = np.linspace(0.1, 0.99, 9)
    np.testing.assert_allclose(ratio(probes), 0.5 + 0.4 * probes, atol=0.03)
    assert ratio(np.array([-1.0, 5.0])).tolist() == [ratio.ratios[0], ratio.ratios[-1]]


def test_a_score_goes_over_to_what_as_many_patches_reach():
    """Patches change places: by the mean ratio of each height the highest would be told too low."""
    rng = np.random.default_rng(0)
    before = rng.exponential(1, 50_000)
    after = before * rng.uniform(0, 1, 50_000)
    ratio = ScoreRatio.measured(before, after, np.ones(50_000))
    for share in (0.5, 0.1, 0.01, 0.002):
        own, other = (np.quantile(scores, 1 - share) for scores in (before, after))
        assert own * ratio(np.array([own]))[0] == pytest.approx(other, rel=0.05)


def test_each_counts_by_its_weight():
    before = np.array([4.0] * 30 + [2.0] * 30 + [1.0] * 30)
    after = np.array([1.0] * 30 + [2.0] * 30 + [0.5] * 30)
    weights = np.repeat([1.0, 2.0, 100.0], 30)
    ratio = ScoreRatio.measured(before, after, weights)
    # The highest 30 of 3,090 reach 4 before and 2 after; the next 60, 2 and then 2 or 1.
    assert ratio(np.array([4.0, 1.0])).tolist() == [0.5, 0.5]


def test_few_patches_have_one_ratio():
    ratio = ScoreRatio.measured(np.array([2.0, 4.0]), np.array([1.0, 2.0]), np.ones(2))
    assert ratio(np.array([0.1, 9.0])).tolist() == [0.5, 0.5]


@pytest.mark.parametrize("scores", [np.zeros(0), np.zeros(5)])
def test_patches_without_any_score_tell_nothing(scores):
    ratio = ScoreRatio.measured(scores, scores, np.ones(len(scores)))
    assert ratio(np.array([0.1, 0.9])).tolist() == [1.0, 1.0]


def test_scores_that_fall_to_0_keep_their_order():
    """The same persons are behind both models."""
    ratio = ScoreRatio.measured(np.ones(9), np.zeros(9), np.ones(9))
    assert ratio(np.array([1.0])) > 0


def test_what_is_pooled_has_patches_of_each_part_by_its_share():
    parts = [patches(MOST_PATCHES, 1), patches(MOST_PATCHES, 2)]
    pooled = HeldOutPatches.pooled(parts, [0.75, 0.25])
    assert len(pooled) == MOST_PATCHES
    n_first = MOST_PATCHES * 3 // 4
    assert np.isin(pooled.scores[:n_first], parts[0].scores).all()
    assert np.isin(pooled.scores[n_first:], parts[1].scores).all()
    assert float(pooled.weights[:n_first].sum()) == pytest.approx(0.75, rel=1e-4)
    assert len(HeldOutPatches.pooled([patches(10), patches(20)], [0.5, 0.5])) == 30
    assert len(HeldOutPatches.pooled([patches(10), patches(20)], [1.0, 0.0])) == 10


def test_which_are_left_of_many_does_not_depend_on_the_order_of_parts():
    """What was merged from the same models in another order is merged on alike."""
    n, halves = MOST_PATCHES // 2, (0.5, 0.5)
    parts = [patches(n, 1), patches(n, 2)]
    left = [
        HeldOutPatches.pooled([HeldOutPatches.pooled(pair, halves), patches(n, 3)], halves).scores
        for pair in (parts, parts[::-1])
    ]
    assert torch.equal(*left)


def test_scores_that_all_fall_alike_lower_what_is_averaged_by_as_much():
    own = patches()
    other, ratio, of_single = own.rescored(own.scores.numpy() * 0.25, 0.5)
    torch.testing.assert_close(other.scores, 0.25 * own.scores)
    torch.testing.assert_close(other.averaged, 0.25 * own.averaged)
    assert other.embeddings is own.embeddings
    np.testing.assert_allclose(
        [*ratio(np.array([0.1, 0.4])), *of_single(np.array([0.2, 0.8]))], 0.25, rtol=1e-6
    )


def test_of_differences_between_patches_averaging_leaves_a_share():
    own = patches()
    ratios = np.tile([0.2, 0.6], 150)
    # All at about one height.
    own = replace(own, scores=torch.ones(300), averaged=torch.ones(300) + 0.001 * own.scores)
    for share, wanted in ((1.0, [0.2, 0.6]), (0.25, [0.3, 0.5]), (0.0, [0.4, 0.4])):
        other, _, _ = own.rescored(ratios, share)
        told = (other.averaged / own.averaged).numpy()
        np.testing.assert_allclose([told[::2].mean(), told[1::2].mean()], wanted, atol=0.03)


def test_what_is_averaged_rises_by_no_more_than_a_patch_of_next_to_no_score():
    """A flat patch among others: 0 but for rounding, which a merged component multiplies."""
    own = patches()
    own.scores[::30], own.averaged[::30], own.weights[::30] = 1e-7, 0.1, 50.0
    scores = 0.5 * own.scores.numpy()
    scores[::30] = 1e-3
    other, ratio, _ = own.rescored(scores, 0.5)
    assert float((other.averaged[::30] - own.averaged[::30]).max()) <= 1e-3
    np.testing.assert_allclose(ratio(np.array([0.2, 0.4])), 0.5, atol=0.1)


def test_patches_without_score_keep_what_is_averaged():
    own = patches()
    zeros = replace(own, scores=torch.zeros(300))
    other, _, _ = zeros.rescored(np.zeros(300), 0.5)
    torch.testing.assert_close(other.averaged, own.averaged)


def test_they_are_stored_and_rebuilt():
    own = patches()
    again = HeldOutPatches.from_tensors(own.tensors())
    for name in ("embeddings", "scores", "averaged", "weights"):
        assert torch.equal(getattr(again, name), getattr(own, name))


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("embeddings", None),
        ("embeddings", torch.zeros(300, 5)),
        ("embeddings", torch.zeros(299, 5).half()),
        ("embeddings", torch.zeros(300).half()),
        ("embeddings", torch.full((300, 5), torch.nan).half()),
        ("scores", torch.zeros(299)),
        ("scores", torch.zeros(300).double()),
        ("averaged", torch.full((300,), torch.inf)),
        ("averaged", torch.zeros(300, 1)),
        ("weights", torch.zeros(300)),
        ("weights", None),
    ],
)
def test_what_is_damaged_is_refused(name, wrong):
    tensors = patches().tensors()
    del tensors[name]
    if wrong is not None:
        tensors[name] = wrong
    with pytest.raises(ModelFileError, match="Held-out patches"):
        HeldOutPatches.from_tensors(tensors)


def test_no_patches_are_refused():
    tensors = {name: tensor[:0] for name, tensor in patches().tensors().items()}
    with pytest.raises(ModelFileError, match="Held-out patches"):
        HeldOutPatches.from_tensors(tensors)
