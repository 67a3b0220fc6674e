"""Requests of the interface, frozen before they start; and what they bring back.

Each is called on a worker thread. What computes then has its `work` done in a worker process, the only place where
torch is imported; the thread waits for it and hands on what it tells.
"""

from __future__ import annotations

import logging
import tempfile
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from napari_dinoad.errors import DinoadError
from napari_dinoad.gui.work.processes import run_in_process
from napari_dinoad.images.discovery import Discovery, discover_scans
from napari_dinoad.images.persons import find_persons
from napari_dinoad.machine.atomic_files import require_folder
from napari_dinoad.progress import ProgressEvent
from napari_dinoad.settings import (
    DEMO_SCAN_SHAPE,
    N_DEMO_SCANS,
    CacheSettings,
    CalibrationSettings,
    FitSettings,
    ReadSettings,
)

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from napari_dinoad.calibration import NormalPeaks
    from napari_dinoad.gui.work.work_process import Desk
    from napari_dinoad.gui.work.worker import JobChannel
    from napari_dinoad.images.scan_file import SkippedFile
    from napari_dinoad.images.volume import Volume
    from napari_dinoad.normative_model.fit_report import FitReport
    from napari_dinoad.normative_model.model import NormativeModel
    from napari_dinoad.settings import PersonGrouping

__all__ = [
    "DemoModelJob",
    "DetectOutcome",
    "DiscoverJob",
    "FitJob",
    "FitOutcome",
    "MeantScans",
    "NormalRank",
    "ScanRead",
    "SlicesScored",
]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class MeantScans:
    """How the scans of a folder are meant, where it could be so or so.

    Attributes
    ----------
    persons : str
        See `CalibrationSettings.persons`.
    stack_folders : bool
        See `ReadSettings.stack_folders`.
    series : str, optional
        See `ReadSettings.series`.
    """

    persons: PersonGrouping = CalibrationSettings.persons
    stack_folders: bool = False
    series: str | None = None


@dataclass(frozen=True)
class DiscoverJob:
    """Looks into a folder, for scans and persons as they are meant there."""

    folder: Path
    meant: MeantScans = MeantScans()

    def __call__(self, channel: JobChannel) -> Discovery:
        """Return what the folder holds, and whose the scans are."""
        reading = ReadSettings(self.meant.series, stack_folders=self.meant.stack_folders)
        found = discover_scans(self.folder, reading, channel.progress)
        persons = find_persons(found.scans, found.folder, self.meant.persons, channel.progress)
        return replace(found, persons=persons)


@dataclass(frozen=True)
class NormalRank:
    """A normal scan for review, and in words what stands out in it (may be empty)."""

    name: str
    stands_out: str


@dataclass(frozen=True)
class FitOutcome:
    """A model that was fitted and saved. It holds nothing that would bring torch into the window's process.

    Attributes
    ----------
    path : Path
    n_scans, n_slices, n_persons : int
        Fitted on.
    skipped : tuple of SkippedFile
    least_normal : tuple of NormalRank
        For review, the most unusual first: a folder of normal scans is never fully normal.
    seconds : float
    page : Path, optional
        The cohort report, for a browser.
    notes : tuple of str
        What should be known before the model's numbers are believed.
    """

    path: Path
    n_scans: int
    n_slices: int
    skipped: tuple[SkippedFile, ...]
    least_normal: tuple[NormalRank, ...]
    seconds: float
    n_persons: int
    page: Path | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, path: Path, model: NormativeModel, report: FitReport) -> FitOutcome:
        """Return what a fit's report says of the model that it made."""
        from napari_dinoad.pipeline.fit.cohort_report import fit_notes, report_path, what_stands_out

        page, stands_out = report_path(path), what_stands_out(report)
        return cls(
            path,
            len(report.scans),
            sum(scan.n_slices for scan in report.scans),
            report.skipped,
            tuple(NormalRank(name, stands_out[name]) for name in map(report.name_of, report.most_abnormal())),
            sum(report.seconds.values()),
            report.n_persons,
            page if page.is_file() else None,
            tuple(fit_notes(model, report)),
        )


@dataclass(frozen=True)
class FitJob:
    """Fits a model of normal from a folder and saves it.

    A fit that was cancelled, or ended with the machine, goes on where it was when it is started again.
    """

    folder: Path
    settings: FitSettings
    out: Path
    cache: CacheSettings | None = field(default_factory=CacheSettings)

    def __call__(self, channel: JobChannel) -> FitOutcome:
        """Have it done in a worker process."""
        # Before there is one that could tell it, and before that has loaded torch.
        channel.progress(ProgressEvent("Looking for scans", 0, 0))
        outcome: FitOutcome = run_in_process(self, channel)
        return outcome

    def work(self, desk: Desk) -> FitOutcome:
        """Fit, save, and return where the model is and how it went."""
        from napari_dinoad.pipeline import fit_folder

        require_folder(self.out.parent)
        model = fit_folder(self.folder, self.settings, desk.progress, self.cache, self.out)
        if model.fit_report is None:
            raise RuntimeError("A model that was just fitted has no report.")
        self._keep_weights()
        return FitOutcome.of(self.out, model, model.fit_report)

    def _keep_weights(self) -> None:
        """Copy a weights file that was chosen to where scoring will look for it."""
        if self.settings.weights is None:
            return
        from napari_dinoad.backbones.weights.store import add_weights

        try:
            add_weights(self.settings.weights, self.settings.backbone)
        except DinoadError as error:
            logger.warning("The weights were not kept for scoring: %s", error)


@dataclass(frozen=True)
class DemoModelJob:
    """Fits a small model on normal phantoms, to try the plugin without any scan."""

    settings: FitSettings
    out: Path
    n_scans: int = N_DEMO_SCANS

    def __call__(self, channel: JobChannel) -> FitOutcome:
        """Have it done in a worker process."""
        outcome: FitOutcome = run_in_process(self, channel)
        return outcome

    def work(self, desk: Desk) -> FitOutcome:
        """Make the phantoms, fit, save, and return where the model is."""
        from napari_dinoad.phantom import write_cohort

        with tempfile.TemporaryDirectory(prefix="dinoad-demo-") as folder:
            cohort = write_cohort(
                folder, self.n_scans, kinds=(), shape=DEMO_SCAN_SHAPE, progress=desk.progress
            )
            return FitJob(cohort.normal_folder, self.settings, self.out, cache=None).work(desk)


@dataclass(frozen=True, eq=False)
class ScanRead:
    """Delivered first.

    Attributes
    ----------
    volume : Volume
        The scan itself.
    axis : int
        Across which axis of the canonical array it is sliced.
    is_known : bool
        Whether it is the one that was scored before.
    """

    volume: Volume
    axis: int
    is_known: bool = False


@dataclass(frozen=True, eq=False)
class SlicesScored:
    """Delivered after each batch.

    Attributes
    ----------
    axis : int
        Axis of the canonical array.
    indices : tuple of int
    values : numpy.ndarray
        (n, …) float32, −log10 p of these slices.
    is_final : bool
        Whether they do not come again with other values.
    """

    axis: int
    indices: tuple[int, ...]
    values: np.ndarray
    is_final: bool = True


@dataclass(frozen=True, eq=False)
class DetectOutcome:
    """What is known at the end beside the map.

    Attributes
    ----------
    p_value : float, optional
        Of the whole scan; None when only some slices were scored, or a slice cannot be compared with volumes.
    n_calibration_scans, n_more_normal : int
        Normal scans compared with, and how many of them are less extreme than this one.
    n_calibration_persons : int, optional
        Persons that these normal scans are of; None: as many.
    seconds : float
    card : dict, optional
        The card of the model that scored.
    unlike : tuple of str
        In what the scan as such is unlike the model's normal scans.
    is_whole : bool
        Whether all of the scan was scored.
    normal_peaks : NormalPeaks, optional
        The highest −log10 p of each of the normal scans; None where ``p_value`` is.
    """

    p_value: float | None
    n_calibration_scans: int
    n_more_normal: int
    seconds: float
    card: dict[str, Any] | None = None
    unlike: tuple[str, ...] = ()
    is_whole: bool = False
    n_calibration_persons: int | None = None
    normal_peaks: NormalPeaks | None = None
