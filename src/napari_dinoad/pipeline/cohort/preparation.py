"""The scans of a folder, read, prepared and embedded into the cache, each once."""

from __future__ import annotations

import logging
import os
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import torch

from napari_dinoad.backbones.embeddings import weights_identity
from napari_dinoad.errors import ScanReadError, SettingError, first_line
from napari_dinoad.images.edge_layout import EdgeLayout
from napari_dinoad.images.scan_file import SkippedFile, without_path
from napari_dinoad.images.slices import prepare_planes
from napari_dinoad.machine.faults import is_of_memory
from napari_dinoad.machine.files import sha256_of_file
from napari_dinoad.machine.read_ahead import ReadAhead
from napari_dinoad.normative_model.fingerprints import fingerprint_of, in_order
from napari_dinoad.pipeline.cohort.embedded_scans import CachedScan, metadata_of
from napari_dinoad.pipeline.cohort.embedding_cache import embedding_key
from napari_dinoad.pipeline.cohort.work_folder import hash_of
from napari_dinoad.pipeline.slices.arriving import Arriving
from napari_dinoad.pipeline.slices.device_slices import slices_of_planes
from napari_dinoad.pipeline.slices.placed_slices import HostSlices
from napari_dinoad.pipeline.slices.scan_facts import scan_facts
from napari_dinoad.pipeline.slices.slice_embedding import SliceEmbedder
from napari_dinoad.progress import report

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from napari_dinoad.backbones import Backbone
    from napari_dinoad.backbones.embeddings import Images
    from napari_dinoad.images.discovery import Discovery
    from napari_dinoad.images.scan_file import ScanFile
    from napari_dinoad.images.slices import PreparedScan
    from napari_dinoad.pipeline.cohort.embedded_scans import EmbeddedScan
    from napari_dinoad.pipeline.cohort.embedding_cache import EmbeddingCache
    from napari_dinoad.pipeline.slices.placed_slices import ScanSlices
    from napari_dinoad.progress import Progress
    from napari_dinoad.settings import Plane, PreprocessingSettings, ReadSettings

__all__ = ["Cohort", "CohortBuilder", "LoadedScan", "content_sha256", "embed_cohort", "load_scan", "stored"]

logger = logging.getLogger(__name__)

_MAX_READERS = 4
"""Threads that read and prepare scans for a GPU; beside a backbone on the CPU one keeps up."""

_DETACHED_SUFFIXES = (".nhdr", ".mhd")
"""Headers whose values lie in another file."""


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


@dataclass(frozen=True, eq=False)
class LoadedScan:
    """What reading ahead brings of a scan: each plane found in the cache or prepared to be embedded; or skipped."""

    scan: ScanFile
    keys: tuple[str, ...] = ()
    cached: tuple[CachedScan | None, ...] = ()
    prepared: tuple[PreparedScan, ...] = ()
    metadata: tuple[dict[str, str], ...] = ()
    reason: str = ""

    @property
    def voxels(self) -> str:
        """What tells the voxels of a scan that is not skipped from another's."""
        first = self.cached[0]
        return (self.metadata[0] if first is None else first.metadata)["voxels"]


def content_sha256(scan: ScanFile, reading: ReadSettings) -> str:
    """Return a SHA-256 (hex) of what is in a scan's files and of how they are read; file names play no part.

    Raises
    ------
    ScanReadError
        If one cannot be read.
    """
    if scan.path.name.lower().endswith(_DETACHED_SUFFIXES):
        # The header names another file, which only its reader knows how to find.
        return scan.read(reading).content_sha256(in_colour=True)
    try:
        if scan.series is not None:
            hashes = {path: sha256_of_file(path) for path in {frame.path for frame in scan.series.frames}}
            # Sorted, since slices are put in order by their headers, whatever their names.
            parts = sorted(f"{hashes[frame.path]} {frame.number}" for frame in scan.series.frames)
        else:
            parts = [sha256_of_file(path) for path in scan.images or (scan.path,)]
    except OSError as error:
        raise ScanReadError(f"{scan.path}: cannot be read ({error.strerror or error})") from error
    return hash_of([*parts, asdict(reading)])


def embed_cohort(
    found: Discovery,
    reading: ReadSettings,
    preprocessing: PreprocessingSettings,
    backbone: Backbone,
    caches: Mapping[Plane, EmbeddingCache],
    progress: Progress | None,
    behind: Collection[int],
) -> Cohort:
    """Embed the scans that are not in the cache yet, and add all of them in the order in which they were found.

    The next scans are read and prepared while the backbone works. Of several files with the same content the first
    is used: a copy would be held out from a model that has seen it.

    Parameters
    ----------
    found : Discovery
    reading : ReadSettings
    preprocessing : PreprocessingSettings
        With ``resolution_px`` set.
    backbone : Backbone
    caches : mapping of EmbeddingCache
        One for each plane of the preprocessing.
    progress : callable, optional
        Called before each scan; may raise `Cancelled`.
    behind : collection of int
        Fingerprints of scans that are left out, since they are behind the model already.

    Raises
    ------
    DinoadError
        If the disk is full; what was embedded so far stays usable.
    """
    built = CohortBuilder(found, caches, behind)
    n_readers = 1 if backbone.device.type == "cpu" else min(_MAX_READERS, os.cpu_count() or 1)
    weights_sha256 = weights_identity(backbone, preprocessing.colour)
    load = partial(load_scan, reading, preprocessing, backbone, weights_sha256, caches)
    tasks = (partial(load, scan) for scan in found.scans)
    with ReadAhead(n_readers) as scan_reader, ReadAhead() as slice_reader:
        for i, loaded in enumerate(scan_reader.results(tasks, ahead=n_readers)):
            report(progress, "Reading and embedding", i, len(found.scans), f"scan {i + 1}")
            if loaded.reason:
                built.skip(loaded.scan, loaded.reason)
            elif not built.is_known(loaded.scan, loaded.voxels):
                built.add(loaded.scan, stored(loaded, caches, backbone, slice_reader))
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


def load_scan(
    reading: ReadSettings,
    preprocessing: PreprocessingSettings,
    backbone: Backbone,
    weights_sha256: str,
    caches: Mapping[Plane, EmbeddingCache],
    scan: ScanFile,
) -> LoadedScan:
    """Look a scan up in the cache, or read and prepare it (on a reading thread)."""
    try:
        content = content_sha256(scan, reading)
        # A plane's key is that of a fit in this plane alone, which can use the same embeddings.
        keys = tuple(
            embedding_key(content, replace(preprocessing, plane=plane), backbone.name, weights_sha256)
            for plane in caches
        )
        cached = tuple(cache.find(key) for cache, key in zip(caches.values(), keys, strict=True))
        if None not in cached:
            return LoadedScan(scan, keys, cached)
        volume = scan.read(reading)
        prepared = prepare_planes(volume, preprocessing, backbone.default_resolution_px)
    except (ScanReadError, SettingError) as error:
        return LoadedScan(scan, reason=without_path(error, scan.path))
    facts, voxels = scan_facts(prepared[0]), volume.content_sha256(preprocessing.colour)
    metadata = tuple(
        metadata_of(
            plane.placement,
            plane.stack,
            {**facts, "n_slices": len(plane.indices)},
            EdgeLayout.of(plane),
            voxels,
        )
        for plane in prepared
    )
    return LoadedScan(scan, keys, cached, prepared, metadata)


def stored(
    loaded: LoadedScan, caches: Mapping[Plane, EmbeddingCache], backbone: Backbone, reader: ReadAhead
) -> list[CachedScan]:
    """Return the scan in each cache, embedding what is not there yet."""
    scans = []
    slices = slices_of_planes(loaded.prepared, backbone.device) if loaded.prepared else []
    for number, (cache, key, cached) in enumerate(
        zip(caches.values(), loaded.keys, loaded.cached, strict=True)
    ):
        if cached is None:
            prepared = loaded.prepared[number]
            body = prepared.body_slices(prepared.indices)
            store = partial(cache.store, key, body=body, metadata=loaded.metadata[number])
            try:
                cached = store(batches=_embedded(prepared, slices[number], backbone, reader))
            except RuntimeError as error:
                if backbone.device.type != "cuda" or not is_of_memory(error):
                    raise
                logger.warning(
                    "The GPU's memory ran out (%s); a scan is resampled by the CPU.", first_line(error)
                )
            if cached is None:
                # Here the exception, which holds tensors, is gone.
                slices = [HostSlices(scan) for scan in loaded.prepared]
                torch.cuda.empty_cache()
                cached = store(batches=_embedded(prepared, slices[number], backbone, reader))
        scans.append(cached)
    return scans


def _embedded(
    prepared: PreparedScan, slices: ScanSlices, backbone: Backbone, reader: ReadAhead
) -> Iterator[torch.Tensor]:
    """Yield the embeddings of a scan's slices, batch by batch; the next batch is resampled meanwhile.

    From a GPU they come in float16, as they are stored, on the CPU; it works on the next batch while one is written.

    A batch never holds slices of two scans: what a scan's embeddings are must not depend on which scans an earlier
    run has done.
    """
    indices, size = prepared.indices, backbone.batch_slices

    def inputs(start: int) -> tuple[Images, list[bytes]]:
        batch = indices[start : start + size]
        return slices.inputs(batch), prepared.contents(batch)

    embed = SliceEmbedder(backbone)
    arriving: Arriving | None = None
    for images, contents in reader.results(partial(inputs, start) for start in range(0, len(indices), size)):
        embeddings = embed(images, contents)
        if embeddings.device.type != "cuda":
            yield embeddings
            continue
        arriving, before = Arriving(embeddings.to(torch.float16)), arriving
        if before is not None:
            yield from before.tensors()
    if arriving is not None:
        yield from arriving.tensors()
