"""Embeddings of the cohort on disk: each scan is read and embedded once, every epoch reads from here.

A file for each scan and plane; see `embedded_scans`.
"""

from __future__ import annotations

import logging
import zlib
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_dinoad.machine.atomic_files import atomic_path
from napari_dinoad.machine.sending import on_device
from napari_dinoad.pipeline.cohort.embedded_scans import (
    MAPS_PER_BATCH,
    CachedScan,
    EmbeddedScan,
    header_of,
    packed_bits,
)
from napari_dinoad.pipeline.cohort.work_folder import VERSION, hash_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from napari_dinoad.machine.read_ahead import ReadAhead
    from napari_dinoad.pipeline.cohort.work_folder import WorkFolder
    from napari_dinoad.scoring.protocol import Scorer
    from napari_dinoad.settings import PreprocessingSettings

__all__ = [
    "CachedEmbeddings",
    "EmbeddingCache",
    "embedding_key",
]

logger = logging.getLogger(__name__)

_BATCHES_AHEAD = 1


def embedding_key(
    content_sha256: str, preprocessing: PreprocessingSettings, backbone_name: str, weights_sha256: str
) -> str:
    """Return the name of a scan's embeddings: equal exactly when the same pixels go through the same steps.

    Parameters
    ----------
    content_sha256 : str
        Of the scan's files; their names play no part.
    preprocessing : PreprocessingSettings
        With ``resolution_px`` set.
    backbone_name, weights_sha256 : str
        The name says which layers are taken of the network.
    """
    steps = preprocessing.stored()
    # The name of a preset that leads to the same settings changes no pixel.
    del steps["preset"]
    return hash_of([VERSION, content_sha256, steps, backbone_name, weights_sha256])


class EmbeddingCache:
    """The scans of a cohort, in order, each with its embeddings in the work folder.

    Parameters
    ----------
    work : WorkFolder
    reader : ReadAhead
        Reads the next batch while the scorer works on this one.
    between : callable, optional
        Called after each batch that is stored, and before each that is read; may raise `Cancelled`.
    """

    def __init__(
        self, work: WorkFolder, reader: ReadAhead, between: Callable[[], None] | None = None
    ) -> None:
        self._work = work
        self._reader = reader
        self._between = between
        self.scans: list[EmbeddedScan] = []

    def find(self, key: str) -> CachedScan | None:
        """Return the scan of that key if an earlier run has embedded it, and it is intact; it is not added yet."""
        path = self._work.claim(key)
        scan = CachedScan.open(key, path)
        if scan is not None and not scan.is_intact():
            logger.warning(
                "%s: the kept embeddings of a scan have changed on the disk, and are made again.", path
            )
            return None
        return scan

    def add(self, scan: EmbeddedScan) -> None:
        """Make a scan that was found or stored the next one of the cohort."""
        self.scans.append(scan)

    def store(
        self,
        key: str,
        batches: Iterable[torch.Tensor],
        body: np.ndarray,
        metadata: dict[str, str],
    ) -> CachedScan:
        """Write a scan, batch by batch, atomically; it is not added yet.

        Parameters
        ----------
        key : str
        batches : iterable of torch.Tensor
            (m, gh, gw, d) float each, together as many maps as there are slices; stored in float16.
        body : numpy.ndarray
            (n, rows, columns) bool, the body on the same slices.
        metadata : dict of str
            See `metadata_of`.

        Raises
        ------
        DinoadError
            If the disk is full or the folder cannot be written; what was stored before stays usable.
        """
        path = self._work.claim(key)
        packed = packed_bits(body)
        shape: tuple[int, ...] = ()
        checksum = 0
        with (
            atomic_path(path, self._work.temporary) as temporary,
            temporary.open("wb") as stream,
        ):
            for batch in batches:
                if not shape:
                    shape = (len(body), *batch.shape[1:])
                    stream.write(header_of(shape, packed.shape, metadata))
                maps = batch.to(torch.float16).cpu().contiguous().numpy().data
                checksum = zlib.crc32(maps, checksum)
                stream.write(maps)
                if self._between is not None:
                    self._between()
            checksum = zlib.crc32(packed.data, checksum)
            stream.write(packed.data)
            stream.seek(0)
            stream.write(header_of(shape, packed.shape, metadata, checksum))
        scan = CachedScan.open(key, path)
        if scan is None:
            raise RuntimeError("The embeddings of a scan were stored, but cannot be read back.")
        return scan

    def patch_scores(
        self, scans: Sequence[int], scorer: Scorer, device: torch.device
    ) -> Iterator[np.ndarray]:
        """Yield the patch scores (n, gh, gw) float32 of each of these scans."""
        for i in scans:
            parts = [scorer.score(on_device(batch, device)) for batch in self.scans[i].batches()]
            yield torch.cat(parts).cpu().numpy()

    def batches(self, scans: Sequence[int], device: torch.device, seed: int) -> CachedEmbeddings:
        """Return the embeddings of these scans as re-iterable batches in a fixed, mixed order."""
        return CachedEmbeddings([self.scans[i] for i in scans], self._reader, device, seed, self._between)


class CachedEmbeddings:
    """Re-iterable batches (n, gh, gw, d) float32 of cached scans.

    Slices of all scans are mixed (neighbouring slices are nearly alike, which would make poor batches); the order is
    the same at each iteration. Memory holds one batch, and the one being read. To a GPU they go as they are stored,
    in float16, from pinned memory.
    """

    def __init__(
        self,
        scans: Sequence[EmbeddedScan],
        reader: ReadAhead,
        device: torch.device,
        seed: int,
        between: Callable[[], None] | None = None,
    ) -> None:
        self._scans = list(scans)
        self._reader = reader
        self._device = device
        self._between = between
        counts = np.array([scan.n_slices for scan in self._scans], dtype=np.int64)
        owner = np.repeat(np.arange(len(counts)), counts)
        row = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
        order = np.random.default_rng(seed).permutation(len(owner))
        self._places = np.stack([owner, row], axis=1)[order]  # (slices, 2): scan, slice

    def __len__(self) -> int:
        return -(-len(self._places) // MAPS_PER_BATCH)

    def __getitem__(self, index: int) -> torch.Tensor:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._sent(self._read(index))

    def __iter__(self) -> Iterator[torch.Tensor]:
        return self.in_order(range(len(self)))

    def in_order(self, indices: Iterable[int]) -> Iterator[torch.Tensor]:
        """Yield these batches in this order, the next one being read meanwhile."""
        tasks = (partial(self._read, index) for index in indices)
        for batch in self._reader.results(tasks, _BATCHES_AHEAD):
            if self._between is not None:
                self._between()
            yield self._sent(batch)

    def _sent(self, batch: torch.Tensor) -> torch.Tensor:
        return on_device(batch, self._device).float()

    def _ordered_places(self, index: int) -> np.ndarray:
        """Return scan and slice (n, 2) of each map of a batch, in the order that they have in it."""
        places = self._places[index * MAPS_PER_BATCH : (index + 1) * MAPS_PER_BATCH]
        # Sorted, so that a file is opened once a batch and read forwards.
        return places[np.lexsort((places[:, 1], places[:, 0]))]

    def _read(self, index: int) -> torch.Tensor:
        places = self._ordered_places(index)
        is_for_gpu = self._device.type == "cuda"
        kind = torch.float16 if is_for_gpu else torch.float32
        shape = (len(places), *self._scans[places[0, 0]].shape[1:])
        read = torch.empty(shape, dtype=kind, pin_memory=is_for_gpu)
        batch = read.numpy()
        starts = np.flatnonzero(np.diff(places[:, 0], prepend=-1))
        for first, last in zip(starts, [*starts[1:], len(places)], strict=True):
            self._scans[places[first, 0]].copy_rows(places[first:last, 1].tolist(), batch[first:last])
        return read
