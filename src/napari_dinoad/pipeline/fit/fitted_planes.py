"""Scorers fitted and calibrated: on one split, or on folds in which every scan is once held out."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_dinoad.errors import ModelFileError
from napari_dinoad.pipeline.cohort.work_folder import VERSION, hash_of
from napari_dinoad.pipeline.fit.checkpoints import Checkpoints
from napari_dinoad.pipeline.fit.folds import choose_folds, choose_validation
from napari_dinoad.pipeline.fit.held_out_scans import HeldOutPlane, HeldOutScans, HeldOutScores, fuse_planes
from napari_dinoad.progress import report
from napari_dinoad.scoring import make_scorer, scorer_from_state
from napari_dinoad.scoring.dpmm.scorer import DpmmScorer
from napari_dinoad.scoring.summation import DistributedBatches
from napari_dinoad.settings import DpmmSettings, MemoryBankSettings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_dinoad.calibration import Calibration
    from napari_dinoad.normative_model.plane_model import PlaneModel
    from napari_dinoad.pipeline.cohort.embedding_cache import EmbeddingCache
    from napari_dinoad.pipeline.cohort.work_folder import WorkFolder
    from napari_dinoad.progress import Progress, ProgressEvent
    from napari_dinoad.scoring.protocol import Scorer
    from napari_dinoad.settings import (
        ArCnnSettings,
        FitSettings,
        Plane,
        ScorerName,
    )

__all__ = ["FittedPlanes", "cluster_all", "fit_and_calibrate", "hash_of_mixture"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class FittedPlanes:
    """The fitted planes with their calibrations, and the held-out scores of normal scans by place in the cache."""

    planes: tuple[PlaneModel, ...]
    calibration: Calibration
    scan_scores: dict[int, float]


def fit_and_calibrate(
    caches: Mapping[Plane, EmbeddingCache],
    persons: Sequence[int],
    settings: FitSettings,
    device: torch.device,
    work: WorkFolder,
    progress: Progress | None,
    earlier: DpmmScorer | None,
) -> FittedPlanes:
    """Fit the scorers of each plane on cached embeddings and calibrate them on scans that they have not seen.

    Parameters
    ----------
    caches : mapping of EmbeddingCache
        One for each plane, with the same scans, at least two, in the same order.
    persons : sequence of int
        The person of each scan, see `Persons.of_scan`; at least two persons.
    settings : FitSettings
    device : torch.device
        Where the scorers are fitted.
    work : WorkFolder
        Each scorer goes on from what is kept here of it, and is kept after each epoch. Gets the patch scores of
        held-out scans, too.
    progress : callable, optional
        May raise `Cancelled`.
    earlier : DpmmScorer, optional
        A fitted mixture that the scans are added to.
    """
    person_of = np.asarray(persons)
    every = np.arange(len(person_of))
    folds, is_cross = choose_folds(person_of, settings.calibration, settings.seed)
    calibrating = HeldOutScans(
        tuple(scan for fold in folds for scan in fold.tolist()),
        settings.calibration.scan_top_fraction,
        "cross" if is_cross else "split",
        progress,
        settings.calibration.smoothing_mm,
        tuple(persons),
        tuple(filter(settings.is_levelled, settings.scorer_names)),
        settings.calibration.n_kept_patches,
    )
    scores = HeldOutScores(work.held_out)
    planes, models = [], []
    for plane, cache in caches.items():
        fit = _PlaneFit(plane, cache, person_of, settings, device, Checkpoints.of(work), earlier)
        scorers: dict[ScorerName, Scorer] = {}
        for name in settings.scorer_names:
            part = _part_label(plane, name, len(caches), len(settings.scorer_names))
            for number, fold in enumerate(folds, start=1):
                label = f"{part}, fold {number} of {len(folds)}" if is_cross else part
                scorers[name] = fit.scorer(name, np.setdiff1d(every, fold), _labelled(progress, label))
                fit.score_held_out(scorers[name], fold, scores, progress)
            if is_cross:
                scorers[name] = fit.scorer(name, every, _labelled(progress, part))
        planes.append(HeldOutPlane(plane, list(scorers), cache, scores, calibrating))
        models.append(planes[-1].model(scorers, is_whole=len(caches) == 1))
    # A likelihood is joined by the weights of its parts; see ``joined_calibrations``.
    if len(planes) == 1 and list(scorers) == ["dpmm"] and not settings.dpmm.is_of_likelihood:
        models = [replace(models[0], patches=planes[0].patches("dpmm"))]
    if len(planes) == 1:
        return FittedPlanes(tuple(models), models[0].calibration, planes[0].scan_scores)
    fused = fuse_planes(planes, calibrating)
    return FittedPlanes(tuple(models), fused.for_new_persons(), fused.scan_scores)


def _part_label(plane: Plane, scorer: ScorerName, n_planes: int, n_scorers: int) -> str:
    """Return which of several parts is being fitted, to stand behind the name of a stage."""
    words = ([plane] if n_planes > 1 else []) + ([scorer] if n_scorers > 1 else [])
    return f", {' '.join(words)}" if words else ""


@dataclass(frozen=True, eq=False)
class _PlaneFit:
    """The fits of scorers on cached scans of one plane.

    Attributes
    ----------
    plane : str
    cache : EmbeddingCache
        Of this plane.
    persons : numpy.ndarray
        (n,) int, the person of every scan.
    settings : FitSettings
    device : torch.device
    checkpoints : Checkpoints
    earlier : DpmmScorer, optional
        A fitted mixture that scans are added to.
    """

    plane: Plane
    cache: EmbeddingCache
    persons: np.ndarray
    settings: FitSettings
    device: torch.device
    checkpoints: Checkpoints
    earlier: DpmmScorer | None

    def scorer(self, name: ScorerName, scans: np.ndarray, progress: Progress | None) -> Scorer:
        """Return the scorer of that name fitted on scans (m,): as it was kept, gone on with, or begun anew."""
        chosen, seed, device = self.settings.scorer_settings(name), self.settings.seed, self.device
        fitting, validating = choose_validation(self.persons, scans, seed)
        if isinstance(chosen, MemoryBankSettings):
            # It has no epochs to choose from: it takes all scans.
            fitting, validating = scans, scans[:0]
        validation = self.cache.batches(validating.tolist(), device, seed) if len(validating) else None
        batches = self.cache.batches(fitting.tolist(), device, seed)
        if isinstance(chosen, DpmmSettings):
            device = _device_of_mixture(batches, device)
        checkpoint = _checkpoint_name(self.cache, chosen, fitting, validating, self.earlier)
        kept = _kept(self.checkpoints, checkpoint, device)
        keep = partial(self.checkpoints.save, checkpoint)
        if kept is not None:
            scorer, is_finished = kept
            if is_finished:
                return scorer
        elif self.earlier is not None and isinstance(chosen, DpmmSettings):
            return self.earlier.updated(
                batches,
                validation=validation,
                progress=progress,
                checkpoint=keep,
                settings=chosen,
                device=device,
            )
        else:
            scorer = make_scorer(chosen, device)
        return scorer.fit(batches, validation=validation, progress=progress, checkpoint=keep)

    def score_held_out(
        self, scorer: Scorer, scans: np.ndarray, scores: HeldOutScores, progress: Progress | None
    ) -> None:
        """Keep in ``scores`` what a scorer gives to scans (m,) that it has not seen."""
        numbers = scans.tolist()
        report(progress, "Scoring held-out normal scans", 0, len(numbers))
        scored = zip(numbers, self.cache.patch_scores(numbers, scorer, self.device), strict=True)
        for done, (number, patch_scores) in enumerate(scored, start=1):
            scores.put(self.plane, scorer.name, number, patch_scores)
            report(progress, "Scoring held-out normal scans", done, len(numbers))


def cluster_all(
    cache: EmbeddingCache,
    settings: FitSettings,
    device: torch.device,
    work: WorkFolder,
    progress: Progress | None,
) -> DpmmScorer:
    """Return the clusters of all cached scans, which a mixture of them alone would start from.

    They are kept in ``work``, and found there by a fit that goes on.
    """
    checkpoints = Checkpoints.of(work)
    every = np.arange(len(cache.scans))
    batches = cache.batches(every.tolist(), device, settings.seed)
    device = _device_of_mixture(batches, device)
    name = f"{_checkpoint_name(cache, settings.dpmm, every, every[:0], None)}-clusters"
    kept = _kept(checkpoints, name, device)
    if kept is not None and isinstance(kept[0], DpmmScorer):
        return kept[0]
    clusters = DpmmScorer.clustered(batches, settings.dpmm, device=device, progress=progress)
    checkpoints.save(name, clusters.state())
    return clusters


def _device_of_mixture(batches: object, device: torch.device) -> torch.device:
    """Return where a mixture is fitted: one that is sent to workers, who may have no GPU, on the CPU."""
    return torch.device("cpu") if isinstance(batches, DistributedBatches) else device


def _kept(checkpoints: Checkpoints, name: str, device: torch.device) -> tuple[Scorer, bool] | None:
    """Return the scorer that was kept and whether its fit was done, or None where none can be gone on with."""
    state = checkpoints.load(name)
    if state is None:
        return None
    try:
        return scorer_from_state(state, device), bool(state.settings.get("finished", True))
    except ModelFileError as error:
        logger.warning("A checkpoint of the fit cannot be used (%s); that part begins anew.", error)
        return None


def _checkpoint_name(
    cache: EmbeddingCache,
    settings: DpmmSettings | ArCnnSettings | MemoryBankSettings,
    fitting: np.ndarray,
    validating: np.ndarray,
    earlier: DpmmScorer | None,
) -> str:
    """Return a hash of all that a fitted scorer depends on."""
    keys: list[Any] = [[cache.scans[i].key for i in scans.tolist()] for scans in (fitting, validating)]
    if earlier is not None:
        keys.append(hash_of_mixture(earlier))
    # What an earlier version left of a fit is not gone on with.
    return hash_of([VERSION, type(settings).__name__, asdict(settings), *keys])


def hash_of_mixture(scorer: DpmmScorer) -> str:
    """Return a SHA-256 (hex) of a fitted mixture and its settings."""
    state = scorer.state()
    tensors = {
        name: hashlib.sha256(tensor.numpy().tobytes()).hexdigest() for name, tensor in state.tensors.items()
    }
    return hash_of([dict(state.settings), tensors])


def _labelled(progress: Progress | None, label: str) -> Progress | None:
    """Return a progress callable that adds which part is being fitted."""
    if progress is None or not label:
        return progress

    def labelled(event: ProgressEvent) -> None:
        progress(replace(event, stage=f"{event.stage}{label}"))

    return labelled
