"""Files that get their final names together, after all of them were forced to the disk side by side."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING

from napari_dinoad.errors import DinoadError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["FileSet", "current_file_set", "written_together"]

_MOST_AT_ONCE = 16
"""So many files are forced to the disk at a time."""


class FileSet:
    """Files that are written, and wait for their names.

    A rename may reach the disk before what is in the file: without forcing the content there first, a power cut
    may leave an empty file under the final name, on ext4, XFS and NTFS alike. Forcing one file there says nothing of
    the others. Each waits for the disk's journal; those that wait at a time share an entry of it.
    """

    def __init__(self) -> None:
        self._forcing: list[Callable[[], None]] = []
        self._checking: list[Callable[[], None]] = []
        self._naming: list[Callable[[], None]] = []
        self._paths: list[Path] = []
        self._temporaries = ExitStack()

    def take(
        self,
        path: Path,
        force: Callable[[], None],
        check: Callable[[], None],
        give_name: Callable[[], None],
        temporary: ExitStack,
    ) -> None:
        """Take in a file.

        Parameters
        ----------
        path : Path
        force : callable
            Forces it to the disk.
        check : callable
            Raises where an earlier file of its name cannot be replaced.
        give_name : callable
        temporary : ExitStack
            Removes it if it gets no name.
        """
        self._temporaries.push(temporary)
        self._paths.append(path)
        self._forcing.append(force)
        self._checking.append(check)
        self._naming.append(give_name)

    def close_unfinished(self) -> None:
        """Close a set of which files are missing: where some would replace earlier ones, no file gets its name.

        What a scan had before, of another model perhaps, and what it has now are not to lie side by side.
        """
        if any(path.exists() for path in self._paths):
            self._temporaries.close()
        else:
            self.close()

    def close(self) -> None:
        """Force all files to the disk, and then give them their names, in the order in which they came.

        Where another program holds an earlier file open, none gets its name: all earlier ones stay.

        Raises
        ------
        DinoadError
            If one of them cannot be written; those that have no name yet get none, and are removed.
        """
        with self._temporaries:
            if len(self._forcing) > 1:
                with ThreadPoolExecutor(min(len(self._forcing), _MOST_AT_ONCE)) as pool:
                    list(pool.map(lambda force: force(), self._forcing))
            else:
                for force in self._forcing:
                    force()
            for step in (*self._checking, *self._naming):
                step()


_OPEN: ContextVar[FileSet | None] = ContextVar("_OPEN", default=None)


def current_file_set() -> FileSet | None:
    """Return the set that files written now belong to; None where each gets its name at once."""
    return _OPEN.get()


@contextmanager
def written_together() -> Iterator[None]:
    """Let files that are written in the block get their names at its end, all forced to the disk at once.

    Those that are whole when the block raises get theirs too, unless one of them would replace an earlier file: all
    earlier ones stay then. Files that other threads write do not belong to it.

    Raises
    ------
    DinoadError
        If a file cannot be written.
    """
    files = FileSet()
    token = _OPEN.set(files)
    try:
        yield
    except BaseException:
        with suppress(DinoadError, OSError):
            files.close_unfinished()
        raise
    finally:
        _OPEN.reset(token)
    files.close()
