"""The one place where a scan's findings become files; ``dinoad score`` and the plugin's export both come here."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_dinoad.errors import GeometryError, ScanReadError, SettingError
from napari_dinoad.machine.atomic_files import folder_to_fill, write_json
from napari_dinoad.machine.file_set import written_together
from napari_dinoad.maps.export import write_regions_csv
from napari_dinoad.maps.findings import RESEARCH_USE
from napari_dinoad.progress import report

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from napari_dinoad.images.volume import Volume
    from napari_dinoad.maps.findings import Findings
    from napari_dinoad.progress import Progress
    from napari_dinoad.settings import SegSegments

    _Writer = Callable[[Findings, Path, str], dict[str, Path]]

__all__ = [
    "ENDINGS",
    "OUTPUTS",
    "available_outputs",
    "check_outputs",
    "default_outputs",
    "possible_outputs",
    "save_outputs",
]

logger = logging.getLogger(__name__)

OUTPUTS = {
    "map": "Anomaly map, −log10 p (NIfTI)",
    "mask": "Mask (NIfTI)",
    "regions": "Regions (CSV)",
    "report": "Report (HTML page, JSON)",
    "seg": "Mask (DICOM-SEG)",
    "png": "Mask and heatmap (PNG)",
    "picture": "Picture of the most abnormal slices (PNG)",
    "dicom-map": "Anomaly map, −log10 p (DICOM parametric map)",
    "dicom-slices": "Slices under the heatmap (DICOM, for any viewer)",
}
"""What can be written, with its title. ``seg`` and ``dicom-…`` need a scan from DICOM, ``png`` a 2D scan."""

ENDINGS = {
    "map": ("_anomaly.nii.gz",),
    "mask": ("_mask.nii.gz",),
    "regions": ("_regions.csv",),
    "report": ("_report.json", "_report.html"),
    "seg": ("_seg.dcm",),
    "png": ("_mask.png", "_heatmap.png"),
    "picture": ("_picture.png",),
    "dicom-map": ("_anomaly.dcm",),
    "dicom-slices": ("_slices",),
}
"""What the names of each output's files (or folder) have behind the scan's name."""

_DEFAULT = ("map", "mask", "regions", "report")

_INSTEAD_OF_DICOM = {
    "seg": "save the mask as NIfTI",
    "dicom-map": "save the map as NIfTI",
    "dicom-slices": "save a picture",
}
"""Outputs that need a scan from DICOM, with what else can be saved."""


def available_outputs(volume: Volume) -> tuple[str, ...]:
    """Return the keys of `OUTPUTS` that this scan allows."""
    return tuple(output for output in OUTPUTS if not _reason_against(volume, output))


def default_outputs(volume: Volume) -> tuple[str, ...]:
    """Return what is written of this scan when nothing was chosen: DICOM-SEG too for DICOM, PNG for 2D images."""
    more = [] if _reason_against(volume, "seg") else ["seg"]
    if volume.is_2d and not volume.geometry.is_physical:
        more.append("png")
    return (*_DEFAULT, *more)


def _reason_against(volume: Volume, output: str) -> str:
    """Return why a scan does not allow an output; empty when it does."""
    if output in _INSTEAD_OF_DICOM:
        fault = _dicom_fault(volume, output)
        return f"{output}: {fault}; {_INSTEAD_OF_DICOM[output]}" if fault else ""
    if output == "png" and not volume.is_2d:
        return "png: expected a 2D scan; save the mask as NIfTI, or a picture"
    return ""


def _dicom_fault(volume: Volume, output: str) -> str:
    """Return why a scan does not allow a DICOM output; empty when it does."""
    if not volume.dicom_files:
        return "expected a scan read from DICOM, whose images it refers to"
    if not all(path.is_file() for path in volume.dicom_files):
        return "source images are no longer where they were read"
    # highdicom is loaded here: most scans need none.
    from napari_dinoad.maps.dicom.colour_slices import slices_fault
    from napari_dinoad.maps.dicom.parametric_map import map_fault
    from napari_dinoad.maps.dicom.sources import source_fault

    faults = {"seg": source_fault, "dicom-map": map_fault, "dicom-slices": slices_fault}
    try:
        return faults[output](volume)
    except ScanReadError as error:
        return str(error).rstrip(".")


def check_outputs(volume: Volume, outputs: Collection[str]) -> None:
    """Raise `SettingError` for an output that is unknown or that this scan does not allow."""
    _require_known(outputs)
    for output in outputs:
        reason = _reason_against(volume, output)
        if reason:
            raise SettingError(f"Output {reason}.")


def possible_outputs(volume: Volume, outputs: Collection[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the outputs that this scan allows, and why it does not allow the others, by output.

    Raises
    ------
    SettingError
        If an output is unknown, or the scan allows none of them.
    """
    _require_known(outputs)
    against = {output: _reason_against(volume, output) for output in outputs}
    reasons = {output: reason for output, reason in against.items() if reason}
    possible = tuple(output for output in outputs if output not in reasons)
    if not possible:
        raise SettingError(f"Output {'; '.join(reasons.values())}.")
    return possible, reasons


def _require_known(outputs: Collection[str]) -> None:
    unknown = [output for output in outputs if output not in OUTPUTS]
    if unknown or not outputs:
        raise SettingError(
            f"Outputs: expected some of {', '.join(OUTPUTS)}, got {', '.join(unknown) or 'none'}."
        )


def save_outputs(
    findings: Findings,
    folder: str | Path,
    stem: str,
    outputs: Collection[str] | None = None,
    *,
    keep_labels: Collection[int] | None = None,
    seg_segments: SegSegments = "single",
    progress: Progress | None = None,
    left_out: Callable[[str, str], None] | None = None,
) -> dict[str, Path]:
    """Write findings into a folder; files get their names when all are complete, and on the disk.

    Parameters
    ----------
    findings : Findings
    folder : str or Path
        Made if needed.
    stem : str
        Begins each file's name.
    outputs : collection of str, optional
        Keys of `OUTPUTS`; None: `default_outputs`, and a DICOM-SEG that the source images do not allow is left out
        with a warning.
    keep_labels : collection of int, optional
        Only these regions go into masks, tables and pictures; None: all.
    seg_segments : {"single", "regions"}
        One segment in a DICOM-SEG, or one for each region.
    progress : callable, optional
        Called after each output; may raise `Cancelled`.
    left_out : callable, optional
        Called with an output from DICOM that the source images turn out not to allow, and why; the others are
        written. None: that is raised.

    Returns
    -------
    dict of str to Path
        What was written, by kind: ``map``, ``mask``, ``regions``, ``report``, ``report_page``, ``seg``, ``mask_png``,
        ``heatmap_png``, ``picture``, ``dicom_map``, ``dicom_slices`` (a folder).

    Raises
    ------
    SettingError
        If an output is unknown or the scan does not allow it; nothing is written then.
    SettingError, GeometryError, ScanReadError
        If the source images turn out not to allow an output, and ``left_out`` is None or nothing else is written.
    DinoadError
        If the folder or a file cannot be written.
    """
    folder = Path(folder)
    chosen = default_outputs(findings.volume) if outputs is None else tuple(outputs)
    check_outputs(findings.volume, chosen)
    if outputs is None and findings.volume.dicom_files and "seg" not in chosen:
        logger.warning(
            "%s: without a DICOM-SEG: %s.",
            findings.scan,
            _reason_against(findings.volume, "seg").removeprefix("seg: "),
        )
    if keep_labels is not None:
        findings = findings.only(keep_labels)
    if outputs is None and left_out is None:
        # Nobody asked for it: what else was found stands.
        left_out = _warn
    writers: dict[str, _Writer] = {**_WRITERS, "seg": partial(_save_seg, segments=seg_segments)}
    written: dict[str, Path] = {}
    with folder_to_fill(folder), written_together():
        for i, output in enumerate(chosen):
            report(progress, "Writing", i, len(chosen))
            try:
                written |= writers[output](findings, folder, stem)
            except (SettingError, GeometryError, ScanReadError) as error:
                is_last_hope = i == len(chosen) - 1 and not written
                if output not in _INSTEAD_OF_DICOM or is_last_hope or left_out is None:
                    raise
                left_out(output, str(error))
    report(progress, "Writing", len(chosen), len(chosen))
    return written


def _warn(_: str, reason: str) -> None:
    logger.warning("%s", reason)


def _paths(folder: Path, stem: str, output: str) -> list[Path]:
    return [folder / f"{stem}{ending}" for ending in ENDINGS[output]]


def _save_map(findings: Findings, folder: Path, stem: str) -> dict[str, Path]:
    return {"map": findings.mask.anomaly_map.save(_paths(folder, stem, "map")[0])}


def _save_mask(findings: Findings, folder: Path, stem: str) -> dict[str, Path]:
    return {"mask": findings.mask.save(_paths(folder, stem, "mask")[0])}


def _save_regions(findings: Findings, folder: Path, stem: str) -> dict[str, Path]:
    (path,) = _paths(folder, stem, "regions")
    write_regions_csv(path, findings.region_dicts())
    return {"regions": path}


def _save_report(findings: Findings, folder: Path, stem: str) -> dict[str, Path]:
    from napari_dinoad.maps.pages.report import save_report_page

    path, page = _paths(folder, stem, "report")
    document: dict[str, Any] = {**findings.to_dict(), "use": RESEARCH_USE}
    if findings.card is not None:
        document["model"] = dict(findings.card)
    write_json(path, document)
    return {"report": path, "report_page": save_report_page(page, findings)}


def _save_png(findings: Findings, folder: Path, stem: str) -> dict[str, Path]:
    from napari_dinoad.maps.pictures.overlay_files import save_heatmap_png, save_mask_png

    mask, heatmap = _paths(folder, stem, "png")
    return {
        "mask_png": save_mask_png(mask, findings.mask.values, findings.volume, is_found=True),
        "heatmap_png": save_heatmap_png(heatmap, findings.mask),
    }


def _save_picture(findings: Findings, folder: Path, stem: str) -> dict[str, Path]:
    from napari_dinoad.maps.pictures.overview import save_picture

    preprocessing = (findings.card or {}).get("preprocessing")
    (path,) = _paths(folder, stem, "picture")
    return {"picture": save_picture(path, findings.mask, preprocessing=preprocessing)}


def _save_seg(findings: Findings, folder: Path, stem: str, segments: SegSegments) -> dict[str, Path]:
    from napari_dinoad.maps.dicom.seg import save_seg

    return {"seg": save_seg(_paths(folder, stem, "seg")[0], findings.mask, findings.card, segments)}


def _save_dicom_map(findings: Findings, folder: Path, stem: str) -> dict[str, Path]:
    from napari_dinoad.maps.dicom.parametric_map import save_dicom_map

    (path,) = _paths(folder, stem, "dicom-map")
    return {"dicom_map": save_dicom_map(path, findings.mask.anomaly_map, findings.card)}


def _save_dicom_slices(findings: Findings, folder: Path, stem: str) -> dict[str, Path]:
    from napari_dinoad.maps.dicom.colour_slices import save_dicom_slices

    (path,) = _paths(folder, stem, "dicom-slices")
    return {"dicom_slices": save_dicom_slices(path, findings.mask, findings.card)}


_WRITERS: dict[str, _Writer] = {
    "map": _save_map,
    "mask": _save_mask,
    "regions": _save_regions,
    "report": _save_report,
    "png": _save_png,
    "picture": _save_picture,
    "dicom-map": _save_dicom_map,
    "dicom-slices": _save_dicom_slices,
}
