"""Whether a fit on worker processes is that of one process, also when one of them is killed, and what each takes.

    python benchmarks/scale_cluster.py [--data ../shared/data/brain_mr_2d/normal] [--scans 395] [--workers 2]
        [--components 500] [--epochs 40] [--no-shared-folder]

Prints the largest difference between the mixtures (weights, means, variances), between the thresholds at 1 % of the
calibrations, and the seconds of each fit; and what one task costs the scheduler.
"""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from napari_dinoad.pipeline import fit_folder
from napari_dinoad.pipeline.cluster.workers import Cluster, open_cluster
from napari_dinoad.settings import CalibrationSettings, ClusterSettings, DpmmSettings, FitSettings

if TYPE_CHECKING:
    from napari_dinoad.normative_model.model import NormativeModel
    from napari_dinoad.progress import ProgressEvent

N_TASKS = 2000


class KillOne:
    """A progress callable that kills a worker in the middle of a stage, once."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self.killed = 0

    def __call__(self, event: ProgressEvent) -> None:
        """Kill when the stage is well under way."""
        is_due = event.stage == self._stage and event.done >= max(1, min(3, event.total // 2))
        if is_due and not self.killed:
            from distributed import default_client

            self.killed = min(default_client().run(os.getpid).values())
            os.kill(self.killed, signal.SIGKILL)


def differences(one: NormativeModel, other: NormativeModel) -> str:
    """Return how far two models are apart, in words."""
    ours, theirs = one.scorer.state().tensors, other.scorer.state().tensors
    if {name: t.shape for name, t in ours.items()} != {name: t.shape for name, t in theirs.items()}:
        return "other numbers of components"
    weights = (ours["log_weights"].exp() - theirs["log_weights"].exp()).abs().max()
    means, variances = (float((ours[n] - theirs[n]).abs().max()) for n in ("means", "covariances"))
    thresholds = abs(one.calibration.threshold(0.01) - other.calibration.threshold(0.01))
    parts = {"weights": float(weights), "means": means, "variances": variances, "1 % threshold": thresholds}
    return ", ".join(f"{name} {value:.1e}" for name, value in parts.items())


def cost_of_a_task(workers: int) -> float:
    """Return seconds that a task which does nothing takes."""
    with open_cluster(ClusterSettings(workers=workers)) as cluster:
        begin = time.perf_counter()
        cluster.total([cluster.submit(float, i) for i in range(N_TASKS)])
        return (time.perf_counter() - begin) / (2 * N_TASKS - 1)


def main() -> None:
    """Measure, a line a fit."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = Path(__file__).parents[2] / "shared/data/brain_mr_2d/normal"
    parser.add_argument("--data", type=Path, default=default)
    parser.add_argument("--scans", type=int, default=395)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--components", type=int, default=DpmmSettings().n_components)
    parser.add_argument("--epochs", type=int, default=DpmmSettings().epochs)
    parser.add_argument(
        "--no-shared-folder", action="store_true", help="embeddings stay in the workers' memory"
    )
    arguments = parser.parse_args()
    if arguments.no_shared_folder:
        Cluster.shares = lambda self, folder: False
    settings = FitSettings(
        dpmm=DpmmSettings(n_components=arguments.components),
        epochs=arguments.epochs,
        calibration=CalibrationSettings(method="split"),
    )
    workers = ClusterSettings(workers=arguments.workers)
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // arguments.workers))
    runs = {
        "one process": (None, None),
        f"{arguments.workers} workers": (workers, None),
        "one killed while embedding": (workers, KillOne("Reading and embedding")),
        "one killed while fitting": (workers, KillOne("Fitting DPMM")),
    }
    with tempfile.TemporaryDirectory() as folder:
        for path in sorted(arguments.data.iterdir())[: arguments.scans]:
            (Path(folder) / path.name).symlink_to(path.resolve())
        first: NormativeModel | None = None
        for name, (cluster, kill) in runs.items():
            begin = time.perf_counter()
            model = fit_folder(folder, settings, kill, cluster=cluster)
            seconds = time.perf_counter() - begin
            stages = model.fit_report.seconds if model.fit_report is not None else {}
            spent = ", ".join(f"{stage} {value:.1f} s" for stage, value in stages.items())
            first = first or model
            apart = differences(first, model) if model is not first else "the measure"
            killed = f", killed {kill.killed}" if kill else ""
            print(f"{name}: {apart}; {seconds:.1f} s ({spent}){killed}", flush=True)
    print(f"one task: {1000 * cost_of_a_task(arguments.workers):.2f} ms")


if __name__ == "__main__":
    main()
