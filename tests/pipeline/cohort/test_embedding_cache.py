"""Embeddings on disk: read back as stored, whole or not at all, under keys that tell what they depend on."""

from __future__ import annotations

import errno
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from napari_dinoad.errors import DinoadError
from napari_dinoad.images.edge_layout import EdgeLayout
from napari_dinoad.images.placement import Placement
from napari_dinoad.images.slices import SliceStack
from napari_dinoad.machine.read_ahead import ReadAhead
from napari_dinoad.pipeline.cohort import embedding_cache
from napari_dinoad.pipeline.cohort.embedded_scans import CachedScan, metadata_of
from napari_dinoad.pipeline.cohort.embedding_cache import EmbeddingCache, embedding_key
from napari_dinoad.pipeline.cohort.work_folder import hash_of, work_folder
from napari_dinoad.scoring.patches import seeded_generator, shuffled
from napari_dinoad.settings import CacheSettings, preset
from pretended_gpu import pretended_gpu

EDGES = EdgeLayout(np.full((1, 16, 16), 0.5, np.float32), np.full((1, 8, 8, 6), 0.25, np.float32))
PLACEMENT = Placement.around((20, 30), (1.0, 1.0), ((2, 18), (3, 27)), 64)


@pytest.fixture
def cache(tmp_path):
    with work_folder("fit", CacheSettings(str(tmp_path))) as work, ReadAhead() as reader:
        yield EmbeddingCache(work, reader)


def scan_of(number, n_slices):
    """Return embeddings (n, 4, 4, 6) whose values name scan and slice, exact in float16, and a body."""
    values = torch.zeros(n_slices, 4, 4, 6)
    values[..., 0] = number
    values[..., 1] = torch.arange(n_slices)[:, None, None]
    body = np.random.default_rng(number).random((n_slices, 20, 30)) < 0.5
    return values, body


def stack_of(n_slices):
    return SliceStack((20, 40, 30), 1, tuple(range(3, 3 + n_slices)), True)


def store(cache, number, n_slices):
    values, body = scan_of(number, n_slices)
    metadata = metadata_of(PLACEMENT, stack_of(n_slices), {"number": number}, EDGES, "voxels")
    scan = cache.store(hash_of(number), values.split(3), body, metadata)
    cache.add(scan)
    return scan


def test_a_scan_comes_back_as_stored(cache):
    scan = store(cache, 7, 5)
    values, body = scan_of(7, 5)
    assert torch.equal(torch.cat([*scan.batches()]), values)
    assert scan.facts == {"number": 7}
    np.testing.assert_allclose(scan.edges.strengths, EDGES.strengths, atol=1e-6)
    assert scan.stack == stack_of(5)
    np.testing.assert_array_equal(scan.body(), body)
    found = cache.find(hash_of(7))
    assert found == scan
    scores = np.random.default_rng(0).random((5, 4, 4)).astype(np.float32)
    np.testing.assert_array_equal(scan.body_scores(scores), PLACEMENT.to_slice(scores)[body])


def test_what_scans_have_in_common_is_held_once(cache):
    """Each of thousands had a text of its own for where its slices lie, and for each name of a text."""
    first, second = (store(cache, number, 4) for number in (1, 2))
    for name in ("placement", "stack"):
        assert first.metadata[name] is second.metadata[name]
    assert [id(name) for name in first.metadata] == [id(name) for name in second.metadata]


def test_the_file_is_plain_safetensors(cache):
    scan = store(cache, 3, 4)
    stored = load_file(scan.path)
    assert stored["embeddings"].dtype == np.float16
    np.testing.assert_array_equal(stored["embeddings"], scan_of(3, 4)[0].numpy())
    assert stored["body"].shape == (4, 75)


def test_every_slice_comes_once_in_each_pass(cache):
    for number in range(40):
        store(cache, number, 1 + number % 3)
    batches = cache.batches(range(5, 40), torch.device("cpu"), seed=1)
    expected = sorted((n, row) for n in range(5, 40) for row in range(1 + n % 3))
    first = [batch.clone() for batch in batches]
    rows = torch.cat(first)[:, 0, 0, :2].int().tolist()
    assert sorted(map(tuple, rows)) == expected
    assert rows != sorted(rows), "scans are mixed"
    assert len(first) == len(batches)
    again = list(batches)
    assert all(map(torch.equal, first, again))
    assert all(torch.equal(batches[i], batch) for i, batch in enumerate(first))
    order = [int(b[0, 0, 0, 0]) for b in shuffled(batches, seeded_generator(3))]
    assert sorted(order) == sorted(int(b[0, 0, 0, 0]) for b in first)


def test_a_gpu_is_sent_the_same_embeddings_without_being_waited_for(cache):
    for number in range(40):
        store(cache, number, 1 + number % 3)
    expected = list(cache.batches(range(40), torch.device("cpu"), seed=1))
    with pretended_gpu() as waits:
        batches = cache.batches(range(40), torch.device("cuda"), seed=1)
        sent = [*batches, batches[1]]
        assert not waits
        got = [batch.cpu() for batch in sent]
    assert {batch.dtype for batch in got} == {torch.float32}
    assert len(expected) > 1
    assert all(map(torch.equal, got, [*expected, expected[1]]))


def test_held_out_scans_are_scored_on_a_gpu_waiting_once_each(cache):
    class Mean:
        def score(self, embeddings):
            return embeddings.mean(-1)

    for number in range(2):
        store(cache, number, 40)
    expected = list(cache.patch_scores([0, 1], Mean(), torch.device("cpu")))
    with pretended_gpu() as waits:
        got = list(cache.patch_scores([0, 1], Mean(), torch.device("cuda")))
        assert waits == {"_to_copy": 2}
    for scores, wanted in zip(got, expected, strict=True):
        np.testing.assert_allclose(scores, wanted, rtol=1e-6)


def test_half_a_file_is_not_taken_up(cache):
    scan = store(cache, 1, 2)
    content = scan.path.read_bytes()
    for length in (0, 7, 40, len(content) - 1):
        scan.path.write_bytes(content[:length])
        assert CachedScan.open(scan.key, scan.path) is None
    scan.path.write_bytes(content)
    assert CachedScan.open(scan.key, scan.path) == scan


def test_what_has_changed_on_the_disk_is_not_taken_up(cache, caplog):
    """Of 60 files with a byte changed 3 gave another model, and nothing was told."""
    scan = store(cache, 1, 40)
    content = scan.path.read_bytes()
    in_metadata = content.index(b"20, 30")
    places = [in_metadata, scan.data_offset, scan.data_offset + 2 * 40 * 4 * 4 * 6 - 1, len(content) - 1]
    for place in places:
        altered = bytearray(content)
        altered[place] ^= 1
        scan.path.write_bytes(altered)
        assert CachedScan.open(scan.key, scan.path) is not None
        assert cache.find(scan.key) is None
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == len(places)
    assert all("have changed on the disk" in line and "made again" in line for line in told)
    scan.path.write_bytes(content)
    assert cache.find(scan.key) == scan
    assert len(caplog.records) == len(places)


def test_a_full_disk_is_told_and_leaves_the_cache_usable(cache, monkeypatch, tmp_path):
    good = store(cache, 1, 2)

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(DinoadError, match=r"No space left on device.*[Ff]ree disk space"):
            store(cache, 2, 2)
    assert list(tmp_path.glob("fits/*/temporary/*")) == []
    assert cache.find(hash_of(2)) is None
    assert torch.equal(torch.cat([*cache.find(hash_of(1)).batches()]), torch.cat([*good.batches()]))
    store(cache, 2, 2)


def test_the_key_names_all_that_changes_embeddings_and_nothing_else():
    settings = replace(preset("mr-brain"), resolution_px=448)
    key = embedding_key("content", settings, "dinov2_vits14", "weights")
    assert len(key) == 64
    others = {
        embedding_key("other", settings, "dinov2_vits14", "weights"),
        embedding_key("content", replace(settings, resolution_px=224), "dinov2_vits14", "weights"),
        embedding_key("content", replace(settings, plane="coronal"), "dinov2_vits14", "weights"),
        embedding_key("content", settings, "dinov2_vits14:last4", "weights"),
        embedding_key("content", settings, "dinov2_vits14", "others"),
    }
    assert len(others) == 5
    assert key not in others
    assert key == embedding_key("content", replace(settings, preset="mine"), "dinov2_vits14", "weights")


def test_embeddings_of_grey_have_the_name_that_they_had_before_there_was_colour(monkeypatch):
    monkeypatch.setattr(embedding_cache, "VERSION", "v")
    settings = replace(preset("image-2d"), resolution_px=256)
    key = embedding_key("content", settings, "embedded", "w")
    assert key == "c930502232293763c69365c8d41ecb768be283e74b7584c19ba4244cadd37161"
    assert key != embedding_key("content", replace(settings, colour=True), "embedded", "w")
