"""One scan on disk → `Volume`, whatever its format.

Each format's library is loaded when a file of it is read: the plugin opens without any of them.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_dinoad.errors import GeometryError, ScanReadError, SeveralFramesError
from napari_dinoad.images.series_choice import meant_by
from napari_dinoad.images.values.colours import with_finite_colours
from napari_dinoad.images.values.intensity import with_finite_values
from napari_dinoad.machine.file_names import SCAN_SUFFIXES, format_of, stem_of
from napari_dinoad.machine.files import files_below, is_special

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_dinoad.images.dicom.series import DicomSeries
    from napari_dinoad.images.volume import Volume

__all__ = [
    "dicom_beside",
    "is_dicom",
    "is_dicom_mask",
    "may_be_dicom",
    "other_format",
    "read_dicom_series",
    "read_frame",
    "read_stack",
    "read_volume",
    "refuse_special",
]

logger = logging.getLogger(__name__)

_WITH_NIBABEL = "Convert it to .nii.gz, for instance with nibabel"

_UNREAD: dict[tuple[str, ...], str] = {
    (".hdr", ".img", ".img.gz"):
        f"one of two files of a NIfTI or Analyze pair (.hdr, .img), which are not read. {_WITH_NIBABEL}",
    (".par", ".rec", ".rec.gz"):
        f"one of two files of a Philips pair (.PAR, .REC), which are not read. {_WITH_NIBABEL}",
    (".head", ".brik", ".brik.gz"):
        f"one of two files of an AFNI pair (.HEAD, .BRIK), which are not read. {_WITH_NIBABEL}",
    (".mnc", ".mnc.gz"): f"a MINC file, which is not read. {_WITH_NIBABEL}",
    (".v",): f"an ECAT file, which is not read. {_WITH_NIBABEL}",
    (".vtk", ".gipl", ".gipl.gz"):
        "a VTK or GIPL file, which is not read. Convert it to .nii.gz, for instance with SimpleITK",
    (".mif", ".mif.gz", ".mih"): "an MRtrix file, which is not read. Convert it to .nii.gz with mrconvert",
    (".nii.bz2", ".nii.xz", ".nii.zst"):
        "a NIfTI file that is compressed in a way that is not read. Unpack it, or compress it with gzip",
    (".webp", ".jp2", ".j2k", ".j2c", ".jpx", ".jxl", ".heic", ".heif", ".avif", ".gif"):
        "a picture of a kind that is not read. Save it as PNG or TIFF",
    (".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".czi", ".vsi", ".lif", ".nd2", ".lsm", ".oir", ".ims"):
        "a whole slide, or another microscope's own file, which is not read. Export regions of it as TIFF or PNG",
    (".e2e", ".fda", ".fds", ".vol", ".oct"):
        "a file of an OCT device's own kind, which is not read. Export it as DICOM or TIFF",
    (".avi", ".mp4", ".mov", ".mkv", ".wmv", ".mpg", ".mpeg", ".webm"):
        "a film, which is not read. Save its frames as PNG, or export it as DICOM",
    (".pbm", ".pgm", ".ppm", ".pnm", ".pfm"): "a picture of a kind that is not read. Save it as PNG or TIFF",
    (".zip", ".7z", ".rar", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".iso"):
        "an archive, which is not looked into. Unpack it, and give the folder",
}  # fmt: skip
"""Endings of scans in formats that nobody reads here, what they are, and what to do."""


def read_volume(
    path: str | Path, *, series: str | None = None, frame: int | None = None, resample: bool = False
) -> Volume:
    """Read one scan.

    Parameters
    ----------
    path : str or Path
        A file: NIfTI (``.nii``, ``.nii.gz``), MGH (``.mgz``, ``.mgh``), NRRD or MetaImage (``.nrrd``, ``.nhdr``,
        ``.mha``, ``.mhd``; needs the extra ``itk``), a 2D image (PNG, JPEG, TIFF, BMP), a
        multi-page TIFF (its pages are slices), or any file of a DICOM series, whatever its name (the files of its
        series beside it are read with it). A folder: one with a DICOM series, or with 2D images of one size, which
        are slices of one scan.
    series : str, optional
        Which series of a DICOM folder with several: its number, description, kernel (CT), or the end of its UID.
    frame : int, optional
        Which volume of a 4D scan (or page of a TIFF) to take, from 0.
    resample : bool
        Make an even volume of uneven or tilted DICOM slices by interpolation; the volume's notes say so.

    Returns
    -------
    Volume
        Values (z, y, x) float32 in canonical orientation, with the geometry as stored. Of pictures in colour they are
        the grey, and `Volume.colours` their colours.

    Raises
    ------
    ScanReadError
        If the scan is missing, of an unknown kind, a segmentation (DICOM, 3D Slicer), damaged, 4D without ``frame``,
        one of several series without ``series``, uneven without ``resample``, or empty (all voxels the same); the
        message names it.
    """
    path = Path(path)
    return _with_signal(read_frame(path, frame, series=series, resample=resample), path)


def read_frame(path: Path, frame: int | None, *, series: str | None = None, resample: bool = False) -> Volume:
    """Read a scan, or one of its frames, as `read_volume` does, but one without signal, too."""
    try:
        is_there = path.exists()
    except OSError as error:
        raise ScanReadError(f"{path}: cannot be opened ({error.strerror}).") from error
    if not is_there:
        raise ScanReadError(f"{path}: expected a scan, found no such file.")
    refuse_special(path)
    try:
        volume = _read(path, series, frame, resample)
    except GeometryError as error:
        raise ScanReadError(f"{path}: {error}") from error
    return _finite(volume, path)


def refuse_special(path: Path) -> None:
    """Raise `ScanReadError` if it is neither a file nor a folder: opening it may wait for ever."""
    if is_special(path):
        raise ScanReadError(
            f"{path}: expected a file or a folder, found a pipe, a socket or a device. Write the scan to a file."
        )


def other_format(path: Path) -> str:
    """Return what to do with a scan in a format that is not read, by its ending; empty for other files."""
    for suffixes, told in _UNREAD.items():
        if path.name.lower().endswith(suffixes):
            return f"{told}."
    return ""


def read_dicom_series(
    one: DicomSeries,
    path: Path,
    name: str,
    *,
    frame: int | None = None,
    resample: bool = False,
    may_be_empty: bool = False,
) -> Volume:
    """Read a series whose files are known; ``path`` (its folder or file) names it in errors.

    One without signal is refused unless it ``may_be_empty``.
    """
    from napari_dinoad.images.dicom.reader import read_series

    try:
        volume = read_series(one, name, frame=frame, resample=resample)
    except SeveralFramesError as error:
        raise SeveralFramesError(f"{path}: {error}") from error
    except (GeometryError, ScanReadError) as error:
        raise ScanReadError(f"{path}: {str(error).removeprefix(f'{path.name}: ')}") from error
    volume = _finite(volume, path)
    return volume if may_be_empty else _with_signal(volume, path)


def read_stack(images: Sequence[Path], folder: Path) -> Volume:
    """Read 2D images as the slices of one scan, in natural order of their names; ``folder`` names it."""
    from napari_dinoad.images.pictures.reader import read_image_stack

    return _with_signal(_finite(read_image_stack(images, folder), folder), folder)


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its first bytes; endings of other formats are believed unread."""
    if format_of(path) is not None:
        return False
    from napari_dinoad.images.dicom import files as dicom_files

    return dicom_files.is_dicom(path)


def is_dicom_mask(path: Path) -> bool:
    """Whether a file is a DICOM segmentation; endings of other formats are believed unread."""
    if not is_dicom(path):
        return False
    from napari_dinoad.images.dicom import headers as dicom_headers

    return dicom_headers.is_segmentation(path)


def may_be_dicom(path: Path) -> bool:
    """Whether a file is DICOM, or could be a damaged one; endings of other formats are believed unread."""
    if format_of(path) is not None:
        return False
    from napari_dinoad.images.dicom import files as dicom_files

    return dicom_files.may_be_dicom(path)


def _read(path: Path, series: str | None, frame: int | None, resample: bool) -> Volume:
    if path.is_dir():
        return _read_folder(path, series, frame, resample)
    scan_format = format_of(path)
    if scan_format == "nifti":
        from napari_dinoad.images.nifti_files import read_nifti

        return read_nifti(path, frame)
    if scan_format == "itk":
        from napari_dinoad.images.itk.headers import holds_segments
        from napari_dinoad.images.itk.reader import read_itk

        if holds_segments(path):
            raise ScanReadError(
                f"{path}: a segmentation of 3D Slicer, not a scan. Give the scan that it was drawn on; labels for "
                "other uses can be exported there (Segmentations, Export to files)."
            )
        return read_itk(path, frame)
    if scan_format == "picture":
        from napari_dinoad.images.pictures.reader import read_image

        return read_image(path, frame)
    if may_be_dicom(path):
        one = _series_of_file(path)
        name = stem_of(path) if len(one.files) == 1 else path.resolve().parent.name
        return read_dicom_series(one, path, name, frame=frame, resample=resample, may_be_empty=True)
    other = other_format(path)
    if other:
        raise ScanReadError(f"{path}: {other}")
    raise ScanReadError(
        f"{path}: expected DICOM or one of {', '.join(SCAN_SUFFIXES)}; it is no DICOM and its ending is not known."
    )


def _read_folder(folder: Path, series: str | None, frame: int | None, resample: bool) -> Volume:
    files = files_below(folder)
    dicom = [path for path in files if may_be_dicom(path)]
    images = [path for path in files if path.parent == folder and format_of(path) == "picture"]
    if any(is_dicom(path) for path in dicom) or (dicom and not images):
        from napari_dinoad.images.dicom.grouping import group_series

        found, skipped, _ = group_series(dicom)
        chosen, notes = _choose_series(found, series, folder, skipped)
        name = folder.resolve().name
        volume = read_dicom_series(chosen, folder, name, frame=frame, resample=resample, may_be_empty=True)
        return replace(volume, notes=(*notes, *volume.notes))
    if not images:
        raise ScanReadError(f"{folder}: expected a DICOM series or 2D images in this folder, found neither.")
    if frame is not None or len(images) == 1:
        raise ScanReadError(
            f"{folder}: a folder of {len(images)} images is read as one stack; name a file to read one."
        )
    from napari_dinoad.images.pictures.reader import read_image_stack

    return read_image_stack(images, folder)


def _choose_series(
    found: Sequence[DicomSeries], wanted: str | None, folder: Path, skipped: Mapping[Path, str]
) -> tuple[DicomSeries, tuple[str, ...]]:
    """Return the series that is meant, and notes on localisers and captures that were passed over."""
    if not found:
        told = "; ".join(
            f"{n} × {reason.removesuffix('.')}" for reason, n in Counter(skipped.values()).most_common(3)
        )
        raise ScanReadError(f"{folder}: expected a DICOM image series, found none: {told}.")
    told = "; ".join(str(one) for one in found)
    if _is_without_place(found):
        raise ScanReadError(
            f"{folder}: {len(found)} images of one series without position, orientation or pixel spacing in the "
            "headers, which make no volume. Export them with their geometry, or name one file to read it alone."
        )
    if wanted is not None:
        matches = meant_by(wanted, found)
        if len(matches) != 1:
            raise ScanReadError(
                f"{folder}: series {wanted!r}: expected to match one of the series by number, description, kernel or "
                f"end of UID, matched {len(matches)}. There are: {told}.{_advice_on(matches)}"
            )
        return matches[0], ()
    from napari_dinoad.images.dicom.grouping import captures_among

    captures = captures_among(found)
    scans = [one for one in found if not one.is_localiser and one not in captures] or list(found)
    if len(scans) > 1:
        raise ScanReadError(
            f"{folder}: {len(scans)} series; expected one. Choose with --series (number, description, kernel or "
            f"end of UID): {told}.{_advice_on(scans)}"
        )
    n_localisers = sum(one.is_localiser for one in found if one not in scans)
    notes = [f"{n_localisers} localiser series of the folder were left out."] if n_localisers else []
    if captures:
        notes.append(
            f"{len(captures)} secondary captures (screenshots, reports) of the folder were left out."
        )
    return scans[0], tuple(notes)


def _is_without_place(found: Sequence[DicomSeries]) -> bool:
    """Whether all that was found are single images without a place, of the same series."""
    series = {(one.study_uid, one.uid.partition("/")[0]) for one in found}
    return len(found) > 1 and len(series) == 1 and not any(one.frames[0].is_placed for one in found)


def _advice_on(series: Sequence[DicomSeries]) -> str:
    """Return what to do where several series have one UID, by which they cannot be chosen."""
    if len({one.uid for one in series}) == len(series):
        return ""
    return (
        " Series of several patients or studies have the same UID: give the folder (or file) of one of them."
    )


def _series_of_file(path: Path) -> DicomSeries:
    """Return the series of a file, with the files of it that lie beside it."""
    from napari_dinoad.images.dicom.grouping import group_series
    from napari_dinoad.images.dicom.headers import series_of_file

    try:
        alone = series_of_file(path)
    except ScanReadError as error:
        if path.name.upper() == "DICOMDIR":
            raise ScanReadError(f"{error} Give the folder that it lies in.") from error
        raise
    if (alone.is_multi_frame and alone.n_parts == 1) or not alone.frames[0].is_placed:
        return alone
    found, *_ = group_series(dicom_beside(path))
    return next((one for one in found if path in (*one.files, *one.copies)), alone)


def dicom_beside(path: Path) -> list[Path]:
    """Return a file and those in its folder that are, or may be, DICOM; hidden ones are passed over."""
    others = (other for other in path.parent.iterdir() if other == path or not other.name.startswith("."))
    return sorted(other for other in others if other.is_file() and may_be_dicom(other))


def _finite(volume: Volume, path: Path) -> Volume:
    """Return the volume without NaN and infinities; raise where there is nothing else."""
    try:
        values, note = with_finite_values(volume.values)
    except ScanReadError as error:
        raise ScanReadError(f"{path}: {error}") from error
    if note:
        logger.info(note)
        colours = None if volume.colours is None else with_finite_colours(volume.colours, float(values.min()))
        volume = replace(volume, values=values, colours=colours, notes=(*volume.notes, note))
    return volume


def _with_signal(volume: Volume, path: Path) -> Volume:
    """Return the volume; raise when there is nothing to see."""
    low, high = float(volume.values.min()), float(volume.values.max())
    if low == high:
        raise ScanReadError(f"{path}: no signal: every voxel is {low:g}.")
    return volume
