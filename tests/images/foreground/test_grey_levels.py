"""A sample told by how often each value occurs, compared with NumPy on its values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_dinoad.images.foreground import grey_levels
from napari_dinoad.images.foreground.grey_levels import GreyLevels

KINDS = ["u1", "u2", "i2", "i4", "f2", "f4", "f8"]


def sample_of(kind, n, spread, is_whole, seed):
    """Return values (n,) of this dtype, most of them several times."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0, spread, n) + rng.choice([-100, 0, 0.3, 90])
    if is_whole or kind[0] != "f":
        values = values.round()
    return (np.abs(values) % 255 if kind[0] == "u" else values).astype(kind)


@settings(max_examples=60)
@given(
    st.sampled_from(KINDS),
    st.integers(1, 60),
    st.sampled_from([0, 1, 20, 3000]),
    st.booleans(),
    st.integers(0, 999),
)
def test_percentiles_and_deviations_are_those_of_numpy(kind, n, spread, is_whole, seed):
    sample = sample_of(kind, n, spread, is_whole, seed)
    levels, exact = GreyLevels.of(sample), sample.astype(np.float64)
    np.testing.assert_array_equal(np.repeat(levels.values, levels.counts), np.sort(exact))
    for percent in (0, 1, 5, 50, 99.5, 100):
        np.testing.assert_allclose(levels.percentile(percent), np.percentile(exact, percent), rtol=1e-14)
    middle = np.median(exact)
    assert levels.median() == middle
    assert levels.median_deviation(middle) == np.median(np.abs(exact - middle))


@settings(max_examples=60)
@given(st.sampled_from(KINDS), st.integers(1, 60), st.sampled_from([0, 1, 20, 3000]), st.integers(0, 999))
def test_whole_numbers_are_counted_as_they_would_be_sorted(kind, n, spread, seed):
    sample = sample_of(kind, n, spread, True, seed)
    counted = GreyLevels.of(sample)
    with pytest.MonkeyPatch.context() as context:
        context.setattr(grey_levels, "_MOST_COUNTED", 0)
        found = GreyLevels.of(sample)
    np.testing.assert_array_equal(counted.values, found.values)
    np.testing.assert_array_equal(counted.counts, found.counts)


@pytest.mark.parametrize("kind", ["i1", "i2"])
def test_numbers_from_the_lowest_to_the_highest_of_their_kind_are_counted(kind):
    limits = np.iinfo(kind)
    levels = GreyLevels.of(np.array([limits.min, 0, limits.max, limits.max], dtype=kind))
    np.testing.assert_array_equal(levels.values, [limits.min, 0, limits.max])
    np.testing.assert_array_equal(levels.counts, [1, 1, 2])


def test_values_that_are_not_a_number_come_last():
    levels = GreyLevels.of(np.array([3, np.nan, 1, np.inf], dtype=np.float32))
    np.testing.assert_array_equal(levels.values, [1, 3, np.inf, np.nan])
