"""Which scans fit and which calibrate: one split, or folds in which every scan is once held out."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from napari_dinoad.calibration import Calibration, ScanScores
from napari_dinoad.pipeline.work_folder import hash_of
from napari_dinoad.progress import report
from napari_dinoad.scoring import make_scorer, scorer_from_state

if TYPE_CHECKING:
    import torch

    from napari_dinoad.pipeline.checkpoints import Checkpoints
    from napari_dinoad.pipeline.embedding_cache import EmbeddingCache
    from napari_dinoad.progress import Progress, ProgressEvent
    from napari_dinoad.scoring.protocol import Scorer
    from napari_dinoad.settings import ArCnnSettings, DpmmSettings, FitSettings, MemoryBankSettings

__all__ = ["FittedScorer", "fit_and_calibrate"]

_VALIDATION_SHARE = 0.1
"""Share of the fitting scans that choose the epoch; they do not calibrate."""

_MIN_SCANS_TO_VALIDATE = 10
"""With fewer fitting scans all are fitted on, and the last epoch is kept."""


@dataclass(frozen=True, eq=False)
class FittedScorer:
    """A scorer with its calibration, and the held-out scores of the normal scans by their place in the cache."""

    scorer: Scorer
    calibration: Calibration
    scan_scores: dict[int, float]

    def p_value_among_normals(self, score: float) -> float:
        """Return the share of the scored normal scans that are at least as extreme, the scan itself included."""
        return float(np.mean([other >= score for other in self.scan_scores.values()]))


def fit_and_calibrate(
    cache: EmbeddingCache,
    settings: FitSettings,
    device: torch.device,
    progress: Progress | None,
    checkpoints: Checkpoints,
) -> FittedScorer:
    """Fit the scorer on cached embeddings and calibrate it on scans that it has not seen.

    Parameters
    ----------
    cache : EmbeddingCache
        At least two scans.
    settings : FitSettings
    device : torch.device
        Where the scorer is fitted.
    progress : callable, optional
        May raise `Cancelled`.
    checkpoints : Checkpoints
        Each scorer goes on from what is kept here of it, and is kept after each epoch.
    """
    n_scans = len(cache.scans)
    order = np.random.default_rng(settings.seed).permutation(n_scans)
    chosen = settings.calibration
    is_cross = chosen.method == "cross" or (chosen.method == "auto" and n_scans < chosen.cross_below)
    if is_cross:
        folds = [np.sort(fold) for fold in np.array_split(order, min(chosen.folds, n_scans))]
    else:
        n_held_out = min(max(1, round(chosen.holdout * n_scans)), n_scans - 1)
        folds = [np.sort(order[:n_held_out])]
    scored: dict[int, ScanScores] = {}
    for number, fold in enumerate(folds, start=1):
        rest = np.setdiff1d(order, fold)
        label = f"fold {number} of {len(folds)}" if is_cross else ""
        scorer = _fit(cache, rest, settings, device, _labelled(progress, label), checkpoints)
        scored.update(_score_held_out(cache, fold, scorer, settings, device, progress))
    if is_cross:
        scorer = _fit(cache, np.sort(order), settings, device, progress, checkpoints)
    calibration = Calibration.from_scans(list(scored.values()), "cross" if is_cross else "split")
    return FittedScorer(scorer, calibration, {i: scan.score for i, scan in scored.items()})


def _fit(
    cache: EmbeddingCache,
    scans: np.ndarray,
    settings: FitSettings,
    device: torch.device,
    progress: Progress | None,
    checkpoints: Checkpoints,
) -> Scorer:
    rng = np.random.default_rng(settings.seed)
    n_validate = round(_VALIDATION_SHARE * len(scans)) if len(scans) >= _MIN_SCANS_TO_VALIDATE else 0
    mixed = rng.permutation(scans)
    fitting, validating = np.sort(mixed[n_validate:]), np.sort(mixed[:n_validate])
    validation = cache.batches(validating.tolist(), device, settings.seed) if n_validate else None
    batches = cache.batches(fitting.tolist(), device, settings.seed)
    chosen = settings.scorer_settings()
    name = _checkpoint_name(cache, chosen, fitting, validating)
    kept = checkpoints.load(name)
    scorer = make_scorer(chosen, device) if kept is None else scorer_from_state(kept, device)
    if kept is not None and kept.settings.get("finished", True):
        return scorer
    return scorer.fit(
        batches, validation=validation, progress=progress, checkpoint=partial(checkpoints.save, name)
    )


def _checkpoint_name(
    cache: EmbeddingCache,
    settings: DpmmSettings | ArCnnSettings | MemoryBankSettings,
    fitting: np.ndarray,
    validating: np.ndarray,
) -> str:
    """Return a hash of all that a fitted scorer depends on."""
    keys = [[cache.scans[i].key for i in scans.tolist()] for scans in (fitting, validating)]
    return hash_of([type(settings).__name__, asdict(settings), *keys])


def _score_held_out(
    cache: EmbeddingCache,
    scans: np.ndarray,
    scorer: Scorer,
    settings: FitSettings,
    device: torch.device,
    progress: Progress | None,
) -> dict[int, ScanScores]:
    scored = {}
    for done, index in enumerate(scans.tolist()):
        report(progress, "Scoring held-out normal scans", done, len(scans))
        scan = cache.scans[index]
        patch_scores = scorer.score(scan.embeddings().to(device)).cpu().numpy()
        body_scores = scan.body_scores(patch_scores)
        scored[index] = ScanScores.of(body_scores, settings.calibration.scan_top_fraction)
    return scored


def _labelled(progress: Progress | None, label: str) -> Progress | None:
    """Return a progress callable that adds which fold is being fitted."""
    if progress is None or not label:
        return progress

    def labelled(event: ProgressEvent) -> None:
        progress(replace(event, stage=f"{event.stage}, {label}"))

    return labelled
