"""Scans as napari layers, and layers as scans: the only place that knows napari's world.

napari draws growing coordinates downwards and to the right, so a scan is shown in the *negated* RAS frame: superior
and anterior are up and the patient's right is on the left. A layer holds the canonical (z, y, x) array with a
diagonal affine; the true geometry rides in ``layer.metadata``.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dinoad.errors import ScanReadError
from napari_dinoad.gui.viewer.grey_limits import first_limits
from napari_dinoad.images.grey import to_grey, white_of_picture
from napari_dinoad.images.intensity import with_finite_values

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari.layers import Layer

    from napari_dinoad.images.volume import DisplayWindow, Geometry, Volume

__all__ = [
    "METADATA_KEY",
    "LayerScan",
    "ScanSource",
    "affine_on_scan",
    "data_to_world",
    "frame_in_words",
    "layer_of_volume",
    "placed",
    "same_layer",
    "scan_of_layer",
    "source_layer",
    "title_of",
]

METADATA_KEY = "dinoad"
"""Key in ``layer.metadata`` under which a `ScanSource` rides."""

_SAME_STEPS = 1e-3
"""Grids whose steps differ by less than this share of a voxel are of one scan: files round them."""

_AXIS_LABELS = ("z", "y", "x")


@dataclass(frozen=True, eq=False)
class ScanSource:
    """Where a layer's array comes from and lies: what `Volume` has beside its values.

    Attributes
    ----------
    geometry : Geometry
        The grid as stored in the file (of one frame, for a series).
    name : str
        File name without its endings.
    header : object, optional
        The format's own header.
    full_scale : float, optional
        The value that means white for unsigned 8 or 16 bit.
    dicom_files, dicom_frames, notes, display_windows, is_resampled
        As in `Volume`.
    """

    geometry: Geometry
    name: str
    header: Any = None
    full_scale: float | None = None
    dicom_files: tuple[Path, ...] | None = None
    dicom_frames: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    display_windows: tuple[DisplayWindow, ...] = ()
    is_resampled: bool = False

    @classmethod
    def of(cls, volume: Volume) -> ScanSource:
        """Return all of a scan but its values."""
        return cls(**{field.name: getattr(volume, field.name) for field in fields(cls)})

    def with_values(self, values: np.ndarray) -> Volume:
        """Return the scan with these canonical values (z, y, x)."""
        from napari_dinoad.images.volume import Volume

        return Volume(values, **{field.name: getattr(self, field.name) for field in fields(self)})

    @property
    def dropped_axis(self) -> int | None:
        """The canonical axis of length 1 that a 2D layer does not show; None for volumes."""
        shape = self.geometry.canonical_shape
        return shape.index(1) if 1 in shape else None


@dataclass(frozen=True, eq=False)
class LayerScan:
    """The scan in an image layer as it was when asked for; safe to hand to a worker thread.

    Attributes
    ----------
    data : array-like
        The layer's array (NumPy, Dask, Zarr); it is read in `volume` only.
    source : ScanSource
    frame : tuple of int
        Index along the axes before the last spatial ones (time points, echoes).
    is_rgb : bool
    is_canonical : bool
        Whether the array is a canonical one that the plugin put there, or lies as `Geometry.shape` says.
    notes : tuple of str
        What had to be assumed, for the user.
    """

    data: Any
    source: ScanSource
    frame: tuple[int, ...] = ()
    is_rgb: bool = False
    is_canonical: bool = True
    notes: tuple[str, ...] = ()

    def volume(self) -> Volume:
        """Read the array and return it as a scan that names and notes its frame; slow for lazily loaded layers.

        Raises
        ------
        ScanReadError
            If every voxel has the same value.
        """
        array = np.asarray(self.data[self.frame] if self.frame else self.data)
        dtype = array.dtype
        if self.is_rgb:
            array = to_grey(array)
        try:
            array, note = with_finite_values(array.astype(np.float32))
        except ScanReadError as error:
            raise ScanReadError(f"Layer {self.source.name!r}: {error}") from error
        low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
        if low == high:
            raise ScanReadError(f"Layer {self.source.name!r}: no signal: every voxel has the same value.")
        volume = self.source.with_values(np.ascontiguousarray(self.to_canonical(array)))
        if not self.is_canonical:
            volume = replace(volume, full_scale=white_of_picture(dtype, low, high))
        more = [f"Frame {frame_in_words(self.frame)} of a series."] if self.frame else []
        if self.frame:
            # Outputs are named so: those of one frame must not replace those of another.
            number = "-".join(str(index + 1) for index in self.frame)
            volume = replace(volume, name=f"{volume.name}_frame{number}")
        return replace(volume, notes=(*volume.notes, *more, *filter(None, [note])))

    def to_canonical(self, array: np.ndarray) -> np.ndarray:
        """Return an array that lies like the layer (of one frame) as canonical (z, y, x)."""
        if not self.is_canonical:
            return self.source.geometry.to_canonical(array)
        axis = self.source.dropped_axis
        return array if axis is None else np.expand_dims(array, axis)

    def to_layer(self, canonical: np.ndarray) -> np.ndarray:
        """Return a canonical (z, y, x) array as it lies in the layer (of one frame); a view where possible."""
        if not self.is_canonical:
            return self.source.geometry.to_stored(canonical)
        axis = self.source.dropped_axis
        return canonical if axis is None else np.squeeze(canonical, axis)

    def canonical_index(self, data_index: Sequence[float] | np.ndarray) -> tuple[int, int, int]:
        """Return the canonical voxel (z, y, x), clipped to the scan, of an index into the layer's array."""
        index = np.asarray(data_index, dtype=float)
        shape = self.source.geometry.canonical_shape
        if self.is_canonical:
            axis = self.source.dropped_axis
            zyx = index[-3:] if axis is None else np.insert(index[-2:], axis, 0.0)
        elif not self.source.geometry.is_physical:
            zyx = np.array([0.0, *index[-2:]])
        else:
            n_axes = self.source.geometry.ndim
            ijk = np.zeros(3)
            ijk[:n_axes] = index[-n_axes:]
            to_canonical = np.linalg.inv(self.source.geometry.canonical_affine) @ self.source.geometry.affine
            zyx = (to_canonical @ [*ijk, 1.0])[2::-1]
        clipped = np.clip(np.rint(zyx), 0, np.array(shape) - 1)
        z, y, x = (int(i) for i in clipped)
        return z, y, x

    def canonical_steps(self) -> np.ndarray:
        """Return the (3, 4) whole numbers that take an index into a volume's array (of one frame) to (z, y, x)."""
        geometry = self.source.geometry
        if self.is_canonical or not geometry.is_physical:
            return np.eye(3, 4, dtype=int)
        ijk_to_xyz = np.linalg.inv(geometry.canonical_affine) @ geometry.affine
        return np.asarray(np.rint(ijk_to_xyz[2::-1]), dtype=int)

    def data_index(self, zyx: Sequence[float]) -> tuple[float, ...]:
        """Return the index into the layer's array, frame included, of a canonical voxel (z, y, x)."""
        if self.is_canonical:
            axis = self.source.dropped_axis
            spatial = [float(i) for a, i in enumerate(zyx) if a != axis]
        else:
            spatial = [float(i) for i in self.source.geometry.canonical_to_stored_index(np.asarray(zyx))]
        return (*map(float, self.frame), *spatial)

    def overlay_arguments(self, layer: Layer) -> dict[str, Any]:
        """Return the transforms that make a layer of one frame line up with ``layer``: every one is copied."""
        n_axes = layer.ndim - len(self.frame)
        units = tuple(str(unit) for unit in layer.units[-n_axes:])
        common = {"axis_labels": tuple(layer.axis_labels[-n_axes:]), "units": units}
        if not self.frame:
            return common | {
                "scale": np.array(layer.scale),
                "translate": np.array(layer.translate),
                "rotate": np.array(layer.rotate),
                "shear": np.array(layer.shear),
                "affine": np.array(layer.affine.affine_matrix),
            }
        return common | {"affine": data_to_world(layer)[-n_axes - 1 :, -n_axes - 1 :]}


def layer_of_volume(volume: Volume) -> tuple[np.ndarray, dict[str, Any], str]:
    """Return the layer data tuple (array, arguments, ``"image"``) that shows a scan.

    Volumes become (z, y, x), single slices (rows, columns). With physical size the affine is diagonal (entries
    −spacing, origin −(RAS origin)) in millimetres; pixels stay pixels.
    """
    return source_layer(volume.values, ScanSource.of(volume))


def source_layer(values: np.ndarray, source: ScanSource) -> tuple[np.ndarray, dict[str, Any], str]:
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
    if geometry.is_physical:
        spatial = [a for a in range(3) if a != axis]
        arguments["affine"] = _display_affine(geometry, spatial, n_frame_axes)
        arguments["axis_labels"] = ("t",) * n_frame_axes + tuple(_AXIS_LABELS[a] for a in spatial)
        arguments["units"] = ("pixel",) * n_frame_axes + ("mm",) * len(spatial)
        arguments["metadata"]["affine_ras_mm"] = np.array(geometry.affine)
    return values, arguments


def _display_affine(geometry: Geometry, spatial: list[int], n_frame_axes: int) -> np.ndarray:
    origin_zyx = geometry.canonical_to_world(np.zeros(3))[::-1]
    n = n_frame_axes + len(spatial)
    affine = np.eye(n + 1)
    for row, axis in enumerate(spatial, start=n_frame_axes):
        affine[row, row] = -geometry.spacing[axis]
        affine[row, n] = -origin_zyx[axis]
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
        if not is_rgb and tuple(data.shape[-len(expected) :]) == expected:
            frame = _shown_frame(layer, point, layer.ndim - len(expected))
            return LayerScan(data, source, frame, notes=_own_notes(source, frame))
    return _scan_of_foreign_layer(layer, data, is_rgb, point)


def _own_notes(source: ScanSource, frame: tuple[int, ...]) -> tuple[str, ...]:
    notes = [f"Series: the shown frame ({frame_in_words(frame)}) is used."] if frame else []
    notes.extend(source.notes)
    if source.geometry.is_physical and source.geometry.is_oblique:
        notes.append(
            f"Oblique scan ({source.geometry.obliquity_deg:.0f}°): shown de-obliqued; "
            "positions and exports keep the true orientation."
        )
    return tuple(notes)


def frame_in_words(frame: tuple[int, ...]) -> str:
    """Return the number of a frame as people count, from 1; nothing where a scan has one only."""
    return ", ".join(str(index + 1) for index in frame)


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


def data_to_world(layer: Layer) -> np.ndarray:
    """Return the (n + 1, n + 1) matrix of all of a layer's transforms, built from public calls only."""
    n = layer.ndim
    origin = np.asarray(layer.data_to_world(np.zeros(n)), dtype=float)
    matrix = np.eye(n + 1)
    matrix[:n, n] = origin
    for axis, unit_vector in enumerate(np.eye(n)):
        matrix[:n, axis] = np.asarray(layer.data_to_world(unit_vector), dtype=float) - origin
    return matrix


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
    notes: list[str] = []
    if frame:
        notes.append(f"Series: the shown frame ({frame_in_words(frame)}) is used.")
    if is_rgb:
        notes.append("Colour image: read as grey.")
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
