"""Embeddings of the cohort on disk: each scan is read and embedded once, every epoch reads from here.

One safetensors file for each scan and plane: embeddings (float16), body (bits); in its metadata the placement of the
model input, how the slices lie in the scan, and facts of the scan.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from napari_dinoad.backbones.embeddings import on_device
from napari_dinoad.files import atomic_path
from napari_dinoad.images.edge_layout import EdgeLayout
from napari_dinoad.images.placement import Placement
from napari_dinoad.images.slices import SliceStack
from napari_dinoad.pipeline.work_folder import VERSION, hash_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from napari_dinoad.pipeline.read_ahead import ReadAhead
    from napari_dinoad.pipeline.work_folder import WorkFolder
    from napari_dinoad.scoring.protocol import Scorer
    from napari_dinoad.settings import PreprocessingSettings

__all__ = [
    "CachedEmbeddings",
    "CachedScan",
    "EmbeddedScan",
    "EmbeddingCache",
    "HeldScan",
    "embedding_key",
    "metadata_of",
    "packed_bits",
]

T = TypeVar("T")

MAPS_PER_BATCH = 32
"""Embedding maps in a batch handed to a scorer."""

_BATCHES_AHEAD = 1
_HEADER_ALIGNMENT = 64
_LENGTH_BYTES = 8


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
    steps = asdict(preprocessing)
    # The name of a preset that leads to the same settings changes no pixel.
    del steps["preset"]
    return hash_of([VERSION, content_sha256, steps, backbone_name, weights_sha256])


class EmbeddedScan:
    """A scan's embeddings and body in one plane, wherever they lie.

    Attributes
    ----------
    key : str
        See `embedding_key`.
    shape : tuple of int
        (n, gh, gw, d) of its embeddings.
    metadata : dict of str
        Texts; see `metadata_of`.
    """

    key: str
    shape: tuple[int, int, int, int]
    metadata: dict[str, str]

    @property
    def n_slices(self) -> int:
        """Slices that show the body."""
        return self.shape[0]

    @property
    def facts(self) -> dict[str, Any]:
        """What was noted of the scan when it was embedded; see `scan_facts`."""
        facts: dict[str, Any] = json.loads(self.metadata["facts"])
        return facts

    @property
    def edges(self) -> EdgeLayout:
        """Where its slices have edges."""
        return EdgeLayout.decoded(self.metadata["edges"])

    @property
    def stack(self) -> SliceStack:
        """How its slices lie in the scan."""
        return SliceStack.from_dict(json.loads(self.metadata["stack"]))

    def embeddings(self) -> torch.Tensor:
        """Return the embeddings (n, gh, gw, d) float32."""
        return torch.from_numpy(self._maps().astype(np.float32))

    def compute(self, function: Callable[..., T], *arguments: Any) -> T:
        """Return function(this scan, *arguments), computed where the embeddings lie; both must be picklable."""
        return function(self, *arguments)

    def batches(self) -> Iterator[torch.Tensor]:
        """Yield the embeddings (m, gh, gw, d) float32 of its slices in order, `MAPS_PER_BATCH` at a time."""
        for start in range(0, self.n_slices, MAPS_PER_BATCH):
            rows = range(start, min(start + MAPS_PER_BATCH, self.n_slices))
            batch = np.empty((len(rows), *self.shape[1:]), dtype=np.float32)
            self.copy_rows(rows, batch)
            yield torch.from_numpy(batch)

    def copy_rows(self, rows: Sequence[int], target: np.ndarray) -> None:
        """Copy the embeddings of some slices to ``target`` (len(rows), gh, gw, d) float32 or float16."""
        maps = self._maps()
        stored = np.empty(target.shape, dtype=maps.dtype)
        for place, row in enumerate(rows):
            stored[place] = maps[row]
        # torch turns float16 to float32 three times as fast as NumPy.
        torch.from_numpy(target).copy_(torch.from_numpy(stored))

    def body_scores(self, patch_scores: np.ndarray) -> np.ndarray:
        """Return raw scores (m,) float32 at the scan's body voxels of patch scores (n, gh, gw).

        The patch scores are placed on the slices' own voxels exactly as `detect` does it.
        """
        placement = self._placement
        slices = zip(patch_scores, self.body(), strict=True)
        return np.concatenate(
            [placement.to_slice(patch_map[np.newaxis])[0][body] for patch_map, body in slices]
        )

    def body(self) -> np.ndarray:
        """Return the body (n, rows, columns) bool on the scan's slices, in display orientation."""
        rows, columns = self._placement.shape
        bits = np.unpackbits(self.body_bits(), axis=1, count=rows * columns)
        return bits.reshape(self.n_slices, rows, columns).view(bool)

    def outline(self, cells: int) -> np.ndarray:
        """Return how much of each cell of a grid on the model input is body (n, cells, cells) float32."""
        return self._placement.coarser(cells).to_model(self.body())

    @property
    def _placement(self) -> Placement:
        return Placement.from_dict(json.loads(self.metadata["placement"]))

    def _maps(self) -> np.ndarray:
        """Return the embeddings (n, gh, gw, d) float16."""
        raise NotImplementedError

    def body_bits(self) -> np.ndarray:
        """Return the body on each slice, as bits (n, bytes) uint8."""
        raise NotImplementedError


@dataclass(frozen=True)
class CachedScan(EmbeddedScan):
    """A scan in the cache.

    Attributes
    ----------
    path : Path
    data_offset : int
        Where in the file the embeddings begin, in bytes.
    """

    key: str
    path: Path
    shape: tuple[int, int, int, int]
    data_offset: int
    metadata: dict[str, str]

    @classmethod
    def open(cls, key: str, path: Path) -> CachedScan | None:
        """Return the scan stored in a file, or None where there is none that is whole."""
        try:
            size = path.stat().st_size
            with path.open("rb") as stream:
                length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
                if length > size:
                    return None
                header = json.loads(stream.read(length))
            tensor, body = header["embeddings"], header["body"]
            n, rows, columns, d = tensor["shape"]
            begin = _LENGTH_BYTES + length
            if size != begin + body["data_offsets"][1]:
                return None
            return cls(key, path, (n, rows, columns, d), begin, header["__metadata__"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def _maps(self) -> np.ndarray:
        # Mapped anew each time, so that neither handles nor resident pages add up over thousands of scans.
        return np.memmap(self.path, np.float16, "r", self.data_offset, self.shape)

    def body_bits(self) -> np.ndarray:
        """Return the body on each slice, as bits (n, bytes) uint8."""
        rows, columns = self._placement.shape
        offset = self.data_offset + 2 * math.prod(self.shape)
        return np.memmap(self.path, np.uint8, "r", offset, (self.n_slices, -(-rows * columns // 8)))


@dataclass(frozen=True, eq=False)
class HeldScan(EmbeddedScan):
    """A scan whose embeddings lie in memory.

    Attributes
    ----------
    maps : numpy.ndarray
        (n, gh, gw, d) float16.
    bits : numpy.ndarray
        (n, bytes) uint8, the body.
    """

    key: str
    shape: tuple[int, int, int, int]
    metadata: dict[str, str]
    maps: np.ndarray
    bits: np.ndarray

    def _maps(self) -> np.ndarray:
        return self.maps

    def body_bits(self) -> np.ndarray:
        """Return the body on each slice, as bits (n, bytes) uint8."""
        return self.bits


class EmbeddingCache:
    """The scans of a cohort, in order, each with its embeddings in the work folder.

    Parameters
    ----------
    work : WorkFolder
    reader : ReadAhead
        Reads the next batch while the scorer works on this one.
    """

    def __init__(self, work: WorkFolder, reader: ReadAhead) -> None:
        self._work = work
        self._reader = reader
        self.scans: list[EmbeddedScan] = []

    def find(self, key: str) -> CachedScan | None:
        """Return the scan of that key if an earlier run has embedded it; it is not added yet."""
        return CachedScan.open(key, self._work.claim(key))

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
        begun = False
        with (
            atomic_path(path, self._work.temporary) as temporary,
            temporary.open("wb") as stream,
        ):
            for batch in batches:
                if not begun:
                    stream.write(_header((len(body), *batch.shape[1:]), packed.shape, metadata))
                    begun = True
                stream.write(batch.to(torch.float16).cpu().contiguous().numpy().data)
            stream.write(packed.tobytes())
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
        return CachedEmbeddings([self.scans[i] for i in scans], self._reader, device, seed)


def packed_bits(body: np.ndarray) -> np.ndarray:
    """Return a body (n, rows, columns) bool as bits (n, bytes) uint8."""
    return np.packbits(body.reshape(len(body), -1), axis=1)


def metadata_of(
    placement: Placement, stack: SliceStack, facts: dict[str, Any], edges: EdgeLayout, voxels: str
) -> dict[str, str]:
    """Return what is noted beside the embeddings of a scan; no name or path.

    Parameters
    ----------
    placement : Placement
        Where the model input lies on the slices.
    stack : SliceStack
        How the slices lie in the scan.
    facts : dict
        JSON values; see `scan_facts`.
    edges : EdgeLayout
    voxels : str
        What tells its voxels from another scan's; see `Volume.content_sha256`.
    """
    return {
        "placement": json.dumps(placement.to_dict()),
        "stack": json.dumps(stack.to_dict()),
        "facts": json.dumps(facts),
        "edges": edges.encoded(),
        "voxels": voxels,
    }


def _header(shape: Sequence[int], packed_shape: Sequence[int], metadata: dict[str, str]) -> bytes:
    """Return the beginning of a safetensors file with embeddings and body."""
    split = 2 * math.prod(shape)
    document = {
        "__metadata__": metadata,
        "embeddings": {"dtype": "F16", "shape": list(shape), "data_offsets": [0, split]},
        "body": {
            "dtype": "U8",
            "shape": list(packed_shape),
            "data_offsets": [split, split + math.prod(packed_shape)],
        },
    }
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-(_LENGTH_BYTES + len(text)) % _HEADER_ALIGNMENT)
    return len(text).to_bytes(_LENGTH_BYTES, "little") + text


class CachedEmbeddings:
    """Re-iterable batches (n, gh, gw, d) float32 of cached scans.

    Slices of all scans are mixed (neighbouring slices are nearly alike, which would make poor batches); the order is
    the same at each iteration. Memory holds one batch, and the one being read. To a GPU they go as they are stored,
    in float16, from pinned memory.
    """

    def __init__(
        self, scans: Sequence[EmbeddedScan], reader: ReadAhead, device: torch.device, seed: int
    ) -> None:
        self._scans = list(scans)
        self._reader = reader
        self._device = device
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
