"""Order-preserving keys and the histogram built on them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_dinoad.calibration.score_histogram import RunningSum, ScoreHistogram, keys_of, values_of
from napari_dinoad.errors import ScorerError, SettingError

FLOATS = hnp.arrays(np.float32, st.integers(1, 200), elements=st.floats(width=32, allow_nan=False))
BITS = st.integers(9, 32)


@given(FLOATS, BITS)
def test_keys_keep_the_order(scores: np.ndarray, bits: int) -> None:
    ascending = np.sort(scores)
    keys = keys_of(ascending, bits)
    assert np.all(keys[1:] >= keys[:-1])
    assert int(keys.max()) < 2**bits


@given(FLOATS, BITS)
def test_the_lower_edge_has_the_same_key_and_is_not_above_the_score(scores: np.ndarray, bits: int) -> None:
    keys = keys_of(scores, bits)
    edges = values_of(keys, bits)
    assert np.all(edges <= scores)
    assert np.array_equal(keys_of(edges, bits), keys)


@given(FLOATS)
def test_at_32_bits_nothing_is_lost(scores: np.ndarray) -> None:
    assert np.array_equal(values_of(keys_of(scores, 32), 32), scores)


def test_the_resolution_is_as_documented() -> None:
    scores = np.geomspace(1e-6, 1e6, 10_001).astype(np.float32)
    error = (scores - values_of(keys_of(scores, 22), 22)) / scores
    assert error.min() >= 0
    assert error.max() < 2.0 ** (9 - 22)


def test_zero_and_minus_zero_are_one_score() -> None:
    histogram = ScoreHistogram.of(np.array([0.0, -0.0], dtype=np.float32))
    assert histogram.counts.tolist() == [2]
    assert histogram.values.tolist() == [0.0]


@given(FLOATS, FLOATS, BITS)
def test_the_sum_is_the_histogram_of_all_scores(a: np.ndarray, b: np.ndarray, bits: int) -> None:
    together = ScoreHistogram.of(np.concatenate([a, b]), bits)
    summed = ScoreHistogram.of(a, bits) + ScoreHistogram.of(b, bits)
    assert np.array_equal(summed.keys, together.keys)
    assert np.array_equal(summed.counts, together.counts)
    assert summed.total == a.size + b.size
    assert np.all(np.diff(summed.values.astype(np.float64)[np.isfinite(summed.values)]) > 0)


@given(FLOATS)
def test_survival_counts_scores_at_least_as_high(scores: np.ndarray) -> None:
    histogram = ScoreHistogram.of(scores, 32)
    expected = [(scores >= value).sum() for value in histogram.values]
    assert histogram.survival().tolist() == expected


def test_chunks_and_both_ways_of_counting_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.normal(size=5000), 10.0 ** rng.uniform(-30, 30, 5000)]).astype(np.float32)
    whole = ScoreHistogram.of(scores)
    monkeypatch.setattr("napari_dinoad.calibration.score_histogram._CHUNK", 777)
    pieces = ScoreHistogram.of(scores.reshape(100, 100))
    keys, counts = np.unique(keys_of(scores), return_counts=True)
    for histogram in (whole, pieces):
        assert np.array_equal(histogram.keys, keys)
        assert np.array_equal(histogram.counts, counts)
        assert histogram.keys.dtype == np.uint32
        assert histogram.counts.dtype == np.int64


@given(FLOATS, FLOATS)
def test_a_part_can_be_left_out(kept: np.ndarray, left_out: np.ndarray) -> None:
    both = ScoreHistogram.of(np.concatenate([kept, left_out]))
    rest, expected = both.without(ScoreHistogram.of(left_out)), ScoreHistogram.of(kept)
    assert np.array_equal(rest.keys, expected.keys)
    assert np.array_equal(rest.counts, expected.counts)
    assert both.without(both).total == 0


@pytest.mark.parametrize("other", [[5.0], [1.0, 1.0, 1.0], [1.0, 5.0]])
def test_what_is_no_part_cannot_be_left_out(other: list[float]) -> None:
    with pytest.raises(ScorerError, match="expected a part"):
        ScoreHistogram.of(np.array([1.0, 1.0, 3.0])).without(ScoreHistogram.of(np.array(other)))
    with pytest.raises(SettingError, match="22 and 20 bits"):
        ScoreHistogram.of(np.ones(1)).without(ScoreHistogram.of(np.ones(1), 20))


def test_empty() -> None:
    empty = ScoreHistogram.empty()
    some = ScoreHistogram.of(np.ones(3))
    assert empty.total == ScoreHistogram.of(np.empty((0, 2))).total == 0
    assert empty.survival().size == 0
    assert (empty + some).total == (some + empty).total == 3


def test_counts_at_absent_keys_are_zero() -> None:
    histogram = ScoreHistogram.of(np.array([1.0, 1.0, 3.0]))
    assert histogram.counts_at(keys_of(np.array([-5.0, 1.0, 2.0, 3.0, 9.0]))).tolist() == [0, 2, 0, 1, 0]
    assert ScoreHistogram.empty().counts_at(keys_of(np.array([1.0]))).tolist() == [0]


def test_nan_and_wrong_bits_are_refused() -> None:
    with pytest.raises(ScorerError, match="1 NaN among 2"):
        ScoreHistogram.of(np.array([0.0, np.nan]))
    for bits in (8, 33):
        with pytest.raises(SettingError, match=f"got {bits}"):
            ScoreHistogram.of(np.zeros(1), bits)
    with pytest.raises(SettingError, match="20 and 22 bits"):
        ScoreHistogram.of(np.zeros(1), 20) + ScoreHistogram.of(np.zeros(1), 22)


@given(st.lists(FLOATS, max_size=20))
def test_a_running_sum_is_that_of_all_its_parts(parts: list[np.ndarray]) -> None:
    running = RunningSum(ScoreHistogram.empty())
    for part in parts:
        running.add(ScoreHistogram.of(part))
    whole = ScoreHistogram.of(np.concatenate([np.empty(0, np.float32), *parts]))
    for _ in range(2):
        total = running.total()
        assert np.array_equal(total.keys, whole.keys)
        assert np.array_equal(total.counts, whole.counts)


def test_a_running_sum_goes_through_each_part_a_few_times_and_holds_few_sums() -> None:
    class Counted(int):
        n_seen = 0

        def __add__(self, other: int) -> Counted:
            Counted.n_seen += int(self) + int(other)
            return Counted(int(self) + int(other))

    running = RunningSum(Counted(0))
    for _ in range(1000):
        running.add(Counted(1))
    assert running.total() == 1000
    assert Counted.n_seen <= 1000 * 11  # one after the other: 1000 × 500
    assert len(running._sums) <= 10
