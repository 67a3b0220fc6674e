"""A scan as a layer of napari holds it: where its array comes from, and how its axes become the canonical ones."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dinoad.errors import ScanReadError
from napari_dinoad.images.values.colours import are_coloured, colour_type, with_finite_colours
from napari_dinoad.images.values.grey import to_grey, white_of_picture
from napari_dinoad.images.values.intensity import with_finite_values

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from napari.layers import Layer

    from napari_dinoad.images.volume import DisplayWindow, Geometry, Volume

__all__ = [
    "METADATA_KEY",
    "PATH_KEY",
    "LayerScan",
    "ScanSource",
    "data_to_world",
    "frame_in_words",
    "frames_in_words",
    "identity_of",
    "path_of_layer",
    "shown_colours",
]

METADATA_KEY = "dinoad"
"""Key in ``layer.metadata`` under which a `ScanSource` rides."""

PATH_KEY = "dinoad_path"
"""Key in ``layer.metadata`` of the file or folder that a scan was read from."""


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
    dicom_files, dicom_frames, notes, display_windows, is_resampled, patient_parts
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
    patient_parts: tuple[tuple[slice, slice], ...] = ()

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


def shown_colours(volume: Volume) -> np.ndarray | None:
    """Return the colours (z, y, x, 3) of a scan as napari shows them: 8 bits, or float32 of which 1 is white.

    None of a scan without colours, and where it is not known what is white: such a scan is shown, and found in, as
    grey.
    """
    colours = volume.colours
    if colours is None or colours.dtype == np.uint8:
        return colours
    if volume.full_scale is not None:
        return np.asarray(colours / np.float32(volume.full_scale))
    return colours if colours.min() >= 0 and colours.max() <= 1 else None


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

    def volume(self, known: Sequence[Volume] = ()) -> Volume:
        """Read the array and return it as a scan that names and notes its frame; slow for lazily loaded layers.

        It has an array of its own, which later changes to the layer's do not reach: that of one of the ``known``
        scans where it holds the same values, so that they are in memory once.

        Raises
        ------
        ScanReadError
            If every voxel has the same value.
        """
        array = np.asarray(self.data[self.frame] if self.frame else self.data)
        stored, colours = array, None
        if self.is_rgb:
            stored = self.in_units_of_scan(array[..., :3])
            colours = stored if are_coloured(stored) else None
            array = to_grey(stored)
        note, held = "", _held(known, self.to_canonical(array))
        try:
            if held is None:
                array, note = with_finite_values(array.astype(np.float32))
        except ScanReadError as error:
            raise ScanReadError(f"Layer {self.source.name!r}: {error}") from error
        low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
        if low == high:
            raise ScanReadError(f"Layer {self.source.name!r}: no signal: every voxel has the same value.")
        values = np.ascontiguousarray(self.to_canonical(array)) if held is None else held
        volume = self.source.with_values(values)
        if colours is not None:
            finite = with_finite_colours(colours, low)
            volume = replace(volume, colours=self.colours_to_canonical(finite).copy(order="C"))
        if not self.is_canonical:
            if self.is_rgb:
                low, high = float(np.nanmin(stored)), float(np.nanmax(stored))
            volume = replace(volume, full_scale=white_of_picture(stored.dtype, low, high))
        more = []
        if self.frame:
            # Outputs are named so: those of one frame must not replace those of another.
            number = "-".join(map(str, self.frame))
            volume = replace(volume, name=f"{volume.name}_frame{number}")
            n_frames = frames_in_words(self.data, self.frame)
            more = [f"Frame {frame_in_words(self.frame)} of {n_frames}, counted from 0."]
        return replace(volume, notes=(*volume.notes, *more, *filter(None, [note])))

    def in_units_of_scan(self, colours: np.ndarray) -> np.ndarray:
        """Return a layer's colours (…, 3) as they are kept of a scan: those of `shown_colours` as stored."""
        kind = colour_type(colours.dtype)
        white = self.source.full_scale if self.is_canonical else None
        if kind != np.float32 or white is None:
            return np.asarray(colours.astype(kind, copy=False))
        return np.rint(colours * np.float32(white)).astype(np.uint16)

    def colours_to_canonical(self, colours: np.ndarray) -> np.ndarray:
        """Return colours (…, 3) that lie like the layer (of one frame) as canonical (z, y, x, 3); a view."""
        if not self.is_canonical:
            return self.source.geometry.colours_to_canonical(colours)
        axis = self.source.dropped_axis
        return colours if axis is None else np.expand_dims(colours, axis)

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


def _held(known: Sequence[Volume], values: np.ndarray) -> np.ndarray | None:
    """Return the array of a known scan that has these canonical values; None where none has."""
    arrays = (volume.values for volume in known)
    return next((array for array in arrays if np.array_equal(array, values)), None)


def data_to_world(layer: Layer) -> np.ndarray:
    """Return the (n + 1, n + 1) matrix of all of a layer's transforms, built from public calls only."""
    n = layer.ndim
    origin = np.asarray(layer.data_to_world(np.zeros(n)), dtype=float)
    matrix = np.eye(n + 1)
    matrix[:n, n] = origin
    for axis, unit_vector in enumerate(np.eye(n)):
        matrix[:n, axis] = np.asarray(layer.data_to_world(unit_vector), dtype=float) - origin
    return matrix


def path_of_layer(layer: Layer) -> Path | None:
    """Return the file or folder that a layer was read from, as far as that is known."""
    path = layer.metadata.get(PATH_KEY) or layer.source.path
    return None if path is None else Path(path)


def identity_of(layer: Layer) -> Hashable:
    """Return what tells a layer's scan from others, where that is known also after it was closed and opened again."""
    source = layer.metadata.get(METADATA_KEY)
    files = source.dicom_files if isinstance(source, ScanSource) else None
    return files or path_of_layer(layer) or layer.unique_id


def frame_in_words(frame: tuple[int, ...]) -> str:
    """Return the number of a frame, from 0 as on napari's slider and by ``--frame``; nothing of a single volume."""
    return ", ".join(map(str, frame))


def frames_in_words(data: Any, frame: tuple[int, ...]) -> str:
    """Return how many frames a layer's array has of which this is one: ``"60"``, ``"60 × 3"``."""
    return " × ".join(str(int(n)) for n in data.shape[: len(frame)])
