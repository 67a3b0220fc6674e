"""Worker processes, seen from the window's process: started when first needed, one job at a time each."""

from __future__ import annotations

import atexit
import logging
import pickle
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from qtpy.QtCore import QThreadPool

from napari_dinoad.errors import Cancelled, DinoadError
from napari_dinoad.gui.work.work_process import Answer, Workable, receive, send

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_dinoad.gui.work.worker import JobChannel

__all__ = ["ProcessPool", "WorkProcess", "borrowed", "pool", "run_in_process"]

logger = logging.getLogger(__name__)

_PROGRAM = """
import sys
sys.path[:] = {path!r}
from napari_dinoad.gui.work.work_process import main
main()
"""
"""It searches where the window's process does. Not multiprocessing: that would run a user's own script again."""

_PATIENCE_S = 2.0
"""A process that was told to end is killed after this."""


class WorkProcess:
    """One worker process.

    Attributes
    ----------
    notes : dict
        What the window's side remembers of the process, such as which scan it holds; gone with the process.
    """

    def __init__(self) -> None:
        self.notes: dict[str, Any] = {}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _PROGRAM.format(path=sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )

    @property
    def is_alive(self) -> bool:
        """Whether it can take jobs."""
        return self._process.poll() is None

    def run(self, job: Workable, channel: JobChannel) -> Any:
        """Have a job done and return its result; what it tells meanwhile goes to ``channel``.

        Raises
        ------
        Cancelled
            When the channel asked for it; the process then is ready for the next job.
        DinoadError
            If the process ended unexpectedly, or the job's own.
        """
        try:
            send(job, self._stdin)
            answer: Answer = receive(self._stdout)
            while answer.kind in ("progress", "delivery"):
                send(_pass_on(answer, channel), self._stdin)
                answer = receive(self._stdout)
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            # A pipe whose other end is gone is told as an invalid argument on Windows.
            self.close()
            raise DinoadError(
                f"The worker process ended unexpectedly (exit code {self._process.returncode}); it may have run out "
                "of memory. Close other programs, or choose a smaller backbone or resolution, and try again."
            ) from error
        if answer.kind == "result":
            return answer.content
        if answer.kind == "cancelled":
            raise Cancelled("Cancelled.")
        raise answer.content

    @property
    def _stdin(self) -> IO[bytes]:
        return self._process.stdin  # type: ignore[return-value]  # it was asked for

    @property
    def _stdout(self) -> IO[bytes]:
        return self._process.stdout  # type: ignore[return-value]

    def close(self) -> None:
        """End the process, whatever it does."""
        try:
            self._stdin.close()
        except OSError:
            logger.debug("The pipe to a worker process was broken already.")
        try:
            self._process.wait(_PATIENCE_S if self._process.poll() is None else 0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stdout.close()

    def kill(self) -> None:
        """End the process at once, from any thread."""
        self._process.kill()


def _pass_on(answer: Answer, channel: JobChannel) -> bool:
    """Hand on what a job tells; return whether it shall go on."""
    try:
        if answer.kind == "progress":
            channel.progress(answer.content)
        else:
            channel.deliver(answer.content)
    except Cancelled:
        return False
    return True


class ProcessPool:
    """Lends worker processes; the one that comes back is kept warm for the next job."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: WorkProcess | None = None
        self._busy: list[WorkProcess] = []

    def borrow(self) -> WorkProcess:
        """Return a process that does nothing else, the warm one where there is one."""
        with self._lock:
            process, self._idle = self._idle, None
            if process is None or not process.is_alive:
                process = WorkProcess()
            self._busy.append(process)
            return process

    def give_back(self, process: WorkProcess) -> None:
        """Keep a process for the next job, in place of the one kept so far."""
        with self._lock:
            if process in self._busy:
                self._busy.remove(process)
            old, self._idle = self._idle, process if process.is_alive else None
        if old is not None:
            old.close()

    def close(self) -> None:
        """End all processes, also those that work."""
        with self._lock:
            idle, self._idle = self._idle, None
            busy, self._busy = self._busy, []
        for process in busy:
            process.kill()
        if idle is not None:
            idle.close()


pool = ProcessPool()


def _end() -> None:
    """End the processes, and wait for the threads that wait for them: what they emit must find Qt alive."""
    pool.close()
    QThreadPool.globalInstance().waitForDone(int(1000 * _PATIENCE_S))


atexit.register(_end)


@contextmanager
def borrowed() -> Iterator[WorkProcess]:
    """Lend a process of the pool and take it back, however the block ends."""
    process = pool.borrow()
    try:
        yield process
    finally:
        pool.give_back(process)


def run_in_process(job: Workable, channel: JobChannel) -> Any:
    """Have a job done in a process of the pool; see `WorkProcess.run`."""
    with borrowed() as process:
        return process.run(job, channel)
