"""Which of all normal scores stand in the table."""

from __future__ import annotations

import numpy as np
import pytest

from napari_dinoad.calibration.table import choose_knots

SPACING = 1 / 1023
"""Of 1024 knots in −log10 p, and as many in rank."""


def levels_of(counts):
    """Return −log10 p (n,) of scores of which so many are of each level, ascending."""
    at_least = np.cumsum(counts[::-1])[::-1]
    return -np.log10((1 + at_least) / (1 + at_least[0]))


def uneven(seed):
    """Return counts of which some are a thousandth of all, and of which the highest are few."""
    rng = np.random.default_rng(seed)
    counts = np.concatenate([rng.integers(1, 200, 20_000), np.ones(2_000, np.int64)])
    ties = rng.choice(counts.size, 60, replace=False)
    counts[ties] = counts.sum() * SPACING * rng.uniform(0.8, 1.6, ties.size)
    return counts


TABLES = {
    "even": np.ones(100_000, np.int64),
    "uneven": uneven(0),
    "uneven, too": uneven(1),
    "most in one": np.concatenate([np.ones(3_000, np.int64), [10_000_000], np.ones(3_000, np.int64)]),
}


@pytest.mark.parametrize("counts", TABLES.values(), ids=TABLES)
def test_both_sides_of_a_jump_are_knots_and_others_lie_as_close_as_even_ones(counts):
    levels = levels_of(counts)
    knots = choose_knots(levels)
    assert (knots[0], knots[-1]) == (0, levels.size - 1)
    assert (np.diff(knots) > 0).all()
    n_jumps = 0
    for values in (levels / levels[-1], 1 - 10.0**-levels):
        jumps = np.flatnonzero(np.diff(values) > SPACING)
        n_jumps += jumps.size
        assert np.isin(jumps, knots).all()
        assert np.isin(jumps + 1, knots).all()
        # What lies between two knots is less than the spacing; the step to the second comes on top of it.
        between = values[knots[1:] - 1] - values[knots[:-1]]
        assert (between < SPACING).all()
    assert n_jumps <= knots.size <= 2 * 1024 + n_jumps


def test_a_table_of_few_scores_is_kept_whole_and_one_of_more_is_not():
    counts = np.concatenate([np.ones(2_047, np.int64), [1_000_000]])
    np.testing.assert_array_equal(choose_knots(levels_of(counts)), np.arange(2_048))
    assert choose_knots(levels_of(np.ones(20_000, np.int64))).size <= 2_048
