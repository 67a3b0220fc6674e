"""`Volume` → model inputs, and patch maps back into the volume's slices.

A slice is shown to the model as a radiologist sees it: superior or anterior up, the patient's right on the left
(for images without physical size: as stored). One crop and one intensity range serve a whole volume.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dinoad.errors import ScanReadError, SettingError
from napari_dinoad.images.foreground.body import find_body
from napari_dinoad.images.foreground.field_of_view import find_field_of_view
from napari_dinoad.images.placement import Placement
from napari_dinoad.images.values.intensity import intensity_range

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_dinoad.images.volume import Volume
    from napari_dinoad.settings import PreprocessingSettings

__all__ = [
    "BODY_MARGIN",
    "PreparedScan",
    "SliceStack",
    "counts_across",
    "prepare_planes",
    "prepare_scan",
    "slice_axis",
]

BODY_MARGIN = 0.03
"""Margin around the body, as a share of its longer side."""

_SAMPLED_VOXELS = 32
"""Rows, and columns, of which at least so many tell whether two slices can be alike."""

_AXES = {"axial": 0, "coronal": 1, "sagittal": 2}

_SPACING_TOLERANCE = 1.05
"""The largest spacing must exceed the others by this factor to name the acquired plane."""


def slice_axis(volume: Volume, plane: str) -> int:
    """Return the axis of the canonical array across which slices are taken.

    A 2D scan has only its own plane. ``"acquired"`` is the axis of the largest voxel spacing, or
    axial when the spacing is even; of a stack of pixels that of its images.
    """
    shape = volume.values.shape
    if 1 in shape:
        return shape.index(1)
    if plane != "acquired":
        return _AXES[plane]
    if not volume.geometry.is_physical:
        return 0
    spacing = volume.geometry.spacing
    largest = int(np.argmax(spacing))
    others = [size for axis, size in enumerate(spacing) if axis != largest]
    return largest if spacing[largest] > _SPACING_TOLERANCE * max(others) else 0


@dataclass(frozen=True)
class SliceStack:
    """How slices lie in the canonical array of a scan.

    Attributes
    ----------
    shape : tuple of int
        (z, y, x) of the canonical array.
    axis : int
        Axis of that array across which slices are taken.
    indices : tuple of int
        Slices with enough body to be scored.
    is_turned : bool
        Whether they are shown with rows and columns reversed: superior or anterior up, the patient's right left.
    spacing_mm : float, optional
        From one slice to the next; None where pixels have no physical size.
    """

    shape: tuple[int, int, int]
    axis: int
    indices: tuple[int, ...]
    is_turned: bool
    spacing_mm: float | None = None

    def where(self, indices: Sequence[int]) -> tuple[slice | list[int], ...]:
        """Return the index of these slices in the canonical array."""
        return self._across(list(indices))

    def runs(
        self, indices: Sequence[int]
    ) -> Iterator[tuple[tuple[slice | list[int], ...], tuple[slice | list[int], ...]]]:
        """Yield where each run of neighbouring slices lies, in the canonical array and in a block of these slices.

        Slices across the last axis are written run by run an order of magnitude faster than by a list of places:
        neighbours share the processor's cache lines.

        Parameters
        ----------
        indices : sequence of int
            In the order that they have in the block, each once.
        """
        order = sorted(range(len(indices)), key=indices.__getitem__)
        begin = 0
        for end in range(1, len(order) + 1):
            if end < len(order) and indices[order[end]] == indices[order[end - 1]] + 1:
                continue
            run = order[begin:end]
            first, past = indices[run[0]], indices[run[-1]] + 1
            is_in_order = run == list(range(run[0], run[0] + len(run)))
            yield (
                self._across(slice(first, past)),
                self._across(slice(run[0], run[0] + len(run)) if is_in_order else run),
            )
            begin = end

    def _across(self, place: slice | list[int]) -> tuple[slice | list[int], ...]:
        places: list[slice | list[int]] = [slice(None)] * 3
        places[self.axis] = place
        return tuple(places)

    def to_display(self, block: np.ndarray) -> np.ndarray:
        """Return a block of slices of the canonical array as (n, rows, columns) in display orientation."""
        stack = np.moveaxis(block, self.axis, 0)
        return stack[:, ::-1, ::-1] if self.is_turned else stack

    def from_display(self, stack: np.ndarray) -> np.ndarray:
        """Return slices (n, rows, columns) as a block of the canonical array: the inverse of `to_display`."""
        block = stack[:, ::-1, ::-1] if self.is_turned else stack
        return np.moveaxis(block, 0, self.axis)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values for `from_dict`."""
        return {
            "shape": list(self.shape),
            "axis": self.axis,
            "indices": list(self.indices),
            "is_turned": self.is_turned,
            "spacing_mm": self.spacing_mm,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> SliceStack:
        """Return the stack that `to_dict` described."""
        z, y, x = values["shape"]
        indices, spacing_mm = tuple(values["indices"]), values["spacing_mm"]
        return cls((z, y, x), values["axis"], indices, values["is_turned"], spacing_mm)


@dataclass(frozen=True, eq=False)
class PreparedScan:
    """A scan ready for the backbone.

    Attributes
    ----------
    volume : Volume
    axis : int
        Axis of the canonical array across which slices are taken.
    body : numpy.ndarray
        (z, y, x) bool.
    indices : tuple of int
        Slices with enough body to be scored.
    placement : Placement
        Where the model input lies on each slice.
    intensity : tuple of float, optional
        Values that become 0 and 1; None when each slice has its own.
    percentiles : tuple of float
        Used for slices with a range of their own.
    colour : bool
        Whether model inputs have colours, of a grey scan three equal ones.
    """

    volume: Volume
    axis: int
    body: np.ndarray
    indices: tuple[int, ...]
    placement: Placement
    intensity: tuple[float, float] | None
    percentiles: tuple[float, float]
    colour: bool = False

    def images(self, indices: Sequence[int]) -> np.ndarray:
        """Return model inputs of these slices, float32 in [0, 1]: (n, H, W), or (n, 3, H, W) in colour."""
        if not self.colour:
            return self.grey_images(indices)
        colours = self.volume.colours
        if colours is None:
            return np.stack([self.grey_images(indices)] * 3, axis=1)
        low, span = self._range(self._shown(self.volume.values, indices))
        channels = (self._shown(colours[..., channel], indices).astype(np.float32) for channel in range(3))
        return np.stack([self._input(channel, low, span) for channel in channels], axis=1)

    def grey_images(self, indices: Sequence[int]) -> np.ndarray:
        """Return the grey of these slices (n, H, W) float32 in [0, 1], whatever a model sees of them."""
        slices = self._shown(self.volume.values, indices)
        return self._input(slices, *self._range(slices))

    def _range(self, slices: np.ndarray) -> tuple[Any, Any]:
        """Return the value that becomes 0, and how far above it 1 is: one, or of each slice (n, 1, 1)."""
        if self.intensity is not None:
            low, high = self.intensity
            return low, high - low
        low_high = np.percentile(slices, self.percentiles, axis=(1, 2))[:, :, None, None]
        return low_high[0], np.maximum(low_high[1] - low_high[0], 1e-12)

    def _shown(self, values: np.ndarray, indices: Sequence[int]) -> np.ndarray:
        return self.to_display(np.take(values, indices, axis=self.axis))

    def _input(self, slices: np.ndarray, low: Any, span: Any) -> np.ndarray:
        """Return model inputs (n, H, W) of slices (n, rows, columns) by the range of their intensities."""
        scaled = (slices - low) / span
        np.clip(scaled, 0.0, 1.0, out=scaled)
        return self.placement.to_model(scaled)

    def contents(self, indices: Sequence[int]) -> list[bytes]:
        """Return what tells each of these slices from others by its voxels: alike ones give the same model input.

        A SHA-256 digest: of some voxels, and where another slice of the scan has the same there, of all of them.
        """
        slices, samples = self._told_apart_by, self._samples
        n_alike = self._n_alike
        return [
            samples[index] if n_alike[samples[index]] == 1 else samples[index] + _digest(slices[index])
            for index in indices
        ]

    @property
    def _told_apart_by(self) -> np.ndarray:
        """The slices (n, rows, columns), or (n, rows, columns, 3) in colour."""
        colours = self.volume.colours if self.colour else None
        return np.moveaxis(self.volume.values if colours is None else colours, self.axis, 0)

    @cached_property
    def _samples(self) -> list[bytes]:
        slices = self._told_apart_by
        row_step, column_step = (max(1, size // _SAMPLED_VOXELS) for size in slices.shape[1:3])
        return [_digest(image[::row_step, ::column_step]) for image in slices]

    @cached_property
    def _n_alike(self) -> Counter[bytes]:
        return Counter(self._samples)

    def body_slices(self, indices: Sequence[int]) -> np.ndarray:
        """Return the body (n, rows, columns) bool on these slices, in display orientation."""
        return self.to_display(np.take(self.body, indices, axis=self.axis))

    def maps_to_slices(self, patch_maps: np.ndarray) -> np.ndarray:
        """Return patch maps (n, gh, gw) on the slices' own voxels (n, rows, columns), in display orientation."""
        return self.placement.to_slice(patch_maps)

    @property
    def stack(self) -> SliceStack:
        """How its slices lie in the canonical array."""
        z, y, x = self.volume.values.shape
        geometry = self.volume.geometry
        spacing_mm = float(geometry.spacing[self.axis]) if geometry.is_physical else None
        return SliceStack((z, y, x), self.axis, self.indices, geometry.is_physical, spacing_mm)

    def to_display(self, block: np.ndarray) -> np.ndarray:
        """Return a block of slices of the canonical array as (n, rows, columns); see `SliceStack.to_display`."""
        return self.stack.to_display(block)

    def from_display(self, stack: np.ndarray) -> np.ndarray:
        """Return slices (n, rows, columns) as a block of the canonical array: the inverse of `to_display`."""
        return self.stack.from_display(stack)


def _digest(values: np.ndarray) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(values).data).digest()


def prepare_scan(volume: Volume, settings: PreprocessingSettings, resolution_px: int) -> PreparedScan:
    """Prepare a scan for the only plane, or the first, of the settings; see `prepare_planes`."""
    return prepare_planes(volume, replace(settings, plane=settings.planes[0]), resolution_px)[0]


def prepare_planes(
    volume: Volume, settings: PreprocessingSettings, resolution_px: int
) -> tuple[PreparedScan, ...]:
    """Find the body, the intensity range and, for each plane of the settings, the crop of a scan.

    Parameters
    ----------
    volume : Volume
    settings : PreprocessingSettings
    resolution_px : int
        Side of the model input where ``settings.resolution_px`` is None.

    Raises
    ------
    ScanReadError
        If the scan has a value that is NaN or infinite, no usable intensity range or no slice with body.
    SettingError
        If the intensity or plane setting does not suit the scan.
    """
    _require_finite(volume)
    if len(settings.planes) > 1 and 1 in volume.values.shape:
        raise SettingError(
            f"{volume.name}: plane {settings.plane!r}: expected a volume, got a single slice. "
            "Use the plane 'acquired'."
        )
    body = _body(volume, settings)
    try:
        intensity = intensity_range(volume, body, settings)
    except SettingError as error:
        raise SettingError(f"{volume.name}: {error}") from error
    resolution_px = settings.resolution_px or resolution_px
    return tuple(
        _prepare_plane(volume, body, intensity, settings, slice_axis(volume, plane), resolution_px)
        for plane in settings.planes
    )


def _body(volume: Volume, settings: PreprocessingSettings) -> np.ndarray:
    """Return what is scored of a scan (z, y, x) bool."""
    if settings.body_mask == "automatic":
        return _of_patient(find_body(volume.values, is_ct=settings.intensity == "window"), volume)
    if settings.body_mask == "field-of-view":
        colours = volume.colours if settings.colour else None
        pixels = volume.values if colours is None else colours
        return _of_patient(find_field_of_view(pixels, slice_axis(volume, "acquired")), volume)
    return np.ones(volume.values.shape, dtype=bool)


def _of_patient(body: np.ndarray, volume: Volume) -> np.ndarray:
    """Return the part of a body (z, y, x) bool that shows the patient by the header; all where none would be left."""
    if not volume.patient_parts:
        return body
    parts = np.zeros(body.shape, dtype=bool)
    for rows, columns in volume.patient_parts:
        parts[:, rows, columns] = True
    parts &= body
    return parts if parts.any() else body


def _require_finite(volume: Volume) -> None:
    """Refuse a scan with NaN or infinity, which readers replace; one made by hand may have them."""
    # The sum is finite exactly when no value is NaN or infinite (or absurdly large): one fast pass.
    with np.errstate(over="ignore", invalid="ignore"):
        total = volume.values.sum()
    if not np.isfinite(total) and not np.isfinite(volume.values).all():
        n_bad = int(np.count_nonzero(~np.isfinite(volume.values)))
        raise ScanReadError(
            f"{volume.name}: expected finite values, got NaN or infinity in {n_bad} voxels. "
            "Read the scan with read_volume, which replaces them by its lowest value, or replace them."
        )


def _prepare_plane(
    volume: Volume,
    body: np.ndarray,
    intensity: tuple[float, float] | None,
    settings: PreprocessingSettings,
    axis: int,
    resolution_px: int,
) -> PreparedScan:
    counts = counts_across(body, axis)
    indices = tuple(int(i) for i in np.flatnonzero(counts > settings.min_body_fraction * counts.max()))
    if not indices:
        raise ScanReadError(f"{volume.name}: no body was found in any slice.")
    placement = _placement(volume, body, axis, resolution_px)
    return PreparedScan(
        volume, axis, body, indices, placement, intensity, settings.percentiles, settings.colour
    )


def counts_across(body: np.ndarray, axis: int) -> np.ndarray:
    """Return how many voxels of a body (z, y, x) bool each slice across an axis has: (n,) int."""
    if axis == 0:
        return np.array([np.count_nonzero(image) for image in body])
    # NumPy's own count along axes takes four times as long.
    return np.asarray(body.sum(axis=0, dtype=np.uint32).sum(axis=2 - axis, dtype=np.int64))


def _placement(volume: Volume, body: np.ndarray, axis: int, resolution_px: int) -> Placement:
    spacing = tuple(s for a, s in enumerate(volume.geometry.spacing) if a != axis)
    shadow: np.ndarray = np.asarray(body.any(axis=axis))
    rows, columns = shadow.shape
    if volume.geometry.is_physical:
        shadow = shadow[::-1, ::-1]
    box = (_extent(shadow, 1), _extent(shadow, 0))
    margin = 0.0 if shadow.all() else BODY_MARGIN
    return Placement.around((rows, columns), (spacing[0], spacing[1]), box, resolution_px, margin)


def _extent(shadow: np.ndarray, across: int) -> tuple[int, int]:
    where = np.flatnonzero(shadow.sum(axis=across))
    return int(where[0]), int(where[-1]) + 1
