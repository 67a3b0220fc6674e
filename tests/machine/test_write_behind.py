"""Writing behind: one task at a time, waited for, and no thread left behind."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from functools import partial

import pytest

from napari_dinoad.machine.write_behind import WriteBehind
from patience import PATIENCE_S


def fail():
    raise OSError("full")


def test_a_result_comes_once_and_only_of_what_was_begun():
    with WriteBehind() as writer:
        assert list(writer.finished()) == []
        writer.begin(partial(int, 3))
        assert list(writer.finished()) == [3]
        assert list(writer.finished()) == []


def test_one_task_at_a_time():
    with WriteBehind() as writer:
        writer.begin(partial(int, 1))
        with pytest.raises(RuntimeError, match="has not been taken"):
            writer.begin(partial(int, 2))


def test_what_a_task_raises_comes_where_its_result_is_taken():
    with WriteBehind() as writer:
        writer.begin(fail)
        with pytest.raises(OSError, match="full"):
            list(writer.finished())
        assert list(writer.finished()) == []


def test_a_wait_that_is_cut_off_leaves_the_result_to_be_taken(monkeypatch):
    def cut_off(*_):
        raise KeyboardInterrupt

    with WriteBehind() as writer:
        writer.begin(partial(int, 3))
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Future, "result", cut_off)
            patch.setattr(Future, "exception", cut_off)
            list(writer.finished())
        assert list(writer.finished()) == [3]


def test_leaving_waits_for_the_task():
    may_end, done = threading.Event(), []
    timer = threading.Timer(0.05, may_end.set)
    with WriteBehind() as writer:
        writer.begin(lambda: done.append(may_end.wait(PATIENCE_S)))
        timer.start()
    assert done == [True]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("dinoad-write")]


def test_a_failure_is_taken_once_and_a_result_is_left():
    with WriteBehind() as writer:
        assert writer.failure() is None
        writer.begin(fail)
        assert str(writer.failure()) == "full"
        assert writer.failure() is None
        writer.begin(partial(int, 3))
        assert writer.failure() is None
        assert list(writer.finished()) == [3]
