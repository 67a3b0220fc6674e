"""Reading ahead: the next few results are made on a thread of their own while the caller works on this one."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["ReadAhead"]

T = TypeVar("T")


class ReadAhead:
    """Threads that run tasks ahead of whoever takes their results; leaving the ``with`` block ends them.

    Parameters
    ----------
    n_threads : int
    """

    def __init__(self, n_threads: int = 1) -> None:
        self._pool = ThreadPoolExecutor(n_threads, thread_name_prefix="dinoad-read-ahead")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # Waits for the task that is running; those not begun are dropped.
        self._pool.shutdown(wait=True, cancel_futures=True)

    def results(self, tasks: Iterable[Callable[[], T]], ahead: int = 1) -> Iterator[T]:
        """Yield the tasks' results in their order.

        Parameters
        ----------
        tasks : iterable of callable
            Taken as they are needed. What one raises is raised where its result would have come.
        ahead : int
            At most so many results wait, or are being made, beside the one in the caller's hands.
        """
        waiting: deque[Future[T]] = deque()
        try:
            for task in tasks:
                waiting.append(self._pool.submit(task))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
