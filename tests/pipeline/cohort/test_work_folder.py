"""The folder of a fit: shared embeddings, locks, what stays after an end of each kind."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from napari_dinoad.errors import DinoadError
from napari_dinoad.pipeline.cohort import work_folder as module
from napari_dinoad.pipeline.cohort.work_folder import hash_of, work_folder
from napari_dinoad.settings import CacheSettings
from refused_files import forbid_removing_open_files

KEYS = [hash_of(i) for i in range(3)]


class Interrupted(Exception):
    """Stands for whatever ends a fit early."""


def use(folder, fit_key, keys, *, keep=False, resume=True, interrupted=False):
    """Run a fit that needs the embeddings ``keys``, making those that are not there; return how many were."""
    cache = CacheSettings(str(folder), keep=keep, resume=resume)
    found = 0
    try:
        with work_folder(fit_key, cache) as work:
            for key in keys:
                path = work.claim(key)
                found += path.exists()
                path.write_text(key)
            (work.states / "state").write_text("after epoch 1")
            if interrupted:
                (work.temporary / "half").write_text("half")
                raise Interrupted
    except Interrupted:
        pass
    return found


def test_a_fit_that_ends_well_leaves_nothing(tmp_path):
    use(tmp_path, "a", KEYS)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_locks_are_removed_where_open_files_stay(tmp_path, monkeypatch):
    forbid_removing_open_files(monkeypatch)
    use(tmp_path, "a", KEYS[:2], interrupted=True)
    use(tmp_path, "b", KEYS)
    assert use(tmp_path, "a", KEYS[:2]) == 2
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_an_interrupted_fit_finds_what_it_made(tmp_path):
    use(tmp_path, "a", KEYS[:2], interrupted=True)
    assert use(tmp_path, "a", KEYS, interrupted=True) == 2
    with work_folder("a", CacheSettings(str(tmp_path))) as work:
        assert (work.states / "state").read_text() == "after epoch 1"
        assert list(work.temporary.iterdir()) == [], "files half-written by the killed run are swept"


def test_without_resume_it_begins_anew(tmp_path):
    use(tmp_path, "a", KEYS, interrupted=True)
    assert use(tmp_path, "a", KEYS, resume=False) == 0


def test_embeddings_that_another_fit_needs_stay(tmp_path):
    use(tmp_path, "a", KEYS[:2], interrupted=True)
    assert use(tmp_path, "b", KEYS[1:]) == 1
    left = {path.stem for path in (tmp_path / "embeddings").iterdir()}
    assert left == set(KEYS[:2])
    use(tmp_path, "a", KEYS[:2])
    assert not (tmp_path / "embeddings").exists()


def test_kept_embeddings_serve_the_next_fit(tmp_path):
    use(tmp_path, "a", KEYS, keep=True)
    assert use(tmp_path, "b", KEYS) == 3
    assert len(list((tmp_path / "embeddings").iterdir())) == 3
    assert not list(tmp_path.rglob("state"))


def test_the_same_fit_cannot_run_twice_at_once(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from napari_dinoad.machine.file_lock import locked\n"
        "with locked(Path(sys.argv[1]), wait=False): print('held', flush=True); time.sleep(600)"
    )
    (tmp_path / "fits").mkdir()
    lock = tmp_path / "fits" / "a.lock"
    with subprocess.Popen([sys.executable, "-c", code, str(lock)], stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(DinoadError, match="already running"):
            use(tmp_path, "a", KEYS)
        use(tmp_path, "b", KEYS)
        other.kill()
        other.wait()
    use(tmp_path, "a", KEYS)


def test_what_nobody_came_back_to_is_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "cache_root", lambda cache: tmp_path)
    use(tmp_path, "old", KEYS[:1], interrupted=True)
    use(tmp_path, "recent", KEYS[1:], interrupted=True)
    long_ago = time.time() - 86_400 * (module.ABANDONED_DAYS + 1)
    for path in (tmp_path / "fits" / "old", *(tmp_path / "fits" / "old").rglob("*")):
        os.utime(path, (long_ago, long_ago))
    with work_folder("new", CacheSettings()):
        assert not (tmp_path / "fits" / "old").exists()
        assert {path.stem for path in (tmp_path / "embeddings").iterdir()} == set(KEYS[1:])


def use_as_other_version(monkeypatch, *args, **kwargs):
    with monkeypatch.context() as patch:
        patch.setattr(module, "VERSION", "another")
        use(*args, **kwargs)


@pytest.mark.parametrize("how", ["interrupted", "keep"])
def test_what_another_version_has_begun_or_kept_is_begun_anew_and_leaves_nothing(
    tmp_path, monkeypatch, caplog, how
):
    use_as_other_version(monkeypatch, tmp_path, "a", KEYS, **{how: True})
    assert use(tmp_path, "a", KEYS[:1], interrupted=True) == 0
    assert "Another version" in caplog.text
    assert {path.stem for path in (tmp_path / "embeddings").iterdir()} == set(KEYS[:1])
    caplog.clear()
    assert use(tmp_path, "a", KEYS[:1]) == 1
    assert caplog.text == ""
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_versions_before_folders_told_theirs_are_others(tmp_path):
    use(tmp_path, "a", KEYS, interrupted=True)
    (tmp_path / "fits" / "a" / "version").unlink()
    assert use(tmp_path, "a", KEYS) == 0


def test_what_other_versions_left_in_a_named_folder_is_told_and_removed_when_old(
    tmp_path, monkeypatch, caplog
):
    use_as_other_version(monkeypatch, tmp_path, "other", KEYS[:1], keep=True)
    use(tmp_path, "own", KEYS[1:2], keep=True)
    assert "fits of other versions of napari-dinoad have left" in caplog.text
    assert " kB there" in caplog.text
    long_ago = time.time() - 86_400 * (module.ABANDONED_DAYS + 1)
    for path in (tmp_path / "fits").rglob("*"):
        os.utime(path, (long_ago, long_ago))
    caplog.clear()
    use(tmp_path, "new", KEYS[2:], interrupted=True)
    assert {path.name for path in (tmp_path / "fits").iterdir() if path.is_dir()} == {"own", "new"}
    assert {path.stem for path in (tmp_path / "embeddings").iterdir()} == set(KEYS[1:])
    assert caplog.text == ""


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\0garbage", b"../" * 30])
@pytest.mark.parametrize("name", ["uses", "version"])
def test_damaged_lists_of_a_fit_stop_no_other_and_not_that_one(tmp_path, name, content):
    use(tmp_path, "a", KEYS, interrupted=True)
    (tmp_path / "fits" / "a" / name).write_bytes(content)
    use(tmp_path, "b", KEYS[:1])
    use(tmp_path, "a", KEYS)
    assert [path for path in (tmp_path / "fits").rglob("*") if path.is_file()] == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    cache = CacheSettings(str(tmp_path / "file"))
    with pytest.raises(DinoadError, match=r"file.*--cache .*DINOAD_CACHE"), work_folder("a", cache):
        pass


def test_a_disk_that_is_full_at_once_is_named_with_what_to_do(tmp_path, monkeypatch):
    def fsync(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fsync)
    with pytest.raises(DinoadError, match=r"No space left .*--cache .*DINOAD_CACHE"):
        use(tmp_path, "a", KEYS)


class Killed(BaseException):
    """Stands for a signal that no process survives: nothing is cleaned up after it."""


def kill_at(monkeypatch, owner, name):
    """Let a function end everything, as a kill there would."""

    def killed(*_, **__):
        raise Killed

    monkeypatch.setattr(owner, name, killed)


@pytest.mark.parametrize("place", ["Path.unlink", "shutil.rmtree"])
def test_what_a_fit_leaves_that_is_killed_after_its_end_is_removed_by_the_next(tmp_path, monkeypatch, place):
    with monkeypatch.context() as patch:
        owner = module.Path if place == "Path.unlink" else module.shutil
        with pytest.raises(Killed), work_folder("a", CacheSettings(str(tmp_path))) as work:
            for key in KEYS:
                work.claim(key).write_text(key)
            kill_at(patch, owner, place.rpartition(".")[2])
    assert (tmp_path / "fits" / "a").is_dir()
    use(tmp_path, "b", [])
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_embeddings_go_before_the_list_of_them(tmp_path, monkeypatch):
    """A process that is killed between the two leaves none that no fit lists."""
    with monkeypatch.context() as patch:
        with pytest.raises(Killed), work_folder("a", CacheSettings(str(tmp_path))) as work:
            for key in KEYS:
                work.claim(key).write_text(key)
            kill_at(patch, module.shutil, "rmtree")
    assert not list((tmp_path / "embeddings").iterdir())


def test_the_same_fit_takes_up_what_one_that_was_done_has_left(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        with pytest.raises(Killed), work_folder("a", CacheSettings(str(tmp_path))) as work:
            for key in KEYS:
                work.claim(key).write_text(key)
            kill_at(patch, module.Path, "unlink")
    assert use(tmp_path, "a", KEYS, interrupted=True) == 3
    use(tmp_path, "b", [])
    assert use(tmp_path, "a", KEYS) == 3
