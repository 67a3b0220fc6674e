"""Patches of held-out normal scans that a model keeps, so that it can be merged with other models later.

A merged model knows the normal patches of all its cohorts, so a normal patch scores lower in it than in the model of
its own cohort alone. By how much is measured on the patches that each model has kept; its calibration follows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_dinoad.errors import ModelFileError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["MOST_PATCHES", "HeldOutPatches", "ScoreRatio"]

_NAMES = ("embeddings", "scores", "averaged", "weights")

MOST_PATCHES = 4_000
"""In a model of several."""

_N_RATIOS = 32

_TOP_PATCHES = 20
"""The ratio of so many of the highest scores holds for all above."""

_GROUP_PATCHES, _MOST_GROUPS = 100, 16
"""Patches of about the same height, at least; and groups of them, at most."""

_LEAST_RATIO = 0.01
"""So that scores keep their order, whatever is measured."""


@dataclass(frozen=True, eq=False)
class ScoreRatio:
    """The factor by which raw scores change when a model is merged, as a function of the score before.

    Attributes
    ----------
    scores : numpy.ndarray
        (n,) float64, ascending.
    ratios : numpy.ndarray
        (n,) float64, at these scores; the first and the last hold beyond them.
    """

    scores: np.ndarray
    ratios: np.ndarray

    @classmethod
    def measured(cls, before: np.ndarray, after: np.ndarray, weights: np.ndarray) -> ScoreRatio:
        """Return the ratios of scores that the same shares of patches reach, evenly in the logarithm of the share.

        Parameters
        ----------
        before, after : numpy.ndarray
            (n,) scores of patches, not negative but for rounding, in any order.
        weights : numpy.ndarray
            (n,) how many patches each stands for.
        """
        if not len(before):
            return cls(np.zeros(0), np.zeros(0))
        order = np.argsort(-before)
        top = weights[order[:_TOP_PATCHES]].sum() / weights.sum()
        shares = np.geomspace(1, top, _N_RATIOS)
        low, high = (_reached(scores, weights, shares) for scores in (before, after))
        scores, first = np.unique(low[low > 0], return_index=True)
        return cls(scores, np.maximum(high[low > 0][first] / scores, _LEAST_RATIO))

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """Return the ratios (n,) float64 at scores (n,); 1 where nothing was measured."""
        if not self.scores.size:
            return np.ones(len(scores))
        return np.asarray(np.interp(scores, self.scores, self.ratios))


@dataclass(frozen=True, eq=False)
class HeldOutPatches:
    """Patches of held-out normal scans.

    Attributes
    ----------
    embeddings : torch.Tensor
        (n, d) float16, of unit length.
    scores : torch.Tensor
        (n,) float32, their own raw scores by a scorer that had not seen their person.
    averaged : torch.Tensor
        (n,) float32, as they are calibrated: averaged over slices and divided by the level of their slice. Where
        nothing is averaged they are ``scores``.
    weights : torch.Tensor
        (n,) float32, above 0: how many patches each stands for.
    """

    embeddings: torch.Tensor
    scores: torch.Tensor
    averaged: torch.Tensor
    weights: torch.Tensor

    def __len__(self) -> int:
        return len(self.scores)

    def rescored(
        self, scores: np.ndarray, noise_share: float
    ) -> tuple[HeldOutPatches, ScoreRatio, ScoreRatio]:
        """Return the patches with the scores of another model in place, and by which factors scores have changed.

        How an averaged score changes is not known exactly, since the patch's neighbours in other slices are not kept.
        It is estimated: by the mean change of patches that score about as high, plus the share of this patch's own
        deviation from that mean which averaging would leave, as it does of noise. It rises by no more than the patch
        itself does, whose score may have been next to nothing and rise a thousandfold.

        Parameters
        ----------
        scores : numpy.ndarray
            (n,) raw scores of the patches by the other model.
        noise_share : float
            Share of the noise's variance that averaging leaves; see `PlaneModel.noise_share`.

        Returns
        -------
        patches : HeldOutPatches
        of_averaged, of_single : ScoreRatio
            Of ``averaged``, and of ``scores``.
        """
        own, averaged, weights = (
            t.numpy().astype(np.float64) for t in (self.scores, self.averaged, self.weights)
        )
        rise = scores - own
        ratios = 1 + np.divide(
            rise, np.where(rise > 0, np.maximum(own, averaged), own), out=np.zeros_like(own), where=own > 0
        )
        usual = _means_at(averaged, ratios, own)
        other = averaged * (usual + noise_share**0.5 * (ratios - usual))
        patches = replace(self, scores=_float32(scores), averaged=_float32(other))
        return (
            patches,
            ScoreRatio.measured(averaged, other, weights),
            ScoreRatio.measured(own, scores, weights),
        )

    @property
    def as_map(self) -> torch.Tensor:
        """The embeddings as a scorer takes them, (1, n, 1, d) float32."""
        return self.embeddings.float()[None, :, None]

    def thinned(self, n: int) -> HeldOutPatches:
        """Return ``n`` of the patches, evenly from low to high, whatever their order; all where there are no more."""
        if n >= len(self):
            return self
        ascending = np.lexsort((self.weights.numpy(), self.scores.numpy(), self.averaged.numpy()))
        rows = torch.from_numpy(ascending[np.linspace(0, len(self) - 1, n).round().astype(np.int64)])
        return HeldOutPatches(*(tensor[rows] for tensor in self._all()))

    @classmethod
    def pooled(cls, parts: Sequence[HeldOutPatches], shares: Sequence[float]) -> HeldOutPatches:
        """Return `MOST_PATCHES` of the patches of all parts at most; each has its share of them and of the weight."""
        chosen = []
        for part, share in zip(parts, shares, strict=True):
            thinned = part.thinned(round(MOST_PATCHES * share))
            chosen.append(replace(thinned, weights=thinned.weights * (share / thinned.weights.sum())))
        return cls.joined(chosen)

    @classmethod
    def joined(cls, parts: Sequence[HeldOutPatches]) -> HeldOutPatches:
        """Return the patches of all parts."""
        return cls(*(torch.cat(tensors) for tensors in zip(*(part._all() for part in parts), strict=True)))

    def _all(self) -> tuple[torch.Tensor, ...]:
        return self.embeddings, self.scores, self.averaged, self.weights

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return what `from_tensors` takes."""
        return {name: tensor.contiguous().cpu() for name, tensor in zip(_NAMES, self._all(), strict=True)}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, torch.Tensor]) -> HeldOutPatches:
        """Rebuild what `tensors` gave.

        Raises
        ------
        ModelFileError
            If something is missing, of another shape or type, or no number, or there are no patches.
        """
        try:
            embeddings, *of_each = own = [tensors[name] for name in _NAMES]
            n, _ = embeddings.shape
        except (KeyError, ValueError) as error:
            raise ModelFileError(f"Held-out patches: {error!r}.") from error
        sound = (
            n > 0
            and embeddings.dtype == torch.float16
            and all(tensor.dtype == torch.float32 and tensor.shape == (n,) for tensor in of_each)
            and all(bool(tensor.isfinite().all()) for tensor in own)
            and bool((of_each[-1] > 0).all())
        )
        if not sound:
            raise ModelFileError("Held-out patches: the stored numbers do not go together.")
        return cls(*own)


def _reached(scores: np.ndarray, weights: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Return the scores (k,) that these shares (k,) of all weight reach."""
    order = np.argsort(-scores)
    as_high = np.cumsum(weights[order])
    places = np.searchsorted(as_high, shares * as_high[-1] * (1 - 1e-9))
    return np.asarray(scores[order[np.minimum(places, len(order) - 1)]])


def _means_at(heights: np.ndarray, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the weighted mean (n,) of the values at about the same height; 1 where nothing has weight."""
    means = np.ones_like(values)
    n_groups = np.clip(len(values) // _GROUP_PATCHES, 1, _MOST_GROUPS)
    for group in np.array_split(np.argsort(heights), n_groups):
        if weights[group].sum() > 0:
            means[group] = np.average(values[group], weights=weights[group])
    return means


def _float32(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float32))
