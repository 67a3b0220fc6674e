"""Scorers combined in p-space against each alone, on 2D slices with tumours.

    python benchmarks/fusion_scorers.py --data ../shared/data/brain_mr_2d [--seeds 0 1 2] [--size 448]

A fifth of the normal slices calibrates; each scorer's scores become −log10 p, which the rules of ``fusion_rules``
make one score of. Pixel figures over all slices with a tumour, at the size of the model input.
"""

from __future__ import annotations

import argparse
import json
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import interpolate

from fusion_rules import RULES
from napari_dinoad.backbones import load_backbone
from napari_dinoad.calibration import Calibration, ScanScores
from napari_dinoad.evaluation import auroc, average_precision
from napari_dinoad.scoring import make_scorer
from napari_dinoad.settings import SCORER_NAMES, FitSettings

BATCH = 16


def read_images(folder: Path, size: int) -> np.ndarray:
    """Return all pictures of a folder (n, size, size) float32 in [0, 1], by name."""
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".png", ".jpg"))
    resized = [
        Image.open(path).convert("L").resize((size, size), Image.Resampling.BILINEAR) for path in paths
    ]
    return np.stack([np.asarray(image, dtype=np.float32) / 255 for image in resized])


def embed(images: np.ndarray, backbone: Any) -> torch.Tensor:
    """Return embeddings (n, gh, gw, d) float16."""
    parts = [
        backbone(torch.from_numpy(images[i : i + BATCH])).values.half() for i in range(0, len(images), BATCH)
    ]
    return torch.cat(parts).cpu()


def pixel_scores(scorer: Any, embeddings: torch.Tensor, size: int) -> np.ndarray:
    """Return raw scores (n, size, size) of pixels."""
    scores = torch.cat([scorer.score(batch.float()) for batch in embeddings.split(BATCH)])
    return interpolate(scores[:, None], size=(size, size), mode="bilinear")[:, 0].numpy()


def levels_of(
    name: str, seed: int, normal: torch.Tensor, body: np.ndarray, tumour: torch.Tensor
) -> np.ndarray:
    """Fit a scorer, calibrate it on the normals that it has not seen, and return −log10 p of the tumour slices."""
    order = np.random.default_rng(seed).permutation(len(normal))
    n_held_out = len(normal) // 5
    held_out, fitted = order[:n_held_out], order[n_held_out:]
    n_validate = len(fitted) // 10
    validation = normal[fitted[:n_validate]].float().split(BATCH)
    scorer = make_scorer(FitSettings(seed=seed).scorer_settings(name))  # type: ignore[arg-type]
    scorer.fit([batch.float() for batch in normal[fitted[n_validate:]].split(BATCH)], validation=validation)
    size = body.shape[1]
    raw = pixel_scores(scorer, normal[held_out], size)
    scans = [ScanScores.of(scores[inside], 0.005) for scores, inside in zip(raw, body[held_out], strict=True)]
    return Calibration.from_scans(scans).neg_log10_p(pixel_scores(scorer, tumour, size))


def main() -> None:
    """Fit, score, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--scorers", nargs="+", default=list(SCORER_NAMES))
    parser.add_argument("--backbone", default="embedded")
    parser.add_argument("--size", type=int, default=448)
    parser.add_argument("--out", type=Path, help="JSON file for all figures")
    arguments = parser.parse_args()
    backbone = load_backbone(arguments.backbone)
    normal_images = read_images(arguments.data / "normal", arguments.size)
    patient_images = read_images(arguments.data / "tumour/image", arguments.size)
    truth = read_images(arguments.data / "tumour/mask", arguments.size) > 0
    normal, tumour = embed(normal_images, backbone), embed(patient_images, backbone)
    results: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for seed in arguments.seeds:
        levels = {
            name: levels_of(name, seed, normal, normal_images > 0.05, tumour) for name in arguments.scorers
        }
        for count in range(1, len(levels) + 1):
            for chosen in combinations(levels, count):
                stacked = np.stack([levels[name] for name in chosen])
                row = {
                    rule: (auroc(scores, truth), average_precision(scores, truth))
                    for rule, scores in ((rule, apply(stacked)) for rule, apply in RULES.items())
                }
                results.setdefault(chosen, []).append(row)
        print(f"seed {seed} done", flush=True)
    if arguments.out is not None:
        arguments.out.write_text(json.dumps({"+".join(k): v for k, v in results.items()}, indent=1))
    print("AUROC / AUPR in %, mean over seeds\n\n| scorers | " + " | ".join(RULES) + " |")
    print("| --- " * (len(RULES) + 1) + "|")
    for chosen, rows in results.items():
        cells = []
        for rule in RULES:
            mean = 100 * np.mean([row[rule] for row in rows], axis=0)
            cells.append(f"{mean[0]:.2f} / {mean[1]:.2f}")
        print(f"| {' + '.join(chosen)} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
