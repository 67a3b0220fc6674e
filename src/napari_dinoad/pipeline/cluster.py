"""A cluster of Dask workers: where it is, what it can see, and sums that survive the death of workers.

No scheduler of our own: Dask's distributed scheduler places tasks where their data lie and does again what is lost
with a worker. Only what it cannot know is done here: values sent out are sent again when all their copies are gone.
"""

from __future__ import annotations

import logging
import operator
import os
import time
import uuid
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from napari_dinoad.errors import DinoadError, SettingError
from napari_dinoad.pipeline import cluster_tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from distributed import Client, Future

    from napari_dinoad.settings import ClusterSettings

__all__ = ["Cluster", "Source", "open_cluster"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

ATTEMPTS = 4
"""How often work is begun again after the values that it needs were lost with all workers that held them."""

PAUSE_S = 0.5
"""Before the second attempt, and longer before each next one: until the scheduler has noticed who is gone."""

Source = Any
"""A list of embedded scans, or the future of one."""


@contextmanager
def open_cluster(settings: ClusterSettings) -> Iterator[Cluster]:
    """Connect to a cluster, or start workers on this machine, and leave nothing running afterwards.

    Raises
    ------
    SettingError
        If Dask's distributed scheduler is not installed, nothing answers, or the workers have another version.
    """
    try:
        import distributed
    except ImportError as error:
        raise SettingError(
            f"Cluster: expected the package 'distributed', it cannot be imported ({error}). "
            "Install it with: pip install 'napari-dinoad[dask]'."
        ) from error
    with ExitStack() as stack:
        try:
            if settings.address is None:
                n_threads = max(1, (os.cpu_count() or 1) // settings.workers)
                threads = dict.fromkeys(
                    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), n_threads
                )
                local = distributed.LocalCluster(
                    n_workers=settings.workers,
                    threads_per_worker=1,
                    processes=True,
                    dashboard_address=":0",
                    silence_logs=logging.ERROR,
                    env=threads,
                )
                client = stack.enter_context(distributed.Client(stack.enter_context(local)))
            else:
                client = stack.enter_context(distributed.Client(settings.address, timeout=settings.timeout_s))
            client.wait_for_workers(1, timeout=settings.timeout_s)
        except (OSError, TimeoutError, ValueError) as error:
            where = settings.address or "this machine"
            raise SettingError(
                f"Cluster: expected a Dask scheduler with a worker at {where}, got no answer in "
                f"{settings.timeout_s:g} s ({error}). Start one with: dask scheduler, and dask worker ADDRESS."
            ) from error
        _require_version(client)
        yield Cluster(client)


def _require_version(client: Client) -> None:
    ours = cluster_tasks.version()
    try:
        versions = set(client.run(cluster_tasks.version).values())
    except ImportError as error:
        raise SettingError(
            f"Cluster: a worker cannot import napari-dinoad ({error}). Install version {ours} on all of them."
        ) from error
    if versions != {ours}:
        raise SettingError(
            f"Cluster: expected napari-dinoad {ours} on all workers, got {', '.join(sorted(versions))}. "
            "Install the same version everywhere."
        )


class Cluster:
    """Workers to send work to.

    Parameters
    ----------
    client : distributed.Client
    """

    def __init__(self, client: Client) -> None:
        self.client = client

    @property
    def n_workers(self) -> int:
        """How many workers there are now."""
        return len(self.client.scheduler_info(n_workers=-1)["workers"])

    def sees(self, path: Path) -> bool:
        """Return whether all workers see this file or folder of this machine."""
        return self._again(lambda: all(self.client.run(os.path.exists, str(path)).values()))

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

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Return the result of one task, computed where its arguments lie."""

        def run() -> T:
            result: T = self.submit(function, *arguments).result()
            return result

        return self._again(run)

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

        def run() -> Any:
            sent = self._send(arguments)
            sums = [
                self.submit(cluster_tasks.sum_of_scans, source, places, function, sent)
                for source, places in groups
            ]
            return self.total(sums)

        return self._again(run) if groups else None

    def total(self, parts: list[Future]) -> Any:
        """Return the sum of the results of tasks: of pairs, then of pairs of pairs, each where its parts lie."""
        while len(parts) > 1:
            pairs = [self.submit(operator.add, *parts[i : i + 2]) for i in range(0, len(parts) - 1, 2)]
            parts = pairs + parts[2 * len(pairs) :]
        return parts[0].result()

    def map(
        self,
        groups: Sequence[tuple[Source, list[int]]],
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
    ) -> Iterator[Any]:
        """Yield function(source, places, arguments) of each group, in order; all are computed at once."""
        sent = self._again(partial(self._send, arguments))
        waiting = [self.submit(function, source, places, sent) for source, places in groups]
        for future, (source, places) in zip(waiting, groups, strict=True):
            yield self._again(future.result, partial(self._apply, function, source, places, arguments))

    def _apply(
        self, function: Callable[..., Any], source: Source, places: list[int], arguments: tuple[Any, ...]
    ) -> Any:
        return self.submit(function, source, places, self._send(arguments)).result()

    def result_of(self, future: Future, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return the result of a task that was sent out, which is function(*arguments)."""
        return self._again(future.result, partial(self.call, function, *arguments))

    def _send(self, arguments: tuple[Any, ...]) -> Future:
        """Copy values to all workers, so that they outlive most of them."""
        future: Future = self.client.scatter([arguments], broadcast=True, hash=False)[0]
        return future

    def _again(self, run: Callable[[], T], next_run: Callable[[], T] | None = None) -> T:
        """Run, and run again when values were lost that no task can make anew."""
        from distributed import CancelledError, KilledWorker
        from distributed.comm import CommClosedError

        for attempt in range(ATTEMPTS):
            try:
                return (run if attempt == 0 or next_run is None else next_run)()
            except KilledWorker as error:
                raise DinoadError(
                    f"Cluster: one task ended {error.allowed_failures + 1} workers, one after the other, most "
                    "likely for want of memory. Give workers more memory or run fewer on a machine."
                ) from error
            except (CancelledError, CommClosedError, TimeoutError) as error:
                logger.info("Values were lost with their workers (%s); they are sent again.", error)
                time.sleep(PAUSE_S * (attempt + 1))
        raise DinoadError(
            f"Cluster: workers kept dying; {ATTEMPTS} attempts were made. What is in the cache stays usable: start "
            "the same command again when the cluster is well."
        )
