"""A scan in blocks of whole rows, one after the other: what is done to each takes memory for one of them only."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["blocks"]


def blocks(shape: tuple[int, ...], about: int) -> Iterator[tuple[slice, slice]]:
    """Yield where blocks of about so many voxels lie along the first two axes of an array, in its order.

    They are some slices each, or where one slice is larger, as of pictures, some of its rows.

    Parameters
    ----------
    shape : tuple of int
        (z, y, x).
    about : int
    """
    n_slices, n_rows, n_columns = shape
    step = max(1, about // max(1, n_rows * n_columns))
    rows = n_rows if n_rows * n_columns <= about else max(1, about // n_columns)
    for first in range(0, n_slices, step):
        for row in range(0, n_rows, rows):
            yield slice(first, min(first + step, n_slices)), slice(row, min(row + rows, n_rows))
