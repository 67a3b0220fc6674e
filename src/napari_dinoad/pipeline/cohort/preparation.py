"""The scans of a folder, read, prepared and embedded into the cache, each once."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from napari_dinoad.images.scan_file import SkippedFile
from napari_dinoad.machine.read_ahead import ReadAhead
from napari_dinoad.normative_model.fingerprints import fingerprint_of, in_order
from napari_dinoad.progress import report

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from napari_dinoad.images.discovery import Discovery
    from napari_dinoad.images.scan_file import ScanFile
    from napari_dinoad.pipeline.cohort.embedded_scans import EmbeddedScan
    from napari_dinoad.pipeline.cohort.embedding_cache import EmbeddingCache
    from napari_dinoad.pipeline.cohort.scan_embedding import ScanEmbedding
    from napari_dinoad.progress import Progress
    from napari_dinoad.settings import Plane

__all__ = ["Cohort", "CohortBuilder", "embed_cohort"]

_MAX_READERS = 4
"""Threads that read and prepare scans for a GPU; beside a backbone on the CPU one keeps up."""


@dataclass(frozen=True)
class Cohort:
    """The scans that are in the caches, one for each plane, in their order, and what was skipped.

    Of those skipped, ``n_behind`` were so because the model that scans are added to has been fitted on them already.
    """

    scans: tuple[ScanFile, ...]
    skipped: tuple[SkippedFile, ...]
    caches: Mapping[Plane, EmbeddingCache]
    n_behind: int = 0

    @property
    def paths(self) -> tuple[Path, ...]:
        """Where the scans lie."""
        return tuple(scan.path for scan in self.scans)

    @property
    def cache(self) -> EmbeddingCache:
        """The cache of the only plane, or the first."""
        return next(iter(self.caches.values()))

    @property
    def fingerprints(self) -> tuple[int, ...]:
        """What tells the scans from others; see `fingerprint_of`."""
        return in_order(fingerprint_of(scan.metadata["voxels"]) for scan in self.cache.scans)

    @property
    def n_slices(self) -> int:
        """Slices of all scans, in all planes."""
        return sum(scan.n_slices for cache in self.caches.values() for scan in cache.scans)


def embed_cohort(
    found: Discovery, embedding: ScanEmbedding, progress: Progress | None, behind: Collection[int]
) -> Cohort:
    """Embed the scans that are not in the cache yet, and add all of them in the order in which they were found.

    The next scans are read and prepared while the backbone works. Of several files with the same content the first
    is used: a copy would be held out from a model that has seen it.

    Parameters
    ----------
    found : Discovery
    embedding : ScanEmbedding
    progress : callable, optional
        Called before each scan; may raise `Cancelled`.
    behind : collection of int
        Fingerprints of scans that are left out, since they are behind the model already.

    Raises
    ------
    DinoadError
        If the disk is full; what was embedded so far stays usable.
    """
    built = CohortBuilder(found, embedding.caches, behind)
    n_readers = 1 if embedding.backbone.device.type == "cpu" else min(_MAX_READERS, os.cpu_count() or 1)
    tasks = (partial(embedding.load, scan) for scan in found.scans)
    with ReadAhead(n_readers) as scan_reader, ReadAhead() as slice_reader:
        for i, loaded in enumerate(scan_reader.results(tasks, ahead=n_readers)):
            report(progress, "Reading and embedding", i, len(found.scans), f"scan {i + 1}")
            if loaded.reason:
                built.skip(loaded.scan, loaded.reason)
            elif not built.is_known(loaded.scan, loaded.voxels):
                built.add(loaded.scan, embedding.stored(loaded, slice_reader))
    report(progress, "Reading and embedding", len(found.scans), len(found.scans))
    return built.cohort()


class CohortBuilder:
    """Adds embedded scans to the caches in their order, and notes which are not used.

    Parameters
    ----------
    found : Discovery
    caches : mapping of EmbeddingCache
        One for each plane.
    behind : collection of int
        Fingerprints of scans that are behind the model already that these are added to.
    """

    def __init__(
        self, found: Discovery, caches: Mapping[Plane, EmbeddingCache], behind: Collection[int]
    ) -> None:
        self._folder = found.folder
        self._caches = caches
        self._behind = frozenset(behind)
        self._n_behind = 0
        self._by_voxels: dict[str, ScanFile] = {}
        self._skipped = list(found.skipped)

    def is_known(self, scan: ScanFile, voxels: str) -> bool:
        """Return whether a scan with these voxels was added already, or is behind the model; it is skipped then.

        Its format does not matter: an unpacked or converted copy has the same voxels.
        """
        if fingerprint_of(voxels) in self._behind:
            self._n_behind += 1
            self.skip(scan, "behind the model already")
            return True
        twin = self._by_voxels.get(voxels)
        if twin is not None:
            # In other folders names may be the same.
            path = twin.path
            own = path.relative_to(self._folder) if path.is_relative_to(self._folder) else path
            self.skip(scan, f"the same content as {own}", "the same content as another scan")
        return twin is not None

    def skip(self, scan: ScanFile, reason: str, kind: str = "") -> None:
        """Leave a scan out; see `SkippedFile`."""
        self._skipped.append(SkippedFile(scan.path, reason, kind=kind))

    def add(self, scan: ScanFile, planes: Sequence[EmbeddedScan]) -> None:
        """Make a scan, embedded in each plane, the next one of the cohort."""
        for cache, embedded in zip(self._caches.values(), planes, strict=True):
            cache.add(embedded)
        self._by_voxels[planes[0].metadata["voxels"]] = scan

    def cohort(self) -> Cohort:
        """Return what was added and skipped."""
        return Cohort(tuple(self._by_voxels.values()), tuple(self._skipped), self._caches, self._n_behind)
