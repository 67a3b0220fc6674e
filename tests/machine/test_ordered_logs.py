"""What threads log is told in its turn."""

from __future__ import annotations

import logging
import threading
from contextlib import ExitStack

import pytest

from napari_dinoad.machine.ordered_logs import OrderedLogs, tell

logger = logging.getLogger("napari_dinoad.of_this_test")


def told_of(caplog):
    return [record.getMessage() for record in caplog.records if record.name == logger.name]


class Seeing(logging.Handler):
    def __init__(self):
        super().__init__()
        self.seen = []

    def emit(self, record):
        self.seen.append(record.getMessage())


@pytest.fixture
def seeing_by():
    """Return a handler of a logger until the test is over."""
    with ExitStack() as stack:

        def see(name):
            handler = Seeing()
            logging.getLogger(name).addHandler(handler)
            stack.callback(logging.getLogger(name).removeHandler, handler)
            return handler

        yield see


def test_what_is_held_is_told_once_by_every_handler(caplog, seeing_by):
    handler = seeing_by(None)
    records = []
    with OrderedLogs() as logs:
        with logs.holding(records):
            logger.warning("held %d", 1)
        logger.warning("passed")
        tell(records)
        tell(records)
    assert told_of(caplog) == handler.seen == ["passed", "held 1"]
    assert handler.filters == []


def test_handlers_of_other_loggers_are_told_at_once_and_once(caplog, seeing_by):
    of_package = seeing_by("napari_dinoad")
    records = []
    with OrderedLogs() as logs:
        with logs.holding(records):
            logger.warning("held")
            assert of_package.seen == ["held"]
        tell(records)
    assert of_package.seen == told_of(caplog) == ["held"]


def test_other_threads_pass(caplog):
    records = []
    with OrderedLogs() as logs, logs.holding(records):
        thread = threading.Thread(target=lambda: logger.warning("of another thread"))
        thread.start()
        thread.join()
        assert records == []
    assert told_of(caplog) == ["of another thread"]


def test_what_is_told_in_a_block_is_held_by_it(caplog):
    inner, outer = [], []
    with OrderedLogs() as logs:
        with logs.holding(inner):
            logger.warning("inner")
        with logs.holding(outer):
            tell(inner)
        assert told_of(caplog) == []
        tell(outer)
    assert told_of(caplog) == ["inner"]


def test_what_is_held_outlives_an_error_in_the_block(caplog):
    records = []
    with OrderedLogs() as logs, pytest.raises(ValueError, match="a fault"):
        with logs.holding(records):
            logger.warning("held")
            raise ValueError("a fault")
    logger.warning("passed")
    tell(records)
    assert told_of(caplog) == ["passed", "held"]
