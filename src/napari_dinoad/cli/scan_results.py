"""One scan → its results on disk and as JSON values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_dinoad.maps.outputs import check_outputs, default_outputs, save_outputs
from napari_dinoad.maps.worklist import WorklistEntry

if TYPE_CHECKING:
    from collections.abc import Collection

    from napari_dinoad.images.scan_file import ScanFile
    from napari_dinoad.maps.findings import Findings
    from napari_dinoad.pipeline import Detector
    from napari_dinoad.progress import Progress
    from napari_dinoad.settings import ReadSettings, SegSegments

__all__ = ["save_result", "score_and_save"]


def score_and_save(
    detector: Detector,
    scan: ScanFile,
    reading: ReadSettings,
    folder: Path,
    name: str,
    outputs: Collection[str] | None = None,
    seg_segments: SegSegments = "single",
    progress: Progress | None = None,
) -> tuple[dict[str, Any], WorklistEntry]:
    """Score a scan and write the chosen outputs, named ``name``, into ``folder``.

    Returns
    -------
    result : dict
        The scan's entry in ``dinoad score --json``.
    entry : WorklistEntry
    """
    volume = scan.read(reading)
    # Before the scan is scored: that may take a minute.
    check_outputs(volume, default_outputs(volume) if outputs is None else outputs)
    detection = detector.detect(volume, progress=progress)
    mask = detection.mask()
    findings = detection.findings(mask, scan.path.name or name, detector.model.card())
    result = save_result(findings, scan.path, folder, name, outputs, seg_segments)
    files = {kind: Path(file) for kind, file in result["files"].items()}
    return result, WorklistEntry.of(findings, name, files, detection.scan_score)


def save_result(
    findings: Findings,
    path: Path,
    folder: Path,
    name: str,
    outputs: Collection[str] | None,
    seg_segments: SegSegments = "single",
) -> dict[str, Any]:
    """Write the chosen outputs of a scored scan and return its result; see `score_and_save`."""
    written = save_outputs(findings, folder, name, outputs, seg_segments=seg_segments)
    files = {kind: str(file) for kind, file in written.items()}
    return {
        **findings.to_dict(),
        "scan": str(path),
        "map": files.get("map"),
        "mask": files.get("mask"),
        "files": files,
    }
