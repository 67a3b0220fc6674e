"""Worker processes: what they tell arrives, faults come back as they are, and a dead one is replaced."""

from __future__ import annotations

import errno
import io
import os
import pickle
import subprocess
import sys
import time
import weakref
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from napari_dinoad.errors import Cancelled, DinoadError, ScanReadError
from napari_dinoad.gui.work import processes, work_process
from napari_dinoad.gui.work.processes import ProcessPool
from napari_dinoad.gui.work.worker import JobChannel
from napari_dinoad.progress import ProgressEvent
from patience import PATIENCE_S, wait_until


@dataclass(frozen=True)
class Job:
    """Does what its name says, in the worker process."""

    what: str

    def work(self, desk):
        if self.what == "count":
            sys.stdout.write("a library that prints\n")
            for i in range(5):
                desk.progress(ProgressEvent("counting", i, 5))
                desk.deliver(i)
            return os.getpid()
        if self.what == "remember":
            desk.kept["n"] = desk.kept.get("n", 0) + 1
            return desk.kept["n"]
        if self.what.startswith("leave a note"):
            weakref.finalize(self, Path(self.what.removeprefix("leave a note ")).touch)
            return None
        if self.what == "user's fault":
            raise ScanReadError("scan.nii: expected a scan.")
        if self.what == "complain":
            sys.stderr.write("a library that warns\n")
            sys.stderr.flush()
            return "done"
        if self.what == "broken pipe":
            raise BrokenPipeError("of its own")
        if self.what == "our fault":
            raise ZeroDivisionError("oops")
        if self.what == "odd fault":
            raise type("Odd", (Exception,), {})("only known here")
        if self.what == "sleep":
            time.sleep(2 * PATIENCE_S)
        os._exit(3)


@pytest.fixture(scope="module")
def pool():
    pool = ProcessPool()
    yield pool
    pool.close()


@pytest.fixture
def process(pool):
    process = pool.borrow()
    yield process
    pool.give_back(process)


QUIET = JobChannel(lambda event: None, lambda item: None)


def test_what_a_job_tells_arrives_in_order(process):
    told = []
    channel = JobChannel(lambda event: told.append(event.done), lambda item: told.append(item))
    assert process.run(Job("count"), channel) not in (None, os.getpid())
    assert told == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_cancel_stops_at_the_next_word_and_the_process_works_on(process):
    told = []

    def deliver(item):
        told.append(item)
        if item == 1:
            raise Cancelled("Cancelled.")

    with pytest.raises(Cancelled):
        process.run(Job("count"), JobChannel(lambda event: None, deliver))
    assert told == [0, 1]
    assert process.run(Job("count"), QUIET)


@pytest.mark.parametrize(
    ("what", "kind", "words"),
    [
        ("user's fault", ScanReadError, "expected a scan"),
        ("our fault", ZeroDivisionError, "oops"),
        ("broken pipe", BrokenPipeError, "of its own"),
        ("odd fault", RuntimeError, "Odd: only known here"),
    ],
)
def test_faults_come_back_as_they_are(process, what, kind, words):
    with pytest.raises(kind, match=words) as caught:
        process.run(Job(what), QUIET)
    assert "In the worker process" in caught.value.__notes__[0]
    assert "def work" not in str(caught.value)


def test_warm_process_keeps_what_it_has(pool):
    first = pool.borrow()
    before = first.run(Job("remember"), QUIET)
    pool.give_back(first)
    again = pool.borrow()
    assert again is first
    assert again.run(Job("remember"), QUIET) == before + 1
    pool.give_back(again)


def test_process_that_died_before_its_job_is_one_clear_line_on_windows(pool, monkeypatch):
    """A pipe that nobody reads is an invalid argument there; the window told that, with a traceback."""

    def refuse(*_):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    process = pool.borrow()
    monkeypatch.setattr(processes, "send", refuse)
    with pytest.raises(DinoadError, match="ended unexpectedly"):
        process.run(Job("remember"), QUIET)
    assert not process.is_alive


def test_process_that_dies_is_one_clear_line_and_is_replaced(pool):
    process = pool.borrow()
    with pytest.raises(DinoadError, match=r"ended unexpectedly \(exit code 3\)"):
        process.run(Job("die"), QUIET)
    pool.give_back(process)
    other = pool.borrow()
    assert other is not process
    assert other.run(Job("remember"), QUIET) == 1
    pool.give_back(other)


def test_closed_pool_leaves_no_process():
    pool = ProcessPool()
    process, idle = pool.borrow(), pool.borrow()
    pool.give_back(idle)
    pool.close()
    wait_until(lambda: not process.is_alive and not idle.is_alive)
    process.close()


def test_python_that_ends_during_a_job_ends_cleanly():
    """No event loop runs any more; the process is ended and its thread waited for."""
    code = """
import time
from qtpy.QtWidgets import QApplication
from napari_dinoad.gui.work.processes import run_in_process
from napari_dinoad.gui.work.worker import JobRunner
from test_processes import Job

application = QApplication([])
runner = JobRunner(in_activity_dock=False)
runner.start(lambda channel: run_in_process(Job("sleep"), channel), "Sleeping")
time.sleep(1)
"""
    folders = map(str, Path(__file__).parents[:3])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*folders, os.environ.get("PYTHONPATH", "")])},
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


_LEFT_ALONE = {
    "closed": "os.close(2)",
    "without a reader": "reader, writer = os.pipe(); os.close(reader); os.dup2(writer, 2)",
}


@pytest.mark.skipif(sys.platform == "win32", reason="handles are inherited in another way there")
@pytest.mark.parametrize("how", sorted(_LEFT_ALONE))
def test_it_works_where_nothing_takes_what_libraries_tell(how, tmp_path):
    """As for napari started from an icon, or from a terminal that was closed."""
    code = f"""
import os
from pathlib import Path
from napari_dinoad.gui.work.processes import WorkProcess
from test_processes import Job
{_LEFT_ALONE[how]}
process = WorkProcess()
results = [process.run(Job(what), None) for what in ("complain", "remember")]
process.close()
Path("results").write_text(repr(results))
"""
    folders = map(str, Path(__file__).parents[:3])
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        check=False,
        timeout=PATIENCE_S,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*folders, os.environ.get("PYTHONPATH", "")])},
    )
    assert (tmp_path / "results").read_text() == "['done', 1]"


@pytest.mark.parametrize("is_used", [True, False])
def test_an_idle_process_holds_no_memory_of_a_gpu_for_later(monkeypatch, is_used):
    given_back = []
    cuda = SimpleNamespace(is_initialized=lambda: is_used, empty_cache=lambda: given_back.append(True))
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    jobs = io.BytesIO(pickle.dumps(Job("remember")) * 2)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=jobs))
    monkeypatch.setattr(os, "nice", lambda step: None, raising=False)
    monkeypatch.setattr(os, "dup", lambda handle: handle)
    monkeypatch.setattr(os, "dup2", lambda *handles: None)
    monkeypatch.setattr(os, "fdopen", lambda *_: io.BytesIO())
    monkeypatch.setattr(work_process, "prepare_streams", lambda: None)
    work_process.main()
    assert given_back == [True, True] * is_used


def test_a_job_that_is_done_is_let_go_before_the_next_one_comes(process, tmp_path):
    """It holds the scan that it was sent."""
    note = tmp_path / "note"
    process.run(Job(f"leave a note {note}"), QUIET)
    wait_until(note.exists)


@pytest.mark.parametrize("n_bytes", [0, 5, -1])
def test_a_message_that_breaks_off_is_that_of_a_side_that_is_gone(n_bytes):
    """A worker process whose window was killed while it sent a scan ended with a traceback."""
    whole = io.BytesIO()
    work_process.send({"values": list(range(99))}, whole)
    with pytest.raises(EOFError):
        work_process.receive(io.BytesIO(whole.getvalue()[:n_bytes]))
    assert work_process.receive(io.BytesIO(whole.getvalue()))["values"][-1] == 98
    with pytest.raises(pickle.UnpicklingError):
        work_process.receive(io.BytesIO(b"no message, but something else"))
