"""The source images of a scan from DICOM, as objects that are made of it refer to them.

Such an object repeats the patient and study of the source images, as the standard requires of every DICOM object:
these are the only outputs that name the patient.
"""

from __future__ import annotations

import logging
import threading
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import highdicom as hd
import numpy as np
from pydicom import Dataset
from pydicom.uid import CTImageStorage, MRImageStorage, PositronEmissionTomographyImageStorage
from pydicom.valuerep import format_number_as_ds

from napari_dinoad import __version__
from napari_dinoad.errors import DinoadError, GeometryError, SettingError
from napari_dinoad.images.dicom_files import MANUFACTURER
from napari_dinoad.images.dicom_frame_places import PLACED_OTHERWISE
from napari_dinoad.images.dicom_stack import shift_tolerance_px
from napari_dinoad.images.persons import of_persons
from napari_dinoad.maps.dicom_source_header import number_of, source_header

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from napari_dinoad.images.volume import Volume

__all__ = [
    "Frames",
    "as_frames",
    "derived",
    "describe",
    "discreet",
    "model_parameters",
    "new_instance",
    "source_fault",
    "source_headers",
    "unheard",
]

POSITION_TOLERANCE_MM = 0.01
"""A frame that is farther than this from its source image is not written: it would not line up."""

POSITION_TOLERANCE_VOXELS = 0.1
"""… unless it is along no axis off by more than this share of a voxel, or in its plane by what is let pass when it is
read: slices need be no more even than that."""

EVEN_TO_MM = 1e-4
"""Frames this near to an even grid keep their source's numbers; others are put on it. Readers take frames for uneven
that are 1e-3 mm off it (GDCM, by which ITK reads: it gives every voxel 1 mm) or a hundredth of a gap (highdicom)."""

_ALWAYS_IN_SPACE = (CTImageStorage, MRImageStorage, PositronEmissionTomographyImageStorage)
"""Kinds of image that the standard allows in a frame of reference only."""

_SHARED_UID = "several source images have the same SOPInstanceUID, by which it would refer to them"

_MAX_SERIES_NUMBER = 2**31 - 1

Frames: TypeAlias = np.ndarray | hd.Volume
"""Values as frames (n, rows, columns) of the source images, or with a place of their own."""

_Made = TypeVar("_Made", bound=Dataset)


def derived(
    name: str,
    instead: str,
    values: np.ndarray,
    volume: Volume,
    make: Callable[[list[Dataset], Frames], _Made],
) -> _Made:
    """Return a DICOM object of values on the grid of a scan.

    Parameters
    ----------
    name : str
        What it is called in messages.
    instead : str
        What else can be done, for messages.
    values : numpy.ndarray
        (z, y, x) in canonical orientation.
    volume : Volume
        A scan with ``dicom_files``.
    make : callable
        Makes the object of the headers of the source images and the values as their frames.

    Raises
    ------
    SettingError
        If the scan was not read from DICOM, or its headers lack what the standard requires.
    ScanReadError
        If a source file has gone or is damaged.
    GeometryError
        If the source images do not lie where the scan lies.
    """
    fault = source_fault(volume)
    if fault:
        raise SettingError(f"{name}: {fault}. {instead}.")
    with discreet(name, instead):
        sources = source_headers(volume)
        if len({source.SOPInstanceUID for source in sources}) < len(sources):
            raise SettingError(f"{name}: {_SHARED_UID}. {instead}.")
        return _without_other_frames(make(sources, _source_frames(values, volume, sources)), volume)


@contextmanager
def discreet(name: str, instead: str) -> Iterator[None]:
    """Keep to ourselves what pydicom and highdicom say of headers inside the block: they quote values of tags.

    Warnings and logs are dropped; errors become `SettingError` or `GeometryError` that begin with ``name``, what was
    to be made, and end with ``instead``, what else can be done.
    """
    with unheard():
        try:
            yield
        except GeometryError as error:
            raise GeometryError(f"{name}: {error}. {instead}.") from error
        except DinoadError:
            raise
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            told = str(error) if isinstance(error, AttributeError) else type(error).__name__
            # The cause may quote a tag's value, so it is not chained.
            raise SettingError(
                f"{name}: the headers of the source images lack what the standard requires ({told}). {instead}."
            ) from None


class _Unheard(logging.Filter):
    """Drops what is logged in a block of `unheard`; threads elsewhere are heard."""

    def __init__(self) -> None:
        super().__init__()
        self.here = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:
        return not getattr(self.here, "is_unheard", False)


_FILTER = _Unheard()
logging.getLogger("pydicom").addFilter(_FILTER)


@contextmanager
def unheard() -> Iterator[None]:
    """Drop what pydicom warns of, and logs, inside the block: it quotes values of tags."""
    before = getattr(_FILTER.here, "is_unheard", False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _FILTER.here.is_unheard = True
        try:
            yield
        finally:
            _FILTER.here.is_unheard = before


def source_headers(volume: Volume) -> list[Dataset]:
    """Return the headers of a scan's source images, with what objects made of them need put in order.

    Raises
    ------
    ScanReadError
        If a source file has gone or is damaged.
    """
    return [_with_distances(source_header(path), volume) for path in volume.dicom_files or ()]


def source_fault(volume: Volume) -> str:
    """Return why no DICOM object can be made of a scan; empty when one can. Reads two headers at most.

    Raises
    ------
    ScanReadError
        If the first or the last source file has gone or is damaged.
    """
    if not volume.dicom_files:
        return "expected a scan read from DICOM, whose images it refers to"
    with unheard():
        header = source_header(volume.dicom_files[0])
        last = source_header(volume.dicom_files[-1])
    if len(volume.dicom_files) > 1 and header.get("SOPInstanceUID") == last.get("SOPInstanceUID"):
        return _SHARED_UID
    if len(volume.dicom_files) > 1 and "PerFrameFunctionalGroupsSequence" in header:
        return "expected single images or one multi-frame file, got a multi-frame image in several files"
    if volume.geometry.is_physical and str(header.get("SOPClassUID")) in PLACED_OTHERWISE:
        return (
            "expected images whose frames say where in the patient they lie, got nuclear medicine or an ultrasound "
            "volume, to whose frames it cannot refer"
        )
    needed = ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"]
    if volume.geometry.is_physical or header.get("SOPClassUID") in _ALWAYS_IN_SPACE:
        needed.append("FrameOfReferenceUID")
    missing = [keyword for keyword in needed if not header.get(keyword)]
    if missing:
        return f"the headers of the source images lack {', '.join(missing)}"
    if not volume.geometry.is_physical and volume.geometry.canonical_shape[0] > 1:
        return "expected images with a position, or a single one, got several without"
    if not volume.geometry.is_physical and int(header.get("NumberOfFrames") or 1) > 1:
        return "expected images with a position, or a file of a single one, got a frame of several without"
    return ""


def new_instance(source: Dataset, series_offset: int) -> dict[str, Any]:
    """Return what highdicom asks of the first object of a new series: UIDs, numbers and what made it.

    The series' number is the source's and ``series_offset``.
    """
    return {
        "series_instance_uid": hd.UID(),
        "series_number": min(number_of(source, "SeriesNumber") + series_offset, _MAX_SERIES_NUMBER),
        "sop_instance_uid": hd.UID(),
        "instance_number": 1,
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": MANUFACTURER,
        "software_versions": __version__,
        "device_serial_number": "none",
    }


def model_parameters(card: Mapping[str, Any] | None) -> dict[str, str]:
    """Return what identifies the model, as names and values for people; nothing without its card."""
    if card is None:
        return {}
    backbone = card["backbone"]
    return {
        "scorer": str(card["scorer"]),
        "backbone": str(backbone["name"]),
        "backbone weights SHA-256": str(backbone["weights_sha256"]),
        "normal scans": f"{card['n_scans']}{of_persons(card['n_scans'], card.get('n_persons'))}",
        "model created": str(card["created"]),
    }


def _derivation(card: Mapping[str, Any] | None) -> str:
    """Return one text on how an object was made, of what `model_parameters` says."""
    told = (f"{name}: {value}" for name, value in model_parameters(card).items())
    return "; ".join((f"napari-dinoad {__version__}, research use only", *told))


def describe(made: Dataset, source: Dataset, card: Mapping[str, Any] | None) -> None:
    """Add, in place, what highdicom leaves out: how an image was made, and the side of a paired body part."""
    made.DerivationDescription = _derivation(card)
    side = source.get("Laterality")
    made.Laterality = side if side in ("R", "L") else ""


def _with_distances(source: Dataset, volume: Volume) -> Dataset:
    """Let an image say how thick it is and how far the slices are apart; frames must state a thickness.

    Where it does not say, its thickness is the distance between slices. Some scanners call the gap between two slices
    their spacing; the standard means the distance of their centres, and readers place frames by it.
    """
    if "ImagePositionPatient" not in source:
        return source
    distance = float(np.linalg.norm(volume.geometry.affine[:3, 2]))
    if not _is_length(source.get("SliceThickness")):
        source.SliceThickness = f"{distance:.6g}"
    if "SpacingBetweenSlices" in source and len(volume.dicom_files or ()) > 1:
        source.SpacingBetweenSlices = f"{distance:.6g}"
    return source


def _is_length(value: object) -> bool:
    """Return whether a header's value is a number of millimetres; some write ``2,0``."""
    try:
        return float(str(value)) >= 0
    except ValueError:
        return False


def _source_frames(values: np.ndarray, volume: Volume, sources: list[Dataset]) -> Frames:
    """Return (z, y, x) values as frames (n, rows, columns) of the source images, or with a place of their own.

    Frames of single images take over the images' place and spacing to the digit where these are even, and lie on the
    scan's even grid where they are not quite: the headers are changed, in place. Frames of multi-frame images and of
    resampled scans bring their own; highdicom then finds the source frames that lie where they lie.
    """
    frames = np.ascontiguousarray(as_frames(values, volume))
    if not volume.geometry.is_physical:
        _require_shape(frames, sources)
        return frames
    affine = volume.geometry.affine[:, [2, 1, 0, 3]]
    if volume.is_resampled:
        return hd.Volume(frames, affine, "PATIENT", from_reference_convention="RAS")
    if not volume.dicom_frames and len(sources) == len(frames):
        _require_shape(frames, sources)
        _require_positions(affine, sources)
        _put_on_grid(affine, [source for source in sources if "ImagePositionPatient" in source])
        return frames
    _put_on_grid(affine, _planes_of_frames(sources[0], volume.dicom_frames))
    return hd.Volume(frames, affine, "PATIENT", from_reference_convention="RAS")


def _planes_of_frames(source: Dataset, numbers: Sequence[int]) -> list[Dataset]:
    """Return what holds the position of each frame of a multi-frame header; nothing where some have none."""
    groups = source.get("PerFrameFunctionalGroupsSequence", ())
    planes = [
        plane
        for number in numbers
        for plane in groups[number - 1].get("PlanePositionSequence", ())
        if "ImagePositionPatient" in plane
    ]
    return planes if len(planes) == len(numbers) else []


def _put_on_grid(affine: np.ndarray, planes: Sequence[Dataset]) -> None:
    """Let planes lie on the scan's grid, in place, unless they lie evenly already.

    Parameters
    ----------
    affine : numpy.ndarray
        As of `_require_positions`.
    planes : sequence of pydicom.Dataset
        What holds the position of each slice, in their order.
    """
    if len(planes) < 2:
        return
    positions = np.array([plane.ImagePositionPatient for plane in planes], dtype=float)
    shares = np.linspace(0, 1, len(planes))[:, np.newaxis]
    even = positions[0] + shares * (positions[-1] - positions[0])
    if np.abs(positions - even).max() <= EVEN_TO_MM:
        return
    for index, plane in enumerate(planes):
        place = (affine @ [index, 0, 0, 1])[:3] * (-1, -1, 1)
        plane.ImagePositionPatient = [format_number_as_ds(float(x)) for x in place]


def as_frames(values: np.ndarray, volume: Volume) -> np.ndarray:
    """Return (n, rows, columns) of a canonical (z, y, x) array, as the source images of a scan are stored."""
    stored = volume.geometry.to_stored(values)
    if not volume.geometry.is_physical:
        return stored.reshape(-1, *stored.shape[-2:])
    return stored.reshape(*stored.shape[:2], -1).transpose(2, 1, 0)


def _require_shape(frames: np.ndarray, sources: list[Dataset]) -> None:
    n = sum(int(source.get("NumberOfFrames") or 1) for source in sources)
    expected = (n, int(sources[0].Rows), int(sources[0].Columns))
    if frames.shape != expected:
        raise GeometryError(f"expected frames of the source's shape {expected}, got {frames.shape}")


def _require_positions(affine: np.ndarray, sources: list[Dataset]) -> None:
    """Raise unless the first and the last pixel of each frame lie where its source image says.

    ``affine`` takes (slice, row, column) to RAS. Multi-frame images have no position at the top of their header;
    highdicom matches their frames.
    """
    if any("ImagePositionPatient" not in source for source in sources):
        return
    to_voxels = np.linalg.inv(affine[:3, :3])
    positions = np.array([source.ImagePositionPatient for source in sources], dtype=float)
    orientation = [float(x) for x in sources[0].ImageOrientationPatient]
    spacing = [float(x) for x in sources[0].PixelSpacing]
    in_plane = np.maximum(POSITION_TOLERANCE_VOXELS, shift_tolerance_px(positions, orientation, spacing))
    tolerance = np.array([POSITION_TOLERANCE_VOXELS, *in_plane])
    for index, source in enumerate(sources):
        last = (int(source.Rows) - 1, int(source.Columns) - 1)
        for row, column in ((0, 0), last):
            ours = (affine @ [index, row, column, 1])[:3]
            apart = ours - _place_in_patient(source, row, column) * (-1, -1, 1)
            distance = float(np.linalg.norm(apart))
            shares = np.abs(to_voxels @ apart)
            worst = int(np.argmax(shares - tolerance))
            if distance > POSITION_TOLERANCE_MM and shares[worst] > tolerance[worst]:
                raise GeometryError(
                    f"slice {index + 1} lies {distance:.3f} mm from its source image, {shares[worst]:.2f} of a voxel "
                    f"along one axis; expected at most {tolerance[worst]:.2g}"
                )


def _place_in_patient(source: Dataset, row: int, column: int) -> np.ndarray:
    """Return the LPS position of a pixel (the standard's equation C.7.6.2.1-1)."""
    along_row, along_column = np.array(source.ImageOrientationPatient, dtype=float).reshape(2, 3)
    between_rows, between_columns = (float(x) for x in source.PixelSpacing)
    start = np.array(source.ImagePositionPatient, dtype=float)
    return np.asarray(start + along_row * between_columns * column + along_column * between_rows * row)


def _without_other_frames(made: _Made, volume: Volume) -> _Made:
    """Let frames refer only to those frames of a multi-frame source that the scan is of, not to other time points."""
    used = set(volume.dicom_frames)
    for group in made.PerFrameFunctionalGroupsSequence if used else ():
        for derivation in group.get("DerivationImageSequence", ()):
            derivation.SourceImageSequence = [
                source
                for source in derivation.SourceImageSequence
                if "ReferencedFrameNumber" not in source or source.ReferencedFrameNumber in used
            ]
    return made
