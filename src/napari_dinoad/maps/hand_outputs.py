"""The one place where a mask by hand becomes files."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from napari_dinoad.errors import SettingError
from napari_dinoad.machine.atomic_files import folder_to_fill, write_json
from napari_dinoad.machine.file_set import written_together
from napari_dinoad.maps.export import save_on_grid, write_regions_csv
from napari_dinoad.maps.findings import RESEARCH_USE
from napari_dinoad.maps.outputs import check_outputs
from napari_dinoad.progress import report

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from napari_dinoad.maps.hand_mask import HandMask
    from napari_dinoad.progress import Progress
    from napari_dinoad.settings import SegSegments

    _Writer = Callable[[HandMask, Path, str], dict[str, Path]]

__all__ = ["BY_HAND", "HAND_OUTPUTS", "save_hand_outputs"]

HAND_OUTPUTS = {
    "mask": "Mask (NIfTI)",
    "regions": "Regions (CSV)",
    "report": "Report (HTML page, JSON)",
    "seg": "Mask (DICOM-SEG)",
    "png": "Mask (PNG)",
}
"""What can be written of a mask by hand, with its title: those of `napari_dinoad.maps.outputs.OUTPUTS` that need no
anomaly map."""

BY_HAND = "_by_hand"
"""Behind the scan's name in all names of files, which so never replace those of the mask that was found."""


def save_hand_outputs(
    mask: HandMask,
    folder: Path,
    stem: str,
    outputs: Collection[str],
    *,
    seg_segments: SegSegments = "single",
    progress: Progress | None = None,
) -> dict[str, Path]:
    """Write a mask by hand into a folder; files get their names when all are complete, and on the disk.

    Parameters
    ----------
    mask : HandMask
    folder : Path
        Made if needed.
    stem : str
        Begins each file's name, before `BY_HAND`.
    outputs : collection of str
        Keys of `HAND_OUTPUTS`.
    seg_segments : {"single", "regions"}
        One segment in a DICOM-SEG, or one for each label.
    progress : callable, optional
        Called after each output; may raise `Cancelled`.

    Returns
    -------
    dict of str to Path
        What was written, by key, and the ``report_page``.

    Raises
    ------
    SettingError
        If an output is unknown or the scan does not allow it; nothing is written then.
    DinoadError
        If the folder or a file cannot be written.
    """
    unknown = [output for output in outputs if output not in HAND_OUTPUTS]
    if unknown:
        raise SettingError(
            f"Outputs of a mask by hand: expected some of {', '.join(HAND_OUTPUTS)}, got {', '.join(unknown)}."
        )
    check_outputs(mask.source, outputs)
    writers: dict[str, _Writer] = {**_WRITERS, "seg": partial(_save_seg, segments=seg_segments)}
    written: dict[str, Path] = {}
    with folder_to_fill(folder), written_together():
        for i, output in enumerate(outputs):
            report(progress, "Writing", i, len(outputs))
            written |= writers[output](mask, folder, stem + BY_HAND)
    report(progress, "Writing", len(outputs), len(outputs))
    return written


def _save_mask(mask: HandMask, folder: Path, stem: str) -> dict[str, Path]:
    return {"mask": save_on_grid(folder / f"{stem}_mask.nii.gz", mask.labels, mask.source, "mask")}


def _save_regions(mask: HandMask, folder: Path, stem: str) -> dict[str, Path]:
    path = folder / f"{stem}_regions.csv"
    write_regions_csv(path, mask.regions)
    return {"regions": path}


def _save_report(mask: HandMask, folder: Path, stem: str) -> dict[str, Path]:
    path = folder / f"{stem}_report.json"
    document = {**mask.to_dict(), "use": RESEARCH_USE}
    if mask.making == "corrected" and mask.card is not None:
        document["corrected_model"] = dict(mask.card)
    # Only the page needs what draws pictures.
    from napari_dinoad.maps.pages.hand_report import save_hand_report_page

    exported = datetime.now().astimezone()
    write_json(path, document | {"exported": exported.isoformat(timespec="seconds")})
    page = save_hand_report_page(path.with_name(f"{stem}_report.html"), mask, exported)
    return {"report": path, "report_page": page}


def _save_png(mask: HandMask, folder: Path, stem: str) -> dict[str, Path]:
    from napari_dinoad.maps.pictures.overlay_files import save_mask_png

    return {"png": save_mask_png(folder / f"{stem}_mask.png", mask.labels > 0, mask.source)}


def _save_seg(mask: HandMask, folder: Path, stem: str, segments: SegSegments) -> dict[str, Path]:
    from napari_dinoad.maps.dicom.seg import save_hand_seg

    return {"seg": save_hand_seg(folder / f"{stem}_seg.dcm", mask, segments)}


_WRITERS: dict[str, _Writer] = {
    "mask": _save_mask,
    "regions": _save_regions,
    "report": _save_report,
    "png": _save_png,
}
