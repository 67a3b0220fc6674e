"""What other systems and users meet: files that may not be opened, and, as on Windows, not removed while open."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest

_OPEN = Path("/proc/self/fd")
_MAPPED = Path("/proc/self/maps")


def forbid_removing_open_files(monkeypatch):
    """Let this process neither remove nor replace a file that it has open or mapped, until the test ends."""
    if not _MAPPED.exists():
        pytest.skip("this system does not list which files a process has open")
    own = {name: getattr(os, name) for name in ("unlink", "replace")}

    def unlink(path, *, dir_fd=None):
        _refuse(path if dir_fd is None else Path((_OPEN / str(dir_fd)).readlink(), path))
        own["unlink"](path, dir_fd=dir_fd)

    def replace(source, target):
        _refuse(source)
        _refuse(target)
        own["replace"](source, target)

    # Nor is a file held open there only to lock it.
    monkeypatch.setattr("napari_dinoad.machine.temporaries._lock", lambda handle: False)
    monkeypatch.setattr(os, "unlink", unlink)
    monkeypatch.setattr(os, "replace", replace)


def refuse_opening(path, monkeypatch):
    """Let `Path.open` refuse one file, as a system does without permission; the tests may run as root."""
    own = Path.open

    def open_(self, *args, **kwargs):
        if self == path:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))
        return own(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", open_)


def hold_as_on_windows(path, monkeypatch):
    """Let another program have a file open, as a spreadsheet does on Windows: nobody writes or replaces it."""
    own = os.replace

    def replace(source, target):
        if path in (Path(source), Path(target)):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        own(source, target)

    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(os, "replace", replace)
    refuse_opening(path, monkeypatch)


def _refuse(path):
    if os.path.lexists(path) and (_is_open(path) or _is_mapped(path)):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


def _is_open(path):
    wanted = os.lstat(path)
    for handle in list(_OPEN.iterdir()):
        try:
            if os.path.samestat(os.fstat(int(handle.name)), wanted):
                return True
        except OSError:
            continue  # The handle by which the list itself was read.
    return False


def _is_mapped(path):
    real = os.path.realpath(path)
    return any(line.endswith(real) for line in _MAPPED.read_text(errors="replace").splitlines())
