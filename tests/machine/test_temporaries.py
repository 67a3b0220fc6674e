"""Temporary files of killed processes are swept, those of others that still write are not."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time

import pytest

from napari_dinoad.errors import DinoadError
from napari_dinoad.machine.atomic_files import atomic_path, write_text
from napari_dinoad.machine.temporaries import remove_abandoned, temporary_file, temporary_folder
from patience import PATIENCE_S

posix = pytest.mark.skipif(sys.platform == "win32", reason="locks of POSIX")

_WRITING = """
import sys, time
from pathlib import Path
from napari_dinoad.machine.atomic_files import atomic_path
from napari_dinoad.machine.temporaries import temporary_folder
here = Path(sys.argv[1])
with atomic_path(here / "a.nii.gz") as file, temporary_folder(here) as folder:
    file.write_bytes(b"half"); (folder / "0001.dcm").write_bytes(b"of a patient")
    print("half", flush=True); time.sleep(600)
"""


@posix
def test_what_a_killed_process_left_is_swept_and_what_another_is_writing_is_not(tmp_path):
    command = [sys.executable, "-c", _WRITING, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout.readline() == b"half\n"
            written = sorted(tmp_path.rglob("*"))
            assert len(written) == 3
            remove_abandoned(tmp_path)
            assert sorted(tmp_path.rglob("*")) == written
        finally:
            child.kill()
        assert child.wait(PATIENCE_S) == -signal.SIGKILL
    remove_abandoned(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_earlier_versions_left_is_swept_once_it_is_old_and_nothing_else(tmp_path):
    left = [tmp_path / name for name in (".dinoad-0123456789-ab_cd012.nii.gz", ".dinoad-0123abc_")]
    left[0].write_bytes(b"half")
    left[1].mkdir()
    (left[1] / "0001.dcm").write_bytes(b"half")
    kept = [tmp_path / name for name in (".dinoad-demo", ".dinoad-notes.txt", "a.nii.gz", ".dinoad")]
    (tmp_path / "target").write_text("")
    if sys.platform != "win32":
        kept.append(tmp_path / ".dinoad-0123456789abcdef.csv")
        kept[-1].symlink_to("target")
    for path in kept[:4]:
        path.write_bytes(b"")
    for path in (*left, *kept):
        os.utime(path, (0, 0))
    remove_abandoned(tmp_path)
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in kept)
    remove_abandoned(tmp_path / "none")


def test_without_locks_only_what_is_old_is_swept(tmp_path, monkeypatch):
    """As on Windows, and on network disks that have none."""
    monkeypatch.setattr("napari_dinoad.machine.temporaries._lock", lambda handle: False)
    new, old = tmp_path / ".dinoad-0123456789abcdef.csv", tmp_path / ".dinoad-0123456789abcde0.csv"
    for path, days in ((new, 0.9), (old, 1.1)):
        path.write_text("")
        then = time.time() - days * 86_400
        os.utime(path, (then, then))
    remove_abandoned(tmp_path)
    assert list(tmp_path.iterdir()) == [new]


def test_a_file_that_is_being_written_takes_no_lock_where_there_is_none(tmp_path, monkeypatch):
    """Some network disks refuse to lock."""
    if sys.platform != "win32":
        refusing = OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
        monkeypatch.setattr("fcntl.flock", lambda *_: (_ for _ in ()).throw(refusing))
    write_text(tmp_path / "a.csv", "whole")
    assert (tmp_path / "a.csv").read_text() == "whole"
    with temporary_folder(tmp_path) as folder:
        assert folder.is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_ctrl_c_as_soon_as_the_file_is_there_leaves_nothing(tmp_path, monkeypatch):
    own = os.open

    def interrupted(path, *args, **options):
        os.close(own(path, *args, **options))
        raise KeyboardInterrupt

    monkeypatch.setattr("os.open", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_text(tmp_path / "a.csv", "new")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("has_locks", [True, False])
def test_ctrl_c_as_soon_as_the_file_is_closed_leaves_nothing_and_is_heard(tmp_path, monkeypatch, has_locks):
    """Without locks, as on Windows, it was closed once more: an error of that was told, and the file was left."""
    own, came = os.close, []

    def close(handle):
        own(handle)
        came.append(handle)
        raise KeyboardInterrupt

    monkeypatch.setattr("napari_dinoad.machine.temporaries._lock", lambda handle: has_locks)
    monkeypatch.setattr(os, "close", close)
    with pytest.raises(KeyboardInterrupt), temporary_file(tmp_path, ".json"):
        pass
    assert len(came) == 1
    assert not list(tmp_path.iterdir())


def test_a_result_that_is_whole_stands_where_the_disk_takes_back_nothing(tmp_path, monkeypatch):
    def refused(*_, **__):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("os.unlink", refused)
    write_text(tmp_path / "a.csv", "whole")
    assert (tmp_path / "a.csv").read_text() == "whole"
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(DinoadError, match="No space left"), atomic_path(tmp_path / "a.csv"):
        raise full


@posix
def test_new_files_have_the_rights_that_the_system_gives_and_need_no_chmod(tmp_path, monkeypatch):
    """Disks that are mounted as another user's (SMB, FAT) refuse it."""

    def refused(*_, **__):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr("os.chmod", refused)
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a.csv", "new")
        # Asked for in this way, the rights of files that another thread makes meanwhile would be anybody's.
        monkeypatch.setattr("os.umask", refused)
        write_text(tmp_path / "b.csv", "new")
    finally:
        monkeypatch.undo()
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in sorted(tmp_path.iterdir())] == [0o640, 0o640]
