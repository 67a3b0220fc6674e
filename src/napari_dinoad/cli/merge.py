"""`dinoad merge`: models of several hospitals → one model, without an image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_dinoad.cli.output import print_json, require_out_file
from napari_dinoad.cli.wildcards import matching
from napari_dinoad.errors import SettingError
from napari_dinoad.images.persons import of_persons

if TYPE_CHECKING:
    import argparse

NAME = "merge"
HELP = "Merge dpmm models that were fitted on different scans, without the scans."
EXAMPLE = "dinoad merge north.dinoad south.dinoad --out both.dinoad"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this verb."""
    parser.add_argument(
        "models",
        type=Path,
        nargs="+",
        metavar="M.dinoad",
        help="two or more; no scan, and no person, may be behind two of them",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="M.dinoad", help="model file to write")


def run(options: argparse.Namespace) -> int:
    """Merge, save, and say what the model rests on."""
    paths = matching(options.models)
    if len(paths) < 2:
        raise SettingError(f"Models to merge: expected at least 2, got {len(paths)}.")
    require_out_file(options.out)

    # torch is loaded here, not for --help.
    from napari_dinoad.normative_model.model import NormativeModel
    from napari_dinoad.pipeline import merge_models

    models = [NormativeModel.load(path) for path in paths]
    merged = merge_models(models)
    merged.save(options.out)
    if options.json:
        print_json({"model": str(options.out), "card": merged.card()})
        return 0
    provenance = merged.provenance
    calibration = merged.calibration
    of = of_persons(provenance.n_scans, provenance.n_persons)
    print(
        f"{options.out}: {len(models)} models, {provenance.n_scans} scans{of}, {provenance.n_slices} slices"
    )
    of = of_persons(calibration.n_scans, calibration.n_persons)
    print(
        f"  calibration joined from {calibration.n_scans} held-out scans{of}, each scored by the model that was "
        "fitted where it lies: p-values are upper bounds"
    )
    return 0
