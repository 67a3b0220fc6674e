"""The explain view: what the scorers see on the slices that are looked at, as layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image, Labels
from qtpy.QtCore import QObject, Signal

from napari_dinoad.gui.find.scan_jobs import ExplainJob, Explanation
from napari_dinoad.gui.viewer.layer_marks import mark_overlay
from napari_dinoad.gui.viewer.layer_removal import LayerRemoval
from napari_dinoad.gui.viewer.looks import kinds_look, unlike_look
from napari_dinoad.gui.viewer.overlay import line_up
from napari_dinoad.gui.viewer.viewer_parts import point_in_layer
from napari_dinoad.gui.work.worker import JobRunner

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

    from napari_dinoad.gui.find.find_controller import FindController
    from napari_dinoad.gui.find.found import Found

__all__ = ["Explainer"]

_TITLES = {
    "dpmm": "DPMM components",
    "ar-cnn": "AR-CNN prediction error",
    "memory-bank": "distance to the nearest normal patch",
}

_WORDS = {
    "dpmm": "Colours: which kind of normal patch (component) a place is most like.",
    "ar-cnn": "From blue to yellow: how badly a place is predicted from what surrounds it.",
    "memory-bank": "From blue to yellow: how unlike the nearest normal patch a place is.",
}
"""What the colours say."""

_LEAST_SCORE = 1e-6
"""Brightest at first; the limit grows with the slices, of which the first may be empty."""


class Explainer(QObject):
    """While it is on, explains each slice that comes into view once its scan has a result."""

    failed = Signal(str)
    told = Signal(str)  # what the colours say; empty when there are none

    def __init__(self, viewer: Viewer, finder: FindController, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._finder = finder
        self._removal = LayerRemoval(viewer, self)
        self._is_on = False
        self._found: Found | None = None
        self._layers: dict[str, Layer] = {}
        self._values: dict[str, np.ndarray] = {}
        self._limits: dict[str, list[float]] = {}
        self._done: set[int] = set()
        self._asked: int | None = None
        self.runner = JobRunner(self, in_activity_dock=False)
        self.runner.succeeded.connect(self._on_explained)
        self.runner.failed.connect(self.failed)
        self.runner.finished.connect(self.look)
        finder.result_changed.connect(self.look)
        finder.standing_changed.connect(self.look)
        finder.runner.finished.connect(self.look)

    @property
    def is_on(self) -> bool:
        """Whether slices are explained."""
        return self._is_on

    def set_on(self, is_on: bool) -> None:
        """Begin or end to explain; the layers go when it ends."""
        self._is_on = is_on
        if is_on:
            self.look()
        else:
            self.runner.cancel()
            self._forget()

    def look(self) -> None:
        """Explain the slice in view, where that is to be done."""
        found = self._finder.found
        if found is not self._found or not self._finder.standing.is_of_picture:
            self._forget()
        if not self._is_on or found is None or not self._finder.standing.is_of_picture:
            return
        if self.runner.is_running or self._finder.runner.is_running:
            return
        self._found = found
        shown = found.scan.canonical_index(point_in_layer(self._viewer, found.layer))
        index = shown[found.result.axis]
        if index in self._done or index == self._asked:
            return
        self._asked = index
        self.runner.start(ExplainJob(found.scan, found.model_path, found.settings, shown), "Explaining")

    def line_up(self) -> None:
        """Lay the layers over the scan's as that lies now."""
        for layer in self._layers.values():
            if self._found is not None and layer in self._viewer.layers:
                line_up(layer, self._found.layer, self._found.scan)

    def _on_explained(self, explanations: tuple[Explanation, ...]) -> None:
        found = self._found
        if found is None or not self._is_on or found.layer not in self._viewer.layers:
            return
        for explanation in explanations:
            self._show(found, explanation)
            self._done.add(explanation.index)
        self.told.emit("\n".join(_WORDS[name] for name in self._layers if name in _WORDS))

    def _show(self, found: Found, explanation: Explanation) -> None:
        name = explanation.scorer
        if name not in self._values:
            shape = found.result.values.shape
            self._values[name] = np.zeros(shape, dtype=explanation.values.dtype)
        np.moveaxis(self._values[name], explanation.axis, 0)[explanation.index] = explanation.values
        layer = self._layers.get(name)
        data = found.scan.to_layer(self._values[name])
        if layer is None or layer not in self._viewer.layers:
            layer = self._layers[name] = self._add(found, explanation, data)
        elif np.shares_memory(layer.data, data):
            layer.refresh(extent=False)
        else:
            layer.data = data
        # Limits that a person has set stay.
        if isinstance(layer, Image) and list(layer.contrast_limits) == self._limits[name]:
            low, high = layer.contrast_limits
            layer.contrast_limits = (low, max(high, float(explanation.values.max())))
            self._limits[name] = list(layer.contrast_limits)

    def _add(self, found: Found, explanation: Explanation, data: np.ndarray) -> Layer:
        arguments = found.scan.overlay_arguments(found.layer) | {
            "name": f"{found.layer.name} · {_TITLES.get(explanation.scorer, explanation.scorer)}",
        }
        layer: Layer
        if explanation.names:
            layer = Labels(data, **kinds_look(), **arguments)
        else:
            layer = Image(data, contrast_limits=(0.0, _LEAST_SCORE), **unlike_look(), **arguments)
            self._limits[explanation.scorer] = list(layer.contrast_limits)
        mark_overlay(layer, found.layer, found.scan)
        selected = list(self._viewer.layers.selection)
        self._viewer.layers.insert(self._viewer.layers.index(found.layer) + 1, layer)
        self._viewer.layers.selection = set(selected)
        if explanation.names:
            # In 3D napari fails over those of the selected layer, as a new one is, until the pointer has moved.
            numbers = range(len(explanation.names) + 1)
            layer.features = {"index": list(numbers), "explained by": ["", *explanation.names]}
        return layer

    def _forget(self) -> None:
        self._removal.add(*self._layers.values())
        self._layers, self._values, self._limits, self._done = {}, {}, {}, set()
        self._asked = self._found = None
        self.told.emit("")
