"""Three planes fused in p-space against each plane alone, on phantom patients; and other rules to fuse by.

    python benchmarks/fusion_planes.py [--scorer dpmm] [--normals 6] [--resolution 160] [--shape Z Y X] [--out FILE]

One model with ``--plane all`` is fitted on normal phantoms; its planes are those of fits in one plane alone. Six
patients are scored: one of each kind of lesion, and a second mass. The last rows say how many voxels of normal
phantoms that the model has not seen are marked at 1 %.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fusion_rules import RULES
from napari_dinoad import fit_folder, preset
from napari_dinoad.evaluation import auroc, average_precision, best_dice, dice
from napari_dinoad.phantom import KINDS, make_normal, make_patient, write_cohort
from napari_dinoad.pipeline import Detector
from napari_dinoad.settings import (
    CalibrationSettings,
    DpmmSettings,
    FitSettings,
    MemoryBankSettings,
)

if TYPE_CHECKING:
    from napari_dinoad.images.volume import Volume
    from napari_dinoad.normative_model.model import NormativeModel

PATIENTS = (*enumerate(KINDS), (len(KINDS), "mass"))
SHAPE = (56, 85, 75)
"""Voxels of 2.6 mm; the phantoms' own are 1.75 mm."""

FIRST_PATIENT, FIRST_NORMAL = 2_000_000, 3_000_000
FPR = 0.01


def fit(arguments: argparse.Namespace, folder: Path) -> NormativeModel:
    """Fit a model of three planes on normal phantoms."""
    cohort = write_cohort(folder, arguments.normals, kinds=(), shape=arguments.shape)
    settings = FitSettings(
        scorer=arguments.scorer,
        preprocessing=replace(preset("mr-brain"), plane="all", resolution_px=arguments.resolution),
        calibration=CalibrationSettings(folds=3),
        dpmm=DpmmSettings(n_components=200, epochs=15),
        memory_bank=MemoryBankSettings(n_patches=4000, reduction="random"),
    )
    return fit_folder(cohort.normal_folder, settings)


def maps_of(detectors: dict[str, Detector], whole: NormativeModel, volume: Volume) -> dict[str, Any]:
    """Return −log10 p by plane, and fused, and how many planes score each voxel."""
    maps, covered = {}, np.zeros(volume.values.shape, dtype=np.uint8)
    for plane, detector in detectors.items():
        maps[plane] = detector.detect(volume).anomaly_map.values
        (scan,) = detector.prepare(volume)
        where = scan.stack.where(scan.indices)
        covered[where] += scan.body[where]
    scored = covered > 0
    raw = (np.sum(list(maps.values()), axis=0)[scored] / covered[scored]).astype(np.float32)
    fused = np.zeros(volume.values.shape, dtype=np.float32)
    fused[scored] = whole.calibration.neg_log10_p(raw)
    return {"maps": maps, "all": fused, "covered": covered}


def figures(scores: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Return voxel figures of a map of −log10 p."""
    return {
        "auroc": auroc(scores, truth),
        "aupr": average_precision(scores, truth),
        "dice_at_fpr": dice(scores >= -np.log10(FPR), truth),
        "best_dice": best_dice(scores, truth).dice,
    }


def main() -> None:
    """Fit, score, print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scorer", default="dpmm")
    parser.add_argument("--normals", type=int, default=6)
    parser.add_argument("--resolution", type=int, default=160, help="side of the model input in pixels")
    parser.add_argument("--fresh", type=int, default=3, help="normal phantoms to measure the rate on")
    parser.add_argument(
        "--shape",
        type=int,
        nargs=3,
        default=SHAPE,
        help="voxels (z, y, x) of a phantom, in one field of view",
    )
    parser.add_argument("--out", type=Path, help="JSON file for all figures")
    arguments = parser.parse_args()
    shape = arguments.shape = tuple(arguments.shape)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        model = fit(arguments, Path(folder))
    print(f"fitted in {time.perf_counter() - started:.0f} s", flush=True)
    names = [plane.plane for plane in model.planes]
    detectors = {name: Detector(model.in_plane(name)) for name in names}
    rows: list[dict[str, Any]] = []
    for number, kind in PATIENTS:
        patient = make_patient(FIRST_PATIENT + number, kind, shape)
        found = maps_of(detectors, model, patient.volume)
        by_name = {**found["maps"], "all": found["all"]}
        row = {"kind": kind, **{name: figures(by_name[name], patient.lesion_mask) for name in by_name}}
        both = found["covered"] == len(names)
        stacked = np.stack([found["maps"][name] for name in names])
        row["rules"] = {
            rule: figures(np.where(both, apply(stacked), 0), patient.lesion_mask)
            for rule, apply in RULES.items()
        }
        rows.append(row)
        print(kind, {name: round(row[name]["auroc"], 4) for name in by_name}, flush=True)
    rates = []
    for seed in range(arguments.fresh):
        volume = make_normal(FIRST_NORMAL + seed, shape)
        found = maps_of(detectors, model, volume)
        inside = found["covered"] > 0
        by_name = {**found["maps"], "all": found["all"]}
        rates.append({name: float((by_name[name][inside] >= -np.log10(FPR)).mean()) for name in by_name})
    if arguments.out is not None:
        arguments.out.write_text(
            json.dumps({"scorer": arguments.scorer, "patients": rows, "rates": rates}, indent=1)
        )
    print_tables(rows, rates, [*names, "all"])


def print_tables(rows: list[dict[str, Any]], rates: list[dict[str, float]], names: list[str]) -> None:
    """Print Markdown tables."""
    print("\nAUROC / Dice at 1 % / best Dice\n\n| lesion | " + " | ".join(names) + " |")
    print("| --- " * (len(names) + 1) + "|")
    for row in rows:
        cells = [
            f"{row[n]['auroc']:.4f} / {row[n]['dice_at_fpr']:.3f} / {row[n]['best_dice']:.3f}" for n in names
        ]
        print(f"| {row['kind']} | " + " | ".join(cells) + " |")
    means = [
        " / ".join(
            f"{np.mean([row[n][what] for row in rows]):.{digits}f}"
            for what, digits in (("auroc", 4), ("dice_at_fpr", 3), ("best_dice", 3))
        )
        for n in names
    ]
    print("| mean | " + " | ".join(means) + " |")
    print("\n| rule | AUROC | AUPR | best Dice |\n| --- | --- | --- | --- |")
    for rule in RULES:
        values = [
            np.mean([row["rules"][rule][what] for row in rows]) for what in ("auroc", "aupr", "best_dice")
        ]
        print(f"| {rule} | {values[0]:.4f} | {values[1]:.3f} | {values[2]:.3f} |")
    print("\nshare of normal voxels marked at 1 %, mean over scans ± standard error")
    for name in names:
        values = 100 * np.array([rate[name] for rate in rates])
        print(f"{name}: {values.mean():.2f} ± {values.std(ddof=1) / np.sqrt(len(values)):.2f} %")


if __name__ == "__main__":
    main()
