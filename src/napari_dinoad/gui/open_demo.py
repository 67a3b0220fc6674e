"""Open napari on the output of ``dinoad demo``: a patient, the fitted model, and the dock widget finding.

python -m napari_dinoad.gui.open_demo demo-output
"""

from __future__ import annotations

import argparse
from pathlib import Path

import napari

from napari_dinoad.errors import ScanReadError

__all__ = ["main", "open_demo"]


def open_demo(folder: Path, kind: str = "bright") -> napari.Viewer:
    """Return a viewer with the demo's patient and model, in which finding has begun.

    Parameters
    ----------
    folder : Path
        What ``dinoad demo --out`` wrote.
    kind : str
        Kind of lesion of the patient.

    Raises
    ------
    ScanReadError
        If the folder holds no demo.
    """
    patient = folder / "patients" / f"patient_{kind}.nii.gz"
    model = folder / "normal.dinoad"
    for path in (patient, model):
        if not path.is_file():
            raise ScanReadError(f"{path}: expected the output of dinoad demo, found no such file.")
    viewer = napari.Viewer()
    _, dock = viewer.window.add_plugin_dock_widget("napari-dinoad", "Find anomalies")
    viewer.open(patient, plugin="napari-dinoad")
    dock.normal.choose(model)
    dock.start_finding()
    return viewer


def main() -> None:
    """Open the demo given on the command line and stay until the window is closed."""
    parser = argparse.ArgumentParser(description="Open napari on the output of dinoad demo.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kind", default="bright", help="kind of lesion (%(default)s)")
    options = parser.parse_args()
    try:
        import qtpy.QtWidgets  # noqa: F401
    except ImportError:
        parser.exit(2, 'napari has no window without Qt. Install it: pip install "napari-dinoad[all]".\n')
    try:
        open_demo(options.folder, options.kind)
    except ScanReadError as error:
        parser.exit(2, f"{error}\n")
    napari.run()


if __name__ == "__main__":
    main()
