"""A folder of normal scans → a calibrated normative model."""

from __future__ import annotations

import logging
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from napari_dinoad.backbones import load_backbone
from napari_dinoad.errors import ScanReadError, SettingError
from napari_dinoad.images.discovery import SkippedFile, discover_scans, without_path
from napari_dinoad.images.slices import prepare_scan
from napari_dinoad.normative_model import (
    BackboneIdentity,
    FitReport,
    NormalScan,
    NormativeModel,
    Provenance,
)
from napari_dinoad.pipeline.embedding_cache import EmbeddingCache
from napari_dinoad.pipeline.holdout import fit_and_calibrate
from napari_dinoad.progress import report
from napari_dinoad.settings import FitSettings, preset

if TYPE_CHECKING:
    from napari_dinoad.backbones import Backbone
    from napari_dinoad.images.discovery import Discovery
    from napari_dinoad.images.slices import PreparedScan
    from napari_dinoad.pipeline.holdout import FittedScorer
    from napari_dinoad.progress import Progress
    from napari_dinoad.settings import PreprocessingSettings, ReadSettings

__all__ = ["MIN_SCANS", "default_preprocessing", "fit_folder"]

logger = logging.getLogger(__name__)

MIN_SCANS = 2
"""One scan to fit on and one to calibrate with; fewer cannot be calibrated at all."""

FEW_SCANS = 5
"""Below this a model is made, with a warning about what its p-values can say."""

_EMBEDDING_BATCH = 8


@dataclass(frozen=True)
class _Cohort:
    """The scans that are in the cache, in its order, and what was skipped."""

    paths: tuple[Path, ...]
    skipped: tuple[SkippedFile, ...]
    cache: EmbeddingCache


def fit_folder(
    folder: str | Path, settings: FitSettings | None = None, progress: Progress | None = None
) -> NormativeModel:
    """Fit a normative model from a folder of normal scans.

    Each scan is read and embedded once. Scans, never slices, are held out for calibration: by folds, so that
    all calibrate (below `CalibrationSettings.cross_below` scans), or one share of them.

    Parameters
    ----------
    folder : str or Path
        Scans of any kind that `read_volume` knows, also in subfolders; each DICOM series is a scan. What cannot be
        used is skipped, with its reason.
    settings : FitSettings, optional
    progress : callable, optional
        Called after each scan and epoch; may raise `Cancelled`.

    Returns
    -------
    NormativeModel
        With ``fit_report`` set.

    Raises
    ------
    ScanReadError
        If fewer than `MIN_SCANS` scans can be used.
    BackboneError
        If the backbone or its weights cannot be had.
    """
    settings = settings or FitSettings()
    found = discover_scans(folder, settings.reading)
    if not found.scans:
        raise _too_few(found.folder, 0, found.skipped)
    preprocessing = settings.preprocessing or default_preprocessing(found)
    started = time.perf_counter()
    backbone = load_backbone(settings.backbone, settings.weights, settings.device, progress)
    resolution = preprocessing.resolution_px or backbone.default_resolution_px
    preprocessing = replace(preprocessing, resolution_px=resolution)
    with tempfile.TemporaryDirectory(prefix="dinoad-") as temporary:
        cache = EmbeddingCache(Path(temporary))
        cohort = _embed_cohort(found, settings.reading, preprocessing, backbone, cache, progress)
        if len(cohort.paths) < MIN_SCANS:
            raise _too_few(found.folder, len(cohort.paths), cohort.skipped)
        embedded = time.perf_counter()
        fitted = fit_and_calibrate(cohort.cache, settings, backbone.device, progress)
    seconds = {"embedding": embedded - started, "fitting": time.perf_counter() - embedded}
    _say_what_few_scans_mean(len(cohort.paths))
    n_slices = sum(scan.n_slices for scan in cohort.cache.scans)
    return NormativeModel(
        fitted.scorer,
        BackboneIdentity(
            backbone.name, backbone.weights_sha256, backbone.embedding_dim, backbone.patch_size_px
        ),
        preprocessing,
        fitted.calibration,
        settings.calibration.scan_top_fraction,
        Provenance(len(cohort.paths), n_slices, settings.seed),
        _fit_report(cohort, fitted, seconds),
    )


def default_preprocessing(found: Discovery) -> PreprocessingSettings:
    """Return the preset that suits what was found: ``image-2d`` for 2D images, ``mr-brain`` for volumes."""
    return preset("image-2d" if found.is_mostly_2d else "mr-brain")


def _embed_cohort(
    found: Discovery,
    reading: ReadSettings,
    preprocessing: PreprocessingSettings,
    backbone: Backbone,
    cache: EmbeddingCache,
    progress: Progress | None,
) -> _Cohort:
    paths: list[Path] = []
    skipped = list(found.skipped)
    for i, scan in enumerate(found.scans):
        report(progress, "Reading and embedding", i, len(found.scans), f"scan {i + 1}")
        try:
            prepared = prepare_scan(scan.read(reading), preprocessing, backbone.default_resolution_px)
        except (ScanReadError, SettingError) as error:
            skipped.append(SkippedFile(scan.path, without_path(error, scan.path)))
            continue
        cache.add(
            _embed(prepared, backbone),
            prepared.body_slices(prepared.indices),
            prepared.placement,
        )
        paths.append(scan.path)
    report(progress, "Reading and embedding", len(found.scans), len(found.scans))
    return _Cohort(tuple(paths), tuple(skipped), cache)


def _embed(prepared: PreparedScan, backbone: Backbone) -> torch.Tensor:
    indices = prepared.indices
    parts = []
    for start in range(0, len(indices), _EMBEDDING_BATCH):
        images = prepared.images(indices[start : start + _EMBEDDING_BATCH])
        parts.append(backbone(torch.from_numpy(images)).values.to(torch.float16).cpu())
    return torch.cat(parts)


def _fit_report(cohort: _Cohort, fitted: FittedScorer, seconds: dict[str, float]) -> FitReport:
    scans = []
    for i, (path, cached) in enumerate(zip(cohort.paths, cohort.cache.scans, strict=True)):
        score = fitted.scan_scores.get(i)
        p_value = None if score is None else fitted.p_value_among_normals(score)
        scans.append(NormalScan(path, cached.n_slices, score, p_value))
    history = {name: list(curve) for name, curve in fitted.scorer.state().history.items()}
    return FitReport(tuple(scans), cohort.skipped, history, seconds)


def _too_few(folder: Path, n_usable: int, skipped: tuple[SkippedFile, ...]) -> ScanReadError:
    reasons = "; ".join(f"{item.path.name}: {item.reason}" for item in skipped[:3])
    more = f"; and {len(skipped) - 3} more" if len(skipped) > 3 else ""
    why = f" Skipped: {reasons}{more}." if skipped else " The folder holds no file."
    return ScanReadError(f"{folder}: expected at least {MIN_SCANS} usable normal scans, got {n_usable}.{why}")


def _say_what_few_scans_mean(n_scans: int) -> None:
    if n_scans < FEW_SCANS:
        logger.warning(
            "Only %d normal scans: no scan-level p-value below %.2f can be claimed, and voxel-level rates rest on "
            "few people. Use the maps for orientation; add normal scans for probabilities.",
            n_scans,
            1 / (n_scans + 1),
        )
