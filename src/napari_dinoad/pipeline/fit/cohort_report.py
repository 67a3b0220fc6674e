"""The report of a fit: who the model's normal is, who may not belong there, and how the fit went.

It names files, so it lies beside the model and is never a part of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dinoad.html import Html, Series, element, facts, page, plot, section, table
from napari_dinoad.images.persons import of_persons
from napari_dinoad.machine.atomic_files import write_text
from napari_dinoad.machine.file_names import MODEL_SUFFIX
from napari_dinoad.pipeline.cohort.outliers import OUTLYING_Z, Outlier, find_outliers
from napari_dinoad.settings import FALSE_POSITIVE_RATES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from napari_dinoad.calibration import Calibration
    from napari_dinoad.normative_model.fit_report import FitReport, NormalScan
    from napari_dinoad.normative_model.model import NormativeModel
    from napari_dinoad.normative_model.plane_model import PlaneModel
    from napari_dinoad.scoring.protocol import ScorerState

__all__ = [
    "FEW_SCANS",
    "cohort_report",
    "few_scans_note",
    "fit_notes",
    "mixed_kinds_note",
    "persons_note",
    "report_path",
    "slice_gaps_note",
    "what_stands_out",
    "write_cohort_report",
]

FEW_SCANS = 5
"""Below this a model is made, but it is said what its p-values are worth."""

_OUTSTANDING_SHARE = 0.1
"""Where at most so many scans are at least as unusual in something, that stands out."""

_N_LEAST_NORMAL = 10
_N_OUTLIERS = 30
_N_SKIPPED = 500
_N_NOTES = 100
_N_NAMED = 10
_N_LISTED = 5000


def report_path(model_path: Path) -> Path:
    """Return where the report of a model lies: ``M.report.html`` beside ``M.dinoad``."""
    # Of site.v1 and site.v2 what follows the dot is no ending.
    name = model_path.stem if model_path.suffix == MODEL_SUFFIX else model_path.name
    return model_path.with_name(f"{name}.report.html")


def write_cohort_report(model: NormativeModel, report: FitReport, model_path: Path) -> Path:
    """Write the report beside the model, atomically, and return its path."""
    path = report_path(model_path)
    write_text(path, cohort_report(model, report, model_path.stem))
    return path


def few_scans_note(n_scans: int, n_persons: int, n_compared: int) -> str:
    """Return what a cohort of scans of so few persons means for p-values; empty where there are enough.

    Parameters
    ----------
    n_scans, n_persons : int
    n_compared : int
        Persons whose scans a patient's scan is compared with as a whole: those held out, of which slices are averaged
        alike.
    """
    if n_compared >= FEW_SCANS:
        return ""
    others = "" if n_persons == n_scans else " of other persons"
    if n_compared == n_persons:
        few = f"Only {n_scans} normal scans{of_persons(n_scans, n_persons)}"
    else:
        few = f"A patient's scan as a whole is compared with only {n_compared} of the {n_persons} normal persons"
    return (
        f"{few}: no scan-level p-value below {1 / (n_compared + 1):.2f} can be claimed, and voxel-level rates rest "
        f"on few people. Use the maps for orientation; add normal scans{others} for probabilities."
    )


def persons_note(report: FitReport) -> str:
    """Return what should be known of how it was told whose the scans are; empty where there is nothing to say."""
    return "" if report.persons is None else report.persons.note


def mixed_kinds_note(report: FitReport) -> str:
    """Return that a cohort holds volumes and single images; empty where it holds one of them."""
    shapes = [scan.facts["shape"] for scan in report.scans if scan.facts]
    n_images = sum(1 in shape for shape in shapes)
    if n_images in (0, len(shapes)):
        return ""
    return (
        f"{n_images} of the {len(shapes)} normal scans are single images, the others volumes: what is usual differs "
        "between them. Fit a model of each kind."
    )


def slice_gaps_note(planes: Iterable[PlaneModel]) -> str:
    """Return that some held-out scans are not behind what is usual of volumes; empty where all are.

    Their slices lie farther apart than those of most, so that averaging neighbouring slices leaves more chance.
    """
    for plane in planes:
        n_scans = plane.calibration.n_scans
        n_held_out = plane.for_single_slices.calibration.n_scans
        if n_scans < n_held_out:
            return (
                f"Only {n_scans} of {n_held_out} held-out normal scans are behind the probabilities of volumes: the "
                "slices of the others lie farther apart than those of most, and what is usual after averaging "
                "neighbours differs. Fit on scans with slices equally far apart, or without averaging (dinoad fit "
                "--smooth 0)."
            )
    return ""


def fit_notes(model: NormativeModel, report: FitReport) -> list[str]:
    """Return what should be known of a model that was just fitted before its numbers are believed."""
    made = model.provenance
    mixed = mixed_kinds_note(report)
    notes = (
        few_scans_note(made.n_scans, made.n_persons, model.calibration.n_persons),
        persons_note(report),
        report.mixed,
        mixed or slice_gaps_note(model.planes),
    )
    return [note for note in notes if note]


def what_stands_out(report: FitReport) -> dict[str, str]:
    """Return in words in what each scan is unlike most of the others, by its name; empty where in nothing."""
    most = max(_OUTSTANDING_SHARE, 1 / max(len(report.scans), 1))
    names, figures = report.names, _outlying_figures(_outliers(report))
    words = {}
    for number, (name, scan) in enumerate(zip(names, report.scans, strict=True)):
        shares = (
            (scan.p_value, "unusual spots"),
            (scan.unlike_share, "unlike the others as a whole"),
            (scan.grid_share, "number or size of voxels"),
        )
        traits = [trait for share, trait in shares if share is not None and share <= most]
        words[name] = "; ".join([*traits, *figures.get(number, [])])
    return words


def _outliers(report: FitReport) -> tuple[Outlier, ...]:
    return find_outliers([scan.facts for scan in report.scans if scan.facts])


def _outlying_figures(outliers: Sequence[Outlier]) -> dict[int, list[str]]:
    """Return the figures in which a scan is an outlier, by its number."""
    by_scan: dict[int, list[str]] = {}
    for outlier in outliers:
        by_scan.setdefault(outlier.scan, []).append(outlier.figure)
    return by_scan


def cohort_report(model: NormativeModel, report: FitReport, title: str) -> str:
    """Return the report as one self-contained HTML document.

    Parameters
    ----------
    model : NormativeModel
    report : FitReport
        Of the fit that made it.
    title : str
        The model's name.
    """
    names = report.names
    outliers = _outliers(report)
    return page(
        f"Normal cohort of {title}",
        _summary(model, report),
        _least_normal(report, names, outliers),
        _unlike(names, outliers),
        _assumed(report, names),
        _skipped(report),
        _course(report),
        _calibration(model.calibration),
        *(_components(state) for state in _states(model)),
        _all_scans(report, names),
    )


def _states(model: NormativeModel) -> list[ScorerState]:
    return [member.scorer.state() for plane in model.planes for member in plane.members]


def _summary(model: NormativeModel, report: FitReport) -> Html:
    calibration = model.calibration
    held_out = f"{calibration.n_scans} scans{of_persons(calibration.n_scans, calibration.n_persons)}"
    used = f"{len(report.scans)}{of_persons(len(report.scans), report.n_persons)}"
    told = facts(
        {
            "scorer": model.scorer_name,
            "backbone": model.backbone.name,
            "preset": model.preprocessing.preset,
            "scans used": f"{used} ({model.provenance.n_slices:,} slices)",
            "files skipped": len(report.skipped),
            "calibrated on": f"{held_out} that the scorer had not seen ({calibration.method_in_words})",
            "smallest scan-level p-value": calibration.smallest_scan_p_value,
            "seconds": ", ".join(f"{stage} {spent:.0f}" for stage, spent in report.seconds.items()),
        }
    )
    return section("The fit", *(element("p", note, class_="note") for note in fit_notes(model, report)), told)


def _least_normal(report: FitReport, names: Sequence[str], outliers: Sequence[Outlier]) -> Html:
    place = {id(scan): i for i, scan in enumerate(report.scans)}
    by_scan = _outlying_figures(outliers)
    rows = [
        [
            names[place[id(scan)]],
            scan.n_slices,
            scan.p_value,
            scan.unlike_share,
            scan.grid_share,
            round(scan.unusual, 1),
            "; ".join(by_scan.get(place[id(scan)], [])),
        ]
        for scan in report.most_abnormal(_N_LEAST_NORMAL)
    ]
    return section(
        "Least normal of the normal scans",
        "Look at these first: a folder of normal scans is never fully normal. The shares say how many of the scans "
        "are at least as unusual: by their most unusual patches, scored by a model that had not seen the scan (a "
        "lesion, an artefact), and as a whole, by what lies where (a flipped or turned scan, another plane or body "
        "part, another contrast), and by how many voxels of which size it has (another protocol). The last figure is "
        "a weighted sum of the three in robust standard deviations; it gives the order. Remove what does "
        "not belong and fit again.",
        table(
            [
                "scan",
                "slices",
                "share: patches",
                "share: whole",
                "share: grid",
                "unusual",
                "also unlike the others in",
            ],
            rows,
        ),
    )


def _unlike(names: Sequence[str], outliers: Sequence[Outlier]) -> Html:
    title = "Unlike the others in size, voxels or intensities"
    if not outliers:
        return section(title, "No scan stands out.")
    rows = [[names[o.scan], o.figure, o.value, o.median, round(o.z, 1)] for o in outliers[:_N_OUTLIERS]]
    more = (
        f" The {_N_OUTLIERS} farthest of {len(outliers)} are listed." if len(outliers) > _N_OUTLIERS else ""
    )
    return section(
        title,
        f"Figures more than {OUTLYING_Z:g} robust standard deviations from the cohort's median.{more}",
        table(["scan", "figure", "its value", "median", "robust z"], rows),
    )


def _assumed(report: FitReport, names: Sequence[str]) -> Html:
    title = "What had to be assumed or changed on reading"
    scans_of: dict[str, list[str]] = {}
    for name, scan in zip(names, report.scans, strict=True):
        for note in scan.facts.get("notes", ()):
            scans_of.setdefault(note, []).append(name)
    if not scans_of:
        return section(title, "Nothing.")
    often = sorted(scans_of.items(), key=lambda item: -len(item[1]))[:_N_NOTES]
    rows = [[note, len(scans), ", ".join(scans[:_N_NAMED])] for note, scans in often]
    return section(title, table(["what", "scans", "which (the first few)"], rows))


def _skipped(report: FitReport) -> Html:
    title = "Files that were not used"
    if not report.skipped:
        return section(title, "None.")
    named = zip(report.skipped_names(), report.skipped, strict=True)
    rows = [[name, item.reason] for name, item in named][:_N_SKIPPED]
    n_all = len(report.skipped)
    told = (
        f"The first {len(rows)} of {n_all} are listed; dinoad fit --json has all."
        if len(rows) < n_all
        else ""
    )
    return section(title, *([told] if told else []), table(["file", "reason"], rows))


def _course(report: FitReport) -> Html:
    curves = {name: values for name, values in report.history.items() if values}
    if not curves:
        return section("How the fit went", "This scorer is fitted in one pass; there is no curve.")
    losses = {name: values for name, values in curves.items() if name.endswith("loss")}
    others = {name: values for name, values in curves.items() if name not in losses}
    plots = []
    for caption, group in (("Loss", losses), *((_in_words(name), {name: v}) for name, v in others.items())):
        series = [Series(_in_words(name), range(1, len(v) + 1), v) for name, v in group.items()]
        if series:
            plots.append(
                plot(f"{caption} by epoch, of the released model.", series, "epoch", caption.lower())
            )
    return section("How the fit went", *plots)


def _in_words(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _calibration(calibration: Calibration) -> Html:
    scores, level = calibration.scan_scores, -np.log10(calibration.normal_scan_p_values())
    of = of_persons(calibration.n_scans, calibration.n_persons)
    rows = [[f"{100 * rate:g} %", calibration.threshold(rate)] for rate in FALSE_POSITIVE_RATES]
    return section(
        "Calibration",
        f"From {calibration.n_voxels:,} body voxels of {calibration.n_scans} normal scans{of}.",
        plot(
            f"−log10 p of a raw score; normal voxels vouch for it up to {calibration.resolved_neg_log10_p:.2g}, "
            "beyond that the tail is extended.",
            [Series("voxels", calibration.table_scores.tolist(), calibration.table_neg_log10_p.tolist())],
            "raw score",
            "−log10 p",
        ),
        plot(
            "−log10 of the scan-level p-value that a patient's scan with this score would get.",
            [Series("normal scans", scores.tolist(), level.tolist(), points=True)],
            "score of the scan",
            "−log10 p",
        ),
        table(["normal voxels above", "raw score"], rows),
    )


def _components(state: ScorerState) -> Html:
    title = f"Inside the model: {state.name}"
    if "log_weights" in state.tensors:
        weights = state.tensors["log_weights"].double().exp().numpy()
        used = int(np.count_nonzero(weights > float(_setting(state, "min_weight", 0.0))))
        shares = np.sort(state.tensors["mean_responsibilities"].double().numpy())[::-1]
        half = int(np.searchsorted(np.cumsum(shares), 0.5 * shares.sum())) + 1
        ranks = list(range(1, len(shares) + 1))
        return section(
            title,
            f"{used} components in use of {_setting(state, 'n_components', len(shares))} allowed; the {half} "
            "largest explain half of all normal patches.",
            plot(
                "Share of the normal patches that each component explains, the largest first.",
                [Series("component", ranks, np.log10(np.maximum(shares, 1e-12)).tolist())],
                "component",
                "log10 share",
            ),
        )
    if "bank" in state.tensors:
        return section(title, f"{len(state.tensors['bank'])} normal patches are stored.")
    n_weights = sum(t.numel() for key, t in state.tensors.items() if key.startswith("network."))
    best = state.settings.get("best_epoch")
    return section(title, f"A network of {n_weights:,} weights; the one after epoch {best} is kept.")


def _setting(state: ScorerState, name: str, otherwise: Any) -> Any:
    return state.settings.get("settings", {}).get(name, otherwise)


def _all_scans(report: FitReport, names: Sequence[str]) -> Html:
    def row(name: str, scan: NormalScan) -> list[object]:
        return [name, scan.n_slices, scan.score, scan.p_value, scan.unlike_share, scan.grid_share]

    rows = [row(name, scan) for name, scan in zip(names, report.scans, strict=True)][:_N_LISTED]
    titles = ["scan", "slices", "score", "share: patches", "share: whole", "share: grid"]
    if report.persons is not None and report.n_persons < len(report.scans):
        # Their numbers count from 1 and mean nothing beyond this table.
        titles.append("person")
        rows = [[*cells, person + 1] for cells, person in zip(rows, report.persons.of_scan, strict=False)]
    title = f"All scans used ({len(report.scans)})"
    if len(rows) < len(report.scans):
        title += f", the first {len(rows)}"
    return element("details", element("summary", title), table(titles, rows))
