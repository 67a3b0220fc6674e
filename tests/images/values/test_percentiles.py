"""Percentiles of large arrays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_dinoad.images.values import percentiles
from napari_dinoad.images.values.percentiles import percentile

TYPES = (np.uint8, np.uint16, np.int16, np.int32, np.float32, np.float64)


def some_values(rng, shape, dtype):
    """Return values of a type: even ones, many the same, or with a few that are far away."""
    values = rng.normal(60, 20, shape)
    kind = rng.integers(4)
    if kind == 0:
        values[rng.random(shape) < 0.5] = 0
    elif kind == 1:
        values = np.rint(values)
    elif kind == 2:
        values[rng.random(shape) < 0.01] = 100
    return np.clip(values, 0, 250).astype(dtype)


@settings(max_examples=200)
@given(
    shape=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    dtype=st.sampled_from(TYPES),
    percent=st.sampled_from([0, 0.1, 1, 5, 50, 75, 99.5, 100]) | st.floats(0, 100),
    sampled=st.sampled_from([1, 8, 100, 2**14]),
    seed=st.integers(0, 999),
)
def test_it_is_that_of_numpy_to_the_last_bit(shape, dtype, percent, sampled, seed):
    values = some_values(np.random.default_rng(seed), shape, dtype)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(percentiles, "_SAMPLED", sampled)
        for lines in values, values.T, values[::-1, ::2]:
            # Several at once, as of one alone NumPy takes the fraction in the values' own type.
            assert percentile(lines, percent) == np.percentile(lines, (percent, 50))[0]


def test_a_picture_whose_sampled_pixels_are_unlike_the_others():
    """What is guessed from them is wrong by far."""
    values = np.random.default_rng(0).normal(size=2**16 * 3).astype(np.float32)
    step = next(n for n in range(len(values) // percentiles._SAMPLED, 99) if np.gcd(n, len(values)) == 1)
    values[::step] = 9.0
    for percent in (1, 50, 99.5):
        assert percentile(values, percent) == np.percentile(values, (percent, 50))[0]
