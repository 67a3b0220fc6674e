"""What a fit leaves on disk while it runs, so that it can go on after a power cut.

    <root>/embeddings/<key>.safetensors   one file a scan, shared by all fits in this root
    <root>/fits/<fit key>/version         of napari-dinoad that began the fit; no other one goes on with it
    <root>/fits/<fit key>/uses            keys of the embeddings that this fit needs, one a line
    <root>/fits/<fit key>/states/         scorers as they were after their last epoch
    <root>/fits/<fit key>/held_out/       what these gave to the scans that they have not seen
    <root>/fits/<fit key>/temporary/      files being written; swept when the fit starts again
    <root>/fits/<fit key>/done            there once the fit has ended well, while its folder is being removed

Names are hashes: no file name, path or patient is in them. A fit that ends well removes its own folder, and the
embeddings that no other fit lists.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_dinoad import __version__
from napari_dinoad.errors import DinoadError
from napari_dinoad.fit_estimate import cache_root
from napari_dinoad.machine.atomic_files import require_folder, write_text
from napari_dinoad.machine.disk_room import DISK_FULL, bytes_in_words, room_in_words
from napari_dinoad.machine.file_lock import locked
from napari_dinoad.settings import MODEL_FORMAT_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_dinoad.settings import CacheSettings

__all__ = ["VERSION", "WHERE_ELSE", "WorkFolder", "hash_of", "work_folder"]

logger = logging.getLogger(__name__)

CACHE_VERSION = 11
"""Of the layout of what a fit keeps and of what goes into it; raised by what changes it between two releases."""

VERSION = f"{__version__}, cache {CACHE_VERSION}, models {MODEL_FORMAT_VERSION}"
"""What another version of the package has kept is not taken up: it may have read or computed it in another way."""

ABANDONED_DAYS = 30
"""What an interrupted fit left in the user's cache folder is removed when nobody came back to it for so long; in a
folder that was named only what one of another version left."""

_SECONDS_A_DAY = 86_400

_KEY = re.compile("[0-9a-f]{64}")
"""See `hash_of`."""


def hash_of(document: Any) -> str:
    """Return a SHA-256 (hex) of JSON values; the same for equal values."""
    text = json.dumps(document, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


@contextmanager
def work_folder(fit_key: str, cache: CacheSettings | None) -> Iterator[WorkFolder]:
    """Give the work folder of a fit and hold its lock.

    When the block ends well, the folder is removed (and with ``cache.keep`` only the states in it); when it raises,
    everything stays for the next run.

    Parameters
    ----------
    fit_key : str
        Hash of what is fitted on what; the same command has the same.
    cache : CacheSettings, optional
        None: a temporary folder, removed whatever happens.

    Raises
    ------
    DinoadError
        If the folder cannot be written, or the same fit is running elsewhere.
    """
    with ExitStack() as stack:
        if cache is None:
            # Of a fit that was stopped, embeddings may still be mapped: Windows does not remove them then.
            temporary = tempfile.TemporaryDirectory(prefix="dinoad-", ignore_cleanup_errors=True)
            root = Path(stack.enter_context(temporary))
        else:
            root = cache_root(cache)
        work = WorkFolder(root, fit_key)
        work.prepare()
        lock = stack.enter_context(locked(work.lock_file, wait=False))
        if cache is not None:
            _remove_abandoned(root, only_of_others=cache.folder is not None)
        work.sweep(resume=cache is None or cache.resume)
        yield work
        if cache is not None and cache.keep:
            work.forget_states()
        else:
            work.mark_done()
            work.remove()
        lock.remove()


class WorkFolder:
    """The folder of one fit within a root; see the module.

    Parameters
    ----------
    root : Path
    fit_key : str
    """

    def __init__(self, root: Path, fit_key: str) -> None:
        self.root = root
        self.fit_key = fit_key
        self._own = root / "fits" / fit_key
        self.embeddings = root / "embeddings"
        self.states = self._own / "states"
        self.held_out = self._own / "held_out"
        self.temporary = self._own / "temporary"
        self._uses = self._own / "uses"
        self._version = self._own / "version"
        self._done = self._own / "done"
        self._known: set[str] | None = None

    @property
    def lock_file(self) -> Path:
        """Held while the fit runs."""
        return self._own.with_suffix(".lock")

    @property
    def _root_lock(self) -> Path:
        return self.root / "root.lock"

    def prepare(self) -> None:
        """Make the folders."""
        with _saying_where_else():
            for folder in (self.embeddings, self.states, self.held_out, self.temporary):
                require_folder(folder)

    @property
    def is_of_other_version(self) -> bool:
        """Whether another version of the package has left something here."""
        try:
            return self._version.read_text(encoding="utf-8") != VERSION
        except FileNotFoundError:
            return bool(_lines(self._uses))
        except (OSError, UnicodeDecodeError):
            return True

    def sweep(self, *, resume: bool) -> None:
        """Remove files that a killed run was writing; of another version, or without ``resume``, all that it left."""
        shutil.rmtree(self.temporary, ignore_errors=True)
        # What a fit of the same key has left is of use to this one, which is not done.
        self._done.unlink(missing_ok=True)
        is_of_other = self.is_of_other_version
        if is_of_other and resume:
            logger.warning(
                "Another version of napari-dinoad has begun this fit, or kept its embeddings. This one (%s) begins "
                "anew.",
                __version__,
            )
        if is_of_other or not resume:
            self.remove()
        self.prepare()
        with _saying_where_else():
            write_text(self._version, VERSION)

    @property
    def is_done(self) -> bool:
        """Whether the fit has ended well: nobody comes back to what is left."""
        return self._done.exists()

    def mark_done(self) -> None:
        """Let what is left be removed by any other fit, should this process be killed while it removes it."""
        with suppress(OSError):
            self._done.touch()

    def size_bytes(self) -> int:
        """Return how much lies here, with embeddings that other fits may use too."""
        embeddings = [self.embeddings / f"{key}.safetensors" for key in _lines(self._uses)]
        return sum(path.stat().st_size for path in (*self._own.rglob("*"), *embeddings) if path.is_file())

    def claim(self, key: str) -> Path:
        """Note that this fit needs these embeddings, and return their path (there may be none yet)."""
        if self._known is None:
            self._known = _lines(self._uses)
        if key not in self._known:
            with locked(self._root_lock, wait=True):
                _append_line(self._uses, key)
            self._known.add(key)
        return self.embeddings / f"{key}.safetensors"

    def forget_states(self) -> None:
        """Remove all but the list of embeddings."""
        for folder in (self.states, self.held_out, self.temporary):
            shutil.rmtree(folder, ignore_errors=True)

    def remove(self) -> None:
        """Remove this fit's folder, the embeddings that no other fit lists, and folders that are then empty."""
        with locked(self._root_lock, wait=True) as lock:
            needed: set[str] = set()
            for other in self._own.parent.iterdir():
                if other.is_dir() and other != self._own:
                    needed |= _lines(other / "uses")
            # Before the list of them: a process that is killed here must leave none that nobody lists.
            for key in _lines(self._uses) - needed:
                (self.embeddings / f"{key}.safetensors").unlink(missing_ok=True)
            shutil.rmtree(self._own, ignore_errors=True)
            self._known = None
            if not any(path.is_dir() for path in self._own.parent.iterdir()):
                shutil.rmtree(self.embeddings, ignore_errors=True)
                lock.remove()


WHERE_ELSE = (
    "A fit keeps its work there: name another place with --cache or the environment variable DINOAD_CACHE."
)
"""What to do where that place cannot be written."""


@contextmanager
def _saying_where_else() -> Iterator[None]:
    """Add to what is told of a place that cannot be written how to name another one."""
    try:
        yield
    except DinoadError as error:
        raise DinoadError(f"{error} {WHERE_ELSE}") from error


def _lines(path: Path) -> set[str]:
    try:
        # After a power cut the last line may be incomplete, or hold anything.
        text = path.read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return set()
    except OSError as error:
        raise DinoadError(
            f"Cannot read {path}: {error.strerror or error}. Remove it, or choose another folder (--cache)."
        ) from error
    return {line for line in text.split() if _KEY.fullmatch(line)}


def _append_line(path: Path, line: str) -> None:
    try:
        with path.open("a", encoding="ascii") as stream:
            stream.write(f"\n{line}\n")
    except OSError as error:
        room = f" {room_in_words(error, path.parent)}" if error.errno in DISK_FULL else ""
        raise DinoadError(
            f"Cannot write {path}: {error.strerror or error}. Free disk space or choose another folder "
            f"(--cache).{room}"
        ) from error


def _remove_abandoned(root: Path, *, only_of_others: bool) -> None:
    """Remove what fits left that nobody came back to, and tell what other versions have left that is not as old."""
    left_bytes = 0
    for folder in sorted(path for path in (root / "fits").iterdir() if path.is_dir()):
        left = WorkFolder(root, folder.name)
        is_of_other = left.is_of_other_version
        is_old = time.time() - _last_change(folder) > ABANDONED_DAYS * _SECONDS_A_DAY
        is_done = left.is_done
        if not is_done and not is_of_other and (only_of_others or not is_old):
            continue
        try:
            with locked(left.lock_file, wait=False) as lock:
                if is_old or is_done:
                    left.remove()
                else:
                    left_bytes += left.size_bytes()
                lock.remove()
        except DinoadError as error:
            logger.info("What lies in the folder of another fit stays: %s", error)
    if left_bytes and only_of_others:
        logger.warning(
            "%s: fits of other versions of napari-dinoad have left %s there, which this one does not use. It is "
            "removed when it is %d days old, or by removing the folder.",
            root,
            bytes_in_words(left_bytes),
            ABANDONED_DAYS,
        )


def _last_change(folder: Path) -> float:
    times = [time.time()]
    # A fit that is running makes and removes files meanwhile.
    with suppress(FileNotFoundError):
        times = [path.stat().st_mtime for path in (folder, *folder.rglob("*"))]
    return max(times)
