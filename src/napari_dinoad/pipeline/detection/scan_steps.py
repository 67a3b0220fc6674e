"""One scan of a batch: read and prepared, scored, written; each step can be done on a thread of its own."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_dinoad.errors import DinoadError, FileInUseError, GeometryError, ScanReadError, SettingError
from napari_dinoad.images.scan_file import without_path
from napari_dinoad.images.scans_ahead import is_large
from napari_dinoad.maps.outputs import check_outputs, default_outputs, possible_outputs, save_outputs
from napari_dinoad.maps.pages.worklist_entry import WorklistEntry

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from napari_dinoad.images.scan_file import ScanFile
    from napari_dinoad.images.slices import PreparedScan
    from napari_dinoad.images.volume import Volume
    from napari_dinoad.machine.ordered_logs import OrderedLogs
    from napari_dinoad.maps.findings import Findings
    from napari_dinoad.pipeline.detection.detection import Detection
    from napari_dinoad.pipeline.detection.detector import Detector
    from napari_dinoad.pipeline.detection.kept_scores import KeptScores
    from napari_dinoad.progress import Progress
    from napari_dinoad.settings import ReadSettings, SegSegments

__all__ = [
    "OF_ONE_SCAN",
    "BatchItem",
    "BatchScan",
    "LoadedScan",
    "ScanSteps",
    "ScoredScan",
    "WrittenScan",
    "save_result",
]

logger = logging.getLogger(__name__)

_PACKAGE = __name__.partition(".")[0]

OF_ONE_SCAN = (ScanReadError, SettingError, GeometryError)
"""Errors of one scan, which hold up none of the others."""


@dataclass(frozen=True, eq=False)
class BatchScan:
    """A scan of a batch.

    Attributes
    ----------
    scan : ScanFile
    name : str
        Begins the names of its files.
    records : list of LogRecord
        What its steps logged and is still to be told, also where one of them fails.
    """

    scan: ScanFile
    name: str
    records: list[logging.LogRecord] = field(default_factory=list)


@dataclass(frozen=True)
class BatchItem:
    """What became of one scan of a batch.

    Attributes
    ----------
    scan : ScanFile
    name : str
        Begins the names of its files.
    result : dict, optional
        Its entry in ``dinoad score --json``; None of a scan that could not be scored.
    error : DinoadError, optional
        Why it could not.
    is_taken_over : bool
        Whether an earlier run has scored it.
    is_kept : bool
        Whether a later run can take it over.
    """

    scan: ScanFile
    name: str
    result: dict[str, Any] | None = None
    error: DinoadError | None = None
    is_taken_over: bool = False
    is_kept: bool = False

    @property
    def reason(self) -> str:
        """Why it could not be scored, without the folders it lies in."""
        return "" if self.error is None else without_path(self.error, self.scan.path)


@dataclass(frozen=True, eq=False)
class LoadedScan:
    """A scan that was read.

    Attributes
    ----------
    volume : Volume
    outputs : collection of str, optional
        What is to be written of it; None: what suits it.
    not_written : dict of str
        Why it does not allow the others that were asked for.
    prepared : tuple of PreparedScan
        See `Detector.prepare_apart`; empty: not yet.
    seconds : float
        That this took.
    """

    volume: Volume
    outputs: Collection[str] | None
    not_written: dict[str, str]
    prepared: tuple[PreparedScan, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class ScoredScan:
    """A scan that was scored, with what `LoadedScan` says of its outputs."""

    detection: Detection
    outputs: Collection[str] | None
    not_written: dict[str, str]

    @property
    def is_large(self) -> bool:
        """Whether it is to be written before the next one is scored, for memory."""
        return is_large(self.detection.anomaly_map.values.size)


@dataclass(frozen=True, eq=False)
class WrittenScan:
    """What became of a scan, its entry in the worklist unless it failed, and what was logged meanwhile."""

    item: BatchItem
    entry: WorklistEntry | None = None
    records: list[logging.LogRecord] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class ScanSteps:
    """The steps of every scan of a batch; see `napari_dinoad.pipeline.detection.batch.score_scans`."""

    detector: Detector
    reading: ReadSettings
    folder: Path
    outputs: Collection[str] | None
    seg_segments: SegSegments
    is_of_several: bool
    logs: OrderedLogs
    kept: KeptScores

    def load(self, own: BatchScan) -> LoadedScan | WrittenScan:
        """Read a scan, or take over what an earlier run has found and written of it.

        Outputs that it does not allow are refused before it is scored, which may take a minute.

        Raises
        ------
        ScanReadError
            If it cannot be used.
        SettingError
            If it is a single one and does not allow all outputs, or allows none.
        """
        found = self.kept.find(own.scan, own.name)
        if found is not None:
            result, entry, warnings = found
            for warning in warnings:
                logger.warning("%s", warning)
            return WrittenScan(BatchItem(own.scan, own.name, result, is_taken_over=True, is_kept=True), entry)
        volume = own.scan.read(self.reading)
        if self.outputs is not None and self.is_of_several:
            return LoadedScan(volume, *possible_outputs(volume, self.outputs))
        check_outputs(volume, default_outputs(volume) if self.outputs is None else self.outputs)
        return LoadedScan(volume, self.outputs, {})

    def load_apart(self, own: BatchScan) -> LoadedScan | WrittenScan | DinoadError:
        """Load and prepare a scan, on a thread of its own; return the error instead that is of this scan alone."""
        with self.logs.holding(own.records):
            try:
                loaded = self.load(own)
                if isinstance(loaded, WrittenScan):
                    return loaded
                started = time.perf_counter()
                prepared = self.detector.prepare_apart(loaded.volume)
            except OF_ONE_SCAN as error:
                return error
            return replace(loaded, prepared=prepared, seconds=time.perf_counter() - started)

    def score(self, loaded: LoadedScan, progress: Progress | None) -> ScoredScan:
        """Score a scan that was read, and prepared or not; see `Detector.detect` for what is raised."""
        detection = self.detector.detect(loaded.volume, progress=progress, prepared=loaded.prepared)
        seconds = dict(detection.seconds)
        for stage in ("prepare", "total"):
            seconds[stage] = round(seconds[stage] + loaded.seconds, 4)
        return ScoredScan(replace(detection, seconds=seconds), loaded.outputs, loaded.not_written)

    def write(self, own: BatchScan, scored: ScoredScan) -> WrittenScan:
        """Write a scan's outputs.

        Raises
        ------
        DinoadError
            If they cannot be written; of errors of the scan alone the item tells, and of earlier files of it that
            another program has open. Where one of those to be replaced is, all stay.
        """
        with self.logs.holding(own.records):
            try:
                item, entry = self._written(own, scored)
            except OF_ONE_SCAN as error:
                return WrittenScan(BatchItem(own.scan, own.name, error=error), None, own.records)
            except FileInUseError as error:
                # It stands in the list of the scans, which names no folder.
                told = DinoadError(str(error).replace(f"{self.folder}{os.sep}", ""))
                return WrittenScan(BatchItem(own.scan, own.name, error=told), None, own.records)
            return WrittenScan(item, entry, own.records)

    def _written(self, own: BatchScan, scored: ScoredScan) -> tuple[BatchItem, WorklistEntry]:
        scan, name = own.scan, own.name
        detection, not_written = scored.detection, dict(scored.not_written)
        may_leave_out = self.outputs is not None and self.is_of_several
        left_out = not_written.__setitem__ if may_leave_out else None
        found = detection.findings(detection.mask(), scan.path.name or name, self.detector.model.card())
        result = save_result(
            _telling(found, not_written),
            scan.path,
            self.folder,
            name,
            scored.outputs,
            self.seg_segments,
            left_out,
        )
        # Some of it only shows while the files are written.
        findings = _telling(found, not_written)
        result |= {"notes": list(findings.all_notes()), "not_written": not_written}
        files = {kind: Path(file) for kind, file in result["files"].items()}
        entry = WorklistEntry.of(findings, name, files, detection.scan_score, detection.scan_neg_log10_p)
        # Without its images, as of a disk that is gone for a while, a scan has no DICOM-SEG that it else would have.
        is_complete = all(path.is_file() for path in findings.volume.dicom_files or ())
        earlier, is_kept = self.kept.keep(
            name, result, entry, _warnings(own.records), is_complete=is_complete
        )
        return BatchItem(scan, name, {**result, **earlier}, is_kept=is_kept), entry


def _warnings(records: Sequence[logging.LogRecord]) -> list[str]:
    """Return the warnings of this package: those of others may hold what is in a header."""
    own = (record for record in records if record.name.startswith(f"{_PACKAGE}."))
    return [record.getMessage() for record in own if record.levelno >= logging.WARNING]


def _telling(findings: Findings, not_written: Mapping[str, str]) -> Findings:
    """Return findings with a note for each output that is left out."""
    told = (f"Not written: {reason.rstrip('.')}." for reason in not_written.values())
    return replace(findings, notes=(*findings.notes, *told))


def save_result(
    findings: Findings,
    path: Path,
    folder: Path,
    name: str,
    outputs: Collection[str] | None,
    seg_segments: SegSegments = "single",
    left_out: Callable[[str, str], None] | None = None,
) -> dict[str, Any]:
    """Write the chosen outputs of a scored scan and return its result; see `BatchItem` and `save_outputs`."""
    written = save_outputs(findings, folder, name, outputs, seg_segments=seg_segments, left_out=left_out)
    files = {kind: str(file) for kind, file in written.items()}
    return {
        **findings.to_dict(),
        "scan": str(path),
        "map": files.get("map"),
        "mask": files.get("mask"),
        "files": files,
    }
