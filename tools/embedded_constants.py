"""Compute the frozen constants of the embedded backbone and write them into the package.

The images are procedural (dead leaves with random contrasts, from a seed) and, with --scans, slices in all three
planes of scans. The constants that ship were made from the permissively licensed scans named in docs/backbones.md:

    python tools/embedded_constants.py --scans FOLDER/normal FOLDER/other

Running it again on the same scans gives the same file.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from napari_dinoad.backbones.embedded import log_features
from napari_dinoad.backbones.scattering import ScatteringPlan
from napari_dinoad.errors import ScanReadError
from napari_dinoad.images.readers import read_volume
from napari_dinoad.images.slices import prepare_scan
from napari_dinoad.settings import PRESETS, PreprocessingSettings

PLAN = ScatteringPlan(
    cell_px=16, scales=4, angles=6, lowpass_sigmas_px=(8.0, 32.0), image_sigmas_px=(4.0, 16.0, 48.0)
)
LOG_OFFSET = 0.01
VERSION = 1
RESOLUTION_PX = 256
SLICES_PER_SCAN_AND_PLANE = 24
DEAD_LEAVES = 128
SIGNIFICANT_DIGITS = 6

OUTPUT = Path(__file__).parents[1] / "src/napari_dinoad/backbones/embedded_constants.json"


def dead_leaves(rng: np.random.Generator, size: int = RESOLUTION_PX) -> np.ndarray:
    """Return an image (size, size) float32 in [0, 1] of ellipses that cover each other, on a dark background.

    Radii follow a power law, as the sizes of objects in natural images do (Lee, Mumford and Huang 2001).
    """
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32)
    image = np.zeros((size, size), dtype=np.float32)
    for _ in range(int(rng.integers(50, 400))):
        radius = 3 / np.sqrt(rng.uniform((3 / (size / 3)) ** 2, 1))
        aspect, turn = rng.uniform(0.4, 1), rng.uniform(0, np.pi)
        r, c = rows - rng.uniform(0, size), columns - rng.uniform(0, size)
        along, across = np.cos(turn) * c + np.sin(turn) * r, np.cos(turn) * r - np.sin(turn) * c
        inside = (along / radius) ** 2 + (across / (aspect * radius)) ** 2 < 1
        image[inside] = rng.uniform(0, 1) + rng.uniform(0, 0.1) * rng.standard_normal(int(inside.sum()))
    body = ((rows - size / 2) / size) ** 2 + ((columns - size / 2) / size) ** 2 < rng.uniform(0.35, 0.5) ** 2
    image = np.where(body, image, 0) + rng.uniform(0, 0.03) * np.abs(rng.standard_normal(image.shape))
    return np.clip(image, 0, 1).astype(np.float32)


def scan_slices(path: Path) -> np.ndarray:
    """Return model inputs (n, 256, 256) evenly spaced over the body, in all three planes of a scan."""
    try:
        volume = read_volume(path)
    except ScanReadError:
        volume = read_volume(path, frame=0)
    blocks = []
    for plane in ("axial", "coronal", "sagittal"):
        settings = PreprocessingSettings("constants", PRESETS["mr-brain"].intensity, plane=plane)
        scan = prepare_scan(volume, settings, RESOLUTION_PX)
        n = min(SLICES_PER_SCAN_AND_PLANE, len(scan.indices))
        blocks.append(
            scan.images([scan.indices[i] for i in np.linspace(0, len(scan.indices) - 1, n).astype(int)])
        )
    return np.concatenate(blocks)


def moments(images: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Return sums, sums of squares (channels,) float64 and the count of feature vectors of images."""
    with torch.inference_mode():
        features = [
            log_features(batch, PLAN, LOG_OFFSET).flatten(0, 2).double()
            for batch in torch.from_numpy(images).split(16)
        ]
    stacked = torch.cat(features)
    return stacked.sum(0).numpy(), (stacked**2).sum(0).numpy(), len(stacked)


def main() -> None:
    """Read the arguments, compute, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scans", nargs="*", type=Path, default=[], help="folders of NIfTI scans")
    parser.add_argument("--out", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    parts = [("dead leaves", np.stack([dead_leaves(rng) for _ in range(DEAD_LEAVES)]))]
    for folder in arguments.scans:
        parts += [(path.name, scan_slices(path)) for path in sorted(folder.glob("*.nii*"))]
    total = [moments(images) for _, images in parts]
    # Each source counts the same, however many slices it has.
    mean = np.mean([sums / n for sums, _, n in total], axis=0)
    std = np.sqrt(np.mean([squares / n for _, squares, n in total], axis=0) - mean**2)
    document = {
        "version": VERSION,
        "default_resolution_px": RESOLUTION_PX,
        "log_offset": LOG_OFFSET,
        "plan": {**PLAN.__dict__},
        "mean": [float(f"{value:.{SIGNIFICANT_DIGITS}g}") for value in mean],
        "std": [float(f"{value:.{SIGNIFICANT_DIGITS}g}") for value in std],
    }
    arguments.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    for name, images in parts:
        print(f"{len(images):4d} images  {name}")
    print(f"wrote {arguments.out}: {PLAN.n_channels} channels")


if __name__ == "__main__":
    main()
