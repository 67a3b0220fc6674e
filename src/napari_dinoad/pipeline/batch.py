"""Scans, one after the other → their results on disk and as JSON values."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_dinoad.files import short_stem
from napari_dinoad.maps.outputs import check_outputs, default_outputs, save_outputs
from napari_dinoad.maps.worklist import WorklistEntry

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from napari_dinoad.images.scan_file import ScanFile
    from napari_dinoad.maps.findings import Findings
    from napari_dinoad.pipeline.detection import Detector
    from napari_dinoad.progress import Progress
    from napari_dinoad.settings import ReadSettings, SegSegments

__all__ = ["output_names", "save_result", "score_and_save"]


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


def output_names(scans: Sequence[ScanFile]) -> list[str]:
    """Return one name a scan for its outputs: its own.

    Scans of one name in one folder get their endings (``head_png``), those of several folders as many of these as
    tell them apart, and what is still alike a number.
    """
    names = [short_stem(scan.name) for scan in scans]
    in_folder = Counter((scan.path.parent, name) for scan, name in zip(scans, names, strict=True))
    names = [
        f"{name}_{scan.path.name[len(name) :].strip('.').replace('.', '_')}"
        if in_folder[scan.path.parent, name] > 1 and scan.path.name.startswith(f"{name}.")
        else name
        for scan, name in zip(scans, names, strict=True)
    ]
    depth = 0
    while max(Counter(names).values(), default=0) > 1:
        counts, before = Counter(names), names
        above = [scan.path.resolve().parents for scan in scans]
        names = [
            f"{parents[depth].name}_{name}" if counts[name] > 1 and depth + 1 < len(parents) else name
            for parents, name in zip(above, names, strict=True)
        ]
        if names == before:
            return [f"{name}_{place}" if counts[name] > 1 else name for place, name in enumerate(names, 1)]
        depth += 1
    return names
