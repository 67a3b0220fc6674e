"""DICOM headers → series: which files belong together, and what they say about place and order.

Only the tags named here are ever parsed, so a patient's name, number or dates never enter the process.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID

from napari_dinoad.errors import ScanReadError
from napari_dinoad.images.volume import DisplayWindow

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pydicom import Dataset

__all__ = ["GEOMETRY_TAGS", "DicomFrame", "DicomSeries", "group_series", "is_dicom", "read_header"]

GEOMETRY_TAGS = (
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SeriesNumber",
    "SeriesDescription", "Modality", "ImageType", "InstanceNumber", "AcquisitionNumber",
    "TemporalPositionIdentifier", "EchoTime", "Rows", "Columns", "NumberOfFrames", "ImagePositionPatient",
    "ImageOrientationPatient", "PixelSpacing", "WindowCenter", "WindowWidth", "WindowCenterWidthExplanation",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
)  # fmt: skip
"""Tags that a header is read for; all others are passed over unparsed."""

POSITION_DECIMALS = 2
"""Positions that agree to so many decimals of a millimetre are the same position."""

_PREAMBLE_BYTES = 128
_MAGIC = b"DICM"

_SHORTEST_UID_END = 4
"""Characters of a UID that a user must give, so that a series number is never taken for the end of one."""

_NOT_SCANS = {
    "1.2.840.10008.5.1.4.1.1.66.4": "a segmentation",
    "1.2.840.10008.5.1.4.1.1.66.7": "a segmentation",
    "1.2.840.10008.5.1.4.1.1.30": "a parametric map",
    "1.2.840.10008.5.1.4.1.1.481.2": "a radiotherapy dose",
    "1.2.840.10008.1.3.10": "an index of a medium (DICOMDIR)",
}
"""SOP classes that hold pixels or names of files, but no scan of a patient."""


@dataclass(frozen=True)
class DicomFrame:
    """One image of a series: a whole file, or one frame of a multi-frame file.

    Attributes
    ----------
    path : Path
    number : int
        Its place in the file, from 1.
    shape : tuple of int
        (rows, columns).
    position, orientation, pixel_spacing : tuple of float, optional
        As in the header (LPS millimetres); None when it does not say.
    image_type : tuple of str
    rank : tuple
        Orders images at the same position: time point, echo, acquisition, number.
    instance_uid : str
        Tells copies of the same image.
    frame_of_reference : str
    """

    path: Path
    number: int
    shape: tuple[int, int]
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    pixel_spacing: tuple[float, ...] | None
    image_type: tuple[str, ...]
    rank: tuple[float, ...]
    instance_uid: str
    frame_of_reference: str

    @property
    def is_placed(self) -> bool:
        """Whether the header says where in the patient the image lies."""
        return None not in (self.position, self.orientation, self.pixel_spacing)

    @property
    def place(self) -> tuple[float, ...] | None:
        """Its position, rounded so that images at the same place compare equal."""
        if self.position is None:
            return None
        return tuple(round(x, POSITION_DECIMALS) + 0.0 for x in self.position)

    @property
    def is_localiser(self) -> bool:
        """Whether the scanner calls it a localiser (scout, topogram)."""
        return "LOCALIZER" in self.image_type


@dataclass(frozen=True)
class DicomSeries:
    """The images of one series, in no order.

    Attributes
    ----------
    uid : str
        SeriesInstanceUID; for a multi-frame file or an image without a place also ``/`` and its SOPInstanceUID.
    number : int, optional
    description, modality : str
        Empty when the header does not say.
    frames : tuple of DicomFrame
    is_multi_frame : bool
        Whether all frames lie in one file.
    windows : tuple of DisplayWindow
    copies : tuple of Path
        Files left out because they are copies of an image of the series.
    """

    uid: str
    number: int | None
    description: str
    modality: str
    frames: tuple[DicomFrame, ...]
    is_multi_frame: bool = False
    windows: tuple[DisplayWindow, ...] = ()
    copies: tuple[Path, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """The files, each once, in the order of the frames."""
        return tuple(dict.fromkeys(frame.path for frame in self.frames))

    @property
    def n_frames(self) -> int:
        """Images at the position that has most of them: the volumes of a time series; 1 for a plain scan."""
        return max(Counter(frame.place or (i,) for i, frame in enumerate(self.frames)).values())

    @property
    def is_localiser(self) -> bool:
        """Whether every image is a localiser."""
        return all(frame.is_localiser for frame in self.frames)

    @property
    def is_mosaic(self) -> bool:
        """Whether the slices are tiles of one picture (Siemens' mosaic)."""
        return any("MOSAIC" in frame.image_type for frame in self.frames)

    @property
    def label(self) -> str:
        """Its number, for reports: free of anything that a person typed."""
        return "series without number" if self.number is None else f"series {self.number}"

    def __str__(self) -> str:
        named = f" {self.description!r}" if self.description else ""
        kind = ", localiser" if self.is_localiser else ""
        return (
            f"{self.label}{named} ({self.modality or 'no modality'}, {len(self.frames)} images{kind}, "
            f"UID …{self.uid[-8:]})"
        )

    def answers_to(self, wanted: str) -> bool:
        """Whether a user's text names this series: its number, its description, or the end of its UID."""
        wanted = wanted.strip().removeprefix("…")
        if wanted and wanted.casefold() in (str(self.number), self.description.casefold()):
            return True
        return len(wanted) >= _SHORTEST_UID_END and self.uid.endswith(wanted)


@dataclass
class _Group:
    """A series being collected."""

    header: Dataset
    is_multi_frame: bool
    frames: list[DicomFrame] = field(default_factory=list)
    copies: list[Path] = field(default_factory=list)


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its magic word, whatever its name; an unreadable file is not."""
    try:
        with path.open("rb") as stream:
            return stream.read(_PREAMBLE_BYTES + len(_MAGIC))[_PREAMBLE_BYTES:] == _MAGIC
    except OSError:
        return False


def read_header(path: Path) -> Dataset:
    """Read the tags of `GEOMETRY_TAGS`, without pixels.

    Raises
    ------
    ScanReadError
        If the file is no DICOM image of a patient; the message says why.
    """
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(GEOMETRY_TAGS))
    except (InvalidDicomError, OSError, EOFError, ValueError, AttributeError, NotImplementedError) as error:
        raise ScanReadError(
            f"{path}: not a readable DICOM file ({type(error).__name__}). Export it again."
        ) from error
    sop_class = str(header.get("SOPClassUID", ""))
    if sop_class in _NOT_SCANS:
        raise ScanReadError(f"{path}: DICOM, but {_NOT_SCANS[sop_class]}, not a scan.")
    if not header.get("Rows") or not header.get("Columns"):
        kind = UID(sop_class).name if sop_class else "of unknown kind"
        raise ScanReadError(f"{path}: DICOM, but not an image ({kind}).")
    if not header.get("SeriesInstanceUID"):
        raise ScanReadError(
            f"{path}: a DICOM image that names no series (SeriesInstanceUID). Export it again."
        )
    return header


def group_series(paths: Iterable[Path]) -> tuple[list[DicomSeries], dict[Path, str]]:
    """Read the headers of DICOM files and put together what belongs together.

    Parameters
    ----------
    paths : iterable of Path
        DICOM files, in any order.

    Returns
    -------
    series : list of DicomSeries
        By number; a multi-frame file, or an image without a place (an X-ray), is a series of its own.
    skipped : dict
        File → reason, for those that are no images, and for copies of the same image.
    """
    groups: dict[str, _Group] = {}
    seen: set[tuple[str, str]] = set()
    skipped: dict[Path, str] = {}
    for path in paths:
        try:
            header = read_header(path)
            frames = _frames_of(header, path)
        except ScanReadError as error:
            skipped[path] = str(error).removeprefix(f"{path}: ")
            continue
        is_multi_frame = int(header.get("NumberOfFrames") or 1) > 1
        uid = str(header.SeriesInstanceUID)
        is_alone = is_multi_frame or not frames[0].is_placed
        key = f"{uid}/{frames[0].instance_uid}" if is_alone else uid
        group = groups.setdefault(key, _Group(header, is_multi_frame))
        if (key, frames[0].instance_uid) in seen:
            group.copies.append(path)
            skipped[path] = "a copy of another file of its series"
            continue
        seen.add((key, frames[0].instance_uid))
        group.frames.extend(frames)
    series = [_series_of(key, group) for key, group in groups.items()]
    series.sort(key=lambda one: (one.number is None, one.number or 0, one.uid))
    return series, skipped


def _series_of(key: str, group: _Group) -> DicomSeries:
    header = group.header
    number = header.get("SeriesNumber")
    return DicomSeries(
        uid=key,
        number=None if number is None else int(number),
        description=" ".join(str(header.get("SeriesDescription") or "").split()),
        modality=str(header.get("Modality") or ""),
        frames=tuple(group.frames),
        is_multi_frame=group.is_multi_frame,
        windows=_windows(header),
        copies=tuple(group.copies),
    )


def _frames_of(header: Dataset, path: Path) -> list[DicomFrame]:
    """Return the images of a file; functional groups of a multi-frame file are looked through."""
    n_frames = int(header.get("NumberOfFrames") or 1)
    shared = _first(header, "SharedFunctionalGroupsSequence")
    per_frame = header.get("PerFrameFunctionalGroupsSequence") or []
    frames = []
    for index in range(n_frames):
        own = per_frame[index] if index < len(per_frame) else None
        look = _Lookup(header, shared, own)
        frames.append(
            DicomFrame(
                path=path,
                number=index + 1,
                shape=(int(header.Rows), int(header.Columns)),
                position=look.numbers("PlanePositionSequence", "ImagePositionPatient", 3),
                orientation=look.numbers("PlaneOrientationSequence", "ImageOrientationPatient", 6),
                pixel_spacing=look.numbers("PixelMeasuresSequence", "PixelSpacing", 2),
                image_type=tuple(str(part).upper() for part in _listed(header.get("ImageType"))),
                rank=(
                    look.number(
                        "FrameContentSequence", "TemporalPositionIndex", "TemporalPositionIdentifier"
                    ),
                    look.number("MREchoSequence", "EffectiveEchoTime", "EchoTime"),
                    look.number("FrameContentSequence", "FrameAcquisitionNumber", "AcquisitionNumber"),
                    look.number("", "InstanceNumber"),
                    index,
                ),
                instance_uid=str(header.get("SOPInstanceUID") or path),
                frame_of_reference=str(header.get("FrameOfReferenceUID") or ""),
            )
        )
    return frames


@dataclass(frozen=True)
class _Lookup:
    """A tag of a frame: in its own functional group, the shared one, or the header itself."""

    header: Dataset
    shared: Dataset | None
    own: Dataset | None

    def value(self, sequence: str, *keywords: str) -> Any:
        for group in (self.own, self.shared):
            item = None if group is None else _first(group, sequence)
            for keyword in keywords:
                if item is not None and item.get(keyword) is not None:
                    return item.get(keyword)
        for keyword in keywords:
            if self.header.get(keyword) is not None:
                return self.header.get(keyword)
        return None

    def numbers(self, sequence: str, keyword: str, length: int) -> tuple[float, ...] | None:
        values = _listed(self.value(sequence, keyword))
        return tuple(float(value) for value in values) if len(values) == length else None

    def number(self, sequence: str, *keywords: str) -> float:
        value = self.value(sequence, *keywords)
        return 0.0 if value is None else float(value)


def _first(dataset: Dataset, sequence: str) -> Dataset | None:
    items = dataset.get(sequence) if sequence else None
    return items[0] if items else None


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return [value] if isinstance(value, str | float | int) else list(value)


def _windows(header: Dataset) -> tuple[DisplayWindow, ...]:
    """Return the window presets of a header, each once; Hounsfield units for CT."""
    own = _first(header, "PerFrameFunctionalGroupsSequence")
    look = _Lookup(header, _first(header, "SharedFunctionalGroupsSequence"), own)
    sequence = "FrameVOILUTSequence"
    centres = _listed(look.value(sequence, "WindowCenter"))
    widths = _listed(look.value(sequence, "WindowWidth"))
    names = _listed(look.value(sequence, "WindowCenterWidthExplanation"))
    ranges: Counter[tuple[float, float]] = Counter()
    windows: list[DisplayWindow] = []
    for i, (centre, width) in enumerate(zip(centres, widths, strict=False)):
        bounds = (float(centre) - float(width) / 2, float(centre) + float(width) / 2)
        if float(width) <= 0 or ranges[bounds]:
            continue
        ranges[bounds] += 1
        name = str(names[i]).strip() if i < len(names) else ""
        windows.append(DisplayWindow(name or f"Window {len(windows) + 1}", *bounds))
    return tuple(windows)
