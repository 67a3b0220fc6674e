"""Writing a result to disk: the same files as ``dinoad score``, of the ticked regions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from napari_dinoad.gui.work.processes import run_in_process
from napari_dinoad.machine.file_names import safe_stem
from napari_dinoad.machine.temporaries import remove_abandoned
from napari_dinoad.maps import AnomalyMap, AnomalyMask, Findings
from napari_dinoad.maps.hand_outputs import save_hand_outputs
from napari_dinoad.maps.outputs import available_outputs, save_outputs

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from napari_dinoad.gui.find.marked_values import MarkedValues
    from napari_dinoad.gui.find.result import Measured, Measurement, ScanResult
    from napari_dinoad.gui.work.jobs import DetectOutcome
    from napari_dinoad.gui.work.worker import JobChannel
    from napari_dinoad.maps.hand_mask import HandMask
    from napari_dinoad.settings import SegSegments

__all__ = ["ExportJob", "HandExportJob", "export_of"]


@dataclass(frozen=True, eq=False)
class ExportJob:
    """Writes what was asked for, as it was when asked.

    Attributes
    ----------
    mask : callable
        Takes the job's channel and returns the mask of the ticked regions, measured then where it was not yet.
    outcome : DetectOutcome, optional
        Scan-level figures.
    folder : Path
    name : str
        Begins each file's name.
    outputs : collection of str
        Keys of `napari_dinoad.maps.outputs.OUTPUTS`.
    seg_segments : str
        ``"single"``: one segment in a DICOM-SEG; ``"regions"``: one for each region.
    """

    mask: Callable[[JobChannel], AnomalyMask]
    outcome: DetectOutcome | None
    folder: Path
    name: str
    outputs: Collection[str]
    seg_segments: SegSegments = "single"

    def __call__(self, channel: JobChannel) -> tuple[Path, ...]:
        """Write the files and return their paths."""
        remove_abandoned(self.folder)
        written = save_outputs(
            _findings(self.mask(channel), self.outcome),
            self.folder,
            self.name,
            self.outputs,
            progress=channel.progress,
            seg_segments=self.seg_segments,
        )
        return tuple(written.values())


@dataclass(frozen=True, eq=False)
class HandExportJob:
    """Writes a mask by hand.

    Attributes
    ----------
    mask : HandMask
    folder : Path
    outputs : collection of str
        Keys of `napari_dinoad.maps.hand_outputs.HAND_OUTPUTS`.
    seg_segments : str
        ``"single"``: one segment in a DICOM-SEG; ``"regions"``: one for each label.
    """

    mask: HandMask
    folder: Path
    outputs: Collection[str]
    seg_segments: SegSegments = "single"

    def __call__(self, channel: JobChannel) -> tuple[Path, ...]:
        """Write the files and return their paths."""
        written = save_hand_outputs(
            self.mask,
            self.folder,
            safe_stem(self.mask.source.name),
            self.outputs,
            progress=channel.progress,
            seg_segments=self.seg_segments,
        )
        return tuple(written.values())


def export_of(
    result: ScanResult,
    folder: Path,
    outputs: Collection[str] | None = None,
    seg_segments: SegSegments = "single",
) -> ExportJob:
    """Return the job that exports a result as it is now; later changes to the result do not reach it.

    None exports everything that the scan allows. Regions that are not measured yet, as while slices come in, are
    measured by the job.
    """
    frozen = AnomalyMap(result.values.copy(), result.volume)
    if result.is_measured:
        mask = partial(_known_mask, result.ticked_labels(), frozen, result.fpr)
    else:
        mask = partial(_measured_mask, result.measurement(), frozen, result.unticked_peaks)
    chosen = available_outputs(result.volume) if outputs is None else tuple(outputs)
    return ExportJob(mask, result.outcome, folder, safe_stem(result.volume.name), chosen, seg_segments)


def _known_mask(
    labels: MarkedValues, anomaly_map: AnomalyMap, fpr: float, channel: JobChannel
) -> AnomalyMask:
    """Return a mask that was measured before."""
    return AnomalyMask(labels.whole(np.int32), anomaly_map, fpr)


def _measured_mask(
    measurement: Measurement,
    anomaly_map: AnomalyMap,
    unticked_peaks: Collection[tuple[int, int, int]],
    channel: JobChannel,
) -> AnomalyMask:
    """Measure the regions in a process of its own and return the mask of those that are ticked."""
    measured: Measured = run_in_process(measurement, channel)
    whole = AnomalyMask(measured.labels.whole(np.int32), anomaly_map, measurement.fpr)
    return whole.only({region.label for region in measured.regions if region.peak_zyx not in unticked_peaks})


def _findings(mask: AnomalyMask, outcome: DetectOutcome | None) -> Findings:
    scan = mask.anomaly_map.source.name
    if outcome is None:
        return Findings(mask, scan)
    return Findings(
        mask,
        scan,
        outcome.p_value,
        outcome.n_calibration_scans,
        outcome.n_more_normal,
        {"total": outcome.seconds},
        outcome.card,
        outcome.unlike,
        outcome.n_calibration_persons,
        outcome.is_whole,
        outcome.normal_peaks,
    )
