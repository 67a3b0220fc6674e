"""A real Ctrl-C: the signal to all processes of a command, at a chosen point of its work."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import pytest

from napari_dinoad.cli import interrupts
from napari_dinoad.cli.interrupts import Interrupt, _Listener
from napari_dinoad.cli.main import main
from napari_dinoad.machine import dask_logs, streams
from napari_dinoad.machine.interrupts import interrupts_deferred
from patience import PATIENCE_S

if sys.platform != "win32":
    import fcntl
    import pty
    import termios

psutil = pytest.importorskip("psutil")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals"),
]

needs_dask = pytest.mark.skipif(find_spec("distributed") is None, reason="the extra dask is not installed")
with_and_without_workers = pytest.mark.parametrize("workers", [0, pytest.param(2, marks=needs_dask)])

TELLING = """
import sys
from napari_dinoad.cli import main, output

def tell(self, event):
    print(event.stage, event.done, flush=True)

output.ProgressBars.__call__ = tell
sys.exit(main.main(sys.argv[1:]))
"""
"""The command line, which tells on stdout what it does, a line for each step."""

REQUESTS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]

TOLD = "dinoad: cancelled; nothing half-done was left behind."
GOES_ON = f"{TOLD} The same command goes on where it stopped."


@pytest.fixture(autouse=True)
def interruptible():
    """Let children be interrupted also where the tests run in the background or by `nohup`: they inherit that."""
    wanted = {signal.SIGINT: signal.default_int_handler} | dict.fromkeys(REQUESTS, signal.SIG_DFL)
    before = {number: signal.signal(number, handler) for number, handler in wanted.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_ctrl_break_of_windows_is_a_request_to_end(tmp_path):
    code = """
import signal
signal.SIGBREAK = signal.SIGUSR1
from napari_dinoad.cli.interrupts import Interrupt, listening_for_interrupts
from napari_dinoad.machine.interrupts import interrupts_deferred
try:
    with listening_for_interrupts():
        with interrupts_deferred():
            signal.raise_signal(signal.SIGBREAK)
            print("deferred")
except Interrupt:
    print("heard")
"""
    assert run_python("-c", code, cwd=tmp_path).stdout.split() == ["deferred", "heard"]


@pytest.fixture(autouse=True)
def logging_as_before(monkeypatch):
    """Leave logging as it was: a listener that hears a signal in this process changes it for good."""
    monkeypatch.setattr(logging, "raiseExceptions", logging.raiseExceptions)
    before = {name: logging.getLogger(name).level for name in dask_logs._LOGGERS}
    yield
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


def run_python(*arguments, cwd):
    """Run Python with these arguments and return the process that has ended, with what it printed."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=PATIENCE_S)


def interrupt(code, arguments, wanted, n=1, environment=None, number=signal.SIGINT):
    """Run ``code``, send Ctrl-C ``n`` times when it prints ``wanted``, and return exit code and stderr."""
    with subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | (environment or {}),
    ) as child:
        try:
            for line in child.stdout:
                if line.startswith(wanted):
                    break
            for _ in range(n):
                os.killpg(child.pid, number)
            _, told = child.communicate(timeout=PATIENCE_S)
        finally:
            child.kill()
    _, left = psutil.wait_procs(
        [p for p in psutil.process_iter() if is_of_session(p, child.pid)], timeout=PATIENCE_S
    )
    assert [p for p in left if is_of_session(p, child.pid)] == []
    return child.returncode, told.splitlines()


def is_of_session(process, session):
    try:
        return os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE
    except (OSError, psutil.Error):
        return False


IN_TWO_TRAININGS = ("--holdout", "0.3")
"""For a fit that goes on to its end: one more for each fold tells nothing else."""


def fit_arguments(folder, out, *more):
    options = "--scorer ar-cnn --epochs 4 --resolution 96 --preset mr-brain --seed 1".split()
    return ["fit", folder, "--out", out / "m.dinoad", "--cache", out / "cache", *options, *more]


@pytest.mark.parametrize("n", [1, 3])
@with_and_without_workers
@pytest.mark.parametrize("stage", ["Reading and embedding 2", "Training AR-CNN"])
def test_a_fit_ends_with_one_line_and_nothing_half_written(normal_folder, tmp_path, stage, workers, n):
    arguments = fit_arguments(normal_folder, tmp_path, *(("--workers", workers) if workers else ()))
    code, told = interrupt(TELLING, arguments, stage, n)
    assert (code, told) == (130, [TOLD])
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
    assert len(list((tmp_path / "cache" / "embeddings").iterdir())) >= 2


@pytest.mark.parametrize("number", REQUESTS)
@with_and_without_workers
def test_a_request_to_end_is_as_ctrl_c(normal_folder, tmp_path, workers, number):
    arguments = fit_arguments(normal_folder, tmp_path, *(("--workers", workers) if workers else ()))
    assert interrupt(TELLING, arguments, "Training AR-CNN", number=number) == (130, [TOLD])
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]


def test_ctrl_c_that_ends_the_reader_of_the_lines_too(normal_folder, tmp_path):
    """``dinoad fit … 2>&1 | tee log``: tee is gone when the line is told."""
    read, write = os.pipe()
    os.close(read)
    with subprocess.Popen(
        [sys.executable, "-c", TELLING, *map(str, fit_arguments(normal_folder, tmp_path))],
        stdout=subprocess.PIPE,
        stderr=write,
        text=True,
    ) as child:
        os.close(write)
        try:
            for line in child.stdout:
                if line.startswith("Training AR-CNN"):
                    break
            child.send_signal(signal.SIGINT)
            child.communicate(timeout=PATIENCE_S)
        finally:
            child.kill()
    assert child.returncode == 130


@pytest.mark.parametrize("number", [signal.SIGINT, *REQUESTS])
def test_a_cluster_that_is_being_opened_is_closed_again(normal_folder, tmp_path, number):
    code = TELLING.replace(
        "output.ProgressBars",
        """
import distributed, threading
begin = distributed.LocalCluster.__init__

def told(self, *args, **kwargs):
    threading.Timer(0.7, lambda: print("opening", flush=True)).start()
    begin(self, *args, **kwargs)

distributed.LocalCluster.__init__ = told
output.ProgressBars""",
    )
    arguments = fit_arguments(normal_folder, tmp_path, "--workers", 2)
    assert interrupt(code, arguments, "opening", number=number) == (130, [TOLD])


def test_scored_scans_are_whole_and_the_others_are_not_there(normal_folder, tmp_path, model_path):
    out = tmp_path / "out"
    arguments = ["score", *sorted(normal_folder.iterdir()), "--model", model_path, "--out", out]
    code, told = interrupt(
        TELLING.replace("event.done, flush", "event.done, self._prefix, flush"), [*arguments], "Scoring"
    )
    assert told == [TOLD], "\n".join(told)
    assert code == 130
    assert not [path for path in out.rglob("*") if path.name.startswith(".")]


STOPPED = """
import os, signal, sys
from napari_dinoad.cli import main
from {module} import {name} as do

def stopped(*given, **named):
    if {where!r} not in str(given):
        return do(*given, **named)
    if {is_before}:
        os.kill(os.getpid(), signal.SIGTERM)
        return do(*given, **named)
    done = do(*given, **named)
    os.kill(os.getpid(), signal.SIGTERM)
    return done

import {module}
{module}.{name} = stopped
sys.exit(main.main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("module", "name", "where", "is_before"),
    [
        # Its files are written, and it is in no list yet.
        ("napari_dinoad.pipeline.detection.scan_steps", "save_result", "normal_2", False),
        # It has its map, and not yet its other files.
        ("napari_dinoad.machine.atomic_files", "_give_name", "normal_2_mask", True),
        # All are scored, and the list is still that of before.
        ("napari_dinoad.maps.pages.worklist", "write_text", "normal_2", True),
    ],
)
def test_each_scan_whose_results_are_there_is_in_the_worklist(
    module, name, where, is_before, normal_folder, tmp_path, model_path
):
    out = tmp_path / "out"
    ended = run_python(
        "-c",
        STOPPED.format(module=module, name=name, where=where, is_before=is_before),
        *("score", *sorted(normal_folder.iterdir())[:3], "--model", model_path, "--out", out),
        cwd=tmp_path,
    )
    *notes, last = ended.stderr.splitlines()
    assert (ended.returncode, last) == (130, GOES_ON)
    assert all("behind this model" in note for note in notes)
    assert len(list(out.glob("normal_0_*"))) == len(list(out.glob("normal_2_*"))) == 5
    assert len((out / "worklist.csv").read_text().splitlines()) == 4
    assert not [path for path in out.rglob("*") if path.name.startswith(".")]


@pytest.mark.parametrize(
    ("module", "name", "where", "is_before", "n_done"),
    [
        # All its files are there, and what is kept of it is not.
        ("napari_dinoad.pipeline.detection.scan_steps", "save_result", "normal_2", False, 2),
        # All are scored, and the list is still that of before.
        ("napari_dinoad.maps.pages.worklist", "write_text", "normal_2", True, 3),
    ],
)
def test_scoring_that_was_killed_goes_on_where_it_was(
    module, name, where, is_before, n_done, normal_folder, tmp_path, model_path, capsys
):
    out = tmp_path / "out"
    program = STOPPED.format(module=module, name=name, where=where, is_before=is_before)
    scans = sorted(normal_folder.iterdir())[:3]
    arguments = [*map(str, ("score", *scans, "--model", model_path, "--out", out)), "--json"]
    killed = run_python("-c", program.replace("SIGTERM", "SIGKILL"), *arguments, cwd=tmp_path)
    assert killed.returncode == -signal.SIGKILL
    assert main(arguments) == 0
    told = capsys.readouterr()
    assert told.err.splitlines()[-1] == f"dinoad: {n_done} of 3 scans were taken over."
    document = json.loads(told.out)
    assert document["n_taken_over"] == n_done
    assert [Path(scan["mask"]).is_file() for scan in document["scans"]] == [True] * 3
    assert len((out / "worklist.csv").read_text().splitlines()) == 4
    assert not [path for path in out.rglob("*") if path.name.startswith(".")]


def test_what_a_library_makes_of_the_interrupt_is_no_fault_of_ours(tmp_path):
    program = """
import os, signal, sys, time
from napari_dinoad.cli import info, main

def run(options):
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)
    except KeyboardInterrupt:
        raise RuntimeError("KeyboardInterrupt: <EMPTY MESSAGE>") from None

info.run = run
sys.exit(main.main(["info", "m.dinoad"]))
"""
    ended = run_python("-c", program, cwd=tmp_path)
    assert (ended.returncode, ended.stderr.splitlines()) == (130, [TOLD])


def test_what_cannot_be_logged_any_more_is_not_told(tmp_path):
    """Dask's threads log that their connections are gone, to a stream that may be gone, too."""
    program = """
import io, logging, os, signal, sys, time
from napari_dinoad.cli import info, main

def run(options):
    stream, library = io.StringIO(), logging.getLogger("library")
    library.addHandler(logging.StreamHandler(stream))
    library.propagate = False
    stream.close()
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)
    finally:
        library.error("gone")

info.run = run
sys.exit(main.main(["info", "m.dinoad"]))
"""
    ended = run_python("-c", program, cwd=tmp_path)
    assert (ended.returncode, ended.stderr.splitlines()) == (130, [TOLD])


def test_an_evaluation_writes_nothing(normal_folder, tmp_path, model_path):
    folder = tmp_path / "set"
    for kind in ("img", "mask"):
        (folder / kind).mkdir(parents=True)
        for path in normal_folder.iterdir():
            (folder / kind / path.name).symlink_to(path)
    arguments = ["evaluate", folder, "--model", model_path, "--out", tmp_path / "f.json"]
    assert interrupt(TELLING, arguments, "Scoring test scans 1") == (130, [TOLD])
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize(
    "what",
    [
        # The interpreter drops what is raised here, ...
        "gc.callbacks.append(lambda phase, info: stop()); gc.collect()",
        "class Dropped:\n    def __del__(self):\n        stop()\nDropped()",
        # ... and kills itself with the signal, in place of exit code 130, when a KeyboardInterrupt passes this.
        "exec('stop()')",
    ],
)
def test_where_the_interpreter_would_not_end_well(what, tmp_path):
    """Run by ``python -m``: after that the interpreter looks back at how the program has ended."""
    (tmp_path / "program.py").write_text(f"""
import gc, os, signal, sys, time
from napari_dinoad.cli import info, main

def stop():
    gc.callbacks.clear()
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(1000):
        pass

def run(options):
    exec(compile({what!r}, "<what>", "exec"), {{"gc": gc, "stop": stop}})
    time.sleep(30)
    print("went on")

info.run = run
sys.exit(main.main(["info", "x"]))
""")
    done = run_python("-m", "program", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.splitlines()) == (130, "", [TOLD])


@pytest.mark.parametrize("module", ["napari_dinoad.cli.fit", "napari_dinoad.machine.streams", "numpy"])
def test_ctrl_c_while_the_command_is_loaded(module, tmp_path):
    done = run_python(
        "-c",
        f"""
import os, signal, sys

class Stop:
    def find_spec(self, name, *_):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Stop())
from napari_dinoad.cli.main import main
sys.exit(main(["demo"]))
""",
        cwd=tmp_path,
    )
    assert (done.returncode, done.stdout, done.stderr.splitlines()) == (130, "", [TOLD])


def test_ctrl_c_while_something_is_imported_comes_again(monkeypatch):
    """Locks of Python's import would stay taken, and what imports NumPy from C++ drops the exception."""
    sent, is_sent = [], threading.Event()
    monkeypatch.setattr(interrupts, "_send", lambda number: (sent.append(number), is_sent.set()))
    frames = {}
    code = compile("frames['import'] = (lambda: sys._getframe())()", "<frozen importlib._bootstrap>", "exec")
    exec(code, {"frames": frames, "sys": sys})
    listener = _Listener()
    listener(signal.SIGINT, frames["import"])
    assert is_sent.wait(PATIENCE_S)
    assert sent == [signal.SIGINT]
    with pytest.raises(Interrupt):
        listener(signal.SIGINT, sys._getframe())


def test_ctrl_c_while_the_first_one_is_dealt_with(monkeypatch):
    """That takes a lock of logging; an exception in the middle left it taken, and Dask waited for it for ever."""
    came = []

    def silence():
        if not came:
            came.append(signal.SIGINT)
            listener(signal.SIGINT, sys._getframe())
            came.append("went on")

    listener = _Listener()
    monkeypatch.setattr(interrupts, "silence_dask", silence)
    with pytest.raises(Interrupt):
        listener(signal.SIGINT, sys._getframe())
    assert came == [signal.SIGINT, "went on"]


@pytest.mark.parametrize("taker", ["threading.Condition", "logging.Handler", "logging"])
def test_ctrl_c_while_a_lock_is_taken_comes_again(taker, monkeypatch):
    """The lock would stay taken, and others wait for it for ever."""
    sent, is_sent = [], threading.Event()
    monkeypatch.setattr(interrupts, "_send", lambda number: (sent.append(number), is_sent.set()))
    listener = _Listener()

    class Lock:
        def acquire(self):
            listener(signal.SIGINT, sys._getframe(1))

        __enter__ = acquire

        def __exit__(self, *_):
            pass

    if taker == "threading.Condition":
        condition = threading.Condition()
        condition._lock = Lock()
        with condition:
            pass
    elif taker == "logging.Handler":
        handler = logging.NullHandler()
        handler.lock = Lock()
        handler.acquire()
    elif hasattr(logging, "_acquireLock"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(logging, "_lock", Lock())
            logging._acquireLock()
    else:
        pytest.skip("logging takes its lock in a with statement from Python 3.13 on")
    assert is_sent.wait(PATIENCE_S)
    assert sent == [signal.SIGINT]


def test_ctrl_c_ends_a_command_that_an_imported_script_runs(tmp_path):
    """Not the command imports something then, but who runs it."""
    (tmp_path / "nightly.py").write_text(
        """\
import os, signal
from napari_dinoad.cli import info
from napari_dinoad.cli.main import main

info.run = lambda options: [os.kill(os.getpid(), signal.SIGINT), signal.pause(), 0][-1]
code = main(["info", "x"])
"""
    )
    done = run_python(
        "-c", "import sys; sys.path.insert(0, '.'); import nightly; sys.exit(nightly.code)", cwd=tmp_path
    )
    assert (done.returncode, done.stderr.splitlines()) == (130, [TOLD])


def test_a_run_that_ends_well_leaves_the_handlers_as_they_were():
    def handlers():
        return [signal.getsignal(number) for number in (signal.SIGINT, *REQUESTS)]

    before = handlers()
    with interrupts.listening_for_interrupts():
        assert handlers() != before
    assert handlers() == before


def test_lines_to_a_terminal_that_was_closed_are_dropped(monkeypatch):
    master, terminal = pty.openpty()
    monkeypatch.setattr(sys, "stderr", os.fdopen(terminal, "w"))
    streams.prepare_streams()
    sys.stderr.write("seen\n")
    assert os.read(master, 99) == b"seen\r\n"
    os.close(master)
    sys.stderr.write("dropped\n")
    sys.stderr.flush()
    assert not sys.stderr.isatty()
    sys.stderr.close()


@pytest.mark.parametrize("is_controlling", [True, False])
def test_a_terminal_that_is_closed_meanwhile(normal_folder, tmp_path, is_controlling):
    """It ends what runs in it, by SIGHUP; what only writes to it (``disown``) goes on."""
    master, terminal = pty.openpty()
    with subprocess.Popen(
        [
            sys.executable,
            "-c",
            # The bars, which draw to the terminal, and the steps, on stdout.
            TELLING.replace("def tell", "draw = output.ProgressBars.__call__\ndef tell").replace(
                "    print(", "    draw(self, event)\n    print("
            ),
            *map(str, fit_arguments(normal_folder, tmp_path, *IN_TWO_TRAININGS)),
        ],
        stdout=subprocess.PIPE,
        stderr=terminal,
        text=True,
        start_new_session=True,
        preexec_fn=(lambda: fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)) if is_controlling else None,
    ) as child:
        os.close(terminal)
        try:
            for line in child.stdout:
                if line.startswith("Training AR-CNN"):
                    break
            os.close(master)
            child.communicate(timeout=PATIENCE_S)
        finally:
            child.kill()
    assert child.returncode == (130 if is_controlling else 0)
    assert (tmp_path / "m.dinoad").is_file() is not is_controlling
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]


CONTENT = os.urandom(3 << 20)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class SlowHub(BaseHTTPRequestHandler):
    """A hub whose first answer stops in the middle."""

    def do_HEAD(self):
        self.answer(200, len(CONTENT))

    def do_GET(self):
        start = int(self.headers.get("Range", "bytes=0-")[6:-1])
        if "/resolve/" not in self.path:
            self.send_error(404)
            return
        self.server.starts.append(start)
        self.answer(206 if start else 200, len(CONTENT) - start, start)
        first = not self.server.stalled.is_set()
        self.wfile.write(CONTENT[start : 2 << 20] if first else CONTENT[start:])
        if first:
            self.wfile.flush()
            self.server.stalled.wait(PATIENCE_S)

    def answer(self, status, length, start=0):
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("ETag", f'"{SHA256}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture
def hub():
    server = ThreadingHTTPServer(("127.0.0.1", 0), SlowHub)
    server.starts, server.stalled = [], threading.Event()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.stalled.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_download_goes_on_in_the_next_run(hub, tmp_path):
    places = {
        "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}",
        "HF_HOME": str(tmp_path),
        "DINOAD_WEIGHTS": str(tmp_path / "weights"),
        "TORCH_HOME": str(tmp_path / "torch"),
        "HF_HUB_OFFLINE": "0",
        "NO_PROXY": "*",
    }
    code = TELLING.replace("sys.exit", "import logging; logging.disable(); sys.exit")
    get = ["weights", "get", "dinov3_vits16"]
    assert interrupt(code, get, "Downloading dinov3_vits16 2", environment=places) == (130, [TOLD])
    hub.stalled.set()
    subprocess.run(
        [sys.executable, "-c", code, *get],
        env=os.environ | places,
        capture_output=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert hub.starts == [0, 2 << 20]
    (blob,) = tmp_path.rglob(f"blobs/{SHA256}*")
    assert blob.read_bytes() == CONTENT


def test_a_run_in_the_background_is_not_ended_by_ctrl_c(normal_folder, tmp_path):
    """As ``nohup`` and ``&`` of a script switch it off."""
    code = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + TELLING
    arguments = fit_arguments(normal_folder, tmp_path, *IN_TWO_TRAININGS)
    code, _ = interrupt(code, arguments, "Training AR-CNN")
    assert code == 0
    assert (tmp_path / "m.dinoad").is_file()


@pytest.mark.parametrize("name", ["distributed", "distributed.client", "tornado.application"])
def test_what_dask_tells_of_calls_that_are_cut_off_is_not_passed_on(name):
    """Its ``sync`` raises a NameError on its own thread where Ctrl-C comes before the call has begun.

    And its client, which has a level of its own, warns of keys that it could not gather.
    """
    told = logging.getLogger(name)
    told.setLevel(logging.WARNING)
    with pytest.raises(Interrupt):
        _Listener()(signal.SIGINT, None)
    assert not told.isEnabledFor(logging.ERROR)


def test_dask_tells_nothing_from_when_a_request_was_deferred():
    """It goes to worker processes too; that they were ended by it was now and then told in a line of Dask's."""
    heard, told = [], logging.getLogger("distributed.nanny")
    handler = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        logging.getLogger("distributed").setLevel(logging.WARNING)
        with interrupts_deferred():
            assert told.isEnabledFor(logging.WARNING)
            signal.getsignal(signal.SIGTERM)(signal.SIGTERM, None)
            assert not told.isEnabledFor(logging.WARNING)
            assert heard == []
        assert heard == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, handler)


def test_what_is_left_in_the_end_is_not_looked_through(tmp_path):
    """It is the most of the time that Python takes to end, in which nobody can do anything."""
    code = """
import gc, sys
from napari_dinoad.cli.main import command
sys.argv = ["dinoad", "weights", "list"]
gc.collect()
assert command() == 0
assert gc.get_freeze_count() > 10_000 > len(gc.get_objects())
"""
    done = run_python("-c", code, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


ENDING = """
import atexit
import sys

from napari_dinoad.cli.main import command

def end():
    print("ending", flush=True)
    sys.stdin.read()

atexit.register(end)
sys.argv = ["dinoad", "weights", "list"]
sys.exit(command())
"""
"""The command line, which takes a while to end: as long as stdin is open."""


@pytest.mark.parametrize("number", [signal.SIGINT, *REQUESTS])
def test_once_it_is_done_a_signal_changes_nothing(number):
    with subprocess.Popen(
        [sys.executable, "-c", ENDING],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as child:
        try:
            assert "ending\n" in child.stdout
            os.killpg(child.pid, number)
            _, told = child.communicate(timeout=PATIENCE_S)
        finally:
            child.kill()
    assert (child.returncode, told) == (0, "")
