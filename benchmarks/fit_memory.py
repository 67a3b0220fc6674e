"""Peak memory of a whole fit of 40, 400 and 4,000 slices, each fit in a process of its own.

    python benchmarks/fit_memory.py [--slices 40 400 4000] [--scorer dpmm] [--resolution 128]

The slices are procedural, every one with another content. The peak is the resident set that the system reports,
the interpreter and its libraries (printed as ``bare``) included.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

SHAPE = (192, 160)


def save_slices(folder: Path, n_slices: int) -> None:
    """Save so many images: an ellipse with texture in the dark, its size, place and grain different in each."""
    folder.mkdir()
    rows, columns = np.meshgrid(*(np.linspace(-1.2, 1.2, n) for n in SHAPE), indexing="ij")
    for seed in range(n_slices):
        rng = np.random.default_rng(seed)
        height, width, phase = rng.uniform(0.8, 1.05), rng.uniform(0.75, 1.0), rng.uniform(0, 6)
        inside = (rows / height) ** 2 + (columns / width) ** 2 < 1
        texture = 130 + 40 * np.sin(7 * rows + phase) * np.cos(9 * columns - phase)
        values = np.where(inside, texture, 4) + rng.normal(0, 3, SHAPE)
        Image.fromarray(values.clip(0, 255).astype(np.uint8)).save(folder / f"{seed:05d}.png")


FIT = """
import json, resource, sys
import torch
torch.set_num_threads(2)
from dataclasses import replace
from napari_dinoad.pipeline import fit_folder
from napari_dinoad.settings import CacheSettings, FitSettings, preset
bare = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
folder, cache, scorer, resolution = sys.argv[1:]
settings = FitSettings(scorer=scorer, preprocessing=replace(preset("image-2d"), resolution_px=int(resolution)))
model = fit_folder(folder, settings, cache=CacheSettings(cache))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"bare_mib": bare / 1024, "peak_mib": peak / 1024, "slices": model.provenance.n_slices}))
"""


def main() -> None:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--slices", type=int, nargs="*", default=[40, 400, 4000])
    parser.add_argument("--scorer", default="dpmm")
    parser.add_argument("--resolution", type=int, default=128)
    options = parser.parse_args()
    figures: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as temporary:
        for n_slices in options.slices:
            folder = Path(temporary) / str(n_slices)
            save_slices(folder, n_slices)
            begin = time.perf_counter()
            arguments = [str(folder), str(Path(temporary) / "cache"), options.scorer, str(options.resolution)]
            done = subprocess.run(
                [sys.executable, "-c", FIT, *arguments], check=True, stdout=subprocess.PIPE, text=True
            )
            figures.append({**json.loads(done.stdout), "seconds": time.perf_counter() - begin})
            print(figures[-1], file=sys.stderr, flush=True)
    growth = [
        f"{100 * (after['peak_mib'] / before['peak_mib'] - 1):+.1f} %" for before, after in pairwise(figures)
    ]
    print(json.dumps({"fits": figures, "growth": growth}, indent=2))


if __name__ == "__main__":
    sys.exit(main())
