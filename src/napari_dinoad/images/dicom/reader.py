"""One DICOM series → `Volume`. Its geometry is highdicom's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import highdicom as hd
import numpy as np

from napari_dinoad.errors import ScanReadError
from napari_dinoad.images.dicom.pixels import decode_frames
from napari_dinoad.images.dicom.resampling import resample_slices
from napari_dinoad.images.dicom.stack import arrange_slices
from napari_dinoad.images.values.colours import colour_type
from napari_dinoad.images.values.grey import COLOUR_AS_GREY
from napari_dinoad.images.volume import DisplayWindow, Geometry, Volume

if TYPE_CHECKING:
    from pathlib import Path

    from napari_dinoad.images.dicom.series import DicomFrame, DicomSeries
    from napari_dinoad.images.dicom.stack import DicomStack

__all__ = ["as_nifti", "read_series"]

_UNUSED_BITS = (
    "Bits beyond those that hold the pixels were set (overlays, as older scanners keep them): left out."
)

_TWO_POLARITIES = (
    "The header contradicts itself: high values are dark (MONOCHROME1), or bright (PresentationLUTShape IDENTITY). "
    "They were read as dark, and turned so that high is bright."
)

_NO_ACTIVITY = (
    "The headers of this PET say no rescale (RescaleSlope): values are as stored, in no known unit."
)

_RESCALED = ("CT", "PT")
"""Modalities whose images all say a rescale, by the standard."""

RESAMPLE_HINT = "Resample it knowingly to an even volume with --resample (read_volume(…, resample=True))"


def read_series(
    series: DicomSeries, name: str, *, frame: int | None = None, resample: bool = False
) -> Volume:
    """Read the pixels of a series.

    Parameters
    ----------
    series : DicomSeries
    name : str
        Of the volume.
    frame : int, optional
        See `arrange_slices`.
    resample : bool
        Make an even volume of uneven or tilted slices, and say so in its notes.

    Returns
    -------
    Volume
        ``geometry.shape`` is (columns, rows, slices): the voxel order that NIfTI files of the series have; (columns,
        rows) for a single image with a place; pixels as `Geometry.of_pixels` without. Values are after rescale.

    Raises
    ------
    ScanReadError
        If the series is no single even scan (and cannot be or was not to be resampled), or cannot be decoded.
    """
    stack = arrange_slices(series, frame)
    if stack.faults and not (resample and stack.can_resample):
        raise ScanReadError(f"{_refusal(stack)} {series.told_unreadable}".rstrip())
    grid = stack.geometry
    slices = _room_for(stack.frames, None if stack.faults else grid)
    full_scale, mirrors, told, colours = _decode(stack.frames, series.modality, slices)
    files = tuple(dict.fromkeys(one.path for one in stack.frames))
    notes = [*stack.notes, *told]
    if series.unreadable:
        notes.append(series.told_unreadable)
    if series.copies:
        notes.append(f"{len(series.copies)} files that are copies of others were left out.")
    if stack.faults and grid is not None:
        slices, before = resample_slices(slices, stack.offsets)
        if colours is not None:
            colours = None
            notes.append(COLOUR_AS_GREY)
        notes.append(_resampling_note(stack, slices))
        grid = _padded(grid, slices.shape, before)
    if grid is None:
        shape = slices.shape if len(slices) > 1 else slices.shape[1:]
        geometry = Geometry.of_pixels(shape, stack.frames[0].pixel_aspect)
        stored = slices if len(slices) > 1 else slices[0]
    else:
        geometry, stored = as_nifti(grid, slices)
    values = np.ascontiguousarray(geometry.to_canonical(stored), dtype=np.float32)
    if colours is not None:
        colours = colours if grid is None else colours.transpose(2, 1, 0, 3)
        colours = np.ascontiguousarray(geometry.colours_to_canonical(colours.reshape(*geometry.shape, 3)))
    return Volume(
        values,
        geometry,
        name,
        full_scale=full_scale,
        dicom_files=files,
        dicom_frames=tuple(one.number for one in stack.frames)
        if series.is_multi_frame and len(files) == 1
        else (),
        notes=tuple(notes),
        display_windows=_mirrored(series.windows, mirrors),
        is_resampled=bool(stack.faults),
        colours=colours,
        patient_parts=series.patient_parts,
    )


def _refusal(stack: DicomStack) -> str:
    told = "; and ".join(stack.faults)
    if stack.can_resample:
        return (
            f"{told}. Read as if even, positions and sizes would be wrong. {RESAMPLE_HINT}, "
            "or export the series again."
        )
    return (
        f"{told}. This is too uneven to be resampled without inventing tissue. Export the missing slices, or "
        "each run of even slices as a series of its own."
    )


def _resampling_note(stack: DicomStack, slices: np.ndarray) -> str:
    grid = stack.geometry
    spacing = grid.spacing_between_slices if grid is not None else 0.0
    return (
        f"Resampled from {len(stack.frames)} slices to {len(slices)} even ones, {spacing:.2f} mm apart, by linear "
        f"interpolation, because of {'; and '.join(stack.faults)}."
    )


def _padded(grid: hd.VolumeGeometry, shape: tuple[int, ...], before: tuple[int, int]) -> hd.VolumeGeometry:
    """Return the grid grown by the rows and columns added around it, with as many slices as there are now."""
    added = [
        (first, now - was - first)
        for first, now, was in zip(before, shape[1:], grid.spatial_shape[1:], strict=True)
    ]
    grown = grid.pad([(0, 0), *added])
    return hd.VolumeGeometry(grown.affine, shape, coordinate_system="PATIENT")


def as_nifti(grid: hd.VolumeGeometry, slices: np.ndarray) -> tuple[Geometry, np.ndarray]:
    """Return slices (n, rows, columns) as stored (columns, rows, n), with their affine in RAS.

    The affine is rounded to what NIfTI stores (32 bit; 10⁻⁵ mm at 100 mm), so that it survives export bit by bit.
    """
    turned = grid.permute_spatial_axes([2, 1, 0])
    affine = turned.get_affine("RAS").astype(np.float32).astype(np.float64)
    stored = slices.transpose(2, 1, 0)
    if stored.shape[2] == 1:
        stored = stored[..., 0]
    return Geometry(stored.shape, affine), stored


def _mirrored(windows: tuple[DisplayWindow, ...], mirrors: set[float | None]) -> tuple[DisplayWindow, ...]:
    """Return the header's windows in the values that were read; none where only some slices were turned."""
    if len(mirrors) != 1:
        return ()
    (mirror,) = mirrors
    if mirror is None:
        return windows
    return tuple(DisplayWindow(one.name, mirror - one.high, mirror - one.low) for one in windows)


def _room_for(frames: tuple[DicomFrame, ...], grid: hd.VolumeGeometry | None) -> np.ndarray:
    """Return room for slices (n, rows, columns) float32; on a grid so that the canonical array is contiguous.

    A large series is then in memory once, not twice while it is turned.
    """
    shape = (len(frames), *frames[0].shape)
    if grid is None:
        return np.empty(shape, dtype=np.float32)
    geometry, _ = as_nifti(grid, np.broadcast_to(np.float32(0), shape))
    stored = geometry.to_stored(np.empty(geometry.canonical_shape, dtype=np.float32))
    return stored.reshape(*stored.shape[:2], -1).transpose(2, 1, 0)


def _decode(
    frames: tuple[DicomFrame, ...], modality: str, slices: np.ndarray
) -> tuple[float | None, set[float | None], list[str], np.ndarray | None]:
    """Decode frames into ``slices`` (n, rows, columns) float32, after rescale.

    Returns
    -------
    full_scale : float, optional
        The value that means white, if any.
    mirrors : set of float or None
        About what slices were turned; see `DecodedFrames`.
    notes : list of str
    colours : numpy.ndarray, optional
        (n, rows, columns, 3) of the slices, where any has colours.
    """
    places: dict[Path, list[int]] = {}
    for i, one in enumerate(frames):
        places.setdefault(one.path, []).append(i)
    padding: np.ndarray | None = None
    scales: set[float | None] = set()
    mirrors: dict[tuple[int, ...], float | None] = {}
    unused_bits = two_polarities = False
    coloured: dict[tuple[int, ...], np.ndarray] = {}
    n_unscaled, is_any_rescaled = 0, modality in _RESCALED
    for path, indices in places.items():
        decoded = decode_frames(path, [frames[i].number for i in indices], modality)
        slices[indices] = decoded.values
        scales.add(decoded.full_scale)
        mirrors[tuple(indices)] = decoded.mirror
        unused_bits |= decoded.has_unused_bits
        two_polarities |= decoded.has_two_polarities
        n_unscaled += decoded.n_unscaled
        is_any_rescaled |= decoded.is_rescaled
        if decoded.colours is not None:
            coloured[tuple(indices)] = decoded.colours
        if decoded.padding is not None:
            padding = np.zeros(slices.shape, dtype=bool) if padding is None else padding
            padding[indices] = decoded.padding
    if is_any_rescaled and 0 < n_unscaled < len(frames):
        raise ScanReadError(
            f"{n_unscaled} of {len(frames)} images say no rescale (RescaleSlope), as the others do: their values "
            "would be on another scale. Export the series again."
        )
    notes = [_UNUSED_BITS] if unused_bits else []
    notes += [_NO_ACTIVITY] if n_unscaled and modality == "PT" else []
    notes += [_TWO_POLARITIES] if two_polarities else []
    if padding is not None:
        notes += _without_bright_padding(slices, padding)
    scale = scales.pop() if len(scales) == 1 else None
    return scale, _turned_alike(slices, mirrors), notes, _colours(coloured, slices)


def _turned_alike(slices: np.ndarray, mirrors: dict[tuple[int, ...], float | None]) -> set[float | None]:
    """Turn slices that were turned about several values, each by its own rescale, about the highest, in place.

    Returns about what they are turned now.
    """
    highest = max((mirror for mirror in mirrors.values() if mirror is not None), default=0.0)
    for indices, mirror in mirrors.items():
        if mirror is not None and mirror != highest:
            slices[list(indices)] += highest - mirror
    return {None if mirror is None else highest for mirror in mirrors.values()}


def _colours(coloured: dict[tuple[int, ...], np.ndarray], slices: np.ndarray) -> np.ndarray | None:
    """Return the colours (n, rows, columns, 3) of slices of which some have any; of the others they are grey."""
    if not coloured:
        return None
    if len(coloured) == 1 and [*range(len(slices))] == [*next(iter(coloured))]:
        return next(iter(coloured.values()))
    kind = colour_type(*(colours.dtype for colours in coloured.values()))
    whole: np.ndarray = np.empty((*slices.shape, 3), dtype=kind)
    whole[...] = slices[..., np.newaxis]
    for indices, colours in coloured.items():
        whole[list(indices)] = colours
    return whole


def _without_bright_padding(slices: np.ndarray, padding: np.ndarray) -> list[str]:
    """Set padding that is brighter than all of the image to its lowest value, in place, and say so.

    Padding that is darker stays as it is: it is surround already, and other programs show it so.
    """
    image = ~padding
    highest = slices.max(where=image, initial=-np.inf)
    if not image.any() or slices.min(where=padding, initial=np.inf) <= highest:
        return []
    lowest = slices.min(where=image, initial=np.inf)
    slices[padding] = lowest
    return [
        f"{np.count_nonzero(padding)} voxels are padding by the header (PixelPaddingValue), brighter than all of the "
        f"image: they were set to its lowest value, {lowest:g}."
    ]
