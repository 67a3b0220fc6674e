"""A scan that a file or folder stands for, told by headers alone, and read when it is wanted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from napari_dinoad.errors import ScanReadError
from napari_dinoad.images.frame_choice import require_frame
from napari_dinoad.images.frame_counts import frames_in
from napari_dinoad.images.readers import (
    other_format,
    read_dicom_series,
    read_stack,
    read_volume,
    refuse_special,
)
from napari_dinoad.images.series_choice import is_of_series
from napari_dinoad.machine.file_names import SCAN_SUFFIXES, format_of, series_in, stem_of
from napari_dinoad.settings import ReadSettings

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from napari_dinoad.images.dicom.series import DicomSeries
    from napari_dinoad.images.nifti_files import Holding
    from napari_dinoad.images.volume import Volume

__all__ = ["ScanFile", "SkippedFile", "by_kind", "inspect_file", "without_path"]


@dataclass(frozen=True)
class ScanFile:
    """A scan that was found.

    Attributes
    ----------
    path : Path
        Its file; for a DICOM series or a stack of images in several files the folder that holds them.
    kind : {"volume", "image"}
        A scan with several slices or an affine, or a 2D image without physical size.
    shape : tuple of int
        Shape as stored (of one frame).
    spacing_mm : tuple of float, optional
        Voxel size along the stored axes; None where there is no physical size, or no even one.
    name : str
        Names outputs: the file or folder name without endings, and the series where a folder holds several.
    series : DicomSeries, optional
    images : tuple of Path
        The 2D images that make up a stack.
    n_frames : int, optional
        Volumes or pages to choose from; None when the file was not looked into.
    notes : tuple of str
        What its volume's notes say too, beside what is seen on reading.
    holding : {"scan", "mask", "map"}
        What its header says that it holds.
    """

    path: Path
    kind: Literal["volume", "image"]
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...] | None = None
    name: str = ""
    series: DicomSeries | None = None
    images: tuple[Path, ...] = ()
    n_frames: int | None = None
    notes: tuple[str, ...] = ()
    holding: Holding = "scan"

    @property
    def modality(self) -> str:
        """The modality in its DICOM header (``"CT"``, ``"MR"``, …); empty where there is none."""
        return "" if self.series is None else self.series.modality

    @property
    def body_part(self) -> str:
        """The part of the body in its DICOM header (``"HEAD"``, ``"ABDOMEN"``, …); empty where there is none."""
        return "" if self.series is None else self.series.body_part

    @property
    def series_name(self) -> str:
        """What a person's scans of several kinds are told apart by.

        The description of a DICOM series, or its number; of a file what `series_in` finds in the name (``T1w``).
        Empty where nothing is.
        """
        return self.series.series_name if self.series is not None else series_in(self.path, self.name)

    @property
    def series_texts(self) -> tuple[str, ...]:
        """What a pattern is compared with; see `meant_by`."""
        return self.series.series_texts if self.series is not None else (self.name,)

    @property
    def series_place(self) -> str:
        """Folder and name of a file: ``pre/FLAIR``; of DICOM nothing."""
        return "" if self.series is not None else f"{self.path.parent.name}/{self.name}"

    def answers_to(self, wanted: str) -> bool:
        """Whether a user's text names its series: see `DicomSeries.answers_to` and `is_of_series`.

        Where all of a file's name is that of its series, all is meant: FreeSurfer's ``orig_nu`` is no ``nu``.
        """
        if self.series is not None:
            return self.series.answers_to(wanted)
        whole = wanted.strip().lstrip("-_.").casefold()
        if self.series_name == self.name:
            return whole in (self.name.casefold(), self.series_place.casefold())
        return is_of_series(self.name, wanted) or whole == self.series_place.casefold()

    @classmethod
    def of_file(cls, path: Path) -> ScanFile:
        """Return the scan that a file stands for, without looking into it; reading it may fail."""
        return cls(path, "volume", (), name=stem_of(path))

    def frame_of(self, reading: ReadSettings) -> int | None:
        """Return the frame that is read, of several; None of a scan that has one alone, or where none is named.

        Raises
        ------
        ScanReadError
            If the file is damaged.
        """
        if reading.frame is None or self.images or (self.n_frames or frames_in(self.path)) == 1:
            return None
        return reading.frame

    def read(self, reading: ReadSettings | None = None) -> Volume:
        """Read the scan; of scans with several frames the one that ``reading`` names, others as they are.

        Raises
        ------
        ScanReadError
            If it cannot be used; the message names it.
        """
        reading = reading or ReadSettings()
        frame = self.frame_of(reading)
        if self.series is not None:
            return read_dicom_series(
                self.series, self.path, self.name, frame=frame, resample=reading.resample
            )
        if self.images:
            volume = read_stack(self.images, self.path)
            return replace(volume, name=self.name or volume.name, notes=(*volume.notes, *self.notes))
        return read_volume(self.path, series=reading.series, frame=frame, resample=reading.resample)


@dataclass(frozen=True)
class SkippedFile:
    """A file or folder that is not used, and why.

    Attributes
    ----------
    path : Path
    reason : str
    is_scan : bool
        Whether it is a scan that cannot be used, by its ending or content, and not something else.
    kind : str
        The reason in words that hold for many files, where ``reason`` names what concerns this one alone; by default
        they are the same.
    """

    path: Path
    reason: str
    is_scan: bool = False
    kind: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", self.kind or self.reason)


def by_kind(skipped: Iterable[SkippedFile]) -> list[list[SkippedFile]]:
    """Return files by the kind of reason why they are skipped, in the order in which the kinds first come."""
    kinds: dict[str, list[SkippedFile]] = {}
    for item in skipped:
        kinds.setdefault(item.kind, []).append(item)
    return list(kinds.values())


def without_path(error: Exception, path: Path) -> str:
    """Return an error's message without the path that begins it."""
    return str(error).removeprefix(f"{path}: ")


def inspect_file(path: Path, reading: ReadSettings, *, all_frames: bool = False) -> ScanFile:
    """Return the scan that a file is, other than DICOM, by its header.

    Raises
    ------
    ScanReadError
        If it is none, or (unless ``all_frames`` are wanted) a series of frames of which ``reading`` names none.
    """
    refuse_special(path)
    needs_frame = reading.frame is None and not all_frames
    scan_format = format_of(path)
    if scan_format == "nifti":
        return _inspect_nifti(path, needs_frame)
    if scan_format == "itk":
        from napari_dinoad.images.itk.headers import holds_segments
        from napari_dinoad.images.itk.reader import itk_shape

        shape, spacing, n_frames = itk_shape(path)
        if holds_segments(path):
            return ScanFile(path, "volume", shape, spacing, stem_of(path), n_frames=n_frames, holding="mask")
        if needs_frame:
            require_frame(path, None, n_frames)
        if len(shape) == 2:
            return ScanFile(path, "image", shape[::-1], name=stem_of(path), n_frames=n_frames)
        return ScanFile(path, "volume", shape, spacing, stem_of(path), n_frames=n_frames)
    if scan_format == "picture":
        return _inspect_image(path, reading, needs_frame)
    other = other_format(path)
    if other:
        raise ScanReadError(f"{path}: {other}")
    raise ScanReadError(f"{path}: not a scan (neither DICOM nor one of {', '.join(SCAN_SUFFIXES)})")


def _inspect_nifti(path: Path, needs_frame: bool) -> ScanFile:
    from napari_dinoad.images.nifti_files import count_frames, holding_of, open_nifti, spacing_of

    image = open_nifti(path)
    shape = tuple(int(n) for n in image.shape)
    if len(shape) < 2 or min(shape) < 1:
        raise ScanReadError(f"{path}: expected a 2D or 3D scan, got shape {shape}")
    if shape[1:3] == (1, 1):
        raise ScanReadError(f"{path}: values along one line, as of a surface (shape {shape}), not a scan")
    n_frames = count_frames(image)
    if needs_frame:
        require_frame(path, None, n_frames)
    spacing, name = spacing_of(image), stem_of(path)
    return ScanFile(path, "volume", shape[:3], spacing, name, n_frames=n_frames, holding=holding_of(image))


def _inspect_image(path: Path, reading: ReadSettings, needs_frame: bool) -> ScanFile:
    from napari_dinoad.images.pictures.reader import image_layout

    layout = image_layout(path)
    n_slices = layout.n_pages
    if layout.is_series:
        if needs_frame:
            require_frame(path, None, layout.n_frames)
        n_slices = len(layout.volumes[0])
    elif reading.frame is not None:
        n_slices = 1
    if n_slices == 1:
        shape: tuple[int, ...] = (layout.rows, layout.columns)
        return ScanFile(path, "image", shape, name=stem_of(path), n_frames=layout.n_frames)
    shape = (n_slices, layout.rows, layout.columns)
    return ScanFile(path, "volume", shape, name=stem_of(path), n_frames=layout.n_frames)
