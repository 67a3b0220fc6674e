"""Writing files so that nothing half-written ever lies under a final name."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_dinoad.errors import DinoadError, FileInUseError
from napari_dinoad.machine.disk_room import DISK_FULL, room_in_words
from napari_dinoad.machine.file_set import current_file_set
from napari_dinoad.machine.temporaries import temporary_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "DICOM_SUFFIXES",
    "IMAGE_SUFFIXES",
    "ITK_SUFFIXES",
    "MAP_ENDING",
    "MASK_ENDINGS",
    "MASK_FOLDERS",
    "MGH_SUFFIXES",
    "MODEL_SUFFIX",
    "NIFTI_SUFFIXES",
    "PICTURE_ENDINGS",
    "SCAN_SUFFIXES",
    "atomic_path",
    "files_below",
    "folder_to_fill",
    "is_special",
    "require_folder",
    "require_readable",
    "require_writable",
    "resolved",
    "safe_stem",
    "sha256_of_file",
    "short_paths",
    "short_stem",
    "stem_of",
    "telling_of_writing",
    "version_of",
    "write_json",
    "write_text",
]

NIFTI_SUFFIXES = (".nii.gz", ".nii")
MGH_SUFFIXES = (".mgz", ".mgh")
ITK_SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")
DICOM_SUFFIXES = (".dcm", ".ima")
MODEL_SUFFIX = ".dinoad"
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
SCAN_SUFFIXES = (*NIFTI_SUFFIXES, *MGH_SUFFIXES, *ITK_SUFFIXES, *DICOM_SUFFIXES, *IMAGE_SUFFIXES)
"""Endings that the readers know, longest first. DICOM is known by its content, whatever its name."""

MASK_ENDINGS = ("_by_hand_mask", "_anomaly_mask", "_mask", "-mask", "_label", "_seg", "-seg", "_truth", "_gt")
"""What names of masks have behind the name of their scan, longest first; some have nothing."""

MASK_FOLDERS = frozenset(
    {
        "label", "labels", "labelstr", "labelsts", "mask", "masks", "anomaly_mask", "anomaly_masks", "ground_truth",
        "gt", "truth", "truths", "seg", "segmentation", "segmentations",
    }
)  # fmt: skip
"""What folders of masks are called, in small letters; they have the names of the scans that lie in another folder."""

MAP_ENDING = "_anomaly"
PICTURE_ENDINGS = ("_heatmap", "_picture")
"""What names of the map that scoring writes, and of what is drawn of it, have behind the name of their scan."""


def stem_of(path: Path) -> str:
    """Return the file name without its scan ending (``scan.nii.gz`` → ``scan``)."""
    name = path.name
    for suffix in SCAN_SUFFIXES:
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    # DICOM files are often named like a UID: what follows the last dot is no ending then.
    return name if path.suffix[1:].isdigit() else path.stem


def short_paths(paths: Sequence[Path]) -> list[str]:
    """Return the paths below the innermost folder that holds them all."""
    parents = {path.parent for path in paths}
    if len(parents) == 1:
        return [path.name for path in paths]
    # Nothing is shared by those on different drives of Windows.
    n_shared = len(_common_parts([parent.parts for parent in parents]))
    return [str(type(path)(*path.parts[n_shared:])) for path in paths]


def _common_parts(all_parts: Sequence[tuple[str, ...]]) -> list[str]:
    common = []
    for level in zip(*all_parts, strict=False):
        if len(set(level)) > 1:
            break
        common.append(level[0])
    return common


def files_below(folder: Path) -> list[Path]:
    """Return the files in a folder and its subfolders, sorted; hidden ones, and what may not be looked at, are not.

    Links to files are followed, links to folders are not.
    """
    found, waiting = [], [folder]
    while waiting:
        with suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                with suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(Path(entry))
                    elif entry.is_file():
                        found.append(Path(entry))
    return sorted(found)


def resolved(path: Path) -> Path:
    """Return where a path leads; where links lead in a circle, as far as they can be followed.

    Of those `Path.resolve` makes a RuntimeError before Python 3.13.
    """
    return Path(os.path.realpath(path))


def is_special(path: Path) -> bool:
    """Whether it is a pipe, a socket or a device: opening one may wait for ever, and reading it find no end."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


_RESERVED = frozenset('<>:"/\\|?*')
"""What separates folders, or may not stand in a name, on one system or another."""

_DEVICE = re.compile(r"(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(COM|LPT)[0-9¹²³]) *(\.|$)", re.IGNORECASE)
"""How a name begins that is a device on Windows, in every folder and whatever its ending."""

_LONGEST_STEM = 160
"""Bytes; file systems take 255."""


def short_stem(name: str) -> str:
    """Return a name that leaves room for the endings of outputs; a long one is cut and gets a hash of the whole."""
    content = os.fsencode(name)
    if len(content) <= _LONGEST_STEM:
        return name
    cut = content[:_LONGEST_STEM].decode(errors="ignore")
    return f"{cut}_{hashlib.sha256(content).hexdigest()[:8]}"


def safe_stem(name: str) -> str:
    """Return any text as a name that outputs of any system may begin with, and that lies in no other folder.

    Separators, reserved and control characters become ``_``, dots and spaces at both ends go (Windows drops the last
    ones), devices (``CON``, ``NUL.x``) get a ``_``, and what is long is cut as `short_stem` does. A name of which
    nothing is left becomes ``scan``.
    """
    kept = "".join(c if c.isprintable() and c not in _RESERVED else "_" for c in name).strip(". ")
    device = _DEVICE.match(kept)
    if device is not None:
        kept = f"{device[1]}_{kept[device.end(1) :]}"
    return short_stem(kept) or "scan"


@contextmanager
def atomic_path(path: Path, folder: Path | None = None, n_bytes: int | None = None) -> Iterator[Path]:
    """Give a temporary path that takes the name ``path`` when the block ends well.

    The temporary name keeps the ending, because writers choose the format by it. When the block
    raises, the temporary file is removed and an existing ``path`` stays as it was. A killed process leaves it:
    see `napari_dinoad.machine.temporaries.remove_abandoned`. Before the file has its name, what is in it is on the
    disk, so that no power cut leaves an empty one. Within `napari_dinoad.machine.file_set.written_together` it gets
    the name at the end of that block.

    Parameters
    ----------
    path : Path
        The final name.
    folder : Path, optional
        Where the temporary file lies until then, on the same file system; None: beside ``path``.
    n_bytes : int, optional
        How large it will be, where that is known: it is told where the disk is full.
    """
    path = Path(path)
    suffix = path.name[len(stem_of(path)) :]
    with ExitStack() as stack:
        try:
            temporary = stack.enter_context(temporary_file(folder or path.parent, suffix))
        except OSError as error:
            raise _refusal(path, error, folder or path.parent, n_bytes) from error
        with telling_of_writing(path, temporary, n_bytes):
            yield temporary
        files = current_file_set()
        if files is None:
            _force(temporary, path)
            _give_name(temporary, path)
        else:
            files.take(
                path,
                partial(_force, temporary, path),
                partial(_require_replaceable, path),
                partial(_give_name, temporary, path),
                stack.pop_all(),
            )


def _force(temporary: Path, path: Path) -> None:
    """Have what will be the file ``path`` on the disk."""
    with telling_of_writing(path, temporary), temporary.open("rb+") as stream:
        os.fsync(stream.fileno())


_WAITS_S: tuple[float, ...] = (0.05, 0.1, 0.2, 0.4) if sys.platform == "win32" else ()
"""Virus scanners and search indexes of Windows open what was just written, and for that moment it keeps its name."""


def _require_replaceable(path: Path) -> None:
    """Refuse a file that is there and held open by another program; it is given the name that it has."""
    if path.is_file():
        _give_name(path, path)


def _give_name(temporary: Path, path: Path) -> None:
    with telling_of_writing(path):
        for wait_s in _WAITS_S:
            with suppress(PermissionError):
                temporary.replace(path)
                return
            time.sleep(wait_s)
        temporary.replace(path)


@contextmanager
def telling_of_writing(
    path: Path, temporary: Path | None = None, n_bytes: int | None = None
) -> Iterator[None]:
    """Tell a system's error inside the block as a `DinoadError` of writing ``path``, with what to do.

    The block begins where it is known that the folder takes files; of one that is there, permission is denied where
    another program holds it (`FileInUseError`).

    Parameters
    ----------
    path : Path
    temporary : Path, optional
        What is written until it is whole, and goes where it cannot be.
    n_bytes : int, optional
        See `atomic_path`.
    """
    try:
        yield
    except OSError as error:
        told = error
        # Pydicom raises them anew, without the number by which one knows what is wrong.
        while told.errno is None and isinstance(told.__cause__, OSError):
            told = told.__cause__
        if isinstance(told, PermissionError):
            kind = FileInUseError if path.is_file() else DinoadError
            raise kind(
                f"Cannot write {path}: {told.strerror or told}. If another program has the file open, close it "
                "there; else choose another folder."
            ) from error
        raise _refusal(path, told, path.parent, n_bytes, temporary) from error


def require_writable(path: Path) -> None:
    """Refuse a file that could not be written, before the work whose result it is to hold.

    Raises
    ------
    DinoadError
        If its folder does not exist or takes no file, or it is a folder itself.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        _try_writing(path.parent)
    except OSError as error:
        raise _refusal(path, error, path.parent) from error


def _try_writing(folder: Path) -> None:
    # A real file: permissions tell neither of read-only disks nor of network shares.
    with tempfile.TemporaryFile(dir=folder):
        pass


def _refusal(
    what: Path | str, error: OSError, folder: Path, n_bytes: int | None = None, temporary: Path | None = None
) -> DinoadError:
    """Return what to tell of a file that cannot be written."""
    told = f"Cannot write {what}: {error.strerror or error}. {_advice(error)}"
    if error.errno in DISK_FULL:
        written_bytes = 0
        with suppress(OSError):
            written_bytes = 0 if temporary is None else temporary.stat().st_size
        told += f" {room_in_words(error, folder, n_bytes, written_bytes)}"
    return DinoadError(told)


def _advice(error: OSError) -> str:
    if error.errno == errno.EISDIR:
        return "Name a file in it."
    if error.errno == errno.ENAMETOOLONG:
        return "Choose a shorter name."
    if error.errno in DISK_FULL:
        return "Free disk space or choose another folder."
    if error.errno == errno.EFBIG:
        return "Choose a folder on a disk that takes files of this size (FAT32 ends at 4 GB)."
    return "Choose a folder that exists and is writable."


def require_folder(folder: Path) -> Path:
    """Make ``folder`` (and its parents) if needed and return it; refuse one that cannot be made or takes no file."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DinoadError(
            f"Cannot make the folder {folder}: {error.strerror or error}. Choose another place."
        ) from error
    try:
        _try_writing(folder)
    except OSError as error:
        raise _refusal(f"into {folder}", error, folder) from error
    return folder


@contextmanager
def folder_to_fill(folder: Path) -> Iterator[Path]:
    """Make ``folder`` as `require_folder` does; in the end what was made and is still empty is removed again."""
    made = [path for path in (folder, *folder.parents) if not os.path.exists(path)]  # noqa: PTH110  (never raises)
    try:
        yield require_folder(folder)
    finally:
        with suppress(OSError):
            for path in made:
                path.rmdir()


def require_readable(path: Path, error: type[DinoadError] = DinoadError) -> None:
    """Refuse, with ``error``, a file that may not be opened: libraries tell it as missing, or as damaged."""
    try:
        path.open("rb").close()
    except OSError as refused:
        raise error(
            f"{path}: cannot be opened ({refused.strerror or refused}). Ask for access, or close the program that "
            "holds it."
        ) from refused


def version_of(path: Path) -> object:
    """Return what is another one as soon as a file has been replaced or written; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 (hex) of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    r"""Write ``text`` as UTF-8, atomically; of names that are not UTF-8 the odd bytes as ``\udcfc``."""
    with atomic_path(path, n_bytes=len(text.encode(errors="backslashreplace"))) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, document: Any) -> None:
    """Write a JSON document, atomically; NaN and infinity are refused."""
    write_text(path, json.dumps(document, indent=2, allow_nan=False) + "\n")
