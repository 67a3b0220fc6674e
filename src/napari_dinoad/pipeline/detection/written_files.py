"""Files of scans' results: how they were written, and which of an earlier result are removed."""

from __future__ import annotations

from contextlib import suppress
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from napari_dinoad.errors import FileInUseError
from napari_dinoad.machine.atomic_files import CLOSE_IT
from napari_dinoad.machine.files import files_below
from napari_dinoad.maps.outputs import ENDINGS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

__all__ = ["Listed", "WrittenFiles"]

Listed = list[list[Any]]
"""Of each file its name below the folder of the results, its size in bytes and its time in ns."""


class WrittenFiles:
    """What was written of scans into a folder.

    Parameters
    ----------
    folder : Path
        That of the results.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def listed(self, files: Mapping[str, str]) -> Listed:
        """Return name, size and time of each file; those of folders one by one.

        Raises
        ------
        OSError
            If one is missing.
        """
        paths = [self._folder / file for file in files.values()]
        every = [file for path in paths for file in (files_below(path) if path.is_dir() else [path])]
        told = [(path.relative_to(self._folder).as_posix(), path.stat()) for path in every]
        return [[name, found.st_size, found.st_mtime_ns] for name, found in told]

    def of_before(
        self, stem: str, kept: Mapping[str, Any], found: str, written: Listed
    ) -> tuple[Listed, list[str]]:
        """Return what an earlier run wrote of a scan and holds still, and what was removed since it does not.

        Parameters
        ----------
        stem : str
            Begins the names of the scan's files.
        kept : mapping
            Of the earlier run: what it ``found``, and what it had ``written`` and left ``beside`` that.
        found : str
            What was found now.
        written : list
            What was written now.

        Returns
        -------
        beside : list
            Files of the earlier run that were found so too, and are as they were written.
        removed : list of str
            Names of the files and folders that were removed. What was touched since stays.

        Raises
        ------
        FileInUseError
            If one cannot be removed; the others are.
        """
        anew = {name for name, _, _ in written}
        try:
            earlier = [
                [name, size, time_ns]
                for name, size, time_ns in (*kept.get("written", ()), *kept.get("beside", ()))
                if _is_output(name, stem) and name not in anew and self._is_as_written(name, size, time_ns)
            ]
        except (TypeError, ValueError):
            # It is damaged.
            return [], []
        if kept.get("found") == found:
            return earlier, []
        return [], self._removed([name for name, _, _ in earlier])

    def others(self, stem: str, *known: Listed) -> list[str]:
        """Return the names of outputs of a scan that are there, and that are none of the ``known`` ones."""
        tops = {PurePosixPath(name).parts[0] for listed in known for name, _, _ in listed}
        return [name for name in _outputs(stem) if name not in tops and (self._folder / name).exists()]

    def _is_as_written(self, name: str, size: int, time_ns: int) -> bool:
        path = self._folder / name
        try:
            if path.parent != self._folder and path.parent.is_symlink():
                # It lies elsewhere now.
                return False
            there = path.lstat()
        except OSError:
            return False
        return (there.st_size, there.st_mtime_ns) == (size, time_ns)

    def _removed(self, names: Sequence[str]) -> list[str]:
        refused: list[tuple[Path, OSError]] = []
        for path in (self._folder / name for name in names):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                refused.append((path, error))
        tops = list(dict.fromkeys(PurePosixPath(name).parts[0] for name in names))
        for folder in _folders(names):
            # What else lies there stays.
            with suppress(OSError):
                (self._folder / folder).rmdir()
        if refused:
            path, fault = refused[0]
            raise FileInUseError(
                f"Cannot remove {path}, which is of an earlier result: {fault.strerror or fault}. {CLOSE_IT}"
            ) from fault
        return tops


def _folders(names: Collection[str]) -> set[str]:
    return {str(PurePosixPath(name).parent) for name in names} - {"."}


def _outputs(stem: str) -> list[str]:
    return [stem + ending for of_output in ENDINGS.values() for ending in of_output]


def _is_output(name: str, stem: str) -> bool:
    """Whether a name, from a file that anybody may have written, is that of an output of the scan."""
    first, *below = PurePosixPath(name).parts or ("",)
    return first in _outputs(stem) and len(below) <= 1 and not any(map(_leads_on, below))


def _leads_on(name: str) -> bool:
    """Whether a name within a folder may be that of a place outside of it, on any system."""
    return name == ".." or any(sign in name for sign in "\\:")
