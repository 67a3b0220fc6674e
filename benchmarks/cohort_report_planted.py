"""Whether abnormal scans that were planted among normal ones come first in the cohort report.

    python benchmarks/cohort_report_planted.py NORMALS ABNORMALS [--normals 30] [--planted 2] [--seeds 0 1 2]

For each seed, so many images are drawn from either folder into one cohort, and a model is fitted on it as
``dinoad fit`` does it. Images of the second folder that have ``mask`` in their name are left out.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
from pathlib import Path

from napari_dinoad.machine.files import sha256_of_file
from napari_dinoad.pipeline import fit_folder
from napari_dinoad.settings import FitSettings, preset

N_LISTED = 5


def main() -> int:
    """Fit, print JSON, and return 1 if a planted scan is not among the five least normal."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("normals_folder", type=Path)
    parser.add_argument("abnormals_folder", type=Path)
    parser.add_argument("--normals", type=int, default=30)
    parser.add_argument("--planted", type=int, default=2)
    parser.add_argument("--scorer", default="dpmm")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, help="folder for the models and their reports")
    options = parser.parse_args()
    by_content = {sha256_of_file(path): path for path in sorted(options.normals_folder.iterdir())}
    normals = sorted(by_content.values())
    abnormals = [path for path in sorted(options.abnormals_folder.iterdir()) if "mask" not in path.name]
    figures = []
    for seed in options.seeds:
        chance = random.Random(seed)
        planted = chance.sample(abnormals, options.planted)
        with tempfile.TemporaryDirectory() as temporary:
            for path in chance.sample(normals, options.normals):
                shutil.copy(path, Path(temporary) / f"normal_{path.name}")
            for path in planted:
                shutil.copy(path, Path(temporary) / f"planted_{path.name}")
            settings = FitSettings(scorer=options.scorer, preprocessing=preset("image-2d"), seed=seed)
            out = None if options.out is None else options.out / f"planted_{seed}.dinoad"
            report = fit_folder(temporary, settings, out=out).fit_report
        ranked = [scan.path.name for scan in report.most_abnormal(len(report.scans))]
        places = [ranked.index(f"planted_{path.name}") + 1 for path in planted]
        figures.append({"seed": seed, "places_of_planted": sorted(places), "least_normal": ranked[:N_LISTED]})
        print(figures[-1], file=sys.stderr, flush=True)
    found = sum(max(figure["places_of_planted"]) <= N_LISTED for figure in figures)
    print(json.dumps({"cohorts": figures, "all_among_five": found, "of": len(figures)}, indent=2))
    return 0 if found == len(figures) else 1


if __name__ == "__main__":
    sys.exit(main())
