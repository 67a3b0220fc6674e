"""What a joint mixture would give to patches of held-out persons if these were not behind it: from what is known.

All scores here are distances to the nearest component. A person of one part is behind the whole, but their held-out
score by their part is kept, and to the other parts they are new.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_dinoad.normative_model.held_out_patches import HeldOutPatches
    from napari_dinoad.scoring.dpmm.scorer import DpmmScorer

__all__ = ["scores_in_joint"]


def scores_in_joint(
    number: int, parts: Sequence[DpmmScorer], whole: DpmmScorer, patches: HeldOutPatches
) -> np.ndarray:
    """Return the scores (n,) float32 by a merged or updated mixture, without what it knows of these persons.

    To the components of all parts the distance is the least of the held-out one and those to the other parts. What
    the whole lost since some were merged or left out is added, as far as it shows in its own scores.

    Parameters
    ----------
    number : int
        The part that the patches are of.
    parts : sequence of DpmmScorer
        Each of the patches is held out in its own part only.
    whole : DpmmScorer
        Merged from the parts, or the first updated with the patches of the second.
    patches : HeldOutPatches
    """
    by_parts = np.stack([_scores(part, patches) for part in parts])
    lost = np.maximum(_scores(whole, patches) - by_parts.min(0), 0)
    by_parts[number] = patches.scores.numpy()
    return np.asarray(by_parts.min(0) + lost)


def _scores(scorer: DpmmScorer, patches: HeldOutPatches) -> np.ndarray:
    """Return the raw scores (n,) float32 of patches."""
    return scorer.score(patches.as_map).cpu().numpy().reshape(-1)
