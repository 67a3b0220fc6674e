"""Seconds and memory of one exact EM step: E-step and M-step of the default mixture.

    python benchmarks/scoring_em_step.py [--patches 12288] [--components 500] [--channels 384] [--threads 2]

Three kinds of data: well-clustered patches; random features of a few variables; and isotropic noise, the worst case,
where no component can be left out and all is done in float64.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

from napari_dinoad.scoring.dpmm import fit as dpmm_fit
from napari_dinoad.scoring.dpmm import start as dpmm_start
from napari_dinoad.settings import DpmmSettings


def data_sets(n_patches: int, n_channels: int) -> dict[str, torch.Tensor]:
    """Return batches (n, 1, 1, d) by name."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(300, n_channels, generator=generator)
    labels = torch.randint(0, 300, (n_patches,), generator=generator)
    noise = torch.randn(n_patches, n_channels, generator=generator)
    fields = torch.randn(n_patches, 12, generator=generator)
    features = torch.tanh(fields @ torch.randn(12, n_channels, generator=generator)) + 0.1 * noise
    sets = {"clustered": centres[labels] + 0.7 * noise, "smooth": features, "isotropic": noise}
    return {name: patches[:, None, None, :] for name, patches in sets.items()}


def memory_mib(field: str) -> float:
    """Return a memory figure of this process (``"VmRSS"`` now, ``"VmHWM"`` at its peak), from Linux' own account."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise LookupError(field)


def forget_peak() -> None:
    """Let the peak begin anew."""
    Path("/proc/self/clear_refs").write_text("5")


def main() -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--patches", type=int, default=12_288)
    parser.add_argument("--components", type=int, default=500)
    parser.add_argument("--channels", type=int, default=384)
    parser.add_argument("--covariance", choices=("diag", "spherical", "full"), default="diag")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    settings = DpmmSettings(
        n_components=arguments.components,
        covariance=arguments.covariance,
        start_patches_per_component=10,
        start_iterations=1,
        merge=False,
        tolerance=0,
    )
    results = {}
    for name, batch in data_sets(arguments.patches, arguments.channels).items():
        # Above the data and before the start: what the allocator keeps from it would otherwise not be seen again.
        forget_peak()
        before = memory_mib("VmRSS")
        point = dpmm_fit.next_epoch(dpmm_start.start([batch], settings), [batch], None, settings)
        seconds = float("inf")
        for _ in range(arguments.repeats):
            begin = time.perf_counter()
            dpmm_fit.next_epoch(point, [batch], None, settings)
            seconds = min(seconds, time.perf_counter() - begin)
        results[name] = {"seconds": seconds, "mib_above_data": memory_mib("VmHWM") - before}
    if arguments.json:
        print(json.dumps(results))
        return
    for name, result in results.items():
        print(name, result)


if __name__ == "__main__":
    main()
