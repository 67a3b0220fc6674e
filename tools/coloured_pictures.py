"""Procedural pictures in colour, like those of an eye's ground, stained tissue and skin, and lesions in them.

For tests and benchmarks: no photograph is copied. A lesion of hue keeps the luminance of what it lies on.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from scipy.ndimage import gaussian_filter

Kind = Literal["fundus", "histology", "skin"]
Lesion = Literal["hue", "faint hue", "pale", "saturated", "bright", "dark", "smooth", "texture"]

KINDS: tuple[Kind, ...] = get_args(Kind)
LESIONS: tuple[Lesion, ...] = get_args(Lesion)

_LUMA = np.array([0.299, 0.587, 0.114])
_FUNDUS, _VESSEL = np.array([0.75, 0.38, 0.16]), np.array([0.35, 0.55, 0.5])
_STROMA, _NUCLEI = np.array([0.90, 0.66, 0.78]), np.array([0.45, 0.30, 0.60])
_SKIN, _REDDER = np.array([0.80, 0.60, 0.48]), np.array([0.03, -0.01, -0.01])


def picture(kind: Kind, rng: np.random.Generator, side_px: int = 256) -> np.ndarray:
    """Return a normal picture (side, side, 3) float64 in [0, 1], of a colour that varies from one to the next.

    Smaller ones show a smaller part, with less of what varies slowly.
    """

    def field(sigma_px: float) -> np.ndarray:
        noise = rng.standard_normal((side_px, side_px))
        smooth = gaussian_filter(noise, min(sigma_px, side_px / 6), mode="wrap")
        return np.asarray((smooth - smooth.mean()) / smooth.std())[..., None]

    def lines(sigma_px: float, width: float, blur_px: float) -> np.ndarray:
        return _blurred(np.abs(field(sigma_px)) < width, blur_px)

    if kind == "fundus":
        pixels = _FUNDUS * (1 + 0.06 * rng.standard_normal(3)) * (1 + 0.12 * field(40) + 0.03 * field(6))
        pixels = pixels * (1 - lines(14, 0.12, 1.0) * _VESSEL)
    elif kind == "histology":
        nuclei = _blurred(field(2.5) > 1.2, 0.8)
        stroma = _STROMA * (1 + 0.03 * rng.standard_normal(3))
        pixels = stroma * (1 - nuclei) + _NUCLEI * (1 + 0.05 * rng.standard_normal(3)) * nuclei
        pixels = pixels * (1 + 0.05 * field(8) + 0.03 * field(1.5))
        hole = _blurred(field(10) > 1.7, 1.5)
        pixels = pixels * (1 - hole) + 0.95 * hole
    else:
        skin = _SKIN * (1 + 0.07 * rng.standard_normal(3))
        pixels = skin * (1 + 0.05 * field(25) + 0.025 * field(2) + 0.02 * field(5)) + _REDDER * field(30)
        pixels = pixels * (1 - 0.5 * lines(9, 0.03, 0.7))
    grain = 0.012 * rng.standard_normal((side_px, side_px, 1))
    return np.clip(pixels + grain + 0.006 * rng.standard_normal((side_px, side_px, 3)), 0, 1)


def with_lesion(
    pixels: np.ndarray, lesion: Lesion, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return a picture with a lesion of 32 to 64 pixels, and where it is (side, side) bool."""
    side = len(pixels)
    centre = rng.integers(side // 4, side - side // 4, 2)
    noise = gaussian_filter(rng.standard_normal((side, side)), 8)
    distance = np.hypot(*(np.indices((side, side)) - centre[:, None, None])) + 4 * noise / noise.std()
    share = _blurred((distance < rng.uniform(16, 32))[..., None], 1.5)
    sign = rng.choice([-1, 1])
    grey = (pixels @ _LUMA)[..., None]
    if lesion == "hue":
        painted = _turned(pixels, sign * rng.uniform(40, 90))
    elif lesion == "faint hue":
        painted = _turned(pixels, sign * rng.uniform(15, 30))
    elif lesion == "pale":
        painted = grey + 0.3 * (pixels - grey)
    elif lesion == "saturated":
        painted = grey + 1.6 * (pixels - grey)
    elif lesion in ("bright", "dark"):
        painted = pixels * (1.25 if lesion == "bright" else 0.75)
    elif lesion == "smooth":
        painted = np.stack([gaussian_filter(channel, 4) for channel in np.moveaxis(pixels, -1, 0)], axis=-1)
    else:
        grain = gaussian_filter(rng.standard_normal((side, side)), 3)
        painted = pixels * (1 + 0.12 * grain / grain.std())[..., None]
    return np.clip(pixels * (1 - share) + painted * share, 0, 1), share[..., 0] > 0.5


def eight_bits(pixels: np.ndarray) -> np.ndarray:
    """Return pixels in [0, 1] as uint8."""
    return np.rint(255 * pixels).astype(np.uint8)


def _blurred(inside: np.ndarray, sigma_px: float) -> np.ndarray:
    return np.asarray(gaussian_filter(inside.astype(float), (sigma_px, sigma_px, 0)))


def _turned(pixels: np.ndarray, degrees: float) -> np.ndarray:
    """Return pixels of another hue and the same luminance: turned about the axis of grey.

    Where a colour would lie beyond what can be shown, all of it is made paler.
    """
    grey = pixels @ _LUMA
    blue, red = pixels[..., 2] - grey, pixels[..., 0] - grey
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    turned_blue, turned_red = blue * cosine - red * sine, blue * sine + red * cosine
    green = -(_LUMA[0] * turned_red + _LUMA[2] * turned_blue) / _LUMA[1]
    chroma = np.stack([turned_red, green, turned_blue], axis=-1)
    grey = grey[..., None]
    with np.errstate(divide="ignore", invalid="ignore"):
        room = np.where(chroma > 0, (1 - grey) / chroma, np.where(chroma < 0, -grey / chroma, 1.0))
    return np.asarray(grey + chroma * np.clip(room.min(axis=-1, keepdims=True), 0, 1))
