"""Locks on a folder: what of a failure is another's lock, and what is not."""

from __future__ import annotations

import errno
import importlib.util
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from napari_dinoad.errors import DinoadError
from napari_dinoad.machine import file_lock


@pytest.fixture
def on_windows(monkeypatch):
    """Return the module as Windows sees it, and the answers that its C library is to give to locking."""
    answers = []

    def locking(handle, mode, n_bytes):
        if mode != "unlock" and answers:
            number = answers.pop(0)
            raise OSError(number, os.strerror(number))

    c_library = SimpleNamespace(LK_LOCK="wait", LK_NBLCK="try", LK_UNLCK="unlock", locking=locking)
    monkeypatch.setitem(sys.modules, "msvcrt", c_library)
    monkeypatch.setattr(sys, "platform", "win32")
    spec = importlib.util.spec_from_file_location("lock_on_windows", file_lock.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module, answers


def test_on_windows_a_busy_lock_is_waited_for(tmp_path, on_windows):
    """LK_LOCK gives up after ten attempts with EDEADLOCK; LK_NBLCK says EACCES."""
    module, answers = on_windows
    answers += [errno.EDEADLK] * 3
    with module.locked(tmp_path / "lock", wait=True):
        assert not answers
    answers += [errno.EACCES]
    with pytest.raises(DinoadError, match="already running"), module.locked(tmp_path / "lock", wait=False):
        pass


@pytest.mark.parametrize(
    ("wait", "number"),
    [(True, errno.EACCES), (True, errno.EINVAL), (False, errno.EINVAL), (False, errno.EIO)],
)
def test_on_windows_what_is_no_busy_lock_is_told_at_once(tmp_path, on_windows, wait, number):
    module, answers = on_windows
    answers += [number]
    with (
        pytest.raises(DinoadError, match=r"Cannot lock .*lock: .*--cache"),
        module.locked(tmp_path / "lock", wait=wait),
    ):
        pass
    assert not answers


@pytest.mark.skipif(sys.platform == "win32", reason="flock")
@pytest.mark.parametrize("wait", [True, False])
def test_a_disk_without_locks_is_told(tmp_path, monkeypatch, wait):
    """As network shares may be."""

    def refuse(handle, how):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)
    n_open = sum(1 for _ in Path("/proc/self/fd").iterdir()) if sys.platform == "linux" else 0
    with (
        pytest.raises(DinoadError, match=r"Cannot lock .*lock: No locks available"),
        file_lock.locked(tmp_path / "lock", wait=wait),
    ):
        pass
    if sys.platform == "linux":
        assert sum(1 for _ in Path("/proc/self/fd").iterdir()) == n_open
