"""What voxels, sizes and contrast the normal scans had, kept with a model to tell which scans it does not suit.

Only figures of the whole cohort are kept, none of a single scan but the lowest and the highest.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dinoad.settings import COLOURED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = [
    "AXES",
    "MIN_SCANS",
    "CohortNorms",
    "FigureNorm",
    "all_reach_air",
    "contrast_quartiles",
    "robust_spread",
    "robust_z",
    "unlike_all",
]

MIN_SCANS = 2
"""A fit has no fewer. What lies far outside of both, by the least spread at least, is told already."""

_ALLOWED_SPREADS = 5.0
"""How many robust standard deviations beyond the lowest and highest normal scan are nothing to mention."""

_MIN_RELATIVE_SPREAD = 0.05
"""A spread of less than this share of the median is taken for it: scans of one protocol hardly differ at all."""

_OTHER_PIXELS = 3.0
"""A picture has other pixels where it has so many times more than each normal one, or fewer, along its longer side.

Pictures of the same field of view differ less from one device to the next.
"""

_MAD_TO_SIGMA = 1.4826

AXES = ("top to bottom", "front to back", "side to side")
"""Of the canonical array."""

_VOXEL = "voxel_mm_"
_BODY = "body_mm_"
_PIXELS = "pixels_"
_CONTRAST = "contrast_"
_COLOUR = "colour_"
_AIR = "reaches_air"
_QUARTILES = ("lower quartile", "median", "upper quartile")


@dataclass(frozen=True)
class FigureNorm:
    """One figure over the normal scans.

    Attributes
    ----------
    n_scans : int
    median, spread : float
        Spread: 1.4826 × the median absolute deviation from the median.
    lowest, highest : float
    """

    n_scans: int
    median: float
    spread: float
    lowest: float
    highest: float

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> FigureNorm:
        """Return a norm of JSON values; `TypeError` or `ValueError` if they are not of its types."""
        numbers: dict[str, Any] = {
            name: int(value) if name == "n_scans" else float(value) for name, value in stored.items()
        }
        return cls(**numbers)

    def is_unlike(self, value: float) -> bool:
        """Whether a value lies far outside those of the normal scans."""
        slack = _ALLOWED_SPREADS * max(self.spread, _MIN_RELATIVE_SPREAD * abs(self.median))
        return not self.lowest - slack <= value <= self.highest + slack


@dataclass(frozen=True)
class CohortNorms:
    """The figures of one cohort of normal scans, by name."""

    figures: Mapping[str, FigureNorm] = field(default_factory=dict)

    @classmethod
    def of(cls, facts: Sequence[Mapping[str, Any]]) -> CohortNorms:
        """Return the norms of scans; a figure that fewer than `MIN_SCANS` scans have is left out.

        Parameters
        ----------
        facts : sequence of mapping
            Of each scan; see `napari_dinoad.pipeline.slices.scan_facts`.
        """
        columns: dict[str, list[float]] = {}
        for item in facts:
            for name, value in _figures(item).items():
                columns.setdefault(name, []).append(value)
        return cls({name: _norm(values) for name, values in columns.items() if len(values) >= MIN_SCANS})

    @classmethod
    def from_dict(cls, stored: Mapping[str, Mapping[str, Any]]) -> CohortNorms:
        """Return what `to_dict` gave.

        Raises
        ------
        TypeError, ValueError
            If it is of another form.
        """
        return cls({name: FigureNorm.from_dict(values) for name, values in stored.items()})

    @property
    def width_mm(self) -> float | None:
        """How wide the bodies are in axial slices, front to back or side to side; None where that is not known."""
        widths = [self.figures[name].median for name in map(_BODY.__add__, AXES[1:]) if name in self.figures]
        return max(widths, default=None)

    @property
    def reach_air(self) -> frozenset[bool]:
        """Whether the scans have values of air as CT has; both if some have, empty where that is not known."""
        norm = self.figures.get(_AIR)
        return frozenset() if norm is None else frozenset((norm.lowest > 0, norm.highest > 0))

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Return JSON values."""
        return {name: asdict(norm) for name, norm in self.figures.items()}

    def unlike(self, figures: Mapping[str, float]) -> dict[str, float]:
        """Return those figures of a scan that are unlike these normal scans'."""
        return {
            name: value
            for name, value in figures.items()
            if name in self.figures and _IS_UNLIKE.get(name, FigureNorm.is_unlike)(self.figures[name], value)
        }

    def told(self, figures: Mapping[str, float]) -> tuple[str, ...]:
        """Return what of a scan is unlike these normal scans: a sentence each for voxels, size and contrast."""
        unlike = self.unlike(figures)
        sentences = []
        for kind, sentence in _SENTENCES.items():
            of_kind = {name.removeprefix(kind): name for name in unlike if name.startswith(kind)}
            if of_kind:
                norms = [self.figures[name] for name in of_kind.values()]
                sentences.append(sentence(list(of_kind), [unlike[name] for name in of_kind.values()], norms))
        return tuple(sentences)


def robust_spread(values: Sequence[float] | np.ndarray) -> float:
    """Return 1.4826 × the median absolute deviation from the median: σ of a normal distribution."""
    return _MAD_TO_SIGMA * float(np.median(np.abs(np.subtract(values, np.median(values)))))


def robust_z(values: np.ndarray, min_spread: float = 0.0) -> np.ndarray:
    """Return how many robust standard deviations, of ``min_spread`` at least, values (n,) are from their median."""
    apart = values - np.median(values)
    return np.asarray(apart / max(robust_spread(values), min_spread, np.finfo(float).tiny))


def contrast_quartiles(facts: Mapping[str, Any]) -> dict[str, float]:
    """Return where the quartiles lie between dark and bright: what tells one contrast from another, in any units.

    Parameters
    ----------
    facts : mapping
        Of a scan; see `napari_dinoad.pipeline.slices.scan_facts`.
    """
    low, *quartiles, high = facts["intensity"]
    span = max(high - low, np.finfo(float).tiny)
    return {name: float((value - low) / span) for name, value in zip(_QUARTILES, quartiles, strict=True)}


def all_reach_air(cohorts: Iterable[CohortNorms]) -> frozenset[bool]:
    """Return what `CohortNorms.reach_air` says of the normal scans of all cohorts together."""
    return frozenset[bool]().union(*(cohort.reach_air for cohort in cohorts))


def unlike_all(cohorts: Sequence[CohortNorms], facts: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what of a scan is unlike the normal scans behind a model.

    A model of several cohorts (merged, or updated) suits a scan that is like one of them; otherwise what is said is
    of the cohort that it is least unlike.

    Parameters
    ----------
    cohorts : sequence of CohortNorms
    facts : mapping
        Of the scan; see `napari_dinoad.pipeline.slices.scan_facts`.
    """
    figures = _figures(facts)
    nearest = min(cohorts, key=lambda cohort: len(cohort.unlike(figures)), default=None)
    return () if nearest is None else nearest.told(figures)


def _figures(facts: Mapping[str, Any]) -> dict[str, float]:
    """Return comparable figures: none depends on the units of the intensities, or on the field of view."""
    figures: dict[str, float] = {}
    if facts["is_physical"]:
        for axis, name in enumerate(AXES):
            figures[_VOXEL + name] = float(facts["spacing"][axis])
            if facts["shape"][axis] > 1:
                figures[_BODY + name] = float(facts["body_size"][axis])
    else:
        figures[_LONGER_SIDE] = float(max(facts["shape"][1:]))
    if "reaches_air" in facts:
        figures[_AIR] = float(facts["reaches_air"])
    if facts.get("in_colour"):
        figures[_COLOURFULNESS] = float(facts["colour"])
    return figures | {_CONTRAST + name: value for name, value in contrast_quartiles(facts).items()}


def _norm(values: list[float]) -> FigureNorm:
    return FigureNorm(len(values), float(np.median(values)), robust_spread(values), min(values), max(values))


def _told_contrast(parts: list[str], values: list[float], norms: list[FigureNorm]) -> str:
    lie = "lies" if len(parts) == 1 else "lie"
    return (
        f"Another contrast than the normal scans: the {_listed(parts)} of its tissue {lie} at "
        f"{_listed([f'{100 * value:.0f} %' for value in values])} between dark and bright, theirs at "
        f"{_listed([f'{_range(100 * norm.lowest, 100 * norm.highest)} %' for norm in norms])}."
    )


def _is_of_other_colour(norm: FigureNorm, value: float) -> bool:
    """Whether a scan is grey where all normal ones are in colour, or the other way round."""
    return value < COLOURED <= norm.lowest or norm.highest < COLOURED <= value


def _told_colour(parts: list[str], values: list[float], norms: list[FigureNorm]) -> str:
    del parts, norms
    return (
        "It is grey and the normal scans are in colour: all of it may be unusual to this model."
        if values[0] < COLOURED
        else "It is in colour and the normal scans are grey: all of it may be unusual to this model."
    )


def _told_lengths(subject: str, axes: list[str], values: list[float], norms: list[FigureNorm]) -> str:
    return (
        f"{subject} {_listed([f'{value:.3g} mm {axis}' for axis, value in zip(axes, values, strict=True)])}, in the "
        f"normal scans {_listed([f'{_range(norm.lowest, norm.highest)} mm' for norm in norms])}."
    )


def _told_voxels(axes: list[str], values: list[float], norms: list[FigureNorm]) -> str:
    are_larger = {value > norm.highest for value, norm in zip(values, norms, strict=True)}
    if are_larger == {True}:
        meant = "Its detail is coarser, which may look unusual all over. Score a series of smaller voxels"
    elif are_larger == {False}:
        meant = "Its detail is finer, which may look unusual all over. Resample it to theirs"
    else:
        meant = "Its detail is another, which may look unusual all over. Score a series of voxels like theirs"
    told = _told_lengths("Its voxels are", axes, values, norms)
    return f"{told} {meant}, or fit a model of normal scans with voxels of its size."


def _has_other_pixels(norm: FigureNorm, value: float) -> bool:
    """Whether a picture may be of another magnification, by its number of pixels."""
    return value > _OTHER_PIXELS * norm.highest or value * _OTHER_PIXELS < norm.lowest


def _told_pixels(parts: list[str], values: list[float], norms: list[FigureNorm]) -> str:
    del parts
    more = values[0] > norms[0].highest
    theirs = " to ".join(dict.fromkeys(f"{side:.0f}" for side in (norms[0].lowest, norms[0].highest)))
    return (
        f"Its longer side has {values[0]:.0f} pixels, that of the normal scans {theirs}: unless it is the same field "
        f"of view, its details are much {'smaller' if more else 'larger'} to the model. "
        f"{'Cut' if more else 'Take'} pieces of their size."
    )


_SENTENCES: dict[str, Callable[[list[str], list[float], list[FigureNorm]], str]] = {
    _VOXEL: _told_voxels,
    _BODY: partial(_told_lengths, "What it shows measures"),
    _PIXELS: _told_pixels,
    _COLOUR: _told_colour,
    _CONTRAST: _told_contrast,
}
"""What is told of a kind of figures: of names behind the kind, values, and the normal scans' norms."""

_COLOURFULNESS = f"{_COLOUR}fulness"
_LONGER_SIDE = f"{_PIXELS}longer_side"

_IS_UNLIKE: dict[str, Callable[[FigureNorm, float], bool]] = {
    _COLOURFULNESS: _is_of_other_colour,
    _LONGER_SIDE: _has_other_pixels,
    _AIR: lambda *_: False,  # See `napari_dinoad.images.values.hounsfield.modality_note`.
}
"""Of figures that are not compared by `FigureNorm.is_unlike`."""


def _listed(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)


def _range(low: float, high: float) -> str:
    first, last = f"{low:.3g}", f"{high:.3g}"
    return first if first == last else f"{first} to {last}"
