"""Scans as napari layers, and layers as scans: the only place that knows napari's world.

napari draws growing coordinates downwards and to the right, so a scan is shown in the *negated* RAS frame: superior
and anterior are up and the patient's right is on the left. A layer holds the canonical (z, y, x) array with a
diagonal affine; the true geometry rides in ``layer.metadata``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dinoad.errors import ScanReadError
from napari_dinoad.gui.viewer.grey_limits import first_limits
from napari_dinoad.gui.viewer.layer_scan import (
    METADATA_KEY,
    LayerScan,
    ScanSource,
    data_to_world,
    frame_in_words,
    frames_in_words,
    shown_colours,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Layer

    from napari_dinoad.images.volume import Geometry, Volume

__all__ = [
    "LayerTuple",
    "affine_on_scan",
    "colour_layer",
    "layer_of_volume",
    "layers_of_frames",
    "placed",
    "same_layer",
    "scan_of_layer",
    "source_layer",
    "title_of",
]

LayerTuple = tuple[np.ndarray, dict[str, Any], str]
"""A layer data tuple of napari: array, arguments, kind of layer."""

_SAME_STEPS = 1e-3
"""Grids whose steps differ by less than this share of a voxel are of one scan: files round them."""

_AXIS_LABELS = ("z", "y", "x")

_FRAME_LABEL = "frame"
"""Beside napari's slider, whose numbers are those that the dock tells."""


def layer_of_volume(volume: Volume) -> LayerTuple:
    """Return the layer data tuple (array, arguments, ``"image"``) that shows a scan.

    Volumes become (z, y, x), single slices (rows, columns), those in colour (…, 3). With physical size the affine is
    diagonal (entries −spacing, origin −(RAS origin)) in millimetres; pixels stay pixels, in units of their width.
    """
    colours = shown_colours(volume)
    if colours is None:
        return source_layer(volume.values, ScanSource.of(volume.seen(in_colour=False)))
    return colour_layer(colours, ScanSource.of(volume))


def layers_of_frames(frames: Sequence[Volume]) -> list[LayerTuple]:
    """Return the layer data tuple that shows frames (frame, z, y, x); where they lie apart, one of each.

    Which images of DICOM a frame is of is not kept: what is written of one must not name those of another.
    """
    first = frames[0]
    if not all(frame.geometry.matches(first.geometry) for frame in frames):
        # Stacks of several planes, for instance.
        named = (replace(frame, name=f"{frame.name} · frame {i}") for i, frame in enumerate(frames))
        return [layer_of_volume(frame) for frame in named]
    notes = tuple(note for note in first.notes if all(note in frame.notes for frame in frames))
    shown = replace(first, notes=notes, dicom_files=None, dicom_frames=())
    colours = [shown_colours(frame) for frame in frames]
    known = [colour for colour in colours if colour is not None]
    if len(known) == len(frames):
        return [colour_layer(np.stack(known), ScanSource.of(shown))]
    source = ScanSource.of(shown.seen(in_colour=False))
    return [source_layer(np.stack([frame.values for frame in frames]), source)]


def colour_layer(colours: np.ndarray, source: ScanSource) -> LayerTuple:
    """Return the layer data tuple of canonical colours (…, z, y, x, 3) with leading frame axes or none."""
    _, arguments = placed(colours[..., 0], source)
    axis = source.dropped_axis
    shown = colours if axis is None else np.squeeze(colours, colours.ndim - 4 + axis)
    return shown, arguments | {"rgb": True}, "image"


def source_layer(values: np.ndarray, source: ScanSource) -> LayerTuple:
    """Return the layer data tuple of canonical values (…, z, y, x) with leading frame axes or none."""
    values, arguments = placed(values, source)
    look = {"colormap": "gray", "contrast_limits": first_limits(values, source.display_windows)}
    return values, arguments | look, "image"


def placed(values: np.ndarray, source: ScanSource) -> tuple[np.ndarray, dict[str, Any]]:
    """Return canonical values (…, z, y, x) as they lie in a layer, and the arguments that name and place it."""
    geometry = source.geometry
    axis = source.dropped_axis
    n_frame_axes = values.ndim - 3
    if axis is not None:
        values = np.squeeze(values, n_frame_axes + axis)
    arguments: dict[str, Any] = {"name": source.name, "metadata": {METADATA_KEY: source}}
    spatial = [a for a in range(3) if a != axis]
    if geometry.is_physical or n_frame_axes or axis is None:
        arguments["axis_labels"] = (_FRAME_LABEL,) * n_frame_axes + tuple(_AXIS_LABELS[a] for a in spatial)
    if geometry.is_physical or geometry.pixel_aspect != 1:
        arguments["affine"] = _display_affine(geometry, spatial, n_frame_axes)
    if geometry.is_physical:
        arguments["units"] = ("pixel",) * n_frame_axes + ("mm",) * len(spatial)
        arguments["metadata"]["affine_ras_mm"] = np.array(geometry.affine)
    return values, arguments


def _display_affine(geometry: Geometry, spatial: list[int], n_frame_axes: int) -> np.ndarray:
    origin_zyx = geometry.canonical_to_world(np.zeros(3))[::-1]
    n = n_frame_axes + len(spatial)
    affine = np.eye(n + 1)
    sign = -1 if geometry.is_physical else 1
    for row, axis in enumerate(spatial, start=n_frame_axes):
        affine[row, row] = sign * geometry.spacing[axis]
        affine[row, n] = sign * origin_zyx[axis]
    return affine


def affine_on_scan(source: ScanSource, scan: ScanSource) -> np.ndarray | None:
    """Return the affine that shows an array on a scan of which its grid is a part; None where it is of another.

    An oblique scan is shown de-obliqued about its first voxel. What begins at another voxel, as masks do that leave
    out empty slices, would lie beside it by an affine of its own.
    """
    own, whole = source.geometry, scan.geometry
    steps = own.canonical_affine[:3, :3] - whole.canonical_affine[:3, :3]
    is_other = own.is_physical != whole.is_physical or source.dropped_axis != scan.dropped_axis
    if is_other or np.abs(steps).max() > _SAME_STEPS * min(whole.spacing):
        return None
    spatial = [axis for axis in range(3) if axis != scan.dropped_axis]
    affine = _display_affine(whole, spatial, 0)
    first = np.linalg.solve(whole.canonical_affine, [*own.canonical_affine[:3, 3], 1.0])[2::-1]
    affine[:-1, -1] += affine[:-1, :-1] @ first[spatial]
    return affine


def scan_of_layer(layer: Layer, point: Sequence[float]) -> LayerScan:
    """Return the scan that an image layer shows; cheap, nothing is read yet.

    Parameters
    ----------
    layer : napari.layers.Image
        From this plugin or any other; 2D, 3D or with frames before the spatial axes, grey or RGB.
    point : sequence of float
        The viewer's ``dims.point``, to choose the shown frame.

    Raises
    ------
    ScanReadError
        If the layer has fewer than two axes.
    """
    data = layer.data[0] if getattr(layer, "multiscale", False) else layer.data
    is_rgb = bool(getattr(layer, "rgb", False))
    source = layer.metadata.get(METADATA_KEY)
    if isinstance(source, ScanSource):
        expected = tuple(
            n for axis, n in enumerate(source.geometry.canonical_shape) if axis != source.dropped_axis
        )
        shape = tuple(data.shape[:-1] if is_rgb else data.shape)
        if shape[-len(expected) :] == expected:
            frame = _shown_frame(layer, point, layer.ndim - len(expected))
            notes = (*_note_of_frame(data, frame), *_own_notes(source))
            return LayerScan(data, source, frame, is_rgb, notes=notes)
    return _scan_of_foreign_layer(layer, data, is_rgb, point)


def _note_of_frame(data: Any, frame: tuple[int, ...]) -> list[str]:
    if not frame:
        return []
    n_frames, shown = frames_in_words(data, frame), frame_in_words(frame)
    return [f"Series of {n_frames} frames, counted from 0: the shown one ({shown}) is used."]


def _own_notes(source: ScanSource) -> tuple[str, ...]:
    notes = list(source.notes)
    if source.geometry.is_physical and source.geometry.is_oblique:
        notes.append(
            f"Oblique scan ({source.geometry.obliquity_deg:.0f}°): shown de-obliqued; "
            "positions and exports keep the true orientation."
        )
    return tuple(notes)


def title_of(layer: Layer, scan: LayerScan) -> str:
    """Return what a layer laid over a scan is of: the scan's layer, and its frame where that has several."""
    frame = [f"frame {frame_in_words(scan.frame)}"] if scan.frame else []
    return " · ".join([str(layer.name), *frame])


def _shown_frame(layer: Layer, point: Sequence[float], n_frame_axes: int) -> tuple[int, ...]:
    if n_frame_axes <= 0:
        return ()
    world = np.zeros(layer.ndim)
    shown = np.asarray(point, dtype=float)[-layer.ndim :]
    world[layer.ndim - len(shown) :] = shown
    index = np.rint(np.asarray(layer.world_to_data(world))[:n_frame_axes])
    limits = np.array(layer.data.shape[:n_frame_axes]) - 1
    return tuple(int(i) for i in np.clip(index, 0, limits))


def _millimetres(units: Sequence[Any]) -> np.ndarray | None:
    """Return what one of each unit is in millimetres, or None where one of them is no length."""
    if not all(unit.dimensionality == {"[length]": 1} for unit in units):
        return None
    return np.array([float((1 * unit).to("mm").magnitude) for unit in units])


def _scan_of_foreign_layer(layer: Layer, data: Any, is_rgb: bool, point: Sequence[float]) -> LayerScan:
    if layer.ndim < 2:
        raise ScanReadError(
            f"Layer {layer.name!r}: expected an image with two or three axes, got {layer.ndim}."
        )
    n_axes = min(layer.ndim, 3)
    frame = _shown_frame(layer, point, layer.ndim - n_axes)
    shape = tuple(int(n) for n in data.shape[len(frame) : len(frame) + n_axes])
    factors = _millimetres(layer.units[-n_axes:])
    notes = _note_of_frame(data, frame)
    # nibabel is loaded here: the dock opens without it.
    from napari_dinoad.images.volume import Geometry

    if n_axes == 2 and factors is None:
        notes.append("No physical size in this layer: sizes are in pixels.")
        geometry = Geometry.of_pixels((shape[0], shape[1]))
    else:
        geometry = Geometry(shape, _assumed_affine(layer, n_axes, factors))
        if factors is None:
            # In the order in which the size of the scan is told.
            size = " × ".join(f"{step:.3g}" for step in reversed(geometry.spacing))
            notes.append(f"No unit in this layer: its voxels are taken to be {size} mm.")
        if n_axes == 3:
            notes.append(
                "No orientation in this layer: read as displayed (up = front, left = patient's right)."
            )
    source = ScanSource(geometry, str(layer.name))
    return LayerScan(data, source, frame, is_rgb, is_canonical=False, notes=tuple(notes))


def _assumed_affine(layer: Layer, n_axes: int, factors: np.ndarray | None) -> np.ndarray:
    """Return the affine, voxel → RAS mm, that follows from where napari draws the layer."""
    world = data_to_world(layer)[-n_axes - 1 :, -n_axes - 1 :]
    world[:-1] *= (np.ones(n_axes) if factors is None else factors)[:, np.newaxis]
    affine = np.eye(4)
    # World axes are (z, y, x), or (y, x) for a single image, of the negated RAS frame.
    affine[:n_axes, :n_axes] = -world[n_axes - 1 :: -1, :n_axes]
    affine[:n_axes, 3] = -world[n_axes - 1 :: -1, n_axes]
    return affine


def same_layer(one: Layer | None, other: Layer | None) -> bool:
    """Whether both are the same layer; plugins may get layers wrapped in proxies, where ``is`` is of no use."""
    if one is None or other is None:
        return one is other
    return bool(one.unique_id == other.unique_id)
