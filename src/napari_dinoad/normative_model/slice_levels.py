"""What is usual of a slice by what it looks like: how high the scores of alike slices of normal persons are.

Some slices score high in every person (the neck, the base of the skull, the vertex), and with one table for all they
are what is marked first. A slice's *look* is a vector (see `napari_dinoad.pipeline.slices.slice_looks`), its *place*
what is left of it in the directions in which normal slices differ most. Its level is the mean of those of the
`N_ALIKE` normal slices that lie nearest, weighted by likeness; 1 is the mean level of all, and what a slice without
its like has. Of models that were merged the nearest slices of each have their say, as if all were one model's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_dinoad.errors import ModelFileError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["LookSpace", "SliceLevels", "common_units", "told_by_all"]

N_DIRECTIONS = 32
N_ALIKE = 10

_PRIOR = 0.3
"""The weight of the mean level; that of a slice that looks the same is 1."""

_MIN_SPREAD = 1e-3
_MIN_WIDTH = 1e-6
_MIN_SQUARES = 1e-12
_ROWS_AT_ONCE = 512


@dataclass(frozen=True, eq=False)
class LookSpace:
    """The directions in which the looks of normal slices differ most.

    Attributes
    ----------
    directions : torch.Tensor
        (k, q) float32, the principal directions of standardised looks, of looks as they are; q is at most
        `N_DIRECTIONS`.
    origin : torch.Tensor
        (q,) float32, the place of the mean look before it is taken off.
    """

    directions: torch.Tensor
    origin: torch.Tensor

    @classmethod
    def of(cls, looks: torch.Tensor) -> LookSpace:
        """Return the directions of looks (m, k) float32."""
        from sklearn.decomposition import PCA

        centre, spread = looks.mean(0), looks.std(0, correction=0).clamp_min(_MIN_SPREAD)
        n_directions = min(N_DIRECTIONS, *looks.shape)
        # Of looks that are all the same it divides 0 by 0, for shares of variance that nobody asks for.
        with np.errstate(invalid="ignore"):
            found = PCA(n_directions, random_state=0).fit(((looks - centre) / spread).numpy())
        directions = torch.from_numpy(found.components_.T.copy()).float() / spread[:, None]
        return cls(directions, centre @ directions)

    def places(self, looks: torch.Tensor) -> torch.Tensor:
        """Return the places (n, q) float32 of looks (n, k)."""
        return torch.addmm(self.origin, looks, self.directions, beta=-1)


@dataclass(frozen=True, eq=False)
class SliceLevels:
    """The levels of normal slices by several scorers, to tell what is usual of other slices.

    Attributes
    ----------
    space : LookSpace
    places : torch.Tensor
        (m, q) float32, of the normal slices; with none every level is 1.
    levels : torch.Tensor
        (s, m) float32, their levels by each scorer; the mean is 1.
    width : float
        The squared distance at which likeness is e^−½.
    units : torch.Tensor
        (s,) float32, above 0: the raw score of each scorer that a level of 1 stands for.
    """

    space: LookSpace
    places: torch.Tensor
    levels: torch.Tensor
    width: float
    units: torch.Tensor

    @classmethod
    def of(
        cls, space: LookSpace, places: torch.Tensor, levels: torch.Tensor, persons: torch.Tensor
    ) -> SliceLevels:
        """Measure how alike slices of different persons are, and how much their looks tell of their levels.

        Each person's slices are left out in turn and their levels predicted by those of the others. The slope of the
        regression of the true levels on the predicted ones, limited to 0 … 1, says how much looks tell; all levels
        are drawn towards 1 by it. Where looks tell little, levels then change little.

        Parameters
        ----------
        space : LookSpace
        places : torch.Tensor
            (m, q) float32, of slices of at least two persons.
        levels : torch.Tensor
            (s, m) float32, raw scores, not negative but for rounding. A scorer whose levels are all 0 is told
            nothing of.
        persons : torch.Tensor
            (m,) int64, the person of each slice.
        """
        levels = levels.clamp_min(0)
        means = levels.mean(1, keepdim=True)
        relative = torch.where(means > 0, levels / means, torch.ones_like(levels))
        units = torch.where(means > 0, means, torch.ones_like(means))[:, 0]
        undrawn = cls(space, places, relative, 1.0, units)
        rows = torch.split(torch.arange(len(places)), _ROWS_AT_ONCE)
        of_others = [undrawn._nearest(places[some], persons[some, None] == persons) for some in rows]
        farthest = [distances.masked_fill(distances.isinf(), 0.0).amax(1) for distances, _ in of_others]
        width = max(float(torch.cat(farthest).median().square()), _MIN_WIDTH)
        undrawn = replace(undrawn, width=width)
        told = torch.cat([_mean(*undrawn._votes(*nearest)) for nearest in of_others], dim=1) - 1
        slope = (told * (relative - 1)).sum(1) / told.square().sum(1).clamp_min(_MIN_SQUARES)
        return replace(undrawn, levels=1 + slope.clamp(0, 1)[:, None] * (relative - 1))

    @classmethod
    def silent(cls, units: torch.Tensor) -> SliceLevels:
        """Return levels that are 1 in these units (s,) float32 whatever a slice looks like."""
        space = LookSpace(torch.zeros(1, 1), torch.zeros(1))
        return cls(space, torch.zeros(0, 1), torch.zeros(len(units), 0), 1.0, units)

    @property
    def n_slices(self) -> int:
        """Number m of normal slices; with none levels are 1 whatever a slice looks like."""
        return len(self.places)

    def __call__(self, looks: torch.Tensor) -> torch.Tensor:
        """Return the levels (s, n) float32 of slices with these looks (n, k), on the device of both."""
        if not self.n_slices:
            return looks.new_ones((len(self.levels), len(looks)))
        return self.at(self.space.places(looks))

    def at(self, places: torch.Tensor, is_left_out: torch.Tensor | None = None) -> torch.Tensor:
        """Return the levels (s, n) float32 at places (n, q).

        Parameters
        ----------
        places : torch.Tensor
        is_left_out : torch.Tensor, optional
            Which normal slices (n, m) or (m,) bool have no say.
        """
        return _mean(*self.votes(places, is_left_out))

    def votes(
        self, places: torch.Tensor, is_left_out: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what the nearest normal slices say of slices at these places; see `at`.

        Returns
        -------
        tuple of torch.Tensor
            The sums of their levels, each times its likeness, (s, n) float32, and of their likenesses, (n,).
        """
        return self._votes(*self._nearest(places, is_left_out))

    def _votes(self, distances: torch.Tensor, which: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what the nearest normal slices (n, a) say; see `votes`."""
        likeness = distances.square().mul_(-0.5 / self.width).exp_()
        return (likeness * self.levels[:, which]).sum(-1), likeness.sum(-1)

    def _nearest(
        self, places: torch.Tensor, is_left_out: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return distances, ascending (∞: left out), and numbers (n, a) of the nearest normal slices."""
        distances = torch.cdist(places, self.places, compute_mode="donot_use_mm_for_euclid_dist")
        if is_left_out is not None:
            distances.masked_fill_(is_left_out, torch.inf)
        found = distances.topk(min(N_ALIKE, self.n_slices), largest=False)
        return found.values, found.indices

    def on_device(self, device: torch.device) -> SliceLevels:
        """Return the levels on ``device``."""
        space = LookSpace(self.space.directions.to(device), self.space.origin.to(device))
        return SliceLevels(
            space, self.places.to(device), self.levels.to(device), self.width, self.units.to(device)
        )

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return what `from_tensors` takes, on the CPU."""
        tensors = {
            "directions": self.space.directions,
            "origin": self.space.origin,
            "places": self.places,
            "levels": self.levels,
            "units": self.units,
        }
        kept = {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}
        return {**kept, "width": torch.tensor(self.width, dtype=torch.float64)}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, torch.Tensor]) -> SliceLevels:
        """Rebuild what `tensors` gave.

        Raises
        ------
        ModelFileError
            If something is missing, of another shape or type, or no number.
        """
        try:
            directions, origin, places, levels, units, width = (
                tensors[name] for name in ("directions", "origin", "places", "levels", "units", "width")
            )
            k, q = directions.shape
            n_scorers, n_slices = levels.shape
            sound = (
                all(_is_sound(tensor) for tensor in (directions, origin, places, levels, units))
                and origin.shape == (q,)
                and places.shape == (n_slices, q)
                and units.shape == (n_scorers,)
                and bool((levels >= 0).all())
                and bool((units > 0).all())
                and min(k, q, n_scorers) >= 1
                and 0 < float(width) < float("inf")
            )
        except (KeyError, ValueError, TypeError, RuntimeError) as error:
            raise ModelFileError(f"Levels of slices: {error!r}.") from error
        if not sound:
            raise ModelFileError("Levels of slices: the stored numbers do not go together.")
        return cls(LookSpace(directions, origin), places, levels, float(width), units)


def common_units(parts: Sequence[SliceLevels]) -> torch.Tensor:
    """Return the units (s,) float32 of what several models tell together: the mean of all their normal slices.

    Parameters
    ----------
    parts : sequence of SliceLevels
        Of the same scorers; at least one of them is not silent.
    """
    total = sum(part.n_slices for part in parts)
    return torch.stack([part.units * (part.n_slices / total) for part in parts]).sum(0)


def told_by_all(parts: Sequence[SliceLevels], looks: torch.Tensor) -> torch.Tensor:
    """Return the levels (s, n) float32 of slices with these looks (n, k) by several models, in their common units.

    What is silent says nothing, but no level is below its own.

    Parameters
    ----------
    parts : sequence of SliceLevels
        One or more, of the same scorers.
    looks : torch.Tensor
    """
    if len(parts) == 1:
        return parts[0](looks)
    common = common_units(parts)
    votes = [(part.units / common, *part.votes(part.space.places(looks))) for part in parts if part.n_slices]
    said = torch.stack([own[:, None] * total for own, total, _ in votes]).sum(0)
    told = _mean(said, torch.stack([weight for _, _, weight in votes]).sum(0))
    for part in parts:
        if not part.n_slices:
            told = torch.maximum(told, (part.units / common)[:, None])
    return told


def _mean(total: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return levels (s, n) from what slices (s, n) and (n,) say, and the mean level; both are overwritten."""
    return total.add_(_PRIOR).div_(weight.add_(_PRIOR))


def _is_sound(tensor: torch.Tensor) -> bool:
    return tensor.dtype == torch.float32 and bool(tensor.isfinite().all())
