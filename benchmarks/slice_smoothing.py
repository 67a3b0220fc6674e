"""What averaging across slices is worth on phantom volumes: detection, and the rates on new normal heads.

    python benchmarks/slice_smoothing.py --scorer ar-cnn --out slice_smoothing.json

Fits on the demo's cohort by the demo's settings, once for each length (embeddings are cached and computed once), and
scores patients whose seeds neither the demo nor the sample data have.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_dinoad.evaluation import auroc, average_precision, best_dice, dice
from napari_dinoad.machine.atomic_files import write_json
from napari_dinoad.phantom import KINDS, make_normal, make_patient, write_cohort
from napari_dinoad.pipeline import Detector, fit_folder
from napari_dinoad.settings import (
    DEMO_SCAN_SHAPE,
    DEMO_SCORER,
    FALSE_POSITIVE_RATES,
    N_DEMO_SCANS,
    CacheSettings,
    CalibrationSettings,
    demo_settings,
)

PATIENT_SEEDS = (1_700_000, 1_700_101, 1_700_202)
NORMAL_SEEDS = tuple(1_900_000 + 7 * number for number in range(6))


def main() -> None:
    """Fit, score, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scorer", default=DEMO_SCORER, metavar="NAME")
    parser.add_argument(
        "--lengths", type=float, nargs="+", default=[0.0, CalibrationSettings.smoothing_mm], metavar="MM"
    )
    parser.add_argument("--out", type=Path, metavar="FILE")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cohort = write_cohort(Path(folder), N_DEMO_SCANS, seed=0, shape=DEMO_SCAN_SHAPE)
        kept = CacheSettings(str(Path(folder) / "cache"), keep=True)
        results = [measure(cohort.normal_folder, options.scorer, length, kept) for length in options.lengths]
    if options.out is not None:
        write_json(options.out, {"scorer": options.scorer, "results": results})


def measure(normal_folder: Path, scorer: str, smoothing_mm: float, kept: CacheSettings) -> dict[str, Any]:
    """Return the mean figures at one length, and print them."""
    settings = demo_settings(scorer)
    settings = replace(settings, calibration=replace(settings.calibration, smoothing_mm=smoothing_mm))
    detector = Detector(fit_folder(normal_folder, settings, cache=kept))
    patients = [figures_of(detector, seed, kind) for seed in PATIENT_SEEDS for kind in KINDS]
    rates = [rates_on(detector, seed) for seed in NORMAL_SEEDS]
    result = {
        "smoothing_mm": smoothing_mm,
        **{name: float(np.mean([patient[name] for patient in patients])) for name in patients[0]},
        "rates_on_normals": dict(
            zip(map(str, FALSE_POSITIVE_RATES), np.mean(rates, axis=0).tolist(), strict=True)
        ),
    }
    print(scorer, result, flush=True)
    return result


def figures_of(detector: Detector, seed: int, kind: Any) -> dict[str, float]:
    """Return how well the lesion of a phantom patient is found."""
    patient = make_patient(seed, kind, shape=DEMO_SCAN_SHAPE)
    detection = detector.detect(patient.volume)
    values, truth = detection.anomaly_map.values, patient.lesion_mask
    return {
        "auroc": auroc(values, truth),
        "average_precision": average_precision(values, truth),
        "best_dice": best_dice(values, truth).dice,
        "dice_at_0.1_percent": dice(detection.mask(0.001).values > 0, truth),
        "highest_in_lesion": float(truth[np.unravel_index(values.argmax(), values.shape)]),
    }


def rates_on(detector: Detector, seed: int) -> list[float]:
    """Return which share of a new normal head's body is marked at each of the rates."""
    normal = make_normal(seed, shape=DEMO_SCAN_SHAPE)
    levels = detector.detect(normal).anomaly_map.values[detector.prepare(normal)[0].body]
    return [float((levels >= -np.log10(rate)).mean()) for rate in FALSE_POSITIVE_RATES]


if __name__ == "__main__":
    main()
