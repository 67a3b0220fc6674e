"""One DICOM series → `Volume`. Pixels and geometry are decoded by pydicom and highdicom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import highdicom as hd
import numpy as np
import pydicom
from pydicom.config import disable_value_validation
from pydicom.uid import UID

from napari_dinoad.errors import ScanReadError
from napari_dinoad.images.dicom_headers import DAMAGED, GEOMETRY_TAGS, name_of_uid
from napari_dinoad.images.dicom_stack import arrange_slices
from napari_dinoad.images.grey import to_grey
from napari_dinoad.images.resampling import resample_slices
from napari_dinoad.images.volume import Geometry, Volume

if TYPE_CHECKING:
    from pathlib import Path

    from napari_dinoad.images.dicom_series import DicomFrame, DicomSeries
    from napari_dinoad.images.dicom_stack import SliceStack

__all__ = ["read_series"]

_PIXEL_TAGS = (
    *GEOMETRY_TAGS,
    "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "RescaleSlope", "RescaleIntercept", "RescaleType", "ModalityLUTSequence",
    "PresentationLUTShape", "RedPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData", "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData", "PixelData", "FloatPixelData", "DoubleFloatPixelData",
    "ExtendedOffsetTable", "ExtendedOffsetTableLengths",
)  # fmt: skip
"""Tags needed to decode pixels; nothing else is parsed, so no patient tag is."""

_MEASURED_MODALITIES = ("CT", "PT", "NM")
"""Their values are measurements (Hounsfield units, activity): never inverted, however they are shown."""

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
    slices, full_scale = _pixels(stack.frames, series.modality)
    files = tuple(dict.fromkeys(one.path for one in stack.frames))
    notes = list(stack.notes)
    if series.unreadable:
        notes.append(series.told_unreadable)
    if series.copies:
        notes.append(f"{len(series.copies)} files that are copies of others were left out.")
    grid = stack.geometry
    if stack.faults and grid is not None:
        slices, before = resample_slices(slices, stack.offsets)
        notes.append(_resampling_note(stack, slices))
        grid = _padded(grid, slices.shape, before)
    if grid is None:
        geometry = Geometry.of_pixels(slices.shape if len(slices) > 1 else slices.shape[1:])
        stored = slices if len(slices) > 1 else slices[0]
    else:
        geometry, stored = _as_nifti(grid, slices)
    values = np.ascontiguousarray(geometry.to_canonical(stored), dtype=np.float32)
    return Volume(
        values,
        geometry,
        name,
        full_scale=full_scale,
        dicom_files=files,
        notes=tuple(notes),
        display_windows=series.windows,
        is_resampled=bool(stack.faults),
    )


def _refusal(stack: SliceStack) -> str:
    told = "; and ".join(stack.faults)
    if stack.can_resample:
        return (
            f"{told}. Read as if even, positions and sizes would be wrong. {RESAMPLE_HINT}, "
            "or export the series again."
        )
    return (
        f"{told}. This is too uneven to be resampled without inventing tissue. Export the missing slices, or split "
        "the series."
    )


def _resampling_note(stack: SliceStack, slices: np.ndarray) -> str:
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


def _as_nifti(grid: hd.VolumeGeometry, slices: np.ndarray) -> tuple[Geometry, np.ndarray]:
    """Return slices (n, rows, columns) as stored (columns, rows, n), with their affine in RAS.

    The affine is rounded to what NIfTI stores (32 bit; 10⁻⁵ mm at 100 mm), so that it survives export bit by bit.
    """
    turned = grid.permute_spatial_axes([2, 1, 0])
    affine = turned.get_affine("RAS").astype(np.float32).astype(np.float64)
    stored = slices.transpose(2, 1, 0)
    if stored.shape[2] == 1:
        stored = stored[..., 0]
    return Geometry(stored.shape, affine), stored


def _pixels(frames: tuple[DicomFrame, ...], modality: str) -> tuple[np.ndarray, float | None]:
    """Decode frames: (n, rows, columns) float32 after rescale, and the value that means white where there is one."""
    places: dict[Path, list[int]] = {}
    for i, one in enumerate(frames):
        places.setdefault(one.path, []).append(i)
    slices: np.ndarray | None = None
    scales = set()
    for path, indices in places.items():
        decoded, scale = _decode(path, [frames[i].number for i in indices], modality)
        if slices is None:
            slices = np.empty((len(frames), *decoded.shape[1:]), dtype=np.float32)
        slices[indices] = decoded
        scales.add(scale)
    if slices is None:
        raise ScanReadError("a series without images.")
    return slices, scales.pop() if len(scales) == 1 else None


def _decode(path: Path, numbers: list[int], modality: str) -> tuple[np.ndarray, float | None]:
    with disable_value_validation():  # pydicom's warnings about odd values would quote them
        try:
            dataset = pydicom.dcmread(path, specific_tags=list(_PIXEL_TAGS))
            image = hd.Image.from_dataset(dataset, copy=False)
            pixels = image.get_frames(
                numbers,
                dtype=np.float32,
                apply_real_world_transform=False,
                apply_voi_transform=False,
                apply_icc_profile=False,
                apply_presentation_lut=modality not in _MEASURED_MODALITIES,
            )
            full_scale = _full_scale(dataset)
        except (*DAMAGED, RuntimeError) as error:
            raise ScanReadError(f"{path.name}: {_why_undecodable(path, error)}") from None
    return to_grey(pixels) if pixels.ndim == 4 else pixels, full_scale


def _why_undecodable(path: Path, error: BaseException) -> str:
    damaged = f"the pixels are damaged or cut short ({type(error).__name__}). Export the series again."
    if not isinstance(error, RuntimeError):
        return damaged
    try:
        header = pydicom.dcmread(path, specific_tags=[], stop_before_pixels=True)
        syntax = UID(str(header.file_meta.TransferSyntaxUID))
        if not syntax.is_compressed:
            return damaged
    except DAMAGED:
        return damaged
    return (
        f"compressed as {name_of_uid(str(syntax))}, which cannot be decoded here. "
        "Install the decoders: pip install 'napari-dinoad[dicom-codecs]'."
    )


def _full_scale(dataset: Any) -> float | None:
    """Return the value that means white of unsigned pixels that are not rescaled."""
    if (
        "PixelData" not in dataset
        or dataset.get("PixelRepresentation", 0)
        or "ModalityLUTSequence" in dataset
    ):
        return None
    slope, intercept = dataset.get("RescaleSlope") or 1, dataset.get("RescaleIntercept") or 0
    has_functional_groups = "SharedFunctionalGroupsSequence" in dataset
    if float(slope) != 1 or float(intercept) != 0 or has_functional_groups:
        return None
    return float(2 ** int(dataset.BitsStored) - 1)
