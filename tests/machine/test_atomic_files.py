from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from napari_dinoad.errors import DinoadError, FileInUseError
from napari_dinoad.machine.atomic_files import (
    atomic_path,
    folder_to_fill,
    require_folder,
    require_writable,
    telling_of_writing,
    write_json,
    write_text,
)
from patience import PATIENCE_S
from refused_files import forbid_removing_open_files, hold_as_on_windows, refuse_opening


def test_the_final_name_appears_only_when_all_went_well(tmp_path):
    final = tmp_path / "a.nii.gz"
    with atomic_path(final) as temporary:
        assert temporary.name.endswith(".nii.gz")
        temporary.write_text("new")
        assert not final.exists()
    assert final.read_text() == "new"
    assert list(tmp_path.iterdir()) == [final]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    final = tmp_path / "a.json"
    final.write_text("old")
    with pytest.raises(KeyError), atomic_path(final) as temporary:
        temporary.write_text("half")
        raise KeyError
    assert final.read_text() == "old"
    assert list(tmp_path.iterdir()) == [final]


def test_a_file_that_another_program_has_open_is_told(tmp_path, monkeypatch):
    final = tmp_path / "regions.csv"
    final.write_text("old")
    forbid_removing_open_files(monkeypatch)
    with (
        final.open(),
        pytest.raises(DinoadError, match=r"regions\.csv: .* another program has the file open"),
        atomic_path(final) as temporary,
    ):
        temporary.write_text("new")
    assert final.read_text() == "old"
    assert list(tmp_path.iterdir()) == [final]


def test_a_folder_that_may_not_be_looked_into_is_told(tmp_path, monkeypatch):
    """Whether a file is there cannot be asked then."""

    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "stat", refuse)
    with (
        pytest.raises(DinoadError, match=r"Cannot write .*choose another folder"),
        telling_of_writing(tmp_path / "a.csv"),
    ):
        refuse()


def test_why_writing_failed_is_told_where_the_open_temporary_stays(tmp_path, monkeypatch):
    forbid_removing_open_files(monkeypatch)
    left_open = []
    with pytest.raises(DinoadError, match="No space left"), atomic_path(tmp_path / "a.json") as temporary:
        left_open.append(temporary.open("w"))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    left_open[0].close()


@pytest.mark.parametrize(
    ("number", "n_bytes", "told"),
    [
        (errno.ENOSPC, None, "has 3 MB free."),
        (errno.ENOSPC, 20_000_000, "has 3 MB free, and 20 MB are needed."),
        # What other users may still fill is no room for this one.
        (errno.EDQUOT, 20_000_000, "is used up, and 20 MB are needed."),
    ],
)
def test_of_a_full_disk_it_is_told_which_has_how_much_room(tmp_path, monkeypatch, number, n_bytes, told):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=1_000_000))
    with (
        pytest.raises(DinoadError, match=r"Free disk space or choose another folder\. ") as caught,
        atomic_path(tmp_path / "a.json", n_bytes=n_bytes) as temporary,
    ):
        # Goes again, so it is room.
        temporary.write_bytes(bytes(2_000_000))
        raise OSError(number, os.strerror(number))
    assert str(caught.value).endswith(told)
    assert f"disk of {tmp_path} " in str(caught.value)


def test_too_many_open_files_are_no_fault_of_the_folder(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr("os.open", full)
    with pytest.raises(DinoadError, match=r"Cannot write .*a\.json: .* raise the limit of open files"):
        write_json(tmp_path / "a.json", {})


def test_a_missing_folder_is_told(tmp_path):
    with pytest.raises(DinoadError, match="Cannot write"):
        write_json(tmp_path / "none" / "a.json", {})


told_later_on_windows = pytest.mark.skipif(sys.platform == "win32", reason="told when it is written there")


@pytest.mark.parametrize(
    "where",
    [
        "none/a.json",
        "file/a.json",
        "folder",
        "/sys/a.json",
        pytest.param(f"{'a' * 300}.json", marks=told_later_on_windows),
    ],
)
def test_a_place_that_takes_no_file_is_told_before_anything_is_written(tmp_path, where):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(DinoadError, match="Cannot write"):
        require_writable(tmp_path / where)


def test_asking_whether_a_file_can_be_written_changes_nothing(tmp_path):
    final = tmp_path / "a.json"
    require_writable(final)
    assert not list(tmp_path.iterdir())
    final.write_text("old")
    require_writable(final)
    assert final.read_text() == "old"


def test_a_file_that_another_program_holds_is_told_before_the_work(tmp_path, monkeypatch):
    """On Windows: a fit of hours ended with it."""
    final = tmp_path / "m.dinoad"
    final.write_text("old")
    hold_as_on_windows(final, monkeypatch)
    with pytest.raises(FileInUseError, match=r"m\.dinoad: .* another program has the file open"):
        require_writable(final)
    require_writable(tmp_path / "other.dinoad")


def test_a_file_that_windows_has_as_read_only_is_told_before_the_work(tmp_path, monkeypatch):
    final = tmp_path / "m.dinoad"
    final.write_text("old")
    monkeypatch.setattr(sys, "platform", "win32")
    refuse_opening(final, monkeypatch)
    with pytest.raises(FileInUseError, match=r"Cannot write .*m\.dinoad"):
        require_writable(final)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes that are files")
def test_a_device_is_told_before_the_work(tmp_path):
    """Windows has some by names such as aux.dinoad, in any folder."""
    os.mkfifo(tmp_path / "m.dinoad")
    with pytest.raises(DinoadError, match=r"Cannot write .*m\.dinoad: it is a pipe, a socket or a device"):
        require_writable(tmp_path / "m.dinoad")


def test_a_folder_that_windows_refuses_is_told_at_once(tmp_path, monkeypatch):
    """Python's `tempfile` takes it for another folder of the name that it has chosen, and tries others for ever."""

    class Windows:
        name = "nt"

        def __getattr__(self, name):
            return getattr(os, name)

    def refuse(path, *_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(tempfile, "_os", Windows())
    monkeypatch.setattr(tempfile, "_O_TMPFILE_WORKS", False, raising=False)
    monkeypatch.setattr(tempfile, "TMP_MAX", 50)
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(DinoadError, match=f"Cannot write .*: {os.strerror(errno.EACCES)}"):
        require_writable(tmp_path / "m.dinoad")


def test_a_path_that_is_too_long_for_windows_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(DinoadError, match="Choose a folder that exists"):
        require_writable(tmp_path / "none" / "m.dinoad")
    with pytest.raises(DinoadError, match="Choose a shorter path: Windows takes 260 characters"):
        require_writable(tmp_path / ("a" * 150) / ("b" * 150) / "m.dinoad")


@pytest.mark.skipif(
    sys.platform == "win32" or not Path("/sys").is_dir(),
    reason="a folder that takes no file from anyone, root included",
)
def test_a_folder_that_takes_no_file_is_told(tmp_path):
    assert require_folder(tmp_path / "a" / "b").is_dir()
    with pytest.raises(DinoadError, match="Cannot write into /sys"):
        require_folder(Path("/sys"))


@pytest.mark.parametrize("is_there", [False, True])
@pytest.mark.parametrize("is_written", [False, True])
def test_of_a_folder_to_fill_what_was_made_and_stays_empty_is_removed(tmp_path, is_there, is_written):
    folder = tmp_path / "a" / "b"
    if is_there:
        folder.mkdir(parents=True)
    with pytest.raises(KeyError), folder_to_fill(folder):
        assert folder.is_dir()
        if is_written:
            (folder / "result").touch()
        raise KeyError
    assert folder.is_dir() == (is_there or is_written)
    assert folder.parent.is_dir() == folder.is_dir()


def test_a_folder_to_fill_that_takes_no_file_is_not_left(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(DinoadError, match=r"No space left.*Free disk space"), folder_to_fill(tmp_path / "a"):
        pytest.fail("filled")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_a_virus_scanner_looks_at_gets_its_name_a_little_later(tmp_path, monkeypatch):
    refusals = [PermissionError(errno.EACCES, "Access is denied")] * 3
    replace = Path.replace

    def refused_at_first(path, target):
        if refusals:
            raise refusals.pop()
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", refused_at_first)
    monkeypatch.setattr("napari_dinoad.machine.atomic_files._WAITS_S", (0.0, 0.0))
    path = tmp_path / "a.txt"
    with pytest.raises(DinoadError, match="another program has the file open"):
        write_text(path, "new")
    assert list(tmp_path.iterdir()) == []
    refusals += [PermissionError(errno.EACCES, "Access is denied")] * 2
    write_text(path, "new")
    assert path.read_text(encoding="utf-8") == "new"


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
def test_a_killed_process_leaves_the_old_file_whole(tmp_path, name):
    path = tmp_path / "map.nii.gz"
    path.write_bytes(b"old and whole")
    # It sleeps in short steps: Python 3.14 may heed a signal that comes within print only after the call behind it.
    code = (
        "import signal, sys, time; from pathlib import Path\n"
        "from napari_dinoad.cli.interrupts import listening_for_interrupts\n"
        "from napari_dinoad.machine.atomic_files import atomic_path\n"
        "with listening_for_interrupts(), atomic_path(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_bytes(b'half'); print('half', flush=True)\n"
        "    for _ in range(6000): time.sleep(0.1)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    with child:
        assert child.stdout.readline() == b"half\n"
        child.send_signal(signal.Signals[name])
        assert child.wait(PATIENCE_S) != 0
    assert path.read_bytes() == b"old and whole"
    others = [other.name for other in tmp_path.iterdir() if other != path]
    assert all(name.startswith(".dinoad-") for name in others)
    if name == "SIGTERM":
        assert others == [], "asked to stop, it tidies up"
