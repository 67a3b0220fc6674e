"""Files that get their names together."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from napari_dinoad.errors import DinoadError, FileInUseError
from napari_dinoad.machine.atomic_files import atomic_path, write_text
from napari_dinoad.machine.file_set import written_together
from patience import PATIENCE_S
from refused_files import forbid_removing_open_files

NAMES = ("a.csv", "b.json", "c.html")


@pytest.fixture
def steps(monkeypatch):
    """What is done to files, in order: content forced to the disk, names given."""
    done, fsync, replace = [], os.fsync, Path.replace

    def forced(handle):
        fsync(handle)
        done.append("forced")

    def named(path, target):
        done.append(Path(target).name)
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", forced)
    monkeypatch.setattr(Path, "replace", named)
    return done


def test_names_are_given_when_all_contents_are_on_the_disk(tmp_path, steps):
    with written_together():
        for name in NAMES:
            write_text(tmp_path / name, name)
            assert not (tmp_path / name).exists()
    assert steps == ["forced"] * 3 + list(NAMES)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {name: name for name in NAMES}


def test_contents_are_forced_to_the_disk_at_one_time(tmp_path, monkeypatch):
    """One after the other they would each wait for the disk's journal: here each waits for all others."""
    meeting = threading.Barrier(len(NAMES), timeout=PATIENCE_S)
    monkeypatch.setattr(os, "fsync", lambda _: meeting.wait())
    with written_together():
        for name in NAMES:
            write_text(tmp_path / name, name)
    assert {path.name for path in tmp_path.iterdir()} == set(NAMES)


def test_what_is_whole_when_the_block_fails_gets_its_name(tmp_path, steps):
    with pytest.raises(KeyError), written_together():
        write_text(tmp_path / NAMES[0], "whole")
        with atomic_path(tmp_path / NAMES[1]) as temporary:
            temporary.write_text("half")
            raise KeyError
    assert steps == ["forced", NAMES[0]]
    assert [path.name for path in tmp_path.iterdir()] == [NAMES[0]]


def test_no_earlier_file_is_replaced_when_the_block_fails(tmp_path):
    """The new map of a scan lay beside the earlier report, of another model: which was which, nothing told."""
    (tmp_path / NAMES[1]).write_text("old")
    with pytest.raises(KeyError), written_together():
        write_text(tmp_path / NAMES[0], "new")
        write_text(tmp_path / NAMES[1], "new")
        raise KeyError
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {NAMES[1]: "old"}


@pytest.mark.parametrize("held", NAMES)
def test_no_earlier_file_is_replaced_where_another_program_holds_one(tmp_path, monkeypatch, held):
    """Those before it were, so that files of two results lay side by side."""
    for name in NAMES:
        write_text(tmp_path / name, "earlier")
    forbid_removing_open_files(monkeypatch)
    with (tmp_path / held).open(), pytest.raises(FileInUseError, match=held), written_together():
        for name in NAMES:
            write_text(tmp_path / name, "new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(NAMES, "earlier")


def test_a_disk_that_fails_is_told_by_the_file_and_nothing_gets_its_name(tmp_path, monkeypatch):
    def fail(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / NAMES[1]).write_text("old")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(DinoadError, match=r"Cannot write .*a\.csv: No space left"), written_together():
        for name in NAMES[:2]:
            write_text(tmp_path / name, "new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {NAMES[1]: "old"}


def test_files_of_other_threads_get_their_names_at_once(tmp_path):
    with written_together():
        other = threading.Thread(target=write_text, args=(tmp_path / "other.csv", "x"))
        other.start()
        other.join()
        assert (tmp_path / "other.csv").exists()
    assert (tmp_path / "other.csv").read_text() == "x"
