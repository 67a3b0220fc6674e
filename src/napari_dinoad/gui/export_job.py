"""Writing a result to disk: the same files as ``dinoad score``, of the ticked regions."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from napari_dinoad.files import require_folder, write_json
from napari_dinoad.maps import AnomalyMap
from napari_dinoad.maps.export import write_regions_csv
from napari_dinoad.progress import ProgressEvent

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from napari_dinoad.gui.jobs import DetectOutcome
    from napari_dinoad.gui.result import ScanResult
    from napari_dinoad.gui.worker import JobChannel
    from napari_dinoad.maps import AnomalyMask

__all__ = ["EXPORTS", "ExportJob", "export_of"]

EXPORTS = {
    "mask": "Mask (NIfTI)",
    "map": "Anomaly map, −log10 p (NIfTI)",
    "regions": "Regions (CSV)",
    "report": "Report (JSON)",
}
"""What can be exported, with its title."""


@dataclass(frozen=True, eq=False)
class ExportJob:
    """Writes what was asked for, as it was when asked.

    Attributes
    ----------
    mask : AnomalyMask
        Of the ticked regions.
    outcome : DetectOutcome, optional
    folder : Path
    name : str
        Begins each file's name.
    outputs : collection of str
        Keys of `EXPORTS`.
    """

    mask: AnomalyMask
    outcome: DetectOutcome | None
    folder: Path
    name: str
    outputs: Collection[str]

    def __call__(self, channel: JobChannel) -> tuple[Path, ...]:
        """Write the files and return their paths."""
        require_folder(self.folder)
        written: list[Path] = []
        for i, output in enumerate(self.outputs):
            channel.progress(ProgressEvent("Writing", i, len(self.outputs)))
            written.append(self._write(output))
        return tuple(written)

    def _write(self, output: str) -> Path:
        if output == "mask":
            return self.mask.save(self.folder / f"{self.name}_mask.nii.gz")
        if output == "map":
            return self.mask.anomaly_map.save(self.folder / f"{self.name}_anomaly.nii.gz")
        if output == "regions":
            path = self.folder / f"{self.name}_regions.csv"
            write_regions_csv(path, self.mask.regions())
            return path
        path = self.folder / f"{self.name}_report.json"
        write_json(path, self._report())
        return path

    def _report(self) -> dict[str, object]:
        regions = [region.to_dict() for region in self.mask.regions()]
        scan_level = {"p_value": None} if self.outcome is None else asdict(self.outcome)
        return {
            "scan": self.name,
            **scan_level,
            "threshold_fpr": self.mask.fpr,
            "n_regions": len(regions),
            "regions": regions,
            "use": "Research use only; not a medical device.",
        }


def export_of(result: ScanResult, folder: Path, outputs: Collection[str]) -> ExportJob:
    """Return the job that exports a result as it is now; later changes to the result do not reach it."""
    mask = result.ticked_mask()
    frozen_map = AnomalyMap(result.values.copy(), result.volume)
    frozen = type(mask)(mask.labels, frozen_map, mask.fpr)
    return ExportJob(frozen, result.outcome, folder, result.volume.name, tuple(outputs))
