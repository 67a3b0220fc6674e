"""The windows that the dock opens: made when first asked for, and brought to the front when they are there."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject
from qtpy.QtWidgets import QDialog

from napari_dinoad.gui.find.folder_scoring import FolderScoringDialog
from napari_dinoad.gui.fit.fit_panel import FitDialog
from napari_dinoad.gui.help_text import HelpDialog
from napari_dinoad.gui.models.weights_dialog import WeightsDialog
from napari_dinoad.gui.scan.scan_chooser import ScanChooser

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.viewer import Viewer
    from qtpy.QtWidgets import QWidget

    from napari_dinoad.errors import WeightsNotFoundError
    from napari_dinoad.gui.fit.session import Session
    from napari_dinoad.gui.models.model_library import ModelSummary
    from napari_dinoad.gui.parts.last_folder import LastFolder
    from napari_dinoad.gui.scan.study_jobs import FoundScans
    from napari_dinoad.settings import DetectSettings

__all__ = ["DockWindows"]


class DockWindows(QObject):
    """Holds the windows of one dock.

    Attributes
    ----------
    fit, folder, help, chooser, weights : QDialog, optional
        Those that were opened.
    """

    def __init__(
        self,
        viewer: Viewer,
        session: Session,
        chosen: Callable[[], tuple[ModelSummary | None, DetectSettings]],
        last_folder: LastFolder,
        dock: QWidget,
    ) -> None:
        super().__init__(dock)
        self._viewer = viewer
        self._session = session
        self._chosen = chosen
        self._last_folder = last_folder
        self._dock = dock
        self.fit: FitDialog | None = None
        self.folder: FolderScoringDialog | None = None
        self.help: HelpDialog | None = None
        self.chooser: ScanChooser | None = None
        self.weights: WeightsDialog | None = None

    def open_fit(self) -> None:
        """Show the window in which a model is fitted."""
        if self.fit is None:
            self.fit = FitDialog(self._viewer, self._session, self._dock)
        _bring_to_front(self.fit)

    def open_folder(self) -> None:
        """Show the window in which a folder of scans is scored."""
        if self.folder is None:
            self.folder = FolderScoringDialog(
                self._chosen, self._last_folder, self._session.meant_images, self._dock
            )
        self.folder.show_state()
        _bring_to_front(self.folder)

    def show_folder_state(self) -> None:
        """Tell the window in which a folder is scored what is chosen now."""
        if self.folder is not None:
            self.folder.show_state()

    def open_help(self) -> None:
        """Show how it works and what the numbers mean."""
        if self.help is None:
            self.help = HelpDialog(self._dock)
        _bring_to_front(self.help)

    def ask_which(self, found: FoundScans, read: Callable[..., object]) -> None:
        """Ask which of several scans to read, and have them read."""
        model, meant = self._chosen()[0], self._session.meant_images
        self.chooser = ScanChooser(
            found.scans, self._dock, found.stacked, stacks_folders=meant.proposed(model)
        )
        self.chooser.chose.connect(read)
        self.chooser.stack_folders.changed.connect(partial(meant.choose, model=model))
        self.chooser.open()

    def ask_for_weights(self, error: WeightsNotFoundError, go_on: Callable[[], object]) -> None:
        """Say where weights were looked for, and take them; then go on."""
        self.weights = WeightsDialog(error, self._dock)
        self.weights.weights_added.connect(go_on)
        self.weights.open()

    def close_all(self) -> None:
        """Close them all, and stop what runs in one of them."""
        if self.folder is not None:
            self.folder.runner.cancel()
        for window in self._dock.findChildren(QDialog):
            window.close()


def _bring_to_front(window: QDialog) -> None:
    window.show()
    window.raise_()
    window.activateWindow()
