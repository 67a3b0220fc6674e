"""`dinoad score`: scans and a model → maps, masks, regions and reports."""

from __future__ import annotations

import sys
from argparse import BooleanOptionalAction
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from napari_dinoad.cli.common_arguments import add_device_argument, add_model_argument
from napari_dinoad.cli.output import ProgressBars, print_json, print_table
from napari_dinoad.cli.reading import add_reading_arguments, reading_from
from napari_dinoad.errors import Cancelled, SettingError
from napari_dinoad.settings import STACKED_FOLDERS, DetectSettings, SegSegments

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from napari_dinoad.cli.given_scans import GivenScans
    from napari_dinoad.normative_model.model import NormativeModel
    from napari_dinoad.pipeline.detection.scan_steps import BatchItem
    from napari_dinoad.settings import ReadSettings


NAME = "score"
HELP = "Find where scans depart from normal: maps, masks, regions and a report for each."
EXAMPLE = "dinoad score patient.nii.gz --model t1.dinoad --out results/ --fpr 0.01"

OUTPUTS = ("map", "mask", "regions", "report", "seg", "png", "picture", "dicom-map", "dicom-slices")
"""Keys of `napari_dinoad.maps.outputs.OUTPUTS`, stated here so that ``--help`` need not load SciPy."""


_GOES_ON = "The same command goes on where it stopped."

_FITTED_ON_STACKS = (
    "the model was fitted on folders whose 2D images were the slices of one scan; here each is a scan of its own. "
    "--stack-folders reads them as there"
)

_TAKING_OVER = (
    "scans that were scored before, with this model and these options, and have not changed are taken over; "
    "--no-resume scores them anew"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this verb."""
    defaults = DetectSettings()
    parser.add_argument("scans", type=Path, nargs="+", metavar="SCAN", help="scans, or folders of scans")
    add_model_argument(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--fpr",
        type=float,
        default=defaults.fpr,
        metavar="SHARE",
        help="share of normal voxels that the mask marks; 0.01 is 1 %% (default: %(default)s)",
    )
    parser.add_argument(
        "--min-volume-mm3",
        type=float,
        default=defaults.min_volume_mm3,
        metavar="V",
        help="leave smaller regions out of the mask; pixels where there are no millimetres (default: %(default)s)",
    )
    parser.add_argument(
        "--save",
        metavar="WHAT",
        help=f"comma-separated, of {', '.join(OUTPUTS)} (default: map,mask,regions,report, and seg for DICOM, "
        "png for 2D images)",
    )
    parser.add_argument(
        "--seg-segments",
        choices=get_args(SegSegments),
        default="single",
        help="one segment in a DICOM-SEG, or one for each region (default: %(default)s)",
    )
    parser.add_argument(
        "--resume",
        action=BooleanOptionalAction,
        default=True,
        help="take over scans that were scored into DIR with the same model and options, of which nothing has "
        "changed, or score all anew (default: take over)",
    )
    parser.add_argument("--weights", metavar="FILE", help="local weights of the model's backbone")
    add_device_argument(parser, defaults.device)
    add_reading_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Score each scan; one that cannot be used is named, the others are done."""
    outputs = _outputs(options.save)
    settings = DetectSettings(options.fpr, options.min_volume_mm3, options.device)
    reading = reading_from(options)

    # The readers are loaded here, not for --help; before torch, so that a wrong folder is told at once.
    from napari_dinoad.cli.given_scans import given_scans

    given = given_scans(options.scans, reading)

    from napari_dinoad.normative_model.model import NormativeModel
    from napari_dinoad.pipeline import Detector
    from napari_dinoad.pipeline.detection.batch import score_scans
    from napari_dinoad.pipeline.detection.kept_scores import model_sha256_of
    from napari_dinoad.pipeline.detection.results_folder import results_folder

    model_sha256 = model_sha256_of(options.model, given.scans)
    model = NormativeModel.load(options.model)
    if _is_read_otherwise(model, reading, given):
        print(f"dinoad: {_FITTED_ON_STACKS}", file=sys.stderr)
    detector = Detector(model, settings, options.weights)
    tally = _Tally(options, given)
    try:
        n_scans = len(given.scans)
        # Scoring ends before the worklist: what is being written is listed yet.
        with (
            results_folder(options.out, options.model.stem, options.fpr, n_scans, given.failed) as worklist,
            closing(
                score_scans(
                    detector,
                    given.scans,
                    reading,
                    options.out,
                    worklist,
                    outputs,
                    options.seg_segments,
                    _bars,
                    model_sha256,
                    resume=options.resume,
                )
            ) as scored,
        ):
            for item in scored:
                tally.add(item)
    except (KeyboardInterrupt, Cancelled) as error:
        if options.resume and tally.n_kept:
            error.add_note(_GOES_ON)
        raise
    page = str(worklist.page) if worklist.is_due else None
    tally.print_end(page, worklist.not_renewed)
    # Of a single scan the list is an earlier run's, and nothing that was asked for is missing.
    is_listed = page is None or not worklist.not_renewed
    return 0 if is_listed and tally.is_all_done else 2


def _is_read_otherwise(model: NormativeModel, reading: ReadSettings, given: GivenScans) -> bool:
    """Whether 2D images of folders are a scan each, and were slices of one where the model was fitted."""
    from napari_dinoad.images.image_stacks import are_stackable

    is_of_stacks = STACKED_FOLDERS in model.provenance.reading
    return is_of_stacks and not reading.stack_folders and are_stackable(given.scans)


class _Tally:
    """What is said of scans as they are scored, and what is printed of all of them in the end."""

    def __init__(self, options: argparse.Namespace, given: GivenScans) -> None:
        self._options, self._given = options, given
        self._results: list[dict[str, Any]] = []
        self._lines: list[tuple[str, ...]] = []
        self._failed = [{"scan": str(item.path), "reason": item.reason} for item in given.failed]
        self._is_all_written = True
        self._n_taken_over = 0
        self.n_kept = 0

    @property
    def is_all_done(self) -> bool:
        """Whether all scans were scored, and all that was asked for was written."""
        return self._is_all_written and not self._failed

    def add(self, item: BatchItem) -> None:
        """Say on stderr what is to be known of a scan, and count it."""
        if item.result is None:
            self._failed.append({"scan": str(item.scan.path), "reason": str(item.error)})
            _tell_failure(item)
            return
        self._n_taken_over += item.is_taken_over
        self.n_kept += item.is_kept
        if item.is_taken_over and self._n_taken_over == 1:
            print(f"dinoad: {_TAKING_OVER}", file=sys.stderr)
        _tell_of(item.name, item.result)
        self._is_all_written &= not item.result["not_written"]
        # Of thousands of scans only what is printed in the end is held.
        if self._options.json:
            self._results.append(item.result)
        else:
            self._lines.append(_line_of(item.result, item.name))

    def print_end(self, page: str | None, not_renewed: Sequence[str]) -> None:
        """Print the results of all scans, where they or their worklist (``page``) are, and what of it is not new."""
        if self._options.json:
            skipped = [
                {"path": str(item.path), "reason": item.reason}
                for item in self._given.skipped
                if not item.is_scan
            ]
            document = {
                "model": str(self._options.model),
                "scans": self._results,
                "failed": self._failed,
                "skipped": skipped,
                "worklist": page,
                "not_renewed": not_renewed,
                "n_taken_over": self._n_taken_over,
            }
            print_json(document)
        elif self._lines:
            _print_lines(self._lines)
            print(f"results: {self._options.out}" if page is None else f"worklist: {page}")
        if self._n_taken_over:
            n_scans = len(self._given.scans)
            print(f"dinoad: {self._n_taken_over} of {n_scans} scans were taken over.", file=sys.stderr)


def _bars(_: int, name: str) -> ProgressBars:
    """Return the progress bars of a scan."""
    return ProgressBars(f"{name}: ")


def _tell_of(name: str, result: dict[str, Any]) -> None:
    """Say on stderr what is to be known of a scan that was scored."""
    for note in result["notes"]:
        print(f"dinoad: {name}: {note}", file=sys.stderr)
    earlier = {
        "removed, of an earlier result": result["removed"],
        "named so too, perhaps of another result": result["others"],
    }
    for what, files in earlier.items():
        if files:
            print(f"dinoad: {name}: {what}: {', '.join(files)}", file=sys.stderr)


def _tell_failure(item: BatchItem) -> None:
    """Say on stderr, in one line, which scan could not be scored and why."""
    reason = " ".join(str(item.error).split())
    named = item.scan.path.name in reason or reason.startswith(f"{item.scan.name}: ")
    print(f"dinoad: {reason if named else f'{item.name}: {reason}'}", file=sys.stderr)


def _outputs(text: str | None) -> tuple[str, ...] | None:
    """Return the outputs asked for; None when nothing was said: what suits each scan."""
    if text is None:
        return None
    chosen = tuple(part.strip() for part in text.split(",") if part.strip())
    unknown = [part for part in chosen if part not in OUTPUTS]
    if unknown or not chosen:
        raise SettingError(f"--save: expected some of {', '.join(OUTPUTS)}, got {text!r}.")
    return chosen


def _size_in_words(region: dict[str, Any]) -> str:
    """Return the size of a region with its unit; a dash where there is no region."""
    from napari_dinoad.maps.finding_words import in_figures

    for key, unit in (("volume_mm3", "mm3"), ("area_mm2", "mm2"), ("area_px", "px")):
        if region.get(key) is not None:
            return f"{in_figures(region[key])} {unit}"
    return "-"


def _line_of(result: dict[str, Any], name: str) -> tuple[str, ...]:
    """Return what is printed of a scan: the names of its file and of its results, and the columns."""
    largest = result["regions"][0] if result["regions"] else {}
    beyond = result["n_regions_beyond_normal"]
    return (
        Path(result["scan"]).resolve().name,
        name,
        "-" if result["p_value"] is None else f"{result['p_value']:.3g}",
        str(result["n_regions"]),
        "-" if beyond is None else str(beyond),
        f"{largest['peak_neg_log10_p']:.1f}" if largest else "-",
        _size_in_words(largest),
        f"{result['seconds']['total']:.1f}",
    )


def _print_lines(lines: Sequence[tuple[str, ...]]) -> None:
    """Print a line for each scan: by its file's name, or where scans share that by that of its results."""
    n_of_name = Counter(file for file, *_ in lines)
    rows = [(file if n_of_name[file] == 1 else name, *columns) for file, name, *columns in lines]
    print_table(("scan", "scan p", "regions", "beyond normal", "peak -log10 p", "its size", "seconds"), rows)
