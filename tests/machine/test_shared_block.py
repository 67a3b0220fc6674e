"""A change of the whole process, by several threads at a time."""

from __future__ import annotations

import threading
import warnings

from pydicom import config

from napari_dinoad.images.dicom.silence import unvalidated
from napari_dinoad.machine.shared_block import unwarned
from patience import PATIENCE_S


def overlapping(block, seen):
    """Be in a block on two threads: this one leaves it while the other is still in it; return what each saw."""
    is_inside, may_leave = threading.Event(), threading.Event()
    told = []

    def other():
        with block:
            is_inside.set()
            may_leave.wait(PATIENCE_S)
            told.append(seen())

    thread = threading.Thread(target=other)
    with block:
        thread.start()
        assert is_inside.wait(PATIENCE_S)
    may_leave.set()
    thread.join(PATIENCE_S)
    return told


def test_who_leaves_first_does_not_end_it_for_the_other():
    def first_action():
        return warnings.filters[0][0]

    before = list(warnings.filters)
    assert overlapping(unwarned, first_action) == ["ignore"]
    assert warnings.filters == before


def test_pydicom_looks_at_values_again_once_both_have_left():
    def modes():
        return config.settings.reading_validation_mode, config.settings.writing_validation_mode

    before = modes()
    assert overlapping(unvalidated, modes) == [(config.IGNORE, config.IGNORE)]
    assert modes() == before


def test_an_error_in_the_block_ends_it():
    before = list(warnings.filters)
    try:
        with unwarned:
            raise ValueError("of the block")
    except ValueError:
        pass
    assert warnings.filters == before
