"""Whether the chosen scan and what was found in it are what the canvas shows, or something lies over them."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget

from napari_dinoad.gui.canvas.framing import share_inside
from napari_dinoad.gui.parts.parts import NoteLabel
from napari_dinoad.gui.viewer.layer_marks import is_overlay, is_scan_layer, scan_id_of
from napari_dinoad.gui.viewer.layers import same_layer
from napari_dinoad.gui.viewer.viewer_parts import grid_of, layers_meet

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

__all__ = ["CoverNote", "hidden_beneath", "layers_over", "lift_above", "show_scan"]

_OPAQUE_FROM = 0.9
"""Images at least this opaque hide what lies beneath; more transparent ones are laid over a scan on purpose."""

_HIDING = frozenset(("opaque", "translucent", "translucent_no_depth"))
"""Blendings that do not let a layer beneath shine through."""

_IN_3D = 3

_SHOW_SCAN = ("Show this scan", "Make its layer visible and hide the images that lie over it.")
_SHOW_RESULT = ("Lay it over the scan", "Move these layers above that of the scan.")
"""What the button says and does."""

_WITHIN_FROM = 0.9
"""An image of which along each axis at least this share lies within a scan is not seen around it."""


def layers_over(viewer: Viewer, layer: Layer) -> list[Layer]:
    """Return the visible image layers that lie over a scan's layer, the topmost first; none in napari's grid."""
    if grid_of(viewer).enabled or layer not in viewer.layers:
        return []
    above = list(viewer.layers)[viewer.layers.index(layer) + 1 :]
    return [other for other in reversed(above) if _hides(other, layer)]


def _layers_beside(viewer: Viewer, layer: Layer) -> list[Layer]:
    """Return the visible images that napari's 3D view draws together with a scan, wherever they lie; none in 2D."""
    if viewer.dims.ndisplay != _IN_3D or grid_of(viewer).enabled:
        return []
    return [
        other for other in viewer.layers if other is not layer and is_scan_layer(other) and _is_opaque(other)
    ]


def _hides(other: Layer, layer: Layer) -> bool:
    return is_scan_layer(other) and _is_opaque(other) and layers_meet(other, layer)


def _is_opaque(layer: Layer) -> bool:
    return bool(layer.visible and layer.opacity >= _OPAQUE_FROM and str(layer.blending) in _HIDING)


def _layers_around(viewer: Viewer, layer: Layer) -> list[Layer]:
    """Return the visible image layers that lie under a scan's layer and show beside it, as if they were of it."""
    if grid_of(viewer).enabled or layer not in viewer.layers:
        return []
    below = list(viewer.layers)[: viewer.layers.index(layer)]
    return [other for other in below if _hides(other, layer) and share_inside(other, layer) < _WITHIN_FROM]


def hidden_beneath(viewer: Viewer, layer: Layer) -> list[Layer]:
    """Return the visible maps and masks of the plugin that a scan's layer hides, the lowest first; none in the grid.

    They are laid above their scan; a person can drag the scan over them in the list of layers. Those of another scan
    belong beneath.
    """
    if grid_of(viewer).enabled or layer not in viewer.layers or not _is_opaque(layer):
        return []
    below = list(viewer.layers)[: viewer.layers.index(layer)]
    return [
        other for other in below if _may_be_of(other, layer) and other.visible and layers_meet(other, layer)
    ]


def _may_be_of(overlay: Layer, layer: Layer) -> bool:
    """Whether a layer is a map or mask of the plugin that was not made for another scan's layer."""
    return is_overlay(overlay) and scan_id_of(overlay) in (None, layer.unique_id)


def lift_above(viewer: Viewer, layer: Layer) -> None:
    """Lay the maps and masks that a scan's layer hides right above it, in their order."""
    places = [viewer.layers.index(other) for other in hidden_beneath(viewer, layer)]
    if places:
        viewer.layers.move_multiple(places, viewer.layers.index(layer) + 1)


def show_scan(viewer: Viewer, layer: Layer) -> None:
    """Make a scan's layer visible, and hide the images that lie over it or show around it, in 3D all others."""
    hiding = (layers_over(viewer, layer), _layers_around(viewer, layer), _layers_beside(viewer, layer))
    for other in itertools.chain(*hiding):
        other.visible = False
    layer.visible = True


class CoverNote(QWidget):
    """Says when the chosen scan, or what was found in it, is not what the canvas shows, and offers to show it."""

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._layer: Layer | None = None
        self.note = NoteLabel()
        self.button = QPushButton()
        self.button.clicked.connect(self._on_clicked)
        rows = QVBoxLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setSpacing(2)
        rows.addWidget(self.note)
        rows.addWidget(self.button, 0, Qt.AlignmentFlag.AlignLeft)
        for layer in viewer.layers:
            self._watch(layer)
        viewer.layers.events.inserted.connect(self._on_inserted)
        for event in (viewer.layers.events.removed, viewer.layers.events.reordered):
            event.connect(self._look)
        grid_of(viewer).events.enabled.connect(self._look)
        viewer.dims.events.ndisplay.connect(self._look)
        self._look()

    def follow(self, layer: Layer | None) -> None:
        """Look whether this layer is what the canvas shows, from now on."""
        self._layer = layer
        self._look()

    def _on_inserted(self, event: object) -> None:
        layer = getattr(event, "value", None)
        if layer is not None:
            self._watch(layer)
        self._look()

    def _watch(self, layer: Layer) -> None:
        for event in (layer.events.visible, layer.events.opacity, layer.events.blending):
            event.connect(self._look)

    def _on_clicked(self) -> None:
        if self._layer is None:
            return
        if _of_scan(self._viewer, self._layer):
            show_scan(self._viewer, self._layer)
        else:
            lift_above(self._viewer, self._layer)

    def _look(self, event: object = None) -> None:
        layer = self._layer
        of_scan = of_result = ""
        if layer is not None and any(same_layer(layer, known) for known in self._viewer.layers):
            of_scan, of_result = _of_scan(self._viewer, layer), _of_result(self._viewer, layer)
        text, (title, tip) = of_scan or of_result, _SHOW_SCAN if of_scan else _SHOW_RESULT
        self.button.setText(title)
        self.button.setToolTip(tip)
        self.note.tell(text, warning=True)
        self.setVisible(bool(text))


def _of_scan(viewer: Viewer, layer: Layer) -> str:
    """Return why the canvas does not show a scan, in words; nothing where it does."""
    if not layer.visible:
        return "The layer of this scan is hidden."
    over = layers_over(viewer, layer)
    others = over or _layers_beside(viewer, layer)
    if not others:
        return ""
    more = f" and {len(others) - 1} more" if len(others) > 1 else ""
    if over:
        verb = "lie" if more else "lies"
        return f"“{over[0].name}”{more} {verb} over this scan: the picture is not of the scan chosen here."
    verb = "are" if more else "is"
    return f"“{others[0].name}”{more} {verb} drawn in 3D together with this scan: the picture is not of it alone."


def _of_result(viewer: Viewer, layer: Layer) -> str:
    """Return what of the plugin's a scan hides, in words."""
    beneath = hidden_beneath(viewer, layer)
    if not beneath:
        return ""
    more = f" and {len(beneath) - 1} more" if len(beneath) > 1 else ""
    return f"“{beneath[-1].name}”{more} {'lie' if more else 'lies'} under this scan and cannot be seen."
