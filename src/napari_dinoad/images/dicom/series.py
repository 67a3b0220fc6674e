"""What DICOM headers say about the images of a series: value types."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from napari_dinoad.images.volume import DisplayWindow

__all__ = ["DicomFrame", "DicomSeries", "by_place", "plane_of"]

SAME_PLACE_MM = 0.005
"""Positions that differ by less along each axis are the same position."""

_EVEN_SHARE, _EVEN_MM = 0.01, 0.02
"""Stacks whose slices together have gaps that differ by no more (share of their mean, millimetres) are one."""

_SAME_COSINE = 1e-3
"""Direction cosines that differ by less are the same, where stacks are compared."""

_PLANES = ("sagittal", "coronal", "axial")

_SHORTEST_UID_END = 4
"""Characters of a UID that a user must give, so that a series number is never taken for the end of one."""


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
        Orders images at the same position: dimensions of the file, time point, time, echo, b-value, acquisition,
        kind, number.
    instance_uid : str
        Tells copies of the same image.
    frame_of_reference : str
    acquisition : float
        Number of the acquisition that it is from; 0 where the header does not say.
    pixel_size : (str, float, float), optional
        Of an image without a place: the tag that tells height and width of a pixel, in mm or (PixelAspectRatio) in
        each other.
    stack : str
        StackID of the stack that it is of, in a multi-frame file; empty where the header does not say.
    units : str
        Of the values in PET (Units); empty where the header does not say.
    gradient : tuple of float, optional
        (3,) direction in which diffusion was measured; None where it was in none, or the header does not say.
    """

    path: Path
    number: int
    shape: tuple[int, int]
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    pixel_spacing: tuple[float, ...] | None
    image_type: tuple[str, ...]
    rank: tuple[Any, ...]
    instance_uid: str
    frame_of_reference: str
    acquisition: float = 0.0
    stack: str = ""
    pixel_size: tuple[str, float, float] | None = None
    units: str = ""
    gradient: tuple[float, ...] | None = None

    @property
    def pixel_aspect(self) -> float:
        """Height over width of a pixel of an image without a place; 1 where the header says nothing."""
        return 1.0 if self.pixel_size is None else self.pixel_size[1] / self.pixel_size[2]

    @property
    def is_placed(self) -> bool:
        """Whether the header says where in the patient the image lies."""
        return None not in (self.position, self.orientation, self.pixel_spacing)

    @property
    def is_localiser(self) -> bool:
        """Whether the scanner calls it a localiser (scout, topogram)."""
        return "LOCALIZER" in self.image_type


def by_place(frames: Iterable[DicomFrame]) -> list[list[DicomFrame]]:
    """Return images in groups that lie at one position, in order of position; those without one each alone."""
    alone = []
    at: dict[tuple[float, ...], list[DicomFrame]] = {}
    for frame in frames:
        if frame.position is None:
            alone.append([frame])
        else:
            at.setdefault(frame.position, []).append(frame)
    groups: list[list[DicomFrame]] = []
    first_in: dict[tuple[int, ...], tuple[tuple[float, ...], int]] = {}
    for position in sorted(at):
        cell = tuple(round(x / SAME_PLACE_MM) for x in position)
        near = (first_in.get(tuple(map(sum, zip(cell, step, strict=True)))) for step in _BESIDE)
        same = next((group for other, group in filter(None, near) if _is_near(position, other)), None)
        if same is None:
            first_in[cell] = (position, len(groups))
            groups.append(at[position])
        else:
            groups[same].extend(at[position])
    return [*alone, *groups]


def plane_of(orientation: np.ndarray) -> str:
    """Return the plane of the body that an orientation, (6,) or (2, 3), is nearest to."""
    return _PLANES[int(np.abs(np.cross(*orientation.reshape(2, 3))).argmax())]


def _lie_on_one_grid(frames: Iterable[DicomFrame]) -> bool:
    """Whether images have one orientation, and the positions that they lie at are even; True where none is known."""
    groups = by_place(frames)
    places = [(one.position, one.orientation) for one, *_ in groups]
    if any(None in place for place in places):
        return True
    positions, orientations = (np.array(values, dtype=float) for values in zip(*places, strict=True))
    if np.ptp(orientations, axis=0).max() > _SAME_COSINE:
        return False
    gaps = np.diff(np.sort(positions @ np.cross(orientations[0, :3], orientations[0, 3:])))
    return bool(len(gaps) < 2 or np.ptp(gaps) <= max(_EVEN_MM, _EVEN_SHARE * gaps.mean()))


_BESIDE = tuple(product((0, -1, 1), repeat=3))
"""Steps from a cell of the grid of positions to itself and its neighbours."""


def _is_near(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return all(abs(a - b) < SAME_PLACE_MM for a, b in zip(one, other, strict=True))


@dataclass(frozen=True)
class DicomSeries:
    """The images of one series, in no order.

    Attributes
    ----------
    uid : str
        SeriesInstanceUID, empty where the header names none; for a multi-frame file or an image without a place also
        ``/`` and its SOPInstanceUID, or the ConcatenationUID of its parts.
    number : int, optional
    description, modality : str
        Empty when the header does not say.
    frames : tuple of DicomFrame
    is_multi_frame : bool
        Whether the frames are those of one multi-frame image, in one file or in ``n_parts`` (a concatenation).
    windows : tuple of DisplayWindow
    patient_parts : tuple of (slice, slice)
        As in `Volume`.
    copies : tuple of Path
        Files left out because they are copies of an image of the series.
    unreadable : tuple of str
        Why files could not be read that lie beside those of the series and may be slices of it; one reason a file.
    study_uid : str
        StudyInstanceUID: some de-identifiers give series of several patients one UID.
    n_parts : int
        Files that a multi-frame image is stored in; 0 where the header does not say how many.
    is_film : bool
        Whether its frames follow each other in time, without a place in the patient.
    is_capture : bool
        Whether it is a picture of a screen or a page (secondary capture) without a place in the patient.
    body_part : str
        As the header calls it (BodyPartExamined), in capitals; empty when it does not say.
    kernel : str
        With which a CT was reconstructed (ConvolutionKernel: ``"H31s"``, ``"BONE"``); empty when it does not say.
    assumed : tuple of str
        What its header leaves open of where the images lie, and what was assumed: a sentence each.
    """

    uid: str
    number: int | None
    description: str
    modality: str
    frames: tuple[DicomFrame, ...]
    is_multi_frame: bool = False
    windows: tuple[DisplayWindow, ...] = ()
    patient_parts: tuple[tuple[slice, slice], ...] = ()
    copies: tuple[Path, ...] = ()
    unreadable: tuple[str, ...] = ()
    study_uid: str = ""
    n_parts: int = 1
    is_film: bool = False
    is_capture: bool = False
    body_part: str = ""
    kernel: str = ""
    assumed: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """The files, each once, in the order of the frames."""
        return tuple(dict.fromkeys(frame.path for frame in self.frames))

    @property
    def n_frames(self) -> int:
        """How many volumes there are to choose from: time points, stacks; 1 for a plain scan.

        Of each stack that is as many as there are images at the position that has most of them.
        """
        return sum(max(map(len, by_place(stack))) for stack in self.stacks)

    @property
    def stacks(self) -> tuple[tuple[DicomFrame, ...], ...]:
        """The images by the stacks of a multi-frame image, in its order; all in one where they make one grid."""
        is_one = not self.is_multi_frame or len({frame.stack for frame in self.frames}) == 1
        if is_one or _lie_on_one_grid(self.frames):
            return (self.frames,)
        stacks: dict[str, list[DicomFrame]] = {}
        for frame in sorted(self.frames, key=lambda one: one.rank):
            stacks.setdefault(frame.stack, []).append(frame)
        return tuple(map(tuple, stacks.values()))

    @property
    def is_localiser(self) -> bool:
        """Whether every image is a localiser."""
        return all(frame.is_localiser for frame in self.frames)

    @property
    def is_mosaic(self) -> bool:
        """Whether the slices are tiles of one picture (Siemens' mosaic)."""
        return any("MOSAIC" in frame.image_type for frame in self.frames)

    @property
    def told_unreadable(self) -> str:
        """A sentence on the files that could not be read; empty when there are none."""
        if not self.unreadable:
            return ""
        reasons = "; ".join(f"{n} × {reason}" for reason, n in Counter(self.unreadable).items())
        return (
            f"Slices may be missing, at the ends too: files beside this series could not be read ({reasons})."
        )

    @property
    def label(self) -> str:
        """Its number, for reports: free of anything that a person typed."""
        return "series without number" if self.number is None else f"series {self.number}"

    def __str__(self) -> str:
        named = f" {self.description!r}" if self.description else ""
        kind = f", kernel {self.kernel}" if self.kernel else ""
        kind += ", localiser" if self.is_localiser else ""
        return (
            f"{self.label}{named} ({self.modality or 'no modality'}, {len(self.frames)} images{kind}, "
            f"UID …{self.uid[-8:]})"
        )

    @property
    def described(self) -> str:
        """Its description, with the kernel where that is no word of it; empty without a description."""
        # Philips' kernels are letters (A, B).
        of_kernel = re.compile(rf"(?<![^\W_]){re.escape(self.kernel)}(?![^\W_])", re.IGNORECASE)
        is_said = not (self.description and self.kernel) or of_kernel.search(self.description)
        return self.description if is_said else f"{self.description} {self.kernel}"

    @property
    def series_name(self) -> str:
        """What it is told apart by from others of its study: as described, else its number; empty without both."""
        return self.described or self._number_text

    @property
    def _number_text(self) -> str:
        return "" if self.number is None else str(self.number)

    @property
    def series_texts(self) -> tuple[str, ...]:
        """What a pattern is compared with: its description, with and without the kernel."""
        return self.description, self.described

    @property
    def series_place(self) -> str:
        """Nothing: folders of DICOM files say nothing."""
        return ""

    def answers_to(self, wanted: str) -> bool:
        """Whether a user's text names this series: its number, description, kernel or both, or the end of its UID."""
        wanted = wanted.strip().removeprefix("…")
        texts = (self._number_text, self.description, self.kernel, self.described)
        if wanted and wanted.casefold() in map(str.casefold, texts):
            return True
        return len(wanted) >= _SHORTEST_UID_END and self.uid.endswith(wanted)
