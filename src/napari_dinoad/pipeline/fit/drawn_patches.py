"""Held-out normal scans → the patches that a model keeps of them; see `HeldOutPatches`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_dinoad.normative_model.held_out_patches import HeldOutPatches
from napari_dinoad.pipeline.cohort.embedded_scans import EmbeddedScan
from napari_dinoad.progress import report
from napari_dinoad.scoring.patches import unit_length
from napari_dinoad.settings.fitting import LEAST_KEPT_PATCHES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari_dinoad.progress import Progress

__all__ = ["draw_patches"]

_LEAST_BODY = 0.5
_LEAST_OF_A_SCAN = 8


def draw_patches(
    scans: Mapping[int, EmbeddedScan],
    scores: Callable[[int], np.ndarray],
    averaged: Callable[[int], np.ndarray],
    n_patches: int,
    progress: Progress | None = None,
) -> HeldOutPatches | None:
    """Draw patches of the body: from each scan as many, evenly in −log10 of their rank, so that most score high.

    None where there are fewer than `LEAST_KEPT_PATCHES`, of which chance would decide.

    Parameters
    ----------
    scans : mapping of EmbeddedScan
        Held-out scans, by their places in the cache; of many, only some are drawn from, evenly.
    scores, averaged : callable
        A scan's place → patch scores (n, gh, gw), its own and as they are calibrated; see `HeldOutPatches`.
    n_patches : int
        About so many in all.
    progress : callable, optional
        May raise `Cancelled`.
    """
    step = -(-_LEAST_OF_A_SCAN * len(scans) // n_patches)
    chosen = dict(list(scans.items())[::step])
    drawn = []
    for done, (number, scan) in enumerate(chosen.items()):
        report(progress, "Drawing patches", done, len(chosen))
        own, calibrated = scores(number), averaged(number)
        inside = np.flatnonzero(scan.outline(own.shape[1]) >= _LEAST_BODY)
        ranked = inside[np.argsort(calibrated.reshape(-1)[inside], kind="stable")]
        # Each scan begins at another part of a step, so that together they are at all ranks.
        shift = done / len(chosen)
        ranks, weights = _ranks(len(ranked), n_patches // len(chosen), shift)
        if ranks.size:
            places = ranked[ranks]
            patches = scan.compute(EmbeddedScan.patches, *np.divmod(places, own[0].size))
            embeddings = unit_length(torch.from_numpy(patches)).half()
            of_each = own.reshape(-1)[places], calibrated.reshape(-1)[places], weights
            drawn.append(HeldOutPatches(embeddings, *map(torch.from_numpy, of_each)))
    n_drawn = sum(len(patches) for patches in drawn)
    return HeldOutPatches.joined(drawn) if n_drawn >= LEAST_KEPT_PATCHES else None


def _ranks(n: int, n_drawn: int, shift: float) -> tuple[np.ndarray, np.ndarray]:
    """Return at most ``n_drawn`` ranks among n, evenly in the logarithm of how many are as high or higher.

    And how many of the n each stands for, float32: itself and those between it and the next lower one.
    """
    numbers = np.arange(min(n_drawn, n))
    if not numbers.size:
        return numbers, numbers.astype(np.float32)
    as_high = np.floor(n ** ((numbers + shift) / numbers.size)).astype(np.int64)
    # Each is another one, though the logarithm leaves less than one rank between those at the top.
    as_high = np.maximum.accumulate(as_high - numbers) + numbers
    as_high = as_high[as_high <= n]
    return n - as_high, np.diff(as_high, append=n + 1).astype(np.float32)
