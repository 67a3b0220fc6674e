"""What was found of each scan, kept beside its results, so that scoring goes on where an earlier run has ended.

A file for each of several scans, ``scored/<name>.json`` in the folder of the results. It is written when all outputs
of the scan have their names, and holds no folder and no tag of the patient.
"""

from __future__ import annotations

import base64
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_dinoad.errors import ScanReadError
from napari_dinoad.images.readers import may_be_dicom
from napari_dinoad.machine.files import atomic_path, files_below, require_folder, sha256_of_file
from napari_dinoad.maps.worklist import WorklistEntry
from napari_dinoad.pipeline.cohort.scan_embedding import content_sha256
from napari_dinoad.pipeline.cohort.work_folder import VERSION, hash_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from napari_dinoad.images.scan_file import ScanFile
    from napari_dinoad.pipeline.detection.detector import Detector
    from napari_dinoad.settings import ReadSettings, SegSegments

__all__ = ["KeptScores", "model_sha256_of"]


def model_sha256_of(path: Path) -> str | None:
    """Return the SHA-256 of a model's file, before it is loaded: replaced meanwhile, it is that of no later run.

    None where it cannot be read, which loading it tells.
    """
    try:
        return sha256_of_file(path) if path.is_file() else None
    except OSError:
        return None


class KeptScores:
    """Scans that were scored into a folder, with the same model and in the same way.

    Parameters
    ----------
    folder : Path
        That of the results.
    model_sha256 : str
        Of the model's file.
    detector : Detector
        With this model.
    reading : ReadSettings
    outputs : collection of str, optional
    seg_segments : {"single", "regions"}
        As of `napari_dinoad.pipeline.detection.batch.score_scans`.
    resume : bool
        Whether scans of an earlier run are taken over; what is scored now is kept in any case.
    """

    def __init__(
        self,
        folder: Path,
        model_sha256: str,
        detector: Detector,
        reading: ReadSettings,
        outputs: Collection[str] | None = None,
        seg_segments: SegSegments = "single",
        *,
        resume: bool = True,
    ) -> None:
        self._folder = folder
        self._reading = reading
        self._resume = resume
        settings, device = detector.settings, detector.backbone.device.type
        chosen = None if outputs is None else sorted(outputs)
        self._way = [
            VERSION, model_sha256, settings.fpr, settings.min_volume_mm3, device, chosen, seg_segments
        ]  # fmt: skip
        self._keys: dict[str, str] = {}

    def find(self, scan: ScanFile, name: str) -> tuple[dict[str, Any], WorklistEntry] | None:
        """Return the result and the entry in the worklist of a scan that need not be scored; else None.

        That is so if its files hold what they held then, it was scored in the same way, and all that was written of
        it is there and has not been touched since.

        Parameters
        ----------
        scan : ScanFile
        name : str
            Begins the names of its outputs.
        """
        key = self._key(scan)
        if key is None:
            return None
        self._keys[name] = key
        if not self._resume:
            return None
        try:
            kept = json.loads(self._path(name).read_text(encoding="utf-8"))
            if kept["key"] != key or kept["written"] != self._written(kept["result"]["files"]):
                return None
            entry = kept["entry"] | {"picture": base64.b64decode(kept["entry"]["picture"])}
            entry["order"] = tuple(entry["order"])
            files = {kind: str(self._folder / file) for kind, file in kept["result"]["files"].items()}
            result = kept["result"] | {
                "scan": str(scan.path),
                "map": files.get("map"),
                "mask": files.get("mask"),
                "files": files,
            }
            return result, WorklistEntry(**entry)
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            # There is none, or it is damaged.
            return None

    def keep(self, name: str, result: Mapping[str, Any], entry: WorklistEntry) -> None:
        """Keep what was found of a scan that was looked for, and written.

        Raises
        ------
        DinoadError
            If it cannot be written.
        """
        key = self._keys.pop(name, None)
        if key is None:
            return
        files = {kind: Path(file).name for kind, file in result["files"].items()}
        document = {
            "key": key,
            "written": self._written(files),
            "result": {**result, "scan": "", "map": None, "mask": None, "files": files},
            "entry": asdict(entry) | {"picture": base64.b64encode(entry.picture).decode()},
        }
        path = self._path(name)
        require_folder(path.parent)
        # Beside the results, where what a killed run leaves is looked for.
        with atomic_path(path, self._folder) as temporary:
            temporary.write_text(json.dumps(document), encoding="utf-8")

    def _path(self, name: str) -> Path:
        return self._folder / "scored" / f"{name}.json"

    def _key(self, scan: ScanFile) -> str | None:
        """Return what is another one where anything differs that a result depends on; None where that is not told."""
        try:
            is_single = scan.series is None and not scan.images
            if is_single and (not scan.path.is_file() or may_be_dicom(scan.path)):
                # Only its reader knows which other files a DICOM file goes with.
                return None
            content = content_sha256(scan, self._reading)
        except (ScanReadError, OSError):
            # Told when it is read.
            return None
        return hash_of([*self._way, content, scan.path.name, scan.notes])

    def _written(self, files: Mapping[str, str]) -> list[list[object]]:
        """Return name, size and time of each file that was written; those of folders one by one."""
        paths = [self._folder / file for file in files.values()]
        every = [file for path in paths for file in (files_below(path) if path.is_dir() else [path])]
        told = [(path.relative_to(self._folder).as_posix(), path.stat()) for path in every]
        return [[name, found.st_size, found.st_mtime_ns] for name, found in told]
