"""First-order wavelet scattering: how much edge and texture of each size and direction surrounds a cell.

Source: Bruna and Mallat, *Invariant scattering convolution networks*, IEEE TPAMI 35 (2013); first order only.
Departures: the modulus is sampled on a grid coarser than the pixels (the folded spectrum is transformed back),
and the low-pass is a Gaussian-weighted mean of the samples *inside* the image, so that borders do not light up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

__all__ = ["ScatteringBank", "ScatteringPlan", "scattering_bank"]

_FIRST_FREQUENCY = 3 * math.pi / 4
"""Centre frequency of the finest wavelet in radians a pixel; halves from scale to scale."""

_FIRST_SIGMA_PX = 0.8
"""Width of the finest wavelet's envelope along its direction; doubles from scale to scale."""

_SLANT = 4.0
"""The envelope is ``angles / _SLANT`` times as wide across the direction's own axis in frequency."""


@dataclass(frozen=True)
class ScatteringPlan:
    """What to compute.

    Attributes
    ----------
    cell_px : int
        Side of a cell; one feature vector each.
    scales, angles : int
        Number of wavelet sizes (each twice the one before) and of directions in half a turn.
    lowpass_sigmas_px : tuple of float
        Widths of the Gaussian windows over which moduli are averaged.
    image_sigmas_px : tuple of float
        Widths of the Gaussian windows over which the image itself is averaged.
    """

    cell_px: int
    scales: int
    angles: int
    lowpass_sigmas_px: tuple[float, ...]
    image_sigmas_px: tuple[float, ...]

    @property
    def n_channels(self) -> int:
        """Length of a feature vector: moduli by (window, scale, angle), then the image's means."""
        return len(self.lowpass_sigmas_px) * self.scales * self.angles + len(self.image_sigmas_px)

    @property
    def coarsest_stride(self) -> int:
        """Pixels between samples of the coarsest scale's modulus."""
        return _stride(self.scales - 1)

    @property
    def padding_px(self) -> int:
        """Reflected border: four envelope widths of the coarsest wavelet, in whole strides."""
        reach = 4 * _FIRST_SIGMA_PX * (1 << (self.scales - 1))
        return math.ceil(reach / self.coarsest_stride) * self.coarsest_stride


@dataclass(frozen=True, eq=False)
class _Scale:
    """Filters of one scale and what reads its moduli."""

    kept: tuple[int, int]  # size of the low-frequency block of the spectrum that the filters need
    folds: int  # the block is this many times the output along each axis
    filters: torch.Tensor  # (angles, kept rows, kept columns, 2), each number twice
    row_windows: torch.Tensor  # (windows, gh, output rows)
    column_windows: torch.Tensor  # (windows, output columns, gw)


class ScatteringBank:
    """The filters and windows of a plan for one image size on one device.

    Parameters
    ----------
    plan : ScatteringPlan
    height, width : int
        Size of the images in pixels, multiples of ``plan.cell_px``.
    device : torch.device
    """

    def __init__(self, plan: ScatteringPlan, height: int, width: int, device: torch.device) -> None:
        self.plan = plan
        self._device = device
        self._size = (height, width)
        self._padded = tuple(_padded_length(n, plan) for n in self._size)
        self._reflection = [
            torch.from_numpy(_reflection(n, padded, plan.padding_px)).to(device)
            for n, padded in zip(self._size, self._padded, strict=True)
        ]
        self._scales = [self._scale(j) for j in range(plan.scales)]
        self._image_rows = self._windows(height, plan.image_sigmas_px, 1, height, 0)
        self._image_columns = self._windows(width, plan.image_sigmas_px, 1, width, 0).transpose(1, 2)

    def moduli_and_means(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return averaged moduli (n, gh, gw, windows · scales · angles) and image means (n, gh, gw, windows).

        ``images`` is (n, height, width) float32.
        """
        rows, columns = self._reflection
        spectrum = torch.fft.fft2(images[:, rows][:, :, columns])
        averaged = []
        for scale in self._scales:
            low = _low_frequencies(spectrum, scale.kept)
            response = _filtered_and_folded(low, scale.filters, scale.folds)
            modulus = _modulus(torch.fft.ifft2(response))  # (n, angles, rows, columns)
            averaged.append(
                torch.matmul(
                    torch.matmul(scale.row_windows[:, None, None], modulus),
                    scale.column_windows[:, None, None],
                )
            )
        moduli = torch.stack(averaged, dim=2)  # (windows, n, scales, angles, gh, gw)
        moduli = moduli.permute(1, 4, 5, 0, 2, 3).flatten(3)
        means = torch.matmul(torch.matmul(self._image_rows[:, None], images), self._image_columns[:, None])
        return moduli, means.permute(1, 2, 3, 0)

    def _scale(self, j: int) -> _Scale:
        kept = tuple(n // _narrowing(j) for n in self._padded)
        stride = _stride(j)
        filters = np.stack(
            [_wavelet(self._padded, kept, j, a, self.plan.angles) for a in range(self.plan.angles)]
        )
        height, width = self._size
        # The inverse transform divides by the number of output samples; the full one divided by all pixels.
        filters /= stride**2
        pad = self.plan.padding_px
        sigmas = self.plan.lowpass_sigmas_px
        return _Scale(
            kept=(kept[0], kept[1]),
            folds=stride // _narrowing(j),
            filters=torch.from_numpy(np.repeat(filters.astype(np.float32)[..., None], 2, axis=-1)).to(
                self._device
            ),
            row_windows=self._windows(height, sigmas, stride, self._padded[0] // stride, pad),
            column_windows=self._windows(width, sigmas, stride, self._padded[1] // stride, pad).transpose(
                1, 2
            ),
        )

    def _windows(
        self, length: int, sigmas: tuple[float, ...], stride: int, n_samples: int, offset: int
    ) -> torch.Tensor:
        """Return (windows, cells, samples): each row a Gaussian around a cell's centre, summing to one."""
        cells = length // self.plan.cell_px
        centres = (np.arange(cells) + 0.5) * self.plan.cell_px - 0.5
        samples = np.arange(n_samples) * stride - offset
        inside = (samples >= 0) & (samples < length)
        stack = []
        for sigma in sigmas:
            weights = np.exp(-0.5 * ((samples - centres[:, None]) / sigma) ** 2) * inside
            stack.append(weights / weights.sum(axis=1, keepdims=True))
        return torch.from_numpy(np.stack(stack).astype(np.float32)).to(self._device)


@lru_cache(maxsize=8)
def scattering_bank(plan: ScatteringPlan, height: int, width: int, device: torch.device) -> ScatteringBank:
    """Return the bank for this image size; the few last used are kept."""
    return ScatteringBank(plan, height, width, device)


def _stride(j: int) -> int:
    """Pixels between samples of scale j's modulus: about one envelope width."""
    return 1 << max(j, 1)


def _narrowing(j: int) -> int:
    """How many times narrower than the whole spectrum the band is that holds scale j's wavelets."""
    return 1 << max(j - 1, 0)


def _padded_length(length: int, plan: ScatteringPlan) -> int:
    stride = plan.coarsest_stride
    return math.ceil((length + 2 * plan.padding_px) / stride) * stride


def _reflection(length: int, padded: int, padding: int) -> np.ndarray:
    """Return the pixel that each padded position repeats; reflects as often as needed."""
    return np.pad(np.arange(length), (padding, padded - length - padding), mode="symmetric")


def _low_frequencies(spectrum: torch.Tensor, kept: tuple[int, int]) -> torch.Tensor:
    """Return the block of lowest frequencies (n, kept rows, kept columns), in the order of the FFT."""
    for axis, size in zip((1, 2), kept, strict=True):
        n = spectrum.shape[axis]
        if size < n:
            first = spectrum.narrow(axis, 0, size // 2)
            last = spectrum.narrow(axis, n - (size - size // 2), size - size // 2)
            spectrum = torch.cat([first, last], dim=axis)
    return spectrum


def _modulus(values: torch.Tensor) -> torch.Tensor:
    """Return |values| float32 of complex64; on the CPU NumPy takes a tenth of PyTorch's time."""
    return torch.from_numpy(np.abs(values.numpy())) if values.device.type == "cpu" else values.abs()


def _filtered_and_folded(spectrum: torch.Tensor, filters: torch.Tensor, folds: int) -> torch.Tensor:
    """Return the spectra (n, angles, r / folds, c / folds) of the filtered signal at every folds-th sample.

    Decimation adds up the blocks of a spectrum; the spectrum is (n, r, c), the filters are (angles, r, c, 2), each
    number twice: as real products they take half the time of complex ones. Summed block by block: a reduction over
    strided axes is six times slower.
    """
    rows, columns = spectrum.shape[1] // folds, spectrum.shape[2] // folds
    parts = torch.view_as_real(spectrum)[:, None]
    total = parts.new_zeros(len(spectrum), len(filters), rows, columns, 2)
    for r in range(0, folds * rows, rows):
        for c in range(0, folds * columns, columns):
            here = slice(r, r + rows), slice(c, c + columns)
            total.addcmul_(parts[:, :, *here], filters[:, *here])
    return torch.view_as_complex(total)


def _wavelet(padded: tuple[int, ...], kept: tuple[int, ...], j: int, angle: int, angles: int) -> np.ndarray:
    """Return a Morlet wavelet's (real) spectrum on the block of lowest frequencies; its peak is near 1."""
    sigma, centre = _FIRST_SIGMA_PX * 2**j, _FIRST_FREQUENCY / 2**j
    theta = math.pi * angle / angles
    omega_r, omega_c = (
        2 * np.pi * np.fft.fftfreq(size, 1 / size) / n for n, size in zip(padded, kept, strict=True)
    )
    gabor, lowpass = np.zeros(kept), np.zeros(kept)
    # Sampling on pixels repeats the spectrum every 2π; the finest wavelet reaches into its neighbours.
    for turn_r in (-2 * np.pi, 0.0, 2 * np.pi):
        for turn_c in (-2 * np.pi, 0.0, 2 * np.pi):
            r, c = omega_r[:, None] + turn_r, omega_c + turn_c
            along = c * math.cos(theta) + r * math.sin(theta)
            across = (r * math.cos(theta) - c * math.sin(theta)) * (angles / _SLANT)
            gabor += np.exp(-0.5 * sigma**2 * ((along - centre) ** 2 + across**2))
            lowpass += np.exp(-0.5 * sigma**2 * (along**2 + across**2))
    # The mean of a slice must not pass: what the plane wave leaves at zero frequency is taken off.
    return np.asarray(gabor - gabor[0, 0] / lowpass[0, 0] * lowpass)
