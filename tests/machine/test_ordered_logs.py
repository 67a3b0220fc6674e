"""What threads log is told in its turn."""

from __future__ import annotations

import logging
import threading

from napari_dinoad.machine.ordered_logs import OrderedLogs, tell

logger = logging.getLogger("napari_dinoad.of_this_test")


def told_of(caplog):
    return [record.getMessage() for record in caplog.records if record.name == logger.name]


def test_what_is_held_is_told_once_by_every_handler(caplog):
    seen = []

    class Seeing(logging.Handler):
        def emit(self, record):
            seen.append(record.getMessage())

    handler = Seeing()
    logging.getLogger().addHandler(handler)
    try:
        with OrderedLogs() as logs:
            with logs.holding() as records:
                logger.warning("held %d", 1)
            logger.warning("passed")
            tell(records)
            tell(records)
    finally:
        logging.getLogger().removeHandler(handler)
    assert told_of(caplog) == seen == ["passed", "held 1"]
    assert handler.filters == []


def test_other_threads_pass(caplog):
    with OrderedLogs() as logs, logs.holding() as records:
        thread = threading.Thread(target=lambda: logger.warning("of another thread"))
        thread.start()
        thread.join()
        assert records == []
    assert told_of(caplog) == ["of another thread"]


def test_what_is_told_in_a_block_is_held_by_it(caplog):
    with OrderedLogs() as logs:
        with logs.holding() as inner:
            logger.warning("inner")
        with logs.holding() as outer:
            tell(inner)
        assert told_of(caplog) == []
        tell(outer)
    assert told_of(caplog) == ["inner"]
