"""Scans, one after the other → their results on disk and as JSON values."""

from __future__ import annotations

import logging
import unicodedata
from collections import Counter
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from napari_dinoad.errors import DinoadError, ScanReadError
from napari_dinoad.images.scans_ahead import scans_ahead
from napari_dinoad.machine.file_names import short_stem
from napari_dinoad.machine.files import resolved
from napari_dinoad.machine.ordered_logs import OrderedLogs, tell
from napari_dinoad.machine.read_ahead import ReadAhead
from napari_dinoad.machine.write_behind import WriteBehind
from napari_dinoad.pipeline.detection.kept_scores import KeptScores, can_be_taken_over
from napari_dinoad.pipeline.detection.scan_steps import (
    OF_ONE_SCAN,
    BatchItem,
    BatchScan,
    LoadedScan,
    ScanSteps,
    WrittenScan,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterator, Sequence
    from contextlib import AbstractContextManager

    from napari_dinoad.images.scan_file import ScanFile
    from napari_dinoad.maps.pages.worklist import Worklist
    from napari_dinoad.pipeline.detection.detector import Detector
    from napari_dinoad.pipeline.detection.scan_steps import ScoredScan
    from napari_dinoad.progress import Progress
    from napari_dinoad.settings import ReadSettings, SegSegments

__all__ = ["output_names", "score_scans"]

logger = logging.getLogger(__name__)


def score_scans(
    detector: Detector,
    scans: Sequence[ScanFile],
    reading: ReadSettings,
    folder: Path,
    worklist: Worklist,
    outputs: Collection[str] | None = None,
    seg_segments: SegSegments = "single",
    progress: Callable[[int, str], AbstractContextManager[Progress]] | None = None,
    model_sha256: str | None = None,
    *,
    resume: bool = True,
) -> Generator[BatchItem, None, None]:
    """Score scans, write their outputs into ``folder`` and list them; one that cannot be scored holds up no other.

    While a scan is scored the next one is read and prepared on a thread, and what was found in the one before is
    written on another; a large one is alone (see `scans_ahead`). Items, logs and the list come scan by scan as if
    each were done before the next begins. However it ends, also by Ctrl-C, what is being written is written whole and
    listed, on its thread, where no signal cuts in between, and what was logged is told. What ended it is raised; that
    the scan before could not be written either is logged.

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
        Given a scan's number from 1 and its name, returns what follows its steps while it is scored. The scan
        before it may be yielded only then.
    model_sha256 : str, optional
        Of the model's file: what is found of several scans can be taken over by a later run then, see `KeptScores`.
    resume : bool
        Whether scans of an earlier run, of which nothing differs, are taken over and not scored again.

    Yields
    ------
    BatchItem

    Raises
    ------
    DinoadError
        If outputs cannot be written.
    """
    known_model = model_sha256 if can_be_taken_over(scans) else None
    kept = KeptScores(folder, known_model, detector, reading, outputs, seg_segments, resume=resume)
    with OrderedLogs() as logs, ReadAhead() as reader, WriteBehind[WrittenScan]() as writer:
        steps = ScanSteps(detector, reading, folder, outputs, seg_segments, len(scans) > 1, logs, kept)
        batch = [
            BatchScan(scan, name) for scan, name in zip(scans, output_names(scans, reading), strict=True)
        ]
        loads = ((own.scan, partial(steps.load_apart, own)) for own in batch)
        loaded_apart = scans_ahead(reader, loads, reading)
        n_begun = 0
        try:
            for n_begun, own in enumerate(batch, start=1):
                with logs.holding(own.records):
                    with nullcontext() if progress is None else progress(n_begun, own.name) as follow:
                        scored = _scored(steps, own, loaded_apart, writer, follow)
                yield from _finished(writer)
                tell(own.records)
                if isinstance(scored, DinoadError):
                    scored = WrittenScan(BatchItem(own.scan, own.name, error=scored))
                if isinstance(scored, WrittenScan):
                    yield _listed(scored, worklist).item
                    continue
                is_alone = scored.is_large or n_begun == len(batch)
                writer.begin(partial(_written_and_listed, steps, own, scored, worklist))
                # A large one is not held while the next one is read.
                del scored
                if is_alone:
                    yield from _finished(writer)
        except Exception:
            yield from _left_behind(writer, batch[:n_begun])
            raise
        finally:
            # By Ctrl-C, or where the caller stops.
            _left_behind(writer, batch[:n_begun])
            for own in batch[:n_begun]:
                tell(own.records)


def _scored(
    steps: ScanSteps,
    own: BatchScan,
    loaded_apart: Iterator[LoadedScan | WrittenScan | DinoadError | None],
    writer: WriteBehind[WrittenScan],
    progress: Progress | None,
) -> ScoredScan | WrittenScan | DinoadError:
    """Return a scan that was scored, now or by an earlier run, or the error that is of this scan alone."""
    try:
        loaded = next(loaded_apart)
        if loaded is None:
            # It may be large: the one before is in memory until it is written.
            writer.wait()
            loaded = steps.load(own)
        return steps.score(loaded, progress) if isinstance(loaded, LoadedScan) else loaded
    except OF_ONE_SCAN as error:
        return error


def _left_behind(writer: WriteBehind[WrittenScan], begun: Sequence[BatchScan]) -> list[BatchItem]:
    """Wait for the scan that is being written, if there is one, and return it; what fails is logged, not raised.

    Something else has ended the batch, and is not to be hidden by it.
    """
    error = writer.failure()
    if error is None:
        return list(_finished(writer))
    for own in begun[:-1]:
        tell(own.records)
    trace = None if isinstance(error, DinoadError) else error
    logger.error("The scan before was not written or not listed: %s", error, exc_info=trace)
    return []


def _finished(writer: WriteBehind[WrittenScan]) -> Iterator[BatchItem]:
    """Wait for the scan that is being written, if there is one, tell what was logged of it, and yield it."""
    for written in writer.finished():
        tell(written.records)
        yield written.item


def _written_and_listed(
    steps: ScanSteps, own: BatchScan, scored: ScoredScan, worklist: Worklist
) -> WrittenScan:
    """Write a scan and list it."""
    return _listed(steps.write(own, scored), worklist)


def _listed(written: WrittenScan, worklist: Worklist) -> WrittenScan:
    """List a scan, or that it cannot be used, and return it."""
    item = written.item
    if written.entry is None:
        worklist.add_failed(item.scan.path.name or item.name, item.reason, item.name)
    else:
        worklist.add(written.entry)
    return written


def output_names(scans: Sequence[ScanFile], reading: ReadSettings | None = None) -> list[str]:
    """Return one name a scan for its outputs: its own, and of several frames (``head_frame1``) that which is read.

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
    if reading is not None:
        names = [f"{name}{_frame_ending(scan, reading)}" for scan, name in zip(scans, names, strict=True)]
    names = _numbered(names, [scan.path.parent for scan in scans])
    depth = 0
    while max((counts := Counter(map(_as_file, names))).values(), default=0) > 1:
        before = names
        above = [resolved(scan.path).parents for scan in scans]
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


def _frame_ending(scan: ScanFile, reading: ReadSettings) -> str:
    """Return what the outputs of a scan's frame have behind its name, as in napari."""
    try:
        frame = scan.frame_of(reading)
    except (ScanReadError, OSError):
        # Told when it is read.
        return ""
    return "" if frame is None else f"_frame{frame}"


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
