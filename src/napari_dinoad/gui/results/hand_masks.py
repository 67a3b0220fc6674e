"""Labels layers that a person draws or corrects, as masks on the grid of the scan that they are of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Labels

from napari_dinoad.errors import DinoadError, GeometryError
from napari_dinoad.gui.viewer.labels_on_scan import LabelsOnScan
from napari_dinoad.gui.viewer.layer_marks import (
    frame_of_mark,
    is_copy_over,
    is_drawn_over,
    is_kept_by_plugin,
    is_overlay,
    mark_copy,
    mark_drawn,
    scan_id_of,
)
from napari_dinoad.gui.viewer.layer_scan import frame_in_words
from napari_dinoad.gui.viewer.layers import same_layer, scan_of_layer, title_of
from napari_dinoad.gui.viewer.looks import hand_look
from napari_dinoad.gui.viewer.mask_values import without_choice
from napari_dinoad.gui.viewer.segmented_scan import OF_ANOTHER, segmentation_unlike

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from napari.layers import Layer
    from napari.viewer import Viewer

    from napari_dinoad.gui.find.find_controller import FindController
    from napari_dinoad.gui.find.found import Found
    from napari_dinoad.gui.viewer.layer_scan import LayerScan
    from napari_dinoad.gui.work.worker import JobChannel
    from napari_dinoad.images.dicom.segmentations import Unlike
    from napari_dinoad.images.volume import Volume
    from napari_dinoad.maps.hand_mask import HandMask, Making

__all__ = ["Ground", "HandLayer", "HandMasks", "hand_mask_of"]

_OVER_OTHER: dict[Unlike | None, str] = {
    "identifier": "images of another PatientID",
    "series": "another series",
}
"""What a segmentation was made over that may be exported, by its header."""


@dataclass(frozen=True, eq=False)
class Ground:
    """The scan that masks by hand are of.

    Attributes
    ----------
    layer : Layer
        The scan's.
    scan : LayerScan
    volume : Volume, optional
        The scan's voxels and where they lie; None while they are not read.
    card : mapping, optional
        Of the model that was looked for anomalies with.
    """

    layer: Layer
    scan: LayerScan
    volume: Volume | None = None
    card: Mapping[str, Any] | None = None

    @classmethod
    def of_found(cls, found: Found) -> Ground:
        """Return the scan of a result."""
        outcome = found.result.outcome
        return cls(found.layer, found.scan, found.result.volume, None if outcome is None else outcome.card)

    def read(self, channel: JobChannel) -> Ground:
        """Return it with the scan's voxels, which may take a while (a job)."""
        return self if self.volume is not None else replace(self, volume=self.scan.volume())


@dataclass(frozen=True, eq=False)
class HandLayer:
    """A Labels layer that may be exported as a mask.

    Attributes
    ----------
    layer : Labels
    making : {"corrected", "drawn"}, optional
        What is known of it: copies of the mask that was found are corrected; of what came from a file or another
        plugin nothing is known.
    fault : str
        Why it cannot be exported; empty where it can.
    fault_in_brief : str
        The same in a few words.
    place : LabelsOnScan, optional
        Where it lies on the scan now; None where that is the fault.
    over_other : str
        What it was made over, where that is known to be another scan: perhaps another person's. Else empty.
    """

    layer: Labels
    making: Making | None
    fault: str = ""
    fault_in_brief: str = ""
    place: LabelsOnScan | None = None
    over_other: str = ""

    @property
    def name(self) -> str:
        """The layer's name."""
        return str(self.layer.name)


class HandMasks:
    """The Labels layers over a scan: over that of the result that is looked at, or over the one that is chosen.

    Parameters
    ----------
    viewer : Viewer
    finder : FindController
    chosen : callable
        Returns the layer that is chosen as scan, or None.
    author : str
        By whom masks are proposed to be; then the one who was named last.
    """

    def __init__(
        self,
        viewer: Viewer,
        finder: FindController,
        chosen: Callable[[], Layer | None] = lambda: None,
        author: str = "",
    ) -> None:
        self.author = author
        self._viewer = viewer
        self._finder = finder
        self._chosen = chosen

    def of_result(self) -> Ground | None:
        """Return the scan of the result that is looked at; None where there is no result."""
        found = self._finder.found
        return None if found is None else Ground.of_found(found)

    def of_scan(self) -> Ground | None:
        """Return the scan that is chosen, as it is shown now, whether it has a result or not.

        Raises
        ------
        DinoadError
            If its layer cannot be taken for a scan.
        """
        layer = self._chosen()
        if layer is None:
            return None
        scan, of_result = scan_of_layer(layer, self._viewer.dims.point), self.of_result()
        is_known = (
            of_result is not None
            and same_layer(of_result.layer, layer)
            and of_result.scan.data is scan.data
            and of_result.scan.frame == scan.frame
            and of_result.scan.source.geometry.matches(scan.source.geometry)
        )
        return of_result if is_known else Ground(layer, scan)

    def layers(self, ground: Ground) -> list[HandLayer]:
        """Return those that are none of the plugin's own, the uppermost first."""
        layers = [layer for layer in reversed(self._viewer.layers) if isinstance(layer, Labels)]
        return [self._describe(layer, ground) for layer in layers if not is_kept_by_plugin(layer)]

    def selected(self, layers: Sequence[HandLayer], only: Making | None = None) -> HandLayer | None:
        """Return which of these is selected in the list of layers, where it can be exported and a person made it.

        What was opened from a file is selected by that alone; what was drawn still is when something was found, so
        that may be left out.
        """
        active = self._viewer.layers.selection.active
        makings = ("corrected", "drawn") if only is None else (only,)
        known = [one for one in layers if one.making in makings and not one.fault]
        return next((one for one in known if same_layer(one.layer, active)), None)

    def mask_of(self, one: HandLayer, making: Making, ground: Ground, author: str = "") -> HandMask:
        """Return what a layer holds now, on the grid of a scan, and who made it; see `hand_mask_of`."""
        self.author = author
        return replace(hand_mask_of(self._viewer, one.layer, ground, making), author=author)

    def start_drawing(self, ground: Ground) -> Labels:
        """Add an empty layer on a scan's voxels to paint in, and select it."""
        scan = ground.scan
        shape = scan.data.shape[len(scan.frame) : ground.layer.ndim]
        layer = Labels(
            np.zeros(shape, np.uint8),
            name=f"{title_of(ground.layer, scan)} · drawn",
            **hand_look(),
            **scan.overlay_arguments(ground.layer),
        )
        mark_drawn(layer, ground.layer, scan)
        self._paint_in(layer)
        return layer

    def start_correction(self) -> Labels | None:
        """Add a copy of the result's mask to paint in, select it, and hide the mask; None where there is none."""
        found = self._finder.found
        if found is None or found.overlay is None or not found.overlay.is_whole:
            return None
        mask = found.overlay.mask
        layer = Labels(
            without_choice(mask.data),
            name=f"{found.overlay.title} · corrected",
            **hand_look(),
            **found.scan.overlay_arguments(found.layer),
        )
        mark_copy(layer, mask)
        mask.visible = False
        self._paint_in(layer)
        return layer

    def _paint_in(self, layer: Labels) -> None:
        self._viewer.add_layer(layer)
        self._viewer.layers.selection.active = layer
        layer.mode = "paint"

    def _describe(self, layer: Labels, ground: Ground) -> HandLayer:
        making = _making_of(layer, ground.layer)
        try:
            place = LabelsOnScan.of(self._viewer, layer, ground.layer, ground.scan)
        except GeometryError as error:
            return HandLayer(layer, making, str(error), "not on the scan’s voxels")
        frame = frame_of_mark(layer, ground.layer)
        if frame is not None and frame != ground.scan.frame:
            words, shown = frame_in_words(frame), frame_in_words(ground.scan.frame)
            fault = f"Layer {layer.name!r}: it is of frame {words}, not of {shown}. Show frame {words} first."
            return HandLayer(layer, making, fault, f"of frame {words}", place)
        unlike = segmentation_unlike(layer, ground.scan.source)
        brief = OF_ANOTHER.get(unlike)
        if brief:
            fault = f"Layer {layer.name!r}: by its DICOM header it is {brief} than the scan {ground.layer.name!r}."
            return HandLayer(layer, making, fault, brief, place)
        over_other = _OVER_OTHER.get(unlike) or self._other_scan(layer, ground)
        return HandLayer(layer, making, place=place, over_other=over_other)

    def _other_scan(self, layer: Labels, ground: Ground) -> str:
        scan_id = scan_id_of(layer)
        if scan_id is None or scan_id == ground.layer.unique_id:
            return ""
        scans = (f"“{other.name}”" for other in self._viewer.layers if other.unique_id == scan_id)
        return next(scans, "a scan that was closed")


def _making_of(layer: Labels, scan_layer: Layer) -> Making | None:
    if is_copy_over(layer, scan_layer):
        return "corrected"
    if is_drawn_over(layer, scan_layer):
        return "drawn"
    origin = layer.source
    is_from_elsewhere = is_overlay(layer) or origin.path or origin.widget or origin.sample
    return None if is_from_elsewhere else "drawn"


def hand_mask_of(viewer: Viewer, layer: Labels, ground: Ground, making: Making) -> HandMask:
    """Return what a Labels layer holds now as a mask on a scan's grid; later changes do not reach it.

    See `LabelsOnScan` for how the layer may lie.

    Raises
    ------
    GeometryError
        If its voxels are not the scan's, or something is drawn outside the scan.
    DinoadError
        If the scan's voxels are not read.
    """
    from napari_dinoad.maps.hand_mask import HandMask

    if ground.volume is None:
        raise DinoadError(f"Layer {ground.layer.name!r}: the scan is not read yet; press the button again.")
    labels = LabelsOnScan.of(viewer, layer, ground.layer, ground.scan).whole()
    return HandMask(labels, ground.volume, making, _names(layer), ground.card)


def _names(layer: Labels) -> dict[int, str]:
    """Return what a layer says that its labels are: the segments of a DICOM file that was opened."""
    table = layer.features
    if not {"index", "segment"} <= set(table.columns):
        return {}
    known = table[["index", "segment"]].dropna()
    return {int(label): str(name) for label, name in zip(known["index"], known["segment"], strict=True)}
