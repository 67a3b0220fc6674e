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
from napari_dinoad.pipeline.fit.folds import choose_folds, choose_validation
from napari_dinoad.pipeline.fit.held_out import HeldOutPlane, HeldOutScans, fuse_planes
from napari_dinoad.progress import report
from napari_dinoad.scoring import make_scorer, scorer_from_state
from napari_dinoad.scoring.dpmm import DpmmScorer
from napari_dinoad.scoring.summation import DistributedBatches
from napari_dinoad.settings import DpmmSettings, MemoryBankSettings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_dinoad.calibration import Calibration
    from napari_dinoad.normative_model.plane_model import PlaneModel
    from napari_dinoad.pipeline.cohort.embedding_cache import EmbeddingCache
    from napari_dinoad.pipeline.fit.checkpoints import Checkpoints
    from napari_dinoad.pipeline.fit.held_out import HeldOutScores
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
    held_out: HeldOutScores,
    progress: Progress | None,
    checkpoints: Checkpoints,
    earlier: DpmmScorer | None = None,
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
    held_out : HeldOutScores
        Gets the patch scores of held-out scans.
    progress : callable, optional
        May raise `Cancelled`.
    checkpoints : Checkpoints
        Each scorer goes on from what is kept here of it, and is kept after each epoch.
    earlier : DpmmScorer, optional
        A fitted mixture that the scans are added to.
    """
    person_of = np.asarray(persons)
    every = np.arange(len(person_of))
    folds, is_cross = choose_folds(person_of, settings.calibration, settings.seed)
    scans = tuple(scan for fold in folds for scan in fold.tolist())
    chosen_calibration, method = settings.calibration, "cross" if is_cross else "split"
    calibrating = HeldOutScans(
        scans,
        chosen_calibration.scan_top_fraction,
        method,
        progress,
        chosen_calibration.smoothing_mm,
        tuple(persons),
        tuple(filter(settings.is_levelled, settings.scorer_names)),
        chosen_calibration.n_kept_patches,
    )
    planes, models = [], []
    for plane, cache in caches.items():
        scorers: dict[ScorerName, Scorer] = {}
        for name in settings.scorer_names:
            chosen = settings.scorer_settings(name)
            fit = partial(_fit, cache, person_of, chosen, settings.seed, device, checkpoints, earlier)
            part = _part_label(plane, name, len(caches), len(settings.scorer_names))
            for number, fold in enumerate(folds, start=1):
                label = f"{part}, fold {number} of {len(folds)}" if is_cross else part
                scorers[name] = fit(np.setdiff1d(every, fold), _labelled(progress, label))
                _score_held_out(cache, fold, scorers[name], plane, held_out, device, progress)
            if is_cross:
                scorers[name] = fit(every, _labelled(progress, part))
        planes.append(HeldOutPlane(plane, list(scorers), cache, held_out, calibrating))
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


def _fit(
    cache: EmbeddingCache,
    persons: np.ndarray,
    chosen: DpmmSettings | ArCnnSettings | MemoryBankSettings,
    seed: int,
    device: torch.device,
    checkpoints: Checkpoints,
    earlier: DpmmScorer | None,
    scans: np.ndarray,
    progress: Progress | None,
) -> Scorer:
    fitting, validating = choose_validation(persons, scans, seed)
    if isinstance(chosen, MemoryBankSettings):
        # It has no epochs to choose from: it takes all scans.
        fitting, validating = scans, scans[:0]
    validation = cache.batches(validating.tolist(), device, seed) if len(validating) else None
    batches = cache.batches(fitting.tolist(), device, seed)
    if isinstance(chosen, DpmmSettings):
        device = _device_of_mixture(batches, device)
    name = _checkpoint_name(cache, chosen, fitting, validating, earlier)
    kept = _kept(checkpoints, name, device)
    keep = partial(checkpoints.save, name)
    if kept is not None:
        scorer, is_finished = kept
        if is_finished:
            return scorer
    elif earlier is not None and isinstance(chosen, DpmmSettings):
        return earlier.updated(
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


def cluster_all(
    cache: EmbeddingCache,
    settings: FitSettings,
    device: torch.device,
    progress: Progress | None,
    checkpoints: Checkpoints,
) -> DpmmScorer:
    """Return the clusters of all cached scans, which a mixture of them alone would start from.

    They are kept in ``checkpoints``, and found there by a fit that goes on.
    """
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


def _score_held_out(
    cache: EmbeddingCache,
    scans: np.ndarray,
    scorer: Scorer,
    plane: Plane,
    held_out: HeldOutScores,
    device: torch.device,
    progress: Progress | None,
) -> None:
    report(progress, "Scoring held-out normal scans", 0, len(scans))
    scored = zip(scans.tolist(), cache.patch_scores(scans.tolist(), scorer, device), strict=True)
    for done, (index, patch_scores) in enumerate(scored, start=1):
        held_out.put(plane, scorer.name, index, patch_scores)
        report(progress, "Scoring held-out normal scans", done, len(scans))


def _labelled(progress: Progress | None, label: str) -> Progress | None:
    """Return a progress callable that adds which part is being fitted."""
    if progress is None or not label:
        return progress

    def labelled(event: ProgressEvent) -> None:
        progress(replace(event, stage=f"{event.stage}{label}"))

    return labelled
