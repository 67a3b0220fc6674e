"""The one place where a scan's findings become files; ``dinoad score`` and the plugin's export both come here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_dinoad.errors import SettingError
from napari_dinoad.files import require_folder, write_json
from napari_dinoad.maps.export import write_regions_csv
from napari_dinoad.maps.findings import RESEARCH_USE
from napari_dinoad.maps.picture import save_picture
from napari_dinoad.progress import report

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from napari_dinoad.images.volume import Volume
    from napari_dinoad.maps.findings import Findings
    from napari_dinoad.progress import Progress

__all__ = ["OUTPUTS", "available_outputs", "check_outputs", "default_outputs", "save_outputs"]

OUTPUTS = {
    "map": "Anomaly map, −log10 p (NIfTI)",
    "mask": "Mask (NIfTI)",
    "regions": "Regions (CSV)",
    "report": "Report (JSON)",
    "picture": "Picture of the most abnormal slices (PNG)",
}
"""What can be written, with its title."""

_DEFAULT = ("map", "mask", "regions", "report")


def available_outputs(volume: Volume) -> tuple[str, ...]:
    """Return the keys of `OUTPUTS` that this scan allows."""
    return tuple(OUTPUTS)


def default_outputs(volume: Volume) -> tuple[str, ...]:
    """Return what is written of this scan when nothing was chosen."""
    return _DEFAULT


def check_outputs(volume: Volume, outputs: Collection[str]) -> None:
    """Raise `SettingError` for an output that is unknown or that this scan does not allow."""
    unknown = [output for output in outputs if output not in OUTPUTS]
    if unknown or not outputs:
        raise SettingError(
            f"Outputs: expected some of {', '.join(OUTPUTS)}, got {', '.join(unknown) or 'none'}."
        )


def save_outputs(
    findings: Findings,
    folder: Path,
    stem: str,
    outputs: Collection[str] | None = None,
    *,
    keep_labels: Collection[int] | None = None,
    progress: Progress | None = None,
) -> dict[str, Path]:
    """Write findings into a folder; each file gets its name only when it is complete.

    Parameters
    ----------
    findings : Findings
    folder : Path
        Made if needed.
    stem : str
        Begins each file's name.
    outputs : collection of str, optional
        Keys of `OUTPUTS`; None: `default_outputs`.
    keep_labels : collection of int, optional
        Only these regions go into masks, tables and pictures; None: all.
    progress : callable, optional
        Called after each output; may raise `Cancelled`.

    Returns
    -------
    dict of str to Path
        What was written, by kind (`map`, `mask`, `regions`, `report`, …).

    Raises
    ------
    SettingError
        If an output is unknown or the scan does not allow it; nothing is written then.
    DinoadError
        If the folder or a file cannot be written.
    """
    chosen = default_outputs(findings.volume) if outputs is None else tuple(outputs)
    check_outputs(findings.volume, chosen)
    if keep_labels is not None:
        findings = findings.only(keep_labels)
    require_folder(folder)
    written: dict[str, Path] = {}
    for i, output in enumerate(chosen):
        report(progress, "Writing", i, len(chosen))
        written |= _WRITERS[output](findings, folder, stem)
    report(progress, "Writing", len(chosen), len(chosen))
    return written


def _save_map(findings: Findings, folder: Path, stem: str) -> dict[str, Path]:
    return {"map": findings.mask.anomaly_map.save(folder / f"{stem}_anomaly.nii.gz")}


def _save_mask(findings: Findings, folder: Path, stem: str) -> dict[str, Path]:
    return {"mask": findings.mask.save(folder / f"{stem}_mask.nii.gz")}


def _save_regions(findings: Findings, folder: Path, stem: str) -> dict[str, Path]:
    path = folder / f"{stem}_regions.csv"
    write_regions_csv(path, findings.mask.regions())
    return {"regions": path}


def _save_report(findings: Findings, folder: Path, stem: str) -> dict[str, Path]:
    path = folder / f"{stem}_report.json"
    document: dict[str, Any] = {**findings.to_dict(), "use": RESEARCH_USE}
    if findings.card is not None:
        document["model"] = dict(findings.card)
    write_json(path, document)
    return {"report": path}


def _save_picture(findings: Findings, folder: Path, stem: str) -> dict[str, Path]:
    return {"picture": save_picture(folder / f"{stem}_picture.png", findings.mask)}


_WRITERS: dict[str, Callable[[Findings, Path, str], dict[str, Path]]] = {
    "map": _save_map,
    "mask": _save_mask,
    "regions": _save_regions,
    "report": _save_report,
    "picture": _save_picture,
}
