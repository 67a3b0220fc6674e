"""One scan → its results on disk and as JSON values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_dinoad.files import write_json
from napari_dinoad.images.readers import read_volume
from napari_dinoad.maps.export import write_regions_csv
from napari_dinoad.maps.picture import save_picture

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from napari_dinoad.maps import AnomalyMask
    from napari_dinoad.pipeline import Detection, Detector
    from napari_dinoad.progress import Progress

__all__ = ["save_result", "scan_result", "score_and_save"]


def score_and_save(
    detector: Detector,
    path: Path,
    folder: Path,
    name: str,
    outputs: Collection[str],
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Score the scan at ``path`` and write the chosen outputs, named ``name``, into ``folder``.

    Returns
    -------
    dict
        The scan's entry in ``dinoad score --json``.
    """
    detection = detector.detect(read_volume(path), progress=progress)
    mask = detection.mask(detector.settings.fpr, detector.settings.min_volume_mm3)
    return save_result(detection, mask, path, folder, name, outputs, detector.model.card())


def save_result(
    detection: Detection,
    mask: AnomalyMask,
    path: Path,
    folder: Path,
    name: str,
    outputs: Collection[str],
    card: dict[str, Any],
) -> dict[str, Any]:
    """Write the chosen outputs of a scored scan and return its result; see `score_and_save`."""
    result = scan_result(path, detection, mask)
    if "map" in outputs:
        result["map"] = str(detection.anomaly_map.save(folder / f"{name}_anomaly.nii.gz"))
    if "mask" in outputs:
        result["mask"] = str(mask.save(folder / f"{name}_mask.nii.gz"))
    if "regions" in outputs:
        write_regions_csv(folder / f"{name}_regions.csv", mask.regions())
    if "picture" in outputs:
        result["picture"] = str(save_picture(folder / f"{name}_picture.png", mask))
    if "report" in outputs:
        # File names only: a report may be handed on, the place of a scan on a hospital's disk should not be.
        told = {k: v for k, v in result.items() if k not in ("scan", "map", "mask", "picture")}
        write_json(folder / f"{name}_report.json", {"scan": path.name, **told, "model": card})
    return result


def scan_result(path: Path, detection: Detection, mask: AnomalyMask) -> dict[str, Any]:
    """Return the result of a scan as JSON values."""
    regions = [region.to_dict() for region in mask.regions()]
    return {
        "scan": str(path),
        "map": None,
        "mask": None,
        "p_value": detection.p_value,
        "n_calibration_scans": detection.n_calibration_scans,
        "n_more_normal": detection.n_more_normal,
        "threshold_fpr": mask.fpr,
        "n_regions": len(regions),
        "regions": regions,
        "seconds": detection.seconds,
    }
