"""Embeddings of the cohort on disk: each scan is read and embedded once, every epoch reads from here."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import save_file

from napari_dinoad.files import atomic_path
from napari_dinoad.images.placement import Placement

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["CachedEmbeddings", "CachedScan", "EmbeddingCache"]

MAPS_PER_BATCH = 32
"""Embedding maps in a batch handed to a scorer."""


@dataclass(frozen=True)
class CachedScan:
    """A scan in the cache: where it lies and how many slices it has."""

    path: Path
    n_slices: int

    def embeddings(self) -> torch.Tensor:
        """Return the embeddings (n, gh, gw, d) float32."""
        with safe_open(self.path, framework="pt") as stored:
            tensor: torch.Tensor = stored.get_tensor("embeddings")
        return tensor.float()

    def rows(self, indices: Sequence[int]) -> torch.Tensor:
        """Return the embeddings of some slices (n, gh, gw, d) float16."""
        with safe_open(self.path, framework="pt") as stored:
            view = stored.get_slice("embeddings")
            return torch.cat([view[index : index + 1] for index in indices])

    def body_scores(self, patch_scores: np.ndarray) -> np.ndarray:
        """Return raw scores (m,) float32 at the scan's body voxels of patch scores (n, gh, gw).

        The patch scores are placed on the slices' own voxels exactly as `detect` does it.
        """
        with safe_open(self.path, framework="np") as stored:
            placement = Placement.from_dict(json.loads(stored.metadata()["placement"]))
            packed = stored.get_tensor("body")
        rows, columns = placement.shape
        scores = []
        for patch_map, bits in zip(patch_scores, packed, strict=True):
            body = np.unpackbits(bits, count=rows * columns).reshape(rows, columns).view(bool)
            scores.append(placement.to_slice(patch_map[np.newaxis])[0][body])
        return np.concatenate(scores)


class EmbeddingCache:
    """A folder with one file a scan: embeddings (float16), body (bits) and placement."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scans: list[CachedScan] = []

    def add(self, embeddings: torch.Tensor, body: np.ndarray, placement: Placement) -> CachedScan:
        """Store a scan.

        Parameters
        ----------
        embeddings : torch.Tensor
            (n, gh, gw, d) float.
        body : numpy.ndarray
            (n, rows, columns) bool, the body on the same slices.
        placement : Placement
            Where the model input lies on the slices.
        """
        path = self.folder / f"{len(self.scans):06d}.safetensors"
        tensors = {
            "embeddings": embeddings.to(torch.float16).cpu().numpy(),
            "body": np.packbits(body.reshape(len(body), -1), axis=1),
        }
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, {"placement": json.dumps(placement.to_dict())})
        scan = CachedScan(path, len(body))
        self.scans.append(scan)
        return scan

    def batches(self, scans: Sequence[int], device: torch.device, seed: int) -> CachedEmbeddings:
        """Return the embeddings of these scans as re-iterable batches in a fixed, mixed order."""
        return CachedEmbeddings([self.scans[i] for i in scans], device, seed)


class CachedEmbeddings:
    """Re-iterable batches (n, gh, gw, d) float32 of cached scans.

    Slices of all scans are mixed (neighbouring slices are nearly alike, which would make poor batches); the order is
    the same at each iteration. Memory holds one batch at a time.
    """

    def __init__(self, scans: Sequence[CachedScan], device: torch.device, seed: int) -> None:
        self._scans = list(scans)
        self._device = device
        places = [(i, row) for i, scan in enumerate(self._scans) for row in range(scan.n_slices)]
        self._order = np.random.default_rng(seed).permutation(np.array(places, dtype=np.int64))

    def __len__(self) -> int:
        return -(-len(self._order) // MAPS_PER_BATCH)

    def __iter__(self) -> Iterator[torch.Tensor]:
        for start in range(0, len(self._order), MAPS_PER_BATCH):
            batch = self._order[start : start + MAPS_PER_BATCH]
            parts = [
                self._scans[i].rows([int(row) for scan, row in batch if scan == i])
                for i in sorted({int(scan) for scan, _ in batch})
            ]
            yield torch.cat(parts).to(self._device).float()
