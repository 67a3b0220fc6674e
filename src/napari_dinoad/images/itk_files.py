"""NRRD and MetaImage files → `Volume`, by SimpleITK (the extra ``itk``)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dinoad.errors import ScanReadError
from napari_dinoad.files import stem_of
from napari_dinoad.images.damage import naming
from napari_dinoad.images.grey import FULL_SCALE, to_grey
from napari_dinoad.images.volume import Geometry, Volume

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["itk_shape", "read_itk"]

_META_HEADER_BYTES = 65_536
"""More than the text at the beginning of a MetaImage takes."""

_POSSIBLE_AXES = (b"1", b"2", b"3", b"4", b"5")


def itk_shape(path: Path) -> tuple[tuple[int, ...], tuple[float, ...], int]:
    """Return shape (i, j, k), spacing in millimetres and number of frames from the header only."""
    with naming(path, _format_of(path)):
        return _shape(_open(path))


def read_itk(path: Path, frame: int | None = None) -> Volume:
    """Read a NRRD or MetaImage file; see `napari_dinoad.images.readers.read_volume`."""
    with naming(path, _format_of(path)):
        return _read(path, frame)


def _shape(reader: Any) -> tuple[tuple[int, ...], tuple[float, ...], int]:
    size, spacing = reader.GetSize(), reader.GetSpacing()
    is_colour = _is_colour(reader)
    n_frames = int(np.prod(size[3:], dtype=int)) * (1 if is_colour else reader.GetNumberOfComponents())
    return tuple(size[:3]), tuple(spacing[:3]), n_frames


def _read(path: Path, frame: int | None) -> Volume:
    reader = _open(path)
    import highdicom as hd
    import SimpleITK as sitk

    shape, _, n_frames = _shape(reader)
    if n_frames > 1 and frame is None:
        raise ScanReadError(
            f"{path}: a series of {n_frames} frames; expected one scan. Choose one frame with --frame."
        )
    if frame is not None and not 0 <= frame < n_frames:
        raise ScanReadError(f"{path}: frame: expected 0 to {n_frames - 1}, got {frame}.")
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise ScanReadError(f"{path}: the file is damaged or cut short. Export it again.") from error
    notes = [] if n_frames == 1 else [f"Frame {frame} of {n_frames}, counted from 0."]
    array = sitk.GetArrayFromImage(image)  # (frames …, k, j, i, components)
    full_scale = FULL_SCALE.get(array.dtype)
    if _is_colour(reader):
        array = to_grey(array)
        notes.append("Colour was read as grey.")
    elif reader.GetNumberOfComponents() > 1:
        array = np.moveaxis(array, -1, 0)
    stored = array.reshape(n_frames, *reversed(shape))[frame or 0].T.astype(np.float32)
    if len(shape) == 2:
        geometry = Geometry.of_pixels((shape[1], shape[0]))
        notes.append("A 2D image without orientation: sizes are in pixels.")
        return Volume(
            geometry.to_canonical(stored.T), geometry, stem_of(path), None, full_scale, notes=tuple(notes)
        )
    space = image[:, :, :, 0] if image.GetDimension() == 4 else image
    empty = sitk.Image(list(shape), sitk.sitkUInt8)
    empty.CopyInformation(space)
    affine = hd.Volume.from_simpleitk(empty).get_affine("RAS").astype(np.float32).astype(np.float64)
    geometry = Geometry(shape, affine)
    values = np.ascontiguousarray(geometry.to_canonical(stored))
    return Volume(values, geometry, stem_of(path), None, full_scale, notes=tuple(notes))


def _open(path: Path) -> Any:
    """Return a SimpleITK reader that has read the header."""
    try:
        import SimpleITK as sitk
    except ImportError as error:
        raise ScanReadError(
            f"{path}: reading {path.suffix} needs SimpleITK. Install it: pip install 'napari-dinoad[itk]'."
        ) from error
    if not _counts_its_axes(path):
        raise ScanReadError(
            f"{path}: not a readable {_format_of(path)} (NDims). Export or download it again."
        )
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise ScanReadError(
            f"{path}: not a readable {_format_of(path)}. Export or download it again."
        ) from error
    if not 2 <= reader.GetDimension() <= 4:
        raise ScanReadError(f"{path}: expected a 2D to 4D scan, got {reader.GetDimension()} axes.")
    return reader


def _counts_its_axes(path: Path) -> bool:
    """Whether a MetaImage names a possible number of axes: with another one ITK ends the whole process."""
    if path.suffix.lower() not in (".mha", ".mhd"):
        return True
    with path.open("rb") as stream:
        named = re.findall(rb"(?m)^[ \t]*NDims[ \t]*[=:]?([^\r\n]*)", stream.read(_META_HEADER_BYTES))
    return all(number.strip() in _POSSIBLE_AXES for number in named)


def _format_of(path: Path) -> str:
    return f"{path.suffix} file"


def _is_colour(reader: Any) -> bool:
    import SimpleITK as sitk

    return reader.GetNumberOfComponents() in (3, 4) and reader.GetPixelID() == sitk.sitkVectorUInt8
