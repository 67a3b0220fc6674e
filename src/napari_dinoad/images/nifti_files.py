"""NIfTI and MGH/MGZ files → `Volume`."""

from __future__ import annotations

from gzip import BadGzipFile
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import nibabel as nib
import numpy as np
from nibabel.affines import apply_affine, voxel_sizes
from nibabel.arrayproxy import ArrayProxy
from nibabel.filebasedimages import FileHolder, ImageFileError
from nibabel.freesurfer.mghformat import MGHError, MGHHeader
from nibabel.openers import ImageOpener
from nibabel.orientations import OrientationError
from nibabel.spatialimages import HeaderDataError, HeaderTypeError, ImageDataError
from nibabel.volumeutils import apply_read_scaling
from nibabel.wrapstruct import WrapStructError

from napari_dinoad.errors import ScanReadError
from napari_dinoad.images.damage import naming
from napari_dinoad.images.earlier_results import EARLIER_TYPES, earlier_result
from napari_dinoad.images.frame_choice import require_frame
from napari_dinoad.images.values.colours import grey_and_colours
from napari_dinoad.images.values.grey import FULL_SCALE
from napari_dinoad.images.volume import Geometry, Volume
from napari_dinoad.machine.file_names import MGH_SUFFIXES, stem_of

if TYPE_CHECKING:
    from nibabel.freesurfer.mghformat import MGHImage
    from nibabel.nifti1 import Nifti1Image

__all__ = [
    "INTENTS",
    "Holding",
    "colour_pixels",
    "count_frames",
    "holding_of",
    "is_of_pixels",
    "open_nifti",
    "read_frames",
    "read_labels",
    "read_nifti",
    "space_unit",
    "spacing_of",
]

Holding = Literal["scan", "mask", "map"]
"""What a file holds: intensities, labels, or −log10 p."""

INTENTS: dict[Holding, int] = {"scan": 0, "mask": 1002, "map": 24}
"""NIfTI's codes for what the values mean; the last two are ``NIFTI_INTENT_LABEL`` and ``NIFTI_INTENT_LOG10PVAL``."""

FORM_TOLERANCE_VOXELS = 0.1
"""sform and qform disagree when a corner of the scan lies farther apart than this share of its smallest voxel."""

_OF_VECTORS = (1007, 2003, 2004)
"""NIfTI's codes for vectors, for such of red, green and blue, and for these with alpha."""

_COMPRESSED = (".gz", ".mgz")
_CHUNK_BYTES = 2**20

_MM_PER_UNIT = {"meter": 1e3, "micron": 1e-3}

_GOOD_RAS = slice(28, 30)
"""Bytes of an MGH header that are not 0 where it says voxel sizes and orientation."""

_LARGEST_VOXEL_MM = 100.0
"""A larger voxel means that the header's unit is wrong."""

_NIBABEL_ERRORS = (
    ImageFileError, ImageDataError, HeaderDataError, HeaderTypeError, WrapStructError, OrientationError, MGHError
)  # fmt: skip


_MOST_UNPACKED = 1032
"""Bytes that gzip makes of one at most: 258 of each two bits."""


def open_nifti(path: Path) -> Nifti1Image | MGHImage:
    """Open a NIfTI or MGH file, reading its header only; `ScanReadError` when it is none."""
    with naming(path, _format_of(path), *_NIBABEL_ERRORS):
        image = _open_mgh(path) if path.name.lower().endswith(MGH_SUFFIXES) else nib.load(path)
    if not isinstance(image, nib.Nifti1Image | nib.MGHImage):
        raise ScanReadError(f"{path}: expected a {_format_of(path)}, got {type(image).__name__}.")
    offset = int(image.dataobj.offset)
    if isinstance(image, nib.Nifti1Image) and offset < image.header.single_vox_offset:
        # nibabel lets 0 pass, as of pairs of files, and would take the header itself for voxels.
        raise ScanReadError(
            f"{path}: not a readable NIfTI file (by the header its voxels begin at byte {offset}, inside it). "
            "Export or download it again."
        )
    return image


def _open_mgh(path: Path) -> MGHImage:
    """Open an MGH file as nibabel does, which would leave it open where the header makes no sense."""
    if path.stat().st_size == 0:
        raise ImageFileError(f"Empty file: '{path}'")
    with ImageOpener(path, "rb") as stream:
        header = MGHHeader.from_fileobj(stream)
    voxels = nib.MGHImage.ImageArrayProxy(str(path), header.copy())
    files = nib.MGHImage.filespec_to_file_map(str(path))
    return nib.MGHImage(voxels, header.get_affine(), header, file_map=files)


def _is_placed_mgh(path: Path) -> bool:
    """Whether the header of an MGH file says where it lies; nibabel fills in what it does not say."""
    with ImageOpener(path, "rb") as stream:
        return any(stream.read(_GOOD_RAS.stop)[_GOOD_RAS])


def count_frames(image: Nifti1Image | MGHImage) -> int:
    """Return how many volumes a file holds; one in colour counts as one."""
    return int(np.prod(image.shape[3:4] if _has_colour_axis(image) else image.shape[3:], dtype=int))


def _has_colour_axis(image: Nifti1Image | MGHImage) -> bool:
    """Whether a file holds the colours of one volume along an axis of their own, as SimpleITK writes them."""
    if not isinstance(image, nib.Nifti1Image) or image.get_data_dtype() != np.uint8:
        return False
    is_of_vectors = int(image.header["intent_code"]) in _OF_VECTORS
    return is_of_vectors and image.ndim == 5 and image.shape[3] == 1 and image.shape[4] in (3, 4)


def holding_of(image: Nifti1Image | MGHImage) -> Holding:
    """Return what a file holds as its header says; a scan where it says nothing or anything else.

    Headers of this program's first versions said nothing: their results are known by name; see `earlier_result`.
    """
    if not isinstance(image, nib.Nifti1Image):
        return "scan"
    code = int(image.header["intent_code"])
    name = image.get_filename()
    if code == INTENTS["scan"] and name is not None:
        earlier = earlier_result(Path(name))
        if earlier != "scan" and image.get_data_dtype() == EARLIER_TYPES[earlier]:
            return earlier
    return next((holding for holding, known in INTENTS.items() if known == code), "scan")


def is_of_pixels(header: object, affine: np.ndarray) -> bool:
    """Return whether a file may be a result of a picture, or of a stack of them, as we write it: without a place.

    Its axes are those of the picture then: rows and columns, after the number of the image in a stack.
    """
    is_unknown = isinstance(header, nib.Nifti1Header) and space_unit(header) == "unknown"
    return is_unknown and np.array_equal(affine, np.eye(4))


def read_nifti(path: Path, frame: int | None = None, *, to_end: bool = True) -> Volume:
    """Read a NIfTI or MGH file; see `napari_dinoad.images.readers.read_volume`.

    A compressed file is unpacked to its end, where its checksum is; of one with several frames no farther than to the
    chosen one where ``to_end`` is False.
    """
    with naming(path, _format_of(path), *_NIBABEL_ERRORS):
        return _read(path, frame, to_end, np.float32)


def read_labels(path: Path) -> Volume:
    """Read a mask from a NIfTI or MGH file as `read_nifti` would, with values in the type that the file has."""
    with naming(path, _format_of(path), *_NIBABEL_ERRORS):
        return _read(path, None, True, None)


def read_frames(path: Path) -> np.ndarray:
    """Return the voxels of all frames of a file, as stored (i, j, k, …); it is unpacked once.

    Raises
    ------
    ScanReadError
        As `read_nifti`.
    """
    with naming(path, _format_of(path), *_NIBABEL_ERRORS):
        return _unpacked(open_nifti(path), path)


def _read(path: Path, frame: int | None, to_end: bool, as_type: type | None) -> Volume:
    image = open_nifti(path)
    dtype = image.get_data_dtype()
    if dtype.kind == "c":
        raise ScanReadError(f"{path}: complex values; expected real ones. Export the magnitude.")
    stored, notes = _load(image, frame, path, to_end)
    is_colour = stored.dtype.names is not None or _has_colour_axis(image)
    if is_colour:
        stored = colour_pixels(stored)
        dtype = np.dtype(np.uint8)
    affine = image.affine
    if isinstance(image, nib.Nifti1Image):
        notes += _without_empty_sform(image)
        notes += _form_notes(image)
        notes += _size_notes(image, path)
        affine, more = _in_millimetres(image)
        notes += more
    elif not _is_placed_mgh(path):
        notes.append(
            "No orientation in the header (goodRASFlag is 0): assumed coronal slices, and 1 mm along each axis, as "
            "FreeSurfer does."
        )
    geometry = Geometry(stored.shape[:-1] if is_colour else stored.shape, affine)
    header = image.header.copy() if isinstance(image, nib.Nifti1Image) else None
    is_scaled = header is not None and bool(image.dataobj.slope != 1.0 or image.dataobj.inter != 0.0)
    colours = None
    if is_colour:
        values, colours = grey_and_colours(geometry.colours_to_canonical(stored))
    elif is_scaled:
        values = _scaled(geometry.to_canonical(stored), image, as_type)
    else:
        values = _in_memory(geometry.to_canonical(stored), as_type, isinstance(stored, np.memmap))
    full_scale = None if is_scaled else FULL_SCALE.get(np.dtype(dtype).newbyteorder("="))
    return Volume(values, geometry, stem_of(path), header, full_scale, notes=tuple(notes), colours=colours)


def colour_pixels(stored: np.ndarray) -> np.ndarray:
    """Return stored colours, of a type of their own (…) or along an axis (i, j, k, 1, 3 or 4), as (…, 3) uint8."""
    if stored.dtype.names is None:
        return stored[:, :, :, 0, :3]
    return np.stack([stored[channel] for channel in stored.dtype.names[:3]], axis=-1)


def _scaled(values: np.ndarray, image: Any, as_type: type | None) -> np.ndarray:
    """Return contiguous values of a type, or of that in which nibabel scales, as the header scales those stored.

    Slice by slice, since nibabel scales in float64 and makes an array for each step.
    """
    slope, inter = (np.asanyarray(factor) for factor in (image.dataobj.slope, image.dataobj.inter))
    kind = as_type or apply_read_scaling(values[:1, :1, :1], slope, inter).dtype
    scaled: np.ndarray = np.empty(values.shape, dtype=kind)
    for there, here in zip(scaled, values, strict=True):
        there[...] = apply_read_scaling(here, slope, inter)
    return scaled


def _in_memory(values: np.ndarray, as_type: type | None, is_mapped: bool) -> np.ndarray:
    """Return contiguous values of a type, or of their own in this machine's order of bytes, apart from the file.

    An uncompressed file is mapped into memory: it must be free to be replaced, and whoever cut it short would end
    this process.
    """
    kind = as_type or values.dtype.newbyteorder("=")
    return np.array(values, dtype=kind, order="C", copy=True if is_mapped else None)


def _load(image: Any, frame: int | None, path: Path, to_end: bool) -> tuple[np.ndarray, list[str]]:
    """Read the voxels of one frame as they lie in the file, not scaled yet; colours stay structured."""
    n_frames = count_frames(image)
    require_frame(path, frame, n_frames, f"shape {tuple(map(int, image.shape))}")
    where: Any = ...
    notes = []
    if n_frames > 1:
        where = (..., *(int(i) for i in np.unravel_index(frame or 0, image.shape[3:])))
        notes.append(f"Frame {frame} of {n_frames}, counted from 0.")
    is_colour = image.get_data_dtype().names is not None
    return _unpacked(image, path, where, to_end, is_scaled=is_colour), notes


def _unpacked(
    image: Any, path: Path, where: Any = ..., to_end: bool = True, *, is_scaled: bool = True
) -> np.ndarray:
    """Return voxels as stored; a compressed file is read to its checksum at the end, which nibabel leaves unread."""
    is_compressed = path.name.lower().endswith(_COMPRESSED)
    n_bytes = int(np.prod(image.shape, dtype=object)) * image.get_data_dtype().itemsize
    if is_compressed and n_bytes > _MOST_UNPACKED * path.stat().st_size:
        # Memory for all of it would be taken before the first byte is unpacked.
        raise ValueError(
            f"its header tells of {n_bytes} bytes of voxels, more than a file of its size can hold"
        )
    if not (to_end and is_compressed):
        data = image.dataobj if is_scaled else _without_scale(image.dataobj)
        return np.asanyarray(data if where is ... else data[where])
    voxels: np.ndarray
    with ImageOpener(path) as stream:
        data = type(image).from_file_map({"image": FileHolder(fileobj=stream.fobj)}).dataobj
        data = data if is_scaled else _without_scale(data)
        voxels = np.asanyarray(data if where is ... else data[where])
        try:
            while stream.read(_CHUNK_BYTES):
                pass
        except BadGzipFile as error:
            raise ValueError("its checksum is wrong: it was changed in copying or on its disk") from error
    return voxels


def _without_scale(data: ArrayProxy) -> ArrayProxy:
    return ArrayProxy(data.file_like, (data.shape, data.dtype, data.offset))


def _without_empty_sform(image: Nifti1Image) -> list[str]:
    """Unset a sform that is claimed to be set but holds zeros only, where a qform places the scan; say so."""
    sform, is_set = image.get_sform(coded=True)
    if not is_set or sform[:3].any() or not image.header["qform_code"]:
        return []
    image.set_sform(None, 0)
    return ["The sform is set, but holds zeros only: the qform is used."]


def _form_notes(image: Nifti1Image) -> list[str]:
    """Say which of sform and qform places the scan, where that is a question."""
    header = image.header
    sform, sform_code = header.get_sform(coded=True)
    try:
        qform, qform_code = header.get_qform(coded=True)
    except HeaderDataError:
        qform, qform_code = None, 0
    if not sform_code and not qform_code:
        return [
            "No orientation in the header (sform and qform are unset): assumed left-anterior-superior order."
        ]
    if not sform_code or not qform_code:
        return []
    corners = np.array(list(product(*[(0, n - 1) for n in (*image.shape, 1)[:3]])))
    apart = float(np.abs(apply_affine(sform, corners) - apply_affine(qform, corners)).max())
    if apart <= FORM_TOLERANCE_VOXELS * float(voxel_sizes(sform).min()):
        return []
    return [f"sform and qform disagree by up to {apart:.1f} mm: the sform is used."]


def _size_notes(image: Nifti1Image, path: Path) -> list[str]:
    """Say where pixdim is no voxel size, or another one than the sform's, and what is made of it."""
    with ImageOpener(path) as stream:
        # As stored: in the image's own header they are mended.
        header = type(image.header).from_fileobj(stream, check=False)
    stored = header["pixdim"][1 : 1 + min(3, image.ndim)].astype(float)
    if image.header["sform_code"]:
        return [] if image.header["qform_code"] else _told_other_sizes(image, np.abs(stored))
    notes = []
    if (stored == 0).any():
        axes = " and ".join("ijk"[axis] for axis in np.flatnonzero(stored == 0))
        notes.append(f"No voxel size in the header along {axes} (pixdim is 0): 1 mm is assumed.")
    if (stored < 0).any():
        notes.append("The header's voxel sizes (pixdim) are negative: read as positive ones.")
    return notes


def _told_other_sizes(image: Nifti1Image, stored: np.ndarray) -> list[str]:
    """Say where a sform that stands alone has other voxel sizes than pixdim (n,); beside a qform more is told."""
    sizes = voxel_sizes(image.affine)[: len(stored)]
    apart = np.where(stored > 0, np.abs(sizes - stored), 0) * image.shape[: len(stored)]
    if not (apart > FORM_TOLERANCE_VOXELS * sizes.min()).any():
        return []
    told = [" × ".join(f"{size:.3g}" for size in some) for some in (sizes, stored)]
    return [
        f"sform and pixdim disagree on the voxel size ({told[0]} and {told[1]}): the sform's is used. Programs that "
        "read by ITK take the other."
    ]


def spacing_of(image: Nifti1Image | MGHImage) -> tuple[float, ...]:
    """Return the voxel sizes in millimetres along the stored axes, three at most, as `read_nifti` has them."""
    affine = image.affine
    if isinstance(image, nib.Nifti1Image):
        _without_empty_sform(image)
        affine, _ = _in_millimetres(image)
    return tuple(voxel_sizes(affine)[: min(3, image.ndim)].tolist())


def space_unit(header: nib.Nifti1Header) -> str:
    """Return the unit of place of a header, as nibabel calls it; ``"unknown"`` too for a code that NIfTI has not."""
    try:
        return str(header.get_xyzt_units()[0])
    except KeyError:
        return "unknown"


def _in_millimetres(image: Nifti1Image) -> tuple[np.ndarray, list[str]]:
    """Return the affine in millimetres, and a note when the header has another unit."""
    unit = space_unit(image.header)
    factor = _MM_PER_UNIT.get(unit)
    if factor is None:
        return image.affine, []
    affine = np.diag([factor, factor, factor, 1.0]) @ image.affine
    if voxel_sizes(affine).max() > _LARGEST_VOXEL_MM:
        return image.affine, [
            f"The header's unit is {unit}, which gives impossible voxels: read as millimetres."
        ]
    return affine, [f"The header's unit is {unit}: positions and sizes were converted to millimetres."]


def _format_of(path: Path) -> str:
    return "MGH file" if path.name.lower().endswith(MGH_SUFFIXES) else "NIfTI file"
