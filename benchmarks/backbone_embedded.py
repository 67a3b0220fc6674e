"""How well the embedded backbone finds tumours in real brain slices: pixel AUROC and AUPR by scorer and seed.

    python benchmarks/backbone_embedded.py --data ../shared/data/brain_mr_2d --scorers memory-bank dpmm --seeds 0 1 2

The folder holds ``normal/`` (slices), ``tumour/image/`` and ``tumour/mask/`` (same names). Slices are cropped to the
head, padded to a square and scaled from the 1st to the 99.5th percentile; the stored tumour slices lie on their side
and are transposed. A fifth of the normal slices chooses the epoch that is kept. Maps are bilinear on the model input,
metrics are over all pixels of all tumour slices. The images' rights are not settled: they are measured on, never
trained or tuned into the package, and never copied.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from napari_dinoad.backbones import load_backbone
from napari_dinoad.images.readers import read_volume
from napari_dinoad.images.slices import prepare_scan
from napari_dinoad.images.volume import Geometry, Volume
from napari_dinoad.scoring.ar_cnn import ArCnnScorer
from napari_dinoad.scoring.dpmm import DpmmScorer
from napari_dinoad.scoring.memory_bank import MemoryBankScorer
from napari_dinoad.settings import ArCnnSettings, DpmmSettings, MemoryBankSettings, PreprocessingSettings

SETTINGS = PreprocessingSettings(
    "benchmark", "slice-percentiles", percentiles=(1.0, 99.5), body_mask="automatic"
)
HOLDOUT = 0.2
DATA = Path(__file__).parents[2] / "shared/data/brain_mr_2d"


def model_input(
    path: Path, resolution_px: int, mask_path: Path | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return a slice (H, W) float32 and its mask (H, W) bool as the backbone sees them."""
    image = read_volume(path).values[0]
    mask = np.zeros_like(image)
    if mask_path is not None:
        image, mask = image.T, read_volume(mask_path).values[0].T
    volume = Volume(np.ascontiguousarray(image)[None], Geometry.of_pixels(image.shape))
    scan = prepare_scan(volume, SETTINGS, resolution_px)
    on_input = scan.placement.to_model((mask > 0)[None].astype(np.float32))[0] > 0.5
    return scan.images([0])[0], on_input


def make_scorer(name: str, seed: int, epochs: int | None):
    """Return a scorer with its default settings, this seed and number of epochs."""
    if name == "memory-bank":
        return MemoryBankScorer(MemoryBankSettings(seed=seed))
    extra = {} if epochs is None else {"epochs": epochs}
    if name == "dpmm":
        return DpmmScorer(DpmmSettings(seed=seed, **extra))
    return ArCnnScorer(ArCnnSettings(seed=seed, **extra))


def measure(name, seed, epochs, normal, tumour, masks) -> dict:
    """Fit on normal embeddings, score the tumour slices, and return the metrics."""
    order = np.random.default_rng(seed).permutation(len(normal))
    n_held_out = round(HOLDOUT * len(normal))
    fitted, held_out = normal[order[n_held_out:]], normal[order[:n_held_out]]
    started = time.perf_counter()
    scorer = make_scorer(name, seed, epochs).fit(fitted.split(16), validation=held_out.split(16))
    fit_s = time.perf_counter() - started
    size = masks.shape[1:]

    def maps(embeddings: torch.Tensor) -> np.ndarray:
        scores = torch.cat([scorer.score(batch) for batch in embeddings.split(16)])
        return torch.nn.functional.interpolate(scores[:, None], size=size, mode="bilinear")[:, 0].numpy()

    tumour_maps, normal_maps = maps(tumour), maps(held_out)
    peak = np.concatenate([tumour_maps.max((1, 2)), normal_maps.max((1, 2))])
    is_tumour = np.arange(len(peak)) < len(tumour_maps)
    return {
        "scorer": name,
        "seed": seed,
        "pixel_auroc": float(roc_auc_score(masks.ravel(), tumour_maps.ravel())),
        "pixel_aupr": float(average_precision_score(masks.ravel(), tumour_maps.ravel())),
        "image_auroc": float(roc_auc_score(is_tumour, peak)),
        "fit_s": fit_s,
    }


def main() -> None:
    """Read the arguments, measure, print one line a fit."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--backbone", default="embedded")
    parser.add_argument("--weights", type=Path)
    parser.add_argument(
        "--resolution", type=int, help="side of the input in pixels (default: the backbone's own)"
    )
    parser.add_argument("--scorers", nargs="+", default=["memory-bank", "dpmm", "ar-cnn"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--epochs", type=int, help="instead of each scorer's own number")
    parser.add_argument("--json", type=Path, help="write all numbers here")
    arguments = parser.parse_args()
    backbone = load_backbone(arguments.backbone, arguments.weights)
    resolution = arguments.resolution or backbone.default_resolution_px
    images = sorted(arguments.data.glob("tumour/image/*"))
    pairs = [model_input(path, resolution, arguments.data / "tumour/mask" / path.name) for path in images]
    masks = np.stack([mask for _, mask in pairs])
    inputs = [model_input(path, resolution)[0] for path in sorted(arguments.data.glob("normal/*"))]
    started = time.perf_counter()
    normal = torch.cat([backbone(np.stack(inputs[i : i + 16])).values for i in range(0, len(inputs), 16)])
    per_slice_ms = (time.perf_counter() - started) / len(inputs) * 1000
    tumour = backbone(np.stack([image for image, _ in pairs])).values
    print(
        f"{arguments.backbone} at {resolution} px: {len(normal)} normal, {len(tumour)} tumour slices, chance AUPR "
        f"{masks.mean():.3f}, {per_slice_ms:.1f} ms a slice"
    )
    rows = []
    for name in arguments.scorers:
        for seed in arguments.seeds:
            row = measure(name, seed, arguments.epochs, normal.cpu(), tumour.cpu(), masks)
            rows.append(row)
            print(
                "  ".join(f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()),
                flush=True,
            )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
