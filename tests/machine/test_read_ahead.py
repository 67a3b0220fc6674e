"""Reading ahead: in order, bounded, and no thread left behind."""

from __future__ import annotations

import threading
from functools import partial

import pytest

from napari_dinoad.errors import Cancelled
from napari_dinoad.machine.read_ahead import ReadAhead


def reading_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("dinoad-read-ahead")]


@pytest.mark.parametrize("n_threads", [1, 3])
def test_results_keep_the_order_of_the_tasks(n_threads):
    with ReadAhead(n_threads) as reader:
        assert list(reader.results((partial(pow, i, 2) for i in range(50)), ahead=4)) == [
            i * i for i in range(50)
        ]


def test_no_more_than_the_asked_for_are_made_ahead():
    taken = []

    def tasks():
        for i in range(20):
            taken.append(i)
            yield partial(int, i)

    with ReadAhead() as reader:
        for result in reader.results(tasks(), ahead=2):
            assert len(taken) <= result + 3


def test_an_error_comes_where_its_result_would_have_come():
    def fail():
        raise ValueError("broken")

    with ReadAhead() as reader:
        results = reader.results([partial(int, 1), fail, partial(int, 3)])
        assert next(results) == 1
        with pytest.raises(ValueError, match="broken"):
            next(results)


def test_no_thread_is_left_when_the_caller_stops():
    begun = threading.Event()
    with pytest.raises(Cancelled), ReadAhead(2) as reader:
        for _ in reader.results((begun.is_set for _ in range(100)), ahead=5):
            assert reading_threads()
            raise Cancelled("stop")
    assert not reading_threads()
