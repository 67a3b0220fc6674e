"""What is usual of a slice by what it looks like: how high the scores of alike slices of normal persons are.

Some slices score high in every person (the neck, the base of the skull, the vertex), and with one table for all they
are what is marked first. A slice's *look* is a vector (see `napari_dinoad.pipeline.slices.slice_looks`), its *place*
what is left of it in the directions in which normal slices differ most. Its level is the mean of those of the
`N_ALIKE` normal slices that lie nearest, weighted by likeness; 1 is the mean level of all, and what a slice without
its like has.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import torch

from napari_dinoad.errors import ModelFileError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LookSpace", "SliceLevels"]

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
    centre, spread : torch.Tensor
        (k,) float32, mean and standard deviation of the looks.
    directions : torch.Tensor
        (k, q) float32, of standardised looks; q is at most `N_DIRECTIONS`.
    """

    centre: torch.Tensor
    spread: torch.Tensor
    directions: torch.Tensor

    @classmethod
    def of(cls, looks: torch.Tensor) -> LookSpace:
        """Return the principal directions of looks (m, k) float32."""
        from sklearn.decomposition import PCA

        centre, spread = looks.mean(0), looks.std(0, correction=0).clamp_min(_MIN_SPREAD)
        n_directions = min(N_DIRECTIONS, *looks.shape)
        found = PCA(n_directions, random_state=0).fit(((looks - centre) / spread).numpy())
        return cls(centre, spread, torch.from_numpy(found.components_.T.copy()).float())

    def places(self, looks: torch.Tensor) -> torch.Tensor:
        """Return the places (n, q) float32 of looks (n, k)."""
        return ((looks - self.centre) / self.spread) @ self.directions


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
    explained : torch.Tensor
        (s,) float32, 0 to 1: how much of what sets the levels of left-out persons apart their looks tell. All that is
        told is drawn to 1 by that.
    width : torch.Tensor
        () float32, the squared distance at which likeness is e^−½.
    """

    space: LookSpace
    places: torch.Tensor
    levels: torch.Tensor
    explained: torch.Tensor
    width: torch.Tensor

    @classmethod
    def of(
        cls, space: LookSpace, places: torch.Tensor, levels: torch.Tensor, persons: torch.Tensor
    ) -> SliceLevels:
        """Measure how alike slices of different persons are, and how much that tells of their levels.

        Parameters
        ----------
        space : LookSpace
        places : torch.Tensor
            (m, q) float32, of slices of at least two persons.
        levels : torch.Tensor
            (s, m) float32, not negative, in any unit. A scorer whose levels are all 0 is told nothing of.
        persons : torch.Tensor
            (m,) int64, the person of each slice.
        """
        means = levels.mean(1, keepdim=True)
        relative = torch.where(means > 0, levels / means, torch.ones_like(levels))
        undrawn = cls(space, places, relative, torch.ones(len(levels)), torch.ones(()))
        rows = torch.split(torch.arange(len(places)), _ROWS_AT_ONCE)
        of_others = [undrawn._nearest(places[some], persons[some, None] == persons) for some in rows]
        farthest = [squares.masked_fill(squares.isinf(), 0.0).amax(1) for squares, _ in of_others]
        undrawn = replace(undrawn, width=torch.cat(farthest).median().clamp_min(_MIN_WIDTH))
        apart = torch.cat([undrawn._told(*nearest) for nearest in of_others], dim=1) - 1
        slope = (apart * (relative - 1)).sum(1) / apart.square().sum(1).clamp_min(_MIN_SQUARES)
        return replace(undrawn, explained=slope.clamp(0, 1))

    @classmethod
    def silent(cls, n_scorers: int) -> SliceLevels:
        """Return levels that are 1 whatever a slice looks like."""
        space = LookSpace(torch.zeros(1), torch.ones(1), torch.zeros(1, 1))
        return cls(
            space, torch.zeros(0, 1), torch.zeros(n_scorers, 0), torch.zeros(n_scorers), torch.ones(())
        )

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
        return self._told(*self._nearest(places, is_left_out))

    def _told(self, squares: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
        """Return the levels (s, n) by the nearest normal slices (n, a)."""
        likeness = torch.exp(-0.5 * squares / self.width)
        total = (likeness * self.levels[:, which]).sum(-1) + _PRIOR
        return 1 + self.explained[:, None] * (total / (likeness.sum(-1) + _PRIOR) - 1)

    def _nearest(
        self, places: torch.Tensor, is_left_out: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return squared distances, ascending (∞: left out), and numbers (n, a) of the nearest normal slices."""
        squares = torch.cdist(places, self.places, compute_mode="donot_use_mm_for_euclid_dist").square_()
        if is_left_out is not None:
            squares.masked_fill_(is_left_out, torch.inf)
        found = squares.topk(min(N_ALIKE, self.n_slices), largest=False)
        return found.values, found.indices

    def on_device(self, device: torch.device) -> SliceLevels:
        """Return the levels on ``device``."""
        space = LookSpace(*(getattr(self.space, each.name).to(device) for each in fields(self.space)))
        own = (getattr(self, each.name).to(device) for each in fields(self)[1:])
        return SliceLevels(space, *own)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return what `from_tensors` takes, on the CPU."""
        own = {each.name: getattr(self, each.name) for each in fields(self)[1:]}
        own |= {each.name: getattr(self.space, each.name) for each in fields(self.space)}
        return {name: tensor.contiguous().cpu() for name, tensor in own.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, torch.Tensor], n_scorers: int, n_slices: int) -> SliceLevels:
        """Rebuild what `tensors` gave, with so many scorers and normal slices.

        Raises
        ------
        ModelFileError
            If something is missing, of another shape or type, or no number.
        """
        try:
            k, q = tensors["directions"].shape
            wanted: dict[str, tuple[int, ...]] = {
                "centre": (k,),
                "spread": (k,),
                "directions": (k, q),
                "places": (n_slices, q),
                "levels": (n_scorers, n_slices),
                "explained": (n_scorers,),
                "width": (),
            }
            sound = all(_is_sound(tensors[name], shape) for name, shape in wanted.items())
            sound = sound and bool((tensors["spread"] > 0).all() and (tensors["levels"] >= 0).all())
            sound = sound and bool(tensors["width"] > 0)
            sound = sound and bool(((tensors["explained"] >= 0) & (tensors["explained"] <= 1)).all())
        except (KeyError, ValueError, TypeError) as error:
            raise ModelFileError(f"Levels of slices: {error!r}.") from error
        if not sound:
            raise ModelFileError("Levels of slices: the stored numbers do not go together.")
        space = LookSpace(*(tensors[each.name] for each in fields(LookSpace)))
        own: list[Any] = [tensors[each.name] for each in fields(cls)[1:]]
        return cls(space, *own)


def _is_sound(tensor: torch.Tensor, shape: tuple[int, ...]) -> bool:
    return tensor.dtype == torch.float32 and tuple(tensor.shape) == shape and bool(tensor.isfinite().all())
