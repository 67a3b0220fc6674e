"""Scorers combined in p-space against each alone, on real brain slices; and rules to combine by.

    python benchmarks/fusion_scorers.py --data ../shared/data/brain_mr_2d [--seeds 0 1 2] [--cache FILE] [--json FILE]

Slices, lesions and fits are those of ``detection_brain_mr.py``. The held-out fifth of the normal slices calibrates
each scorer; the rules of ``fusion_rules.py`` make one score of the scorers' −log10 p. AUROC / AUPR over all body
pixels of the slices with a tumour, and of the held-out slices with planted lesions, in percent, mean over seeds.
"""

from __future__ import annotations

import argparse
import json
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from detection_brain_mr import N_PLANTED, Slices, add_data_arguments, cached_data, fit, score_maps
from fusion_rules import RULES
from napari_dinoad.calibration import Calibration, OwnScores
from napari_dinoad.calibration.score_histogram import ScoreHistogram
from napari_dinoad.evaluation import auroc, average_precision
from napari_dinoad.settings import SCORER_NAMES, CalibrationSettings

if TYPE_CHECKING:
    from detection_brain_mr import Fit

SETS = ("tumour", "planted")


def body_levels(fitted: Fit, data: dict[str, Slices], sets: dict[str, Slices]) -> dict[str, np.ndarray]:
    """Return −log10 p at the body pixels of each set, by a calibration on the slices that were held out."""
    normal = data["normal"].chosen(fitted.held_out)
    fraction = CalibrationSettings().scan_top_fraction
    maps = score_maps(fitted.scorer, normal)
    own = [OwnScores.of(scores[body], fraction) for scores, body in zip(maps, normal.body, strict=True)]
    calibration = Calibration.from_histogram(ScoreHistogram.of(maps[normal.body]), own)
    return {
        name: calibration.neg_log10_p(score_maps(fitted.scorer, slices)[slices.body])
        for name, slices in sets.items()
    }


def figures(
    levels: list[dict[str, np.ndarray]], sets: dict[str, Slices]
) -> dict[str, dict[str, list[float]]]:
    """Return AUROC and AUPR in percent by rule and set."""
    return {
        rule: {
            name: [
                100 * figure(apply(np.stack([part[name] for part in levels])), slices.truth[slices.body])
                for figure in (auroc, average_precision)
            ]
            for name, slices in sets.items()
        }
        for rule, apply in RULES.items()
    }


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_data_arguments(parser)
    parser.add_argument("--scorers", nargs="+", default=SCORER_NAMES)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, help="write all numbers here")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    data = cached_data(arguments)
    results: dict[str, list[dict[str, dict[str, list[float]]]]] = {}
    for seed in arguments.seeds:
        levels, sets = {}, {}
        for name in arguments.scorers:
            fitted = fit(name, seed, data["normal"].embeddings)
            # All scorers of a seed hold the same slices out.
            planted = data["planted"].chosen(fitted.held_out[:N_PLANTED])
            sets = {"tumour": data["tumour"], "planted": planted}
            levels[name] = body_levels(fitted, data, sets)
            print(f"{name}, seed {seed}: fitted in {fitted.seconds:.0f} CPU s", flush=True)
        for count in range(1, len(levels) + 1):
            for chosen in combinations(levels, count):
                row = figures([levels[name] for name in chosen], sets)
                results.setdefault(" + ".join(chosen), []).append(row)
        if arguments.json is not None:
            arguments.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print_table(results)


def print_table(results: dict[str, list[dict[str, dict[str, list[float]]]]]) -> None:
    """Print means over the seeds."""
    print("\n| scorers | slices | " + " | ".join(RULES) + " |\n|" + " --- |" * (len(RULES) + 2))
    for chosen, rows in results.items():
        for name in SETS:
            means = [np.mean([row[rule][name] for row in rows], axis=0) for rule in RULES]
            cells = " | ".join(f"{one:.2f} / {other:.2f}" for one, other in means)
            print(f"| {chosen} | {name} | {cells} |")


if __name__ == "__main__":
    main()
