"""Writing a result to disk: the same files as ``dinoad score``, of the ticked regions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_dinoad.maps import AnomalyMap, Findings
from napari_dinoad.maps.outputs import available_outputs, save_outputs

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from napari_dinoad.gui.jobs import DetectOutcome
    from napari_dinoad.gui.result import ScanResult
    from napari_dinoad.gui.worker import JobChannel
    from napari_dinoad.maps import AnomalyMask
    from napari_dinoad.settings import SegSegments

__all__ = ["ExportJob", "export_of"]


@dataclass(frozen=True, eq=False)
class ExportJob:
    """Writes what was asked for, as it was when asked.

    Attributes
    ----------
    findings : Findings
        With the mask of the ticked regions.
    folder : Path
    name : str
        Begins each file's name.
    outputs : collection of str
        Keys of `napari_dinoad.maps.outputs.OUTPUTS`.
    seg_segments : str
        ``"single"``: one segment in a DICOM-SEG; ``"regions"``: one for each region.
    """

    findings: Findings
    folder: Path
    name: str
    outputs: Collection[str]
    seg_segments: SegSegments = "single"

    def __call__(self, channel: JobChannel) -> tuple[Path, ...]:
        """Write the files and return their paths."""
        written = save_outputs(
            self.findings,
            self.folder,
            self.name,
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

    None exports everything that the scan allows.
    """
    mask = result.ticked_mask()
    frozen_map = AnomalyMap(result.values.copy(), result.volume)
    frozen = type(mask)(mask.labels, frozen_map, mask.fpr)
    chosen = available_outputs(result.volume) if outputs is None else tuple(outputs)
    return ExportJob(_findings(frozen, result.outcome), folder, result.volume.name, chosen, seg_segments)


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
    )
