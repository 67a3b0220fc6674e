"""`dinoad evaluate`: a model against a benchmark with masks."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from napari_dinoad.cli.common_arguments import add_device_argument, add_model_argument
from napari_dinoad.cli.output import ProgressBars, print_json, require_out_file
from napari_dinoad.cli.reading import add_series_argument
from napari_dinoad.errors import DinoadError
from napari_dinoad.machine.atomic_files import write_json
from napari_dinoad.machine.temporaries import remove_abandoned
from napari_dinoad.settings import (
    DatasetLayout,
    DetectSettings,
    EvaluationProtocol,
    EvaluationSettings,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator

    import numpy as np

    from napari_dinoad.images.volume import Volume
    from napari_dinoad.pipeline import Detector

NAME = "evaluate"
HELP = "Compare a model's maps with masks of a benchmark: AUROC, AUPR, AUPRO, Dice."
EXAMPLE = "dinoad evaluate BraTS2021_slice/ --model brats.dinoad --protocol ar240"

_MOST_TOLD = 5
"""Scans named on stderr of those of which one thing is to be told."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this verb."""
    defaults = EvaluationSettings()
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="folder of scans and their masks")
    add_model_argument(parser)
    parser.add_argument(
        "--layout",
        choices=get_args(DatasetLayout),
        default="auto",
        help="bmad, mvtec: folders train, valid, test (and ground_truth); folder: scans beside their masks "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--protocol",
        choices=get_args(EvaluationProtocol),
        default=defaults.protocol,
        help="resolution at which maps and masks are compared (default: %(default)s)",
    )
    add_series_argument(parser)
    parser.add_argument(
        "--frame", type=int, metavar="N", help="volume of 4D scans, or page of stacks, that is scored, from 0"
    )
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write the figures there too")
    parser.add_argument("--weights", metavar="FILE", help="local weights of the model's backbone")
    add_device_argument(parser, DetectSettings().device)


def run(options: argparse.Namespace) -> int:
    """Score the benchmark and print the figures; scans that cannot be used are named, and the exit code is 2 then."""
    from napari_dinoad.evaluation.benchmark import evaluate_dataset
    from napari_dinoad.evaluation.datasets import find_dataset
    from napari_dinoad.images.series_mix import several_series

    if options.out is not None:
        require_out_file(options.out)
    # Before torch and the model are loaded: a wrong folder is told at once.
    with ProgressBars() as progress:
        dataset = find_dataset(options.dataset, options.layout, progress, series=options.series)
    scans = [scan.as_file() for scan in (*dataset.validation, *dataset.test) if not scan.fault]
    several = several_series(scans, least_share=0.0)
    if several:
        print(f"dinoad: {several}: choose those of the model's kind with --series", file=sys.stderr)

    from napari_dinoad.normative_model.model import NormativeModel
    from napari_dinoad.pipeline import Detector

    model = NormativeModel.load(options.model)
    settings = EvaluationSettings(options.protocol, top_fraction=model.scan_top_fraction, frame=options.frame)
    detector = Detector(model, DetectSettings(device=options.device), options.weights)
    scored = _Scored(detector)
    started = time.perf_counter()
    with ProgressBars() as progress:
        figures = evaluate_dataset(dataset, scored, settings, progress)
    document: dict[str, Any] = {
        "dataset": options.dataset.name or str(options.dataset),
        "model": str(options.model),
        **figures.values,
        "n_behind_model": scored.n_behind,
        "n_unlike": len(scored.unlike),
        "scans": list(figures.scans),
        "failed": [{"scan": str(path), "reason": reason} for path, reason in figures.failed],
        "unmatched_masks": [str(path) for path in dataset.unmatched],
        "unused": [{"scan": str(item.path), "reason": item.reason} for item in figures.unused],
        "notes": [{"scan": str(path), "note": note} for path, note in figures.notes],
        "seconds": round(time.perf_counter() - started, 3),
    }
    _tell_by_reason(
        ("a mask that belongs to no scan, or not to one alone", path) for path in dataset.unmatched
    )
    _tell_by_reason((f"not evaluated, {item.reason}", item.path) for item in figures.unused)
    _tell_by_reason((note.removesuffix("."), path) for path, note in figures.notes)
    for _, reason in figures.failed:
        print(f"dinoad: {' '.join(reason.split())}", file=sys.stderr)
    for line in scored.told():
        print(f"dinoad: {line}", file=sys.stderr)
    is_written = options.out is None or _write(options.out, document)
    # Also when the disk is full by now: hours of scoring may be in the figures.
    if options.json:
        print_json(document)
    else:
        _print_figures(document)
    return 2 if figures.failed or not is_written else 0


class _Scored:
    """The maps of a detector, and how many of the scans it has seen, or are of another kind than its normal ones."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._n = 0
        self.n_behind = 0
        self.unlike: list[str] = []

    def __call__(self, volume: Volume) -> np.ndarray:
        """Return the map of a scan."""
        from napari_dinoad.pipeline.detection.detector import NOT_COMPARABLE, SEEN

        detection = self._detector.detect(volume)
        # Slices are evaluated by a model of volumes as well as any: no figure is of the p-value of a whole scan.
        of_no_kind = (SEEN, *NOT_COMPARABLE.values())
        unlike = [words for words in detection.unlike if words not in of_no_kind]
        self._n += 1
        self.n_behind += SEEN in detection.unlike
        self.unlike += [f"{volume.name}: {words}" for words in unlike[:1]]
        return detection.anomaly_map.values

    def told(self) -> Iterator[str]:
        """Yield what is to be known of the scans all together."""
        if self.n_behind:
            yield (
                f"{self.n_behind} of {self._n} scans are behind the model, which has seen them: of new ones the "
                "figures would be worse. Evaluate on scans that it was not fitted on"
            )
        if self.unlike:
            yield (
                f"{len(self.unlike)} of {self._n} scans are unlike the normal scans behind the model, which can make "
                f"the figures worse; the first, {self.unlike[0]}"
            )


def _write(path: Path, document: dict[str, Any]) -> bool:
    """Write the figures, or say on stderr why they cannot be; return whether they are there."""
    remove_abandoned(path.parent)
    try:
        write_json(path, document)
    except DinoadError as error:
        print(f"dinoad: {' '.join(str(error).split())}", file=sys.stderr)
        return False
    return True


def _tell_by_reason(scans: Iterable[tuple[str, Path]]) -> None:
    """Name scans on stderr, one line for each reason: a training split may hold thousands."""
    by_reason: dict[str, list[str]] = {}
    for reason, path in scans:
        by_reason.setdefault(reason, []).append(str(path))
    for reason, paths in by_reason.items():
        more = f" and {len(paths) - _MOST_TOLD} more (--json lists all)" if len(paths) > _MOST_TOLD else ""
        print(f"dinoad: {reason}: {', '.join(paths[:_MOST_TOLD])}{more}", file=sys.stderr)


def _print_figures(document: dict[str, Any]) -> None:
    def shown(value: float | None) -> str:
        return "-" if value is None else f"{value:.4f}"

    share = document["abnormal_share"]
    pixels = (
        "no masks, figures of whole images alone"
        if share is None
        else f"{100 * share:.2f} % of pixels abnormal"
    )
    print(
        f"{document['dataset']}: {document['n_test']} test scans, {document['n_test_abnormal']} abnormal; "
        f"{pixels}; protocol {document['protocol']}"
    )
    for name, title in (
        ("pixel_auroc", "pixel AUROC"),
        ("pixel_aupr", "pixel AUPR"),
        ("aupro", f"AUPRO to {document['aupro_limit']:g}"),
        ("best_dice", "best Dice"),
        ("image_auroc_max", "image AUROC, max"),
        ("image_auroc_top", f"image AUROC, top {100 * document['top_fraction']:g} %"),
    ):
        print(f"  {title:<28}{shown(document[name])}")
    print(f"  thresholds from {document['thresholds_from']}:")
    for rate, at in document["dice_at_fpr"].items():
        title = f"Dice at {100 * float(rate):g} % FPR"
        marked = "" if at["test_fpr"] is None else f"   (in the test {100 * at['test_fpr']:.2f} % marked)"
        print(f"  {title:<28}{shown(at['dice'])}{marked}")
