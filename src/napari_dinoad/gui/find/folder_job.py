"""The job that scores a folder of scans. The worker process loads this, so neither Qt's widgets nor napari."""

from __future__ import annotations

from contextlib import closing, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from napari_dinoad.errors import DinoadError
from napari_dinoad.gui.work.processes import run_in_process
from napari_dinoad.progress import ProgressEvent
from napari_dinoad.settings import ReadSettings

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from napari_dinoad.gui.work.work_process import Desk
    from napari_dinoad.gui.work.worker import JobChannel
    from napari_dinoad.progress import Progress
    from napari_dinoad.settings import DetectSettings

__all__ = ["FolderOutcome", "ScoreFolderJob"]


@dataclass(frozen=True)
class FolderOutcome:
    """How a folder was scored, or is so far.

    Attributes
    ----------
    n_scored : int
    failed : tuple of (str, str)
        Scans that could not be scored, and why.
    page : Path, optional
        The worklist, which is there when the job has ended; None of a single scan.
    n_taken_over : int
        How many of ``n_scored`` an earlier run has scored.
    n_removed : int
        Files of earlier results that were removed, since nothing was written in their place.
    n_others : int
        Files named as results that may be of others, and stay.
    not_renewed : tuple of str
        Files of the worklist that another program has open.
    """

    n_scored: int
    failed: tuple[tuple[str, str], ...]
    page: Path | None
    n_taken_over: int = 0
    n_removed: int = 0
    n_others: int = 0
    not_renewed: tuple[str, ...] = ()


@dataclass(frozen=True)
class ScoreFolderJob:
    """Scores all scans of a folder and writes what ``dinoad score`` writes.

    Attributes
    ----------
    folder : Path
        Its subfolders are looked into as well.
    out : Path
        For the results.
    model_path : Path
    settings : DetectSettings
    reading : ReadSettings
    """

    folder: Path
    out: Path
    model_path: Path
    settings: DetectSettings
    reading: ReadSettings = field(default_factory=ReadSettings)

    def __call__(self, channel: JobChannel) -> FolderOutcome:
        """Have it done in a worker process."""
        # Before there is one that could tell it.
        channel.progress(ProgressEvent("Looking for scans", 0, 0))
        outcome: FolderOutcome = run_in_process(self, channel)
        return outcome

    def work(self, desk: Desk) -> FolderOutcome:
        """Score one scan after the other; one that cannot be scored holds up none of the others.

        Raises
        ------
        DinoadError
            If the folder holds no scan, or the results cannot be written.
        """
        from napari_dinoad.images.discovery import discover_scans

        found = discover_scans(self.folder, self.reading, progress=desk.progress)
        unusable = [item for item in found.skipped if item.is_scan]
        if not found.scans and not unusable:
            raise DinoadError(
                f"{self.folder}: expected scans in this folder, found none.{found.series_in_words}"
            )
        desk.progress(ProgressEvent("Loading the model", 0, 0))

        # torch is loaded here, when it is shown what is waited for.
        from napari_dinoad.normative_model.model import NormativeModel
        from napari_dinoad.pipeline import Detector
        from napari_dinoad.pipeline.detection.batch import score_scans
        from napari_dinoad.pipeline.detection.kept_scores import model_sha256_of
        from napari_dinoad.pipeline.detection.results_folder import results_folder

        model_sha256 = model_sha256_of(self.model_path, found.scans)
        detector = Detector(NormativeModel.load(self.model_path), self.settings)
        failed = [(item.path.name, item.reason) for item in unusable]
        n_scored = n_taken_over = n_removed = n_others = 0
        n_scans, model_name = len(found.scans), self.model_path.stem
        with results_folder(self.out, model_name, self.settings.fpr, n_scans, unusable) as worklist:

            def outcome(n_scored: int) -> FolderOutcome:
                is_listed = n_scored + len(failed) > 1
                page = worklist.page if is_listed else None
                return FolderOutcome(n_scored, tuple(failed), page, n_taken_over, n_removed, n_others)

            def progress(number: int, _: str) -> AbstractContextManager[Progress]:
                # The scan before this one may be written yet: it will be, even if this is the last that is told.
                desk.deliver(outcome(number - 1 - (len(failed) - len(unusable))))
                of_scan = _of_scan(desk.progress, number, len(found.scans))
                of_scan(ProgressEvent("Reading", 0, 0))
                return nullcontext(of_scan)

            scored = score_scans(
                detector,
                found.scans,
                self.reading,
                self.out,
                worklist,
                progress=progress,
                model_sha256=model_sha256,
            )
            with closing(scored):
                for item in scored:
                    if item.result is not None:
                        n_scored += 1
                        n_taken_over += item.is_taken_over
                        n_removed += len(item.result["removed"])
                        n_others += len(item.result["others"])
                    else:
                        failed.append((item.scan.path.name or item.name, item.reason))
            ended = outcome(n_scored)
        return replace(ended, not_renewed=tuple(worklist.not_renewed))


def _of_scan(progress: Progress, place: int, n_scans: int) -> Progress:
    """Return what tells of a scan's own steps, and which of the scans it is. No name: it may be a patient's."""

    def tell(event: ProgressEvent) -> None:
        progress(replace(event, stage=f"Scan {place} of {n_scans}: {event.stage.lower()}"))

    return tell
