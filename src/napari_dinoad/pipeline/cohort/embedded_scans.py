"""A scan with its embeddings and body: in a file, or held in memory.

The file is a safetensors file: embeddings (float16), body (bits); in its metadata the placement of the model input,
how the slices lie in the scan, and facts of the scan.
"""

from __future__ import annotations

import json
import math
import sys
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from napari_dinoad.images.edge_layout import EdgeLayout
from napari_dinoad.images.placement import Placement
from napari_dinoad.images.slices import SliceStack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

__all__ = [
    "MAPS_PER_BATCH",
    "CachedScan",
    "EmbeddedScan",
    "HeldScan",
    "header_of",
    "metadata_of",
    "packed_bits",
]

T = TypeVar("T")

MAPS_PER_BATCH = 32
"""Embedding maps in a batch handed to a scorer."""

_OFTEN_ALIKE = ("placement", "stack")
"""Texts that are the same for many of thousands of scans: each is held in memory once."""

_CHECKSUM = "crc32"
_BLOCK_BYTES = 2**20

_HEADER_ALIGNMENT = 64
_LENGTH_BYTES = 8


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

    def compute(self, function: Callable[..., T], *arguments: Any) -> T:
        """Return function(this scan, *arguments), computed where the embeddings lie; both must be picklable."""
        return function(self, *arguments)

    def batches(self) -> Iterator[torch.Tensor]:
        """Yield the embeddings (m, gh, gw, d) float32 of its slices in order, `MAPS_PER_BATCH` at a time."""
        for start in range(0, self.n_slices, MAPS_PER_BATCH):
            yield torch.from_numpy(self.rows(range(start, min(start + MAPS_PER_BATCH, self.n_slices))))

    def rows(self, rows: Sequence[int]) -> np.ndarray:
        """Return the embeddings (len(rows), gh, gw, d) float32 of some slices."""
        maps = np.empty((len(rows), *self.shape[1:]), dtype=np.float32)
        self.copy_rows(rows, maps)
        return maps

    def patches(self, slices: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Return single patches (m, d) float32, by their slices and their places in the grid, row by row, (m,)."""
        chosen = np.empty((len(slices), self.shape[-1]), dtype=np.float32)
        for number in np.unique(slices):
            here = slices == number
            chosen[here] = self.rows([number])[0].reshape(-1, self.shape[-1])[places[here]]
        return chosen

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

    def body(self, numbers: Sequence[int] | None = None) -> np.ndarray:
        """Return the body (n, rows, columns) bool on some of the scan's slices, or all, in display orientation."""
        rows, columns = self._placement.shape
        packed = self.body_bits() if numbers is None else self.body_bits()[list(numbers)]
        bits = np.unpackbits(packed, axis=1, count=rows * columns)
        return bits.reshape(len(packed), rows, columns).view(bool)

    def outline(self, cells: int, numbers: Sequence[int] | None = None) -> np.ndarray:
        """Return how much of each cell of a grid on the model input is body (n, cells, cells) float32; see `body`."""
        return self._placement.coarser(cells).to_model(self.body(numbers))

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
            metadata = {
                sys.intern(name): sys.intern(text) if name in _OFTEN_ALIKE else text
                for name, text in header["__metadata__"].items()
                if name != _CHECKSUM
            }
            return cls(key, path, (n, rows, columns, d), begin, metadata)
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def is_intact(self) -> bool:
        """Whether the file is as it was written, by its checksum; all of it is read."""
        checksum = n_bytes = 0
        with self.path.open("rb") as stream:
            header = stream.read(self.data_offset)
            while block := stream.read(_BLOCK_BYTES):
                checksum, n_bytes = zlib.crc32(block, checksum), n_bytes + len(block)
        packed_shape = (self.n_slices, n_bytes // max(1, self.n_slices) - 2 * math.prod(self.shape[1:]))
        return header == header_of(self.shape, packed_shape, self.metadata, checksum)

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


def header_of(
    shape: Sequence[int], packed_shape: Sequence[int], metadata: dict[str, str], checksum: int = 0
) -> bytes:
    """Return the beginning of a safetensors file with embeddings and body.

    It is as long whatever the checksum (CRC-32) of what follows it is. That of the whole file is in it.
    """
    split = 2 * math.prod(shape)
    document: dict[str, Any] = {
        "__metadata__": metadata,
        "embeddings": {"dtype": "F16", "shape": list(shape), "data_offsets": [0, split]},
        "body": {
            "dtype": "U8",
            "shape": list(packed_shape),
            "data_offsets": [split, split + math.prod(packed_shape)],
        },
    }
    checksum = zlib.crc32(json.dumps(document).encode(), checksum)
    document["__metadata__"] = {_CHECKSUM: f"{checksum:08x}", **metadata}
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-(_LENGTH_BYTES + len(text)) % _HEADER_ALIGNMENT)
    return len(text).to_bytes(_LENGTH_BYTES, "little") + text
