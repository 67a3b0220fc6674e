"""Which images lie at one position."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_dinoad.images.dicom.series import DicomFrame, DicomSeries, by_place


def frame(position, number=1):
    return DicomFrame(
        Path("x"), number, (4, 4), position, (1, 0, 0, 0, 1, 0), (1, 1), (), (number,), str(number), ""
    )


def groups_of(*positions):
    frames = [frame(position, number) for number, position in enumerate(positions)]
    return sorted(tuple(sorted(one.number for one in group)) for group in by_place(frames))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("start", [0.0, 0.0024, 0.0049, -0.0026, 12.3451])
def test_positions_that_rounding_tells_apart_are_one(start, axis):
    """Wherever they lie, also on both sides of a border of the grid by which they are looked up."""
    positions = [[1.0, 2.0, 3.0] for _ in range(3)]
    for position, off in zip(positions, (0.0, 0.004, 0.012), strict=True):
        position[axis] += start + off
        position[axis - 1] -= off / 4
    assert groups_of(*map(tuple, positions)) == [(0, 1), (2,)]
    assert groups_of(*map(tuple, reversed(positions))) == [(0,), (1, 2)]


def test_all_three_numbers_count():
    assert groups_of((0.0, 0.0, 0.0), (0.0, 0.0, 0.006), (0.0, 0.006, 0.0)) == [(0,), (1,), (2,)]


def test_images_without_a_position_lie_alone():
    assert groups_of(None, (0.0, 0.0, 0.0), None, (0.0, 0.0, 0.0)) == [(0,), (1, 3), (2,)]


def test_frames_of_a_series_are_those_of_the_position_that_has_most():
    frames = tuple(
        frame((0.0, 0.0, z), number) for number, z in enumerate((0.0, 0.0, 0.0, 2.0, 2.0, 4.0), start=1)
    )
    assert DicomSeries("1.2", 1, "", "MR", frames).n_frames == 3
