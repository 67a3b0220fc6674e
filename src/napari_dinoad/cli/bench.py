"""`dinoad bench`: how fast this computer is."""

from __future__ import annotations

import platform
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from napari_dinoad.cli.common_arguments import add_device_argument, add_resolution_argument
from napari_dinoad.cli.output import ProgressBars, print_json, print_table
from napari_dinoad.settings import BENCH_SLICES, SCORER_NAMES, DetectSettings, FitSettings

if TYPE_CHECKING:
    import argparse

    from napari_dinoad.pipeline.detection.speed import DetectionSpeed, SpeedTrial

NAME = "bench"
HELP = "Measure what a slice takes on this computer, from a volume to its map. Needs no data and no weights."
EXAMPLE = "dinoad bench --backbone dinov2_vits14 --scorer dpmm ar-cnn"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this verb."""
    defaults = FitSettings()
    parser.add_argument(
        "--backbone",
        default=defaults.backbone,
        metavar="NAME",
        help="backbone to measure, with random weights, which are as fast as the published ones "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--scorer",
        nargs="+",
        default=list(SCORER_NAMES),
        metavar="NAME",
        help=f"scorers to measure, as for dinoad fit (default: {' '.join(SCORER_NAMES)})",
    )
    add_resolution_argument(parser)
    parser.add_argument(
        "--slices",
        type=int,
        default=BENCH_SLICES,
        metavar="N",
        help="slices of the volume, 240 × 240 pixels each (default: %(default)s)",
    )
    add_device_argument(parser, DetectSettings().device)


def run(options: argparse.Namespace) -> int:
    """Measure and print a line for each scorer."""
    import torch

    from napari_dinoad.pipeline.detection.speed import SpeedTrial

    trial = SpeedTrial(options.backbone, options.device, options.resolution, options.slices)
    with ProgressBars() as progress:
        speeds = list(trial.speeds(options.scorer, progress))
    document: dict[str, Any] = {
        "backbone": trial.backbone.name,
        "resolution_px": trial.resolution_px,
        "device": _device_name(trial),
        "runtime": trial.backbone.runtime,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "shape": [*trial.volume_shape],
        "scorers": [
            asdict(speed)
            | {
                "share": speed.share,
                "share_of_many": speed.share_of_many,
                "slices_per_second": 1000 / speed.detect_ms,
            }
            for speed in speeds
        ],
    }
    if options.json:
        print_json(document)
    else:
        _print_speeds(document, speeds)
    return 0


def _device_name(trial: SpeedTrial) -> str:
    import torch

    device = trial.backbone.device
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {platform.processor() or platform.machine()}"


def _print_speeds(document: dict[str, Any], speeds: list[DetectionSpeed]) -> None:
    print(
        f"{document['backbone']} at {document['resolution_px']} px on {document['device']} ({document['runtime']}, "
        f"{document['threads']} threads); a volume of {' × '.join(map(str, document['shape']))}"
    )
    header = (
        "scorer",
        "backbone alone",
        "volume to map",
        "its share",
        "one of many",
        "its share",
        "a volume",
    )
    rows = [
        (
            speed.scorer,
            f"{speed.bare_ms:.3g} ms a slice",
            f"{speed.detect_ms:.3g} ms a slice",
            f"{100 * speed.share:.0f} %",
            f"{speed.of_many_ms:.3g} ms a slice",
            f"{100 * speed.share_of_many:.0f} %",
            f"{speed.detect_ms * document['shape'][0] / 1000:.1f} s",
        )
        for speed in speeds
    ]
    print_table(header, rows)
