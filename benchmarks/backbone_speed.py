"""Milliseconds a slice of backbones on this machine, by batch size; timm's networks with random weights.

python benchmarks/backbone_speed.py --backbones embedded dinov2_vits14 dinov3_vits16 --threads 1
"""

from __future__ import annotations

import argparse
import time

import torch

from napari_dinoad.backbones import find_backbone, load_backbone
from napari_dinoad.backbones.device import choose_device
from napari_dinoad.backbones.timm_vit import TimmBackbone, make_model

REPEATS = 5


def make_backbone(name: str, device: str):
    """Return a backbone; one that needs weights gets random ones."""
    spec = find_backbone(name)
    if not spec.needs_weights:
        return load_backbone(name, device=device)
    return TimmBackbone(spec, make_model(spec), choose_device(device))


def milliseconds_a_slice(backbone, batch: int) -> tuple[float, float]:
    """Return the best of several runs, by the clock and of the CPU; the GPU is waited for."""
    side = backbone.default_resolution_px
    images = torch.rand(batch, side, side, generator=torch.Generator().manual_seed(0))
    best, best_cpu = float("inf"), float("inf")
    for _ in range(REPEATS + 1):
        started, started_cpu = time.perf_counter(), time.process_time()
        backbone(images)
        if backbone.device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
        best_cpu = min(best_cpu, time.process_time() - started_cpu)
    return best / batch * 1000, best_cpu / batch * 1000


def main() -> None:
    """Read the arguments, measure, print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbones", nargs="+", default=["embedded", "dinov2_vits14", "dinov3_vits16"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 4, 16])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, help="CPU threads (default: PyTorch's own)")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    print(
        f"PyTorch {torch.__version__}, {choose_device(arguments.device)}, {torch.get_num_threads()} threads"
    )
    for name in arguments.backbones:
        backbone = make_backbone(name, arguments.device)
        side = backbone.default_resolution_px
        measured = {n: milliseconds_a_slice(backbone, n) for n in arguments.batches}
        times = "  ".join(
            f"batch {n}: {ms:.1f} ms ({cpu:.1f} of the CPU)" for n, (ms, cpu) in measured.items()
        )
        print(f"{name} at {side} px, grid {backbone.patch_grid(side, side)}: {times}", flush=True)


if __name__ == "__main__":
    main()
