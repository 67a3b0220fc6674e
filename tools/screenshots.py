"""Take the pictures of the documentation from a real napari viewer.

    xvfb-run -a -s "-screen 0 1600x1000x24" python tools/screenshots.py docs/images

A folder of phantoms is looked into and a fit begun, the demo model is fitted, a phantom patient is opened and
scored, and the viewer is photographed at each step as a user would see it; nothing is drawn by hand. Runs in some
minutes on two cores.
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

WINDOW_PX = (1440, 900)


def main() -> None:
    """Parse the arguments and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "out", type=Path, nargs="?", default=Path("docs/images"), help="folder for the pictures (%(default)s)"
    )
    parser.add_argument(
        "--timeout", type=float, default=1800.0, help="seconds for a single step (%(default)s)"
    )
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="dinoad-pictures-") as folder:
        # Neither the models nor the settings of whoever runs this are touched or shown.
        os.environ["XDG_DATA_HOME"] = os.environ["XDG_CONFIG_HOME"] = folder
        os.environ["NAPARI_CONFIG"] = str(Path(folder) / "settings.yaml")
        Photographer(options.out, Path(folder), options.timeout).take_all()


class Photographer:
    """Drives a viewer through the steps and photographs each."""

    def __init__(self, out: Path, folder: Path, timeout_s: float) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import napari
        from qtpy.QtWidgets import QApplication

        self._out = out
        self._folder = folder
        self._timeout_s = timeout_s
        self.viewer = napari.Viewer(show=True, show_welcome_screen=False)
        self.viewer.window.resize(*WINDOW_PX)
        self._application = QApplication.instance()
        _, self.dock = self.viewer.window.add_plugin_dock_widget("napari-dinoad", "Find anomalies")

    def take_all(self) -> None:
        """Take every picture."""
        from qtpy.QtCore import Qt

        from napari_dinoad.phantom import write_cohort

        dock, viewer = self.dock, self.viewer
        self.settle()
        self.take("1-start")
        cohort = write_cohort(self._folder / "scans", 6, kinds=())
        (cohort.normal_folder / "letter.txt").write_text("Not a scan.", encoding="utf-8")
        (cohort.normal_folder / "broken.nii.gz").write_bytes(b"cut short")
        self._begin_to_fit(cohort.normal_folder)
        dock.normal.demo_button.click()
        self.wait_for(self._is_fitted)
        viewer.open_sample("napari-dinoad", "patient")
        self.settle()
        dock.find.scan_button.click()
        self.wait_for(lambda: dock.finder.result is not None and dock.finder.result.scored.sum() > 15)
        self.settle(0.1)
        self.take("4-finding")
        self.wait_for(lambda: not dock.finder.runner.is_running and dock.finder.result.is_measured)
        dock.result.table.setCurrentItem(dock.result.table.topLevelItem(0))
        self.settle()
        self.take("5-result")
        dock.result.rate.slider.setValue(3.0)
        self.wait_for(lambda: dock.finder.result.is_measured)
        last = dock.result.table.topLevelItem(dock.result.table.topLevelItemCount() - 1)
        last.setCheckState(0, Qt.CheckState.Unchecked)
        self.settle()
        self.take("6-stricter")
        viewer.dims.order = (1, 0, 2)
        self.settle()
        self.take("7-coronal")
        dock.open_help()
        self.settle()
        dock.help_dialog.grab().save(str(self._out / "8-help.png"))
        dock.help_dialog.close()
        viewer.close()

    def _begin_to_fit(self, normal_folder: Path) -> None:
        """Photograph the fit dialog before and in a fit, and cancel it."""
        dock = self.dock
        dock.open_fit_dialog()
        panel = dock.fit_dialog.panel
        panel.folder.value = normal_folder
        self.wait_for(lambda: dock.session.fit.discovery is not None)
        panel.found.skipped.expand()
        self.settle()
        dock.fit_dialog.grab().save(str(self._out / "2-fit-folder.png"))
        panel.found.skipped.collapse()
        panel.start_button.click()
        self.wait_for(lambda: len(dock.session.fit.curves.get("train_loss", ())) > 3)
        self.settle(0.1)
        dock.fit_dialog.grab().save(str(self._out / "3-fitting.png"))
        panel.job.cancel_button.click()
        self.wait_for(lambda: not dock.session.fit.runner.is_running)
        dock.fit_dialog.close()

    def _is_fitted(self) -> bool:
        fit = self.dock.session.fit
        if fit.message:
            raise SystemExit(f"The fit failed: {fit.message}")
        return fit.outcome is not None and not fit.runner.is_running

    def take(self, name: str) -> None:
        """Photograph the whole window."""
        path = self._out / f"{name}.png"
        self.viewer.screenshot(str(path), canvas_only=False, flash=False)
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
