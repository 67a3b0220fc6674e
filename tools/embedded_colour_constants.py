"""Compute the frozen constants of the embedded backbone's colours and write them into the package.

Local means are seen from grey (0) and counted in units of `MEAN_UNIT`; texture by its mean and standard deviation
over the cells of the six photographs that come with scikit-image up to 0.26 (a retina, stained tissue, a cat, coffee,
an astronaut, a rocket; CC0 or public domain). Running it again gives the same file up to rounding.

    python tools/embedded_colour_constants.py
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import skimage
import torch
from PIL import Image

from napari_dinoad.backbones.embedded.backbone import embedded_constants
from napari_dinoad.backbones.embedded.colour import colour_features

VERSION = 1
MEAN_UNIT = 0.07
"""Share of white; chosen on lesions painted into procedural pictures, see docs/measurements/embedded.md."""

PHOTOGRAPHS = ("retina.jpg", "ihc.png", "chelsea.png", "coffee.png", "astronaut.png", "rocket.jpg")
FOLDER = Path(skimage.__file__).parent / "data"
RESOLUTION_PX = 256
SIGNIFICANT_DIGITS = 5
OUTPUT = Path(__file__).parents[1] / "src/napari_dinoad/backbones/embedded/colour_constants.json"


def photographs() -> torch.Tensor:
    """Return the photographs (n, 3, 256, 256) float32 in [0, 1], cut square from the upper left."""
    pictures = []
    for name in PHOTOGRAPHS:
        with Image.open(FOLDER / name) as image:
            side = min(image.size)
            square = image.convert("RGB").crop((0, 0, side, side))
            pictures.append(np.asarray(square.resize((RESOLUTION_PX, RESOLUTION_PX), Image.Resampling.BOX)))
    return torch.from_numpy(np.stack(pictures).transpose(0, 3, 1, 2).astype(np.float32) / 255)


def constants() -> dict[str, object]:
    """Return the document that ships."""
    plan, log_offset = embedded_constants().plan, embedded_constants().log_offset
    features = colour_features(photographs(), plan, log_offset).flatten(0, 2).double()
    mean, std = features.mean(0), features.std(0)
    n_means = len(plan.image_sigmas_px)
    for first in (0, len(mean) // 2):
        mean[first : first + n_means] = 0
        std[first : first + n_means] = MEAN_UNIT
    return {
        "version": VERSION,
        "mean": [float(f"{value:.{SIGNIFICANT_DIGITS}g}") for value in mean],
        "std": [float(f"{value:.{SIGNIFICANT_DIGITS}g}") for value in std],
    }


def main() -> None:
    """Read the arguments, compute, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    document = constants()
    arguments.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
