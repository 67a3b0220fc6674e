"""Slices a second from a volume to its map, as a share of the bare backbone forward on the same device.

    python benchmarks/detect_rate.py --backbone dinov2_vits14 --scorers dpmm ar-cnn --device auto

A volume of 240×240×155 voxels in which every slice shows the body. Without --weights the network has random ones
(they take the same time). The bare backbone, at its best batch size, and the whole take turns, block of slices by
block of slices, with as many slices each: a machine slows down under a load that lasts, and when it is shared. CPU
time is printed beside the clock's.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from safetensors.torch import save_file

from napari_dinoad import FitSettings, fit_folder, preset, read_volume
from napari_dinoad.backbones import find_backbone
from napari_dinoad.backbones.timm_vit import make_model
from napari_dinoad.pipeline import Detector
from napari_dinoad.settings import DetectSettings

SHAPE = (240, 240, 155)
REPEATS = 4


def save_volume(path: Path, n_slices: int, seed: int) -> Path:
    """Write a volume with a textured tube-like body through every slice, 1 mm voxels."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE[:2]), indexing="ij")
    inside = (x**2 + y**2 < 0.8)[:, :, None]
    values = inside * (0.5 + 0.3 * rng.random((*SHAPE[:2], n_slices)))
    nib.save(nib.Nifti1Image(values.astype(np.float32), np.eye(4)), path)
    return path


def weights_of(name: str, given: str | None, folder: Path) -> str | None:
    """Return the weights given, or a file of random ones for a backbone that needs some."""
    spec = find_backbone(name)
    if given or not spec.needs_weights:
        return given
    path = folder / "random.safetensors"
    save_file({k: v.contiguous() for k, v in make_model(spec).state_dict().items()}, path)
    return str(path)


def best_batch(backbone, resolution_px: int, batches: list[int]) -> int:
    """Return the batch size at which the backbone alone takes least time a slice."""
    best, fastest = batches[0], float("inf")
    for batch in batches:
        images = torch.rand(batch, resolution_px, resolution_px).to(backbone.device)
        for _ in range(REPEATS):
            (seconds, _), _ = timed(backbone, partial(backbone, images))
            if seconds / batch < fastest:
                best, fastest = batch, seconds / batch
    return best


def timed(backbone, work):
    """Return the seconds (2,), by the clock and of the CPU, that some work takes, and what it gives."""
    wait(backbone)
    wall, cpu = time.perf_counter(), time.process_time()
    done = work()
    wait(backbone)
    return np.array([time.perf_counter() - wall, time.process_time() - cpu]), done


def wait(backbone) -> None:
    """Wait for a GPU to finish."""
    if backbone.device.type == "cuda":
        torch.cuda.synchronize()


def measure(arguments: argparse.Namespace, scorer: str, weights: str | None, folder: Path) -> dict:
    """Fit a small model, score the volume, and return the rates."""
    settings = FitSettings(
        scorer=scorer,
        backbone=arguments.backbone,
        weights=weights,
        preprocessing=replace(preset("mr-brain"), resolution_px=arguments.resolution),
        epochs=2,
        device=arguments.device,
    )
    model = fit_folder(folder / "normals", settings)
    detector = Detector(model, DetectSettings(device=arguments.device), weights)
    backbone = detector.backbone
    detector.detect(read_volume(folder / "patient.nii.gz"), slices=[0])
    batch = best_batch(backbone, arguments.resolution, arguments.batches)
    images = torch.rand(batch, arguments.resolution, arguments.resolution).to(backbone.device)
    volume = read_volume(folder / "patient.nii.gz")  # Another one, which is not prepared yet.
    bare, whole, stages = np.zeros(2), np.zeros(2), Counter()
    n_bare = 0
    for block in np.array_split(np.arange(arguments.slices), arguments.blocks):
        for _ in range(round(len(block) / batch)):
            bare += timed(backbone, partial(backbone, images))[0]
            n_bare += batch
        seconds, detection = timed(backbone, partial(detector.detect, volume, slices=block.tolist()))
        whole += seconds
        stages.update(detection.seconds)
    bare_ms, detect_ms = 1000 * bare / n_bare, 1000 * whole / arguments.slices
    return {
        "backbone": arguments.backbone,
        "scorer": scorer,
        "device": str(backbone.device),
        "threads": torch.get_num_threads(),
        "slices": arguments.slices,
        "best_batch": batch,
        "bare_ms": bare_ms[0],
        "detect_ms": detect_ms[0],
        "share": bare_ms[0] / detect_ms[0],
        "bare_cpu_ms": bare_ms[1],
        "detect_cpu_ms": detect_ms[1],
        "share_of_cpu_time": bare_ms[1] / detect_ms[1],
        "seconds": {stage: round(spent, 2) for stage, spent in stages.items()},
    }


def main() -> None:
    """Read the arguments, measure, print one JSON line a scorer."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", default="dinov2_vits14")
    parser.add_argument("--weights")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--scorers", nargs="+", default=["dpmm", "ar-cnn"])
    parser.add_argument("--resolution", type=int, default=448)
    parser.add_argument("--slices", type=int, default=SHAPE[2])
    parser.add_argument("--blocks", type=int, default=8, help="turns that each takes")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 4, 8])
    parser.add_argument("--threads", type=int, help="CPU threads (default: PyTorch's own)")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "normals").mkdir()
        for seed in range(3):
            save_volume(folder / "normals" / f"{seed}.nii.gz", 3, seed)
        save_volume(folder / "patient.nii.gz", arguments.slices, 9)
        weights = weights_of(arguments.backbone, arguments.weights, folder)
        for scorer in arguments.scorers:
            row = measure(arguments, scorer, weights, folder)
            rounded = {k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}
            print(json.dumps(rounded), flush=True)


if __name__ == "__main__":
    main()
