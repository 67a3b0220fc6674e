"""What was found in a layer, and how it stands to what the viewer shows now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_dinoad.errors import DinoadError
from napari_dinoad.gui.viewer.layer_scan import frame_in_words
from napari_dinoad.gui.viewer.layers import same_layer, scan_of_layer
from napari_dinoad.gui.viewer.viewer_parts import axis_in_view, point_in_layer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari.layers import Layer
    from napari.viewer import Viewer

    from napari_dinoad.gui.find.result import ScanResult, ScoresBefore
    from napari_dinoad.gui.viewer.layer_scan import LayerScan
    from napari_dinoad.gui.viewer.overlay import Overlay
    from napari_dinoad.settings import DetectSettings

__all__ = ["Found", "ModelFile", "Run", "Standing", "standing_of"]


@dataclass(frozen=True)
class ModelFile:
    """A model as it lay on disk at some time: another fit under the same name is another model.

    Attributes
    ----------
    path : Path
    modified_ns : int, optional
        None where there was no file.
    """

    path: Path
    modified_ns: int | None

    @classmethod
    def of(cls, path: Path) -> ModelFile:
        """Return the model as it is now."""
        return cls(path, path.stat().st_mtime_ns if path.is_file() else None)


@dataclass(eq=False)
class Found:
    """What the viewer shows for one layer.

    ``is_edited`` says that values were seen in the layer's array that are not those which were scored.
    """

    layer: Layer
    scan: LayerScan
    model: ModelFile
    settings: DetectSettings
    result: ScanResult
    overlay: Overlay | None = None
    is_edited: bool = False

    @property
    def model_path(self) -> Path:
        """The model's file."""
        return self.model.path

    def rests_on(self, layer: Layer) -> bool:
        """Whether a layer is the scan's, or one of those that show the result."""
        return same_layer(layer, self.layer) or (self.overlay is not None and self.overlay.holds(layer))

    def shown_index(self, viewer: Viewer) -> tuple[int, int, int]:
        """Return the canonical voxel (z, y, x) in view."""
        return self.scan.canonical_index(point_in_layer(viewer, self.layer))

    def look_for_edits(self, viewer: Viewer) -> None:
        """Compare the slice in view with what was scored: an array that is changed in place tells nobody of it.

        Of arrays in memory alone, and in 2D: others would have to be read, or compared as a whole.
        """
        data, is_rgb = self.scan.data, self.scan.is_rgb
        is_3d_view = viewer.dims.ndisplay == 3
        if self.is_edited or is_3d_view or not isinstance(data, np.ndarray):
            return
        frame, volume = data[self.scan.frame], self.result.volume
        if is_rgb:
            shown, scored = self.scan.colours_to_canonical(frame[..., :3]), volume.colours
        else:
            shown, scored = self.scan.to_canonical(frame), volume.values
        if scored is None:
            # Grey in three channels.
            return
        axis = axis_in_view(viewer, self.layer, self.scan)
        if axis is not None:
            index = self.shown_index(viewer)[axis]
            shown, scored = shown.take(index, axis), scored.take(index, axis)
        # As the scan is read; what is not finite was replaced.
        shown = self.scan.in_units_of_scan(shown) if is_rgb else shown.astype(np.float32)
        has_changed = shown != scored
        if shown.dtype.kind == "f":
            is_finite = np.isfinite(shown)
            has_changed &= is_finite.all(axis=-1, keepdims=True) if is_rgb else is_finite
        self.is_edited = bool(has_changed.any())

    def is_in_view(self, viewer: Viewer, slices: Sequence[int]) -> bool:
        """Whether some slices may be on screen: they are, unless the view is another slice of the same plane."""
        layer_ndim = self.layer.ndim
        n_before = viewer.dims.ndim - layer_ndim
        layer_axis = layer_ndim - 3 + self.result.axis + n_before
        if not self.scan.is_canonical or layer_ndim < 3 or layer_axis in viewer.dims.displayed:
            return True
        return self.shown_index(viewer)[self.result.axis] in slices

    def other_plane_in_words(self, viewer: Viewer) -> str:
        """Say so where the slices that are scored are not what the canvas shows; nothing where they are."""
        shown, scored = axis_in_view(viewer, self.layer, self.scan), self.result.axis
        if shown in (None, scored):
            return ""
        # Loaded here: the dock opens without what draws pictures.
        from napari_dinoad.maps.pictures.slice_view import PLANE_NAMES

        return (
            f"This model looks at {PLANE_NAMES[scored]} slices: the one through the point in view was scored, of "
            "which this view shows but a line."
        )

    def is_mirrored(self) -> bool:
        """Whether the viewer's slider runs against the result's slices; superior is at its left, for instance."""
        if len(self.result.profile) < 2:
            return False
        first, second = [0, 0, 0], [0, 0, 0]
        second[self.result.axis] = 1
        step = np.subtract(
            self.layer.data_to_world(self.scan.data_index(second)),
            self.layer.data_to_world(self.scan.data_index(first)),
        )
        return bool(step[np.argmax(np.abs(step))] < 0)


@dataclass(eq=False)
class Run:
    """What a run fills, and what to go back to when it does not come to its end."""

    found: Found
    before: ScoresBefore | None = None
    is_seen: bool = False
    is_done: bool = False

    def settle(self) -> None:
        """Show what it has left; the whole scan's result of before, where there was one and it came to no end."""
        if not self.is_done and self.before is not None:
            self.found.result.go_back(self.before)
        if self.found.overlay is not None and self.found.result.scored.any():
            self.found.overlay.refresh_map()


@dataclass(frozen=True)
class Standing:
    """How a result stands to what is shown and chosen now.

    Attributes
    ----------
    frame : str
        Of which frame it is; empty where the scan has one only.
    departures : tuple of str
        In what the result is not of what is shown or chosen, a sentence each.
    is_of_picture : bool
        Whether heatmap and mask are of the voxels that are shown.
    """

    frame: str = ""
    departures: tuple[str, ...] = ()
    is_of_picture: bool = True


def standing_of(found: Found, point: Sequence[float], chosen: ModelFile | None) -> Standing:
    """Return how a result stands to its layer as it is now.

    Parameters
    ----------
    found : Found
    point : sequence of float
        The viewer's ``dims.point``.
    chosen : ModelFile, optional
        The model that is chosen now.
    """
    frame = frame_in_words(found.scan.frame)
    about = f"This is the result of frame {frame}." if frame else ""
    picture, grid = _of_layer(found, point)
    departures = (*picture, *grid, *_of_model(found, chosen))
    return Standing(about, departures, not picture)


def _of_layer(found: Found, point: Sequence[float]) -> tuple[list[str], list[str]]:
    """Return in what the voxels shown are others than those that were scored; and in what they lie elsewhere."""
    try:
        shown = scan_of_layer(found.layer, point)
    except DinoadError:
        shown = None
    if shown is None or shown.data is not found.scan.data or found.is_edited:
        changed = (
            "The values of this scan's layer have changed since; press Find. Heatmap and mask are hidden."
        )
        return [changed], []
    picture, grid = [], []
    if shown.frame != found.scan.frame:
        picture = [f"Frame {frame_in_words(shown.frame)} is shown: heatmap and mask are hidden."]
    if not shown.source.geometry.matches(found.result.volume.geometry):
        grid = ["The layer was moved or scaled since: sizes and places are those of before; press Find."]
    return picture, grid


def _of_model(found: Found, chosen: ModelFile | None) -> list[str]:
    if chosen is None or chosen == found.model:
        return []
    if chosen.path == found.model.path:
        return ["The file of this model has changed since: this is the result of the one before; press Find."]
    return [
        f"This is the result of the model “{found.model.path.stem}”, not of “{chosen.path.stem}”; press Find."
    ]
