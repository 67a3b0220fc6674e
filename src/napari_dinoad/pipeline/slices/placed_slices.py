"""A scan's slices as model inputs, and patch scores of slices as −log10 p at their voxels; here on the CPU.

`napari_dinoad.pipeline.slices.device_slices` has the same on a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from napari_dinoad.calibration.scan_scores import scan_score
from napari_dinoad.images.slices import counts_across

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from napari_dinoad.calibration import Calibration
    from napari_dinoad.images.slices import PreparedScan
    from napari_dinoad.normative_model.plane_model import PlaneModel

__all__ = ["GatheredScores", "HostScores", "HostSlices", "Placed", "ScanSlices"]


class Placed(Protocol):
    """Slices whose patch scores were placed on their voxels.

    Attributes
    ----------
    raw : array-like
        Raw scores of their body voxels, for `ScanSlices.gather`.
    """

    @property
    def raw(self) -> Any: ...  # noqa: D102 - see the class

    def block(self) -> np.ndarray:
        """Return −log10 p float32 of the slices as a block of the canonical array, 0 outside the body."""
        ...


class GatheredScores(Protocol):
    """The raw scores of a scan's body voxels, as they come."""

    def add(self, raw: Any) -> None:
        """Take in those of some slices; see `Placed.raw`."""
        ...

    def scan_score(self, top_fraction: float) -> float:
        """Return the scan's own score; see `calibration.scan_score`. Nothing is added after that."""
        ...


class ScanSlices(Protocol):
    """The slices of a scan in one plane, on the device where they are worked on.

    Attributes
    ----------
    begins_at_once : bool
        Whether `place` only sets a device to work, so that it is called before the next batch is.
    """

    @property
    def begins_at_once(self) -> bool: ...  # noqa: D102 - see the class

    def inputs(self, indices: Sequence[int]) -> np.ndarray | torch.Tensor:
        """Return model inputs float32 in [0, 1] of some slices: (n, H, W), or (n, 3, H, W) in colour."""
        ...

    def outline(self, indices: Sequence[int], cells: int) -> np.ndarray | torch.Tensor:
        """Return how much of each cell of a grid on the model input is body, (n, cells, cells) float32."""
        ...

    def taken(self, patch_scores: torch.Tensor) -> Any:
        """Return patch scores (n, gh, gw) from the backbone's device where, and as what, `place` wants them."""
        ...

    def place(self, plane: PlaneModel, indices: Sequence[int], patch_scores: Sequence[Any]) -> Placed:
        """Place the patch scores (n, gh, gw) that each scorer gave to some slices."""
        ...

    def neg_log10_p(self, calibration: Calibration, scores: np.ndarray) -> np.ndarray:
        """Return −log10 p float32 of raw scores (n,) of the whole scan; see `Calibration.neg_log10_p`."""
        ...

    def gather(self, indices: Sequence[int]) -> GatheredScores:
        """Return what takes in the raw scores of these slices, each once placed."""
        ...


@dataclass(frozen=True, eq=False)
class _HostPlaced:
    prepared: PreparedScan
    body: np.ndarray
    raw: np.ndarray
    neg_log10_p: np.ndarray

    def block(self) -> np.ndarray:
        shown = np.zeros(self.body.shape, dtype=np.float32)
        shown[self.body] = self.neg_log10_p
        return self.prepared.from_display(shown)


class HostScores:
    """See `GatheredScores`; in one array, which takes as much memory as there are scores.

    Parameters
    ----------
    n_most : int
        Scores there can be.
    """

    def __init__(self, n_most: int) -> None:
        self._scores = np.empty(n_most, dtype=np.float32)
        self._n = 0

    def add(self, raw: np.ndarray) -> None:
        """Take in raw scores (n,)."""
        self._scores[self._n : self._n + raw.size] = raw
        self._n += raw.size

    def scan_score(self, top_fraction: float) -> float:
        """See `GatheredScores.scan_score`."""
        return scan_score(self._scores[: self._n], top_fraction, overwrite=True)


class HostSlices:
    """See `ScanSlices`; by NumPy.

    Parameters
    ----------
    prepared : PreparedScan
    """

    begins_at_once = False

    def __init__(self, prepared: PreparedScan) -> None:
        self._prepared = prepared

    def inputs(self, indices: Sequence[int]) -> np.ndarray:
        """See `ScanSlices.inputs`."""
        return self._prepared.images(indices)

    def outline(self, indices: Sequence[int], cells: int) -> np.ndarray:
        """See `ScanSlices.outline`."""
        return self._prepared.placement.coarser(cells).to_model(self._prepared.body_slices(indices))

    def taken(self, patch_scores: torch.Tensor) -> np.ndarray:
        """See `ScanSlices.taken`."""
        return np.asarray(patch_scores.cpu().numpy())

    def place(
        self, plane: PlaneModel, indices: Sequence[int], patch_scores: Sequence[np.ndarray]
    ) -> _HostPlaced:
        """See `ScanSlices.place`."""
        body = self._prepared.body_slices(indices)
        raw = plane.raw_scores([self._prepared.maps_to_slices(scores)[body] for scores in patch_scores])
        return _HostPlaced(self._prepared, body, raw, plane.calibration.neg_log10_p(raw))

    def neg_log10_p(self, calibration: Calibration, scores: np.ndarray) -> np.ndarray:
        """See `ScanSlices.neg_log10_p`."""
        return calibration.neg_log10_p(scores)

    def gather(self, indices: Sequence[int]) -> HostScores:
        """See `ScanSlices.gather`."""
        counts = counts_across(self._prepared.body, self._prepared.axis)
        return HostScores(int(counts[list(indices)].sum()))
