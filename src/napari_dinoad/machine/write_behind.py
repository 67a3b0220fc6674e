"""Writing behind: what is done is written on a thread of its own while the caller works on the next."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Generic, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["WriteBehind"]

T = TypeVar("T")


class WriteBehind(Generic[T]):
    """A thread that runs one task behind whoever gives it; leaving the ``with`` block waits for it."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="dinoad-write-behind")
        self._begun: Future[T] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True)

    def begin(self, task: Callable[[], T]) -> None:
        """Begin a task, once the result of the one before has been taken."""
        if self._begun is not None:
            raise RuntimeError("The result of the task before has not been taken.")
        self._begun = self._pool.submit(task)

    def wait(self) -> None:
        """Wait until the task that was begun, if there is one, is done; its result is still to be taken."""
        if self._begun is not None:
            self._begun.exception()

    def failure(self) -> BaseException | None:
        """Wait as `wait` does, and take and return what the task raised; None where it has a result."""
        error = None if self._begun is None else self._begun.exception()
        if error is not None:
            self._begun = None
        return error

    def finished(self) -> Iterator[T]:
        """Yield the result of the task that was begun, if there is one, when it is done; once, and what it raises."""
        # Where Ctrl-C cuts this off, the result is still to be taken.
        self.wait()
        begun, self._begun = self._begun, None
        if begun is not None:
            yield begun.result()
