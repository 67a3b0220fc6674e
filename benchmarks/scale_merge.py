"""Whether a model merged from those of several hospitals, or updated, finds tumours like one fitted on all scans.

    python benchmarks/scale_merge.py --data ../shared/data/brain_mr_2d [--hospitals 2] [--seeds 0 1 2] [--cache FILE]

The protocol of ``detection_brain_mr.py``: a fifth of the normal slices is held out by the seed, the others are dealt
to the hospitals. Pixel AUROC in percent over the body of the tumour slices, and over it and that of the held-out
normal slices; and the share of held-out normal body pixels above the threshold that the joined calibration gives for
1 %.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import numpy as np
import torch

from detection_brain_mr import BATCH_MAPS, HOLDOUT, add_data_arguments, cached_data, score_maps
from napari_dinoad.calibration import Calibration, OwnScores
from napari_dinoad.calibration.score_histogram import ScoreHistogram
from napari_dinoad.evaluation.metrics import auroc
from napari_dinoad.scoring.dpmm.scorer import DpmmScorer
from napari_dinoad.settings import CalibrationSettings, DpmmSettings

if TYPE_CHECKING:
    from detection_brain_mr import Slices

RATE = 0.01


def fit(slices: Slices, rows: np.ndarray, settings: DpmmSettings) -> DpmmScorer:
    """Fit on some of the slices."""
    return DpmmScorer(settings).fit(slices.embeddings[rows].split(BATCH_MAPS))


def calibrate(slices: Slices, rows: np.ndarray, settings: DpmmSettings, folds: int) -> Calibration | None:
    """Calibrate on some of the slices, each scored by a fold's scorer that had not seen it; None without folds."""
    if folds == 0:
        return None
    fraction = CalibrationSettings().scan_top_fraction
    pooled, of_scans = ScoreHistogram.empty(), []
    for fold in np.array_split(rows, folds):
        scorer = fit(slices, np.setdiff1d(rows, fold), settings)
        own = slices.chosen(fold)
        maps = score_maps(scorer, own)
        pooled = pooled + ScoreHistogram.of(maps[own.body])
        of_scans += [OwnScores.of(m[body], fraction) for m, body in zip(maps, own.body, strict=True)]
    return Calibration.from_histogram(pooled, of_scans, "cross")


def figures(
    scorer: DpmmScorer, tumour: Slices, normal: Slices, calibration: Calibration | None
) -> dict[str, float]:
    """Return the figures of a scorer in percent."""
    maps, normal_maps = score_maps(scorer, tumour), score_maps(scorer, normal)
    scores, truth = maps[tumour.body], tumour.truth[tumour.body]
    background = normal_maps[normal.body]
    both = np.concatenate([scores, background])
    both_truth = np.concatenate([truth, np.zeros(len(background), dtype=bool)])
    result = {
        "components": scorer.parameters.mixture.n_components,
        "AUROC tumour slices": 100 * auroc(scores, truth),
        "AUROC with held-out normals": 100 * auroc(both, both_truth),
    }
    if calibration is not None:
        result["marked at 1 %"] = 100 * float((background >= calibration.threshold(RATE)).mean())
    return result


def compare(data: dict[str, Slices], seed: int, n_hospitals: int, settings: DpmmSettings, folds: int) -> None:
    """Print the figures of the whole, of each hospital, of the merged and of the updated model."""
    normal, tumour = data["normal"], data["tumour"]
    order = np.random.default_rng(seed).permutation(len(normal.truth))
    n_held_out = round(HOLDOUT * len(order))
    held_out, rest = normal.chosen(order[:n_held_out]), order[n_held_out:]
    parts = np.array_split(rest, n_hospitals)
    own = [fit(normal, part, settings) for part in parts]
    calibrations = [calibrate(normal, part, settings, folds) for part in parts]
    made = [calibration for calibration in calibrations if calibration is not None]
    joined = Calibration.joined(made) if made else None
    updated = own[0].updated(normal.embeddings[np.concatenate(parts[1:])].split(BATCH_MAPS))
    rows = {
        "fitted on all": (fit(normal, rest, settings), calibrate(normal, rest, settings, folds)),
        "merged": (DpmmScorer.merged(own), joined),
        "updated": (updated, joined),
    }
    for number, part in enumerate(zip(own, calibrations, strict=True), start=1):
        rows[f"hospital {number}"] = part
    for name, (scorer, calibration) in rows.items():
        result = figures(scorer, tumour, held_out, calibration)
        print(
            f"seed {seed}, {name}: " + ", ".join(f"{key} {value:.2f}" for key, value in result.items()),
            flush=True,
        )


def main() -> None:
    """Measure, a line a model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_data_arguments(parser)
    parser.add_argument("--hospitals", type=int, default=2)
    parser.add_argument("--components", type=int, default=DpmmSettings().n_components)
    parser.add_argument("--folds", type=int, default=5, help="of each calibration; 0: no calibration")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    arguments = parser.parse_args()
    data = cached_data(arguments)
    for seed in arguments.seeds:
        settings = DpmmSettings(n_components=arguments.components, seed=seed)
        with torch.inference_mode():
            compare(data, seed, arguments.hospitals, settings, arguments.folds)


if __name__ == "__main__":
    main()
