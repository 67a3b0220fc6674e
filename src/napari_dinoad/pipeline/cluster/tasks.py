"""What runs on the workers of a cluster: scans are embedded, and sums and scores computed where the embeddings lie.

Everything here is a plain function of picklable arguments whose result depends on them alone, so that work lost with
a worker can be done again on another, to the same result.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from napari_dinoad import __version__
from napari_dinoad.backbones import load_backbone
from napari_dinoad.backbones.embeddings import weights_identity
from napari_dinoad.errors import WeightsError
from napari_dinoad.machine.read_ahead import ReadAhead
from napari_dinoad.pipeline.cohort.embedded_scans import EmbeddedScan, HeldScan, packed_bits
from napari_dinoad.pipeline.cohort.embedding_cache import EmbeddingCache
from napari_dinoad.pipeline.cohort.scan_embedding import ScanEmbedding
from napari_dinoad.pipeline.cohort.work_folder import WorkFolder
from napari_dinoad.scoring import scorer_from_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from napari_dinoad.backbones import Backbone
    from napari_dinoad.images.scan_file import ScanFile
    from napari_dinoad.scoring.protocol import Scorer, ScorerState
    from napari_dinoad.settings import Device, FitSettings, PreprocessingSettings, ReadSettings

__all__ = [
    "EmbeddingJob",
    "RemoteScorer",
    "__version__",
    "body_bits_of",
    "computed_of",
    "described",
    "embed_scans",
    "same",
    "score_scans",
    "sum_of_scans",
]

T = TypeVar("T")


@dataclass(frozen=True)
class EmbeddingJob:
    """How the scans of a fit are embedded.

    Attributes
    ----------
    reading : ReadSettings
    preprocessing : PreprocessingSettings
        With ``resolution_px`` set.
    backbone, weights, device : str
        See `load_backbone`.
    weights_sha256 : str
        Of the weights that the fit is made with; others are refused.
    root, fit_key : str, optional
        Of the work folder, where the workers share it; None: a scan's embeddings stay with the worker.
    """

    reading: ReadSettings
    preprocessing: PreprocessingSettings
    backbone: str
    weights: str | None
    device: Device
    weights_sha256: str
    root: str | None
    fit_key: str

    @classmethod
    def of(
        cls,
        settings: FitSettings,
        preprocessing: PreprocessingSettings,
        backbone: Backbone,
        shared: WorkFolder | None,
    ) -> EmbeddingJob:
        """Return the job of a fit with a backbone; ``shared`` is its work folder if all workers see it."""
        return cls(
            settings.reading,
            preprocessing,
            settings.backbone,
            settings.weights,
            settings.device,
            weights_identity(backbone, preprocessing.colour),
            None if shared is None else str(shared.root.resolve()),
            "" if shared is None else shared.fit_key,
        )


class _MemoryCache(EmbeddingCache):
    """Keeps what is stored in memory; nothing is ever found in it."""

    def __init__(self) -> None:
        self.scans = []

    def find(self, key: str) -> None:
        """Return None."""

    def store(  # type: ignore[override]
        self,
        key: str,
        batches: Iterable[torch.Tensor],
        body: np.ndarray,
        metadata: dict[str, str],
    ) -> HeldScan:
        """Return the scan as a value; see `EmbeddingCache.store`."""
        maps = np.concatenate([batch.to(torch.float16).cpu().numpy() for batch in batches])
        n, gh, gw, d = maps.shape
        return HeldScan(key, (n, gh, gw, d), metadata, maps, packed_bits(body))


@lru_cache(maxsize=1)
def _backbone_of(name: str, weights: str | None, device: Device) -> Backbone:
    return load_backbone(name, weights, device)


def embed_scans(scans: Sequence[ScanFile], job: EmbeddingJob) -> list[EmbeddedScan | str]:
    """Return each scan embedded in each plane, one after the other; a scan that cannot be, as so many reasons.

    Raises
    ------
    WeightsError
        If this worker has other weights than the fit.
    """
    backbone = _backbone_of(job.backbone, job.weights, job.device)
    sha256 = weights_identity(backbone, job.preprocessing.colour)
    if sha256 != job.weights_sha256:
        raise WeightsError(
            f"Weights of {job.backbone} on a worker: expected SHA-256 {job.weights_sha256[:12]}…, got "
            f"{sha256[:12]}…. Give every worker the same weights file."
        )
    planes = job.preprocessing.planes
    results: list[EmbeddedScan | str] = []
    with ReadAhead() as reader:
        cache = _MemoryCache() if job.root is None else EmbeddingCache(_shared_folder(job), reader)
        caches = dict.fromkeys(planes, cache)
        embedding = ScanEmbedding(job.reading, job.preprocessing, backbone, caches)
        for scan in scans:
            loaded = embedding.load(scan)
            if loaded.reason:
                results += [loaded.reason] * len(planes)
            else:
                results += embedding.stored(loaded, reader)
    return results


def _shared_folder(job: EmbeddingJob) -> WorkFolder:
    return WorkFolder(Path(job.root or ""), job.fit_key)


def described(results: Sequence[EmbeddedScan | str]) -> list[Any]:
    """Return key, shape and metadata of each scan, and the reasons: all that has to leave a worker."""
    return [
        result if isinstance(result, str) else (result.key, result.shape, result.metadata)
        for result in results
    ]


def sum_of_scans(
    scans: Sequence[EmbeddedScan],
    places: Sequence[int],
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
) -> Any:
    """Return Σ function(batch, *arguments) over the batches of the scans at these places."""
    total = None
    for place in places:
        for batch in scans[place].batches():
            part = function(batch, *arguments)
            total = part if total is None else total + part
    return total


def computed_of(
    scans: Sequence[EmbeddedScan], place: int, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> Any:
    """Return function(scan, *arguments) of a scan."""
    return function(scans[place], *arguments)


def body_bits_of(scan: EmbeddedScan) -> np.ndarray:
    """Return the body of a scan as bits (n, bytes) uint8."""
    return np.array(scan.body_bits())


class RemoteScorer:
    """A scorer on its way to the workers: rebuilt once on each."""

    def __init__(self, state: ScorerState) -> None:
        self._state = state
        self._scorer: Scorer | None = None

    def __reduce__(self) -> tuple[type[RemoteScorer], tuple[ScorerState]]:
        return type(self), (self._state,)

    def scorer(self) -> Scorer:
        """Return the scorer, on the CPU."""
        if self._scorer is None:
            self._scorer = scorer_from_state(self._state)
        return self._scorer


def score_scans(
    scans: Sequence[EmbeddedScan], places: Sequence[int], arguments: tuple[RemoteScorer]
) -> list[np.ndarray]:
    """Return the patch scores (n, gh, gw) float32 of the scans at these places."""
    scorer = arguments[0].scorer()
    return [
        np.concatenate([scorer.score(batch).cpu().numpy() for batch in scans[place].batches()])
        for place in places
    ]


def same(values: T) -> T:
    """Return what is given: values on their way to the workers, as a task that can be done again."""
    return values
