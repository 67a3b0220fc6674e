"""The memory bank scorer: cosine distance to the nearest stored normal patches (AnomalyDINO; PatchCore)."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, ClassVar, Self

import torch

from napari_dinoad.errors import ScorerError
from napari_dinoad.progress import report
from napari_dinoad.scoring.patch_sample import sample_patches
from napari_dinoad.scoring.patches import (
    as_patches,
    checked_embeddings,
    in_chunks,
    require_reiterable,
    seeded_generator,
    unit_length,
)
from napari_dinoad.scoring.protocol import ScorerState
from napari_dinoad.scoring.saved_state import require_scorer, saved_settings, saved_tensor
from napari_dinoad.scoring.seeding import greedy_k_centre, k_means
from napari_dinoad.settings import MemoryBankSettings
from napari_dinoad.settings.checks import require_kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from napari_dinoad.progress import Progress

__all__ = ["MemoryBankScorer", "nearest_similarities"]

BLOCK_PATCHES = 1000
"""Stored patches compared at once: a block of similarities then stays in the processor's cache."""


def nearest_similarities(queries: torch.Tensor, bank: torch.Tensor, n_neighbours: int) -> torch.Tensor:
    """Return the largest ``n_neighbours`` inner products (n, k) of each query (n, d) with the bank (m, d).

    Exact: every product is computed, block by block, and only the best so far are kept.
    """
    best: torch.Tensor | None = None
    for first in range(0, len(bank), BLOCK_PATCHES):
        block = bank[first : first + BLOCK_PATCHES]
        products = queries @ block.T
        if n_neighbours == 1:
            top = products.amax(-1, keepdim=True)
        else:
            top = products.topk(min(n_neighbours, len(block)), dim=-1).values
        best = top if best is None else torch.cat([best, top], -1)
        if best.shape[1] > n_neighbours:
            best = best.amax(-1, keepdim=True) if n_neighbours == 1 else best.topk(n_neighbours, -1).values
    if best is None:
        raise ScorerError("memory bank: expected at least one stored patch, got none; call fit first.")
    return best


class MemoryBankScorer:
    """How far a patch is from the nearest normal patches, by the cosine distance (as PatchCore and AnomalyDINO).

    A uniform sample over all scans is thinned to ``n_patches`` by k-means, a greedy k-centre coreset, or not at all.

    Parameters
    ----------
    settings : MemoryBankSettings, optional
        Defaults if left out.
    device : str or torch.device
        Where it computes.
    """

    name: ClassVar[str] = "memory-bank"

    def __init__(
        self, settings: MemoryBankSettings | None = None, *, device: str | torch.device = "cpu"
    ) -> None:
        self.settings = MemoryBankSettings() if settings is None else settings
        require_kind("settings", self.settings, MemoryBankSettings)
        self.device = torch.device(device)
        self._bank: torch.Tensor | None = None

    def __repr__(self) -> str:
        what = "not fitted" if self._bank is None else f"{len(self._bank)} patches"
        return f"<MemoryBankScorer ({self.settings.n_neighbours} nearest): {what}>"

    @property
    def bank(self) -> torch.Tensor:
        """The stored patches (m, d) float32, unit length.

        Raises
        ------
        ScorerError
            Before `fit`.
        """
        if self._bank is None:
            raise ScorerError("memory bank: expected a fitted scorer, got an empty bank; call fit first.")
        return self._bank

    def fit(
        self,
        batches: Iterable[torch.Tensor],
        *,
        validation: Iterable[torch.Tensor] | None = None,
        progress: Progress | None = None,
        checkpoint: Callable[[ScorerState], None] | None = None,
    ) -> Self:
        """Sample normal patches and thin them; one pass over ``batches``.

        Parameters
        ----------
        batches : iterable of torch.Tensor
            Each item is (n, gh, gw, d) float.
        validation : iterable of torch.Tensor, optional
            Not needed: nothing is chosen by it.
        progress : callable, optional
            Called after each batch, and after the thinning.
        checkpoint : callable, optional
            Called with the state at the end.

        Raises
        ------
        ScorerError
            If there is nothing to fit on, or an embedding is NaN or infinite.
        """
        require_reiterable(batches)
        settings = self.settings
        generator = seeded_generator(settings.seed)
        factor = 1 if settings.reduction == "random" else settings.sample_factor
        sample = sample_patches(batches, settings.n_patches * factor, generator, progress)
        patches = unit_length(sample.patches.to(torch.float32))
        if len(patches) > settings.n_patches:
            if settings.reduction == "coreset":
                patches = patches[greedy_k_centre(patches, settings.n_patches, generator)]
            else:
                start = torch.randperm(len(patches), generator=generator)[: settings.n_patches]
                patches = unit_length(k_means(patches, patches[start], n_iterations=5))
        self._bank = patches.to(self.device)
        if checkpoint is not None:
            checkpoint(self.state())
        report(progress, "Filling the memory bank", 1, 1, metrics={"patches": float(len(patches))})
        return self

    def score(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Return anomaly scores (n, gh, gw) float32: 1 − the mean cosine to the nearest stored patches.

        In [0, 2] but for rounding: a stored patch may get −4e-7.

        Parameters
        ----------
        embeddings : torch.Tensor
            (n, gh, gw, d), any floating dtype, d as in the fit.

        Raises
        ------
        ScorerError
            Before `fit`, or if the channels differ from the fit's or a value is NaN or infinite.
        """
        bank = self.bank
        checked = checked_embeddings(embeddings, bank.shape[1], self.device)
        queries = unit_length(as_patches(checked).to(torch.float32))
        scores = [
            1 - nearest_similarities(chunk, bank, self.settings.n_neighbours).mean(-1)
            for chunk in in_chunks(queries, 12 * BLOCK_PATCHES)
        ]
        return torch.cat(scores).reshape(embeddings.shape[:3])

    def state(self) -> ScorerState:
        """Return all that `from_state` needs."""
        return ScorerState(
            self.name, {"settings": asdict(self.settings)}, {"bank": self.bank.detach().cpu().contiguous()}
        )

    @classmethod
    def from_state(cls, state: ScorerState, *, device: str | torch.device = "cpu") -> Self:
        """Rebuild a fitted scorer.

        Raises
        ------
        ModelFileError
            If the bank is missing or has the wrong shape.
        """
        require_scorer(state, cls.name)
        scorer = cls(saved_settings(state, MemoryBankSettings), device=device)
        scorer._bank = saved_tensor(state, "bank", (None, None), torch.float32).to(scorer.device)
        return scorer
