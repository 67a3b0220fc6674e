"""A folder of normal scans → a calibrated normative model."""

from __future__ import annotations

import logging
import multiprocessing
import time
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_dinoad.backbones import load_backbone
from napari_dinoad.backbones.embeddings import require_backbone, weights_identity
from napari_dinoad.errors import DinoadError, ModelFileError, ScanReadError, SettingError
from napari_dinoad.fit_estimate import estimate_fit
from napari_dinoad.images.discovery import discover_scans
from napari_dinoad.images.persons import find_persons
from napari_dinoad.images.preset_guess import choose_preset
from napari_dinoad.images.scan_file import by_kind
from napari_dinoad.images.values.grey import COLOUR_AS_GREY
from napari_dinoad.machine.atomic_files import require_writable
from napari_dinoad.machine.disk_room import bytes_in_words, is_of_full_disk
from napari_dinoad.machine.file_set import written_together
from napari_dinoad.machine.files import version_of
from napari_dinoad.machine.read_ahead import ReadAhead
from napari_dinoad.normative_model.cohort_norms import CohortNorms
from napari_dinoad.normative_model.model import NormativeModel
from napari_dinoad.normative_model.provenance import BackboneIdentity, Provenance
from napari_dinoad.pipeline.cohort.cohort_notes import coarse_plane_note, colour_note, uneven_brightness_note
from napari_dinoad.pipeline.cohort.embedding_cache import EmbeddingCache
from napari_dinoad.pipeline.cohort.preparation import embed_cohort
from napari_dinoad.pipeline.cohort.scan_embedding import ScanEmbedding
from napari_dinoad.pipeline.cohort.work_folder import WHERE_ELSE, hash_of, work_folder
from napari_dinoad.pipeline.fit.cohort_report import fit_notes, report_path, write_cohort_report
from napari_dinoad.pipeline.fit.fitted_cohort import report_of_fit
from napari_dinoad.pipeline.fit.fitted_planes import cluster_all, fit_and_calibrate, hash_of_mixture
from napari_dinoad.pipeline.fit.merging import require_mixture, with_earlier_counts
from napari_dinoad.progress import LastTold, report
from napari_dinoad.settings import CacheSettings, ClusterSettings, FitSettings, preset
from napari_dinoad.settings.checks import require_kind

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from napari_dinoad.backbones import Backbone
    from napari_dinoad.fit_estimate import FitEstimate
    from napari_dinoad.images.discovery import Discovery
    from napari_dinoad.images.preset_guess import PresetChoice
    from napari_dinoad.images.scan_file import SkippedFile
    from napari_dinoad.normative_model.fit_report import FitReport
    from napari_dinoad.pipeline.cohort.preparation import Cohort
    from napari_dinoad.pipeline.cohort.work_folder import WorkFolder
    from napari_dinoad.pipeline.fit.fitted_planes import FittedPlanes
    from napari_dinoad.progress import Progress
    from napari_dinoad.settings import PreprocessingSettings, ReadSettings

__all__ = ["MIN_SCANS", "fit_folder", "guessed_preset"]

logger = logging.getLogger(__name__)

MIN_SCANS = 2
"""One scan to fit on and one to calibrate with; fewer cannot be calibrated at all."""


@dataclass(frozen=True, eq=False)
class _Request:
    """What is fitted on which scans; the attributes are those of `fit_folder`."""

    found: Discovery
    settings: FitSettings
    preprocessing: PreprocessingSettings
    progress: LastTold
    cluster: ClusterSettings | None
    earlier: NormativeModel | None

    @property
    def key(self) -> str:
        """A hash that the same command has again."""
        before = [] if self.earlier is None else [hash_of_mixture(require_mixture(self.earlier, "updated"))]
        folder = str(self.found.folder.resolve())
        return hash_of([folder, asdict(self.settings), asdict(self.preprocessing), *before])


def fit_folder(
    folder: str | Path,
    settings: FitSettings | None = None,
    progress: Progress | None = None,
    cache: CacheSettings | None = None,
    out: str | Path | None = None,
    cluster: ClusterSettings | None = None,
    earlier: NormativeModel | None = None,
    backbone: Backbone | None = None,
) -> NormativeModel:
    """Fit a normative model from a folder of normal scans.

    Each scan is read and embedded once. Persons with all their scans, never slices, are held out for calibration: by
    folds, so that all calibrate (below `CalibrationSettings.cross_below` persons), or one share of them.

    Parameters
    ----------
    folder : str or Path
        Scans of any kind that `read_volume` knows, also in subfolders; each DICOM series is a scan. What cannot be
        used is skipped, with its reason.
    settings : FitSettings, optional
    progress : callable, optional
        Called after each scan and epoch; may raise `Cancelled`.
    cache : CacheSettings, optional
        Where embeddings and unfinished scorers are kept, so that the same call goes on where an interrupted one was,
        to the very same model. None: a temporary folder, and nothing is left of a fit that was interrupted.
    out : str or Path, optional
        Where the model is saved, with its cohort report beside it, before what was kept is cleaned away.
    cluster : ClusterSettings, optional
        Workers that embed the scans, and compute the sums of a ``dpmm`` fit and held-out scores where the embeddings
        lie. The model is the same as without, to rounding.
    earlier : NormativeModel, optional
        A ``dpmm`` model that the scans are added to; see `update_model`, which makes the settings that go with it.
    backbone : Backbone, optional
        The one that ``settings`` name, loaded already: several fits can share it. It may be one of your own, whose
        name is in no registry; its ``weights_sha256`` must change with what it computes. None: it is loaded by its
        name. Workers of a ``cluster`` load theirs by name.

    Returns
    -------
    NormativeModel
        With ``fit_report`` set, of this folder's scans alone.

    Raises
    ------
    SettingError
        If the embeddings may take more than the limit in ``cache``, or ``backbone`` is another one than ``settings``
        name, or is given together with a ``cluster``.
    ScanReadError
        If fewer than `MIN_SCANS` scans can be used.
    BackboneError
        If the backbone or its weights cannot be had.
    ModelFileError
        If another process has replaced ``out`` while scans were added to ``earlier``.
    DinoadError
        If ``out`` cannot be written (told before anything is read), the disk is full (what was done so far stays
        usable), or the same fit is running in another process.
    """
    settings = settings or FitSettings()
    require_kind("settings", settings, FitSettings)
    require_kind("cache", cache or CacheSettings(), CacheSettings)
    require_kind("cluster", cluster or ClusterSettings(), ClusterSettings)
    if cluster is not None and getattr(multiprocessing.current_process(), "_inheriting", False):
        # A worker that reads a script once more in which this does not stand under ``if __name__ == "__main__"``; the
        # process that waits for it tells that.
        raise SystemExit(1)
    if out is not None:
        require_writable(Path(out))
        # Its name is longer.
        require_writable(report_path(Path(out)))
    if backbone is not None:
        _require_own(backbone, settings, cluster)
    before = None if out is None else version_of(Path(out))
    # Workers need not stand in the same folder.
    found = discover_scans(folder if cluster is None else Path(folder).resolve(), settings.reading)
    if not found.scans:
        raise _too_few(found.folder, 0, found.skipped, found.series_in_words)
    # Whoever has chosen the preset is told of a mix of kinds too.
    look = guessed_preset if settings.preprocessing is None else choose_preset
    suitable = look(found, settings.reading, progress)
    mixed = suitable.mixed
    if mixed:
        logger.warning(mixed)
    preprocessing = settings.preprocessing_or(preset(suitable.name))
    estimate = estimate_fit(found, backbone or settings.backbone, preprocessing, cache)
    estimate.require_limit(None if cache is None else cache.limit_bytes)
    logger.info(estimate.in_words())
    if not estimate.has_room:
        logger.warning("The disk may be too small for this fit: %s", estimate.in_words())
    # Scans, and passes over all of them, take long.
    request = _Request(found, settings, preprocessing, LastTold(progress), cluster, earlier)
    with work_folder(request.key, cache) as work:
        with _telling_what_it_takes(estimate, cache):
            model = _fit(request, work, backbone)
        if model.fit_report is not None:
            model = replace(model, fit_report=replace(model.fit_report, mixed=mixed))
        if out is not None:
            report(progress, "Saving the model", 0, 0)
            if earlier is not None:
                _require_same(Path(out), before)
            # Together: no report of this fit lies beside a model of another one.
            with written_together():
                if model.fit_report is not None:
                    write_cohort_report(model, model.fit_report, Path(out))
                # Last: an update that has replaced its model does not begin again where it was.
                model.save(out)
    if model.fit_report is not None:
        for note in fit_notes(model, model.fit_report):
            if note != mixed:
                logger.warning(note)
    return model


@contextmanager
def _telling_what_it_takes(estimate: FitEstimate, cache: CacheSettings | None) -> Iterator[None]:
    """Add to the message of a full disk, in the block, what the whole fit takes on it, and how to name another."""
    try:
        yield
    except DinoadError as error:
        # Weights go to another place, and say so.
        is_of_work = type(error) is DinoadError and is_of_full_disk(error)
        if is_of_work and estimate.n_bytes is not None:
            size = bytes_in_words(estimate.n_bytes)
            where_else = "" if cache is None else f" {WHERE_ELSE}"
            error.args = (f"{error} The embeddings of the whole fit take at most {size} there.{where_else}",)
        raise


def _fit(request: _Request, work: WorkFolder, backbone: Backbone | None) -> NormativeModel:
    started = time.perf_counter()
    settings, preprocessing = request.settings, request.preprocessing
    progress, earlier = request.progress, request.earlier
    if backbone is None:
        backbone = load_backbone(settings.backbone, settings.weights, settings.device, progress)
    if earlier is not None:
        earlier.require_weights(weights_identity(backbone, preprocessing.colour))
    resolution = preprocessing.resolution_px or backbone.default_resolution_px
    preprocessing = replace(preprocessing, resolution_px=resolution)
    request = replace(request, preprocessing=preprocessing)
    with ReadAhead() as reader, ExitStack() as stack:
        cohort = _embed(request, backbone, work, reader, stack)
        if cohort.n_behind and not cohort.paths:
            # Nobody comes back to this: it is no fit that was interrupted.
            work.mark_done()
            raise _nothing_to_add(request.found.folder, cohort)
        if len(cohort.paths) < MIN_SCANS:
            raise _too_few(request.found.folder, len(cohort.paths), cohort.skipped)
        is_told_of_grey = _warn_of_what_suits_ill(cohort, preprocessing)
        persons = find_persons(cohort.scans, request.found.folder, settings.calibration.persons, progress)
        embedded = time.perf_counter()
        mixture = None if earlier is None else require_mixture(earlier, "updated")
        fitted = fit_and_calibrate(
            cohort.caches, persons.of_scan, settings, backbone.device, work, progress, mixture
        )
        newcomers = None
        if earlier is not None and earlier.planes[0].patches is not None:
            newcomers = cluster_all(cohort.cache, settings, backbone.device, work, progress)
        seconds = {"embedding": embedded - started, "fitting": time.perf_counter() - embedded}
        # The report compares the embeddings themselves: while the workers that may hold them are there.
        fit_report = report_of_fit(cohort, persons, fitted, settings.seed, seconds)
    # Of colours seen as grey it was told.
    _tell_what_was_assumed(fit_report, {COLOUR_AS_GREY} if is_told_of_grey else set())
    identity = BackboneIdentity(
        backbone.name,
        weights_identity(backbone, preprocessing.colour),
        cohort.cache.scans[0].shape[-1],
        backbone.patch_size_px,
    )
    fresh = _fresh_model(request, cohort, fitted, identity, fit_report)
    if earlier is None:
        return fresh
    whole = with_earlier_counts(fresh, earlier, newcomers)
    return whole if settings.calibration.n_kept_patches else whole.without_patches()


def _fresh_model(
    request: _Request,
    cohort: Cohort,
    fitted: FittedPlanes,
    identity: BackboneIdentity,
    fit_report: FitReport,
) -> NormativeModel:
    """Return the model of the scans of this folder alone."""
    settings = request.settings
    return NormativeModel(
        fitted.planes,
        identity,
        request.preprocessing,
        fitted.calibration,
        settings.calibration.scan_top_fraction,
        settings.calibration.smoothing_mm,
        Provenance(
            len(cohort.paths),
            cohort.n_slices,
            settings.seed,
            reading=settings.reading.words(),
            n_persons=fit_report.n_persons,
        ),
        (CohortNorms.of([scan.facts for scan in fit_report.scans]),),
        fit_report,
        cohort.fingerprints,
    )


def _require_same(out: Path, before: object) -> None:
    """Refuse to replace the model of another update that has ended meanwhile: its scans would be lost."""
    if before is not None and version_of(out) != before:
        raise ModelFileError(
            f"{out}: it was replaced while this update ran, by another one it seems, whose scans would be lost. Run "
            "the same again, which adds the scans to what is there now, or name another file (--out)."
        )


def _require_own(backbone: Backbone, settings: FitSettings, cluster: ClusterSettings | None) -> None:
    require_backbone(backbone)
    if backbone.name != settings.backbone:
        raise SettingError(
            f"backbone: expected {settings.backbone!r}, which the settings name, got {backbone.name!r}; "
            "make them the same."
        )
    if cluster is not None:
        raise SettingError(
            "backbone: expected none beside a cluster, whose workers load it by its name, got "
            f"{backbone.name!r}; leave it out."
        )


def _embed(
    request: _Request, backbone: Backbone, work: WorkFolder, reader: ReadAhead, stack: ExitStack
) -> Cohort:
    """Embed the scans here or on workers, which stay until ``stack`` is left."""
    found, settings, preprocessing = request.found, request.settings, request.preprocessing
    progress, behind = request.progress, () if request.earlier is None else request.earlier.fingerprints
    if request.cluster is None:
        caches = {plane: EmbeddingCache(work, reader, progress.again) for plane in preprocessing.planes}
        embedding = ScanEmbedding(settings.reading, preprocessing, backbone, caches)
        return embed_cohort(found, embedding, progress, behind)
    from napari_dinoad.pipeline.cluster.cohort import embed_on_cluster
    from napari_dinoad.pipeline.cluster.workers import open_cluster

    cluster = stack.enter_context(open_cluster(request.cluster, progress.again))
    return embed_on_cluster(found, settings, preprocessing, backbone, work, reader, cluster, progress, behind)


def guessed_preset(
    found: Discovery, reading: ReadSettings | None = None, progress: Progress | None = None
) -> PresetChoice:
    """Return the preset that suits what was found, and tell which; see `suitable_preset`."""
    suitable = choose_preset(found, reading, progress)
    logger.log(
        logging.WARNING if suitable.is_guess else logging.INFO,
        "Preset %s, guessed from the scans: %s. Name another one with --preset.",
        suitable.name,
        suitable.why,
    )
    return suitable


def _warn_of_what_suits_ill(cohort: Cohort, preprocessing: PreprocessingSettings) -> bool:
    """Warn where a cohort suits how it is read ill; return whether it was told that colours are seen as grey."""
    # The facts are read again where they are needed: through a fit they would take more memory than their texts.
    facts = [scan.facts for scan in cohort.cache.scans]
    grey_note = colour_note(facts, preprocessing)
    plane_note = coarse_plane_note(facts, preprocessing.plane)
    for note in filter(None, (grey_note, plane_note, uneven_brightness_note(facts, preprocessing))):
        logger.warning(note)
    return bool(grey_note)


def _tell_what_was_assumed(fit_report: FitReport, told_before: Collection[str]) -> None:
    told = [
        (name, note)
        for name, scan in zip(fit_report.names, fit_report.scans, strict=True)
        for note in scan.facts.get("notes", ())
        if note not in told_before
    ]
    if told:
        name, note = told[0]
        others = f" And {len(told) - 1} more such notes; the cohort report has them." if len(told) > 1 else ""
        logger.warning("%s: %s%s", name, note, others)


def _too_few(
    folder: Path, n_usable: int, skipped: tuple[SkippedFile, ...], series: str = ""
) -> ScanReadError:
    kinds = by_kind(sorted(skipped, key=lambda item: not item.is_scan))
    reasons = "; ".join(map(_first_of, kinds[:3]))
    n_more = sum(map(len, kinds[3:]))
    more = f"; and {n_more} more" if n_more else ""
    empty = "" if n_usable else " The folder holds no file."
    why = f" Skipped: {reasons}{more}." if skipped else empty
    return ScanReadError(
        f"{folder}: expected at least {MIN_SCANS} usable normal scans, got {n_usable}.{series or why}"
    )


def _first_of(skipped: Sequence[SkippedFile]) -> str:
    """Return why the first of some files is skipped, which holds for the others."""
    first, n_others = skipped[0], len(skipped) - 1
    others = f" (and {n_others} like it)" if n_others else ""
    return f"{first.path.name}: {first.reason.rstrip('.')}{others}"


def _nothing_to_add(folder: Path, cohort: Cohort) -> ScanReadError:
    others = len(cohort.skipped) - cohort.n_behind
    left = f" {others} other files were skipped." if others else ""
    return ScanReadError(
        f"{folder}: expected normal scans that are not behind the model yet, got {cohort.n_behind} that are.{left} "
        "The model stays as it is."
    )
