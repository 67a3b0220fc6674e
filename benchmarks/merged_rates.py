"""What of new normal scans merged and updated models mark, and what they find, with levels of slices and without.

    python benchmarks/merged_rates.py [--cohorts 3] [--persons 8] [--parts 1 2 4 8] [--seed 0] [--unlike]

Whole fits on phantom heads (192 px, preset ``mr-brain``, ``dpmm`` of 200 components): a cohort is as many models as
the largest of ``--parts``, each of its own persons; they are merged (``bound``: without the patches that they keep),
the first is updated with as many persons, and one model is fitted on all.
Rates are those of new heads, as a multiple of the rate that was asked for; average precision (AP) is that of phantom
patients' voxels in the body, one of each kind. Mean ± standard error over cohorts. ``--unlike``: every second model
is fitted on heads without their lowest third (another coverage); new heads and patients are whole.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np

from napari_dinoad import Detector, fit_folder, merge_models, preset, update_model
from napari_dinoad.evaluation import average_precision
from napari_dinoad.images.foreground.body import find_body
from napari_dinoad.phantom import KINDS, make_normal, make_patient, write_cohort
from napari_dinoad.settings import DpmmSettings, FitSettings

if TYPE_CHECKING:
    from napari_dinoad import NormativeModel

RATES = (0.05, 0.01, 0.001)
N_NEW = 6
NEW_SEEDS = 5_000_000
SCAN_SHAPE = (30, 96, 84)
N_COMPONENTS = 200


def cut(path: Path) -> None:
    """Leave out the lowest third of a written head."""
    head = nib.load(path)
    n = head.shape[2]
    lowest_first = nib.aff2axcodes(head.affine)[2] == "S"
    kept = slice(n // 3, None) if lowest_first else slice(0, n - n // 3)
    nib.save(head.slicer[:, :, kept], path)


def write_normals(folder: Path, cohort: int, persons: int, is_cut: bool) -> Path:
    """Write phantom heads of a cohort."""
    normals = write_cohort(folder, persons, (), cohort, shape=SCAN_SHAPE).normal
    if is_cut:
        for path in normals:
            cut(path)
    return folder / "normal"


def without_patches(model: NormativeModel) -> NormativeModel:
    """Return a model as it is fitted with ``--kept-patches 0``."""
    return replace(model, planes=(replace(model.planes[0], patches=None),))


@dataclass(frozen=True)
class Marked:
    """What a model marks of new heads, and finds in patients."""

    rates: tuple[float, ...]
    average_precision: float

    @classmethod
    def of(cls, model: NormativeModel, cohort: int) -> Marked:
        """Measure a model on new heads and patients."""
        detector = Detector(model)
        levels = []
        for number in range(N_NEW):
            head = make_normal(NEW_SEEDS + 100 * cohort + number, SCAN_SHAPE)
            levels.append(detector.detect(head).anomaly_map.values[find_body(head.values)])
        rates = tuple(
            float(np.mean([(own >= -np.log10(rate)).mean() for own in levels]) / rate) for rate in RATES
        )
        precisions = []
        for number, kind in enumerate(KINDS):
            patient = make_patient(NEW_SEEDS + 100 * cohort + 50 + number, kind, SCAN_SHAPE)
            found = detector.detect(patient.volume)
            precisions.append(average_precision(found.anomaly_map.values, patient.lesion_mask))
        return cls(rates, float(np.mean(precisions)))


def models_of(
    folder: Path, cohort: int, options: argparse.Namespace, slice_levels: bool
) -> dict[str, NormativeModel]:
    """Return the merged models by the number of their parts, and the updated one."""
    settings = FitSettings(
        scorer="dpmm",
        preprocessing=replace(preset("mr-brain"), resolution_px=192),
        dpmm=DpmmSettings(n_components=N_COMPONENTS),
    )
    settings = replace(settings, calibration=replace(settings.calibration, slice_levels=slice_levels))
    folders, parts = [], []
    for number in range(max(options.parts)):
        first = 100 * (cohort + 1) + number
        place = folder / f"part_{first}"
        is_cut = options.unlike and number % 2 == 1
        folders.append(
            place / "normal" if place.exists() else write_normals(place, first, options.persons, is_cut)
        )
        parts.append(fit_folder(folders[-1], settings))
    models = {"1": parts[0]}
    several = [n for n in options.parts if n > 1]
    models |= {str(n): merge_models(parts[:n]) for n in several}
    models |= {f"{n} bound": merge_models([without_patches(part) for part in parts[:n]]) for n in several}
    if len(parts) > 1:
        models["all"] = fit_folder(folder, settings)
        models["updated"] = update_model(parts[0], folders[1], settings)
    return models


def main() -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cohorts", type=int, default=3)
    parser.add_argument("--persons", type=int, default=8)
    parser.add_argument("--parts", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--seed", type=int, default=0, help="of the first cohort")
    parser.add_argument("--unlike", action="store_true")
    options = parser.parse_args()
    rows: dict[str, list[Marked]] = defaultdict(list)
    for cohort in range(options.seed, options.seed + options.cohorts):
        with tempfile.TemporaryDirectory() as temporary:
            for slice_levels in (True, False):
                for name, model in models_of(Path(temporary), cohort, options, slice_levels).items():
                    marked = Marked.of(model, cohort)
                    key = f"{name:>8}, {'levels' if slice_levels else 'none'}"
                    rows[key].append(marked)
                    print(f"# cohort {cohort}: {key}: {marked}", flush=True)
    print("parts                rate at " + ", ".join(f"{rate:g}" for rate in RATES) + "; AP in %")
    for key, marks in rows.items():
        columns = np.array([[*marked.rates, 100 * marked.average_precision] for marked in marks])
        errors = columns.std(0, ddof=1) / np.sqrt(len(marks)) if len(marks) > 1 else 0 * columns[0]
        told = "  ".join(
            f"{mean:.2f} ± {error:.2f}" for mean, error in zip(columns.mean(0), errors, strict=True)
        )
        print(f"{key:<16}  {told}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
