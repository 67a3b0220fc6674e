from __future__ import annotations

import pytest

from napari_dinoad.gui.work.remaining_time import RemainingTime, duration_in_words
from napari_dinoad.progress import ProgressEvent


def test_pace_of_the_stage_gives_the_rest():
    clock = RemainingTime()
    assert clock.update(ProgressEvent("a", 0, 10), 100.0) is None
    assert clock.update(ProgressEvent("a", 2, 10), 104.0) == pytest.approx(16.0)
    assert clock.update(ProgressEvent("a", 10, 10), 120.0) == 0


def test_new_stage_starts_anew():
    clock = RemainingTime()
    clock.update(ProgressEvent("a", 0, 10), 0.0)
    clock.update(ProgressEvent("a", 10, 10), 10.0)
    assert clock.update(ProgressEvent("b", 0, 4), 11.0) is None
    assert clock.update(ProgressEvent("b", 1, 4), 13.0) == pytest.approx(6.0)


def test_what_was_there_before_tells_nothing_of_the_pace():
    """Of a fit that goes on, or a download."""
    clock = RemainingTime()
    assert clock.update(ProgressEvent("a", 40, 100), 0.0) is None
    assert clock.update(ProgressEvent("a", 50, 100), 10.0) == pytest.approx(50.0)


def test_an_event_that_is_told_again_is_no_slower_pace():
    """A fit does so while an epoch takes long."""
    clock = RemainingTime()
    clock.update(ProgressEvent("a", 0, 10), 0.0)
    assert clock.update(ProgressEvent("a", 0, 10), 50.0) is None
    assert clock.update(ProgressEvent("a", 1, 10), 60.0) == pytest.approx(540.0)
    assert clock.update(ProgressEvent("a", 1, 10), 119.0) == pytest.approx(540.0)
    assert clock.update(ProgressEvent("a", 2, 10), 120.0) == pytest.approx(480.0)
    assert clock.update(ProgressEvent("b", 0, 10), 121.0) is None


def test_unknown_total_has_no_estimate():
    clock = RemainingTime()
    clock.update(ProgressEvent("a", 0, 0), 0.0)
    assert clock.update(ProgressEvent("a", 5, 0), 9.0) is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1 s"),
        (8.4, "8 s"),
        (89, "89 s"),
        (180, "3 min"),
        (3600, "60 min"),
        (4800, "80 min"),
        (5500, "1 h 30 min"),
    ],
)
def test_durations_in_words(seconds, words):
    assert duration_in_words(seconds) == words
