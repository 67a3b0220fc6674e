"""Scores averaged across slices by their distance in millimetres."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter1d

from napari_dinoad.pipeline.slices.slice_smoothing import (
    REACH_SIGMAS,
    SlicesInProgress,
    SliceSmoothing,
    averaging_like,
    is_like,
)


def scores_of(n, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 3, 4)).astype(np.float32)


def test_inside_the_stack_it_is_a_gaussian_filter():
    """SciPy as an independent referee; sigma of 2.5 slices, cut off at 2 sigmas."""
    scores = scores_of(40)
    smoothed = SliceSmoothing(range(40), 2.0, 5.0).smoothed(scores)
    expected = gaussian_filter1d(scores.astype(np.float64), 2.5, axis=0, truncate=REACH_SIGMAS)
    np.testing.assert_allclose(smoothed[5:-5], expected[5:-5], atol=1e-6)


def test_only_slices_that_are_there_count():
    """By hand: slices 4 mm apart, the one in the middle missing."""
    smoothing = SliceSmoothing([3, 5, 6], 4.0, 5.0)
    scores = np.array([1.0, 2.0, 4.0], np.float32)[:, None, None]
    near, far = np.exp(-0.5 * (4 / 5) ** 2), np.exp(-0.5 * (8 / 5) ** 2)
    expected = [
        (1 + 2 * far) / (1 + far),
        (far + 2 + 4 * near) / (1 + near + far),
        (4 + 2 * near) / (1 + near),
    ]
    np.testing.assert_allclose(smoothing.smoothed(scores).ravel(), expected, rtol=1e-6)


def test_a_slice_exactly_at_the_reach_counts():
    for spacing in (0.1, 1 / 3, 5.0):
        smoothing = SliceSmoothing(range(5), spacing, spacing)
        impulse = np.zeros((5, 1, 1), np.float32)
        impulse[0] = 1
        assert (smoothing.smoothed(impulse).ravel() > 0).tolist() == [True, True, True, False, False]


@pytest.mark.parametrize(("spacing_mm", "sigma_mm"), [(None, 5.0), (1.0, 0.0), (11.0, 5.0)])
def test_nothing_is_averaged(spacing_mm, sigma_mm):
    """Without physical size, without smoothing, and where slices are too far apart."""
    smoothing = SliceSmoothing(range(6), spacing_mm, sigma_mm)
    assert not smoothing.has_neighbours
    scores = scores_of(6)
    np.testing.assert_array_equal(smoothing.smoothed(scores), scores)


@settings(max_examples=60)
@given(
    st.sets(st.integers(0, 40), min_size=1, max_size=25),
    st.floats(0.3, 12),
    st.floats(0, 12),
    st.integers(1, 6),
    st.randoms(use_true_random=False),
)
def test_each_slice_leaves_once_with_its_neighbours(chosen, spacing, sigma, size, random):
    """Whatever the order, the very same values as all at once, and no constant is changed."""
    indices = sorted(chosen)
    smoothing = SliceSmoothing(indices, spacing, sigma)
    scores = scores_of(len(indices))
    expected = smoothing.smoothed(scores)
    np.testing.assert_allclose(smoothing.smoothed(np.ones_like(scores)), 1, rtol=1e-6)
    order = list(range(len(indices)))
    random.shuffle(order)
    progress, left = SlicesInProgress(smoothing), {}
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        leaving, (means, doubled) = progress.add(
            [indices[row] for row in rows], [scores[rows], 2 * scores[rows]]
        )
        arrivals = [order.index(indices.index(index)) for index in leaving]
        assert arrivals == sorted(arrivals)
        assert not set(leaving) & set(left)
        left.update(zip(leaving, means, strict=True))
        np.testing.assert_allclose(doubled, 2 * means, rtol=1e-5, atol=1e-6)
    assert sorted(left) == indices
    np.testing.assert_array_equal(np.stack([left[index] for index in indices]), expected)


def test_what_averaging_leaves_of_the_noise():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(60, 40, 40)).astype(np.float32)
    for spacing_mm in (1.0, 3.0, 7.0):
        smoothing = SliceSmoothing(range(60), spacing_mm, 5.0)
        assert smoothing.smoothed(noise)[15:45].var() == pytest.approx(smoothing.noise_share, rel=0.1)
    assert SliceSmoothing(range(5), None, 5.0).noise_share == 1
    assert SliceSmoothing([], 2.0, 5.0).noise_share == 1


@pytest.mark.parametrize("of_normals_mm", [1.0, 3.0, 8.0])
def test_scans_are_averaged_so_that_as_much_noise_is_left_or_not_at_all(of_normals_mm):
    share = SliceSmoothing(range(40), of_normals_mm, 5.0).noise_share
    for spacing_mm in (0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 9.5):
        averaging = averaging_like(range(40), spacing_mm, 5.0, share)
        full = SliceSmoothing(range(40), spacing_mm, 5.0).noise_share
        if averaging is None:
            assert full > share
            assert not is_like(full, share)
        else:
            # A neighbour that comes into reach changes the share by a jump.
            assert 0.6 * share < averaging.noise_share <= 1.25 * share
    assert averaging_like(range(40), 12.0, 5.0, share) is None
    assert averaging_like([3], 1.0, 5.0, share) is None
    assert averaging_like(range(40), None, 5.0, share) is None


@pytest.mark.parametrize(("spacing_mm", "is_averaged"), [(3.0, True), (3.4, True), (3.6, False)])
def test_slices_a_little_farther_apart_are_averaged_as_far_as_it_goes(spacing_mm, is_averaged):
    """Up to a quarter more noise than in the normal scans, of slices 3 mm apart, may be left."""
    usual = SliceSmoothing(range(40), 3.0, 5.0).noise_share
    widest = SliceSmoothing(range(40), spacing_mm, 5.0)
    assert (widest.noise_share <= 1.25 * usual) == is_averaged
    averaging = averaging_like(range(40), spacing_mm, 5.0, usual)
    assert (averaging is not None) == is_averaged
    if averaging is not None:
        assert averaging.noise_share == widest.noise_share
