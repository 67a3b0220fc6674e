"""Several volumes in one DICOM series or image (stacks, time points, echoes) → the images of one of them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dinoad.errors import ScanReadError, SeveralFramesError
from napari_dinoad.images.dicom.series import by_place, plane_of
from napari_dinoad.images.frame_choice import told_to_choose

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_dinoad.images.dicom.series import DicomFrame, DicomSeries

__all__ = ["choose_frame", "choose_stack", "pick"]

_FEWEST_SLICES = 3
"""Images that are taken for a volume: fewer may have been put into the series by mistake."""

_SAME_GRADIENT = 0.99
"""Cosine of the angle (8°) between directions of diffusion that are one."""

_MOST_TOLD = 8
"""Stacks that a message lists."""


def choose_stack(
    series: DicomSeries, frame: int | None
) -> tuple[tuple[DicomFrame, ...], int | None, tuple[str, ...]]:
    """Return the images of the stack that a frame is of, which of its frames that is, and a note on the stack."""
    stacks = series.stacks
    if len(stacks) == 1:
        return series.frames, frame, ()
    counts = [max(map(len, by_place(stack))) for stack in stacks]
    firsts = np.cumsum([0, *counts]).tolist()
    if frame is None:
        told = [
            f"{len(stack) // n} {plane_of(np.array(stack[0].orientation))} slices (frame"
            + (f" {first})" if n == 1 else f"s {first} to {first + n - 1})")
            for stack, n, first in zip(stacks, counts, firsts[:-1], strict=True)
        ]
        more = ", …" if len(told) > _MOST_TOLD else ""
        raise SeveralFramesError(
            f"{len(stacks)} stacks of slices in one image (StackID): {', '.join(told[:_MOST_TOLD])}{more}; "
            f"{told_to_choose(firsts[-1])}"
        )
    if not 0 <= frame < firsts[-1]:
        raise ScanReadError(f"frame: expected 0 to {firsts[-1] - 1}, got {frame}.")
    place = next(i for i, n in enumerate(counts) if frame < firsts[i] + n)
    note = f"Stack {place + 1} of {len(stacks)} (StackID), frame {frame} of the image's {firsts[-1]} from 0."
    return stacks[place], frame - firsts[place], (note,)


def choose_frame(frames: Sequence[DicomFrame], frame: int | None) -> tuple[list[DicomFrame], tuple[str, ...]]:
    """Return one image for each position."""
    at = by_place(frames)
    counts = Counter(len(group) for group in at)
    n_volumes = max(counts)
    if n_volumes == 1:
        if frame not in (None, 0):
            raise ScanReadError(f"frame: expected 0, the only one, got {frame}.")
        return [group[0] for group in at], ()
    if len(counts) > 1:
        raise ScanReadError(_unequal_places(counts, frames))
    if any(len({one.rank for one in group}) < n_volumes for group in at):
        raise ScanReadError(
            f"{n_volumes} images at each of {len(at)} positions, and nothing in the headers (time, echo, number, …) "
            "tells which belong together. Put those of each volume in a folder of its own."
        )
    if frame is None:
        raise SeveralFramesError(
            f"a series of {n_volumes} frames: {n_volumes} images at each of {len(at)} positions (time points, "
            f"echoes, contrasts); {told_to_choose(n_volumes)}"
        )
    chosen = [pick(sorted(group, key=lambda one: one.rank), frame) for group in at]
    _require_one_gradient(chosen)
    return chosen, (f"Frame {frame} of {n_volumes}, counted from 0.",)


def _require_one_gradient(frames: Sequence[DicomFrame]) -> None:
    """Raise where the numbers of images do not say which of them are of one direction of diffusion."""
    gradients = [one.gradient for one in frames]
    known = np.array([gradient for gradient in gradients if gradient is not None]).reshape(-1, 3)
    known /= np.linalg.norm(known, axis=1, keepdims=True)
    if len(known) and (len(known) < len(gradients) or np.abs(known @ known[0]).min() < _SAME_GRADIENT):
        raise ScanReadError(
            "images of several directions of diffusion (DiffusionGradientOrientation) in one frame: their numbers do "
            "not say which belong together. Put those of each direction in a folder of its own, or convert the "
            "series with dcm2niix."
        )


def _unequal_places(counts: Counter[int], frames: Sequence[DicomFrame]) -> str:
    """Say what is wrong where positions hold different numbers of images, by how many hold each number."""
    if min(counts) == 1:
        sizes = _volumes_by_a_tag(frames)
        if sizes:
            return (
                f"{len(sizes)} volumes of different extent in one series (phases, time points, echoes), "
                f"of {' and '.join(map(str, sizes))} slices. Put the files of each in a folder of its own, or export "
                "each as a series."
            )
        n_double = sum(n for count, n in counts.items() if count > 1)
        return (
            f"duplicates: {n_double} of {counts.total()} positions hold more than one image. "
            "Remove the images that do not belong to the scan."
        )
    told = ", ".join(f"{count} images at {n} positions" for count, n in sorted(counts.items()))
    return (
        f"a series of frames (time points, echoes, contrasts) that is incomplete: {told}. Export it again, or remove "
        "the images of the incomplete frame."
    )


def _volumes_by_a_tag(frames: Sequence[DicomFrame]) -> list[int]:
    """Return the numbers of slices of the volumes that one tag tells from each other; none where no tag does."""
    for values in zip(*(one.rank[1:-2] for one in frames), strict=True):
        volumes: dict[Any, list[DicomFrame]] = {}
        for value, one in zip(values, frames, strict=True):
            volumes.setdefault(value, []).append(one)
        volume_sizes = [len(volume) for volume in volumes.values()]
        has_doubles = any(len(by_place(volume)) < len(volume) for volume in volumes.values())
        if len(volumes) > 1 and min(volume_sizes) >= _FEWEST_SLICES and not has_doubles:
            return volume_sizes
    return []


def pick(frames: Sequence[DicomFrame], frame: int) -> DicomFrame:
    """Return one of several images, counted from 0; raise where there is none of this number."""
    if not 0 <= frame < len(frames):
        raise ScanReadError(f"frame: expected 0 to {len(frames) - 1}, got {frame}.")
    return frames[frame]
