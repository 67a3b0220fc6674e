"""Names of scans that end in their sequence: ``p1_flair`` beside the mask ``p1_seg``, which is of all sequences."""

from __future__ import annotations

import re

__all__ = ["without_sequence"]

_SEQUENCE = re.compile(
    r"(?<=.)[-_](?:t1|t1c|t1ce|t1gd|t1n|t1w|t2|t2f|t2w|flair|pd|pdw|dwi|adc)$", re.IGNORECASE
)
"""What sequences of MR are called at the end of names: by BIDS, and by BraTS in all its years."""


def without_sequence(stem: str) -> str:
    """Return the name of a scan's case: the stem without the sequence at its end, if one is there."""
    return _SEQUENCE.sub("", stem)
