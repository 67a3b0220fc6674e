"""A fit on a cluster of worker processes ends as one in a single process, whatever becomes of the workers."""

from __future__ import annotations

import errno
import json
import operator
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from ipaddress import ip_address
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch

from napari_dinoad import progress
from napari_dinoad.errors import Cancelled, DinoadError, SettingError
from napari_dinoad.pipeline import fit_folder
from napari_dinoad.pipeline.cluster import tasks as cluster_tasks
from napari_dinoad.pipeline.cluster import workers
from napari_dinoad.pipeline.cluster.cohort import RemoteScan
from napari_dinoad.pipeline.cluster.workers import Cluster, open_cluster
from napari_dinoad.pipeline.fit import held_out_scans
from napari_dinoad.settings import (
    CacheSettings,
    CalibrationSettings,
    ClusterSettings,
    DpmmSettings,
    FitSettings,
    MemoryBankSettings,
    preset,
)
from patience import PATIENCE_S, wait_until

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed", reason="Dask's distributed scheduler is not installed")

pytestmark = pytest.mark.slow

SETTINGS = FitSettings(
    preprocessing=replace(preset("mr-brain"), resolution_px=96),
    calibration=CalibrationSettings(method="split", holdout=0.3),
    dpmm=DpmmSettings(n_components=20, epochs=4, tolerance=0, start_patches_per_component=10),
    memory_bank=MemoryBankSettings(n_patches=50),
)


@pytest.fixture(scope="module", autouse=True)
def levels_of_two_persons():
    """Slices are compared with those of other persons in these small fits, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(held_out_scans, "MIN_PERSONS", 2)
        yield


@pytest.fixture(scope="module")
def alone(normal_folder):
    """The model of a fit in this process, with the workers' one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return fit_folder(normal_folder, SETTINGS)
    finally:
        torch.set_num_threads(threads)


@contextmanager
def forked_workers():
    """Fork workers, those in place of killed ones too, where that is safe: what they need is loaded once for all."""
    if sys.platform != "linux":
        yield
        return
    with dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}):
        distributed.utils.get_mp_context().set_forkserver_preload(["distributed", cluster_tasks.__name__])
        yield


@pytest.fixture(scope="module")
def local_cluster():
    with forked_workers():
        cluster = distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs="ERROR"
        )
    with cluster:
        yield cluster


@pytest.fixture
def scheduler(local_cluster):
    """A cluster that is there already."""
    with forked_workers():
        yield local_cluster.scheduler_address


def cluster_at(address):
    """Return settings of a cluster whose workers may take their time to start, or to start anew."""
    return ClusterSettings(address=address, timeout_s=PATIENCE_S)


def assert_same_model(one, other):
    ours, theirs = one.scorer.state(), other.scorer.state()
    assert ours.tensors.keys() == theirs.tensors.keys()
    for name, tensor in ours.tensors.items():
        torch.testing.assert_close(theirs.tensors[name], tensor, rtol=1e-6, atol=1e-6)
    (our_levels,), (their_levels,) = one.planes[0].levels, other.planes[0].levels
    for name, tensor in our_levels.tensors().items():
        torch.testing.assert_close(their_levels.tensors()[name], tensor, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(other.calibration.scan_scores, one.calibration.scan_scores, atol=1e-6)
    probes = np.linspace(0, 1, 501).astype(np.float32)
    np.testing.assert_allclose(
        other.calibration.neg_log10_p(probes), one.calibration.neg_log10_p(probes), atol=1e-3
    )
    assert other.provenance.n_slices == one.provenance.n_slices


def kill_workers(count=1):
    pids = distributed.default_client().run(os.getpid)
    for pid in sorted(pids.values())[:count]:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("stage", ["Reading and embedding", "Fitting DPMM"])
def test_a_killed_worker_changes_nothing(normal_folder, alone, scheduler, stage):
    """Of two workers one is killed in the middle."""
    killed = []

    def kill(event):
        if event.stage == stage and event.done >= 1 and not killed:
            kill_workers()
            killed.append(event)

    fitted = fit_folder(normal_folder, SETTINGS, kill, cluster=cluster_at(scheduler))
    assert killed
    assert_same_model(alone, fitted)


def test_without_a_shared_folder_embeddings_stay_with_the_workers(
    normal_folder, alone, scheduler, monkeypatch, tmp_path
):
    monkeypatch.setattr(Cluster, "shares", lambda self, folder: False)
    monkeypatch.setattr(RemoteScan, "copy_rows", lambda *_: pytest.fail("Embeddings were moved."))
    cache = CacheSettings(folder=str(tmp_path / "cache"), keep=True)
    settings = cluster_at(scheduler)
    fitted = fit_folder(normal_folder, SETTINGS, cache=cache, cluster=settings)
    assert_same_model(alone, fitted)
    assert not list((tmp_path / "cache").rglob("embeddings/*"))


def test_other_scorers_use_the_embeddings_too(normal_folder, scheduler, monkeypatch):
    settings = replace(SETTINGS, scorer="memory-bank")
    here = fit_folder(normal_folder, settings)
    monkeypatch.setattr(Cluster, "shares", lambda self, folder: False)
    there = fit_folder(normal_folder, settings, cluster=cluster_at(scheduler))
    for name, tensor in here.scorer.state().tensors.items():
        torch.testing.assert_close(there.scorer.state().tensors[name], tensor, rtol=1e-3, atol=1e-3)


def test_persons_are_held_out_whole_there_too(normal_folder, scheduler, tmp_path):
    for number, path in enumerate(sorted(normal_folder.iterdir())):
        (tmp_path / f"sub-{number % 3}_ses-{number}.nii.gz").symlink_to(path)
    settings = replace(SETTINGS, calibration=CalibrationSettings(folds=3))
    here = fit_folder(tmp_path, settings)
    there = fit_folder(tmp_path, settings, cluster=cluster_at(scheduler))
    assert_same_model(here, there)
    assert there.calibration.n_persons == there.provenance.n_persons == 3
    np.testing.assert_array_equal(there.calibration.scan_weights, here.calibration.scan_weights)


def test_bad_scans_are_named(messy_folder, scheduler):
    fitted = fit_folder(messy_folder, SETTINGS, cluster=cluster_at(scheduler))
    here = fit_folder(messy_folder, SETTINGS)
    names = [(item.path.name, item.reason) for item in fitted.fit_report.skipped]
    assert names == [(item.path.name, item.reason) for item in here.fit_report.skipped]


def test_sums_are_taken_in_a_fixed_order(scheduler):
    """Numbers whose sum depends on the order, however the tasks are placed."""
    values = [float(10.0 ** (17 - 3 * (i % 7))) * (-1) ** i / 3 for i in range(11)]
    with open_cluster(cluster_at(scheduler)) as cluster:
        sums = {cluster.total([cluster.submit(float, value) for value in values]) for _ in range(5)}
        assert cluster.sum_over([], float, ()) is None
    pairs = values
    while len(pairs) > 1:
        pairs = [sum(pairs[i : i + 2]) for i in range(0, len(pairs), 2)]
    assert sums == {pairs[0]}


def test_values_lost_with_all_their_workers_are_sent_again(scheduler):
    with open_cluster(cluster_at(scheduler)) as cluster:
        sent = cluster._send((np.arange(1000),))
        distributed.wait(sent)
        kill_workers(2)
        (values,) = cluster.call(cluster_tasks.same, sent)
        np.testing.assert_array_equal(values, np.arange(1000))


def test_workers_that_die_while_they_are_asked_are_asked_again(scheduler):
    with open_cluster(cluster_at(scheduler)) as cluster:
        attempts = []

        def run(function, *arguments):
            attempts.append(function)
            if len(attempts) < 3:
                raise distributed.comm.CommClosedError("lost")
            return {"tcp://one": True, "tcp://two": False}

        cluster.client.run = run
        assert not cluster.sees("/data")
    assert len(attempts) == 3


def test_where_all_workers_die_the_next_one_is_asked(scheduler):
    """No answer at all was taken for that of all: they saw any folder, and had no version."""
    with open_cluster(cluster_at(scheduler)) as cluster:
        kill_workers(2)
        assert not cluster.sees("/no/such/folder")
        assert cluster.ask(os.getpid)


def test_a_worker_that_dies_when_it_is_asked_for_its_version_is_asked_again(scheduler, monkeypatch):
    run, attempts = distributed.Client.run, []

    def dies_once(client, function, *arguments):
        attempts.append(function)
        if len(attempts) == 1:
            raise distributed.comm.CommClosedError("lost")
        return run(client, function, *arguments)

    monkeypatch.setattr(distributed.Client, "run", dies_once)
    with open_cluster(cluster_at(scheduler)):
        assert len(attempts) == 2


@pytest.mark.parametrize(
    ("preload", "told"),
    [
        ("sys.modules['napari_dinoad'] = None", "a worker cannot import napari-dinoad"),
        ("sys.modules['torch'] = None", "a worker cannot import napari-dinoad .*torch"),
        ("import napari_dinoad; napari_dinoad.__version__ = '0.0.1'", r"on all workers, got 0\.0\.1"),
    ],
)
def test_workers_that_have_another_package_are_told(tmp_path, preload, told):
    module = tmp_path / "preload.py"
    module.write_text(f"import sys\n{preload}\n")
    workers = distributed.LocalCluster(
        n_workers=1, dashboard_address=":0", silence_logs="CRITICAL", preload=[str(module)]
    )
    with workers, pytest.raises(SettingError, match=told):
        with open_cluster(cluster_at(workers.scheduler_address)):
            pass


@pytest.mark.parametrize(
    ("preload", "told"),
    [
        ("sys.modules['napari_dinoad'] = None", "the scheduler cannot import napari-dinoad"),
        (
            "import napari_dinoad; napari_dinoad.__version__ = '0.0.1'",
            r"where the scheduler runs, got 0\.0\.1",
        ),
    ],
)
def test_a_scheduler_that_has_another_package_is_told(tmp_path, preload, told):
    module, where = tmp_path / "preload.py", tmp_path / "scheduler.json"
    module.write_text(f"import sys\n{preload}\n")
    scheduler_options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--preload", str(module)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.dask_{kind}", "--scheduler-file", str(where), *options],
            stderr=subprocess.DEVNULL,
        )
        for kind, options in (("scheduler", scheduler_options), ("worker", ["--no-nanny", "--no-dashboard"]))
    ]
    try:
        wait_until(lambda: where.exists() and where.read_text().rstrip().endswith("}"))
        address = json.loads(where.read_text())["address"]
        with pytest.raises(SettingError, match=told):
            with open_cluster(cluster_at(address)):
                pass
    finally:
        for process in processes:
            # A worker whose scheduler is gone may wait for ever when it is asked to end.
            process.kill()
            process.wait()


def test_dask_tells_of_faults_and_not_of_its_comings_and_goings(normal_folder, tmp_path):
    """In a process of its own: what is printed depends on who set logging up first."""
    program = """
import logging, sys
from napari_dinoad.cli.main import main
from napari_dinoad.pipeline.cluster import workers as cluster

require = cluster._require_version

def warn(opened):
    require(opened)
    logging.getLogger("distributed.nanny").warning("Worker exceeded 95% memory budget.")

cluster._require_version = warn
sys.exit(main(sys.argv[1:]))
"""
    options = "--scorer memory-bank --resolution 96 --workers 2 --preset mr-brain --holdout 0.3".split()
    command = [sys.executable, "-c", program, "fit", str(normal_folder), "--out", str(tmp_path / "m.dinoad")]
    done = subprocess.run(
        [*command, *options], capture_output=True, text=True, check=True, timeout=PATIENCE_S
    )
    fault, few = done.stderr.splitlines()
    assert fault == "WARNING: Worker exceeded 95% memory budget."
    assert few.startswith(
        "WARNING: A patient's scan as a whole is compared with only 2 of the 6 normal persons"
    )


def test_a_task_whose_scheduler_is_gone_is_told(scheduler):
    """As a client sees it: its tasks are cancelled."""
    with open_cluster(cluster_at(scheduler)) as cluster:
        task = cluster.submit(time.sleep, 0.5)
        task.cancel()
        with pytest.raises(DinoadError, match="the scheduler is gone"):
            cluster.result_of(task)


def test_a_scheduler_that_is_not_there_is_told():
    settings = ClusterSettings(address="tcp://127.0.0.1:9", timeout_s=0.5)
    with pytest.raises(SettingError, match=r"scheduler with a worker at tcp://127\.0\.0\.1:9, got no answer"):
        with open_cluster(settings):
            pass


def test_a_folder_that_a_worker_does_not_see_is_told(normal_folder, scheduler, monkeypatch):
    monkeypatch.setattr(Cluster, "sees", lambda self, path: False)
    with pytest.raises(SettingError, match="all workers see under this name"):
        fit_folder(normal_folder, SETTINGS, cluster=cluster_at(scheduler))


def test_a_script_without_a_main_guard_is_told(tmp_path):
    """Each worker runs such a script once more, and would start workers of its own."""
    script = tmp_path / "script.py"
    script.write_text(
        "from napari_dinoad.pipeline.cluster.workers import open_cluster\n"
        "from napari_dinoad.settings import ClusterSettings\n"
        "with open_cluster(ClusterSettings(workers=1)):\n"
        "    print('open')\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )
    assert done.stdout == ""
    assert 'must stand under if __name__ == "__main__"' in done.stderr.splitlines()[-1]


def test_a_fit_in_a_script_without_a_main_guard_is_told_once(normal_folder, tmp_path):
    """Each worker told at length that the same fit is running."""
    script = tmp_path / "script.py"
    script.write_text(
        "from napari_dinoad import CacheSettings, ClusterSettings, fit_folder\n"
        f"fit_folder({str(normal_folder)!r}, cache=CacheSettings('cache'), cluster=ClusterSettings(workers=2))\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
        cwd=tmp_path,
    )
    assert done.returncode == 1
    assert 'must stand under if __name__ == "__main__"' in done.stderr.splitlines()[-1]
    assert done.stderr.count("Traceback") == 1, done.stderr


def test_a_system_that_starts_no_process_is_told_without_a_traceback(normal_folder, monkeypatch, caplog):
    """A container without /dev/shm, or at its limit of processes."""

    def refused(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("distributed.nanny.get_mp_context", lambda: SimpleNamespace(Queue=refused))
    with pytest.raises(SettingError, match=r"1 worker processes .* the system says Read-only .*/dev/shm"):
        fit_folder(normal_folder, cluster=ClusterSettings(workers=1))
    assert "Traceback" not in caplog.text


def test_workers_that_find_no_place_for_temporary_files_are_told_apart(normal_folder, monkeypatch):
    def refused(*_, **__):
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr("distributed.nanny.get_mp_context", lambda: SimpleNamespace(Queue=refused))
    with pytest.raises(
        SettingError, match=r"temporary directory found in \['/tmp'\]\. Name a folder .* TMPDIR\.$"
    ):
        fit_folder(normal_folder, cluster=ClusterSettings(workers=1))


def listening():
    """Return the addresses (IP, port) at which this process and its children can be called."""
    here = psutil.Process()
    addresses = set()
    for process in (here, *here.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):  # children of the tests before are still ending
            connections = process.net_connections()
            addresses.update(c.laddr for c in connections if c.status == psutil.CONN_LISTEN)
    return addresses


def test_own_workers_are_heard_on_this_machine_only():
    """Neither they nor Dask's page of progress are for the network that the machine is in."""
    before = listening()
    with open_cluster(ClusterSettings(workers=1)):
        opened = listening() - before
    assert opened
    assert all(ip_address(address.ip).is_loopback for address in opened)


def test_own_workers_ignore_ctrl_c_also_those_in_place_of_dead_ones():
    """A console of Windows sends it to all of a command's processes: workers closed themselves, with warnings."""
    with open_cluster(ClusterSettings(workers=1, timeout_s=PATIENCE_S)) as cluster:
        for _ in range(2):
            (ignored,) = cluster.ask(lambda: signal.getsignal(signal.SIGINT) is signal.SIG_IGN)
            assert ignored
            kill_workers()


@pytest.mark.parametrize("named", ["colorsys", ["colorsys"], None], ids=["one", "a list", "none"])
def test_what_workers_are_to_load_by_dasks_configuration_they_load_too(named):
    """A single name, as an environment variable gives it, was taken for one of each letter: no worker started."""
    with dask.config.set({"distributed.worker.preload": named}):
        with open_cluster(ClusterSettings(workers=1, timeout_s=PATIENCE_S)) as cluster:
            (found,) = cluster.ask(lambda: "colorsys" in sys.modules)
    assert found is (named is not None)


def test_cancelling_leaves_no_worker_behind(normal_folder):
    pids = []

    def cancel(event):
        if event.stage == "Fitting DPMM":
            pids.extend(distributed.default_client().run(os.getpid).values())
            raise Cancelled("stop")

    with pytest.raises(Cancelled):
        fit_folder(normal_folder, SETTINGS, cancel, cluster=ClusterSettings(workers=2))
    assert len(pids) == 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_task_that_takes_long_can_be_cancelled_within():
    """Who cancelled waited until it had ended: a volume that is embedded with DINO on a CPU takes minutes."""
    asked = []

    def cancel():
        asked.append(None)
        if len(asked) == 2:
            raise Cancelled("stop")

    with pytest.raises(Cancelled), open_cluster(ClusterSettings(workers=1), cancel) as cluster:
        assert cluster.call(operator.add, 1, 2) == 3
        with pytest.raises(ZeroDivisionError):
            cluster.call(operator.truediv, 1, 0)
        cluster.call(time.sleep, PATIENCE_S)
    assert len(asked) == 2


def test_a_fit_on_a_cluster_can_be_cancelled_while_it_waits(normal_folder, monkeypatch):
    """What is told again while a task is waited for is the last event."""
    monkeypatch.setattr(workers, "LOOK_S", 0.001)
    monkeypatch.setattr(progress, "_REST_S", 0.0)
    told = []

    def cancel(event):
        step = (event.stage, event.done, event.detail)
        if event.stage == "Fitting DPMM" and step in told:
            raise Cancelled("stop")
        told.append(step)

    with pytest.raises(Cancelled):
        fit_folder(normal_folder, SETTINGS, cancel, cluster=ClusterSettings(workers=2))
