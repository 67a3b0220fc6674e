"""NRRD and MetaImage files → `Volume`, by SimpleITK (the extra ``itk``)."""

from __future__ import annotations

import re
import zlib
from gzip import BadGzipFile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dinoad.errors import ScanReadError
from napari_dinoad.images.damage import RENAME_DICOM, is_dicom_inside, naming
from napari_dinoad.images.frame_choice import require_frame
from napari_dinoad.images.itk.decimal_points import decimal_points
from napari_dinoad.images.itk.soundness import (
    SurplusBytesError,
    require_sound_header,
    require_whole_voxels,
    stored_checksum,
)
from napari_dinoad.images.values.colours import grey_and_colours
from napari_dinoad.images.values.grey import FULL_SCALE
from napari_dinoad.images.volume import Geometry, Volume
from napari_dinoad.machine.file_names import stem_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["itk_shape", "read_itk", "read_itk_frames"]

_HEADER_BYTES = 65_536
"""More than the text at the beginning of a MetaImage or NRRD takes."""

_NRRD_SUFFIXES = (".nrrd", ".nhdr")

_DETACHED_SUFFIXES = (".nhdr", ".mhd")
"""Headers that name another file for the voxels."""

_SPACES = frozenset(
    f"{name}{time}"
    for names, times in (
        (("left-posterior-superior", "right-anterior-superior", "left-anterior-superior"), ("", "-time")),
        (("lps", "ras", "las"), ("", "t")),
    )
    for name in names
    for time in times
)
"""Spaces of NRRD that say which sides of the patient their axes run to."""

_KINDS = rb"(?i:kinds)[ \t]*:"
_ENCODING = rb"(?i:encoding)[ \t]*:"
"""Fields of NRRD, which ITK reads in small letters and capitals; those of MetaImage it does not."""

_BZIP2 = frozenset(("bz2", "bzip2"))

_KINDS_OF_SPACE = ("???", "none", "domain", "space", "time")
"""What kind an axis of a NRRD is where ITK wants to know its direction in space."""

_OTHER_UNITS = frozenset(
    (
        "nm", "um", "µm", "μm", "micron", "microns", "micrometer", "micrometers", "micrometre", "micrometres", "cm",
        "centimeter", "centimetre", "m", "meter", "meters", "metre", "metres", "inch", "inches",
    )
)  # fmt: skip
"""Units of length other than the millimetre, as headers may name them."""


def itk_shape(path: Path) -> tuple[tuple[int, ...], tuple[float, ...], int]:
    """Return shape (i, j, k), spacing in millimetres and number of frames from the header only."""
    with naming(path, _format_of(path)), decimal_points():
        return _shape(_open(path))


def read_itk(path: Path, frame: int | None = None) -> Volume:
    """Read a NRRD or MetaImage file; see `napari_dinoad.images.readers.read_volume`."""
    with naming(path, _format_of(path)), decimal_points():
        reader = _open(path)
        require_frame(path, frame, _shape(reader)[2])
        return next(_volumes(path, reader, [frame or 0]))


def read_itk_frames(path: Path) -> list[Volume]:
    """Read all frames of a NRRD or MetaImage file, which is unpacked once; errors as of `read_itk`."""
    with naming(path, _format_of(path)), decimal_points():
        reader = _open(path)
        return [*_volumes(path, reader, range(_shape(reader)[2]))]


def _shape(reader: Any) -> tuple[tuple[int, ...], tuple[float, ...], int]:
    size, spacing = reader.GetSize(), reader.GetSpacing()
    is_colour = _is_colour(reader)
    n_frames = int(np.prod(size[3:], dtype=int)) * (1 if is_colour else reader.GetNumberOfComponents())
    return tuple(size[:3]), tuple(spacing[:3]), n_frames


def _volumes(path: Path, reader: Any, frames: Iterable[int]) -> Iterator[Volume]:
    import SimpleITK as sitk

    shape, _, n_frames = _shape(reader)
    try:
        voxels = (path, reader.GetSize(), _voxel_bytes(reader))
        checksum = stored_checksum(*voxels)
        if checksum is None:
            require_whole_voxels(*voxels)
        image = reader.Execute()
        # A look at the image's own memory: (frames …, k, j, i, components).
        array = sitk.GetArrayViewFromImage(image)
        if checksum is not None and checksum.of(array) != checksum.stored:
            require_whole_voxels(*voxels)
    except SurplusBytesError as error:
        raise ScanReadError(f"{path}: {_surplus(path, error)}") from error
    except (RuntimeError, ValueError, EOFError, zlib.error, BadGzipFile) as error:
        told = f"damaged or cut short ({error})" if isinstance(error, ValueError) else "damaged or cut short"
        raise ScanReadError(f"{path}: {_damage(path, told)}") from error
    full_scale = FULL_SCALE.get(array.dtype)
    is_colour = _is_colour(reader)
    if not is_colour and reader.GetNumberOfComponents() > 1:
        array = np.moveaxis(array, -1, 0)
    channels = array.shape[-1:] if is_colour else ()
    array = array.reshape(n_frames, *reversed(shape), *channels)
    if len(shape) == 2:
        geometry = Geometry.of_pixels((shape[1], shape[0]))
        notes = ["A 2D image without orientation: sizes are in pixels."]
    else:
        geometry = Geometry(shape, _affine(image[:, :, :, 0] if image.GetDimension() == 4 else image))
        notes = _assumed(path)
        array = array.swapaxes(1, 3)
    for frame in frames:
        colours = None
        if is_colour:
            values, colours = grey_and_colours(geometry.colours_to_canonical(array[frame, ..., :3]))
        else:
            values = np.array(geometry.to_canonical(array[frame]), dtype=np.float32, order="C")
        of_frame = [] if n_frames == 1 else [f"Frame {frame} of {n_frames}, counted from 0."]
        all_notes = (*of_frame, *notes)
        yield Volume(values, geometry, stem_of(path), None, full_scale, notes=all_notes, colours=colours)


def _voxel_bytes(reader: Any) -> int:
    """Return how many bytes a voxel takes, with all its components."""
    import SimpleITK as sitk

    n_components: int = reader.GetNumberOfComponents()
    return n_components * int(sitk.Image([1, 1], reader.GetPixelID(), n_components).GetSizeOfPixelComponent())


def _affine(image: Any) -> np.ndarray:
    """Return the affine of a 3D SimpleITK image, rounded to what NIfTI stores; its axes need not be at right angles.

    ITK counts in LPS.
    """
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    return affine.astype(np.float32).astype(np.float64)


def _assumed(path: Path) -> list[str]:
    """Say what of the place of its voxels a header does not say, or says to no avail; ITK assumes it."""
    header = _header_of(path)
    if path.suffix.lower() in _NRRD_SUFFIXES:
        orientation, size = rb"(?i:space(?: dimension)?)[ \t]*:", rb"(?i:spacings|space directions)[ \t]*:"
        space, unit = rb"(?i:space)[ \t]*:", rb"(?i:(?:space )?units)[ \t]*:"
    else:
        orientation = rb"[ \t]*(?:TransformMatrix|Rotation|Orientation)[ \t]*[=:]"
        size = rb"[ \t]*Element(?:Spacing|Size)[ \t]*[=:]"
        space, unit = None, rb"[ \t]*DistanceUnits[ \t]*[=:]"
    notes = []
    if not _values(orientation, header):
        notes.append("No orientation in the header: assumed left-posterior-superior order, as ITK does.")
    elif space and _SPACES.isdisjoint(_values(space, header)):
        notes.append(
            "The header's space says nothing of the patient's sides: assumed left-posterior-superior, as ITK does."
        )
    if not _values(size, header):
        notes.append("No voxel size in the header: 1 mm along each axis is assumed.")
    elif "nan" in _told_of_space(rb"(?i:spacings)[ \t]*:", header):
        notes.append(
            "No voxel size along one axis or more in the header (NaN): 1 mm is assumed, as ITK does."
        )
    named = {word for line in _values(unit, header) for word in line.replace('"', " ").split()}
    others = sorted(named & _OTHER_UNITS)
    if others:
        notes.append(
            f"The header's unit is {others[0]}, which ITK, and viewers that read with it, take for millimetres: so "
            f"it is read here, and what is told in mm is in {others[0]}."
        )
    return notes


def _header_of(path: Path) -> bytes:
    """Return the text at the beginning of a file, without the voxels that may follow it."""
    with path.open("rb") as stream:
        start = stream.read(_HEADER_BYTES)
    is_nrrd = path.suffix.lower() in _NRRD_SUFFIXES
    return re.split(rb"\r?\n\r?\n" if is_nrrd else rb"(?m)^[ \t]*ElementDataFile", start)[0]


def _values(field: bytes, header: bytes) -> list[str]:
    """Return what a field of a header says, in lower case; nothing where the header does not have it."""
    found = re.findall(rb"(?m)^(?:" + field + rb")([^\r\n]*)", header)
    return [value.decode("utf-8", "replace").strip().lower() for value in found]


def _open(path: Path) -> Any:
    """Return a SimpleITK reader that has read the header."""
    try:
        import SimpleITK as sitk
    except ImportError as error:
        raise ScanReadError(
            f'{path}: reading {path.suffix} needs SimpleITK. Install it: pip install "napari-dinoad[itk]".'
        ) from error
    require_sound_header(path)
    reader = sitk.ImageFileReader()
    # Else ITK goes by the content, and reads anything that it knows: DICOM, say, whose header is not looked at here.
    reader.SetImageIO("NrrdImageIO" if path.suffix.lower() in _NRRD_SUFFIXES else "MetaImageIO")
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise ScanReadError(f"{path}: {_damage(path, f'not a readable {_format_of(path)}')}") from error
    if "complex" in sitk.GetPixelIDValueAsString(reader.GetPixelID()):
        raise ScanReadError(f"{path}: complex values; expected real ones. Export the magnitude.")
    if not 2 <= reader.GetDimension() <= 4:
        raise ScanReadError(f"{path}: expected a 2D to 4D scan, got {reader.GetDimension()} axes.")
    return reader


def _damage(path: Path, told: str) -> str:
    if is_dicom_inside(path):
        return f"{told}. {RENAME_DICOM}"
    if path.suffix.lower() in _NRRD_SUFFIXES and _BZIP2.issuperset(
        _values(_ENCODING, _header_of(path)) or [""]
    ):
        return "compressed by bzip2, which SimpleITK does not unpack. Save it with the encoding gzip or raw."
    if path.suffix.lower() in _NRRD_SUFFIXES and _has_unnamed_axis(_header_of(path)):
        return (
            "an axis without direction in space (none) that is not called a list, which SimpleITK does not read. "
            "Save it with the kind list for this axis (time points, echoes), domain for the others."
        )
    if path.suffix.lower() in _DETACHED_SUFFIXES:
        return (
            f"{told}, or the file with its voxels is not beside it. Keep both together, or export it again."
        )
    return f"{told}. Export or download it again."


def _surplus(path: Path, error: SurplusBytesError) -> str:
    at_end = "byte skip: -1" if path.suffix.lower() in _NRRD_SUFFIXES else "HeaderSize = -1"
    return (
        f"more than the voxels ({error}), of which the header does not say where they begin. Where they are the last "
        f"of the file, write “{at_end}” into the header; else take out what follows them, or correct size and type."
    )


def _has_unnamed_axis(header: bytes) -> bool:
    """Whether an axis of a NRRD has no direction in space, nor a kind by which ITK tells that it needs none."""
    return "none" in _told_of_space(rb"(?i:space directions)[ \t]*:", header)


def _told_of_space(field: bytes, header: bytes) -> list[str]:
    """Return what a field of a NRRD says of each axis that is, or may be, one of space."""
    told = " ".join(_values(field, header)).split()
    kinds = " ".join(_values(_KINDS, header)).split() or ["???"] * len(told)
    return [one for one, kind in zip(told, kinds, strict=False) if kind in _KINDS_OF_SPACE]


def _format_of(path: Path) -> str:
    return f"{path.suffix} file"


def _is_colour(reader: Any) -> bool:
    import SimpleITK as sitk

    # By the header itself: SimpleITK tells it since 2.5.6 alone.
    kinds = _values(_KINDS, _header_of(Path(reader.GetFileName())))
    is_list = "list" in " ".join(kinds).split()
    has_channels = reader.GetNumberOfComponents() in (3, 4) and reader.GetPixelID() == sitk.sitkVectorUInt8
    return has_channels and not is_list
