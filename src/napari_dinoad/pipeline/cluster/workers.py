"""A cluster of Dask workers: where it is, what it can see, and sums that survive the death of workers.

No scheduler of our own: Dask's distributed scheduler places tasks where their data lie and does again what is lost
with a worker. So all that is sent out is a task, values too.
"""

from __future__ import annotations

import asyncio
import logging
import operator
import os
import pkgutil
import signal
import threading
import time
import uuid
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar, cast

from napari_dinoad import __version__
from napari_dinoad.errors import DinoadError, SettingError
from napari_dinoad.machine import dask_worker
from napari_dinoad.machine.dask_logs import dask_without_chatter, silence_dask
from napari_dinoad.machine.faults import NAME_A_TEMPORARY_FOLDER, is_of_temporary_folder
from napari_dinoad.machine.interrupts import interrupts_deferred, processes_without_interrupts
from napari_dinoad.pipeline.cluster import tasks as cluster_tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from distributed import Client, Future, LocalCluster

    from napari_dinoad.settings import ClusterSettings

__all__ = ["Cluster", "Source", "open_cluster"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

ATTEMPTS = 4
"""How often workers are asked while some of them die."""

PAUSE_S = 0.5
"""Before the second attempt, and longer before each next one: until the scheduler has noticed who is gone."""

COMES_AGAIN_S = 60.0
"""How long a worker that died is waited for where no other is left: Dask starts a new one in its place."""

LOOK_S = 0.5
"""While a task is waited for, who may cancel is asked about so often."""

CONFIGURATION = {
    # Dask's profiler walks other threads' frames while they run, which crashes Python 3.11 now and then.
    "distributed.worker.profile.enabled": False,
    # A mixture of 750 components is a few MB, sent once an epoch.
    "distributed.admin.large-graph-warning-threshold": "1GB",
}
"""Of Dask, in this process and in the workers that it starts."""

Source = Any
"""A list of embedded scans, or the future of one."""


@contextmanager
def open_cluster(settings: ClusterSettings, between: Callable[[], None] | None = None) -> Iterator[Cluster]:
    """Connect to a cluster, or start workers on this machine, and leave nothing running afterwards.

    Parameters
    ----------
    settings : ClusterSettings
    between : callable, optional
        See `Cluster`.

    Raises
    ------
    SettingError
        If Dask's distributed scheduler is not installed, nothing answers, or scheduler or workers have another
        version.
    """
    try:
        import dask
        import distributed
    except ImportError as error:
        raise SettingError(
            f"Cluster: expected the package 'distributed', it cannot be imported ({error}). "
            'Install it with: pip install "napari-dinoad[dask]".'
        ) from error
    local: LocalCluster | None = None
    stack = ExitStack()
    try:
        stack.enter_context(dask_without_chatter())
        stack.enter_context(dask.config.set(CONFIGURATION))
        try:
            with interrupts_deferred():
                if settings.address is None:
                    local = stack.enter_context(_local_cluster(settings.workers))
                client = stack.enter_context(
                    distributed.Client(local or settings.address, timeout=settings.timeout_s)
                )
            client.wait_for_workers(1, timeout=settings.timeout_s)
        except SettingError:
            raise
        except (OSError, TimeoutError, ValueError) as error:
            where = settings.address or "this machine"
            raise SettingError(
                f"Cluster: expected a Dask scheduler with a worker at {where}, got no answer in "
                f"{settings.timeout_s:g} s ({error}). Start one with: dask scheduler, and dask worker ADDRESS."
            ) from error
        cluster = Cluster(client, between)
        _require_version(cluster)
        yield cluster
    finally:
        with interrupts_deferred():
            if local is not None:
                _end_workers(local)
            stack.close()


def _local_cluster(workers: int) -> LocalCluster:
    import dask
    import distributed

    named = dask.config.get("distributed.worker.preload") or []
    n_threads = max(1, (os.cpu_count() or 1) // workers)
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), n_threads)
    try:
        with processes_without_interrupts(), _starting_unheard():
            return distributed.LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                dashboard_address="127.0.0.1:0",
                silence_logs=logging.WARNING,
                env=threads,
                preload=[*([named] if isinstance(named, str) else named), dask_worker.__name__],
            )
    except RuntimeError as error:
        refused = _refused_by_system(error)
        if refused is not None:
            advice = (
                NAME_A_TEMPORARY_FOLDER
                if is_of_temporary_folder(refused)
                else "They need shared memory (/dev/shm) and room for more processes (ulimit -u): see to that, or "
                "leave --workers out."
            )
            raise SettingError(
                f"Cluster: {workers} worker processes could not be started: the system says {refused.strerror}. "
                f"{advice}"
            ) from error
        raise SettingError(
            f"Cluster: {workers} worker processes could not be started ({error}). In a script of your own, what "
            'calls the fit must stand under if __name__ == "__main__": each worker reads the script once more.'
        ) from None


@contextmanager
def _starting_unheard() -> Iterator[None]:
    """Let Dask not log, with a traceback, why a process could not be started: what is raised tells it."""
    nanny = logging.getLogger("distributed.nanny")
    nanny.addFilter(_is_not_of_starting)
    try:
        yield
    finally:
        nanny.removeFilter(_is_not_of_starting)


def _is_not_of_starting(record: logging.LogRecord) -> bool:
    return record.exc_info is None


def _refused_by_system(error: BaseException | None) -> OSError | None:
    """Return what the system said, of what an exception came of; None where that was something else."""
    while error is not None:
        if isinstance(error, OSError) and error.strerror:
            return error
        error = error.__cause__ or error.__context__
    return None


def _end_workers(local: LocalCluster) -> None:
    """End workers, whatever they are at: what they have made is here or on disk, or nobody waits for it any more."""

    async def end() -> None:
        # Dask asks them, waits for four seconds, and warns of tasks that were cancelled and of those that did not
        # end. Killed on Dask's own thread, they are no workers that died before it closes them.
        for worker in local.workers.values():
            if worker.pid:
                with suppress(OSError):
                    os.kill(worker.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
        await asyncio.gather(*(worker.close() for worker in local.workers.values()))

    # That they are lost is no news.
    silence_dask()
    with suppress(OSError, TimeoutError):
        local.sync(end)


def _require_version(cluster: Cluster) -> None:
    ours = __version__
    # By a function that is Python's own: what a worker says of one of ours that it does not have, Dask passes on as
    # text. The tasks' module brings what they import.
    question = (pkgutil.resolve_name, f"{cluster_tasks.__name__}:__version__")
    try:
        theirs = cluster.ask_scheduler(*question)
    except ImportError as error:
        raise SettingError(
            f"Cluster: the scheduler cannot import napari-dinoad ({error}), which it needs to hand out tasks. "
            f"Install version {ours} where it runs."
        ) from error
    if theirs != ours:
        raise SettingError(
            f"Cluster: expected napari-dinoad {ours} where the scheduler runs, got {theirs}. Install the same "
            "version everywhere."
        )
    try:
        versions = set(cluster.ask(*question))
    except ImportError as error:
        raise SettingError(
            f"Cluster: a worker cannot import napari-dinoad ({error}). Install version {ours} on all of them."
        ) from error
    if versions != {ours}:
        raise SettingError(
            f"Cluster: expected napari-dinoad {ours} on all workers, got {', '.join(sorted(versions))}. "
            "Install the same version everywhere."
        )


def _lost_scheduler(error: Exception) -> DinoadError:
    # That the client cannot connect to it again is no news.
    silence_dask()
    return DinoadError(
        f"Cluster: the scheduler is gone ({error}). What is in the cache stays usable: start the same command again "
        "when the cluster is well."
    )


class Cluster:
    """Workers to send work to.

    Parameters
    ----------
    client : distributed.Client
    between : callable, optional
        Called now and then while a task is waited for; may raise `Cancelled`.
    """

    def __init__(self, client: Client, between: Callable[[], None] | None = None) -> None:
        self.client = client
        self._between = between

    def sees(self, path: Path) -> bool:
        """Return whether all workers see this file or folder of this machine."""
        return all(self.ask(os.path.exists, str(path)))

    def shares(self, folder: Path) -> bool:
        """Return whether all workers see what is written into this folder."""
        token = folder / f"seen-{uuid.uuid4().hex}"
        token.touch()
        try:
            return self.sees(token)
        finally:
            token.unlink(missing_ok=True)

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future:
        """Send one task out."""
        return self.client.submit(function, *arguments, pure=False)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return the result of one task, computed where its arguments lie."""
        return self.result_of(self.submit(function, *arguments))

    def result_of(self, task: Future) -> Any:
        """Wait for a task that was sent out and return its result; what a worker takes with it is done again.

        Raises
        ------
        DinoadError
            If the task ends one worker after the other, or the scheduler is gone.
        """
        from distributed import CancelledError, KilledWorker
        from distributed.comm import CommClosedError

        try:
            return self._awaited(task)
        except KilledWorker as error:
            raise DinoadError(
                f"Cluster: one task ended {error.allowed_failures + 1} workers, one after the other, most "
                "likely for want of memory. Give workers more memory or run fewer on a machine."
            ) from error
        except (CancelledError, CommClosedError) as error:
            raise _lost_scheduler(error) from error

    def _awaited(self, task: Future) -> Any:
        if self._between is not None:
            # Not by Dask's own timeout: a result that comes just then makes an error of it (2026.8).
            has_ended = threading.Event()
            task.add_done_callback(lambda _: has_ended.set())
            while not has_ended.wait(LOOK_S):
                self._between()
        return task.result()

    def sum_over(
        self,
        groups: Sequence[tuple[Source, list[int]]],
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
    ) -> Any:
        """Return Σ function(batch, *arguments) over the scans of all groups; None without any.

        The order of the sum depends on the groups alone, not on the workers; see `total`.

        Parameters
        ----------
        groups : sequence of (source, places)
            Each group is one task, where its source lies.
        """
        if not groups:
            return None
        sent = self._send(arguments)
        return self.total(
            [
                self.submit(cluster_tasks.sum_of_scans, source, places, function, sent)
                for source, places in groups
            ]
        )

    def total(self, parts: list[Future]) -> Any:
        """Return the sum of the results of tasks: of pairs, then of pairs of pairs, each where its parts lie."""
        while len(parts) > 1:
            pairs = [self.submit(operator.add, *parts[i : i + 2]) for i in range(0, len(parts) - 1, 2)]
            parts = pairs + parts[2 * len(pairs) :]
        return self.result_of(parts[0])

    def map(
        self,
        groups: Sequence[tuple[Source, list[int]]],
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
    ) -> Iterator[Any]:
        """Yield function(source, places, arguments) of each group, in order; all are computed at once."""
        sent = self._send(arguments)
        for task in [self.submit(function, source, places, sent) for source, places in groups]:
            yield self.result_of(task)

    def _send(self, arguments: tuple[Any, ...]) -> Future:
        """Send values out once, for many tasks.

        They are the result of a task of their own, which the scheduler keeps: when every worker that holds them is
        gone, it sends them again. (`Client.scatter` can wait for ever for a worker that dies meanwhile.)
        """
        return self.submit(cluster_tasks.same, arguments)

    def ask_scheduler(self, function: Callable[..., T], *arguments: Any) -> T:
        """Return what the function gives where the scheduler runs.

        Raises
        ------
        DinoadError
            If the scheduler is gone.
        """
        try:
            return cast("T", self.client.run_on_scheduler(function, *arguments))
        except (OSError, TimeoutError) as error:
            raise _lost_scheduler(error) from error

    def ask(self, function: Callable[..., T], *arguments: Any) -> list[T]:
        """Return what the function gives on each worker, of one at least; asked anew when a worker dies meanwhile.

        Raises
        ------
        DinoadError
            If workers die each time.
        """
        for attempt in range(ATTEMPTS):
            try:
                answers = list(self.client.run(function, *arguments).values())
                if answers:
                    return answers
                self.client.wait_for_workers(1, timeout=COMES_AGAIN_S)
            except (OSError, TimeoutError) as error:
                logger.info("A worker died when it was asked (%s); all are asked again.", error)
                time.sleep(PAUSE_S * (attempt + 1))
        raise DinoadError(
            f"Cluster: workers kept dying; {ATTEMPTS} attempts were made. What is in the cache stays usable: start "
            "the same command again when the cluster is well."
        )
