"""The images of a DICOM series → one stack in order, or a refusal that says what is wrong with it.

The rules of the standard for place and order are highdicom's; here is only what makes a stack unfit.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

import highdicom as hd
import numpy as np
from highdicom.spatial import get_plane_sort_index, get_volume_positions

from napari_dinoad.errors import ScanReadError
from napari_dinoad.images.dicom.frame_choice import choose_frame, choose_stack, pick
from napari_dinoad.images.dicom.frame_places import US_REGIONS
from napari_dinoad.images.dicom.series import plane_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_dinoad.images.dicom.series import DicomFrame, DicomSeries

__all__ = ["DicomStack", "arrange_slices", "shift_tolerance_px"]

SPACING_TOLERANCE = 0.01
"""Gaps between slices may differ from their mean by this share of it (headers round positions)."""

SPACING_TOLERANCE_MM = 0.02
"""… or by this much: headers that round positions to hundredths of a millimetre are even."""

COARSE_ROUNDING_MM = 0.1
"""… or by what rounding to this does to them, where all positions differ by multiples of it (older scanners)."""

_MULTIPLE_TOLERANCE_MM = 1e-3
"""Differences of positions within this of a multiple are multiples: headers may have six digits in all."""

DRIFT_TOLERANCE = 0.1
"""Slices may lie off their place in an even stack by this share of a gap: small differences of gaps may add up. Where
all positions are rounded to `COARSE_ROUNDING_MM`, what that does to them is allowed in any case."""

SHIFT_TOLERANCE_PX = 0.1
"""Slices may be shifted in their plane against the first one by this much; more is a tilted gantry."""

ROUNDED_SHIFT_PX = 0.5
"""… or, where all positions are rounded to `COARSE_ROUNDING_MM`, by what that does to them, up to this much."""

ORIENTATION_TOLERANCE = 1e-6
"""Direction vectors whose cosine is within this of 1 (0.08°) are the same orientation."""

PIXEL_SPACING_TOLERANCE_MM = 1e-4
"""Pixel spacings within this are the same."""

SMALLEST_GAP_MM = 0.01
"""Slices nearer than this lie at the same depth."""

_FEWEST_EVEN = 3
"""Slices of an acquisition that are called even: two always are."""

MAX_BRIDGED_GAP = 3.0
"""Resampling bridges gaps up to this many times the usual one; over a wider one it would invent tissue."""

_MILLIMETRES_OF = {
    "PixelSpacing": "",
    "ImagerPixelSpacing": " at the detector",
    "NominalScannedPixelSpacing": " of what was scanned",
    US_REGIONS: " in the ultrasound's image of tissue",
}
"""Tags that tell the size of a pixel of an image without a place, and where it is so large."""

_FILM = "{} images that follow in time (a film), read as the slices of a stack."

_ANY_DIRECTION = 3.0
"""highdicom's limit on 1 − cosine, out of use: shifts are judged in pixels (`SHIFT_TOLERANCE_PX`)."""


@dataclass(frozen=True, eq=False)
class DicomStack:
    """The images that make up a scan, in the order of its slices.

    Attributes
    ----------
    frames : tuple of DicomFrame
    geometry : highdicom.VolumeGeometry, optional
        (slices, rows, columns), LPS; as if the slices were even when they are not. None without physical place.
    offsets : numpy.ndarray
        (n, 3) place of each slice's first pixel in ``geometry``: slice, row and column index.
    faults : tuple of str
        Why the slices are no even stack; empty when they are.
    can_resample : bool
        Whether an even stack can be made of them by interpolation.
    notes : tuple of str
        What was left out or chosen.
    """

    frames: tuple[DicomFrame, ...]
    geometry: hd.VolumeGeometry | None
    offsets: np.ndarray
    faults: tuple[str, ...] = ()
    can_resample: bool = True
    notes: tuple[str, ...] = ()


def arrange_slices(series: DicomSeries, frame: int | None = None) -> DicomStack:
    """Put the images of a series in order.

    Parameters
    ----------
    series : DicomSeries
    frame : int, optional
        Which image of each position to take, from 0, where there are several (time points, echoes); of a multi-frame
        image of several stacks those of one stack after those of the other; which image, where none has a position.

    Raises
    ------
    ScanReadError
        If the images make no single scan: localisers, a part of a multi-frame image, mixed orientation or size,
        duplicates, several volumes or stacks without ``frame``. The message begins with what is wrong and names no
        path.
    """
    if series.is_mosaic:
        raise ScanReadError(
            "slices stored as tiles of one picture (Siemens mosaic), which give no position each. "
            "Convert the series with dcm2niix and open the NIfTI file."
        )
    if series.n_parts > 1 and len(series.files) != series.n_parts:
        raise ScanReadError(
            f"{len(series.files)} of the {series.n_parts} files that hold parts of one multi-frame image "
            "(concatenation). Put all of them in one folder, or export the series again."
        )
    images, frame, of_stack = choose_stack(series, frame)
    frames, notes = _without_localisers(images)
    notes = (*of_stack, *notes)
    _require_one_kind(frames)
    if not frames[0].is_placed:
        return _unplaced(frames, frame, notes, is_film=series.is_film)
    frames, more = choose_frame(frames, frame)
    try:
        return _ordered(frames, (*notes, *more, *series.assumed))
    except (ValueError, np.linalg.LinAlgError):
        raise ScanReadError(
            "positions, orientation and pixel spacing of the header make no grid. Export the series again."
        ) from None


def _without_localisers(images: Sequence[DicomFrame]) -> tuple[list[DicomFrame], tuple[str, ...]]:
    frames = [one for one in images if not one.is_localiser]
    if not frames:
        raise ScanReadError("a localiser (scout), not a scan. Choose another series.")
    n_left_out = len(images) - len(frames)
    notes = () if not n_left_out else (f"{n_left_out} localiser images of the series were left out.",)
    return frames, notes


def _require_one_kind(frames: Sequence[DicomFrame]) -> None:
    """Raise unless all images have one size, unit, pixel spacing, orientation and frame of reference."""
    sizes = Counter(one.shape for one in frames)
    if len(sizes) > 1:
        told = ", ".join(f"{n} of {rows} × {columns}" for (rows, columns), n in sizes.most_common())
        raise ScanReadError(f"images of different sizes in one series: {told} pixels. Split the series.")
    if len({one.units for one in frames}) > 1:
        raise ScanReadError(
            "images whose values have different units in one series (Units). Split the series."
        )
    n_placed = sum(one.is_placed for one in frames)
    if 0 < n_placed < len(frames):
        raise ScanReadError(
            f"{len(frames) - n_placed} of {len(frames)} images have no position. Split the series."
        )
    if not n_placed:
        return
    if len({one.frame_of_reference for one in frames}) > 1:
        raise ScanReadError("images with different frames of reference in one series. Split the series.")
    _require_one_orientation(frames)
    spacings = np.array([one.pixel_spacing for one in frames])
    if np.ptp(spacings, axis=0).max() > PIXEL_SPACING_TOLERANCE_MM:
        low, high = spacings.min(), spacings.max()
        raise ScanReadError(f"images of different pixel spacing, {low:g} to {high:g} mm. Split the series.")


def _require_one_orientation(frames: Sequence[DicomFrame]) -> None:
    groups: list[list[np.ndarray]] = []
    for one in frames:
        vectors = np.array(one.orientation).reshape(2, 3)
        for group in groups:
            cosines = (vectors * group[0]).sum(axis=1)
            if (cosines > 1 - ORIENTATION_TOLERANCE).all() or np.array_equal(vectors, group[0]):
                group.append(vectors)
                break
        else:
            groups.append([vectors])
    if len(groups) > 1:
        groups.sort(key=len, reverse=True)
        told = ", ".join(f"{len(group)} {plane_of(group[0])}" for group in groups[:4])
        more = f" and {len(groups) - 4} others" if len(groups) > 4 else ""
        turned = ""
        if len({plane_of(group[0]) for group in groups}) == 1:
            turned = f", turned against each other by up to {_most_degrees(groups):.0f}°"
        raise ScanReadError(
            f"images of mixed orientation: {told}{more}{turned}. Export each orientation as a series of its own."
        )


def _most_degrees(groups: Sequence[Sequence[np.ndarray]]) -> float:
    """Return the largest angle between the rows, or the columns, of images of the first group and any other."""
    cosines = [(group[0] * groups[0][0]).sum(axis=1).min() for group in groups[1:]]
    return float(np.degrees(np.arccos(np.clip(min(cosines), -1, 1))))


def _unplaced(
    frames: list[DicomFrame], frame: int | None, notes: tuple[str, ...], *, is_film: bool
) -> DicomStack:
    """Return images without a place in the patient, as they lie in their file: X-rays, ultrasound, OCT, films."""
    if frame is not None:
        frames = [pick(frames, frame)]
        notes = (*notes, f"Image {frame} of the series, counted from 0.")
    elif is_film:
        notes = (*notes, _FILM.format(len(frames)))
    told = f"No place in the patient in the header: sizes are in pixels.{_told_size(frames[0])}"
    return DicomStack(tuple(frames), None, np.zeros((len(frames), 3)), notes=(*notes, told))


def _told_size(image: DicomFrame) -> str:
    """Return a sentence on the size of the pixels of an image without a place, where its header says that."""
    if image.pixel_size is None:
        return ""
    keyword, height, width = image.pixel_size
    if keyword in _MILLIMETRES_OF:
        return f" A pixel is {width:g} × {height:g} mm{_MILLIMETRES_OF[keyword]} by {keyword}."
    return "" if height == width else f" A pixel is {width:g}:{height:g}, width to height, by {keyword}."


def _ordered(frames: list[DicomFrame], notes: tuple[str, ...]) -> DicomStack:
    """Sort by place, and judge whether the stack is even."""
    first = frames[0]
    orientation, pixel_spacing = first.orientation, first.pixel_spacing
    if orientation is None or pixel_spacing is None:
        raise ScanReadError("images without position.")
    positions = np.array([one.position for one in frames])
    order = get_plane_sort_index(positions, orientation)
    frames, positions = [frames[i] for i in order], positions[order]
    unit = _geometry(first, positions[0], len(frames), 1.0)
    places = unit.map_reference_to_indices(positions)  # first column: millimetres along the normal
    gaps = np.diff(places[:, 0])
    if len(gaps) and gaps.min() < SMALLEST_GAP_MM:
        n_beside = int(np.count_nonzero(gaps < SMALLEST_GAP_MM))
        raise ScanReadError(
            f"{n_beside + 1} images lie side by side at one depth; expected one image at each. Split the series."
        )
    spacing = _even_spacing(positions, orientation, places[:, 0])
    shifts = np.abs(places[:, 1:]).max(axis=0)
    faults = []
    if spacing is None:
        faults.append(_gap_fault(gaps))
    if (shifts > shift_tolerance_px(positions, orientation, pixel_spacing)).any():
        faults.append(_tilt_fault(places, pixel_spacing))
    if spacing is None:
        _require_one_acquisition(frames, places[:, 0])
    usual = float(np.median(gaps)) if len(gaps) else 1.0
    can_resample = bool(len(gaps) == 0 or gaps.max() <= MAX_BRIDGED_GAP * usual)
    spacing = usual if spacing is None else spacing
    offsets = places / (spacing, 1, 1)
    geometry = _geometry(first, positions[0], len(frames), spacing)
    return DicomStack(tuple(frames), geometry, offsets, tuple(faults), can_resample, notes)


def _geometry(first: DicomFrame, position: np.ndarray, n_slices: int, spacing: float) -> hd.VolumeGeometry:
    return hd.VolumeGeometry.from_attributes(
        image_position=position.tolist(),
        image_orientation=list(first.orientation or ()),
        rows=first.shape[0],
        columns=first.shape[1],
        pixel_spacing=list(first.pixel_spacing or ()),
        spacing_between_slices=spacing,
        number_of_frames=n_slices,
        coordinate_system="PATIENT",
    )


def _even_spacing(positions: np.ndarray, orientation: Sequence[float], depths: np.ndarray) -> float | None:
    """Return the way from slice to slice of an even stack, else None; ``depths`` (n,) are millimetres along it."""
    if len(depths) == 1:
        return 1.0
    (rounding,) = _rounding_along(positions, np.cross(orientation[:3], orientation[3:])[np.newaxis])
    tolerance = max(SPACING_TOLERANCE_MM, SPACING_TOLERANCE * float(np.diff(depths).mean()), float(rounding))
    spacing, _ = get_volume_positions(
        positions, orientation, atol=tolerance, perpendicular_tol=_ANY_DIRECTION
    )
    if spacing is None:
        return None
    drift = np.abs(depths - spacing * np.arange(len(depths))).max()
    return float(spacing) if drift <= max(DRIFT_TOLERANCE * spacing, rounding) else None


def shift_tolerance_px(
    positions: np.ndarray, orientation: Sequence[float], pixel_spacing: Sequence[float]
) -> np.ndarray:
    """Return by how many rows and columns (2,) slices may be shifted in their plane against the first one.

    Parameters
    ----------
    positions : numpy.ndarray
        (n, 3) place of each slice's first pixel, in millimetres.
    orientation, pixel_spacing : sequence of float
        As in DICOM: (6,), and millimetres between rows and between columns.
    """
    along_row, along_column = np.array(orientation, dtype=float).reshape(2, 3)
    rounding = _rounding_along(positions, np.array([along_column, along_row])) / pixel_spacing
    return np.asarray(np.clip(rounding, SHIFT_TOLERANCE_PX, ROUNDED_SHIFT_PX))


def _rounding_along(positions: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Return by how many millimetres the way between two positions may be off along axes (k, 3).

    That is 0 unless the header rounds all of them to tenths.
    """
    steps = positions - positions[0]
    multiples = COARSE_ROUNDING_MM * np.rint(steps / COARSE_ROUNDING_MM)
    if np.abs(steps - multiples).max() > _MULTIPLE_TOLERANCE_MM:
        return np.zeros(len(axes))
    return np.asarray(COARSE_ROUNDING_MM * np.abs(axes).sum(axis=1))


def _require_one_acquisition(frames: Sequence[DicomFrame], depths: np.ndarray) -> None:
    """Raise where slices (n,) that are not even are even stacks of several acquisitions that lie among each other.

    They are phases of one examination, say: resampled together they would be mixed.
    """
    numbers = np.array([one.acquisition for one in frames])
    stacks = [depths[numbers == number] for number in np.unique(numbers)]
    if len(stacks) < 2 or min(map(len, stacks)) < _FEWEST_EVEN or not all(map(_is_even, stacks)):
        return
    stacks.sort(key=lambda stack: float(stack[0]))
    if any(later[0] < earlier[-1] for earlier, later in pairwise(stacks)):
        told = ", ".join(str(len(stack)) for stack in stacks)
        raise ScanReadError(
            f"slices of {len(stacks)} acquisitions (AcquisitionNumber; {told} slices) that lie among each other, "
            "each even by itself: phases of one examination, probably. Put those of each in a folder of its own."
        )


def _is_even(depths: np.ndarray) -> bool:
    gaps = np.diff(depths)
    return bool(np.ptp(gaps) <= max(SPACING_TOLERANCE_MM, SPACING_TOLERANCE * gaps.mean()))


def _gap_fault(gaps: np.ndarray) -> str:
    """Say which gaps there are and where the odd ones lie: missing slices, or an uneven series."""
    usual = float(np.median(gaps))
    tolerance = max(SPACING_TOLERANCE_MM, SPACING_TOLERANCE * usual)
    multiples = np.rint(gaps / usual)
    is_multiple = np.abs(gaps - multiples * usual) <= tolerance * multiples
    if multiples.min() == 1 and multiples.max() > 1 and is_multiple.all():
        n_missing = int((multiples - 1).sum())
        where = ", ".join(f"{gaps[i]:.2f} mm after slice {i + 1}" for i in np.flatnonzero(multiples > 1)[:5])
        return f"{n_missing} missing slices: the slices are {usual:.2f} mm apart, but {where}"
    runs = [(size, len(list(run))) for size, run in groupby(np.round(gaps, 2))]
    told = ", ".join(f"{n} × {size:.2f} mm" for size, n in runs[:8])
    more = f" and {len(runs) - 8} more changes" if len(runs) > 8 else ""
    return f"uneven gaps between the slices: {told}{more}"


def _tilt_fault(places: np.ndarray, pixel_spacing: Sequence[float]) -> str:
    along, *across = np.ptp(places, axis=0) * (1.0, *pixel_spacing)
    angle = np.degrees(np.arctan2(np.hypot(*across), along))
    return (
        f"a tilted gantry: the slices are shifted against each other in their plane by {np.hypot(*across):.1f} mm "
        f"from the first to the last ({angle:.1f}°)"
    )
