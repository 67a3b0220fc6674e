"""What the dock widget and the fit panel of one viewer share."""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_dinoad.backbones.weights.store import WEIGHTS_VARIABLE
from napari_dinoad.gui.configuration import follow_configuration, read_configuration
from napari_dinoad.gui.fit.fit_controller import FitController
from napari_dinoad.gui.models.meant_images import MeantImages
from napari_dinoad.gui.models.model_library import ModelLibrary

if TYPE_CHECKING:
    from napari.viewer import Viewer

__all__ = ["Session", "session_of"]


class Session(QObject):
    """The models at hand and the fit under way; lives as long as one of its widgets or its job."""

    model_fitted = Signal(object)  # Path
    configured = Signal(object)  # Configuration, before the change

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self._viewer = weakref.ref(_bare(viewer))
        _SESSIONS.add(self)
        self.configuration = read_configuration()
        follow_configuration(self._on_configured)
        if self.configuration.weights_folder is not None:
            # Worker processes inherit it.
            os.environ[WEIGHTS_VARIABLE] = str(self.configuration.weights_folder)
        self.library = ModelLibrary(self.configuration.model_folder)
        self.meant_images = MeantImages()
        self.fit = FitController(self)
        self.fit.fitted.connect(self._on_fitted)

    def is_of(self, viewer: Viewer) -> bool:
        """Whether this is the session of a viewer."""
        return self._viewer() is _bare(viewer)

    def _on_configured(self, event: object = None) -> None:
        before, self.configuration = self.configuration, read_configuration()
        if self.configuration != before:
            self.configured.emit(before)

    def _on_fitted(self) -> None:
        if self.fit.outcome is not None:
            self.library.remember(self.fit.outcome.path)
            self.model_fitted.emit(self.fit.outcome.path)


def session_of(viewer: Viewer) -> Session:
    """Return the session of the plugin's widgets, or of the fit that they have left, in this viewer; or a new one."""
    return next((session for session in _SESSIONS if session.is_of(viewer)), None) or Session(viewer)


def _bare(viewer: Viewer) -> Viewer:
    """Return a viewer itself where napari gave it to the plugin in a proxy."""
    bare: Viewer = getattr(viewer, "__wrapped__", viewer)
    return bare


_SESSIONS: weakref.WeakSet[Session] = weakref.WeakSet()
"""Those that live."""
