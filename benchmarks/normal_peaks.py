"""Regions that no normal scan has the like of: how many new normal phantoms have one, and how many patients.

    python benchmarks/normal_peaks.py [--scorers dpmm ar-cnn] [--normals 24] [--new 40] [--patients 4] [--json]

A model is fitted on normal phantoms, all held out on folds. A region counts as found where its peak is beyond what a
share of the normal scans reach (p, corrected for all voxels of a scan, at most 1/(n + 1), 0.1 and 0.2). Of new normal
phantoms a share p should have such a region. Of patients, ``--patients`` of each kind of lesion, it is told how many
have one that touches the lesion, and how many have one that does not; beside it the regions of the mask at 1 %.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_dinoad import Detector, fit_folder
from napari_dinoad.phantom import KINDS, make_normal, make_patient, write_cohort
from napari_dinoad.settings import DEMO_SCAN_SHAPE, SCORER_NAMES, CalibrationSettings, demo_settings

FIRST_NEW, FIRST_PATIENT = 500_000, 3_000_000
LEVELS = (0.1, 0.2)


def regions_of(detector: Detector, volume, lesion=None) -> list[tuple[float, bool]]:
    """Return p, corrected for the whole scan, of each region, and whether it touches the lesion."""
    detection = detector.detect(volume)
    mask = detection.mask()
    return [
        (
            detection.normal_peaks.p_value(region.peak_neg_log10_p),
            lesion is not None and bool(lesion[mask.labels == region.label].any()),
        )
        for region in mask.regions()
    ]


def shares(scans: list[list[tuple[float, bool]]], level: float, *, of_lesion: bool) -> float:
    """Return the share of scans with a region of at most this p that touches the lesion, or does not."""
    return float(np.mean([any(p <= level and hit is of_lesion for p, hit in scan) for scan in scans]))


def main() -> None:
    """Read the arguments, fit, score, print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scorers", nargs="+", default=list(SCORER_NAMES))
    parser.add_argument("--normals", type=int, default=24)
    parser.add_argument("--new", type=int, default=40)
    parser.add_argument("--patients", type=int, default=4)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    results: dict[str, dict[str, object]] = defaultdict(dict)
    with tempfile.TemporaryDirectory() as temporary:
        cohort = write_cohort(Path(temporary), arguments.normals, (), shape=DEMO_SCAN_SHAPE)
        for scorer in arguments.scorers:
            settings = replace(demo_settings(scorer), calibration=CalibrationSettings())
            detector = Detector(fit_folder(cohort.normal_folder, settings))
            new = [
                regions_of(detector, make_normal(FIRST_NEW + seed, DEMO_SCAN_SHAPE))
                for seed in range(arguments.new)
            ]
            patients = []
            for seed in range(arguments.patients * len(KINDS)):
                made = make_patient(FIRST_PATIENT + seed, KINDS[seed % len(KINDS)], DEMO_SCAN_SHAPE)
                patients.append(regions_of(detector, made.volume, made.lesion_mask))
            smallest = 1 / (1 + arguments.normals)
            for level in (smallest, *LEVELS, 1.0):
                results[scorer][f"{level:.3g}"] = {
                    "new normal": shares(new, level, of_lesion=False),
                    "lesion": shares(patients, level, of_lesion=True),
                    "elsewhere": shares(patients, level, of_lesion=False),
                    "regions of a new normal": float(np.mean([sum(p <= level for p, _ in s) for s in new])),
                }
            if not arguments.json:
                _print(scorer, results[scorer])
    if arguments.json:
        print(json.dumps(results))


def _print(scorer: str, by_level: dict[str, object]) -> None:
    print(f"\n{scorer}")
    for level, figures in by_level.items():
        told = ", ".join(f"{name} {value:.2f}" for name, value in figures.items())
        print(f"  p ≤ {level}: {told}")


if __name__ == "__main__":
    main()
