"""Lesions of the phantom: where they lie, what they look like, and how they push the brain aside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from napari_dinoad.errors import SettingError
from napari_dinoad.phantom.fields import Points, ellipsoid, inside, paint, smooth_noise

if TYPE_CHECKING:
    from napari_dinoad.phantom.subject import Subject

__all__ = ["KINDS", "Lesion", "LesionKind", "require_kind"]

LesionKind = Literal["bright", "dark", "mass", "texture", "bright-rim"]

KINDS: tuple[LesionKind, ...] = get_args(LesionKind)
"""What a lesion can be.

``bright`` and ``dark`` differ by intensity; ``mass`` pushes the surrounding tissue aside and is itself about as
intense as the cortex; ``texture`` is grainy about the intensity that was there; ``bright-rim`` has a bright ring
around a dark core. All are grainy to some degree, as heterogeneous tumours are: no normal tissue of the phantom is.
"""

_RADIUS_MM: dict[LesionKind, tuple[float, float]] = {
    "bright": (11.0, 14.0),
    "dark": (11.0, 14.0),
    "mass": (12.0, 15.0),
    "texture": (12.0, 15.0),
    "bright-rim": (12.0, 15.0),
}
"""Range of the mean radius."""

_EDGE_MM = 2.0
"""Width of a lesion's soft edge (at least one voxel)."""

_DEPTH_MM = 4.0
"""A lesion keeps this distance from the surface of the brain."""

_LEAST_LATERAL_MM = 16.0
_LEAST_HEIGHT_MM = -2.0
_SKULL_REACH_MM = 14.0
"""A mass moves tissue less and less within this distance of the skull."""

_MASS_PUSH = 0.7
"""Displacement at a mass's surface, as a share of its radius."""

_MASS_DECAY = 1.5
"""Distance over which the displacement falls to 1/e, in radii."""


def require_kind(kind: str) -> LesionKind:
    """Return the kind; `SettingError` when there is no such kind."""
    for known in KINDS:
        if kind == known:
            return known
    raise SettingError(f"lesion kind: expected one of {', '.join(KINDS)}, got {kind!r}.")


@dataclass(frozen=True, eq=False)
class Lesion:
    """One lesion in a subject's head.

    Attributes
    ----------
    kind : str
    centre_mm : numpy.ndarray
        (3,) position (x, y, z) in the mean head.
    radius_mm : float
        Mean radius.
    level : numpy.ndarray
        (z, y, x) float32: 0 at the centre, 1 on the irregular surface, growing outwards.
    grain : numpy.ndarray
        (z, y, x) float32 random field of the lesion's own texture, spread about 1.
    contrast : float
        Drawn from 0 to 1: how strong a lesion of its kind it is.
    """

    kind: LesionKind
    centre_mm: np.ndarray
    radius_mm: float
    level: np.ndarray
    grain: np.ndarray
    contrast: float

    @classmethod
    def drawn(
        cls,
        kind: LesionKind,
        points: Points,
        spacing_mm: tuple[float, float, float],
        rng: np.random.Generator,
        diameter_mm: float | None = None,
    ) -> Lesion:
        """Draw a lesion in a head whose voxels lie at ``points``.

        Raises
        ------
        SettingError
            If the diameter is not between 6 and 40 mm, or the field of view holds no place for the lesion.
        """
        drawn_radius = float(rng.uniform(*_RADIUS_MM[kind]))
        if diameter_mm is not None and not 6 <= diameter_mm <= 40:
            raise SettingError(f"lesion diameter: expected 6 to 40 mm, got {diameter_mm}.")
        radius = drawn_radius if diameter_mm is None else diameter_mm / 2
        centre = _place(points, radius, rng)
        stretch = np.exp(rng.normal(0, 0.1, 3))
        stretch /= stretch.prod() ** (1 / 3)
        squared = sum(
            ((p - np.float32(c)) * np.float32(1 / (radius * s))) ** 2
            for p, c, s in zip(points, centre, stretch, strict=True)
        )
        shape = points[0].shape
        lumps = smooth_noise(rng, shape, spacing_mm, 0.75 * radius)
        level = np.sqrt(squared) * np.exp(np.float32(0.14) * lumps)
        # The lumps change the volume; the surface is moved so that the mean radius is what was drawn.
        volume_mm3 = max(int(np.count_nonzero(level < 1)), 1) * float(np.prod(spacing_mm))
        level *= np.float32(np.cbrt(0.75 * volume_mm3 / np.pi) / radius)
        grain = smooth_noise(rng, shape, spacing_mm, 2.0)
        return cls(kind, centre, radius, level, grain, float(rng.uniform(0, 1)))

    def share(self, voxel_mm: float) -> np.ndarray:
        """Return how much of each voxel (z, y, x) the lesion fills; 0.5 on its surface."""
        return inside((self.level - 1) * np.float32(self.radius_mm), max(voxel_mm, _EDGE_MM))

    def displaced(self, points: Points) -> Points:
        """Return where the tissue now at ``points`` was before a mass grew; other kinds displace nothing.

        Within the mass the displacement grows evenly from its centre, outside it falls off smoothly, and at the
        skull it is nothing. No two voxels swap places: the source radius grows with the radius everywhere.
        """
        if self.kind != "mass":
            return points
        outside = np.maximum(self.level - 1, 0)
        share = np.minimum(self.level, 1) * np.exp(-((outside / np.float32(_MASS_DECAY)) ** 2))
        room = np.clip(_depth(points) * np.float32(1 / _SKULL_REACH_MM), 0, 1)
        push = np.float32(_MASS_PUSH * self.radius_mm) * share * room * room * (3 - 2 * room)
        offsets = [p - np.float32(c) for p, c in zip(points, self.centre_mm, strict=True)]
        distance = np.sqrt(sum(o * o for o in offsets)) + np.float32(1e-3)
        moved = np.minimum(push / distance, np.float32(0.95))
        # Exactly the point itself where nothing moves, so that skull and scalp stay bit for bit.
        x, y, z = (p - moved * o for p, o in zip(points, offsets, strict=True))
        return x, y, z

    def paint(
        self, intensity: np.ndarray, brain_share: np.ndarray, subject: Subject, voxel_mm: float
    ) -> None:
        """Paint the lesion over the head, in place, where there is brain."""
        tissue = subject.tissues
        share = self.share(voxel_mm) * brain_share
        grain = self.grain
        if self.kind == "bright":
            paint(intensity, share, tissue.white * (1.12 + 0.1 * self.contrast + 0.36 * grain))
        elif self.kind == "dark":
            dark = tissue.csf + (tissue.white - tissue.csf) * (0.30 - 0.15 * self.contrast)
            paint(intensity, share, dark + tissue.white * 0.14 * grain)
        elif self.kind == "mass":
            core = tissue.grey * (0.86 + 0.08 * self.contrast)
            paint(intensity, share, core + tissue.white * 0.20 * grain)
        elif self.kind == "bright-rim":
            centre = inside((self.level - 0.66) * np.float32(self.radius_mm), max(voxel_mm, _EDGE_MM))
            paint(intensity, share, tissue.white * (1.15 + 0.1 * self.contrast + 0.36 * grain))
            paint(intensity, share * centre, tissue.csf * 1.5 + tissue.white * 0.15 * grain)
        else:
            self._paint_texture(intensity, share, subject)
        np.maximum(intensity, 0, out=intensity)

    def _paint_texture(self, intensity: np.ndarray, share: np.ndarray, subject: Subject) -> None:
        """Make what is there grainy without changing its mean."""
        total = float(share.sum(dtype=np.float64))
        if total == 0:
            return
        mean = float((share * self.grain).sum(dtype=np.float64)) / total
        amplitude = np.float32(subject.tissues.white * (0.25 + 0.06 * self.contrast))
        intensity += share * amplitude * (self.grain - np.float32(mean))


def _place(points: Points, radius: float, rng: np.random.Generator) -> np.ndarray:
    """Draw a centre (x, y, z) deep enough for the lesion, in one hemisphere, above the base of the brain."""
    coarse = tuple(axis[::2, ::2, ::2] for axis in points)
    x, y, z = coarse
    fits = _depth((x, y, z)) > radius + _DEPTH_MM
    fits &= (np.abs(x) > max(_LEAST_LATERAL_MM, 0.9 * radius)) & (z > _LEAST_HEIGHT_MM)
    places = np.flatnonzero(fits)
    if places.size == 0:
        raise SettingError(
            f"lesion: the field of view has no place in the brain for a diameter of {2 * radius:.0f} mm. "
            "Choose a smaller diameter or a larger field of view."
        )
    chosen = places[int(rng.integers(places.size))]
    return np.array([axis.ravel()[chosen] for axis in coarse], dtype=np.float64)


def _depth(points: Points) -> np.ndarray:
    """Return the depth below the hull of the cerebrum, without its base."""
    return -ellipsoid(points, (0, 0, 6), (65, 84, 59))
