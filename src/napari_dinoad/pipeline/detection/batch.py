"""Scans, one after the other → their results on disk and as JSON values."""

from __future__ import annotations

import unicodedata
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_dinoad.errors import DinoadError, GeometryError, ScanReadError, SettingError
from napari_dinoad.images.scan_file import without_path
from napari_dinoad.machine.files import short_stem
from napari_dinoad.maps.outputs import check_outputs, default_outputs, possible_outputs, save_outputs
from napari_dinoad.maps.worklist import WorklistEntry

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from napari_dinoad.images.scan_file import ScanFile
    from napari_dinoad.maps.findings import Findings
    from napari_dinoad.maps.worklist import Worklist
    from napari_dinoad.pipeline.detection.detector import Detector
    from napari_dinoad.progress import Progress
    from napari_dinoad.settings import ReadSettings, SegSegments

__all__ = ["BatchItem", "output_names", "save_result", "score_scans"]


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
    """

    scan: ScanFile
    name: str
    result: dict[str, Any] | None = None
    error: DinoadError | None = None

    @property
    def reason(self) -> str:
        """Why it could not be scored, without the folders it lies in."""
        return "" if self.error is None else without_path(self.error, self.scan.path)


def score_scans(
    detector: Detector,
    scans: Sequence[ScanFile],
    reading: ReadSettings,
    folder: Path,
    worklist: Worklist,
    outputs: Collection[str] | None = None,
    seg_segments: SegSegments = "single",
    progress: Callable[[int, str], AbstractContextManager[Progress]] | None = None,
) -> Iterator[BatchItem]:
    """Score scans, write their outputs into ``folder`` and list them; one that cannot be scored holds up no other.

    Parameters
    ----------
    detector : Detector
    scans : sequence of ScanFile
    reading : ReadSettings
    folder : Path
    worklist : Worklist
        Gets an entry of each scan, before it is yielded.
    outputs : collection of str, optional
        Keys of `napari_dinoad.maps.outputs.OUTPUTS`; by default what suits each scan. Of several scans one that
        does not allow an output has the others, and ``not_written`` in its result; a single one is not scored.
    seg_segments : {"single", "regions"}
    progress : callable, optional
        Given a scan's number from 1 and its name, returns what follows its steps while it is scored.

    Yields
    ------
    BatchItem

    Raises
    ------
    DinoadError
        If outputs cannot be written.
    """
    for number, (scan, name) in enumerate(zip(scans, output_names(scans), strict=True), start=1):
        try:
            with nullcontext() if progress is None else progress(number, name) as follow:
                result, entry = _score_and_save(
                    detector, scan, reading, folder, name, outputs, seg_segments, follow, len(scans) > 1
                )
        except (ScanReadError, SettingError, GeometryError) as error:
            item = BatchItem(scan, name, error=error)
            worklist.add_failed(scan.path.name or name, item.reason)
        else:
            item = BatchItem(scan, name, result)
            worklist.add(entry)
        yield item


def _score_and_save(
    detector: Detector,
    scan: ScanFile,
    reading: ReadSettings,
    folder: Path,
    name: str,
    outputs: Collection[str] | None,
    seg_segments: SegSegments,
    progress: Progress | None,
    is_one_of_several: bool,
) -> tuple[dict[str, Any], WorklistEntry]:
    """Score one scan; return its result and its entry in the worklist."""
    volume = scan.read(reading)
    # Before the scan is scored: that may take a minute.
    not_written: dict[str, str] = {}
    left_out = None
    if outputs is not None and is_one_of_several:
        outputs, not_written = possible_outputs(volume, outputs)
        left_out = not_written.__setitem__
    else:
        check_outputs(volume, default_outputs(volume) if outputs is None else outputs)
    detection = detector.detect(volume, progress=progress)
    mask = detection.mask()
    found = detection.findings(mask, scan.path.name or name, detector.model.card())
    result = save_result(
        _telling(found, not_written), scan.path, folder, name, outputs, seg_segments, left_out
    )
    # Some of it only shows while the files are written.
    findings = _telling(found, not_written)
    result |= {"notes": list(findings.all_notes()), "not_written": not_written}
    files = {kind: Path(file) for kind, file in result["files"].items()}
    return result, WorklistEntry.of(findings, name, files, detection.scan_score, detection.scan_neg_log10_p)


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


def output_names(scans: Sequence[ScanFile]) -> list[str]:
    """Return one name a scan for its outputs: its own.

    Scans of one name in one folder get their endings (``head_png``), those of several folders as many of these as
    tell them apart, and what is still alike a number. Names that differ in case only, or in how an accent is
    written, are alike: on most disks of Windows and macOS they are one file.
    """
    names = [short_stem(scan.name) for scan in scans]
    in_folder = Counter((scan.path.parent, _as_file(name)) for scan, name in zip(scans, names, strict=True))
    names = [
        f"{name}_{scan.path.name[len(name) :].strip('.').replace('.', '_')}"
        if in_folder[scan.path.parent, _as_file(name)] > 1 and scan.path.name.startswith(f"{name}.")
        else name
        for scan, name in zip(scans, names, strict=True)
    ]
    names = _numbered(names, [scan.path.parent for scan in scans])
    depth = 0
    while max((counts := Counter(map(_as_file, names))).values(), default=0) > 1:
        before = names
        above = [scan.path.resolve().parents for scan in scans]
        names = [
            f"{parents[depth].name}_{name}"
            if counts[_as_file(name)] > 1 and depth + 1 < len(parents)
            else name
            for parents, name in zip(above, names, strict=True)
        ]
        if names == before:
            return _numbered(names, [Path()] * len(names))
        depth += 1
    return names


def _numbered(names: Sequence[str], folders: Sequence[Path]) -> list[str]:
    """Return names, those that are alike within a folder with numbers."""
    keys = [(folder, _as_file(name)) for folder, name in zip(folders, names, strict=True)]
    n_alike, seen = Counter(keys), Counter[tuple[Path, str]]()
    numbered = []
    for name, key in zip(names, keys, strict=True):
        seen[key] += 1
        numbered.append(f"{name}_{seen[key]}" if n_alike[key] > 1 else name)
    return numbered


def _as_file(name: str) -> str:
    """Return what is the same for names that may be those of one file."""
    return unicodedata.normalize("NFC", name.casefold())
