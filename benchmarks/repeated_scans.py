"""What several scans of each person do to p-values and rates, held out one by one and person by person.

    python benchmarks/repeated_scans.py [--cohorts 20] [--new 5] [--scorer memory-bank]

For each cohort, phantom heads are scanned once or several times (another noise each time) and a model is fitted on 12
scans: of 12 heads, and of 4 heads three times each with ``--persons each-scan`` and ``auto``. New heads are scored by
each. A p-value is valid if new heads get the smallest possible one no more often than it says.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np

from napari_dinoad import read_volume
from napari_dinoad.phantom.anatomy import render_head
from napari_dinoad.phantom.scanner import acquire, head_points, scan_geometry, voxel_grid
from napari_dinoad.phantom.subject import Stream, Subject, generator
from napari_dinoad.pipeline import Detector, fit_folder
from napari_dinoad.settings import CalibrationSettings, FitSettings, preset

SHAPE = (28, 64, 56)
N_SCANS = 12
CASES = (
    ("12 heads once", 12, "auto"),
    ("4 heads three times", 4, "each-scan"),
    ("4 heads three times", 4, "auto"),
)
RATE = 0.01


def save_head(path: Path, seed: int, session: int) -> None:
    """Write one scan of the head of a seed."""
    steps = voxel_grid(SHAPE, None)
    subject, anatomy = Subject.drawn(seed), generator(seed, Stream.ANATOMY)
    head = render_head(head_points(SHAPE, steps, subject, anatomy), subject, anatomy, steps)
    values = acquire(head.intensity, subject, steps, 1000 * seed + session)
    affine = scan_geometry(SHAPE, steps, seed, "RAS", 0.0).affine
    nib.save(nib.Nifti1Image(values.transpose(2, 1, 0).astype(np.int16), affine), path)


def main() -> int:
    """Fit, score new heads, and print JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cohorts", type=int, default=20)
    parser.add_argument("--new", type=int, default=5, help="new heads a cohort")
    parser.add_argument("--scorer", default="memory-bank")
    parser.add_argument("--resolution", type=int, default=112)
    options = parser.parse_args()
    settings = FitSettings(
        scorer=options.scorer, preprocessing=replace(preset("mr-brain"), resolution_px=options.resolution)
    )
    figures: dict[str, dict[str, list[float]]] = {}
    for cohort in range(options.cohorts):
        with tempfile.TemporaryDirectory() as temporary:
            root = Path(temporary)
            new = [root / f"new_{number}.nii.gz" for number in range(options.new)]
            for number, path in enumerate(new):
                save_head(path, 1000 * cohort + 500 + number, 0)
            for name, n_heads, how in CASES:
                folder = root / name.replace(" ", "_")
                folder.mkdir(exist_ok=True)
                for place in range(N_SCANS):
                    head, session = place % n_heads, place // n_heads
                    path = folder / f"sub-{head}_ses-{session}_T1w.nii.gz"
                    if not path.exists():
                        save_head(path, 1000 * cohort + head, session)
                chosen = replace(settings, seed=cohort, calibration=CalibrationSettings(persons=how))
                detector = Detector(fit_folder(folder, chosen))
                smallest = detector.model.calibration.smallest_scan_p_value
                own = figures.setdefault(
                    f"{name}, {how}", {"least": [], "marked": [], "smallest": [smallest]}
                )
                found = [detector.detect(read_volume(path)) for path in new]
                own["least"].append(float(np.mean([d.p_value <= smallest + 1e-9 for d in found])))
                own["marked"].append(float(np.mean([_share_marked(d.mask(RATE)) for d in found])))
        print(cohort, {case: own["least"][-1] for case, own in figures.items()}, file=sys.stderr, flush=True)
    print(json.dumps({case: _summary(own) for case, own in figures.items()}, indent=2))
    return 0


def _share_marked(mask) -> float:  # type: ignore[no-untyped-def]
    scored = mask.anomaly_map.values > 0
    return float(np.count_nonzero(mask.labels) / max(np.count_nonzero(scored), 1))


def _summary(own: dict[str, list[float]]) -> dict[str, float]:
    n = len(own["least"])
    return {
        "smallest p": round(own["smallest"][0], 4),
        "share of new heads with it": round(float(np.mean(own["least"])), 3),
        "± se of it": round(float(np.std(own["least"]) / n**0.5), 3),
        "marked at 1 %": round(float(np.mean(own["marked"])), 4),
        "± se of marked": round(float(np.std(own["marked"]) / n**0.5), 4),
    }


if __name__ == "__main__":
    sys.exit(main())
