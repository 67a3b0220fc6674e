"""Compute the frozen constants of the embedded backbone and write them into the package.

They are the mean and standard deviation of each channel over the tissue cells of slices in all three planes of scans.
Those that ship were made from the permissively licensed scans named in docs/embedded.md:

    python tools/embedded_constants.py --scans FOLDER/normal FOLDER/other

Running it again on the same scans gives the same file. Embeddings are compared by direction, so the centre that they
are seen from matters more than the scale; EMPTY_SHARE moves it from the mean of tissue towards the empty cell.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from napari_dinoad.backbones.embedded.backbone import log_features
from napari_dinoad.backbones.embedded.scattering import ScatteringPlan
from napari_dinoad.errors import ScanReadError
from napari_dinoad.images.readers import read_volume
from napari_dinoad.images.slices import prepare_scan
from napari_dinoad.settings import ANATOMICAL_PLANES, PRESETS, PreprocessingSettings

PLAN = ScatteringPlan(
    cell_px=16, scales=4, angles=6, lowpass_sigmas_px=(8.0, 16.0), image_sigmas_px=(4.0, 16.0, 48.0)
)
LOG_OFFSET = 0.01
EMPTY_SHARE = 0.05
VERSION = 1
RESOLUTION_PX = 256
SLICES_PER_SCAN_AND_PLANE = 24
TISSUE_BRIGHTNESS = 0.05
"""A cell whose mean brightness (second image window) is below this share of the range is empty."""

SIGNIFICANT_DIGITS = 6
OUTPUT = Path(__file__).parents[1] / "src/napari_dinoad/backbones/embedded/constants.json"


def scan_slices(path: Path, slices_per_plane: int = SLICES_PER_SCAN_AND_PLANE) -> np.ndarray:
    """Return model inputs (n, 256, 256) evenly spaced over the body, in all three planes of a scan."""
    try:
        volume = read_volume(path)
    except ScanReadError:
        volume = read_volume(path, frame=0)
    blocks = []
    for plane in ANATOMICAL_PLANES:
        settings = PreprocessingSettings("constants", PRESETS["mr-brain"].intensity, plane=plane)
        scan = prepare_scan(volume, settings, RESOLUTION_PX)
        n = min(slices_per_plane, len(scan.indices))
        blocks.append(
            scan.images([scan.indices[i] for i in np.linspace(0, len(scan.indices) - 1, n).astype(int)])
        )
    return np.concatenate(blocks)


def tissue_features(images: np.ndarray) -> torch.Tensor:
    """Return the features (cells, channels) float64 of the cells that are not empty."""
    with torch.inference_mode():
        features = torch.cat(
            [
                log_features(batch, PLAN, LOG_OFFSET).flatten(0, 2)
                for batch in torch.from_numpy(images).split(16)
            ]
        )
    brightness = features[:, PLAN.n_channels - len(PLAN.image_sigmas_px) + 1]
    return features[brightness > TISSUE_BRIGHTNESS].double()


def main() -> None:
    """Read the arguments, compute, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scans", nargs="+", type=Path, required=True, help="folders of NIfTI scans")
    parser.add_argument("--out", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    paths = sorted(path for folder in arguments.scans for path in folder.glob("*.nii*"))
    parts = []
    for path in paths:
        parts.append(tissue_features(scan_slices(path)))
        print(f"{len(parts[-1]):6d} tissue cells  {path.name}")
    tissue = torch.cat(parts)
    empty = log_features(torch.zeros(1, RESOLUTION_PX, RESOLUTION_PX), PLAN, LOG_OFFSET)[0, 0, 0].double()
    centre = (1 - EMPTY_SHARE) * tissue.mean(0) + EMPTY_SHARE * empty
    document = {
        "version": VERSION,
        "default_resolution_px": RESOLUTION_PX,
        "log_offset": LOG_OFFSET,
        "plan": {**PLAN.__dict__},
        "mean": [float(f"{value:.{SIGNIFICANT_DIGITS}g}") for value in centre],
        "std": [float(f"{value:.{SIGNIFICANT_DIGITS}g}") for value in tissue.std(0)],
    }
    arguments.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {arguments.out}: {PLAN.n_channels} channels")


if __name__ == "__main__":
    main()
