"""Walk through the plugin as a new user would, in a real napari viewer, and take the pictures of the documentation.

    tools/with_screen.sh python tools/screenshots.py docs/images

A folder of phantoms is looked into and a fit begun; the demo model is fitted; the sample patient is opened and
scored; the largest region is clicked, another is unticked, the rate is set to 0.1 %, and the result is exported. The
exported mask must hold exactly the ticked regions. The viewer is photographed at each step; nothing is drawn by hand.
Runs in some minutes on two cores; with ``--model`` a fitted model is taken and the fit left out.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtWidgets import QWidget

WINDOW_PX = (1440, 900)

N_COLOURS = 256

IN_DOCS = ("2-fit-folder", "5-result", "11-planes")
"""Pictures that README.md and docs/napari.md show."""


def main() -> None:
    """Parse the arguments and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "out", type=Path, nargs="?", default=Path("docs/images"), help="folder for the pictures (%(default)s)"
    )
    parser.add_argument(
        "--timeout", type=float, default=1800.0, help="seconds for a single step (%(default)s)"
    )
    parser.add_argument("--all", action="store_true", help="keep the pictures that no page shows as well")
    parser.add_argument("--model", type=Path, help="a fitted model; the fits are left out")
    options = parser.parse_args()
    if options.model is not None and not options.model.is_file():
        parser.error(f"--model: there is no file {options.model}")
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="dinoad-pictures-") as folder:
        # Neither the models nor the settings of whoever runs this are touched or shown.
        os.environ["XDG_DATA_HOME"] = os.environ["XDG_CONFIG_HOME"] = folder
        os.environ["NAPARI_CONFIG"] = str(Path(folder) / "settings.yaml")
        Photographer(options.out, Path(folder), options.timeout, every=options.all).take_all(options.model)


class Photographer:
    """Drives a viewer through the steps and photographs each."""

    def __init__(self, out: Path, folder: Path, timeout_s: float, *, every: bool = False) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import napari
        from qtpy.QtWidgets import QApplication

        self._out = out
        self._every = every
        self._folder = folder
        self._timeout_s = timeout_s
        self.viewer = napari.Viewer(show=True, show_welcome_screen=False)
        self.viewer.window.resize(*WINDOW_PX)
        self._application = QApplication.instance()
        _, self.dock = self.viewer.window.add_plugin_dock_widget("napari-dinoad", "Find anomalies")

    def take_all(self, model: Path | None) -> None:
        """Take every picture."""
        dock, viewer = self.dock, self.viewer
        self.settle()
        self.take("1-start")
        if model is None:
            self._fit_models()
        viewer.open_sample("napari-dinoad", "patient")
        if model is not None:
            dock.normal.choose(model)
        self.settle()
        dock.find.scan_button.click()
        self.wait_for(lambda: dock.finder.result is not None and dock.finder.result.scored.sum() > 15)
        self.settle(0.1)
        self.take("4-finding")
        self.wait_for(lambda: not dock.finder.runner.is_running and dock.finder.result.is_measured)
        self._read_result()
        self._export()
        viewer.dims.order = (1, 0, 2)
        self.settle()
        self.take("8-coronal")
        viewer.dims.order = (0, 1, 2)
        dock.result.explain_box.click()
        self.wait_for(lambda: len(viewer.layers) > 4)
        self.settle()
        self.take("9-explain")
        dock.windows.open_help()
        self.settle()
        self.take("10-help", dock.windows.help)
        dock.windows.help.close()
        viewer.close()

    def _read_result(self) -> None:
        """Click the largest region, untick another, set 0.1 %."""
        from qtpy.QtCore import Qt

        table, result = self.dock.result.table, self.dock.finder.result
        largest = max(range(len(result.regions)), key=lambda i: result.regions[i].n_voxels)
        table.setCurrentItem(table.topLevelItem(largest))
        self.settle()
        self.take("5-result")
        self.dock.masks.planes_box.click()
        self.wait_for(self._shows_planes)
        self.settle()
        self.take("11-planes")
        self.dock.masks.planes_box.click()
        self.settle()
        other = 0 if largest else len(result.regions) - 1
        if other != largest:
            table.topLevelItem(other).setCheckState(0, Qt.CheckState.Unchecked)
        self.dock.result.rate.slider.setValue(3.0)
        self.wait_for(lambda: result.is_measured and result.fpr < 0.0011)
        self.settle()
        self.take("6-stricter")

    def _shows_planes(self) -> bool:
        view = self.dock.planes.view
        return view is not None and any(picture.isVisible() for picture in view.pictures)

    def _export(self) -> None:
        """Export through the dialog, and compare the mask with the ticked regions."""
        import nibabel as nib
        import numpy as np

        panel, result = self.dock.result, self.dock.finder.result
        panel.export_button.click()
        self.settle()
        dialog = panel.export_dialog
        dialog.folder.value = self._folder / "exported"
        self.settle(0.2)
        self.take("7-export", dialog)
        dialog.buttons.button(dialog.buttons.StandardButton.Save).click()
        self.wait_for(lambda: "_mask.nii.gz" in panel.export_note.text())
        stored = nib.load(next((self._folder / "exported").glob("*_mask.nii.gz")))
        exported = result.volume.geometry.to_canonical(np.asarray(stored.dataobj)) > 0
        labels, ticked = result.labels(), [r.label for r in result.regions if result.is_ticked(r)]
        is_same = np.array_equal(exported, np.isin(labels, ticked))
        # The sample was never in a file: NIfTI rounds its affine to 32 bit.
        same_grid = np.allclose(stored.affine, result.volume.geometry.affine, rtol=1e-6, atol=1e-5)
        print(
            f"exported mask holds exactly the {len(ticked)} ticked of {len(result.regions)} regions: {is_same}; "
            f"on the scan's own grid: {same_grid}"
        )
        if not (is_same and same_grid):
            raise SystemExit("The exported mask is not what was ticked.")

    def _fit_models(self) -> None:
        from napari_dinoad.phantom import write_cohort

        cohort = write_cohort(self._folder / "scans", 6, kinds=())
        (cohort.normal_folder / "letter.txt").write_text("Not a scan.", encoding="utf-8")
        (cohort.normal_folder / "broken.nii.gz").write_bytes(b"cut short")
        self._begin_to_fit(cohort.normal_folder)
        self.dock.normal.demo_button.click()
        self.wait_for(self._is_fitted)

    def _begin_to_fit(self, normal_folder: Path) -> None:
        """Photograph the fit dialog before and in a fit, and cancel it."""
        dock = self.dock
        dock.windows.open_fit()
        panel = dock.windows.fit.panel
        panel.folder.value = normal_folder
        self.wait_for(lambda: len(dock.session.fit.samples) == 5)
        panel.form.scorer.value = "ar-cnn"
        panel.found.skipped.expand()
        self.settle()
        self.take("2-fit-folder", dock.windows.fit)
        panel.found.skipped.collapse()
        panel.start_button.click()
        self.wait_for(lambda: len(dock.session.fit.curves.get("train_loss", ())) > 2)
        self.settle(0.1)
        self.take("3-fitting", dock.windows.fit)
        panel.job.cancel_button.click()
        self.wait_for(lambda: not dock.session.fit.runner.is_running)
        dock.windows.fit.close()

    def _is_fitted(self) -> bool:
        fit = self.dock.session.fit
        if fit.message:
            raise SystemExit(f"The fit failed: {fit.message}")
        return fit.outcome is not None and not fit.runner.is_running

    def take(self, name: str, window: QWidget | None = None) -> None:
        """Photograph a window, or the whole viewer, in few enough colours to be small."""
        from PIL import Image

        if not self._every and name not in IN_DOCS:
            return
        path = self._out / f"{name}.png"
        if window is None:
            self.viewer.screenshot(str(path), canvas_only=False, flash=False)
        else:
            window.grab().save(str(path))
        with Image.open(path) as picture:
            small = picture.convert("RGB").quantize(N_COLOURS, Image.Quantize.MAXCOVERAGE, kmeans=1)
        small.save(path, optimize=True)
        print(path)

    def wait_for(self, is_done: Callable[[], bool]) -> None:
        """Let the viewer run until something is done."""
        begun = time.monotonic()
        while not is_done():
            self._application.processEvents()
            time.sleep(0.002)
            if time.monotonic() - begun > self._timeout_s:
                raise SystemExit("This took too long; see the last picture.")

    def settle(self, seconds: float = 0.6) -> None:
        """Let the viewer draw."""
        begun = time.monotonic()
        while time.monotonic() - begun < seconds:
            self._application.processEvents()
            time.sleep(0.005)


if __name__ == "__main__":
    main()
