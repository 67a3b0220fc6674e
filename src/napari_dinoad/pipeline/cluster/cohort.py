"""The embeddings of a cohort on a cluster: made there, and used where they lie.

Where the workers see the fit's work folder, embeddings are files in it, as without a cluster, and any worker reads
any of them. Where they do not, a scan's embeddings stay with the worker that made them (Dask spills them to its
disk), and are made again if it dies.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from napari_dinoad.errors import SettingError
from napari_dinoad.pipeline.cluster import tasks as cluster_tasks
from napari_dinoad.pipeline.cluster.tasks import EmbeddingJob, RemoteScorer, embed_scans
from napari_dinoad.pipeline.cohort.embedded_scans import MAPS_PER_BATCH, EmbeddedScan
from napari_dinoad.pipeline.cohort.embedding_cache import CachedEmbeddings, EmbeddingCache
from napari_dinoad.pipeline.cohort.preparation import CohortBuilder
from napari_dinoad.progress import report

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from napari_dinoad.backbones import Backbone
    from napari_dinoad.images.discovery import Discovery
    from napari_dinoad.machine.read_ahead import ReadAhead
    from napari_dinoad.pipeline.cluster.workers import Cluster, Source
    from napari_dinoad.pipeline.cohort.preparation import Cohort
    from napari_dinoad.pipeline.cohort.work_folder import WorkFolder
    from napari_dinoad.progress import Progress
    from napari_dinoad.scoring.protocol import Scorer
    from napari_dinoad.settings import FitSettings, PreprocessingSettings

__all__ = ["ClusterCache", "RemoteScan", "embed_on_cluster"]

T = TypeVar("T")

logger = logging.getLogger(__name__)

IMAGES_PER_TASK = 16
"""2D images embedded in one task: what is summed over them is then larger than what is sent about it."""


@dataclass(frozen=True, eq=False)
class RemoteScan(EmbeddedScan):
    """A scan whose embeddings lie with a worker.

    Attributes
    ----------
    cluster : Cluster
    source : distributed.Future
        Of the list of scans that it was embedded with.
    place : int
        Its place there.
    """

    key: str
    shape: tuple[int, int, int, int]
    metadata: dict[str, str]
    cluster: Cluster
    source: Source
    place: int

    def compute(self, function: Callable[..., T], *arguments: Any) -> T:
        """Return function(this scan, *arguments), computed by the worker; only the result is moved."""
        result: T = self.cluster.call(cluster_tasks.computed_of, self.source, self.place, function, arguments)
        return result

    def copy_rows(self, rows: Sequence[int], target: np.ndarray) -> None:
        """Fetch the embeddings of some slices into ``target``."""
        target[:] = self.compute(EmbeddedScan.rows, list(rows))

    def body_bits(self) -> np.ndarray:
        """Return the body on each slice, as bits (n, bytes) uint8."""
        return self.compute(cluster_tasks.body_bits_of)


class ClusterCache(EmbeddingCache):
    """The scans of a cohort whose embeddings are used by workers.

    Parameters
    ----------
    work : WorkFolder
    reader : ReadAhead
    cluster : Cluster
    """

    def __init__(self, work: WorkFolder, reader: ReadAhead, cluster: Cluster) -> None:
        super().__init__(work, reader)
        self._cluster = cluster

    def batches(self, scans: Sequence[int], device: torch.device, seed: int) -> ClusterEmbeddings:
        """Return the embeddings of these scans as batches that scorers can also use where they lie."""
        chosen = [self.scans[i] for i in scans]
        return ClusterEmbeddings(chosen, self._reader, device, seed, self._cluster)

    def patch_scores(
        self, scans: Sequence[int], scorer: Scorer, device: torch.device
    ) -> Iterator[np.ndarray]:
        """Yield the patch scores of these scans, each computed where its embeddings lie."""
        groups = [group for i in scans for group in _groups([self.scans[i]])]
        sent = (RemoteScorer(scorer.state()),)
        for (scores,) in self._cluster.map(groups, cluster_tasks.score_scans, sent):
            yield scores


class ClusterEmbeddings(CachedEmbeddings):
    """Batches of a cohort on a cluster; see `DistributedBatches`."""

    def __init__(
        self,
        scans: Sequence[EmbeddedScan],
        reader: ReadAhead,
        device: torch.device,
        seed: int,
        cluster: Cluster,
    ) -> None:
        super().__init__(scans, reader, device, seed)
        self._cluster = cluster

    def sum_over(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return Σ function(batch, *arguments) over all scans, computed where they lie, in a fixed order."""
        return self._cluster.sum_over(_groups(self._scans), function, arguments)

    def patch_counts(self) -> list[int]:
        """Return how many patches each batch holds."""
        _, gh, gw, _ = self._scans[0].shape
        n_maps = len(self._places)
        return [min(MAPS_PER_BATCH, n_maps - b * MAPS_PER_BATCH) * gh * gw for b in range(len(self))]

    def patches_at(self, rows: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return single patches (m, d) float32; ``rows`` are their places in each batch."""
        _, gh, gw, d = self._scans[0].shape
        owners, slices, patches = [], [], []
        for index, own in enumerate(rows):
            maps, patch = np.divmod(own.numpy(), gh * gw)
            places = self._ordered_places(index)[maps]
            owners.append(places[:, 0])
            slices.append(places[:, 1])
            patches.append(patch)
        owner, slice_of, patch_of = (np.concatenate(part) for part in (owners, slices, patches))
        result = np.empty((len(owner), d), dtype=np.float32)
        wanted = []
        for i in np.unique(owner):
            where = np.flatnonzero(owner == i)
            ((source, (place,)),) = _groups([self._scans[i]])
            chosen = (slice_of[where], patch_of[where])
            task = self._cluster.submit(
                cluster_tasks.computed_of, source, place, EmbeddedScan.patches, chosen
            )
            wanted.append((where, task))
        for where, task in wanted:
            result[where] = self._cluster.result_of(task)
        return torch.from_numpy(result)


def _groups(scans: Sequence[EmbeddedScan]) -> list[tuple[Source, list[int]]]:
    """Return the scans as tasks: those that were embedded together, or up to so many maps that lie in files."""
    groups: list[tuple[Source, list[int]]] = []
    room = 0
    for scan in scans:
        if isinstance(scan, RemoteScan):
            if groups and groups[-1][0] is scan.source:
                groups[-1][1].append(scan.place)
            else:
                groups.append((scan.source, [scan.place]))
        elif groups and room > 0:
            groups[-1][0].append(scan)
            groups[-1][1].append(len(groups[-1][1]))
            room -= scan.n_slices
        else:
            groups.append(([scan], [0]))
            room = 4 * MAPS_PER_BATCH - scan.n_slices
    return groups


def embed_on_cluster(
    found: Discovery,
    settings: FitSettings,
    preprocessing: PreprocessingSettings,
    backbone: Backbone,
    work: WorkFolder,
    reader: ReadAhead,
    cluster: Cluster,
    progress: Progress | None,
    behind: Collection[int],
) -> Cohort:
    """Embed scans on the workers, and add all of them in the order in which they were found.

    Parameters
    ----------
    found : Discovery
        Of a folder that all workers see under the same name.
    settings : FitSettings
    preprocessing : PreprocessingSettings
        With ``resolution_px`` set.
    backbone : Backbone
        Of this machine; the workers load the same.
    work : WorkFolder
    reader : ReadAhead
    cluster : Cluster
    progress : callable, optional
        Called as scans are done; may raise `Cancelled`.
    behind : collection of int
        See `embed_cohort`.

    Raises
    ------
    SettingError
        If a worker does not see the folder.
    """
    if not cluster.sees(found.folder):
        raise SettingError(
            f"{found.folder}: expected a folder that all workers see under this name, at least one does not. "
            "Put the scans on a shared folder, or copy them to the same place on each machine."
        )
    is_shared = cluster.shares(work.temporary)
    logger.info("embeddings lie in %s", "the work folder" if is_shared else "the workers' memory")
    job = EmbeddingJob.of(settings, preprocessing, backbone, work if is_shared else None)
    caches = {plane: ClusterCache(work, reader, cluster) for plane in preprocessing.planes}
    built = CohortBuilder(found, caches, behind)
    size = IMAGES_PER_TASK if found.is_mostly_2d else 1
    chunks = [found.scans[i : i + size] for i in range(0, len(found.scans), size)]
    sources = [cluster.submit(embed_scans, chunk, job) for chunk in chunks]
    done = 0
    for chunk, source in zip(chunks, sources, strict=True):
        report(progress, "Reading and embedding", done, len(found.scans), f"scan {done + 1}")
        embedded = _embedded(cluster, source, job)
        for number, scan in enumerate(chunk):
            planes = embedded[number * len(caches) : (number + 1) * len(caches)]
            reasons = [plane for plane in planes if isinstance(plane, str)]
            scans = [plane for plane in planes if not isinstance(plane, str)]
            if reasons:
                built.skip(scan, reasons[0])
            elif not built.is_known(scan, scans[0].metadata["voxels"]):
                built.add(scan, scans)
        done += len(chunk)
    report(progress, "Reading and embedding", done, done)
    return built.cohort()


def _embedded(cluster: Cluster, source: Source, job: EmbeddingJob) -> list[EmbeddedScan | str]:
    """Wait for a chunk of scans and return what can be used of it here."""
    if job.root is not None:
        results: list[EmbeddedScan | str] = cluster.result_of(source)
        return results
    return [
        item if isinstance(item, str) else RemoteScan(item[0], item[1], item[2], cluster, source, place)
        for place, item in enumerate(cluster.call(cluster_tasks.described, source))
    ]
