"""What was found of each scan, kept beside its results: scoring goes on where an earlier run has ended.

A file for each scan, ``scored/<name>.json`` in the folder of the results. It is written when all outputs of the scan
have their names, and holds no folder and no tag of the patient. By it, too, what an earlier run wrote of a scan, and
this one does not, is known.
"""

from __future__ import annotations

import base64
import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_dinoad.backbones.openvino_forward import has_openvino
from napari_dinoad.errors import FileInUseError, ScanReadError
from napari_dinoad.images.readers import may_be_dicom
from napari_dinoad.machine.atomic_files import atomic_path, require_folder
from napari_dinoad.machine.files import sha256_of_file
from napari_dinoad.maps.pages.worklist import KEPT_FOLDER
from napari_dinoad.maps.pages.worklist_entry import WorklistEntry
from napari_dinoad.pipeline.cohort.scan_embedding import scan_sha256
from napari_dinoad.pipeline.cohort.work_folder import VERSION, hash_of
from napari_dinoad.pipeline.detection.written_files import WrittenFiles

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from napari_dinoad.images.scan_file import ScanFile
    from napari_dinoad.pipeline.detection.detector import Detector
    from napari_dinoad.settings import ReadSettings, SegSegments

__all__ = ["KeptScores", "can_be_taken_over", "model_sha256_of"]

logger = logging.getLogger(__name__)

_TOLD = ("p_value", "n_calibration_scans", "n_calibration_persons", "threshold_fpr", "regions")
"""What of a result, with the scan's own score, tells it from another's."""


def can_be_taken_over(scans: Sequence[ScanFile]) -> bool:
    """Whether a later run can take scans over that are scored together: a single one is scored each time."""
    return len(scans) > 1


def model_sha256_of(path: Path, scans: Sequence[ScanFile]) -> str | None:
    """Return the SHA-256 of a model's file, before it is loaded: replaced meanwhile, it is that of no later run.

    None where the scans cannot be taken over, and where it cannot be read, which loading it tells.
    """
    try:
        return sha256_of_file(path) if can_be_taken_over(scans) and path.is_file() else None
    except OSError:
        return None


class KeptScores:
    """Scans that were scored into a folder: which can be taken over, and which of their files no longer hold.

    Parameters
    ----------
    folder : Path
        That of the results.
    model_sha256 : str, optional
        Of the model's file; None: nothing is taken over, and what is kept will not be.
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
        model_sha256: str | None,
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
        self._files = WrittenFiles(folder)
        settings, backbone = detector.settings, detector.backbone
        device = backbone.device.type
        # The backbone that is built in never uses it. What the first slices show is not known yet.
        uses_openvino = device == "cpu" and backbone.weights_file is not None and has_openvino()
        chosen = None if outputs is None else sorted(outputs)
        self._way = None if model_sha256 is None else [
            VERSION, model_sha256, settings.fpr, settings.min_volume_mm3, device, uses_openvino, chosen,
            seg_segments,
        ]  # fmt: skip
        self._keys: dict[str, str] = {}

    def find(self, scan: ScanFile, name: str) -> tuple[dict[str, Any], WorklistEntry, list[str]] | None:
        """Return result, entry in the worklist and warnings of a scan that need not be scored; else None.

        That is so if its files hold what they held then, it was scored in the same way, and all that was written of
        it is there and has not been touched since.

        Parameters
        ----------
        scan : ScanFile
        name : str
            Begins the names of its outputs.
        """
        key = None if self._way is None else self._key(scan, self._way)
        if key is None:
            return None
        self._keys[name] = key
        if not self._resume:
            return None
        try:
            kept = self._kept(name)
            if kept["key"] != key or kept["written"] != self._files.listed(kept["result"]["files"]):
                return None
            entry = kept["entry"] | {"picture": base64.b64decode(kept["entry"]["picture"])}
            entry["order"] = tuple(entry["order"])
            files = {kind: str(self._folder / file) for kind, file in kept["result"]["files"].items()}
            result = kept["result"] | {
                "scan": str(scan.path),
                "map": files.get("map"),
                "mask": files.get("mask"),
                "files": files,
                "others": self._files.others(name, kept["written"], kept["beside"]),
            }
            return result, WorklistEntry(**entry), list(map(str, kept["warnings"]))
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            # There is none, or it is damaged.
            return None

    def keep(
        self,
        name: str,
        result: Mapping[str, Any],
        entry: WorklistEntry,
        warnings: Sequence[str] = (),
        *,
        is_complete: bool = True,
    ) -> tuple[dict[str, list[str]], bool]:
        """Keep what was found of a scan that was written, and remove what an earlier run had found otherwise.

        Files of another result that were not written anew, and not touched since, are removed; those of the same one
        (as of a run with another ``--save``) stay.

        Parameters
        ----------
        name : str
        result : mapping
        entry : WorklistEntry
        warnings : sequence of str
            What was logged of it.
        is_complete : bool
            Whether it may be taken over, if it was looked for.

        Returns
        -------
        earlier : dict
            Names of files and folders: of those that were ``removed``, and of ``others`` that may be of another
            result.
        is_kept : bool
            Whether a later run can take the scan over.

        Raises
        ------
        DinoadError
            If a file cannot be written or removed. What is kept of before may be open in another program: that is
            warned of, and the scan is kept for no later run.
        """
        key = self._keys.pop(name, None)
        if not is_complete:
            key = None
        files = {kind: Path(file).name for kind, file in result["files"].items()}
        found, written = _found(result, entry), self._files.listed(files)
        beside, removed = self._files.of_before(name, self._kept(name), found, written)
        document = {
            "key": key,
            "found": found,
            "written": written,
            "beside": beside,
            "result": {
                **result,
                "scan": "",
                "map": None,
                "mask": None,
                "files": files,
                "removed": [],
                "others": [],
            },
            "warnings": list(warnings),
            "entry": asdict(entry) | {"picture": base64.b64encode(entry.picture).decode()},
        }
        is_renewed = self._renew(self._path(name), document)
        earlier = {"removed": removed, "others": self._files.others(name, written, beside)}
        return earlier, is_renewed and key is not None

    def _renew(self, path: Path, document: Mapping[str, Any]) -> bool:
        """Write what is kept of a scan; False, with a warning, where another program has that of before open.

        That of before, of other files, takes nothing over.
        """
        require_folder(path.parent)
        try:
            # Beside the results, where what a killed run leaves is looked for.
            with atomic_path(path, self._folder) as temporary:
                temporary.write_text(json.dumps(document), encoding="utf-8")
        except FileInUseError:
            logger.warning(
                "%s in the folder of the results could not be renewed: another program has it open. The scan's "
                "results are written, and a later run scores it again. Close it there.",
                path.relative_to(self._folder).as_posix(),
            )
            return False
        return True

    def _kept(self, name: str) -> dict[str, Any]:
        """Return what is kept of a scan; nothing where there is none, or it is damaged."""
        try:
            kept = json.loads(self._path(name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return kept if isinstance(kept, dict) else {}

    def _path(self, name: str) -> Path:
        return self._folder / KEPT_FOLDER / f"{name}.json"

    def _key(self, scan: ScanFile, way: Sequence[object]) -> str | None:
        """Return what is another one where anything differs that a result depends on; None where that is not told."""
        try:
            is_single = scan.series is None and not scan.images
            if is_single and (not scan.path.is_file() or may_be_dicom(scan.path)):
                # Only its reader knows which other files a DICOM file goes with.
                return None
            content = scan_sha256(scan, self._reading)
        except (ScanReadError, OSError):
            # Told when it is read.
            return None
        return hash_of([*way, content, scan.path.name, scan.notes])


def _found(result: Mapping[str, Any], entry: WorklistEntry) -> str:
    """Return a hash of what was found, in which way soever it was: what says so belongs together."""
    told = {name: value for name, value in result.items() if name in _TOLD}
    return hash_of([VERSION, told, entry.order])
