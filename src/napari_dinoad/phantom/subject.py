"""What differs from one phantom subject to the next: a handful of numbers, drawn from a seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_dinoad.errors import SettingError

__all__ = ["Stream", "Subject", "Tissues", "generator"]


class Stream:
    """Independent random streams of one seed, so that a lesion or another noise leaves the head as it is."""

    SUBJECT = 0
    ANATOMY = 1
    LESION = 2
    ACQUISITION = 3
    TABLE = 4


def generator(seed: int, stream: int) -> np.random.Generator:
    """Return the generator of one stream of a subject's seed; `SettingError` if the seed is below 0."""
    if seed < 0:
        raise SettingError(f"phantom seed: expected 0 or more, got {seed}.")
    return np.random.default_rng([seed, stream])


@dataclass(frozen=True)
class Tissues:
    """T1-weighted intensities, white matter about 0.9."""

    csf: float
    grey: float
    white: float
    deep_grey: float
    thalamus: float
    fat: float
    muscle: float
    skin: float
    bone: float
    marrow: float
    air: float

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Tissues:
        """Draw the contrasts of one scan."""
        white = rng.uniform(0.86, 0.94)
        grey = white * rng.uniform(0.66, 0.76)
        return cls(
            csf=white * rng.uniform(0.17, 0.27),
            grey=grey,
            white=white,
            deep_grey=grey + (white - grey) * rng.uniform(0.1, 0.3),
            thalamus=grey + (white - grey) * rng.uniform(0.35, 0.55),
            fat=white * rng.uniform(1.08, 1.25),
            muscle=rng.uniform(0.42, 0.52),
            skin=rng.uniform(0.55, 0.7),
            bone=rng.uniform(0.05, 0.09),
            marrow=rng.uniform(0.3, 0.5),
            air=0.005,
        )


@dataclass(frozen=True)
class Subject:
    """One phantom head and how it was scanned.

    Attributes
    ----------
    scale : tuple of float
        Size against the mean head along (x, y, z).
    rotation_deg : tuple of float
        Head's rotation about (x, y, z) in the scanner.
    shift_mm : tuple of float
        Head's position in the field of view, (x, y, z).
    skew : float
        How much wider the back of the head is than its front.
    ventricle_mm : float
        Added to every radius of the ventricles.
    cortex_mm, sulcus_mm, csf_gap_mm, skull_mm, scalp_mm : float
        Thickness of the cortex, half width of a sulcus, gap between brain and skull, thickness of skull and fat.
    fold_mm : float
        Wavelength of the folding: twice the mean distance of neighbouring sulci.
    sulcus_depth_mm : float
        Mean depth of the primary sulci.
    bend_mm : float
        Spread by which sulci wander from straight planes.
    tissues : Tissues
    bias : float
        Spread of the log of the receive field.
    noise : float
        Standard deviation of the noise in either channel, as a share of white matter.
    gain : float
        Stored units of an intensity of 1.
    """

    scale: tuple[float, float, float]
    rotation_deg: tuple[float, float, float]
    shift_mm: tuple[float, float, float]
    skew: float
    ventricle_mm: float
    cortex_mm: float
    sulcus_mm: float
    csf_gap_mm: float
    skull_mm: float
    scalp_mm: float
    fold_mm: float
    sulcus_depth_mm: float
    bend_mm: float
    tissues: Tissues
    bias: float
    noise: float
    gain: float

    @classmethod
    def drawn(cls, seed: int) -> Subject:
        """Draw the subject of a seed."""
        rng = generator(seed, Stream.SUBJECT)
        # Size varies mostly as a whole; the single axes a little against it.
        whole = rng.normal(1.0, 0.02)
        x, y, z = np.clip(whole * rng.normal(1.0, 0.018, 3), 0.93, 1.055)
        age = rng.uniform(0, 1)
        return cls(
            scale=(float(x), float(y), float(z)),
            rotation_deg=_clipped(rng, (3.0, 2.0, 2.5), 6.0),
            shift_mm=_clipped(rng, (2.0, 2.0, 2.0), 4.0),
            skew=rng.uniform(0.06, 0.14),
            ventricle_mm=-1.2 + 2.6 * age + rng.normal(0, 0.4),
            cortex_mm=rng.uniform(2.2, 2.8),
            sulcus_mm=0.35 + 0.45 * age + rng.uniform(0, 0.15),
            csf_gap_mm=1.8 + 2.0 * age,
            skull_mm=rng.uniform(4.5, 6.5),
            scalp_mm=rng.uniform(3.0, 6.0),
            fold_mm=rng.uniform(29.0, 36.0),
            sulcus_depth_mm=rng.uniform(18.0, 24.0),
            bend_mm=rng.uniform(2.5, 4.0),
            tissues=Tissues.drawn(rng),
            bias=rng.uniform(0.04, 0.10),
            noise=rng.uniform(0.008, 0.015),
            gain=float(np.exp(rng.uniform(np.log(250), np.log(1200)))),
        )


def _clipped(
    rng: np.random.Generator, spread: tuple[float, float, float], limit: float
) -> tuple[float, float, float]:
    x, y, z = np.clip(rng.normal(0, spread), -limit, limit)
    return float(x), float(y), float(z)
