"""Jobs on the worker thread: one ending each, signals on the main thread, cancel that works."""

from __future__ import annotations

import gc
import threading
import time
import weakref

import pytest
from napari.qt.threading import create_worker
from qtpy.QtCore import QCoreApplication, QEvent

from napari_dinoad.errors import DinoadError
from napari_dinoad.gui.work.worker import JobRunner, _ActivityBar
from napari_dinoad.progress import ProgressEvent
from patience import PATIENCE_S, TIMEOUT_MS


class Log:
    """Records every signal of a runner and the thread on which it came."""

    def __init__(self, runner: JobRunner) -> None:
        self.events: list[tuple[str, object]] = []
        self.threads: set[int] = set()
        for name in ("started", "progressed", "delivered", "succeeded", "cancelled", "failed", "finished"):
            getattr(runner, name).connect(lambda *args, name=name: self.note(name, *args))

    def note(self, name: str, *args: object) -> None:
        self.events.append((name, args[0] if args else None))
        self.threads.add(threading.get_ident())

    def names(self) -> list[str]:
        return [name for name, _ in self.events]


@pytest.fixture
def runner(qtbot):
    runner = JobRunner()
    yield runner
    runner.cancel()
    qtbot.waitUntil(lambda: not runner.is_running, timeout=TIMEOUT_MS)


def finish(qtbot, runner, job, title="Job"):
    with qtbot.waitSignal(runner.finished, timeout=TIMEOUT_MS):
        assert runner.start(job, title)


def test_result_progress_and_deliveries_arrive_on_the_main_thread(qtbot, runner):
    log = Log(runner)
    worker_threads = set()

    def job(channel):
        worker_threads.add(threading.get_ident())
        for i in range(4):
            channel.progress(ProgressEvent("counting", i, 4))
            channel.deliver(i)
        return "done"

    finish(qtbot, runner, job)
    assert [item for name, item in log.events if name == "delivered"] == [0, 1, 2, 3]
    assert ("succeeded", "done") in log.events
    assert log.names()[0] == "started"
    assert log.names()[-1] == "finished"
    assert log.threads == {threading.get_ident()}
    assert worker_threads.isdisjoint(log.threads)


def test_progress_is_thinned_but_first_last_and_stages_come_through(qtbot, runner):
    log = Log(runner)

    def job(channel):
        for stage in ("a", "b"):
            for i in range(1, 2001):
                channel.progress(ProgressEvent(stage, i, 2000))

    finish(qtbot, runner, job)
    events = [item.event for name, item in log.events if name == "progressed"]
    assert len(events) < 400
    assert [(e.stage, e.done) for e in events if e.done in (1, 2000)] == [
        ("a", 1),
        ("a", 2000),
        ("b", 1),
        ("b", 2000),
    ]


@pytest.mark.parametrize("call", ["progress", "deliver"])
def test_cancel_stops_at_the_next_call(qtbot, runner, call):
    log = Log(runner)
    steps = []
    go_on = threading.Event()

    def job(channel):
        for i in range(1000):
            steps.append(i)
            if call == "progress":
                channel.progress(ProgressEvent("x", i, 1000))
            else:
                channel.deliver(i)
            if i == 0:
                assert go_on.wait(PATIENCE_S)

    runner.start(job, "Job")
    qtbot.waitUntil(lambda: bool(steps), timeout=TIMEOUT_MS)
    runner.cancel()
    with qtbot.waitSignal(runner.finished, timeout=TIMEOUT_MS):
        go_on.set()
    assert steps == [0, 1]
    assert "cancelled" in log.names()
    assert not {"succeeded", "failed"} & set(log.names())


def test_cancel_that_comes_too_late_does_not_lose_the_result(qtbot, runner):
    log = Log(runner)
    inside, go_on = threading.Event(), threading.Event()

    def job(channel):
        inside.set()
        assert go_on.wait(PATIENCE_S)
        return 42

    runner.start(job, "Job")
    qtbot.waitUntil(inside.is_set, timeout=TIMEOUT_MS)
    runner.cancel()
    with qtbot.waitSignal(runner.finished, timeout=TIMEOUT_MS):
        go_on.set()
    assert ("succeeded", 42) in log.events
    assert "cancelled" not in log.names()


def test_fault_of_the_user_is_one_line_and_no_notification(qtbot, runner, notifications):
    log = Log(runner)

    def job(channel):
        raise DinoadError("scan.nii: expected a scan, got a text file.")

    finish(qtbot, runner, job)
    assert ("failed", "scan.nii: expected a scan, got a text file.") in log.events
    assert notifications == []


def test_fault_of_ours_is_logged_and_notified(qtbot, runner, notifications, caplog):
    log = Log(runner)

    def job(channel):
        raise ZeroDivisionError("oops")

    finish(qtbot, runner, job, "Counting")
    (message,) = [item for name, item in log.events if name == "failed"]
    assert "Counting failed: ZeroDivisionError: oops" in message
    assert "Traceback" in caplog.text
    assert [type(error) for error in notifications] == [ZeroDivisionError]


@pytest.mark.viewer
def test_napari_is_not_told_of_a_fault_by_a_signal_that_its_own_slots_cannot_take(
    qtbot, runner, make_napari_viewer, monkeypatch
):
    make_napari_viewer()
    errored = []

    def make(*args, **options):
        worker = create_worker(*args, **options)
        worker.errored.connect(errored.append)
        return worker

    def job(channel):
        raise DinoadError("a.nii: damaged.")

    monkeypatch.setattr("napari_dinoad.gui.work.worker.create_worker", make)
    log = Log(runner)
    finish(qtbot, runner, job)
    assert ("failed", "a.nii: damaged.") in log.events
    # With PySide6 an error in a slot of napari's reaches the user as a notification.
    assert errored == []


def test_one_job_at_a_time_and_another_one_after(qtbot, runner):
    go_on = threading.Event()
    assert runner.start(lambda channel: go_on.wait(PATIENCE_S), "One")
    assert not runner.start(lambda channel: None, "Two")
    with qtbot.waitSignal(runner.finished, timeout=TIMEOUT_MS):
        go_on.set()
    log = Log(runner)
    finish(qtbot, runner, lambda channel: "again")
    assert ("succeeded", "again") in log.events


def test_activity_dock_shows_the_job_and_can_cancel_it(qtbot, runner):
    from napari.utils.progress import progress

    before = set(progress._all_instances)
    go_on = threading.Event()

    def job(channel):
        channel.progress(ProgressEvent("Working", 1, 3))
        assert go_on.wait(PATIENCE_S)
        channel.progress(ProgressEvent("Working", 2, 3))

    log = Log(runner)
    runner.start(job, "Job")
    (bar,) = set(progress._all_instances) - before
    qtbot.waitUntil(lambda: "Working" in bar.desc, timeout=TIMEOUT_MS)
    assert (bar.n, bar.total) == (1, 3)
    bar.cancel()
    with qtbot.waitSignal(runner.finished, timeout=TIMEOUT_MS):
        go_on.set()
    assert "cancelled" in log.names()
    assert set(progress._all_instances) == before


def test_a_bar_that_python_forgets_at_its_end_says_nothing(qtbot):
    from napari.utils.progress import progress

    bar = _ActivityBar("Job", lambda: None)
    bar._timer.deleteLater()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    bar.__del__()
    progress._all_instances.discard(bar)


def test_steps_arrive_in_order_though_napari_lets_events_through_when_its_bar_changes(
    qtbot, runner, make_napari_viewer
):
    viewer = make_napari_viewer()
    log = Log(runner)

    def job(channel):
        for i in range(200):
            channel.progress(ProgressEvent(f"stage {i}", i, 200))
            channel.deliver(i)
            if i == 150:
                time.sleep(0.2)

    finish(qtbot, runner, job)
    told = [
        item.event.done if name == "progressed" else item
        for name, item in log.events
        if name in ("progressed", "delivered")
    ]
    assert told == [i for i in range(200) for _ in "ab"]
    assert runner.last_progress.event.done == 199
    assert viewer.layers is not None


class Payload:
    """Stands for a scan."""


def test_job_is_let_go_of_when_it_has_run(qtbot, runner, make_napari_viewer):
    viewer = make_napari_viewer()
    payload, owner = Payload(), Payload()
    gone = [weakref.ref(payload), weakref.ref(owner)]
    with qtbot.waitSignal(runner.finished, timeout=TIMEOUT_MS):
        runner.start(lambda channel, payload=payload: None, "Job", keep_alive=owner)
    del payload, owner

    def are_gone():
        gc.collect()
        return [reference() for reference in gone] == [None, None]

    qtbot.waitUntil(are_gone, timeout=TIMEOUT_MS)
    assert viewer.layers is not None


def test_nothing_is_drawn_in_the_terminal(qtbot, runner, capfd):
    finish(qtbot, runner, lambda channel: channel.progress(ProgressEvent("Working", 1, 1)))
    out, err = capfd.readouterr()
    assert "Working" not in out + err
    assert "it/s" not in out + err


@pytest.mark.parametrize("kind", ["dock", "session"])
def test_closing_another_viewer_cancels_nothing(qtbot, make_napari_viewer, own_folders, kind):
    """napari takes the viewer that was created or activated last for the current one, and lists new workers there."""
    viewer = make_napari_viewer()
    _, dock = viewer.window.add_plugin_dock_widget("napari-dinoad", "Find anomalies")
    other = make_napari_viewer()
    other.window.add_plugin_dock_widget("napari-dinoad", "Find anomalies")
    runner = dock.finder.runner if kind == "dock" else dock.session.fit.scout
    log, goes_on = Log(runner), threading.Event()

    def job(channel):
        assert goes_on.wait(PATIENCE_S)
        channel.progress(ProgressEvent("Working", 1, 2))
        return "done"

    runner.start(job, "Job")
    other.close()
    with qtbot.waitSignal(runner.finished, timeout=TIMEOUT_MS):
        goes_on.set()
    assert ("succeeded", "done") in log.events
    assert "cancelled" not in log.names()


def test_closing_its_own_viewer_cancels_a_job(qtbot, make_napari_viewer, own_folders):
    viewer = make_napari_viewer()
    _, dock = viewer.window.add_plugin_dock_widget("napari-dinoad", "Find anomalies")
    stopped = threading.Event()

    def job(channel):
        for _ in range(100 * PATIENCE_S):
            if channel.is_stopping():
                stopped.set()
                return
            time.sleep(0.01)

    dock.finder.runner.start(job, "Job")
    viewer.close()
    assert stopped.wait(PATIENCE_S)
