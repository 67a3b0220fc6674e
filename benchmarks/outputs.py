"""What writing costs: each output of a head of 256 × 256 × 176 voxels with many regions, and evaluation of its map.

python benchmarks/outputs.py
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy import ndimage

from napari_dinoad.evaluation import LabelledHistogram, RegionOverlap
from napari_dinoad.images.volume import Geometry, Volume
from napari_dinoad.maps import AnomalyMap, Findings
from napari_dinoad.maps.outputs import available_outputs, save_outputs

SHAPE = (256, 256, 176)


def make_findings(seed: int) -> Findings:
    """Return findings of an ellipsoid with smooth random −log10 p; prints how long mask and regions took."""
    geometry = Geometry(SHAPE, np.diag([1.0, 1.0, 1.0, 1.0]))
    axes = [np.linspace(-1.2, 1.2, n, dtype=np.float32) for n in geometry.canonical_shape]
    inside = sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij")) < 1
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.normal(size=inside.shape).astype(np.float32), 2)
    values = np.where(inside, 100 + 20 * noise / noise.std(), 0).astype(np.float32)
    neg_log10_p = np.where(inside, np.maximum(1.2 * noise / noise.std(), 0), 0).astype(np.float32)
    anomaly_map = AnomalyMap(neg_log10_p, Volume(values, geometry, "head"))
    started = time.perf_counter()
    mask = anomaly_map.mask(0.01)
    n_regions = len(mask.regions())
    seconds = time.perf_counter() - started
    print(f"mask with {n_regions} regions, measured: {seconds:.2f} s")
    return Findings(mask, "head.nii.gz", 0.05, 39, 38)


def main() -> None:
    """Print seconds by output."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    findings = make_findings(parser.parse_args().seed)
    with tempfile.TemporaryDirectory() as folder:
        for output in available_outputs(findings.volume):
            started = time.perf_counter()
            written = save_outputs(findings, Path(folder), "head", (output,))
            seconds = time.perf_counter() - started
            size = sum(path.stat().st_size for path in written.values()) / 1e6
            print(f"{output:<10}{seconds:6.2f} s{size:9.2f} MB")
    scores, truth = findings.mask.anomaly_map.values, findings.mask.values
    for name, count in (("histogram", LabelledHistogram.of), ("per-region overlap", RegionOverlap.of)):
        started = time.perf_counter()
        count(scores, truth)
        seconds = time.perf_counter() - started
        print(f"{name}: {seconds:.2f} s, {scores.size / seconds / 1e6:.1f} million voxels a second")


if __name__ == "__main__":
    main()
