"""`dinoad fit`: a folder of normal scans → a model file."""

from __future__ import annotations

import argparse
import math
from argparse import BooleanOptionalAction
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from napari_dinoad.cli.common_arguments import add_device_argument, add_resolution_argument
from napari_dinoad.cli.output import ProgressBars, print_json, require_out_file, skipped_lines
from napari_dinoad.cli.reading import add_reading_arguments, reading_from
from napari_dinoad.errors import SettingError
from napari_dinoad.images.persons import of_persons
from napari_dinoad.machine.file_names import SCAN_SUFFIXES
from napari_dinoad.settings import (
    PRESETS,
    SCORER_NAMES,
    CacheSettings,
    CalibrationSettings,
    ClusterSettings,
    FitSettings,
    PersonGrouping,
    Plane,
    preset,
    with_scorer_settings,
)
from napari_dinoad.settings.fitting import LEAST_KEPT_PATCHES, MOST_KEPT_PATCHES

if TYPE_CHECKING:
    from napari_dinoad.normative_model.fit_report import FitReport
    from napari_dinoad.normative_model.model import NormativeModel

NAME = "fit"
HELP = "Fit a model of normal from a folder of normal scans."
EXAMPLE = "dinoad fit normals/ --out t1.dinoad --preset mr-brain --scorer dpmm"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this verb."""
    defaults = FitSettings()
    _add_file_arguments(parser)
    _add_model_arguments(parser, defaults)
    _add_calibration_arguments(parser, defaults.calibration)
    parser.add_argument(
        "--epochs", type=int, metavar="N", help="passes over the slices, at most (default: the scorer's own)"
    )
    add_device_argument(parser, defaults.device)
    parser.add_argument(
        "--seed",
        type=int,
        default=defaults.seed,
        metavar="N",
        help="the same seed gives the same model (default: %(default)s)",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="embed and fit in so many processes of this machine (default: in this one)",
    )
    where.add_argument(
        "--dask", metavar="ADDRESS", help="embed and fit on the workers of this Dask scheduler"
    )
    add_reading_arguments(parser)
    _add_cache_arguments(parser)


def _add_file_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder", type=Path, metavar="FOLDER", help="folder of normal scans, also in subfolders"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="M.dinoad",
        help="model file to write; needed without --update, whose model it otherwise replaces",
    )
    parser.add_argument(
        "--update",
        type=Path,
        metavar="M.dinoad",
        help="add the scans to this dpmm model, without those it was fitted on",
    )


def _add_model_arguments(parser: argparse.ArgumentParser, defaults: FitSettings) -> None:
    parser.add_argument(
        "--scorer",
        default=defaults.scorer,
        metavar="NAME",
        help=f"{', '.join(SCORER_NAMES)}, or several joined by +, combined into one map (default: %(default)s)",
    )
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=VALUE",
        help="settings of the scorer, as n_components=500 update=ema; of one of several ar-cnn.dilations=2,4 "
        "(all: docs/scorers.md)",
    )
    parser.add_argument(
        "--backbone",
        default=defaults.backbone,
        metavar="NAME",
        help="what turns slices into embeddings; 'dinoad weights list' names all (default: %(default)s)",
    )
    parser.add_argument("--weights", metavar="FILE", help="local weights of the backbone")
    parser.add_argument(
        "--preset",
        choices=tuple(PRESETS),
        help="kind of scan (default: what suits the scans, of which a few are looked at; it is told)",
    )
    parser.add_argument(
        "--plane", choices=get_args(Plane), help="slicing direction, or all three (default: the preset's)"
    )
    add_resolution_argument(parser)


def _add_calibration_arguments(parser: argparse.ArgumentParser, defaults: CalibrationSettings) -> None:
    held_out = parser.add_mutually_exclusive_group()
    held_out.add_argument(
        "--holdout",
        type=float,
        metavar="SHARE",
        help=f"calibrate on one split with this share of the persons (default: {defaults.folds} folds below "
        f"{defaults.cross_below} persons, a split of {defaults.holdout} from there on)",
    )
    held_out.add_argument(
        "--folds",
        type=int,
        metavar="N",
        help="calibrate on all persons, by N folds that are held out in turn, however many persons there are",
    )
    parser.add_argument(
        "--smooth",
        type=float,
        default=defaults.smoothing_mm,
        metavar="MM",
        help="average the scores of a volume's neighbouring slices, Gaussian of this standard deviation; 0: none "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--slice-levels",
        action=argparse.BooleanOptionalAction,
        default=defaults.slice_levels,
        help="divide the scores of a volume's slices by what is usual of other persons' slices that look alike, from "
        "five persons on (default: yes)",
    )
    parser.add_argument(
        "--kept-patches",
        type=int,
        default=defaults.n_kept_patches,
        metavar="N",
        help="a model of dpmm keeps the embeddings of so many held-out patches, on which models that it is merged "
        "into are calibrated; 0: none, also of those that --update finds; else "
        f"{LEAST_KEPT_PATCHES} to {MOST_KEPT_PATCHES} (default: %(default)s)",
    )
    parser.add_argument(
        "--persons",
        choices=get_args(PersonGrouping),
        default=defaults.persons,
        help="which scans are of one person, and are held out together: by sub-<label> in their path or DICOM's "
        "PatientID, none, by the first folder, or by names that are numbered at their end (default: %(default)s)",
    )


def _add_cache_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--resume",
        action=BooleanOptionalAction,
        default=True,
        help="go on where an interrupted run of the same command was, or begin anew (default: go on)",
    )
    parser.add_argument(
        "--cache",
        metavar="DIR",
        help="folder for embeddings while the fit runs (default: the user's cache folder)",
    )
    parser.add_argument("--keep-cache", action="store_true", help="keep the embeddings for other scorers")
    parser.add_argument(
        "--cache-limit",
        type=float,
        metavar="GB",
        help="refuse a fit whose embeddings may take more than this (default: no limit)",
    )


def run(options: argparse.Namespace) -> int:
    """Fit, save, and say what was used."""
    settings = settings_from(options)
    cluster = cluster_from(options)
    out = options.out or options.update
    if out is None:
        raise SettingError("--out: expected a model file to write, got none.")
    require_out_file(out)
    if out.name.lower().endswith(SCAN_SUFFIXES):
        raise SettingError(
            f"--out: expected a model file to write (M.dinoad), got {out}, which names a scan."
        )
    if options.update is not None:
        _require_no_choice(options)

    # torch is loaded here, not for --help.
    from napari_dinoad.normative_model.model import NormativeModel
    from napari_dinoad.pipeline import fit_folder, update_model

    with ProgressBars() as progress:
        cache = cache_settings_from(options)
        if options.update is None:
            model = fit_folder(options.folder, settings, progress, cache, out, cluster)
        else:
            earlier = NormativeModel.load(options.update)
            model = update_model(earlier, options.folder, settings, progress, cache, out, cluster)
    if options.json:
        print_json(fit_summary(model, out))
    else:
        _print_summary(model, out)
    return 0


def cache_settings_from(options: argparse.Namespace) -> CacheSettings:
    """Return validated settings of where the fit keeps its work."""
    if options.cache_limit is not None and not math.isfinite(options.cache_limit):
        raise SettingError(f"--cache-limit: expected a number of GB, got {options.cache_limit}.")
    limit = None if options.cache_limit is None else round(options.cache_limit * 1e9)
    return CacheSettings(options.cache, options.keep_cache, options.resume, limit)


def settings_from(options: argparse.Namespace) -> FitSettings:
    """Return validated settings of parsed arguments."""
    calibration = CalibrationSettings(
        smoothing_mm=options.smooth,
        persons=options.persons,
        slice_levels=options.slice_levels,
        n_kept_patches=options.kept_patches,
    )
    if options.holdout is not None:
        calibration = replace(calibration, method="split", holdout=options.holdout)
    if options.folds is not None:
        calibration = replace(calibration, method="cross", folds=options.folds)
    settings = FitSettings(
        scorer=options.scorer,
        backbone=options.backbone,
        weights=options.weights,
        preprocessing=None if options.preset is None else preset(options.preset),
        reading=reading_from(options),
        calibration=calibration,
        epochs=options.epochs,
        device=options.device,
        seed=options.seed,
        plane=options.plane,
        resolution_px=options.resolution,
    )
    return with_scorer_settings(settings, options.set)


def cluster_from(options: argparse.Namespace) -> ClusterSettings | None:
    """Return where to compute, None for this process."""
    if options.dask is not None:
        return ClusterSettings(address=options.dask)
    return None if options.workers is None else ClusterSettings(workers=options.workers)


def _require_no_choice(options: argparse.Namespace) -> None:
    """Refuse options that would make another model of the one to update."""
    defaults = FitSettings()
    given = {
        "--preset": options.preset is not None,
        "--plane": options.plane is not None,
        "--resolution": options.resolution is not None,
        "--scorer": options.scorer != defaults.scorer,
        "--set": bool(options.set),
        "--smooth": options.smooth != defaults.calibration.smoothing_mm,
        "--no-slice-levels": not options.slice_levels,
        "--backbone": options.backbone != defaults.backbone,
    }
    chosen = [name for name, is_given in given.items() if is_given]
    if chosen:
        raise SettingError(
            f"--update: expected the model's own settings, got {', '.join(chosen)}. Leave them out; or fit a new "
            "model on all scans."
        )


def fit_summary(model: NormativeModel, path: Path) -> dict[str, Any]:
    """Return what was fitted on what, as JSON values."""
    report = _report_of(model)
    return {
        "model": str(path),
        "report": str(_report_beside(path)),
        "card": model.card(),
        "n_scans": model.provenance.n_scans,
        "n_persons": model.provenance.n_persons,
        "n_slices": model.provenance.n_slices,
        "skipped": [{"path": str(item.path), "reason": item.reason} for item in report.skipped],
        "most_abnormal_normals": [
            {
                "path": str(scan.path),
                "name": report.name_of(scan),
                "score": scan.score,
                "p_value": scan.p_value,
                "unlike_share": scan.unlike_share,
                "grid_share": scan.grid_share,
                "unusual": scan.unusual,
            }
            for scan in report.most_abnormal()
        ],
        "history": report.history,
        "seconds": {stage: round(spent, 3) for stage, spent in report.seconds.items()},
    }


def _report_beside(path: Path) -> Path:
    from napari_dinoad.pipeline.fit.cohort_report import report_path

    return report_path(path)


def _report_of(model: NormativeModel) -> FitReport:
    if model.fit_report is None:
        raise SettingError("Fit summary: expected a model that was just fitted, got a loaded one.")
    return model.fit_report


def _print_summary(model: NormativeModel, path: Path) -> None:
    report = _report_of(model)
    for line in skipped_lines(report.skipped):
        print(line)
    calibration = model.calibration
    print(f"{path}: {model.scorer_name} on {model.backbone.name}, preset {model.preprocessing.preset}")
    made = model.provenance
    print(
        f"  fitted on {made.n_scans} scans{of_persons(made.n_scans, made.n_persons)}, {made.n_slices} slices"
    )
    held_out = f"{calibration.n_scans} held-out scans{of_persons(calibration.n_scans, calibration.n_persons)}"
    print(
        f"  calibrated on {held_out} ({calibration.method_in_words}): scan-level p-values go down to "
        f"{calibration.smallest_scan_p_value:.3g}"
    )
    seconds = ", ".join(f"{stage} {spent:.1f} s" for stage, spent in report.seconds.items())
    print(f"  {seconds}")
    unusual = ", ".join(report.name_of(scan) for scan in report.most_abnormal(3))
    if unusual:
        print(f"  least normal of these scans, worth a look: {unusual}")
    print(f"  cohort report: {_report_beside(path)}")
