"""`dinoad demo`: the main job on phantoms, with figures against the truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_dinoad.cli.common_arguments import add_device_argument
from napari_dinoad.cli.output import ProgressBars, print_json, print_table
from napari_dinoad.machine.atomic_files import require_folder, write_json
from napari_dinoad.settings import (
    DEMO_SCAN_SHAPE,
    DEMO_SCORER,
    FALSE_POSITIVE_RATES,
    N_DEMO_SCANS,
    DetectSettings,
    FitSettings,
    demo_settings,
)

if TYPE_CHECKING:
    import argparse

    from napari_dinoad.phantom import PhantomCohort
    from napari_dinoad.pipeline import Detector
    from napari_dinoad.progress import Progress

NAME = "demo"
HELP = (
    "Fit on phantom heads, score phantom patients, and compare with the truth. Needs no data and no weights."
)
EXAMPLE = "dinoad demo --out demo-output"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this verb."""
    defaults = FitSettings()
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("demo-output"),
        metavar="DIR",
        help="folder for scans and results (default: %(default)s)",
    )
    parser.add_argument(
        "--scorer",
        default=DEMO_SCORER,
        metavar="NAME",
        help="scorer, as for dinoad fit (default: %(default)s)",
    )
    parser.add_argument(
        "--normals",
        type=int,
        default=N_DEMO_SCANS,
        metavar="N",
        help="number of normal heads to fit on (default: %(default)s)",
    )
    add_device_argument(parser, defaults.device)
    parser.add_argument(
        "--seed",
        type=int,
        default=defaults.seed,
        metavar="N",
        help="of the phantoms and the fit (default: %(default)s)",
    )


def run(options: argparse.Namespace) -> int:
    """Make the cohort, fit, score, and tell how well the lesions were found."""
    # torch is loaded here, not for --help.
    from napari_dinoad.phantom import write_cohort
    from napari_dinoad.pipeline import Detector, fit_folder

    folder = require_folder(options.out)
    settings = demo_settings(options.scorer, options.device, options.seed)
    with ProgressBars() as progress:
        cohort = write_cohort(
            folder, options.normals, seed=options.seed, shape=DEMO_SCAN_SHAPE, progress=progress
        )
        model = fit_folder(cohort.normal_folder, settings, progress)
        model.save(folder / "normal.dinoad")
        detector = Detector(model, DetectSettings(device=options.device))
        results = [_score_patient(detector, cohort, kind, folder, progress) for kind in cohort.patients]
    document = {"model": str(folder / "normal.dinoad"), "card": model.card(), "patients": results}
    write_json(folder / "figures.json", document)
    if options.json:
        print_json(document)
    else:
        _print_figures(folder, results)
    return 0


def _score_patient(
    detector: Detector, cohort: PhantomCohort, kind: Any, folder: Path, progress: Progress
) -> dict[str, Any]:
    from napari_dinoad.evaluation import auroc, average_precision, best_dice, dice
    from napari_dinoad.images.readers import read_volume
    from napari_dinoad.maps.pictures.overview import save_picture
    from napari_dinoad.pipeline.detection.scan_steps import save_result

    path = cohort.patients[kind]
    detection = detector.detect(read_volume(path), progress=progress)
    mask = detection.mask()
    name = f"patient_{kind}"
    outputs = ("map", "mask", "regions", "report")
    findings = detection.findings(mask, path.name, detector.model.card())
    result = save_result(findings, path, folder, name, outputs)
    truth = read_volume(cohort.truths[kind]).values > 0
    scores = detection.anomaly_map.values
    result["picture"] = str(save_picture(folder / f"{name}_picture.png", mask, truth))
    result["truth"] = {
        "kind": str(kind),
        "lesion_mm3": round(float(truth.sum() * mask.geometry.voxel_volume), 1),
        "auroc": auroc(scores, truth),
        "average_precision": average_precision(scores, truth),
        "best_dice": best_dice(scores, truth).dice,
        "dice_at_fpr": {
            f"{fpr:g}": dice(detection.mask(fpr).values > 0, truth) for fpr in FALSE_POSITIVE_RATES
        },
    }
    return result


def _print_figures(folder: Path, results: list[dict[str, Any]]) -> None:
    header = (
        "lesion",
        "cm3",
        "AUROC",
        "AP",
        "best Dice",
        "Dice at 1 %",
        "Dice at 0.1 %",
        "scan p",
        "seconds",
    )
    rows = []
    for result in results:
        truth = result["truth"]
        rows.append(
            (
                truth["kind"],
                f"{truth['lesion_mm3'] / 1000:.1f}",
                f"{truth['auroc']:.4f}",
                f"{truth['average_precision']:.3f}",
                f"{truth['best_dice']:.3f}",
                f"{truth['dice_at_fpr']['0.01']:.3f}",
                f"{truth['dice_at_fpr']['0.001']:.3f}",
                f"{result['p_value']:.3f}",
                f"{result['seconds']['total']:.1f}",
            )
        )
    print_table(header, rows)
    print(
        f"Maps, masks, regions, reports and pictures are in {folder}; figures in {folder / 'figures.json'}."
    )
