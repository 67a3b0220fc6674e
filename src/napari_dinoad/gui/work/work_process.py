"""What runs in a worker process: takes jobs from standard input, works, and answers on standard output.

The window's process thus never loads torch and never waits for the lock that all Python threads of a process share.
Messages are pickled objects over the two pipes between a process and its own child; nothing else can write there.
"""

from __future__ import annotations

import os
import pickle
import sys
import traceback
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, Protocol

from napari_dinoad.errors import Cancelled
from napari_dinoad.machine.faults import fault_of_machine
from napari_dinoad.machine.streams import prepare_streams

if TYPE_CHECKING:
    from napari_dinoad.progress import ProgressEvent

__all__ = ["Answer", "Desk", "Workable", "main"]


_NICE = 5
"""How far the worker process stands back behind others, where the system knows of that."""


@dataclass(frozen=True)
class Answer:
    """A message from the worker process.

    Attributes
    ----------
    kind : str
        ``"progress"`` or ``"delivery"`` (both wait for a reply: go on or stop); at the end ``"result"``,
        ``"cancelled"`` or ``"error"``.
    content : object
    """

    kind: str
    content: Any = None


@dataclass(frozen=True)
class Desk:
    """What a job may use in the worker process.

    Attributes
    ----------
    answers, replies : file
        To the window's process and from it.
    kept : dict
        What stays from one job to the next, such as a loaded model.
    """

    answers: IO[bytes]
    replies: IO[bytes]
    kept: dict[str, Any] = field(default_factory=dict)

    def progress(self, event: ProgressEvent) -> None:
        """Tell how it goes; raises `Cancelled` once the user has asked to stop."""
        self._ask(Answer("progress", event))

    def deliver(self, item: object) -> None:
        """Hand over an intermediate result; raises `Cancelled` as `progress` does."""
        self._ask(Answer("delivery", item))

    def _ask(self, answer: Answer) -> None:
        send(answer, self.answers)
        if not receive(self.replies):
            raise Cancelled("Cancelled.")


class Workable(Protocol):
    """A job for a worker process: a frozen object that can be pickled."""

    def work(self, desk: Desk) -> Any:
        """Do the job and return its result."""
        ...


def send(message: object, stream: IO[bytes]) -> None:
    """Write a message and see that it leaves."""
    pickle.dump(message, stream, protocol=pickle.HIGHEST_PROTOCOL)
    stream.flush()


def receive(stream: IO[bytes]) -> Any:
    """Read a message; `EOFError` when the other side is gone, also where that was in the middle of a message."""
    try:
        return pickle.load(stream)
    except pickle.UnpicklingError as error:
        # Of a side that is there still nothing more may come: it is not asked.
        if "truncated" not in str(error):
            raise
        raise EOFError(str(error)) from error


def main() -> None:
    """Work until the window's process closes the pipe."""
    replies = sys.stdin.buffer
    if hasattr(os, "nice"):
        # The window draws first: it takes little, and who works with it waits for it.
        os.nice(_NICE)
    # napari without a terminal (pythonw, ``2>&-``) has no stderr to inherit, or one that nobody reads. Done before
    # there is another file, which would take its number.
    prepare_streams()
    # Whatever a library prints must not mix with the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    desk = Desk(answers, replies)
    while True:
        try:
            job = receive(replies)
        except EOFError:
            return
        send(_worked(job, desk), answers)
        # What it holds may be as large as a scan, and the next job may never come.
        del job
        _give_back_gpu_memory()


def _give_back_gpu_memory() -> None:
    """Let other processes have what PyTorch holds of a GPU's memory for its next tensors; models stay loaded.

    A window has several worker processes, and an idle one is kept.
    """
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _worked(job: Workable, desk: Desk) -> Answer:
    try:
        return Answer("result", job.work(desk))
    except Cancelled:
        return Answer("cancelled")
    except EOFError:
        raise
    except Exception as error:  # noqa: BLE001 - the edge: whatever it is, it is raised again in the window's process
        return Answer("error", _portable(fault_of_machine(error) or error))


def _portable(error: Exception) -> Exception:
    """Return the error with its traceback as a note, or a likeness of one that cannot be pickled."""
    error.add_note("In the worker process:\n" + "".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - pickling may fail in any way
        likeness = RuntimeError(f"{type(error).__name__}: {error}")
        likeness.__notes__ = list(error.__notes__)
        return likeness
    return error
