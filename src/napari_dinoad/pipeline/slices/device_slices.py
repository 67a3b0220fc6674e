"""A scan's slices on a GPU: from its voxels to model inputs, and from patch scores to −log10 p, all of it there.

The CPU only says what is to be done; what it does itself for each slice would take several times as long as the
network. Formulas are those of `Placement`, `Calibration` and `PlaneModel`, which the tests compare with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_dinoad.backbones.memory import free_bytes
from napari_dinoad.calibration import MAX_NEG_LOG10_P
from napari_dinoad.errors import ScorerError
from napari_dinoad.machine.faults import is_of_memory
from napari_dinoad.machine.sending import on_device
from napari_dinoad.pipeline.slices.arriving import Arriving
from napari_dinoad.pipeline.slices.placed_slices import HostSlices

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_dinoad.calibration import Calibration
    from napari_dinoad.images.slices import PreparedScan
    from napari_dinoad.images.volume import Volume
    from napari_dinoad.normative_model.plane_model import PlaneModel
    from napari_dinoad.pipeline.slices.placed_slices import ScanSlices

__all__ = ["DeviceCalibration", "DeviceSlices", "DeviceVolume", "sent_voxels", "slices_of_planes"]

_BYTES_A_VOXEL = 16
"""On the device: a value, a body bit, a raw score, and room to work."""

_BYTES_OF_COLOURS = 12
"""On the device, of each voxel, at most."""

_CHUNK_VOXELS = 2**22
"""Voxels that are calibrated at a time, in float64: each takes 40 bytes meanwhile."""

_FREE_SHARE = 0.25
"""A scan that needs more than this share of the device's free memory stays on the CPU; the network needs the rest."""


def sent_voxels(volume: Volume, device: torch.device) -> torch.Tensor | None:
    """Send a scan's voxels to a CUDA device, (z, y, x) float32; None on others, and where they do not fit.

    It needs nothing else of the scan, so that a thread may send them while the body is looked for.
    """
    values = volume.values
    if device.type != "cuda" or values.size * _BYTES_A_VOXEL > _FREE_SHARE * free_bytes(device):
        return None
    try:
        return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).to(device)
    except RuntimeError as error:
        # Another program was quicker.
        if not is_of_memory(error):
            raise
        return None


def slices_of_planes(
    prepared: Sequence[PreparedScan], device: torch.device, voxels: torch.Tensor | None = None
) -> list[ScanSlices]:
    """Return the slices of a scan in each plane: on a CUDA device where they fit beside the network, else on the CPU.

    Scans whose slices have each their own range of intensities (single images) stay on the CPU.

    Parameters
    ----------
    prepared : sequence of PreparedScan
    device : torch.device
    voxels : torch.Tensor, optional
        What `sent_voxels` has sent there; None: it is sent now.
    """
    if device.type != "cuda" or prepared[0].intensity is None:
        return [HostSlices(scan) for scan in prepared]
    if voxels is None:
        voxels = sent_voxels(prepared[0].volume, device)
    if voxels is None or not _have_room(prepared[0], device):
        return [HostSlices(scan) for scan in prepared]
    try:
        shared = DeviceVolume.of(prepared[0], voxels)
    except RuntimeError as error:
        if not is_of_memory(error):
            raise
        return [HostSlices(scan) for scan in prepared]
    return [DeviceSlices(scan, shared) for scan in prepared]


def _have_room(prepared: PreparedScan, device: torch.device) -> bool:
    """Whether a scan's colours, where model inputs take them, fit beside its voxels."""
    if not prepared.colour or prepared.volume.colours is None:
        return True
    return prepared.volume.values.size * _BYTES_OF_COLOURS <= _FREE_SHARE * free_bytes(device)


@dataclass(frozen=True, eq=False)
class DeviceVolume:
    """A scan's voxels on a device, for all its planes.

    Attributes
    ----------
    values : torch.Tensor
        (z, y, x) float32, canonical.
    body : torch.Tensor
        (z, y, x) bool.
    colours : torch.Tensor, optional
        (z, y, x, 3) uint8 or float32, where model inputs take them and the scan has any.
    """

    values: torch.Tensor
    body: torch.Tensor
    colours: torch.Tensor | None = None

    @classmethod
    def of(cls, prepared: PreparedScan, voxels: torch.Tensor) -> DeviceVolume:
        """Send a scan's body, and its colours where model inputs take them, to where its voxels are."""
        colours = prepared.volume.colours if prepared.colour else None
        if colours is not None:
            # PyTorch hardly knows uint16.
            kind = np.uint8 if colours.dtype == np.uint8 else np.float32
            colours = np.ascontiguousarray(colours, dtype=kind)
        return cls(
            voxels,
            torch.from_numpy(np.ascontiguousarray(prepared.body)).to(voxels.device),
            None if colours is None else torch.from_numpy(colours).to(voxels.device),
        )


class DeviceCalibration:
    """A calibration's table on a device; see `Calibration.neg_log10_p`.

    Parameters
    ----------
    calibration : Calibration
    device : torch.device
    """

    def __init__(self, calibration: Calibration, device: torch.device) -> None:
        scores, levels = calibration.table_scores, calibration.table_neg_log10_p
        # From each knot on −log10 p is level + rise · score. Beyond the table the rise is the tail's; below it both
        # are 0.
        rises = np.concatenate([[0.0], np.diff(levels) / np.diff(scores), [calibration.tail_slope]])
        starts = np.concatenate([[0.0], levels - scores * rises[1:]])
        self._scores, self._levels, self._rises = (
            on_device(torch.from_numpy(table), device) for table in (scores.copy(), starts, rises)
        )

    def neg_log10_p(self, scores: torch.Tensor) -> torch.Tensor:
        """Return −log10 p float32 of raw scores, any shape."""
        flat = scores.reshape(-1)
        levels = torch.empty_like(flat, dtype=torch.float32)
        for begin in range(0, len(flat), _CHUNK_VOXELS):
            chunk = slice(begin, begin + _CHUNK_VOXELS)
            exact = flat[chunk].double()
            knot = torch.searchsorted(self._scores, exact, right=True)
            own = torch.addcmul(self._levels[knot], exact, self._rises[knot])
            levels[chunk] = own.clamp_max_(MAX_NEG_LOG10_P)
        return levels.reshape(scores.shape)


class _DevicePlaced:
    """Placed slices whose −log10 p, (n, …) of the canonical array across ``axis``, is on its way to the CPU."""

    def __init__(self, levels: torch.Tensor, axis: int, raw: torch.Tensor) -> None:
        self.raw = raw
        self._axis = axis
        self._arriving = Arriving(levels, levels.isnan().any())

    def block(self) -> np.ndarray:
        """See `Placed.block`.

        Raises
        ------
        ScorerError
            If a score is NaN: what lies on a GPU is looked at only here.
        """
        levels, is_wrong = self._arriving.tensors()
        if bool(is_wrong):
            raise ScorerError(
                "Scores: expected numbers, got NaN; check the scan's intensities, or use --device cpu."
            )
        return np.moveaxis(levels.numpy(), 0, self._axis)


class _DeviceScores:
    """See `GatheredScores`; −∞ is no body voxel."""

    def __init__(self) -> None:
        self._raw: list[torch.Tensor] = []

    def add(self, raw: torch.Tensor) -> None:
        """Take in raw scores, any shape."""
        self._raw.append(raw)

    def scan_score(self, top_fraction: float) -> float:
        """See `GatheredScores.scan_score`."""
        counts = [torch.count_nonzero(part > -torch.inf) for part in self._raw]
        n_body = int(torch.stack(counts).sum()) if counts else 0
        if n_body == 0:
            return float("-inf")
        n_top = max(1, round(top_fraction * n_body))
        highest = [
            part.flatten().topk(min(n_top, part.numel()), sorted=False).values
            for part in self._raw
            if part.numel()
        ]
        return float(torch.cat(highest).topk(n_top, sorted=False).values.double().mean())


class DeviceSlices:
    """See `ScanSlices`; by PyTorch, on a device.

    Parameters
    ----------
    prepared : PreparedScan
        With one range of intensities for all slices.
    volume : DeviceVolume
        Of the same scan.
    """

    begins_at_once = True

    def __init__(self, prepared: PreparedScan, volume: DeviceVolume) -> None:
        if prepared.intensity is None:
            raise ValueError(f"{prepared.volume.name}: expected one range of intensities for all slices.")
        self._low, self._high = prepared.intensity
        self._prepared = prepared
        self._device = volume.values.device
        self._is_turned = prepared.stack.is_turned
        self._values = volume.values.movedim(prepared.axis, 0)
        self._body = volume.body.movedim(prepared.axis, 0)
        self._colours = None if volume.colours is None else volume.colours.movedim(prepared.axis, 0)
        self._calibrations: dict[Calibration, DeviceCalibration] = {}
        self._weights: dict[object, tuple[torch.Tensor, torch.Tensor]] = {}

    def _resampling(
        self, key: object, weights: Callable[[], tuple[np.ndarray, np.ndarray]]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return weights of rows and of columns, by which slices are resampled as ``rows @ slices @ columns``.

        They are sent to the device once for each ``key``.
        """
        if key not in self._weights:
            rows, columns = map(self._sent, weights())
            self._weights[key] = rows, columns.T
        return self._weights[key]

    def _sent(self, array: np.ndarray) -> torch.Tensor:
        return on_device(torch.from_numpy(array), self._device)

    def inputs(self, indices: Sequence[int]) -> torch.Tensor:
        """See `ScanSlices.inputs`."""
        if not self._prepared.colour:
            return self._input(self._shown(self._values, indices))
        if self._colours is None:
            return self._input(self._shown(self._values, indices)[:, None]).repeat(1, 3, 1, 1)
        return self._input(self._shown(self._colours, indices).movedim(-1, 1).float())

    def _input(self, slices: torch.Tensor) -> torch.Tensor:
        """Return model inputs (…, H, W) of slices (…, rows, columns)."""
        scaled = (slices - self._low) / (self._high - self._low)
        rows, columns = self._resampling("inputs", lambda: self._prepared.placement.sampling)
        return rows @ scaled.clamp_(0.0, 1.0) @ columns

    def outline(self, indices: Sequence[int], cells: int) -> torch.Tensor:
        """See `ScanSlices.outline`."""
        placement = self._prepared.placement
        rows, columns = self._resampling(cells, lambda: placement.coarser(cells).sampling)
        return rows @ self._shown(self._body, indices).float() @ columns

    def _shown(self, stack: torch.Tensor, indices: Sequence[int]) -> torch.Tensor:
        """Return slices (n, rows, columns), or (n, rows, columns, 3), in display orientation."""
        chosen = stack[on_device(torch.tensor(indices, dtype=torch.int64), self._device)]
        return chosen.flip(1, 2) if self._is_turned else chosen

    def taken(self, patch_scores: torch.Tensor) -> torch.Tensor:
        """See `ScanSlices.taken`."""
        return patch_scores.to(self._device, torch.float32)

    def place(
        self, plane: PlaneModel, indices: Sequence[int], patch_scores: Sequence[torch.Tensor]
    ) -> _DevicePlaced:
        """See `ScanSlices.place`."""
        _, gh, gw = patch_scores[0].shape
        grid = (gh, gw)
        rows, columns = self._resampling(grid, lambda: self._prepared.placement.interpolation(grid))
        body = self._shown(self._body, indices)
        parts = [rows @ scores @ columns for scores in patch_scores]
        raw = self._fused(plane, parts)
        levels = self._calibrated(plane.calibration).neg_log10_p(raw)
        levels.masked_fill_(~body, 0.0)
        canonical = levels.flip(1, 2) if self._is_turned else levels
        return _DevicePlaced(canonical, self._prepared.axis, raw.masked_fill_(~body, -torch.inf))

    def _fused(self, plane: PlaneModel, parts: list[torch.Tensor]) -> torch.Tensor:
        """Return the plane's raw scores; see `fused_scores`."""
        if len(parts) == 1:
            return parts[0]
        levels = [
            self._calibrated(member.calibration).neg_log10_p(part)
            for member, part in zip(plane.members, parts, strict=True)
        ]
        return torch.stack(levels).sum(0) / len(levels)

    def _calibrated(self, calibration: Calibration) -> DeviceCalibration:
        if calibration not in self._calibrations:
            self._calibrations[calibration] = DeviceCalibration(calibration, self._device)
        return self._calibrations[calibration]

    def neg_log10_p(self, calibration: Calibration, scores: np.ndarray) -> np.ndarray:
        """See `ScanSlices.neg_log10_p`."""
        table, levels = self._calibrated(calibration), np.empty(len(scores), dtype=np.float32)
        for begin in range(0, len(scores), _CHUNK_VOXELS):
            chunk = slice(begin, begin + _CHUNK_VOXELS)
            levels[chunk] = table.neg_log10_p(self._sent(scores[chunk])).cpu().numpy()
        return levels

    def gather(self, indices: Sequence[int]) -> _DeviceScores:
        """See `ScanSlices.gather`."""
        return _DeviceScores()
