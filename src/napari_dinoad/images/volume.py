"""`Volume` and `Geometry`: an array and its place in the patient travel together.

Inside the package a 3D array is (z, y, x) of the *nearest canonical orientation*: z grows towards superior,
y towards anterior, x towards the patient's right (the voxel axes of RAS+, read backwards).
`Geometry` remembers how the scan was stored and turns arrays there and back exactly (no interpolation).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from operator import index
from typing import TYPE_CHECKING, Any

import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.orientations import (
    apply_orientation,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)

from napari_dinoad.errors import GeometryError, SettingError
from napari_dinoad.given_arrays import require_array
from napari_dinoad.images.values.grey import COLOUR_AS_GREY

if TYPE_CHECKING:
    from pathlib import Path

_AFFINE_DECIMALS = 4
"""Of millimetres; headers of other formats round on their own."""

__all__ = ["OBLIQUE_TOLERANCE_DEG", "DisplayWindow", "Geometry", "Volume", "require_volume"]

OBLIQUE_TOLERANCE_DEG = 0.5
"""A scan whose axes are farther than this from the patient's axes is called oblique."""

_RAS = np.array([[0, 1], [1, 1], [2, 1]], dtype=float)


_LARGEST_VOXEL_MM = 1e4
"""No voxel of a scan is longer than ten metres."""


@dataclass(frozen=True, eq=False)
class Geometry:
    """The voxel grid on which a scan is stored.

    Attributes
    ----------
    shape : tuple of int
        Shape as stored: (i, j, k) for volumes (further axes of length 1 are kept), (i, j) for 2D scans with an
        affine; without physical size (rows, columns) for an image and (n, rows, columns) for a stack of images.
    affine : numpy.ndarray
        (4, 4) float64; stored voxel index → RAS+ millimetres. For images without physical size the identity.
    is_physical : bool
        False for pixels without physical size (PNG, JPEG): nothing then speaks of millimetres.
    pixel_aspect : float
        Height over width of such a pixel.

    Raises
    ------
    GeometryError
        If the shape is not 2D or 3D, or the affine is singular, not finite or of impossibly large voxels.
    """

    shape: tuple[int, ...]
    affine: np.ndarray
    is_physical: bool = True
    pixel_aspect: float = 1.0

    def __post_init__(self) -> None:
        try:
            given = np.asarray(self.affine)
            affine = np.array(given if given.dtype.kind in "biufO" else None, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise GeometryError(f"Affine: expected a finite (4, 4) matrix, got {self.affine!r}.") from error
        affine.setflags(write=False)
        object.__setattr__(self, "affine", affine)
        try:
            object.__setattr__(self, "shape", tuple(index(n) for n in self.shape))
        except TypeError as error:
            raise GeometryError(f"Grid: expected a shape of whole numbers, got {self.shape!r}.") from error
        if len(self.shape) < 2 or min(self.shape) < 1 or any(n > 1 for n in self.shape[3:]):
            raise GeometryError(f"Grid: expected a 2D or 3D shape without empty axes, got {self.shape}.")
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise GeometryError(f"Affine: expected a finite (4, 4) matrix, got {affine.tolist()}.")
        if abs(np.linalg.det(affine[:3, :3])) < 1e-12 or np.isnan(io_orientation(affine)).any():
            raise GeometryError(
                f"Affine: expected an invertible matrix, got {affine[:3, :3].tolist()}; the scan's header "
                "gives no usable orientation. Repair it (for instance with nifti_tool or 3D Slicer)."
            )
        if self.is_physical and voxel_sizes(affine).max() > _LARGEST_VOXEL_MM:
            sizes = " × ".join(f"{size:.3g}" for size in voxel_sizes(affine))
            raise GeometryError(
                f"Affine: expected voxels of at most {_LARGEST_VOXEL_MM:g} mm, got {sizes}; the scan's header is "
                "damaged, or in another unit. Repair it (for instance with nifti_tool or 3D Slicer)."
            )

    @classmethod
    def of_pixels(cls, shape: tuple[int, ...], aspect: float = 1.0) -> Geometry:
        """Return the grid of an image (rows, columns) or a stack (n, rows, columns) without physical size."""
        return cls(shape, np.eye(4), is_physical=False, pixel_aspect=aspect)

    @property
    def ndim(self) -> int:
        """Number of spatial axes as stored, 2 or 3."""
        return min(len(self.shape), 3)

    @cached_property
    def _orientation(self) -> np.ndarray:
        return np.asarray(io_orientation(self.affine))

    @property
    def _shape3(self) -> tuple[int, int, int]:
        i, j, *rest = self.shape
        return (i, j, rest[0] if rest else 1)

    @cached_property
    def canonical_shape(self) -> tuple[int, int, int]:
        """Shape (z, y, x) of the array inside the package."""
        if not self.is_physical:
            return (self.shape[0] if self.ndim == 3 else 1, self.shape[-2], self.shape[-1])
        xyz = [0, 0, 0]
        for stored_axis, (axis, _) in enumerate(self._orientation):
            xyz[int(axis)] = self._shape3[stored_axis]
        return (xyz[2], xyz[1], xyz[0])

    @cached_property
    def canonical_affine(self) -> np.ndarray:
        """(4, 4) affine from the canonical voxel index (x, y, z) to RAS+ millimetres."""
        if not self.is_physical:
            return np.eye(4)
        return np.asarray(self.affine @ inv_ornt_aff(self._orientation, self._shape3))

    @cached_property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size along (z, y, x) of the canonical array: millimetres; of pixels in widths of one."""
        if not self.is_physical:
            return (1.0, self.pixel_aspect, 1.0)
        x, y, z = voxel_sizes(self.canonical_affine)
        return (float(z), float(y), float(x))

    @cached_property
    def voxel_volume(self) -> float:
        """Volume of a voxel in mm³ (2D scans: area in mm²; images without physical size: 1 pixel)."""
        if not self.is_physical:
            return 1.0
        if self.ndim == 2:
            i, j, _ = voxel_sizes(self.affine)
            return float(i * j)
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @property
    def unit(self) -> str:
        """``"mm"`` or ``"pixel"``."""
        return "mm" if self.is_physical else "pixel"

    @cached_property
    def obliquity_deg(self) -> float:
        """Largest angle in degrees between a stored axis and the nearest axis of the patient."""
        directions = self.canonical_affine[:3, :3] / voxel_sizes(self.canonical_affine)
        cosines = np.clip(np.abs(np.diag(directions)), 0.0, 1.0)
        return float(np.degrees(np.arccos(cosines)).max())

    @property
    def is_oblique(self) -> bool:
        """Whether the scan's axes are turned against the patient's by more than `OBLIQUE_TOLERANCE_DEG`."""
        return self.obliquity_deg > OBLIQUE_TOLERANCE_DEG

    def to_canonical(self, stored: np.ndarray) -> np.ndarray:
        """Return the stored array as (z, y, x) of the nearest canonical orientation; a view where possible."""
        if stored.shape != self.shape:
            raise GeometryError(f"Array: expected the grid's shape {self.shape}, got {stored.shape}.")
        if not self.is_physical:
            return stored if self.ndim == 3 else stored[np.newaxis]
        xyz = apply_orientation(stored.reshape(self._shape3), self._orientation)
        return np.asarray(xyz).transpose(2, 1, 0)

    def colours_to_canonical(self, stored: np.ndarray) -> np.ndarray:
        """Return stored colours (…, 3) as (z, y, x, 3), each pixel where `to_canonical` has its value; a view."""
        if stored.shape != (*self.shape, 3):
            raise GeometryError(f"Colours: expected the shape {(*self.shape, 3)}, got {stored.shape}.")
        if not self.is_physical:
            return stored if self.ndim == 3 else stored[np.newaxis]
        xyz = apply_orientation(stored.reshape(*self._shape3, 3), self._orientation)
        return np.asarray(xyz).transpose(2, 1, 0, 3)

    def to_stored(self, canonical: np.ndarray) -> np.ndarray:
        """Return a canonical (z, y, x) array as it lies in the file: the exact inverse of `to_canonical`."""
        if canonical.shape != self.canonical_shape:
            raise GeometryError(
                f"Array: expected the canonical shape {self.canonical_shape}, got {canonical.shape}."
            )
        if not self.is_physical:
            return np.asarray(canonical.reshape(self.shape))
        back = ornt_transform(_RAS, self._orientation)
        stored: np.ndarray = np.asarray(apply_orientation(canonical.transpose(2, 1, 0), back))
        return np.asarray(stored.reshape(self.shape))

    def canonical_to_stored_index(self, zyx: np.ndarray) -> np.ndarray:
        """Return stored voxel indices (…, ndim) of canonical indices (…, 3)."""
        zyx = np.asarray(zyx, dtype=float)
        if not self.is_physical:
            return zyx[..., -self.ndim :]
        to_stored = inv_ornt_aff(self._orientation, self._shape3)
        ijk = zyx[..., ::-1] @ to_stored[:3, :3].T + to_stored[:3, 3]
        return np.asarray(ijk[..., : self.ndim])

    def canonical_to_world(self, zyx: np.ndarray) -> np.ndarray:
        """Return RAS+ positions (…, 3) in millimetres of canonical indices (…, 3)."""
        xyz = np.asarray(zyx, dtype=float)[..., ::-1]
        return np.asarray(xyz @ self.canonical_affine[:3, :3].T + self.canonical_affine[:3, 3])

    def matches(self, other: Geometry) -> bool:
        """Whether both are the very same stored grid (same shape, bit-identical affine)."""
        return (
            self.shape == other.shape
            and self.is_physical == other.is_physical
            and np.array_equal(self.affine, other.affine)
        )


@dataclass(frozen=True)
class DisplayWindow:
    """A range of values that the scanner or the radiographer chose for looking at a scan.

    Attributes
    ----------
    name : str
        What the header calls it, or ``"Window 1"``, ….
    low, high : float
        Values shown black and white, in the scan's own units.
    """

    name: str
    low: float
    high: float


@dataclass(frozen=True, eq=False, repr=False)
class Volume:
    """A scan in memory: 3D, or 2D as a single slice.

    Attributes
    ----------
    values : numpy.ndarray
        (z, y, x) float32 in canonical orientation, in the scan's own units (Hounsfield units for CT).
    geometry : Geometry
        The grid on which the scan is stored.
    name : str
        File name without its endings; names outputs, never written into a model.
    header : object, optional
        The format's own header (`nibabel.Nifti1Header`), to give outputs the same description of space.
    full_scale : float, optional
        The value that means white when the scan was stored as unsigned 8 or 16 bit (255 or 65535; of 12 bits in a
        picture or DICOM file 4095), else None.
    dicom_files : tuple of Path, optional
        The DICOM files that the values come from, in the order of the stored slices (the last axis of
        ``geometry.shape``); one file when it holds all slices. None for other formats.
    dicom_frames : tuple of int
        Where all slices come from one multi-frame DICOM file: their numbers in it, from 1, in the order of the stored
        slices.
    notes : tuple of str
        What was assumed, chosen or resampled on reading, a sentence each, for the user and the report. They hold no
        patient tag and no path.
    display_windows : tuple of DisplayWindow
        The window presets of the header.
    is_resampled : bool
        Whether ``geometry`` is an even grid made from uneven or tilted slices, and not that of ``dicom_files``.
    colours : numpy.ndarray, optional
        (z, y, x, 3) red, green and blue of a picture in colour, of which ``values`` are the grey, and in the same
        units: uint8, uint16 or float32. None where there are none, or all channels are equal.
    patient_parts : tuple of (slice, slice)
        Rows and columns, of all slices alike, that show the patient by the header of a picture of ultrasound; what
        lies beside them is text and scales. Empty where the header does not say.

    Raises
    ------
    GeometryError
        If the values are no array of real numbers, or some are masked, or the geometry is no `Geometry`, or values or
        colours are not of its `Geometry.canonical_shape`.
    """

    values: np.ndarray
    geometry: Geometry
    name: str = "scan"
    header: Any = None
    full_scale: float | None = None
    dicom_files: tuple[Path, ...] | None = None
    dicom_frames: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    display_windows: tuple[DisplayWindow, ...] = ()
    is_resampled: bool = False
    colours: np.ndarray | None = None
    patient_parts: tuple[tuple[slice, slice], ...] = ()

    def __post_init__(self) -> None:
        require_array("Volume", self.values, GeometryError)
        if not isinstance(self.geometry, Geometry):
            raise GeometryError(
                f"Volume: expected a Geometry, got {type(self.geometry).__name__}. Give Geometry(shape, affine)."
            )
        if self.values.shape != self.geometry.canonical_shape:
            raise GeometryError(
                f"Volume: expected values of shape {self.geometry.canonical_shape}, got {self.values.shape}."
            )
        if self.colours is not None:
            require_array("Volume's colours", self.colours, GeometryError)
        if self.colours is not None and (
            self.colours.shape != (*self.values.shape, 3) or self.colours.dtype.kind not in "uf"
        ):
            raise GeometryError(
                f"Volume: expected colours of shape {(*self.values.shape, 3)}, uint8, uint16 or float32, got "
                f"{self.colours.shape}, {self.colours.dtype}."
            )

    def __repr__(self) -> str:
        spacing = " × ".join(f"{step:.4g}" for step in self.geometry.spacing)
        size = f"{spacing} mm" if self.geometry.is_physical else "pixels"
        return f"<Volume {self.name!r}: (z, y, x) {self.values.shape}, {size}>"

    @property
    def is_2d(self) -> bool:
        """Whether the scan is a single slice."""
        return 1 in self.values.shape

    def content_sha256(self, in_colour: bool = False) -> str:
        """Return a SHA-256 (hex) of the voxels and where they lie: the same in every format and orientation.

        Parameters
        ----------
        in_colour : bool
            Whether pictures of the same grey in other colours count as others.
        """
        affine = np.round(self.geometry.canonical_affine, _AFFINE_DECIMALS) + 0.0  # no −0
        place = (self.values.shape, affine.tolist(), self.full_scale)
        aspect = self.geometry.pixel_aspect
        more = (*(() if aspect == 1 else (aspect,)), *self.patient_parts)
        digest = hashlib.sha256(repr((*place, *more)).encode())
        for part in (self.values, self.colours if in_colour else None):
            for plane in () if part is None else part:
                # Plane by plane: of what is turned or mirrored in memory no second copy is made.
                digest.update(np.ascontiguousarray(plane, dtype=np.float32).data)
        return digest.hexdigest()

    def seen(self, in_colour: bool) -> Volume:
        """Return the scan as a model sees it: with a note where it has colours, and the model sees them as grey."""
        if in_colour or self.colours is None or COLOUR_AS_GREY in self.notes:
            return self
        return replace(self, notes=(*self.notes, COLOUR_AS_GREY))


def require_volume(scan: object) -> None:
    """Raise `SettingError` unless it is a scan in memory."""
    if not isinstance(scan, Volume):
        raise SettingError(
            f"scan: expected a Volume, got {type(scan).__name__}. Read a file with read_volume(path)."
        )
