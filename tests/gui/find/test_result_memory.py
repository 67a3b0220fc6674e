"""What is kept of a large scan's result, and sent to be measured: of the voxels that are marked alone."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from napari_dinoad.gui.find.export_job import export_of
from napari_dinoad.gui.find.marked_values import MarkedValues
from napari_dinoad.gui.find.result import ScanResult
from napari_dinoad.gui.work.jobs import SlicesScored
from napari_dinoad.gui.work.worker import JobChannel
from napari_dinoad.images.volume import Geometry, Volume
from taken_memory import most_taken

SHAPE = (48, 256, 255)
SIZE = 4 * int(np.prod(SHAPE))
"""Of the scan in float32."""


@pytest.fixture
def result():
    """Return a result of noise, of which a fiftieth is marked in some thousand regions."""
    scan = Volume(np.ones(SHAPE, np.float32), Geometry(SHAPE[::-1], np.diag([1.0, 1, 1, 1])))
    result = ScanResult(scan, 0, 0.02)
    levels = -np.log10(np.random.default_rng(0).uniform(1e-9, 1, SHAPE).astype(np.float32))
    result.put(SlicesScored(0, tuple(range(len(levels))), levels))
    return result


def test_regions_are_measured_of_what_is_marked_alone(result):
    measurement, taken = most_taken(result.measurement)
    assert taken < 0.45 * SIZE, "bits, bytes of them meanwhile, and the marked values"
    measured = measurement.work()
    for sent in (measurement, measured.labels):
        assert len(pickle.dumps(sent)) < 0.2 * SIZE
    accepted, taken = most_taken(lambda: result.accept(measured))
    assert accepted
    assert taken < 0.5 * SIZE, "where it is marked, a byte of each voxel"
    _, taken = most_taken(lambda: result.set_ticked(result.regions[:5], False))
    assert taken < 0.5 * SIZE


def test_an_export_holds_the_map_as_it_is_now_and_the_labels_only_while_it_writes(result, tmp_path):
    result.accept(result.measurement().work())
    result.set_ticked(result.regions[:1], False)
    job, taken = most_taken(lambda: export_of(result, tmp_path, ("regions",)))
    assert taken < 1.2 * SIZE, "the map"
    _, taken = most_taken(lambda: job.mask(JobChannel(lambda event: None, lambda item: None)))
    assert taken < 1.4 * SIZE, "labels, and where they are"


@pytest.mark.parametrize("share", [0, 0.1, 1])
def test_marked_values_give_the_whole_back(share):
    rng = np.random.default_rng(0)
    values, marked = rng.random((3, 5, 7), np.float32), rng.random((3, 5, 7)) < share
    kept = MarkedValues.of(values, marked)
    np.testing.assert_array_equal(kept.where(), marked)
    np.testing.assert_array_equal(kept.whole(), np.where(marked, values, 0))
    labels = kept.with_values(np.arange(len(kept.values), dtype=np.uint8))
    assert labels.whole(np.int32).dtype == np.int32
    np.testing.assert_array_equal(labels.whole()[marked], labels.values)
