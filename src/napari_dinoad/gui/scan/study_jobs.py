"""Looking for the scans of a study, and reading them: requests of the interface, and what they bring back.

Each is called on a worker thread.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_dinoad.errors import Cancelled, DinoadError, ScanReadError
from napari_dinoad.machine.file_names import format_of
from napari_dinoad.progress import ProgressEvent, report
from napari_dinoad.settings import ReadSettings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_dinoad.gui.work.worker import JobChannel
    from napari_dinoad.images.scan_file import ScanFile
    from napari_dinoad.progress import Progress

__all__ = ["FoundScans", "LookJob", "ReadJob", "RefusedScans"]


@dataclass(frozen=True)
class FoundScans:
    """The scans that files and folders hold, and why others hold none.

    Attributes
    ----------
    scans : tuple of ScanFile
    faults : tuple of str
    stacked : tuple of ScanFile
        What they are where the 2D images of a folder are the slices of one scan; empty where that is the same.
    is_choice : bool
        Whether it is a question which of them are meant: not where each file or folder that was named holds one.
    """

    scans: tuple[ScanFile, ...]
    faults: tuple[str, ...] = ()
    stacked: tuple[ScanFile, ...] = ()
    is_choice: bool = False


@dataclass(frozen=True)
class LookJob:
    """Looks for the scans that files and folders hold.

    Attributes
    ----------
    paths : tuple of Path
    stacks_files : bool
        Whether pictures that are named by themselves may be the slices of one scan, too.
    """

    paths: tuple[Path, ...]
    stacks_files: bool = False

    def __call__(self, channel: JobChannel) -> FoundScans:
        """Return the scans; each file is one, a folder may hold several."""
        from napari_dinoad.gui.reader import scans_at
        from napari_dinoad.images.image_stacks import are_stackable

        scans: list[ScanFile] = []
        stacked: list[ScanFile] = []
        faults: list[str] = []
        is_choice = False
        for path in self.paths:
            try:
                found = scans_at(path, channel.progress)
                scans += found
                is_choice |= len(found) > 1
                if are_stackable(found):
                    found = scans_at(path, channel.progress, ReadSettings(stack_folders=True))
                stacked += found
            except Cancelled:
                raise
            except DinoadError as error:
                faults.append(str(error))
        if self.stacks_files:
            sized = _looked_into([*scans, *stacked], channel.progress)
            scans = [sized.get(scan.path, scan) for scan in scans]
            stacked = _with_stacks([sized.get(scan.path, scan) for scan in stacked])
        has_stack = any(scan.images for scan in stacked)
        return FoundScans(
            tuple(scans), tuple(faults), tuple(stacked) if has_stack else (), has_stack or is_choice
        )


def _looked_into(scans: Sequence[ScanFile], progress: Progress) -> dict[Path, ScanFile]:
    """Return pictures that were named by themselves, with their sizes; what cannot be read is told when it is."""
    from napari_dinoad.images.scan_file import inspect_file

    named = dict.fromkeys(scan.path for scan in scans if not scan.shape and format_of(scan.path) == "picture")
    sized = {}
    for done, path in enumerate(named):
        report(progress, "Looking for scans", done, len(named))
        with suppress(ScanReadError):
            sized[path] = inspect_file(path, ReadSettings(), all_frames=True)
    return sized


def _with_stacks(scans: Sequence[ScanFile]) -> list[ScanFile]:
    """Return scans, those that may be slices of one stacked, behind the others."""
    from napari_dinoad.images.image_stacks import may_be_slice, stacked

    slices: dict[Path, list[ScanFile]] = {}
    for scan in scans:
        if may_be_slice(scan):
            slices.setdefault(scan.path.parent, []).append(scan)
    stacks = [stack for folder, images in slices.items() for stack in stacked(images, folder)]
    return [scan for scan in scans if not may_be_slice(scan)] + stacks


@dataclass(frozen=True)
class RefusedScans:
    """The scans of several that could not be read, and why."""

    scans: tuple[ScanFile, ...]
    faults: tuple[str, ...]


@dataclass(frozen=True)
class ReadJob:
    """Reads scans as layer data tuples; one that cannot be read holds up none of the others."""

    scans: tuple[ScanFile, ...]
    resample: bool = False

    def __call__(self, channel: JobChannel) -> RefusedScans:
        """Deliver the layer data tuples of each scan as it is read; return those that could not be read."""
        from napari_dinoad.gui.reader import read_layers

        refused: list[ScanFile] = []
        faults: list[str] = []
        for i, scan in enumerate(self.scans):
            channel.progress(ProgressEvent("Reading", i, len(self.scans)))
            try:
                layers = read_layers(scan, resample=self.resample)
            except DinoadError as error:
                refused.append(scan)
                faults.append(str(error))
            else:
                channel.deliver(layers)
        return RefusedScans(tuple(refused), tuple(faults))
