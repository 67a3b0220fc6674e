"""What is known of the voxels that a mask marks, without the others: of a large scan a hundredth, mostly."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

__all__ = ["MarkedValues"]


@dataclass(frozen=True, eq=False)
class MarkedValues:
    """The values of some voxels of a scan; all others are 0.

    It is kept, and sent to other processes, in place of arrays as large as the scan.

    Attributes
    ----------
    shape : tuple of int
        (z, y, x) of the scan.
    bits : numpy.ndarray
        (ceil(z y x / 8),) uint8: which voxels these are, in the order in which they lie.
    values : numpy.ndarray
        (n,) of each of them.
    """

    shape: tuple[int, ...]
    bits: np.ndarray
    values: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, marked: np.ndarray) -> MarkedValues:
        """Return a copy of the values (z, y, x) at voxels that are marked (z, y, x) bool."""
        return cls(values.shape, np.packbits(marked), values[marked])

    def where(self) -> np.ndarray:
        """Return which voxels these are: (z, y, x) bool."""
        n = int(np.prod(self.shape))
        return np.unpackbits(self.bits, count=n).view(bool).reshape(self.shape)

    def with_values(self, values: np.ndarray) -> MarkedValues:
        """Return the same voxels with other values (n,)."""
        return replace(self, values=values)

    def whole(self, kind: DTypeLike | None = None) -> np.ndarray:
        """Return a new array (z, y, x) of a type, or of the values' own."""
        array: np.ndarray[Any, Any] = np.zeros(self.shape, self.values.dtype if kind is None else kind)
        array[self.where()] = self.values
        return array
