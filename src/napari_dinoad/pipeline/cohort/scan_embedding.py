"""One scan of a cohort: looked up in the cache, or read, prepared and embedded into it."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import torch

from napari_dinoad.backbones.embeddings import weights_identity
from napari_dinoad.errors import ScanReadError, SettingError, first_line
from napari_dinoad.images.edge_layout import EdgeLayout
from napari_dinoad.images.itk.headers import has_voxels_apart
from napari_dinoad.images.scan_file import without_path
from napari_dinoad.images.slices import prepare_planes
from napari_dinoad.machine.faults import is_of_memory
from napari_dinoad.machine.files import sha256_of_file
from napari_dinoad.pipeline.cohort.embedded_scans import metadata_of
from napari_dinoad.pipeline.cohort.embedding_cache import embedding_key
from napari_dinoad.pipeline.cohort.work_folder import hash_of
from napari_dinoad.pipeline.slices.arriving import Arriving
from napari_dinoad.pipeline.slices.device_slices import slices_of_planes
from napari_dinoad.pipeline.slices.placed_slices import HostSlices
from napari_dinoad.pipeline.slices.scan_facts import scan_facts
from napari_dinoad.pipeline.slices.slice_embedding import SliceEmbedder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from napari_dinoad.backbones import Backbone
    from napari_dinoad.backbones.embeddings import Images
    from napari_dinoad.images.scan_file import ScanFile
    from napari_dinoad.images.slices import PreparedScan
    from napari_dinoad.machine.read_ahead import ReadAhead
    from napari_dinoad.pipeline.cohort.embedded_scans import CachedScan
    from napari_dinoad.pipeline.cohort.embedding_cache import EmbeddingCache
    from napari_dinoad.pipeline.slices.placed_slices import ScanSlices
    from napari_dinoad.settings import Plane, PreprocessingSettings, ReadSettings

__all__ = ["ScanEmbedding", "ScanToEmbed", "scan_sha256"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ScanToEmbed:
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


def scan_sha256(scan: ScanFile, reading: ReadSettings) -> str:
    """Return a SHA-256 (hex) of what is in a scan's files and of how they are read.

    Neither file names play a part, nor by which series the scan was chosen.

    Raises
    ------
    ScanReadError
        If one cannot be read.
    """
    try:
        if scan.path.is_file() and has_voxels_apart(scan.path):
            # What the reader makes of the files that the header names.
            return scan.read(reading).content_sha256(in_colour=True)
        if scan.series is not None:
            hashes = {path: sha256_of_file(path) for path in {frame.path for frame in scan.series.frames}}
            # Sorted, since slices are put in order by their headers, whatever their names.
            parts = sorted(f"{hashes[frame.path]} {frame.number}" for frame in scan.series.frames)
        else:
            parts = [sha256_of_file(path) for path in scan.images or (scan.path,)]
    except OSError as error:
        raise ScanReadError(f"{scan.path}: cannot be read ({error.strerror or error})") from error
    return hash_of([*parts, asdict(replace(reading, series=None))])


class ScanEmbedding:
    """How scans are embedded into caches.

    Parameters
    ----------
    reading : ReadSettings
    preprocessing : PreprocessingSettings
        With ``resolution_px`` set.
    backbone : Backbone
    caches : mapping of EmbeddingCache
        One for each plane of the preprocessing.
    """

    def __init__(
        self,
        reading: ReadSettings,
        preprocessing: PreprocessingSettings,
        backbone: Backbone,
        caches: Mapping[Plane, EmbeddingCache],
    ) -> None:
        self._reading = reading
        self._preprocessing = preprocessing
        self.backbone = backbone
        self.caches = caches
        # Told once: of a large network it takes a while, and scans are loaded by several threads.
        self._weights_sha256 = weights_identity(backbone, preprocessing.colour)

    def load(self, scan: ScanFile) -> ScanToEmbed:
        """Look a scan up in the caches, or read and prepare it (on a reading thread)."""
        preprocessing, backbone = self._preprocessing, self.backbone
        try:
            content = scan_sha256(scan, self._reading)
            # A plane's key is that of a fit in this plane alone, which can use the same embeddings.
            keys = tuple(
                embedding_key(
                    content, replace(preprocessing, plane=plane), backbone.name, self._weights_sha256
                )
                for plane in self.caches
            )
            cached = tuple(cache.find(key) for cache, key in zip(self.caches.values(), keys, strict=True))
            if None not in cached:
                return ScanToEmbed(scan, keys, cached)
            volume = scan.read(self._reading)
            prepared = prepare_planes(volume, preprocessing, backbone.default_resolution_px)
        except (ScanReadError, SettingError) as error:
            return ScanToEmbed(scan, reason=without_path(error, scan.path))
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
        return ScanToEmbed(scan, keys, cached, prepared, metadata)

    def stored(self, loaded: ScanToEmbed, reader: ReadAhead) -> list[CachedScan]:
        """Return the scan in each cache, embedding what is not there yet; ``reader`` prepares the next slices."""
        backbone, scans = self.backbone, []
        slices = slices_of_planes(loaded.prepared, backbone.device) if loaded.prepared else []
        for number, (cache, key, cached) in enumerate(
            zip(self.caches.values(), loaded.keys, loaded.cached, strict=True)
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
