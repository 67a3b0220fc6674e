"""Whether scans are several series or sequences of the same persons, which a model of one kind is not for."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from napari_dinoad.machine.file_names import is_sequence, kind_of_sequence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_dinoad.images.scan_file import ScanFile

__all__ = ["several_series"]


def several_series(scans: Sequence[ScanFile], least_share: float = 0.5) -> str:
    """Return in words, without a stop, that scans are of several series; nothing where they are not.

    Parameters
    ----------
    scans : sequence of ScanFile
    least_share : float
        Of the DICOM studies; where no more of them hold several, that is not told.
    """
    sequences = [scan.series_name for scan in scans if scan.series is None]
    named = Counter(kind_of_sequence(sequence) for sequence in sequences if sequence)
    n_unnamed = sequences.count("")
    if len(named) > 1:
        counts = [*named.most_common(), *([("without a sequence", n_unnamed)] if n_unnamed else [])]
        return f"By their names the scans are {', '.join(f'{n} × {kind}' for kind, n in counts)}"
    in_folders = _sequence_folders(scans)
    if in_folders:
        return f"By their folders the scans are {', '.join(f'{n} × {name}/*' for name, n in in_folders)}"
    studies: dict[str, set[str]] = defaultdict(set)
    for scan in scans:
        if scan.series is not None:
            studies[scan.series.study_uid].add(scan.series_name.casefold())
    n_several = sum(len(descriptions) > 1 for descriptions in studies.values())
    if n_several > least_share * len(studies):
        hold = "holds" if n_several == 1 else "hold"
        return f"{n_several} of the {len(studies)} studies {hold} several series"
    return ""


def _sequence_folders(scans: Sequence[ScanFile]) -> list[tuple[str, int]]:
    """Return folders called by sequences, with how many scans each has, where scans of one name lie in several."""
    folder_of = [
        (scan.name, scan.path.parent.name)
        for scan in scans
        if scan.series is None and not scan.series_name and is_sequence(scan.path.parent.name)
    ]
    kinds: dict[str, set[str]] = defaultdict(set)
    for name, folder in folder_of:
        kinds[name].add(kind_of_sequence(folder))
    is_shared = any(len(of_name) > 1 for of_name in kinds.values())
    return Counter(folder for _, folder in folder_of).most_common() if is_shared else []
