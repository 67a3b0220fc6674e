"""What a worklist says of one scan: its columns, its words, and the slice with its highest peak."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_dinoad.maps.finding_words import place_in_words, rarity_in_words, size_in_words
from napari_dinoad.maps.pictures.panels import annotate, as_jpeg, grey_window, overlay_panel, scan_panel
from napari_dinoad.maps.pictures.slice_choice import heat_loads, most_abnormal_slices
from napari_dinoad.maps.pictures.slice_view import SliceView
from napari_dinoad.maps.regions import rounded_size

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari_dinoad.maps.findings import Findings
    from napari_dinoad.maps.regions import Region

__all__ = ["PICTURE_PX", "WORKLIST_COLUMNS", "WorklistEntry"]

WORKLIST_COLUMNS = (
    "rank", "scan", "results", "p_value", "n_more_normal", "n_calibration_scans", "n_calibration_persons",
    "n_regions", "n_regions_beyond_normal", "marked_mm3", "marked_mm2", "marked_px", "peak_neg_log10_p",
    "peak_x_mm", "peak_y_mm", "peak_z_mm", "report", "notes",
)  # fmt: skip
"""Columns of ``worklist.csv``; entries that do not apply stay empty."""

PICTURE_PX = 220
_JPEG_QUALITY = 85


@dataclass(frozen=True, eq=False)
class WorklistEntry:
    """One scan of a worklist.

    Attributes
    ----------
    findings : dict
        The scan's columns, see `WORKLIST_COLUMNS`.
    order : tuple of float
        Entries are listed by it, ascending.
    whole, marked, peak : str
        What is said of the whole scan, of how much is marked, and of the most unusual region.
    picture : bytes
        JPEG of the slice with the peak of that region, or of the most abnormal slice where there is none; empty of an
        entry that is listed without.
    """

    findings: dict[str, object]
    order: tuple[float, ...]
    whole: str
    marked: str
    peak: str
    picture: bytes

    @classmethod
    def of(
        cls,
        findings: Findings,
        name: str,
        written: Mapping[str, Path],
        scan_score: float,
        scan_neg_log10_p: float = 0.0,
    ) -> WorklistEntry:
        """Return the entry of a scan.

        Parameters
        ----------
        findings : Findings
        name : str
            Begins the names of its files.
        written : mapping of str to Path
            Its files by kind, see `napari_dinoad.maps.outputs.save_outputs`; the report is linked, if there is one.
        scan_score : float
            The scan's own raw score: it orders scans of one p-value and level.
        scan_neg_log10_p : float
            The level of this score, see `Detection`: it orders scans of one p-value, also where slices of one were
            averaged and those of the other were not.
        """
        regions = findings.mask.regions()
        n_marked = int(np.count_nonzero(findings.mask.labels))
        p, beyond = findings.p_value, findings.beyond_words()
        told = findings.to_dict()
        report = written.get("report_page")
        columns = {name: told[name] for name in WORKLIST_COLUMNS if name in told}
        columns |= {
            "results": name,
            "report": "" if report is None else report.name,
            "notes": " ".join(findings.all_notes()),
            **_marked_column(findings, n_marked),
            **(_peak_columns(regions[0]) if regions else {}),
        }
        of_a_slice = (1.0, 0.0) if p is None else (0.0, p)
        return cls(
            columns,
            (*of_a_slice, -scan_neg_log10_p, -scan_score),
            findings.scan_words(),
            f"{len(regions)} region{'' if len(regions) == 1 else 's'}, {size_in_words(findings, n_marked)}"
            f"{f'; {beyond}' if beyond else ''}"
            if regions
            else "nothing",
            _peak_words(regions[0], findings) if regions else "–",
            _picture(findings),
        )


def _marked_column(findings: Findings, n_marked: int) -> dict[str, object]:
    geometry = findings.volume.geometry
    if not geometry.is_physical:
        return {"marked_px": n_marked}
    unit = "marked_mm2" if geometry.ndim == 2 else "marked_mm3"
    return {unit: rounded_size(n_marked * geometry.voxel_volume)}


def _peak_columns(region: Region) -> dict[str, object]:
    places = zip(("peak_x_mm", "peak_y_mm", "peak_z_mm"), region.peak_mm or (), strict=False)
    return {
        "peak_neg_log10_p": round(region.peak_neg_log10_p, 3),
        **{name: round(place, 3) for name, place in places},
    }


def _peak_words(region: Region, findings: Findings) -> str:
    place = f"{place_in_words(region)}{'' if region.peak_mm is None else ' mm'}"
    size = size_in_words(findings, region.n_voxels)
    return f"{size} at {place}: {rarity_in_words(region.peak_neg_log10_p, findings)}"


def _picture(findings: Findings) -> bytes:
    """Return the slice with the highest peak, with heatmap and outline, as JPEG."""
    mask, volume = findings.mask, findings.volume
    view = SliceView.of(mask.anomaly_map)
    if mask.regions():
        index = mask.regions()[0].peak_zyx[view.axis]
    else:
        (index,) = most_abnormal_slices(heat_loads(mask.anomaly_map.values)[view.axis], 1)
    window = grey_window(mask.anomaly_map, (findings.card or {}).get("preprocessing"))
    grey = scan_panel(volume, view, index, PICTURE_PX, window)
    return as_jpeg(annotate(overlay_panel(grey, mask, view, index), view), _JPEG_QUALITY)
